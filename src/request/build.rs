//! Wire bytes by hand, for tests.

use prost::Message as _;
use prost::encoding::encode_varint;

use crate::api::runtime_v1 as api;

/// A varint field.
pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_varint(field << 3, &mut out);
    encode_varint(value, &mut out);
    out
}

/// A length-delimited field.
pub(crate) fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_varint(field << 3 | 2, &mut out);
    encode_varint(value.len().try_into().unwrap(), &mut out);
    out.extend_from_slice(value);
    out
}

/// `value` under the fields of `path`, outermost first.
pub(crate) fn under(path: &[u64], value: &[u8]) -> Vec<u8> {
    path.iter()
        .rev()
        .fold(value.to_vec(), |inner, field| bytes(*field, &inner))
}

/// A sandbox config as a kubelet would send it.
pub(crate) fn sandbox_config() -> api::PodSandboxConfig {
    let word = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: "web".to_owned(),
            uid: "u-1".to_owned(),
            namespace: "shop".to_owned(),
            attempt: 0,
        }),
        log_directory: "/var/log/pods/shop_web_u-1".to_owned(),
        labels: [word("app", "web")].into(),
        annotations: [
            word("kubernetes.io/config.source", "api"),
            word("kubernetes.io/config.seen", "2026-01-01T00:00:00Z"),
        ]
        .into(),
        ..api::PodSandboxConfig::default()
    }
}

/// A container as a kubelet would send it.
pub(crate) fn create_request() -> api::CreateContainerRequest {
    api::CreateContainerRequest {
        pod_sandbox_id: "s-1".to_owned(),
        config: Some(api::ContainerConfig {
            metadata: Some(api::ContainerMetadata {
                name: "main".to_owned(),
                attempt: 0,
            }),
            image: Some(api::ImageSpec {
                image: "sha256:aa".to_owned(),
                user_specified_image: "registry.test/web:1".to_owned(),
                ..api::ImageSpec::default()
            }),
            envs: vec![api::KeyValue {
                key: "RAW".to_owned(),
                value: vec![0xff, 0xfe],
            }],
            mounts: vec![api::Mount {
                container_path: "/data".to_owned(),
                host_path: "/srv".to_owned(),
                ..api::Mount::default()
            }],
            linux: Some(api::LinuxContainerConfig {
                security_context: Some(api::LinuxContainerSecurityContext {
                    run_as_user: Some(api::Int64Value { value: 1000 }),
                    supplemental_groups: vec![1, 2, 300],
                    ..api::LinuxContainerSecurityContext::default()
                }),
                ..api::LinuxContainerConfig::default()
            }),
            ..api::ContainerConfig::default()
        }),
        sandbox_config: Some(sandbox_config()),
    }
}

/// [`create_request`] as bytes.
pub(crate) fn create() -> Vec<u8> {
    create_request().encode_to_vec()
}

/// A pull for a pod, with credentials.
pub(crate) fn pull() -> Vec<u8> {
    api::PullImageRequest {
        image: Some(api::ImageSpec {
            image: "registry.test/web:1".to_owned(),
            annotations: [("team".to_owned(), "shop".to_owned())].into(),
            ..api::ImageSpec::default()
        }),
        auth: Some(api::AuthConfig {
            username: "user-name".to_owned(),
            password: "pass-word".to_owned(),
            server_address: "registry.test".to_owned(),
            ..api::AuthConfig::default()
        }),
        sandbox_config: Some(sandbox_config()),
    }
    .encode_to_vec()
}
