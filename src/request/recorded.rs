//! A CreateContainer or RunPodSandbox that happened before the guard looked, from containerd's verbose
//! status: info holds the configs of the request as JSON, under the field names of the proto. Pure. The
//! result is judged, never forwarded. Refuses: JSON that lacks them or has them in other types.

use std::fmt;

use serde::Deserialize;

use crate::api::runtime_v1 as api;

use super::hygiene::HygieneError;
use super::read;
use super::view::{CreateAsk, Sandbox};

/// Why a container's request cannot be told from containerd's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordedError {
    /// The JSON cannot be read.
    Json {
        /// Whose info: `container` or `sandbox`.
        of: &'static str,
    },
    /// It holds no config.
    NoConfig {
        /// Whose info: `container` or `sandbox`.
        of: &'static str,
    },
    /// The configs are no request that the guard can read.
    Unreadable {
        /// Why.
        fault: HygieneError,
    },
}

impl fmt::Display for RecordedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { of } => write!(f, "containerd's info of the {of} cannot be read"),
            Self::NoConfig { of } => write!(f, "containerd's info of the {of} holds no config"),
            Self::Unreadable { fault } => write!(f, "containerd's record cannot be read: {fault}"),
        }
    }
}

impl std::error::Error for RecordedError {}

/// The request that made a container: `container_info` and `sandbox_info` are info `info` of
/// ContainerStatus and PodSandboxStatus (verbose).
///
/// # Errors
/// [`RecordedError`]: "could not tell".
pub fn recorded_create(
    sandbox_id: &str,
    container_info: &str,
    sandbox_info: &str,
) -> Result<CreateAsk, RecordedError> {
    let container = config::<api::ContainerConfig>("container", container_info)?;
    let sandbox = config::<api::PodSandboxConfig>("sandbox", sandbox_info)?;
    read::create(api::CreateContainerRequest {
        pod_sandbox_id: sandbox_id.to_owned(),
        config: Some(container),
        sandbox_config: Some(sandbox),
    })
    .map_err(|fault| RecordedError::Unreadable { fault })
}

/// The request that made a sandbox: `info` is info `info` of PodSandboxStatus (verbose).
///
/// # Errors
/// [`RecordedError`]: "could not tell".
pub fn recorded_sandbox(info: &str, runtime_handler: &str) -> Result<Sandbox, RecordedError> {
    let config = config::<api::PodSandboxConfig>("sandbox", info)?;
    read::run_sandbox(api::RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: runtime_handler.to_owned(),
    })
    .map_err(|fault| RecordedError::Unreadable { fault })
}

/// containerd's info object, of which only the request's config matters here.
#[derive(Deserialize)]
struct Info<C> {
    config: Option<C>,
}

fn config<C: for<'de> Deserialize<'de>>(of: &'static str, text: &str) -> Result<C, RecordedError> {
    let info: Info<C> = serde_json::from_str(text).map_err(|_| RecordedError::Json { of })?;
    info.config.ok_or(RecordedError::NoConfig { of })
}

#[cfg(test)]
mod tests {
    use super::super::view::Flag;
    use super::*;

    const SANDBOX: &str = r#"{"pid":1,"config":{"metadata":{"name":"p","uid":"u","namespace":"n"},
        "annotations":{"kubernetes.io/config.source":"file"},
        "linux":{"security_context":{"namespace_options":{"network":2,"pid":1}}}}}"#;
    const CONTAINER: &str = r#"{"sandboxID":"s","config":{"metadata":{"name":"c"},
        "image":{"image":"sha256:aa","user_specified_image":"r.example/a:1"},
        "envs":[{"key":"K","value":"AAEC"}],
        "mounts":[{"container_path":"/m","host_path":"/etc","readonly":true}],
        "linux":{"resources":{"cpu_shares":2},"security_context":{"privileged":true,
        "run_as_user":{},"masked_paths":["/proc/kcore"]}}}}"#;

    #[test]
    fn a_container_of_before_is_read_from_containerds_json() {
        let ask = recorded_create("s", CONTAINER, SANDBOX).unwrap();
        assert_eq!(ask.container.user_specified_image, "r.example/a:1");
        assert_eq!(ask.container.privileged, Flag::On);
        assert_eq!(ask.container.run_as_user, Some(0));
        assert_eq!(ask.sandbox.pod.namespace, "n");
    }

    #[test]
    fn a_sandbox_of_before_is_read_with_the_handler_that_runs_it() {
        let sandbox = recorded_sandbox(SANDBOX, "kata").unwrap();
        assert_eq!(sandbox.pod.name, "p");
        assert_eq!(sandbox.runtime_handler.as_deref(), Some("kata"));
        let error = recorded_sandbox("{}", "kata").unwrap_err();
        assert_eq!(error, RecordedError::NoConfig { of: "sandbox" });
    }

    #[test]
    fn info_without_a_config_is_an_error() {
        let error = recorded_create("s", "{}", SANDBOX).unwrap_err();
        assert_eq!(error, RecordedError::NoConfig { of: "container" });
    }

    #[test]
    fn text_that_is_not_json_is_an_error() {
        let error = recorded_create("s", CONTAINER, "").unwrap_err();
        assert_eq!(error, RecordedError::Json { of: "sandbox" });
    }
}
