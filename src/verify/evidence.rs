//! What the edges found for one image. Pure. Hints (repo tags, labels, annotations) have no place
//! here: what cannot be evidence cannot be said.

use crate::image::{ChainError, Digest, ImageId, Links, Repository};

/// Everything that was found for one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Chains that hold, from whatever digest.
    pub links: Vec<Links>,
    /// Chains that were walked towards the image's ID and do not hold.
    pub broken: Vec<BrokenChain>,
    /// What speaks for names.
    pub names: Vec<NameEvidence>,
    /// Digests that are known not to be of the image: read to the end before, or not in the
    /// repository.
    pub apart: Vec<Digest>,
}

/// A chain that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenChain {
    /// Where it started.
    pub judged: Digest,
    /// Why it ended.
    pub error: ChainError,
}

/// What speaks for an image belonging to a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameEvidence {
    /// A pull that this guard carried, and the ID that containerd returned for it.
    CarriedPull {
        /// The repository that was pulled from.
        repository: Repository,
        /// The digest that the forwarded request named; `None` where a tag went as it came.
        judged: Option<Digest>,
        /// What containerd returned.
        id: ImageId,
    },
    /// A registry, or a mirror of it, answered this digest for the repository.
    RegistryAnswer {
        /// The repository that was asked for.
        repository: Repository,
        /// The digest of the bytes that came, or that were asked for and found.
        digest: Digest,
    },
    /// The adoption record: on the node before the guard, under this name.
    Adopted {
        /// The repository of the recorded name.
        repository: Repository,
        /// The recorded digest, if the image had one.
        digest: Option<Digest>,
        /// The recorded ID.
        id: ImageId,
    },
    /// An entry of the bootstrap list that is meant for this pod's namespace.
    Bootstrap {
        /// The entry's repository.
        repository: Repository,
        /// The entry's digest.
        digest: Digest,
    },
}

impl NameEvidence {
    /// The repository that it speaks of.
    pub fn repository(&self) -> &Repository {
        match self {
            Self::CarriedPull { repository, .. }
            | Self::RegistryAnswer { repository, .. }
            | Self::Adopted { repository, .. }
            | Self::Bootstrap { repository, .. } => repository,
        }
    }
}
