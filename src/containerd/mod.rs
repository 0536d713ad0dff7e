//! What the guard asks of containerd on its own behalf: image facts, sandbox and container records,
//! content, tag aliases. Nothing that the kubelet sends passes here; the relay has its own
//! connection. Every question takes the time it may cost. Refuses: answers over a limit, blobs whose
//! bytes are not their digest, image IDs that are no digest.

mod channel;
mod content;
mod cri;
mod error;
mod facts;
mod images;
mod messages;
mod record;
mod rootfs;
mod tasks;

pub use channel::Containerd;
pub use error::ContainerdError;
pub use facts::{RegistryFacts, RuntimeFacts, RuntimeHandler, VERIFYING_SNAPSHOTTERS};
pub use images::{Candidate, ImageTarget};
pub use record::{ContainerEntry, ContainerState, ImageEntry, SandboxEntry, SandboxState, Version};
