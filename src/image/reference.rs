//! Image references by the grammar of the Go `distribution/reference` package (v0.6), normalised
//! as containerd normalises them (`ParseDockerRef`). Pure. Refuses everything that Go refuses, and
//! of what Go accepts: hosts in upper case, first components that Go takes for a path although
//! they look like a host, strings that containerd could read as an image ID, and digests other
//! than sha256.

use std::fmt;

use super::{Digest, DigestError};

/// The host that a name without one gets.
const DEFAULT_HOST: &str = "docker.io";
/// An older name of the default host; Go writes it as the default.
const LEGACY_HOST: &str = "index.docker.io";
/// What a one-component name on the default host is put below.
const OFFICIAL: &str = "library/";
/// The tag of a reference that names neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// Longest path of a repository, in bytes (Go: `RepositoryNameTotalLengthMax`).
const MAX_PATH: usize = 255;
/// Longest host with its port, in bytes. Go sets no bound; a DNS name ends at 253.
const MAX_HOST: usize = 261;
/// Longest tag, in bytes.
const MAX_TAG: usize = 128;
/// Digest algorithms of Go's `go-digest`: a string that starts with one and a colon is an image
/// ID for containerd, whole or truncated.
const ALGORITHMS: [&str; 3] = ["sha256", "sha384", "sha512"];

/// A registry host (with port, if written) and a path: `docker.io/library/nginx`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// Parses and normalises a repository without tag and digest: `nginx` is
    /// `docker.io/library/nginx`. What [`fmt::Display`] writes parses to the same value.
    ///
    /// # Errors
    /// As [`Reference::parse`]; [`ReferenceError::NotARepository`] where a tag or digest is
    /// written.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let parts = Parts::parse(text)?;
        if parts.tag.is_some() || parts.digest.is_some() {
            return Err(ReferenceError::NotARepository);
        }
        Ok(parts.repository)
    }

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
    /// The empty string.
    Empty,
    /// A byte outside printable ASCII, or a space.
    Character,
    /// Starts like a path on the node (`/` or `.`); containerd tries such a string as a file.
    HostPath,
    /// `sha256:…` and its sisters, whole or truncated: an image ID where a name belongs.
    TypedId,
    /// 64 hexadecimal digits: an image ID without its algorithm.
    BareId,
    /// Hexadecimal digits with which an image ID of the node begins, and no name of the node: told
    /// with the node's images at hand, not by the text.
    TruncatedId,
    /// A host with an upper-case letter: another host than its lower-case spelling for containerd.
    UpperCaseHost,
    /// The first component has a `.`, a `:` or brackets, but is no host and port.
    Host,
    /// The repository path has an upper-case letter.
    UpperCasePath,
    /// The repository path is outside the grammar.
    Grammar,
    /// The tag is outside the grammar.
    Tag,
    /// Host or path is too long.
    Length,
    /// The digest is not one that the guard accepts.
    Digest(DigestError),
    /// A repository was asked for, and a tag or digest is written.
    NotARepository,
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an image reference is missing",
            Self::Character => "an image reference is printable ascii without spaces",
            Self::HostPath => "a path on the node is not an image reference",
            Self::TypedId => "an image id is not an image reference; name a repository",
            Self::BareId => "64 hexadecimal digits are an image id, not an image reference",
            Self::TruncatedId => "the beginning of an image id is not an image reference",
            Self::UpperCaseHost => "the registry host must be written in lower case",
            Self::Host => "the part before the first slash is not a registry host",
            Self::UpperCasePath => "the repository path must be written in lower case",
            Self::Grammar => "the repository path is not of the image reference grammar",
            Self::Tag => {
                "a tag has 1 to 128 letters, digits, `_`, `.` and `-`, and starts with neither `.` nor `-`"
            }
            Self::Length => "the registry host or the repository path is too long",
            Self::Digest(error) => return fmt::Display::fmt(error, f),
            Self::NotARepository => "a repository is written without tag and digest",
        })
    }
}

impl std::error::Error for ReferenceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Digest(error) => Some(error),
            Self::Empty
            | Self::Character
            | Self::HostPath
            | Self::TypedId
            | Self::BareId
            | Self::TruncatedId
            | Self::UpperCaseHost
            | Self::Host
            | Self::UpperCasePath
            | Self::Grammar
            | Self::Tag
            | Self::Length
            | Self::NotARepository => None,
        }
    }
}

impl Reference {
    /// Parses and normalises an image string of a pod.
    ///
    /// # Errors
    /// [`ReferenceError`]: outside the grammar, typed IDs, host paths, upper-case hosts, digests
    /// other than sha256.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let Parts {
            repository,
            tag,
            digest,
        } = Parts::parse(text)?;
        Ok(match digest {
            Some(digest) => Self::Digested { repository, digest },
            None => Self::Tagged {
                repository,
                tag: tag.unwrap_or(DEFAULT_TAG).to_owned(),
            },
        })
    }

    /// Whether containerd could also take `text` for the beginning of an image ID: 1 to 64
    /// lower-case hexadecimal digits and nothing else. Such a name (`cafe`) is a reference, but
    /// containerd falls back to an ID where no image of that name is on the node.
    pub fn could_be_truncated_id(text: &str) -> bool {
        (1..=64).contains(&text.len()) && text.bytes().all(is_lower_hex)
    }

    /// The same repository at `digest`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self::Digested {
            repository: self.repository().clone(),
            digest,
        }
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

/// What is written in a reference, after the host was normalised.
struct Parts<'a> {
    repository: Repository,
    tag: Option<&'a str>,
    digest: Option<Digest>,
}

impl<'a> Parts<'a> {
    fn parse(text: &'a str) -> Result<Self, ReferenceError> {
        refuse_what_is_no_name(text)?;
        let (host, rest) = split_host(text);
        Host::parse(host)?;
        let (name, digest) = cut(rest, '@');
        let (path, tag) = cut(name, ':');
        let path = if host == DEFAULT_HOST && !rest.contains('/') {
            format!("{OFFICIAL}{path}")
        } else {
            path.to_owned()
        };
        check_path(&path)?;
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag);
        }
        let digest = digest
            .map(Digest::parse)
            .transpose()
            .map_err(ReferenceError::Digest)?;
        Ok(Self {
            repository: Repository {
                host: host.to_owned(),
                path,
            },
            tag,
            digest,
        })
    }
}

/// Strings that are no names at all, each with its own reason.
fn refuse_what_is_no_name(text: &str) -> Result<(), ReferenceError> {
    if text.is_empty() {
        return Err(ReferenceError::Empty);
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ReferenceError::Character);
    }
    if text.starts_with(['/', '.']) {
        return Err(ReferenceError::HostPath);
    }
    if text.len() == 64 && text.bytes().all(is_lower_hex) {
        return Err(ReferenceError::BareId);
    }
    let name = text.split([':', '@']).next().unwrap_or(text);
    if ALGORITHMS.contains(&name) {
        return Err(ReferenceError::TypedId);
    }
    Ok(())
}

/// Go's `splitDockerDomain`: the first component is a host if it is `localhost`, has a `.` or a
/// `:`, or an upper-case letter; else the whole is a name on the default host.
fn split_host(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((LEGACY_HOST, rest)) => (DEFAULT_HOST, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        Some(_) | None => (DEFAULT_HOST, text),
    }
}

/// What a registry host is by its spelling.
pub(super) enum Host {
    /// A DNS name or an IPv4 address, with its port if written.
    Named,
    /// A bracketed IPv6 address, with its port if written.
    Address,
}

impl Host {
    /// `host[:port]`, where host is a name, an IPv4 address or a bracketed IPv6 address. Go falls
    /// back to a nameless host if this fails (`a_b.c/x`); nothing good can be said of such a name,
    /// so it is refused.
    pub(super) fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_HOST {
            return Err(ReferenceError::Length);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or(ReferenceError::Host)?;
                if !is_bracketed_address(address) {
                    return Err(ReferenceError::Host);
                }
                let (nothing, port) = cut(after, ':');
                if !nothing.is_empty() {
                    return Err(ReferenceError::Host);
                }
                (Self::Address, port)
            }
            None => {
                let (name, port) = cut(text, ':');
                if !name.split('.').all(is_host_label) {
                    return Err(ReferenceError::Host);
                }
                (Self::Named, port)
            }
        };
        if port.is_some_and(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit())) {
            return Err(ReferenceError::Host);
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCaseHost);
        }
        Ok(host)
    }
}

/// Go's `ipv6address`: any run of hexadecimal digits and colons, not a checked address.
fn is_bracketed_address(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn check_path(path: &str) -> Result<(), ReferenceError> {
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCasePath);
    }
    if !path.split('/').all(is_path_component) {
        return Err(ReferenceError::Grammar);
    }
    if path.len() > MAX_PATH {
        return Err(ReferenceError::Length);
    }
    Ok(())
}

/// Runs of `a-z0-9`, joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_are_words =
        bytes.first().copied().is_some_and(is_word) && bytes.last().copied().is_some_and(is_word);
    ends_are_words
        && bytes
            .split(|byte| is_word(*byte))
            .all(|run| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
pub(super) fn is_tag(tag: &str) -> bool {
    (1..=MAX_TAG).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests;
