//! The relay against a fake runtime that sees every byte: fidelity, cancellation, deadlines,
//! hygiene, and containerd coming and going.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod relay_support;

#[path = "relay/daemon.rs"]
mod daemon;
#[path = "relay/fidelity.rs"]
mod fidelity;
#[path = "relay/guarded.rs"]
mod guarded;
#[path = "relay/hostile.rs"]
mod hostile;
#[path = "relay/lifetime.rs"]
mod lifetime;
#[path = "relay/settled.rs"]
mod settled;
