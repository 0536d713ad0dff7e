//! Stage: body of a gated call → [`Request`]. Pure. Refuses: all that [`super::scan()`] and the
//! readers of views refuse. The bytes that go upstream are never made from the result.

use prost::Message;

use crate::api::runtime_v1 as api;

use super::ask::{ExecAsk, PullCredentials, Request};
use super::hygiene::{Fault, HygieneError, UnknownField};
use super::method::GatedMethod;
use super::read;
use super::scan::{Tolerated, scan};

/// A request that passed hygiene, and the unknown fields that policy tolerates in it.
#[derive(Debug)]
pub struct Decoded {
    /// What it asks for.
    pub request: Request,
    /// Unknown fields that are there and tolerated: for the metric. Sorted, each once.
    pub tolerated: Vec<UnknownField>,
}

/// Reads `message` (without its gRPC prefix) as a request of `method`.
///
/// # Errors
/// Every doubt: see [`HygieneError`].
pub fn decode(
    method: GatedMethod,
    message: &[u8],
    tolerated: &Tolerated,
) -> Result<Decoded, HygieneError> {
    let scanned = scan(method.request_message(), message, tolerated)?;
    Ok(Decoded {
        request: request(method, scanned.message())?,
        tolerated: scanned.tolerated().iter().cloned().collect(),
    })
}

/// The request in bytes that passed hygiene, or in such bytes with our own edit behind them.
pub(crate) fn request(method: GatedMethod, message: &[u8]) -> Result<Request, HygieneError> {
    Ok(match method {
        GatedMethod::PullImage => {
            let request: api::PullImageRequest = message_of(method, message)?;
            let credentials = request.auth.map(PullCredentials::from).unwrap_or_default();
            let ask = read::pull(request.image, request.sandbox_config.as_ref())?;
            Request::Pull(Box::new(ask), credentials)
        }
        GatedMethod::ImageStatus => {
            Request::ImageStatus(read::image_status(message_of(method, message)?)?)
        }
        GatedMethod::RunPodSandbox => {
            Request::RunSandbox(Box::new(read::run_sandbox(message_of(method, message)?)?))
        }
        GatedMethod::CreateContainer => {
            Request::Create(Box::new(read::create(message_of(method, message)?)?))
        }
        GatedMethod::UpdateContainerResources => {
            Request::UpdateResources(Box::new(read::update(message_of(method, message)?)?))
        }
        GatedMethod::Exec => {
            let request: api::ExecRequest = message_of(method, message)?;
            Request::Exec(ExecAsk {
                container_id: request.container_id,
                command: request.cmd,
            })
        }
        GatedMethod::ExecSync => {
            let request: api::ExecSyncRequest = message_of(method, message)?;
            Request::ExecSync(ExecAsk {
                container_id: request.container_id,
                command: request.cmd,
            })
        }
        GatedMethod::Attach => {
            let request: api::AttachRequest = message_of(method, message)?;
            Request::Attach {
                container_id: request.container_id,
            }
        }
        GatedMethod::PortForward => {
            let request: api::PortForwardRequest = message_of(method, message)?;
            Request::PortForward {
                sandbox_id: request.pod_sandbox_id,
                ports: request.port,
            }
        }
        GatedMethod::CheckpointContainer => {
            let request: api::CheckpointContainerRequest = message_of(method, message)?;
            Request::Checkpoint {
                container_id: request.container_id,
            }
        }
        GatedMethod::StartContainer => {
            let request: api::StartContainerRequest = message_of(method, message)?;
            Request::Start {
                container_id: request.container_id,
            }
        }
    })
}

/// The scan is stricter than prost: this fails only if they disagree, and then it denies.
fn message_of<M: Message + Default>(method: GatedMethod, bytes: &[u8]) -> Result<M, HygieneError> {
    M::decode(bytes).map_err(|_| HygieneError::field(method.request_message(), Fault::Truncated))
}

#[cfg(test)]
mod tests;
