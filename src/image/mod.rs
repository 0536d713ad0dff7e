//! Image identity: names, digests, documents and the chain between them. Pure.

mod digest;
mod id;
mod reference;

pub use digest::{Digest, DigestError};
pub use id::{ImageId, ImageString};
pub use reference::{Reference, ReferenceError, Repository};
