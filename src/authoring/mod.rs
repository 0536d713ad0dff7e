//! From YAML to policy.
//!
//! Used by the command line, and by the daemon through one function that `main` hands it where the
//! node reads a local directory.

pub mod kubelet;
pub mod verdict;
mod yaml;

pub use yaml::{Authored, AuthoringError, Diagnostic, compile_dir};
