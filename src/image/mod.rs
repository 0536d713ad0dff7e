//! Image identity: names, digests, documents and the chain between them. Pure.

mod digest;
mod reference;

pub use digest::{Digest, DigestError};
pub use reference::{Reference, ReferenceError, Repository};
