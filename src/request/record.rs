//! What containerd itself says of a sandbox: the answer to PodSandboxStatus. Pure. Refuses: an
//! answer that does not say whose the sandbox is, or says it in numbers that have no name.

use std::collections::BTreeMap;
use std::fmt;

use crate::api::runtime_v1::{PodSandboxState, PodSandboxStatusResponse};

use super::hygiene::HygieneError;
use super::read;
use super::view::{Namespaces, Pod};

/// `PodSandboxStatus.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// SANDBOX_READY (0).
    Ready,
    /// SANDBOX_NOTREADY (1).
    NotReady,
}

/// An existing sandbox in containerd's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxRecord {
    /// `id`: the full one, also where the question held a prefix.
    pub id: String,
    /// `metadata`, `labels`, and the kubelet's own annotations.
    pub pod: Pod,
    /// `state`.
    pub readiness: Readiness,
    /// `runtime_handler`; empty is containerd's default.
    pub runtime_handler: String,
    /// `linux.namespaces.options`.
    pub namespaces: Namespaces,
    /// `annotations`, verbatim.
    pub annotations: BTreeMap<String, String>,
}

/// Why an answer says nothing sure of a sandbox: "could not tell".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The answer lacks a part that containerd always gives.
    Missing {
        /// Which, as `Message.field`.
        field: &'static str,
    },
    /// The answer has a part that cannot be read.
    Unreadable {
        /// How.
        fault: HygieneError,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { field } => write!(f, "containerd's answer lacks `{field}`"),
            Self::Unreadable { fault } => write!(f, "containerd's answer cannot be read: {fault}"),
        }
    }
}

impl std::error::Error for RecordError {}

/// The sandbox that a PodSandboxStatus answer describes.
///
/// # Errors
/// No status, no metadata, no id, or an enum number without a name.
pub fn sandbox_from_status(
    response: &PodSandboxStatusResponse,
) -> Result<SandboxRecord, RecordError> {
    let missing = |field| RecordError::Missing { field };
    let status = response
        .status
        .as_ref()
        .ok_or(missing("PodSandboxStatusResponse.status"))?;
    let metadata = status
        .metadata
        .as_ref()
        .ok_or(missing("PodSandboxStatus.metadata"))?;
    if status.id.is_empty() {
        return Err(missing("PodSandboxStatus.id"));
    }
    let options = status
        .linux
        .as_ref()
        .and_then(|linux| linux.namespaces.as_ref())
        .and_then(|namespaces| namespaces.options.clone());
    let readiness = match PodSandboxState::try_from(status.state) {
        Ok(PodSandboxState::SandboxReady) => Readiness::Ready,
        Ok(PodSandboxState::SandboxNotready) => Readiness::NotReady,
        Err(_) => return Err(missing("PodSandboxStatus.state")),
    };
    Ok(SandboxRecord {
        id: status.id.clone(),
        pod: read::pod(metadata, &status.labels, &status.annotations),
        readiness,
        runtime_handler: status.runtime_handler.clone(),
        namespaces: read::namespaces(options).map_err(|fault| RecordError::Unreadable { fault })?,
        annotations: status.annotations.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Readiness, RecordError, sandbox_from_status};
    use crate::api::runtime_v1 as api;
    use crate::request::hygiene::{Fault, HygieneError};
    use crate::request::view::NamespaceMode;

    fn answer(network: i32) -> api::PodSandboxStatusResponse {
        let options = api::NamespaceOption {
            network,
            ..api::NamespaceOption::default()
        };
        api::PodSandboxStatusResponse {
            status: Some(api::PodSandboxStatus {
                id: "s-1".to_owned(),
                metadata: crate::request::build::sandbox_config().metadata,
                runtime_handler: "kata".to_owned(),
                linux: Some(api::LinuxPodSandboxStatus {
                    namespaces: Some(api::Namespace {
                        options: Some(options),
                    }),
                }),
                ..api::PodSandboxStatus::default()
            }),
            ..api::PodSandboxStatusResponse::default()
        }
    }

    #[test]
    fn a_status_reads_as_a_record() {
        let record = sandbox_from_status(&answer(2)).unwrap();
        assert_eq!(record.id, "s-1");
        assert_eq!(record.pod.namespace, "shop");
        assert_eq!(record.runtime_handler, "kata");
        assert_eq!(record.readiness, Readiness::Ready);
        assert_eq!(record.namespaces.network, NamespaceMode::Node);
    }

    #[test]
    fn a_status_without_metadata_says_nothing() {
        let mut answer = answer(0);
        answer.status.as_mut().unwrap().metadata = None;
        let field = "PodSandboxStatus.metadata";
        let error = sandbox_from_status(&answer).unwrap_err();
        assert_eq!(error, RecordError::Missing { field });
        assert_eq!(
            error.to_string(),
            "containerd's answer lacks `PodSandboxStatus.metadata`"
        );
    }

    #[test]
    fn an_answer_without_a_status_says_nothing() {
        let field = "PodSandboxStatusResponse.status";
        let error = sandbox_from_status(&api::PodSandboxStatusResponse::default());
        assert_eq!(error, Err(RecordError::Missing { field }));
    }

    #[test]
    fn a_namespace_mode_without_a_name_is_not_guessed() {
        let fault = HygieneError::field("NamespaceOption.network", Fault::Enum(7));
        assert_eq!(
            sandbox_from_status(&answer(7)),
            Err(RecordError::Unreadable { fault })
        );
    }
}
