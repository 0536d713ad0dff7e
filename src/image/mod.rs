//! Image identity: names, digests, documents and the chain between them. Pure.

mod chain;
mod checkpoint;
mod config;
mod digest;
mod id;
pub mod json;
pub mod manifest;
mod pattern;
mod platform;
mod reference;
mod rootfs;

pub use chain::{Chain, ChainError, Goal, Links, Next};
pub use checkpoint::mentions_checkpoint;
pub use config::{ConfigError, ImageConfig};
pub use digest::{Digest, DigestError};
pub use id::{ImageId, ImageString};
pub use manifest::{Descriptor, Document, DocumentError, Index, Kind, Manifest};
pub use pattern::{Pattern, PatternError, PatternUse};
pub use platform::{Features, Platform};
pub use reference::{Reference, ReferenceError, Repository};
pub use rootfs::chain_id;
