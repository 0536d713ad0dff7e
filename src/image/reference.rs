//! Image references by the grammar of the Go `distribution/reference` package, normalised as
//! containerd normalises them. Pure.

use std::fmt;

use super::Digest;

/// A registry host (with port, if written) and a path: `docker.io/library/nginx`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// The registry as written after normalisation, port included: `docker.io`, `127.0.0.1:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path below the registry, no leading slash: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

/// A normalised reference. With a digest there is no tag (containerd drops it); without a digest
/// there is always a tag (`latest` if none was written).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// `host/path:tag`.
    Tagged {
        /// Where.
        repository: Repository,
        /// What was asked for; can move.
        tag: String,
    },
    /// `host/path@digest`.
    Digested {
        /// Where.
        repository: Repository,
        /// What was asked for; cannot move.
        digest: Digest,
    },
}

/// Why a string is no image reference that the guard accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    /// Not a string of the grammar.
    Grammar,
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grammar => "not an image reference",
        })
    }
}

impl std::error::Error for ReferenceError {}

impl Reference {
    /// Parses and normalises an image string of a pod.
    ///
    /// # Errors
    /// [`ReferenceError`]: outside the grammar, typed IDs, host paths, upper-case hosts.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (host, rest) = text.split_once('/').ok_or(ReferenceError::Grammar)?;
        let repository = |path: &str| Repository {
            host: host.to_owned(),
            path: path.to_owned(),
        };
        if let Some((path, digest)) = rest.split_once('@') {
            let digest = Digest::parse(digest).map_err(|_| ReferenceError::Grammar)?;
            return Ok(Self::Digested {
                repository: repository(path),
                digest,
            });
        }
        let (path, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
        Ok(Self::Tagged {
            repository: repository(path),
            tag: tag.to_owned(),
        })
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        match self {
            Self::Tagged { repository, .. } | Self::Digested { repository, .. } => repository,
        }
    }

    /// The tag, if no digest was written.
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Tagged { tag, .. } => Some(tag),
            Self::Digested { .. } => None,
        }
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Tagged { .. } => None,
            Self::Digested { digest, .. } => Some(digest),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tagged { repository, tag } => write!(f, "{repository}:{tag}"),
            Self::Digested { repository, digest } => write!(f, "{repository}@{digest}"),
        }
    }
}
