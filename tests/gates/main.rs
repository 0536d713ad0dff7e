//! The gates on real parts: the built guard between a CRI client and Debian's containerd, with a real
//! registry. Which image runs, what is refused and with which text, what survives.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a suite fails by panicking, in its helpers too"
)]

#[path = "../support/mod.rs"]
mod support;

mod crash;
mod identity;
mod mirrors;
mod moving;
mod node;
mod policy;
mod preloaded;
mod private;
mod report;
mod states;
