//! What the guard asks of the host: which mounts there are, and whether a mount of a container is
//! the kubelet's own work or a path of the host. Refuses nothing itself; what cannot be told is
//! said as [`crate::policy::MountOrigin::Unknown`].

mod classify;
#[cfg(test)]
mod fake;
mod fs;
mod guarded;
mod look;
mod mountinfo;
mod spelled;
mod spot;

pub use classify::{Classifier, KubeletRoot};
pub use fs::{End, HostFs, Node, NodeKind, RealHost, Trail};
pub(crate) use look::look;
pub use mountinfo::{Device, Mount, MountInfoError, MountTable};
