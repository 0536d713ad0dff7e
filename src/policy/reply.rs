//! Stage: a denial → gRPC status, in the form that makes the kubelet show its text. Pure.
//!
//! Never NOT_FOUND and never DEADLINE_EXCEEDED: the kubelet reads the first as "gone" and the
//! second as a failed probe.

use super::{Code, Denial, Kind, Subject};

/// Which call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpc {
    /// PullImage.
    PullImage,
    /// RunPodSandbox.
    RunPodSandbox,
    /// CreateContainer.
    CreateContainer,
    /// Another method of the table that the guard judges.
    Gated,
    /// A method that is not in the table, or never carried.
    Unlisted,
}

impl Rpc {
    /// The row of a method of the table that the guard judges, by its name in the CRI.
    pub fn of(method: &str) -> Self {
        match method {
            "PullImage" => Self::PullImage,
            "RunPodSandbox" => Self::RunPodSandbox,
            "CreateContainer" => Self::CreateContainer,
            _ => Self::Gated,
        }
    }
}

/// The status codes that the guard itself answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusCode {
    /// 2.
    Unknown,
    /// 3.
    InvalidArgument,
    /// 7.
    PermissionDenied,
    /// 8.
    ResourceExhausted,
    /// 12.
    Unimplemented,
    /// 14.
    Unavailable,
}

impl StatusCode {
    /// The number of `grpc-status`.
    pub const fn number(self) -> u8 {
        match self {
            Self::Unknown => 2,
            Self::InvalidArgument => 3,
            Self::PermissionDenied => 7,
            Self::ResourceExhausted => 8,
            Self::Unimplemented => 12,
            Self::Unavailable => 14,
        }
    }
}

/// Status code and message of a refusal.
pub fn reply(rpc: Rpc, denial: &Denial) -> (StatusCode, String) {
    let code = status(rpc, denial);
    let prefix = match (rpc, denial.code(), denial.subject()) {
        (Rpc::PullImage, Code::ImgUnreachable, _) => "RegistryUnavailable: ",
        (Rpc::CreateContainer, _, Subject::ImageVolume) => "ImageVolumeMountFailed: ",
        (
            Rpc::PullImage | Rpc::RunPodSandbox | Rpc::CreateContainer | Rpc::Gated | Rpc::Unlisted,
            _,
            _,
        ) => "",
    };
    (code, denial.line_after(prefix))
}

fn status(rpc: Rpc, denial: &Denial) -> StatusCode {
    // A message over its size; every other limit is a denial like others.
    if let (Code::Limit, Subject::Message) = (denial.code(), denial.subject()) {
        return StatusCode::ResourceExhausted;
    }
    match (denial.code(), rpc) {
        (Code::RpcMalformed, _) => return StatusCode::InvalidArgument,
        (Code::RpcUnknownField, _) => return StatusCode::PermissionDenied,
        (Code::RpcRefused, Rpc::Gated) => return StatusCode::PermissionDenied,
        (Code::RpcRefused, _) => return StatusCode::Unimplemented,
        (Code::StateBootstrap | Code::RuntimeUnavailable, _) => return StatusCode::Unavailable,
        _ => {}
    }
    match (rpc, denial.code().kind()) {
        (Rpc::PullImage, _) => StatusCode::Unknown,
        (
            Rpc::RunPodSandbox | Rpc::CreateContainer | Rpc::Gated | Rpc::Unlisted,
            Kind::Undecided,
        ) => StatusCode::Unavailable,
        (
            Rpc::RunPodSandbox | Rpc::CreateContainer | Rpc::Gated | Rpc::Unlisted,
            Kind::Definite,
        ) => StatusCode::PermissionDenied,
    }
}
