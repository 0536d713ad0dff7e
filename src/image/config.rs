//! The image config: who runs, and what the image asks of the node. Pure. Refuses bytes that are
//! not those of the ID, and configs that make the runtime do more than start a process.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::json::{self, JsonError, Shape};
use super::platform::Platform;
use super::{Digest, DigestError, ImageId};
use crate::limits::Limits;

/// Beginnings of labels that containerd takes for its own (CVE-2026-53488).
const RUNTIME_LABELS: [&str; 2] = ["containerd.io/", "io.cri-containerd"];
/// Most `Volumes` of one image.
const MAX_VOLUMES: usize = 64;

/// What the guard reads of an OCI or Docker image config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    id: ImageId,
    platform: Platform,
    user: String,
    labels: BTreeMap<String, String>,
    diff_ids: Vec<Digest>,
}

/// Why a config is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// More bytes than `max_manifest_bytes`.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes are not those of the image ID.
    NotTheId,
    /// Not strict JSON of the right types.
    Json(JsonError),
    /// `rootfs.type` is not `layers`.
    RootFs,
    /// A layer's digest that the guard does not accept.
    Digest(DigestError),
    /// More layers than the limit.
    TooManyLayers {
        /// The limit.
        limit: usize,
    },
    /// A label that containerd takes for its own.
    RuntimeLabel,
    /// A volume that is relative, climbs, or lies on `/` or `/proc`, or too many volumes.
    Volumes,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the image config has more than {limit} bytes"),
            Self::NotTheId => f.write_str("the image config is not the one that the image id names"),
            Self::Json(error) => fmt::Display::fmt(error, f),
            Self::RootFs => f.write_str("the image config does not list its layers"),
            Self::Digest(error) => fmt::Display::fmt(error, f),
            Self::TooManyLayers { limit } => {
                write!(f, "the image config has more than {limit} layers")
            }
            Self::RuntimeLabel => f.write_str(
                "the image has a label that containerd takes for its own (`containerd.io/`, `io.cri-containerd`)",
            ),
            Self::Volumes => f.write_str(
                "the image declares more than 64 volumes, or one that is relative, has `..`, or is `/` or below `/proc`",
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

impl From<JsonError> for ConfigError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl ImageConfig {
    /// Parses the config of the image `id`.
    ///
    /// # Errors
    /// [`ConfigError`]: among them that the bytes do not hash to the ID.
    pub fn parse(id: &ImageId, bytes: &[u8], limits: &Limits) -> Result<Self, ConfigError> {
        if bytes.len() > limits.max_manifest_bytes {
            return Err(ConfigError::TooLarge {
                limit: limits.max_manifest_bytes,
            });
        }
        if Digest::of(bytes) != *id.digest() {
            return Err(ConfigError::NotTheId);
        }
        let raw: RawConfig = json::parse(bytes, &CONFIG, limits.max_json_depth)?;
        let inner = raw.config.unwrap_or_default();
        let labels = inner.labels.unwrap_or_default();
        if labels.keys().any(|key| is_runtime_label(key)) {
            return Err(ConfigError::RuntimeLabel);
        }
        let volumes = inner.volumes.unwrap_or_default();
        if volumes.len() > MAX_VOLUMES || !volumes.keys().all(|path| is_harmless_volume(path)) {
            return Err(ConfigError::Volumes);
        }
        Ok(Self {
            id: *id,
            platform: Platform {
                os: raw.os.unwrap_or_default(),
                architecture: raw.architecture.unwrap_or_default(),
                variant: raw.variant.unwrap_or_default(),
                ..Platform::default()
            },
            user: inner.user.unwrap_or_default(),
            labels,
            diff_ids: diff_ids(raw.rootfs, limits)?,
        })
    }

    /// The image that this is the config of.
    pub fn id(&self) -> &ImageId {
        &self.id
    }

    /// `os`, `architecture`, `variant`.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// `config.User`, verbatim; empty if none: then containerd runs as root.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// `config.Labels`.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// `rootfs.diff_ids`: digests of the unpacked layers, lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }
}

static PROCESS: Shape = Shape::Object(&[
    ("User", &Shape::Any),
    ("ExposedPorts", &Shape::Map),
    ("Env", &Shape::Any),
    ("Entrypoint", &Shape::Any),
    ("Cmd", &Shape::Any),
    ("Volumes", &Shape::Map),
    ("WorkingDir", &Shape::Any),
    ("Labels", &Shape::Map),
    ("StopSignal", &Shape::Any),
    ("ArgsEscaped", &Shape::Any),
]);
static ROOTFS: Shape = Shape::Object(&[("type", &Shape::Any), ("diff_ids", &Shape::Any)]);
static HISTORY: Shape = Shape::Object(&[
    ("created", &Shape::Any),
    ("created_by", &Shape::Any),
    ("author", &Shape::Any),
    ("comment", &Shape::Any),
    ("empty_layer", &Shape::Any),
]);
static CONFIG: Shape = Shape::Object(&[
    ("created", &Shape::Any),
    ("author", &Shape::Any),
    ("architecture", &Shape::Any),
    ("os", &Shape::Any),
    ("os.version", &Shape::Any),
    ("os.features", &Shape::Any),
    ("variant", &Shape::Any),
    ("config", &PROCESS),
    ("rootfs", &ROOTFS),
    ("history", &Shape::List(&HISTORY)),
]);

#[derive(Deserialize)]
struct RawConfig {
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
    config: Option<RawProcess>,
    rootfs: RawRootFs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawProcess {
    user: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct RawRootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Option<Vec<String>>,
}

fn diff_ids(rootfs: RawRootFs, limits: &Limits) -> Result<Vec<Digest>, ConfigError> {
    if rootfs.kind != "layers" {
        return Err(ConfigError::RootFs);
    }
    let diff_ids = rootfs.diff_ids.unwrap_or_default();
    if diff_ids.len() > limits.max_layers {
        return Err(ConfigError::TooManyLayers {
            limit: limits.max_layers,
        });
    }
    diff_ids
        .iter()
        .map(|text| Digest::parse(text).map_err(ConfigError::Digest))
        .collect()
}

/// Whether containerd could read the label as its own: compared without case, white space and
/// control characters, since the spellings that later tools repair are not known.
fn is_runtime_label(key: &str) -> bool {
    let bare: String = key
        .chars()
        .filter(|letter| !letter.is_whitespace() && !letter.is_control())
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    RUNTIME_LABELS.iter().any(|prefix| bare.starts_with(prefix))
}

/// Whether a volume stays where it says: absolute, without `..`, not the root, not `/proc`.
fn is_harmless_volume(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let first = parts.clone().next();
    path.starts_with('/')
        && !path.contains('\0')
        && first.is_some_and(|first| first != "proc")
        && parts.all(|part| part != "..")
}

#[cfg(test)]
mod tests;
