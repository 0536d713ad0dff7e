//! What is proven of an image. Pure.

use crate::image::{Digest, Repository};

/// By what it is proven that an image belongs to the repository that the pod named
/// (docs/decisions: proof of the name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameProof {
    /// A pull that this guard carried returned this image for this repository.
    CarriedPull,
    /// The registry (or its mirror) answered this digest for this repository.
    Registry,
    /// The adoption record: on the node before the guard, under `preloaded: Adopt`.
    Adopted,
    /// An entry of the bootstrap list.
    Bootstrap,
}

/// An image of which bytes and name are proven. Only [`crate::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageProof {
    pub(crate) repository: Repository,
    pub(crate) config: Digest,
    pub(crate) digests: Vec<Digest>,
    pub(crate) name: NameProof,
}

impl ImageProof {
    /// The repository that the pod named, proven to hold this image.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The image ID: digest of the image config.
    pub fn config(&self) -> &Digest {
        &self.config
    }

    /// Every digest that the chain proves for this image, index before platform manifest. Empty
    /// where only the ID was asked for (a carried pull under rules that need no digest).
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// What proved the name.
    pub fn name(&self) -> &NameProof {
        &self.name
    }
}
