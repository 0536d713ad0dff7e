//! What the ledger remembers: facts, never verdicts.

use serde::{Deserialize, Serialize};

use crate::image::{Digest, Features, ImageId, Links, Platform};
use crate::request::{CreateAsk, PodSource};
use crate::time::Timestamp;

/// A pull that the guard carried, and that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedPull {
    /// The pod's namespace; `None` for a pull without a pod.
    pub namespace: Option<String>,
    /// The normalised repository that was asked for.
    pub repository: String,
    /// The normalised reference that was asked for.
    pub asked: String,
    /// The digest that was spelled or pinned; `None` where the tag went upstream.
    pub digest: Option<Digest>,
    /// The image ID that containerd returned.
    pub id: Digest,
    /// Digests of rules that do not lead to the image, or were not in the repository.
    #[serde(default)]
    pub apart: Vec<Digest>,
    /// The policy in force when it was carried.
    pub policy_version: String,
    /// When.
    #[serde(with = "seconds")]
    pub at: Timestamp,
}

/// One proven way from a judged digest down to an image ID: the record of a walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainFact {
    /// The indexes, outermost first; none where the judged digest is the manifest.
    pub indexes: Vec<Digest>,
    /// The platform manifest.
    pub manifest: Digest,
    /// The image ID: the config's digest.
    pub config: Digest,
    /// The platform that the index gives the manifest.
    pub platform: Option<PlatformFact>,
}

/// A platform, as an index writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformFact {
    /// `os`.
    pub os: String,
    /// `architecture`.
    pub architecture: String,
    /// `variant`.
    pub variant: String,
    /// Whether it asks for features of the operating system.
    pub features: bool,
}

impl ChainFact {
    /// The record of a walk that ended well.
    pub fn of(links: &Links) -> Self {
        Self {
            indexes: links.indexes().to_vec(),
            manifest: *links.manifest(),
            config: *links.id().digest(),
            platform: links.platform().map(|platform| PlatformFact {
                os: platform.os.clone(),
                architecture: platform.architecture.clone(),
                variant: platform.variant.clone(),
                features: platform.features == Features::Some,
            }),
        }
    }

    /// The chain that was walked.
    pub fn links(&self) -> Links {
        Links::recorded(
            self.indexes.clone(),
            self.manifest,
            ImageId::of_config(self.config),
            self.platform.as_ref().map(|platform| Platform {
                os: platform.os.clone(),
                architecture: platform.architecture.clone(),
                variant: platform.variant.clone(),
                features: if platform.features {
                    Features::Some
                } else {
                    Features::None
                },
            }),
        )
    }
}

/// The largest request that is kept with a container, in bytes of JSON.
const MAX_ASK: usize = 64 * 1024;

/// A container that was created through the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFact {
    /// containerd's ID.
    pub id: String,
    /// When.
    #[serde(with = "seconds")]
    pub at: Timestamp,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// Where the kubelet read the pod from.
    pub source: PodSource,
    /// What was asked for, to be judged again under another policy; `None` where that is not needed
    /// or is too large, and containerd is asked.
    pub ask: Option<CreateAsk>,
    /// The image ID, if it was known.
    pub image: Option<Digest>,
    /// The normalised repository that the pod named, if it named one.
    pub repository: Option<String>,
    /// How the pod wrote its image, where that is a reference: containerd before 1.7 does not keep
    /// it. `None` in rows of before.
    #[serde(default)]
    pub named: Option<String>,
}

impl ContainerFact {
    /// The fact without a request that is too large to keep.
    pub(super) fn bounded(mut self) -> Self {
        self.ask = self
            .ask
            .filter(|ask| serde_json::to_vec(ask).is_ok_and(|json| json.len() <= MAX_ASK));
        self
    }
}

/// A sandbox that was run through the guard. What it was asked for is containerd's to tell: labels
/// and annotations are of the tenant's choice, and of the size that the tenant chooses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxFact {
    /// containerd's ID.
    pub id: String,
    /// When.
    #[serde(with = "seconds")]
    pub at: Timestamp,
}

/// A moment as whole seconds since 1970.
mod seconds {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::time::Timestamp;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde's `with` hands references over"
    )]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.unix_seconds())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(from).map(Timestamp::from_unix_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_comes_back_as_it_was_walked() {
        for platform in [None, Some(Platform::linux("arm64", "v8"))] {
            for indexes in [vec![], vec![Digest::of(b"i"), Digest::of(b"j")]] {
                let id = ImageId::of_config(Digest::of(b"c"));
                let links = Links::recorded(indexes, Digest::of(b"m"), id, platform.clone());
                let json = serde_json::to_vec(&ChainFact::of(&links)).unwrap();
                let fact: ChainFact = serde_json::from_slice(&json).unwrap();
                assert_eq!(fact.links(), links);
            }
        }
    }
}
