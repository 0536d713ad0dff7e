//! A real kubelet runs static pods through the guard, on containerd 2.x and on Debian's 1.6: what
//! starts, what is denied, and what a person reads in the pod's status.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod support;

#[path = "e2e_kubelet/node.rs"]
mod node;
#[path = "e2e_kubelet/front.rs"]
mod front;

#[path = "e2e_kubelet/denied.rs"]
mod denied;
#[path = "e2e_kubelet/explained.rs"]
mod explained;
#[path = "e2e_kubelet/older.rs"]
mod older;
#[path = "e2e_kubelet/pause.rs"]
mod pause;
#[path = "e2e_kubelet/preloaded.rs"]
mod preloaded;
#[path = "e2e_kubelet/restarts.rs"]
mod restarts;
#[path = "e2e_kubelet/tags.rs"]
mod tags;
#[path = "e2e_kubelet/users.rs"]
mod users;
#[path = "e2e_kubelet/volumes.rs"]
mod volumes;
