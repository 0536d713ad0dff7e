use std::collections::BTreeSet;

use super::{MAX_REPORTED, MAX_SUBMESSAGES, MAX_VALUES, Tolerated, scan};
use crate::request::build::{bytes, create, number, pull, under};
use crate::request::hygiene::{Fault, HygieneError, HygieneKind, UnknownField};

/// `CreateContainerRequest` → `config.linux.security_context`.
const SECURITY_CONTEXT: &[u64] = &[2, 15, 2];

fn refusal(message: &[u8]) -> HygieneError {
    scan("CreateContainerRequest", message, &Tolerated::none()).unwrap_err()
}

fn passes(message: &[u8]) {
    scan("CreateContainerRequest", message, &Tolerated::none()).unwrap();
}

fn field(place: &str, fault: Fault) -> HygieneError {
    HygieneError::field(place, fault)
}

fn unknown(message: &str, number: u32) -> UnknownField {
    UnknownField {
        message: message.to_owned(),
        number,
    }
}

#[test]
fn what_a_kubelet_sends_passes() {
    passes(&create());
    scan("PullImageRequest", &pull(), &Tolerated::none()).unwrap();
}

#[test]
fn an_empty_message_passes() {
    passes(&[]);
}

#[test]
fn e3_a_singular_message_twice_is_refused() {
    let error = refusal(&[create(), under(&[2], &[])].concat());
    assert_eq!(error, field("CreateContainerRequest.config", Fault::Twice));
    assert_eq!(
        error.to_string(),
        "field `CreateContainerRequest.config` occurs twice"
    );
    assert_eq!(error.kind(), HygieneKind::Malformed);
}

#[test]
fn e3_a_singular_message_twice_is_refused_at_every_level() {
    let metadata = bytes(1, &bytes(1, b"web"));
    let twice = under(&[3], &[metadata.clone(), metadata.clone()].concat());
    assert_eq!(
        refusal(&twice),
        field("PodSandboxConfig.metadata", Fault::Twice)
    );
    passes(&under(&[3], &metadata));
}

#[test]
fn e3_a_scalar_twice_is_refused_even_with_one_value() {
    let privileged = number(2, 1);
    let twice = [privileged.clone(), privileged.clone()].concat();
    assert_eq!(
        refusal(&under(SECURITY_CONTEXT, &twice)),
        field("LinuxContainerSecurityContext.privileged", Fault::Twice)
    );
    passes(&under(SECURITY_CONTEXT, &privileged));
}

#[test]
fn e3_a_duplicate_that_is_not_adjacent_is_refused() {
    let id = bytes(1, b"s-1");
    let message = [id.clone(), under(&[2], &[]), id].concat();
    assert_eq!(
        refusal(&message),
        field("CreateContainerRequest.pod_sandbox_id", Fault::Twice)
    );
}

#[test]
fn a_repeated_field_may_occur_often() {
    let mount = bytes(7, &bytes(1, b"/data"));
    passes(&under(&[2], &[mount.clone(), mount].concat()));
}

#[test]
fn e3_a_bool_of_2_is_refused() {
    assert_eq!(
        refusal(&under(SECURITY_CONTEXT, &number(2, 2))),
        field("LinuxContainerSecurityContext.privileged", Fault::Bool)
    );
}

#[test]
fn a_false_that_is_written_out_passes() {
    passes(&under(SECURITY_CONTEXT, &number(2, 0)));
}

#[test]
fn e3_an_enum_number_that_truncates_to_node_is_refused() {
    let network = (1 << 32) + 2;
    let error = refusal(&under(SECURITY_CONTEXT, &bytes(3, &number(1, network))));
    assert_eq!(
        error,
        field("NamespaceOption.network", Fault::Enum(network))
    );
    assert_eq!(
        error.to_string(),
        "field `NamespaceOption.network` has the unknown value `4294967298`"
    );
}

#[test]
fn an_unknown_enum_number_is_refused() {
    let path = [SECURITY_CONTEXT, &[3]].concat();
    assert_eq!(
        refusal(&under(&path, &number(1, 4))),
        field("NamespaceOption.network", Fault::Enum(4))
    );
    passes(&under(&path, &number(1, 2)));
}

#[test]
fn a_negative_enum_number_is_refused() {
    let path = [SECURITY_CONTEXT, &[3]].concat();
    assert_eq!(
        refusal(&under(&path, &number(1, u64::MAX))),
        field("NamespaceOption.network", Fault::Enum(u64::MAX))
    );
}

#[test]
fn e3_a_wrong_wire_type_is_refused() {
    assert_eq!(
        refusal(&under(SECURITY_CONTEXT, &bytes(2, &[1]))),
        field("LinuxContainerSecurityContext.privileged", Fault::WireType)
    );
    assert_eq!(
        refusal(&number(2, 1)),
        field("CreateContainerRequest.config", Fault::WireType)
    );
    assert_eq!(
        refusal(&[0x0d, 0, 0, 0, 0]),
        field("CreateContainerRequest.pod_sandbox_id", Fault::WireType)
    );
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    assert_eq!(
        refusal(&bytes(1, &[0xff])),
        field("CreateContainerRequest.pod_sandbox_id", Fault::Utf8)
    );
}

#[test]
fn an_environment_value_need_not_be_utf_8_but_its_name_must() {
    let variable = |name: &[u8]| under(&[2, 6], &[bytes(1, name), bytes(2, &[0xff])].concat());
    passes(&variable(b"RAW"));
    assert_eq!(
        refusal(&variable(&[0xff])),
        field("KeyValue.key", Fault::Utf8)
    );
}

#[test]
fn a_padded_varint_is_refused() {
    let privileged = [0x10, 0x81, 0x00];
    assert_eq!(
        refusal(&under(SECURITY_CONTEXT, &privileged)),
        field("LinuxContainerSecurityContext.privileged", Fault::Varint)
    );
}

#[test]
fn a_padded_key_is_refused() {
    assert_eq!(
        refusal(&[0x8a, 0x00, 0x00]),
        field("CreateContainerRequest", Fault::Varint)
    );
}

#[test]
fn numbers_that_a_reader_would_truncate_are_refused() {
    // PodSandboxConfig.port_mappings[].host_port is an int32.
    let port = |value| under(&[3, 5], &number(3, value));
    assert_eq!(
        refusal(&port(1 << 31)),
        field("PortMapping.host_port", Fault::Range)
    );
    assert_eq!(
        refusal(&port((1 << 32) + 80)),
        field("PortMapping.host_port", Fault::Range)
    );
    passes(&port((1 << 31) - 1));
    passes(&port(u64::MAX));
    // ContainerMetadata.attempt is a uint32.
    let attempt = |value| under(&[2, 1], &number(2, value));
    assert_eq!(
        refusal(&attempt(1 << 32)),
        field("ContainerMetadata.attempt", Fault::Range)
    );
    passes(&attempt((1 << 32) - 1));
}

#[test]
fn repeated_numbers_may_be_packed_or_not_or_both() {
    let packed = bytes(8, &[1, 2, 0xac, 0x02]);
    let single = number(8, 7);
    passes(&under(SECURITY_CONTEXT, &[packed, single].concat()));
}

#[test]
fn a_packed_run_is_checked_number_by_number() {
    let place = "LinuxContainerSecurityContext.supplemental_groups";
    assert_eq!(
        refusal(&under(SECURITY_CONTEXT, &bytes(8, &[1, 0x80]))),
        field(place, Fault::Truncated)
    );
    assert_eq!(
        refusal(&under(SECURITY_CONTEXT, &bytes(8, &[0x81, 0x00]))),
        field(place, Fault::Varint)
    );
}

#[test]
fn a_map_key_twice_is_refused() {
    let entry = |key: &[u8]| bytes(6, &[bytes(1, key), bytes(2, b"v")].concat());
    assert_eq!(
        refusal(&under(&[3], &[entry(b"a"), entry(b"a")].concat())),
        field("PodSandboxConfig.labels", Fault::MapKey)
    );
    passes(&under(&[3], &[entry(b"a"), entry(b"b")].concat()));
}

#[test]
fn an_absent_map_key_is_the_empty_key() {
    let empty = bytes(6, &bytes(1, b""));
    let absent = bytes(6, &bytes(2, b"v"));
    assert_eq!(
        refusal(&under(&[3], &[empty, absent].concat())),
        field("PodSandboxConfig.labels", Fault::MapKey)
    );
}

#[test]
fn one_key_in_two_maps_passes() {
    let entry = bytes(1, b"a");
    passes(&under(&[3], &[bytes(6, &entry), bytes(7, &entry)].concat()));
}

#[test]
fn a_map_entry_with_two_keys_is_refused_by_the_name_of_the_map() {
    let entry = [bytes(1, b"a"), bytes(1, b"b")].concat();
    assert_eq!(
        refusal(&under(&[3, 6], &entry)),
        field("PodSandboxConfig.labels", Fault::Twice)
    );
}

#[test]
fn e4_an_unknown_field_is_denied_wherever_it_stands() {
    for (path, message, number) in [
        (&[][..], "CreateContainerRequest", 4),
        (&[2][..], "ContainerConfig", 19),
        (&[2, 7][..], "Mount", 12),
        (&[2, 8][..], "Device", 4),
        (&[2, 2][..], "ImageSpec", 21),
        (SECURITY_CONTEXT, "LinuxContainerSecurityContext", 18),
        (&[2, 15, 2, 3][..], "NamespaceOption", 6),
        (&[3, 8, 2][..], "LinuxSandboxSecurityContext", 12),
        (&[3, 6][..], "PodSandboxConfig.LabelsEntry", 3),
    ] {
        let error = refusal(&under(path, &bytes(number, b"x")));
        let fields = vec![unknown(message, u32::try_from(number).unwrap())];
        assert_eq!(error.kind(), HygieneKind::UnknownField);
        assert_eq!(error, HygieneError::UnknownFields { fields });
    }
}

#[test]
fn e4_every_unknown_field_is_named_once_and_in_order() {
    let mount = under(
        &[2, 7],
        &[number(99, 1), number(98, 1), number(99, 1)].concat(),
    );
    let error = refusal(&[number(77, 1), mount].concat());
    assert_eq!(
        error.to_string(),
        "the request has fields that this version does not know: \
         `CreateContainerRequest.77`, `Mount.98`, `Mount.99`"
    );
}

#[test]
fn e4_a_tolerated_field_passes_and_is_reported() {
    let tolerated: Tolerated = [unknown("Mount", 12)].into_iter().collect();
    let message = under(&[2, 7], &bytes(12, b"noexec"));
    let scanned = scan("CreateContainerRequest", &message, &tolerated).unwrap();
    assert_eq!(scanned.tolerated(), &BTreeSet::from([unknown("Mount", 12)]));
}

#[test]
fn e4_a_tolerated_field_excuses_no_other() {
    let tolerated: Tolerated = [unknown("Mount", 12)].into_iter().collect();
    let message = under(&[2, 7], &[number(12, 1), number(13, 1)].concat());
    let fields = vec![unknown("Mount", 13)];
    assert_eq!(
        scan("CreateContainerRequest", &message, &tolerated).unwrap_err(),
        HygieneError::UnknownFields { fields }
    );
}

#[test]
fn e4_many_tolerated_fields_hide_no_other() {
    let tolerated: Tolerated = (100..1_100).map(|n| unknown("Mount", n)).collect();
    let fields: Vec<u8> = (100..1_101).flat_map(|n| number(n, 1)).collect();
    let denied = vec![unknown("Mount", 1_100)];
    assert_eq!(
        scan(
            "CreateContainerRequest",
            &under(&[2, 7], &fields),
            &tolerated
        )
        .unwrap_err(),
        HygieneError::UnknownFields { fields: denied }
    );
}

#[test]
fn a_refusal_names_a_bounded_number_of_unknown_fields() {
    let message: Vec<u8> = (100..1_000).flat_map(|n| number(n, 1)).collect();
    let fields = (100..)
        .take(MAX_REPORTED)
        .map(|n| unknown("CreateContainerRequest", n));
    assert_eq!(
        refusal(&message),
        HygieneError::UnknownFields {
            fields: fields.collect()
        }
    );
}

#[test]
fn a_fault_behind_an_unknown_field_is_still_the_fault() {
    let message = [number(77, 1), bytes(1, &[0xff])].concat();
    assert_eq!(
        refusal(&message),
        field("CreateContainerRequest.pod_sandbox_id", Fault::Utf8)
    );
}

#[test]
fn e5_groups_are_refused_at_the_first_byte() {
    let nested = vec![0x0b; 100_000];
    assert_eq!(
        refusal(&nested),
        field("CreateContainerRequest.pod_sandbox_id", Fault::Group)
    );
    let of_unknown_fields = vec![0x7b; 100_000];
    assert_eq!(
        refusal(&of_unknown_fields),
        field("CreateContainerRequest", Fault::Group)
    );
}

#[test]
fn e5_a_claimed_length_of_2_gib_is_refused() {
    let message = [0x12, 0x80, 0x80, 0x80, 0x80, 0x08, 0, 0, 0, 0];
    assert_eq!(
        refusal(&message),
        field("CreateContainerRequest.config", Fault::Truncated)
    );
}

#[test]
fn e5_an_inner_length_cannot_leave_its_message() {
    let message = [0x12, 3, 0x0a, 2, 0x0a, 0x12, 0];
    assert_eq!(
        refusal(&message),
        field("ContainerConfig.metadata", Fault::Truncated)
    );
}

#[test]
fn e5_more_submessages_than_any_pod_has_are_refused() {
    let mounts = |count| under(&[2], &bytes(7, &[]).repeat(count));
    passes(&mounts(MAX_SUBMESSAGES - 1));
    let error = refusal(&mounts(MAX_SUBMESSAGES));
    assert_eq!(error.kind(), HygieneKind::TooLarge);
    assert_eq!(
        error,
        HygieneError::TooMany {
            limit: MAX_SUBMESSAGES
        }
    );
}

#[test]
fn e5_more_values_than_any_pod_has_are_refused() {
    let groups = under(SECURITY_CONTEXT, &bytes(8, &vec![1; MAX_VALUES]));
    assert_eq!(
        refusal(&groups),
        HygieneError::TooMany { limit: MAX_VALUES }
    );
}

#[test]
fn every_prefix_of_a_request_is_refused_or_whole_in_itself() {
    let message = create();
    for end in 0..message.len() {
        // Never a panic; a prefix that ends between fields is a message of its own.
        match scan(
            "CreateContainerRequest",
            &message[..end],
            &Tolerated::none(),
        ) {
            Ok(scanned) => assert_eq!(scanned.message().len(), end),
            Err(error) => assert_eq!(error.kind(), HygieneKind::Malformed, "{end}"),
        }
    }
}

#[test]
fn a_message_that_the_table_does_not_name_is_an_internal_error() {
    let error = scan("Nonsense", &[], &Tolerated::none()).unwrap_err();
    assert_eq!(
        error,
        HygieneError::Schema {
            message: "Nonsense"
        }
    );
    assert_eq!(error.kind(), HygieneKind::Internal);
}
