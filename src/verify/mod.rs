//! Evidence in, proofs out. Pure.

mod evidence;
mod proof;
mod requirement;

pub use evidence::{BrokenChain, Evidence, NameEvidence};
pub use proof::{Certainty, ImageProof, NameProof, NotProven, prove};
pub use requirement::{Depth, Preloaded, Requirement};
