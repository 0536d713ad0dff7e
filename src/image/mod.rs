//! Image identity: names, digests, documents and the chain between them. Pure.

mod digest;
mod id;
mod pattern;
mod reference;

pub use digest::{Digest, DigestError};
pub use id::{ImageId, ImageString};
pub use pattern::{Pattern, PatternError, PatternUse};
pub use reference::{Reference, ReferenceError, Repository};
