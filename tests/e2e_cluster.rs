//! A one-node cluster with the guard in its node: what the API server takes and the node denies, and
//! what a person then reads in the pod's status and in its events.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod support;

#[path = "e2e_cluster/node.rs"]
mod node;

#[path = "e2e_cluster/admission.rs"]
mod admission;
#[path = "e2e_cluster/containers.rs"]
mod containers;
#[path = "e2e_cluster/ephemeral.rs"]
mod ephemeral;
#[path = "e2e_cluster/resources.rs"]
mod resources;
#[path = "e2e_cluster/sandboxes.rs"]
mod sandboxes;
#[path = "e2e_cluster/secrets.rs"]
mod secrets;
