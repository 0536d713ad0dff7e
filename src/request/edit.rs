//! Edits as appended bytes. A protobuf reader merges a repeated occurrence of a singular message and
//! takes the last scalar (encoding guide, "Last One Wins"), so what stands behind the received bytes
//! changes one scalar and nothing else: unknown fields, order and encoding stay. Pure. Refuses: an
//! edited message that does not read as meant.

use std::fmt;

use super::ask::Request;
use super::decode;
use super::hygiene::HygieneError;
use super::method::GatedMethod;

/// Received bytes with an edit of ours behind them. Made only here, from bytes that passed hygiene.
#[derive(Clone, PartialEq, Eq)]
pub struct Edited {
    method: GatedMethod,
    message: Vec<u8>,
}

impl Edited {
    /// The message as it goes upstream, without the gRPC prefix.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The request as its reader will see it: received and edit merged, to be judged again.
    ///
    /// # Errors
    /// As in [`super::decode()`], without the scan: hygiene was judged on the received bytes.
    pub fn request(&self) -> Result<Request, HygieneError> {
        decode::request(self.method, &self.message)
    }
}

impl fmt::Debug for Edited {
    /// A pull holds credentials: the bytes are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Edited({} bytes)", self.message.len())
    }
}

/// Why an edit was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The received bytes do not pass hygiene.
    Hygiene {
        /// Why.
        error: HygieneError,
    },
    /// The edited message does not read as meant.
    Unread {
        /// The field, as `Message.field`.
        field: &'static str,
    },
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hygiene { error } => write!(f, "{error}"),
            Self::Unread { field } => write!(f, "the edit of `{field}` does not read as meant"),
        }
    }
}

impl std::error::Error for EditError {}

impl From<HygieneError> for EditError {
    fn from(error: HygieneError) -> Self {
        Self::Hygiene { error }
    }
}

/// PullImage with `reference` (repo@D) for its image: `image` (1) { `image` (1) }. The pod's own
/// string, the credentials and the sandbox stay.
///
/// # Errors
/// The message is no PullImageRequest with an image, or the result does not read as meant.
pub fn pin_pull(message: &[u8], reference: &str) -> Result<Edited, EditError> {
    let method = GatedMethod::PullImage;
    let edited = appended(method, message, &nested(&[1, 1], reference.as_bytes()));
    let unread = EditError::Unread {
        field: "ImageSpec.image",
    };
    match (decode::request(method, message)?, edited.request()?) {
        (Request::Pull(mut before, _), Request::Pull(after, _)) => {
            reference.clone_into(&mut before.image);
            if before == after {
                Ok(edited)
            } else {
                Err(unread)
            }
        }
        _ => Err(unread),
    }
}

/// CreateContainer with `id` (a full image ID) for the container's image: `config` (2) { `image` (2)
/// { `image` (1) } }. The pod's own string stays.
///
/// # Errors
/// The message is no CreateContainerRequest with an image, or the result does not read as meant.
pub fn name_image(message: &[u8], id: &str) -> Result<Edited, EditError> {
    let method = GatedMethod::CreateContainer;
    let edited = appended(method, message, &nested(&[2, 2, 1], id.as_bytes()));
    let unread = EditError::Unread {
        field: "ContainerConfig.image",
    };
    match (decode::request(method, message)?, edited.request()?) {
        (Request::Create(mut before), Request::Create(after)) => {
            id.clone_into(&mut before.container.image);
            if before == after {
                Ok(edited)
            } else {
                Err(unread)
            }
        }
        _ => Err(unread),
    }
}

/// Limits that a policy fills in, on the wire's own scales. 0 and less is nothing to fill in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `memory_limit_in_bytes`.
    pub memory: Option<i64>,
    /// `cpu_quota`, microseconds in the request's own period.
    pub cpu_quota: Option<i64>,
}

/// CreateContainer with limits for what the container does not limit: `config` (2) { `linux` (15) {
/// `resources` (1) { `cpu_quota` (2), `memory_limit_in_bytes` (4) } } }. What the request says of
/// resources stays.
///
/// # Errors
/// The message is no CreateContainerRequest, or the result does not read as meant: also where it
/// has a limit of its own already.
pub fn fill_limits(message: &[u8], limits: Limits) -> Result<Edited, EditError> {
    let method = GatedMethod::CreateContainer;
    let mut resources = Vec::new();
    for (number, value) in [(2_u8, limits.cpu_quota), (4, limits.memory)] {
        if let Some(value) = value {
            resources.push(number << 3);
            prost::encoding::encode_varint(value.cast_unsigned(), &mut resources);
        }
    }
    let edited = appended(method, message, &nested(&[2, 15, 1], &resources));
    let unread = EditError::Unread {
        field: "LinuxContainerConfig.resources",
    };
    match (decode::request(method, message)?, edited.request()?) {
        (Request::Create(mut before), Request::Create(after)) => {
            let own = &mut before.container.resources;
            if limits.memory.is_some() && own.memory_limit.is_some() {
                return Err(unread);
            }
            own.memory_limit = own.memory_limit.or(limits.memory);
            own.cpu_quota = limits.cpu_quota.or(own.cpu_quota);
            if before == after {
                Ok(edited)
            } else {
                Err(unread)
            }
        }
        _ => Err(unread),
    }
}

fn appended(method: GatedMethod, message: &[u8], edit: &[u8]) -> Edited {
    Edited {
        method,
        message: [message, edit].concat(),
    }
}

/// `value` as the length-delimited field that `path` leads to; every number below 16.
fn nested(path: &[u8], value: &[u8]) -> Vec<u8> {
    path.iter().rev().fold(value.to_vec(), |inner, number| {
        let mut outer = Vec::with_capacity(inner.len().saturating_add(6));
        outer.push(number << 3 | 2);
        prost::encoding::encode_varint(u64::try_from(inner.len()).unwrap_or(u64::MAX), &mut outer);
        outer.extend_from_slice(&inner);
        outer
    })
}

#[cfg(test)]
mod tests;
