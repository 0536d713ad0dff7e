//! Where policy comes from: today a local directory of a single machine.

mod local;
mod trusted;

pub use local::{LocalError, SourceFile, read_directory};
