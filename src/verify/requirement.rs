//! What is to be proven of one image. Pure.

use crate::image::{Digest, ImageId, Reference};

/// One image of one call: what will run, and what the pod calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What containerd will start: `config.image.image` as an ID.
    pub id: ImageId,
    /// What the pod asked for: `user_specified_image`, normalised.
    pub reference: Reference,
    /// How much the rules need to know.
    pub depth: Depth,
    /// Digests that rules ask about: whether they, too, are digests of the image.
    pub asked: Vec<Digest>,
}

/// How much of an image must be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// That the ID belongs to the repository: no rule asks for a digest, signature or attestation.
    Name,
    /// Also the digests that lead to the ID.
    Digests,
}

/// PolicySet `preloaded`: what images count for that were on the node before the guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preloaded {
    /// They must be proven like all others.
    #[default]
    Verify,
    /// The adoption record proves their names.
    Adopt,
}
