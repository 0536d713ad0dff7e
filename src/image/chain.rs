//! The chain from a digest that was judged to an image ID, by hash. Pure. Refuses bytes that are
//! not those of their digest, and digests that do not lead to the image.
//!
//! ```text
//! D ─sha256→ index ─descriptor→ (index →)* manifest ─config.digest→ image ID
//! ```
//! The caller fetches: [`Chain::next`] says which blob is needed, [`Chain::supply`] takes its
//! bytes, [`Chain::missing`] says that it is not to be had. Every blob is hashed here, so it does
//! not matter where it came from. With a wanted ID every descendant of an index is accepted, since
//! all are bound by hash; without one, what containerd would run on the node is followed.

use std::fmt;

use super::manifest::{Descriptor, Document, DocumentError, Index, Manifest};
use super::{Digest, ImageId, Platform};
use crate::limits::Limits;

/// Indexes above one manifest, at most.
const MAX_INDEXES: usize = 4;
/// Documents read for one chain, at most.
const MAX_DOCUMENTS: usize = 128;

/// Where a chain is to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To this image, whatever its platform.
    Id(ImageId),
    /// To the image that containerd would run on the node.
    Pick,
    /// To the image that containerd 1.x would run there.
    PickOfOlder,
}

/// A chain that is being walked.
#[derive(Clone, Debug)]
pub struct Chain {
    judged: Digest,
    goal: Goal,
    node: Platform,
    limits: Limits,
    /// Still to be read, next one last.
    open: Vec<Step>,
    read: usize,
    /// What spoke against an entry of an index; another entry may still lead to the goal.
    against: Option<ChainError>,
    /// A blob that was not to be had; it might have led to the goal.
    missing: Option<Digest>,
    end: Option<Result<Links, ChainError>>,
}

/// What the walk needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The bytes of one blob.
    Need {
        /// Its digest.
        digest: Digest,
        /// Its media type, where it is known.
        media_type: Option<String>,
        /// Nothing longer is worth reading.
        max_bytes: usize,
    },
    /// Nothing: the chain holds.
    Done(Links),
    /// Nothing: it does not.
    Broken(ChainError),
}

/// A chain that holds: made only by walking one, or from the ledger's record of a walk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Links {
    judged: Digest,
    manifest: Digest,
    /// From `judged` to `manifest`, both included.
    path: Vec<Digest>,
    id: ImageId,
    platform: Option<Platform>,
}

impl Links {
    fn new(
        mut path: Vec<Digest>,
        manifest: Digest,
        id: ImageId,
        platform: Option<Platform>,
    ) -> Self {
        path.push(manifest);
        Self {
            judged: path.first().copied().unwrap_or(manifest),
            manifest,
            path,
            id,
            platform,
        }
    }

    /// The record of a walk, read back from the ledger: `indexes` as [`Links::indexes`] gave them.
    /// For nothing else; only a walk proves a chain.
    pub fn recorded(
        indexes: Vec<Digest>,
        manifest: Digest,
        id: ImageId,
        platform: Option<Platform>,
    ) -> Self {
        Self::new(indexes, manifest, id, platform)
    }

    /// The rest of the chain from `digest` on; `None` if the chain does not pass there.
    pub fn starting_at(&self, digest: &Digest) -> Option<Self> {
        let from = self.path.iter().position(|one| one == digest)?;
        let path: Vec<Digest> = self.path.iter().skip(from).copied().collect();
        Some(Self {
            judged: *digest,
            path,
            ..self.clone()
        })
    }

    /// The digest at which the chain starts.
    pub fn judged(&self) -> &Digest {
        &self.judged
    }

    /// The outermost index; `None` if the chain starts at the manifest.
    pub fn index(&self) -> Option<&Digest> {
        self.indexes().first()
    }

    /// Every index above the manifest, outermost first.
    pub fn indexes(&self) -> &[Digest] {
        self.path.split_last().map_or(&[], |(_, indexes)| indexes)
    }

    /// The platform manifest.
    pub fn manifest(&self) -> &Digest {
        &self.manifest
    }

    /// The image.
    pub fn id(&self) -> &ImageId {
        &self.id
    }

    /// Every digest that leads to the image, outermost index first, the platform manifest last.
    pub fn digests(&self) -> &[Digest] {
        &self.path
    }

    /// The platform that the index gives the manifest; `None` without index or where none is
    /// written.
    pub fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }
}

/// Why a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// Bytes were handed in that are not those of the digest.
    NotTheBytes {
        /// The digest that was asked for.
        digest: Digest,
    },
    /// A blob has another size than its descriptor says.
    Size {
        /// The blob.
        digest: Digest,
    },
    /// A blob is no document that the guard accepts.
    Document {
        /// The blob.
        digest: Digest,
        /// Why.
        error: DocumentError,
    },
    /// A manifest of something that does not run: a signature, a chart.
    NotAnImage {
        /// The manifest.
        digest: Digest,
    },
    /// Everything below was read, and the image is not there.
    OtherImage {
        /// The digest at which the chain starts.
        judged: Digest,
    },
    /// No entry of an index runs on the node.
    NoPlatform {
        /// The node's platform.
        node: Platform,
    },
    /// More documents, or more indexes above one another, than are read for one image.
    TooMany,
    /// A blob that might have led to the image is not to be had.
    Missing {
        /// The blob.
        digest: Digest,
    },
}

impl ChainError {
    /// Whether the chain could not be read to its end, and might hold.
    pub fn is_doubt(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::TooMany => true,
            Self::NotTheBytes { .. }
            | Self::Size { .. }
            | Self::Document { .. }
            | Self::NotAnImage { .. }
            | Self::OtherImage { .. }
            | Self::NoPlatform { .. } => false,
        }
    }

    /// Whether everything was read, and nothing of it is the image. Refused content is no such
    /// answer: another reader may find the image there.
    pub fn leads_elsewhere(&self) -> bool {
        match self {
            Self::OtherImage { .. } | Self::NotAnImage { .. } => true,
            Self::Missing { .. }
            | Self::TooMany
            | Self::NotTheBytes { .. }
            | Self::Size { .. }
            | Self::Document { .. }
            | Self::NoPlatform { .. } => false,
        }
    }

    /// More is worth more: what leaves the image's place open must not hide behind what does not.
    fn weight(&self) -> u8 {
        if self.is_doubt() {
            2
        } else {
            u8::from(!self.leads_elsewhere())
        }
    }
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTheBytes { digest } => {
                write!(f, "the bytes handed out as `{digest}` are others")
            }
            Self::Size { digest } => write!(f, "`{digest}` has another size than announced"),
            Self::Document { digest, error } => write!(f, "`{digest}` is refused: {error}"),
            Self::NotAnImage { digest } => write!(f, "`{digest}` is not a container image"),
            Self::OtherImage { judged } => write!(f, "`{judged}` is another image"),
            Self::NoPlatform { node } => write!(f, "the image has nothing for platform `{node}`"),
            Self::TooMany => f.write_str("the image has too many manifests below one digest"),
            Self::Missing { digest } => write!(f, "the content of `{digest}` is not to be had"),
        }
    }
}

impl std::error::Error for ChainError {}

#[derive(Clone, Debug)]
struct Step {
    digest: Digest,
    media_type: Option<String>,
    size: Option<u64>,
    platform: Option<Platform>,
    above: Vec<Digest>,
}

impl Chain {
    /// Starts at `judged`, of which the media type may be known (image record, `Content-Type`).
    pub fn start(
        judged: Digest,
        media_type: Option<&str>,
        goal: Goal,
        node: &Platform,
        limits: &Limits,
    ) -> Self {
        Self {
            judged,
            goal,
            node: node.clone(),
            limits: limits.clone(),
            open: vec![Step {
                digest: judged,
                media_type: media_type.map(str::to_owned),
                size: None,
                platform: None,
                above: Vec::new(),
            }],
            read: 0,
            against: None,
            missing: None,
            end: None,
        }
    }

    /// What is needed next. The same answer until [`Chain::supply`] or [`Chain::missing`].
    pub fn next(&self) -> Next {
        match (&self.end, self.open.last()) {
            (Some(Ok(links)), _) => Next::Done(links.clone()),
            (Some(Err(error)), _) => Next::Broken(error.clone()),
            (None, Some(step)) => Next::Need {
                digest: step.digest,
                media_type: step.media_type.clone(),
                max_bytes: self.max_bytes(step),
            },
            (None, None) => Next::Broken(self.not_found()),
        }
    }

    /// Takes the bytes of the blob that [`Chain::next`] asked for. Bytes after the end are ignored.
    pub fn supply(&mut self, bytes: &[u8]) {
        let Some(step) = self.take() else {
            return;
        };
        self.read += 1;
        if let Err(error) = self.read_document(&step, bytes) {
            self.speaks_against(&step, error);
        }
    }

    /// Says that the blob that [`Chain::next`] asked for is not to be had.
    pub fn missing(&mut self) {
        if let Some(step) = self.take() {
            self.missing.get_or_insert(step.digest);
        }
    }

    fn take(&mut self) -> Option<Step> {
        if self.end.is_some() {
            return None;
        }
        self.open.pop()
    }

    fn max_bytes(&self, step: &Step) -> usize {
        let limit = self.limits.max_manifest_bytes;
        step.size
            .and_then(|size| usize::try_from(size).ok())
            .map_or(limit, |size| size.min(limit))
    }

    fn read_document(&mut self, step: &Step, bytes: &[u8]) -> Result<(), ChainError> {
        let digest = step.digest;
        if Digest::of(bytes) != digest {
            return Err(ChainError::NotTheBytes { digest });
        }
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if step.size.is_some_and(|announced| announced != size) {
            return Err(ChainError::Size { digest });
        }
        match Document::parse(bytes, step.media_type.as_deref(), &self.limits) {
            Ok(Document::Index(index)) => self.open_index(step, &index),
            Ok(Document::Manifest(manifest)) => self.reach(step, &manifest),
            Err(error) => Err(ChainError::Document { digest, error }),
        }
    }

    fn open_index(&mut self, step: &Step, index: &Index) -> Result<(), ChainError> {
        let mut above = step.above.clone();
        above.push(step.digest);
        if above.len() > MAX_INDEXES {
            return Err(ChainError::TooMany);
        }
        let entries = self.entries(index)?;
        if self.read + self.open.len() + entries.len() > MAX_DOCUMENTS {
            // The best ones are tried; whether the image is among the others stays open.
            self.weigh(ChainError::TooMany);
        }
        let room = MAX_DOCUMENTS.saturating_sub(self.read + self.open.len());
        let steps: Vec<Step> = entries
            .into_iter()
            .take(room)
            .map(|entry| Step {
                digest: entry.digest,
                media_type: Some(entry.media_type.clone()),
                size: Some(entry.size),
                platform: entry.platform.clone(),
                above: above.clone(),
            })
            .collect();
        self.open.extend(steps.into_iter().rev());
        Ok(())
    }

    /// The entries to follow, best first.
    fn entries<'a>(&self, index: &'a Index) -> Result<Vec<&'a Descriptor>, ChainError> {
        let fitting = match self.goal {
            Goal::PickOfOlder => index.candidates_of_older(&self.node),
            Goal::Id(_) | Goal::Pick => index.candidates(&self.node),
        };
        match self.goal {
            Goal::Pick | Goal::PickOfOlder => {
                let no_platform = || ChainError::NoPlatform {
                    node: self.node.clone(),
                };
                Ok(vec![*fitting.first().ok_or_else(no_platform)?])
            }
            Goal::Id(_) => {
                let others = index.manifests.iter().filter(|entry| {
                    entry.kind().is_some()
                        && !entry.platform.as_ref().is_some_and(Platform::is_unknown)
                        && !fitting.contains(entry)
                });
                Ok(fitting.iter().copied().chain(others).collect())
            }
        }
    }

    /// A manifest was reached: the end, if it is of the wanted image.
    fn reach(&mut self, step: &Step, manifest: &Manifest) -> Result<(), ChainError> {
        if !manifest.is_image() {
            return Err(ChainError::NotAnImage {
                digest: step.digest,
            });
        }
        let id = ImageId::of_config(manifest.config.digest);
        match self.goal {
            Goal::Id(wanted) if wanted != id => {}
            Goal::Id(_) | Goal::Pick | Goal::PickOfOlder => {
                self.end = Some(Ok(Links::new(
                    step.above.clone(),
                    step.digest,
                    id,
                    step.platform.clone(),
                )));
            }
        }
        Ok(())
    }

    /// Of the first document there is no other; of an entry there may be.
    fn speaks_against(&mut self, step: &Step, error: ChainError) {
        if step.above.is_empty() {
            self.end = Some(Err(error));
        } else {
            self.weigh(error);
        }
    }

    fn weigh(&mut self, error: ChainError) {
        let known = self.against.as_ref().map(ChainError::weight);
        if known.is_none_or(|known| known < error.weight()) {
            self.against = Some(error);
        }
    }

    /// Nothing is left to read, and the goal was not reached.
    fn not_found(&self) -> ChainError {
        match (&self.missing, &self.against) {
            (Some(digest), _) => ChainError::Missing { digest: *digest },
            (None, Some(error)) => error.clone(),
            (None, None) => ChainError::OtherImage {
                judged: self.judged,
            },
        }
    }
}

#[cfg(test)]
mod tests;
