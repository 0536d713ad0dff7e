//! Evidence in, proofs out. Pure.

mod proof;

pub use proof::{ImageProof, NameProof};
