//! What the ledger remembers: facts, never verdicts.

use serde::{Deserialize, Serialize};

use crate::image::Digest;
use crate::request::{CreateAsk, PodSource, Sandbox};
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
    /// The policy in force when it was carried.
    pub policy_version: String,
    /// When.
    #[serde(with = "seconds")]
    pub at: Timestamp,
}

/// One proven way from a judged digest down to an image ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainFact {
    /// The digest that was judged: the index, or the manifest where there is none.
    pub judged: Digest,
    /// The index, if there is one.
    pub index: Option<Digest>,
    /// The platform manifest.
    pub manifest: Digest,
    /// The image ID: the config's digest.
    pub config: Digest,
}

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
    /// What was asked for, to be judged again under another policy.
    pub ask: CreateAsk,
    /// The image ID, if it was known.
    pub image: Option<Digest>,
    /// The normalised repository that the pod named, if it named one.
    pub repository: Option<String>,
}

/// A sandbox that was run through the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxFact {
    /// containerd's ID.
    pub id: String,
    /// When.
    #[serde(with = "seconds")]
    pub at: Timestamp,
    /// What was asked for; `pod.config_seen` leads from an ImageStatus to its pod.
    pub sandbox: Sandbox,
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
