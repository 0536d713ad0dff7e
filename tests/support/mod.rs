//! Real parts for the suites: containerd, a registry, a kubelet, the guard and a CRI client.
//!
//! Everything runs on loopback, below one temporary root per [`Lab`], and is gone again when its
//! handles are dropped, also while a test panics. Nothing here touches a containerd, a kubelet or a
//! registry that it did not start. `tests/README.md` says how to use it.
#![expect(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "test support: a broken laboratory must stop the test where it broke, and no suite uses all of it"
)]

pub mod api;
pub mod cluster;
pub mod containerd;
pub mod cri;
pub mod guard;
pub mod kubelet;
pub mod lab;
pub mod messages;
pub mod net;
pub mod parts;
pub mod pods;
pub mod process;
pub mod registry;
pub mod wait;

pub use api::Api;
pub use cluster::Cluster;
pub use containerd::Containerd;
pub use cri::Cri;
pub use guard::{Guard, GuardSettings};
pub use kubelet::Kubelet;
pub use lab::Lab;
pub use parts::Parts;
pub use registry::{Pushed, Registry};
pub use wait::until;
