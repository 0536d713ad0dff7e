//! Manifests and indexes: Docker version 2 and OCI. Pure. Refuses documents that two readers could
//! take for different things, foreign layers, checkpoints, Docker schema 1, and more entries than
//! the limits.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};

use super::json::{self, JsonError, Shape};
use super::platform::{Platform, RawPlatform};
use super::{Digest, DigestError};
use crate::limits::Limits;

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker schema 1: converted on the node, so that what runs is not what was named.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];
/// Annotations with this beginning make containerd restore a process instead of starting one.
const CHECKPOINT: &str = "org.criu.checkpoint";

/// Which of the two documents a media type stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A list of manifests: OCI index, Docker manifest list.
    Index,
    /// One image: OCI or Docker manifest.
    Manifest,
}

impl Kind {
    /// The kind of a media type, parameters (`; charset=…`) left aside; `None` for every other.
    pub fn of(media_type: &str) -> Option<Self> {
        match essence(media_type) {
            OCI_INDEX | DOCKER_LIST => Some(Self::Index),
            OCI_MANIFEST | DOCKER_MANIFEST => Some(Self::Manifest),
            _ => None,
        }
    }
}

/// A parsed document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// OCI index or Docker manifest list.
    Index(Index),
    /// OCI or Docker manifest.
    Manifest(Manifest),
}

/// OCI index or Docker manifest list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// `manifests`, in their order, every media type.
    pub manifests: Vec<Descriptor>,
    /// `artifactType`, if written.
    pub artifact_type: Option<String>,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `subject`: what a referrer speaks of.
    pub subject: Option<Descriptor>,
}

/// OCI or Docker manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `config`.
    pub config: Descriptor,
    /// `layers`, in their order.
    pub layers: Vec<Descriptor>,
    /// `artifactType`, if written.
    pub artifact_type: Option<String>,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `subject`: what a referrer speaks of.
    pub subject: Option<Descriptor>,
}

/// A descriptor (OCI image spec): names other content by hash and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `mediaType`, empty if none is written.
    pub media_type: String,
    /// `digest`.
    pub digest: Digest,
    /// `size` in bytes.
    pub size: u64,
    /// `platform`, in an index.
    pub platform: Option<Platform>,
    /// `artifactType`, if written.
    pub artifact_type: Option<String>,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
}

/// Why a document is no manifest or index that the guard accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// More bytes than `max_manifest_bytes`.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not strict JSON of the right types.
    Json(JsonError),
    /// Docker schema 1.
    Schema1,
    /// `schemaVersion` is not 2.
    SchemaVersion,
    /// Neither the document nor who hands it over says what it is.
    NoMediaType,
    /// A media type that is no manifest and no index.
    MediaType {
        /// The media type, as far as it can be printed.
        media_type: String,
    },
    /// The document says one thing, who hands it over another.
    MediaTypeMismatch,
    /// Fields of an index and of a manifest, or not those of its kind.
    Ambiguous,
    /// A digest that the guard does not accept.
    Digest(DigestError),
    /// A layer or entry that is to be fetched from elsewhere (`urls`).
    Urls,
    /// More layers or entries than the limit.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// An annotation that makes containerd restore a checkpoint.
    Checkpoint,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the manifest has more than {limit} bytes"),
            Self::Json(error) => fmt::Display::fmt(error, f),
            Self::Schema1 => f.write_str("docker schema 1 manifests are not accepted"),
            Self::SchemaVersion => f.write_str("the manifest does not have schema version 2"),
            Self::NoMediaType => f.write_str("nothing says of which media type the manifest is"),
            Self::MediaType { media_type } => {
                write!(f, "media type `{media_type}` is no image manifest and no index")
            }
            Self::MediaTypeMismatch => {
                f.write_str("the media type in the manifest is not the one that it was announced with")
            }
            Self::Ambiguous => f.write_str(
                "the document must have the fields of a manifest or those of an index, and only those",
            ),
            Self::Digest(error) => fmt::Display::fmt(error, f),
            Self::Urls => f.write_str("a layer is to be fetched from another place (`urls`)"),
            Self::TooMany { limit } => write!(f, "the manifest has more than {limit} entries"),
            Self::Checkpoint => {
                f.write_str("the image is a checkpoint of a running container, which is not accepted")
            }
        }
    }
}

impl std::error::Error for DocumentError {}

impl From<JsonError> for DocumentError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl Document {
    /// Parses a manifest or an index.
    ///
    /// `media_type` is what the document was announced with (descriptor, `Content-Type`, image
    /// record of containerd). The two must agree where both are written; an OCI document may leave
    /// its own out, a Docker document may not.
    ///
    /// # Errors
    /// [`DocumentError`] of the first thing found.
    pub fn parse(
        bytes: &[u8],
        media_type: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, DocumentError> {
        if bytes.len() > limits.max_manifest_bytes {
            return Err(DocumentError::TooLarge {
                limit: limits.max_manifest_bytes,
            });
        }
        if let Some(announced) = media_type {
            known_kind(announced)?;
        }
        let raw: RawDocument = json::parse(bytes, &DOCUMENT, limits.max_json_depth)?;
        if raw.fs_layers.is_some() || raw.schema_version == Some(1) {
            return Err(DocumentError::Schema1);
        }
        if raw.schema_version != Some(2) {
            return Err(DocumentError::SchemaVersion);
        }
        match kind_of(raw.media_type.as_deref(), media_type)? {
            Kind::Index => raw.into_index(limits).map(Self::Index),
            Kind::Manifest => raw.into_manifest(limits).map(Self::Manifest),
        }
    }
}

impl Index {
    /// The entries that a node of `platform` could run, best first, as containerd orders them:
    /// by rank, entries without platform last, ties in the order of the index. Only manifests
    /// and indexes; containerd runs the first.
    pub fn candidates(&self, platform: &Platform) -> Vec<&Descriptor> {
        self.ranked(|offered| platform.rank(offered))
    }

    /// The same as containerd 1.x orders them.
    pub fn candidates_of_older(&self, platform: &Platform) -> Vec<&Descriptor> {
        self.ranked(|offered| platform.rank_of_older(offered))
    }

    fn ranked(&self, rank: impl Fn(&Platform) -> Option<usize>) -> Vec<&Descriptor> {
        let mut found: Vec<(usize, &Descriptor)> = self
            .manifests
            .iter()
            .filter(|entry| entry.kind().is_some())
            .filter_map(|entry| match &entry.platform {
                Some(offered) => rank(offered).map(|rank| (rank, entry)),
                None => Some((usize::MAX, entry)),
            })
            .collect();
        found.sort_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, entry)| entry).collect()
    }

    /// The entry that containerd runs on a node of `platform`; `None` if none fits.
    pub fn pick(&self, platform: &Platform) -> Option<&Descriptor> {
        self.candidates(platform).into_iter().next()
    }
}

impl Manifest {
    /// Whether this is an image, by the media type of its config; else it is some other artifact
    /// (a signature, a chart) that never runs.
    pub fn is_image(&self) -> bool {
        let config = self.config.media_type.as_str();
        let artifact = self.artifact_type.as_deref();
        matches!(config, OCI_CONFIG | DOCKER_CONFIG) && artifact.is_none_or(|kind| kind == config)
    }
}

impl Descriptor {
    /// Whether it names an index or a manifest; `None` for anything else.
    pub fn kind(&self) -> Option<Kind> {
        Kind::of(&self.media_type)
    }
}

static PLATFORM: Shape = Shape::Object(&[
    ("os", &Shape::Any),
    ("architecture", &Shape::Any),
    ("variant", &Shape::Any),
    ("os.version", &Shape::Any),
    ("os.features", &Shape::Any),
]);
static DESCRIPTOR: Shape = Shape::Object(&[
    ("mediaType", &Shape::Any),
    ("digest", &Shape::Any),
    ("size", &Shape::Any),
    ("urls", &Shape::Any),
    ("data", &Shape::Any),
    ("platform", &PLATFORM),
    ("artifactType", &Shape::Any),
    ("annotations", &Shape::Map),
]);
static DOCUMENT: Shape = Shape::Object(&[
    ("schemaVersion", &Shape::Any),
    ("mediaType", &Shape::Any),
    ("artifactType", &Shape::Any),
    ("config", &DESCRIPTOR),
    ("layers", &Shape::List(&DESCRIPTOR)),
    ("manifests", &Shape::List(&DESCRIPTOR)),
    ("subject", &DESCRIPTOR),
    ("annotations", &Shape::Map),
    ("fsLayers", &Shape::Any),
]);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    /// `None`: not written; `Some(None)`: written as null, which containerd counts as written.
    #[serde(default, deserialize_with = "written")]
    config: Option<Option<RawDescriptor>>,
    #[serde(default, deserialize_with = "written")]
    layers: Option<Option<Vec<RawDescriptor>>>,
    #[serde(default, deserialize_with = "written")]
    manifests: Option<Option<Vec<RawDescriptor>>>,
    #[serde(default, deserialize_with = "written")]
    fs_layers: Option<serde::de::IgnoredAny>,
    subject: Option<RawDescriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    urls: Option<Vec<String>>,
    platform: Option<RawPlatform>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

fn written<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl RawDocument {
    fn into_index(self, limits: &Limits) -> Result<Index, DocumentError> {
        let (None, None, Some(Some(entries))) = (&self.config, &self.layers, self.manifests) else {
            return Err(DocumentError::Ambiguous);
        };
        Ok(Index {
            manifests: descriptors(entries, limits.max_index_entries)?,
            artifact_type: self.artifact_type,
            annotations: annotations(self.annotations)?,
            subject: self.subject.map(Descriptor::try_from).transpose()?,
        })
    }

    fn into_manifest(self, limits: &Limits) -> Result<Manifest, DocumentError> {
        let (Some(Some(config)), Some(Some(layers)), None) =
            (self.config, self.layers, &self.manifests)
        else {
            return Err(DocumentError::Ambiguous);
        };
        Ok(Manifest {
            config: config.try_into()?,
            layers: descriptors(layers, limits.max_layers)?,
            artifact_type: self.artifact_type,
            annotations: annotations(self.annotations)?,
            subject: self.subject.map(Descriptor::try_from).transpose()?,
        })
    }
}

impl TryFrom<RawDescriptor> for Descriptor {
    type Error = DocumentError;

    fn try_from(raw: RawDescriptor) -> Result<Self, DocumentError> {
        if raw.urls.is_some_and(|urls| !urls.is_empty()) {
            return Err(DocumentError::Urls);
        }
        Ok(Self {
            media_type: raw.media_type.unwrap_or_default(),
            digest: Digest::parse(&raw.digest).map_err(DocumentError::Digest)?,
            size: raw.size,
            platform: raw.platform.map(Platform::from),
            artifact_type: raw.artifact_type,
            annotations: annotations(raw.annotations)?,
        })
    }
}

fn descriptors(raw: Vec<RawDescriptor>, limit: usize) -> Result<Vec<Descriptor>, DocumentError> {
    if raw.len() > limit {
        return Err(DocumentError::TooMany { limit });
    }
    raw.into_iter().map(Descriptor::try_from).collect()
}

fn annotations(
    raw: Option<BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, DocumentError> {
    let annotations = raw.unwrap_or_default();
    let is_checkpoint = |key: &String| key.trim().to_ascii_lowercase().starts_with(CHECKPOINT);
    if annotations.keys().any(is_checkpoint) {
        return Err(DocumentError::Checkpoint);
    }
    Ok(annotations)
}

/// The kind, from what the document says and what it was announced with.
fn kind_of(own: Option<&str>, announced: Option<&str>) -> Result<Kind, DocumentError> {
    match (own, announced.map(essence)) {
        (Some(own), None) => known_kind(own),
        (Some(own), Some(announced)) if own == announced => known_kind(own),
        (Some(_), Some(_)) => Err(DocumentError::MediaTypeMismatch),
        (None, Some(OCI_MANIFEST)) => Ok(Kind::Manifest),
        (None, Some(OCI_INDEX)) => Ok(Kind::Index),
        (None, Some(_)) => Err(DocumentError::MediaTypeMismatch),
        (None, None) => Err(DocumentError::NoMediaType),
    }
}

fn known_kind(media_type: &str) -> Result<Kind, DocumentError> {
    if SCHEMA_1.contains(&essence(media_type)) {
        return Err(DocumentError::Schema1);
    }
    Kind::of(media_type).ok_or_else(|| DocumentError::MediaType {
        media_type: json::printable(media_type),
    })
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests;
