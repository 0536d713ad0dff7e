//! The gates on real parts: the built guard between a CRI client and Debian's containerd, with a real
//! registry. Which image runs, what is refused and with which text, what survives.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a suite fails by panicking, in its helpers too"
)]

#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "the suite on a fake runtime uses the rest"
)]
#[path = "../relay_support/mod.rs"]
mod relay_support;
#[path = "../support/mod.rs"]
mod support;

#[expect(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "another suite's registry: it serves more than is asked of it here"
)]
#[path = "../registry_attacks/server.rs"]
mod server;

mod audit;
mod content;
mod crafted;
mod crash;
mod digests;
mod exceptions;
mod faults;
mod hostile;
mod identity;
mod mirrors;
mod moving;
mod node;
mod pause;
mod policy;
mod preloaded;
mod private;
mod report;
mod rules;
mod running;
mod runtime;
mod stand_in;
mod states;
mod texts;
mod together;
mod warn;
