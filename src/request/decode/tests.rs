use proptest::prelude::{Just, Strategy, any, prop_assert, prop_oneof, proptest};
use prost::Message as _;

use super::{Decoded, GatedMethod, Request, Tolerated, decode, scan};
use crate::api::runtime_v1 as api;
use crate::request::build::{bytes, create, create_request, number, pull, sandbox_config, under};
use crate::request::hygiene::{Fault, HygieneError, HygieneKind, UnknownField};
use crate::request::read::MAX_LIST;
use crate::request::view::{
    CreateAsk, Flag, MountSource, NamespaceMode, PodSource, Profile, Propagation, UserNamespace,
};

fn read(method: GatedMethod, message: &[u8]) -> Result<Request, HygieneError> {
    decode(method, message, &Tolerated::none()).map(|decoded| decoded.request)
}

fn created(request: &api::CreateContainerRequest) -> Result<Box<CreateAsk>, HygieneError> {
    let request = read(GatedMethod::CreateContainer, &request.encode_to_vec())?;
    let Request::Create(ask) = request else {
        panic!("{request:?}")
    };
    Ok(ask)
}

fn missing(place: &str) -> HygieneError {
    HygieneError::field(place, Fault::Missing)
}

fn with_config(change: impl FnOnce(&mut api::ContainerConfig)) -> api::CreateContainerRequest {
    let mut request = create_request();
    change(request.config.as_mut().unwrap());
    request
}

fn with_context(
    change: impl FnOnce(&mut api::LinuxContainerSecurityContext),
) -> api::CreateContainerRequest {
    with_config(|config| {
        change(
            config
                .linux
                .as_mut()
                .unwrap()
                .security_context
                .as_mut()
                .unwrap(),
        );
    })
}

fn image_mount(host_path: &str) -> api::Mount {
    api::Mount {
        container_path: "/data".to_owned(),
        host_path: host_path.to_owned(),
        readonly: true,
        image: Some(api::ImageSpec {
            image: "sha256:cc".to_owned(),
            user_specified_image: "registry.test/files:1".to_owned(),
            ..api::ImageSpec::default()
        }),
        image_sub_path: "etc".to_owned(),
        ..api::Mount::default()
    }
}

#[test]
fn a_create_reads_as_its_parts() {
    let ask = created(&create_request()).unwrap();
    assert_eq!(ask.sandbox_id, "s-1");
    assert_eq!(ask.container.name, "main");
    assert_eq!(ask.container.image, "sha256:aa");
    assert_eq!(ask.container.user_specified_image, "registry.test/web:1");
    assert_eq!(ask.container.run_as_user, Some(1000));
    assert_eq!(ask.container.privileged, Flag::Off);
    assert_eq!(ask.sandbox.pod.namespace, "shop");
    assert_eq!(ask.sandbox.pod.source, PodSource::Api);
    assert_eq!(ask.sandbox.pod.config_seen, "2026-01-01T00:00:00Z");
    assert_eq!(ask.sandbox.runtime_handler, None);
    let source = MountSource::HostPath("/srv".to_owned());
    assert_eq!(ask.container.mounts[0].source, source);
}

#[test]
fn an_absent_security_context_is_all_off() {
    let ask = created(&with_config(|config| config.linux = None)).unwrap();
    assert_eq!(ask.container.privileged, Flag::Off);
    assert_eq!(ask.container.no_new_privs, Flag::Off);
    assert_eq!(ask.container.run_as_user, None);
    assert_eq!(ask.container.seccomp, None);
    assert_eq!(ask.container.namespaces.network, NamespaceMode::Pod);
    assert_eq!(ask.container.namespaces.user, UserNamespace::None);
}

#[test]
fn uid_0_is_told_from_no_uid() {
    let zero = with_context(|context| context.run_as_user = Some(api::Int64Value { value: 0 }));
    assert_eq!(created(&zero).unwrap().container.run_as_user, Some(0));
    let none = with_context(|context| context.run_as_user = None);
    assert_eq!(created(&none).unwrap().container.run_as_user, None);
}

#[test]
fn an_empty_profile_is_the_runtime_default_and_an_absent_one_is_none() {
    let empty = with_context(|context| context.seccomp = Some(api::SecurityProfile::default()));
    let seccomp = created(&empty).unwrap().container.seccomp;
    assert_eq!(seccomp, Some(Profile::RuntimeDefault));
    assert_eq!(created(&create_request()).unwrap().container.seccomp, None);
}

#[test]
fn a_local_profile_keeps_its_reference() {
    let profile = api::SecurityProfile {
        profile_type: 2,
        localhost_ref: "/p/x.json".to_owned(),
    };
    let local = with_context(|context| context.apparmor = Some(profile));
    let apparmor = created(&local).unwrap().container.apparmor;
    assert_eq!(apparmor, Some(Profile::Localhost("/p/x.json".to_owned())));
}

#[test]
fn a_create_without_its_parts_is_refused() {
    let mut request = create_request();
    request.config = None;
    let error = created(&request).unwrap_err();
    assert_eq!(error, missing("CreateContainerRequest.config"));
    assert_eq!(error.kind(), HygieneKind::Malformed);
    assert_eq!(
        error.to_string(),
        "field `CreateContainerRequest.config` is missing"
    );

    let mut request = create_request();
    request.sandbox_config = None;
    assert_eq!(
        created(&request).unwrap_err(),
        missing("CreateContainerRequest.sandbox_config")
    );

    let mut request = create_request();
    request.sandbox_config.as_mut().unwrap().metadata = None;
    assert_eq!(
        created(&request).unwrap_err(),
        missing("PodSandboxConfig.metadata")
    );

    let request = with_config(|config| config.metadata = None);
    assert_eq!(
        created(&request).unwrap_err(),
        missing("ContainerConfig.metadata")
    );

    let request = with_config(|config| config.image = None);
    assert_eq!(
        created(&request).unwrap_err(),
        missing("ContainerConfig.image")
    );
}

#[test]
fn an_image_volume_reads_as_an_image() {
    let request = with_config(|config| config.mounts = vec![image_mount("")]);
    let source = MountSource::Image {
        image: "sha256:cc".to_owned(),
        user_specified_image: "registry.test/files:1".to_owned(),
        sub_path: "etc".to_owned(),
    };
    assert_eq!(
        created(&request).unwrap().container.mounts[0].source,
        source
    );
}

#[test]
fn an_image_volume_with_a_host_path_is_refused() {
    let request = with_config(|config| config.mounts = vec![image_mount("/etc")]);
    let error = created(&request).unwrap_err();
    assert_eq!(
        error,
        HygieneError::field("Mount.image", Fault::ImageAndHostPath)
    );
    assert_eq!(
        error.to_string(),
        "field `Mount.image` has an image and a host path"
    );
}

#[test]
fn an_empty_image_beside_a_host_path_is_still_both() {
    let mut mount = image_mount("/etc");
    mount.image = Some(api::ImageSpec::default());
    let request = with_config(|config| config.mounts = vec![mount]);
    assert_eq!(
        created(&request).unwrap_err(),
        HygieneError::field("Mount.image", Fault::ImageAndHostPath)
    );
}

#[test]
fn propagation_is_read() {
    let mut mount = image_mount("");
    mount.propagation = 2;
    let request = with_config(|config| config.mounts = vec![mount]);
    let mounts = created(&request).unwrap().container.mounts;
    assert_eq!(mounts[0].propagation, Propagation::Bidirectional);
}

#[test]
fn a_user_namespace_reads_with_its_ranges() {
    let range = api::IdMapping {
        host_id: 65_536,
        container_id: 0,
        length: 65_536,
    };
    let option = |mode| api::NamespaceOption {
        userns_options: Some(api::UserNamespace {
            mode,
            uids: vec![range],
            gids: vec![range],
        }),
        ..api::NamespaceOption::default()
    };
    let pod = with_context(|context| context.namespace_options = Some(option(0)));
    let UserNamespace::Pod { uids, gids } = created(&pod).unwrap().container.namespaces.user else {
        panic!("POD is a user namespace")
    };
    assert_eq!((uids.len(), gids.len(), uids[0].host_id), (1, 1, 65_536));

    let node = with_context(|context| context.namespace_options = Some(option(2)));
    let user = created(&node).unwrap().container.namespaces.user;
    assert_eq!(user, UserNamespace::None);

    let container = with_context(|context| context.namespace_options = Some(option(1)));
    assert_eq!(
        created(&container).unwrap_err(),
        HygieneError::field("UserNamespace.mode", Fault::UserNamespaceMode)
    );
}

#[test]
fn e5_a_list_that_is_longer_than_any_pods_is_refused() {
    let adding = |count: usize| {
        with_context(|context| {
            let capabilities = context.capabilities.get_or_insert_default();
            capabilities.add_capabilities = vec!["CHOWN".to_owned(); count];
        })
    };
    assert!(created(&adding(MAX_LIST)).is_ok());
    let error = created(&adding(MAX_LIST + 1)).unwrap_err();
    assert_eq!(error, HygieneError::TooMany { limit: MAX_LIST });
}

#[test]
fn a_value_of_config_source_that_no_kubelet_writes_is_unstated() {
    for (value, source) in [
        ("api", PodSource::Api),
        ("file", PodSource::File),
        ("http", PodSource::Http),
        ("FILE", PodSource::Unstated),
        ("", PodSource::Unstated),
    ] {
        let mut request = create_request();
        let config = request.sandbox_config.as_mut().unwrap();
        let key = "kubernetes.io/config.source".to_owned();
        config.annotations.insert(key, value.to_owned());
        assert_eq!(
            created(&request).unwrap().sandbox.pod.source,
            source,
            "{value}"
        );
    }
}

#[test]
fn a_sandbox_reads_with_its_handler_ports_and_sysctls() {
    let mut config = sandbox_config();
    config.port_mappings = vec![
        api::PortMapping {
            host_port: 80,
            ..api::PortMapping::default()
        },
        api::PortMapping {
            container_port: 81,
            ..api::PortMapping::default()
        },
    ];
    config.linux = Some(api::LinuxPodSandboxConfig {
        sysctls: [("kernel.shm_rmid_forced".to_owned(), "1".to_owned())].into(),
        security_context: Some(api::LinuxSandboxSecurityContext {
            privileged: true,
            namespace_options: Some(api::NamespaceOption {
                network: 2,
                ..api::NamespaceOption::default()
            }),
            ..api::LinuxSandboxSecurityContext::default()
        }),
        ..api::LinuxPodSandboxConfig::default()
    });
    let message = api::RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: "kata".to_owned(),
    }
    .encode_to_vec();
    let Ok(Request::RunSandbox(sandbox)) = read(GatedMethod::RunPodSandbox, &message) else {
        panic!("a sandbox")
    };
    assert_eq!(sandbox.runtime_handler.as_deref(), Some("kata"));
    assert_eq!(sandbox.host_ports, [80]);
    assert_eq!(sandbox.sysctls["kernel.shm_rmid_forced"], "1");
    assert_eq!(sandbox.privileged, Flag::On);
    assert_eq!(sandbox.namespaces.network, NamespaceMode::Node);
}

#[test]
fn a_sandbox_without_a_config_is_refused() {
    assert_eq!(
        read(GatedMethod::RunPodSandbox, &[]).unwrap_err(),
        missing("RunPodSandboxRequest.config")
    );
}

#[test]
fn a_pull_reads_with_its_pod_and_its_credentials() {
    let Ok(Request::Pull(ask, credentials)) = read(GatedMethod::PullImage, &pull()) else {
        panic!("a pull")
    };
    assert_eq!(ask.image, "registry.test/web:1");
    assert_eq!(ask.sandbox.unwrap().pod.uid, "u-1");
    assert_eq!(credentials.username(), "user-name");
    assert_eq!(credentials.password(), "pass-word");
    assert_eq!(credentials.server_address(), "registry.test");
    assert!(!credentials.is_empty());
}

#[test]
fn a_decoded_pull_prints_no_credentials() {
    let decoded = decode(GatedMethod::PullImage, &pull(), &Tolerated::none()).unwrap();
    let shown = format!("{decoded:?}");
    assert!(shown.contains("PullCredentials(not shown)"), "{shown}");
    assert!(
        !shown.contains("user-name") && !shown.contains("pass-word"),
        "{shown}"
    );
}

#[test]
fn a_pull_without_pod_and_credentials_is_a_pull() {
    let message = under(&[1, 1], b"web");
    let Ok(Request::Pull(ask, credentials)) = read(GatedMethod::PullImage, &message) else {
        panic!("a pull")
    };
    assert_eq!(ask.sandbox, None);
    assert!(credentials.is_empty());
}

#[test]
fn a_pull_without_an_image_is_refused() {
    assert_eq!(
        read(GatedMethod::PullImage, &[]).unwrap_err(),
        missing("PullImageRequest.image")
    );
}

#[test]
fn an_image_status_reads_with_the_kubelets_annotations() {
    let spec = api::ImageSpec {
        image: "web".to_owned(),
        annotations: [("kubernetes.io/config.source".to_owned(), "api".to_owned())].into(),
        ..api::ImageSpec::default()
    };
    let message = api::ImageStatusRequest {
        image: Some(spec),
        verbose: true,
    };
    let Ok(Request::ImageStatus(ask)) = read(GatedMethod::ImageStatus, &message.encode_to_vec())
    else {
        panic!("an image status")
    };
    assert_eq!(ask.image, "web");
    assert_eq!(ask.config_source.as_deref(), Some("api"));
    assert_eq!(ask.config_seen, None);
    assert_eq!(ask.verbose, Flag::On);
}

#[test]
fn a_change_of_resources_holds_only_what_is_there() {
    let message = api::UpdateContainerResourcesRequest {
        container_id: "c-1".to_owned(),
        linux: Some(api::LinuxContainerResources {
            cpuset_cpus: "0-1".to_owned(),
            cpu_quota: -1,
            ..api::LinuxContainerResources::default()
        }),
        ..api::UpdateContainerResourcesRequest::default()
    }
    .encode_to_vec();
    let Ok(Request::UpdateResources(ask)) = read(GatedMethod::UpdateContainerResources, &message)
    else {
        panic!("a change")
    };
    let linux = ask.linux.unwrap();
    assert_eq!(linux.cpuset_cpus, "0-1");
    assert_eq!(linux.cpu_quota, Some(-1));
    assert_eq!(linux.memory_limit, None);
}

#[test]
fn an_annotation_on_a_change_of_resources_is_refused() {
    let message = [bytes(1, b"c-1"), under(&[4, 1], b"blockio")].concat();
    let error = read(GatedMethod::UpdateContainerResources, &message).unwrap_err();
    assert_eq!(error.kind(), HygieneKind::Refused);
    assert_eq!(
        error.to_string(),
        "annotation `blockio` is not allowed when resources change"
    );
}

#[test]
fn an_annotation_is_shown_short_and_in_ascii() {
    let key = format!("a\né{}", "x".repeat(200));
    let message = under(&[4, 1], key.as_bytes());
    let text = read(GatedMethod::UpdateContainerResources, &message)
        .unwrap_err()
        .to_string();
    let start = format!("annotation `a\\x0a\\xc3\\xa9{}...", "x".repeat(47));
    assert!(text.starts_with(&start), "{text}");
    assert_eq!(text.matches('x').count(), 3 + 47 + 57);
}

#[test]
fn the_small_requests_read_as_their_parts() {
    let exec = [bytes(1, b"c-1"), bytes(2, b"ls"), bytes(2, b"-l")].concat();
    let Ok(Request::Exec(ask)) = read(GatedMethod::Exec, &exec) else {
        panic!("an exec")
    };
    assert_eq!((ask.container_id.as_str(), ask.command.len()), ("c-1", 2));
    assert!(matches!(
        read(GatedMethod::ExecSync, &exec),
        Ok(Request::ExecSync(ask)) if ask.command == ["ls", "-l"]
    ));
    assert!(matches!(
        read(GatedMethod::Attach, &bytes(1, b"c-1")),
        Ok(Request::Attach { container_id }) if container_id == "c-1"
    ));
    assert!(matches!(
        read(GatedMethod::StartContainer, &bytes(1, b"c-1")),
        Ok(Request::Start { container_id }) if container_id == "c-1"
    ));
    let forward = [bytes(1, b"s-1"), number(2, 80)].concat();
    assert!(matches!(
        read(GatedMethod::PortForward, &forward),
        Ok(Request::PortForward { sandbox_id, ports }) if sandbox_id == "s-1" && ports == [80]
    ));
}

#[test]
fn a_tolerated_field_is_handed_out_for_the_metric() {
    let field = UnknownField {
        message: "ExecRequest".to_owned(),
        number: 9,
    };
    let tolerated: Tolerated = [field.clone()].into_iter().collect();
    let Decoded { tolerated, .. } = decode(GatedMethod::Exec, &number(9, 1), &tolerated).unwrap();
    assert_eq!(tolerated, [field]);
}

/// A request with a byte changed, cut off, put in, or a piece said twice.
fn spoiled() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![Just(create()), Just(pull())];
    let cuts = (
        any::<proptest::sample::Index>(),
        any::<proptest::sample::Index>(),
    );
    (start, cuts, any::<u8>(), 0..4_u8).prop_map(|(mut message, (a, b), byte, how)| {
        let (a, b) = (a.index(message.len()), b.index(message.len()));
        match how {
            0 => message[a] = byte,
            1 => message.truncate(a),
            2 => message.insert(a, byte),
            _ => {
                let piece = message[a.min(b)..a.max(b)].to_vec();
                message.extend(piece);
            }
        }
        message
    })
}

proptest! {
    #[test]
    fn what_the_scan_lets_pass_prost_reads(message in spoiled()) {
        for method in [GatedMethod::CreateContainer, GatedMethod::PullImage] {
            let name = method.request_message();
            let sound = scan(name, &message, &Tolerated::none()).is_ok();
            let disagreement = HygieneError::field(name, Fault::Truncated);
            let read = read(method, &message);
            prop_assert!(!sound || read.err() != Some(disagreement));
        }
    }
}
