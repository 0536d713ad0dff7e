//! The CRI messages that the guard reads: `runtime_v1` is made from proto/runtime_v1.proto, and
//! tests/proto_fresh.rs holds it to that. Pure. Refuses: to print credentials and environments.

use std::fmt;

#[rustfmt::skip]
#[expect(
    missing_docs,
    reason = "generated: the documentation of a field is the comment in proto/runtime_v1.proto"
)]
pub mod runtime_v1;

use runtime_v1::{AuthConfig, KeyValue};

/// `runtime_v1.proto` as bytes of a `google.protobuf.FileDescriptorSet`, without comments: what
/// [`crate::request`] tells known fields from unknown ones by.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!("runtime_v1.fds");

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthConfig(not shown)")
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyValue(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::runtime_v1::{AuthConfig, ContainerConfig, KeyValue, PullImageRequest};

    #[test]
    fn a_pull_prints_no_credentials() {
        let request = PullImageRequest {
            auth: Some(AuthConfig {
                username: "user-name".to_owned(),
                password: "pass-word".to_owned(),
                ..AuthConfig::default()
            }),
            ..PullImageRequest::default()
        };
        let shown = format!("{request:?}");
        assert!(
            shown.contains("auth: Some(AuthConfig(not shown))"),
            "{shown}"
        );
        assert!(
            !shown.contains("user-name") && !shown.contains("pass-word"),
            "{shown}"
        );
    }

    #[test]
    fn a_container_prints_no_environment() {
        let config = ContainerConfig {
            envs: vec![KeyValue {
                key: "TOKEN".to_owned(),
                value: b"s3cret".to_vec(),
            }],
            ..ContainerConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("envs: [KeyValue(not shown)]"), "{shown}");
        assert!(!shown.contains("TOKEN"), "{shown}");
    }
}
