use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use prost::Message as _;

use super::{EditError, Request, name_image, pin_pull};
use crate::api::runtime_v1 as api;
use crate::request::build::{bytes, create, create_request, pull, under};
use crate::request::hygiene::{Fault, HygieneError};

const PINNED: &str = "registry.test/web@sha256:bb";

#[test]
fn the_bytes_of_a_pinned_pull_are_the_received_ones_and_one_field() {
    let message = under(&[1, 1], b"web");
    let edited = pin_pull(&message, "w@d").unwrap();
    assert_eq!(edited.message(), b"\x0a\x05\x0a\x03web\x0a\x05\x0a\x03w@d");
}

#[test]
fn the_bytes_of_a_named_image_are_the_received_ones_and_one_field() {
    let message = create();
    let edited = name_image(&message, "id1").unwrap();
    let tail = b"\x12\x07\x12\x05\x0a\x03id1";
    assert_eq!(edited.message(), [&message[..], &tail[..]].concat());
}

#[test]
fn a_pinned_pull_differs_from_the_received_one_in_its_image_alone() {
    let edited = pin_pull(&pull(), PINNED).unwrap();
    let mut meant = api::PullImageRequest::decode(&pull()[..]).unwrap();
    meant.image.as_mut().unwrap().image = PINNED.to_owned();
    let sent = api::PullImageRequest::decode(edited.message()).unwrap();
    assert!(sent == meant);
}

#[test]
fn a_named_image_differs_from_the_received_one_in_its_image_alone() {
    let edited = name_image(&create(), "sha256:bb").unwrap();
    let mut meant = create_request();
    let image = meant.config.as_mut().unwrap().image.as_mut().unwrap();
    image.image = "sha256:bb".to_owned();
    assert!(api::CreateContainerRequest::decode(edited.message()).unwrap() == meant);
}

#[test]
fn the_merged_request_is_what_is_judged_again() {
    let Request::Create(ask) = name_image(&create(), "sha256:bb")
        .unwrap()
        .request()
        .unwrap()
    else {
        panic!("a create stays a create")
    };
    assert_eq!(ask.container.image, "sha256:bb");
    assert_eq!(ask.container.user_specified_image, "registry.test/web:1");
}

#[test]
fn a_long_reference_has_a_long_length() {
    let reference = format!("registry.test/{}@sha256:bb", "a".repeat(200));
    let Request::Pull(ask, _) = pin_pull(&pull(), &reference).unwrap().request().unwrap() else {
        panic!("a pull stays a pull")
    };
    assert_eq!(ask.image, reference);
}

#[test]
fn unknown_fields_stay_in_place() {
    let message = [
        create(),
        under(&[2, 7], &bytes(99, b"new")),
        bytes(99, b"new"),
    ]
    .concat();
    let edited = name_image(&message, "sha256:bb").unwrap();
    assert_eq!(edited.message()[..message.len()], message[..]);
}

#[test]
fn an_edited_pull_prints_no_bytes() {
    let edited = pin_pull(&pull(), PINNED).unwrap();
    let shown = format!("{edited:?}");
    assert_eq!(shown, format!("Edited({} bytes)", edited.message().len()));
}

#[test]
fn what_cannot_be_decoded_is_not_edited() {
    let place = "PullImageRequest.image".to_owned();
    let fault = Fault::Missing;
    assert_eq!(
        pin_pull(&[], PINNED).unwrap_err(),
        EditError::Hygiene {
            error: HygieneError::Field { place, fault }
        }
    );
}

/// A create with whatever a client may put into the fields around the image.
fn creates() -> impl Strategy<Value = api::CreateContainerRequest> {
    let words = proptest::collection::btree_map("[a-z./]{0,12}", ".{0,20}", 0..4);
    let envs = proptest::collection::vec(("[A-Z]{1,6}", any::<Vec<u8>>()), 0..4);
    (".{0,30}", ".{0,30}", words, envs, any::<bool>()).prop_map(
        |(image, typed, annotations, envs, privileged)| {
            let mut request = create_request();
            let config = request.config.as_mut().unwrap();
            let spec = config.image.as_mut().unwrap();
            spec.image = image;
            spec.user_specified_image = typed;
            spec.annotations = annotations.clone();
            config.annotations = annotations;
            config.envs = envs
                .into_iter()
                .map(|(key, value)| api::KeyValue { key, value })
                .collect();
            let linux = config.linux.as_mut().unwrap();
            linux.security_context.as_mut().unwrap().privileged = privileged;
            request
        },
    )
}

proptest! {
    #[test]
    fn an_edit_keeps_every_received_byte_and_changes_the_image_alone(
        request in creates(),
        id in ".{0,80}",
        unknown in any::<Vec<u8>>(),
    ) {
        let mut message = request.encode_to_vec();
        message.extend(bytes(1000, &unknown));
        let edited = name_image(&message, &id).unwrap();
        prop_assert!(edited.message().starts_with(&message));
        let mut meant = request;
        let config = meant.config.as_mut().unwrap();
        config.image.as_mut().unwrap().image.clone_from(&id);
        let sent = api::CreateContainerRequest::decode(edited.message()).unwrap();
        prop_assert_eq!(sent, meant);
    }
}
