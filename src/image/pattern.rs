//! Image patterns of policies, in the native dialect. Pure. Refuses patterns that could never
//! match and, where matching allows something, patterns whose host anyone could register.
//!
//! ```text
//! HOST / PATH [ :TAG | @sha256:… ]
//! ```
//! Host and path are matched apart, each as a whole. In a host a leading `*` stands for one or
//! more whole labels, `**` alone for every host; a port matches only if written. In a path `*` is
//! any run inside one segment, `**` one or more whole segments. `:TAG` matches the tag of a
//! reference without digest (containerd drops a tag beside a digest); `@sha256:…` matches a digest
//! that is proven for the image, whatever the reference says.

use std::fmt;

use super::reference::{Host, is_tag};
use super::{Digest, DigestError, Reference};

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 1024;

/// What a match means for the image: it decides how broad a host may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PatternUse {
    /// A match allows (`registries.allow`, bootstrap): needs a host that is somebody's.
    Allow,
    /// A match leaves a check out (`skipImages`): as [`PatternUse::Allow`].
    Skip,
    /// A match waives a rule (`NodePolicyException`): as [`PatternUse::Allow`].
    Exception,
    /// A match denies (`registries.deny`): any host may be meant.
    Deny,
    /// A match demands a check (`images` of a rule): any host may be meant.
    Verify,
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: String,
    host: HostPattern,
    path: Vec<Segment>,
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum HostPattern {
    /// `**`.
    Any,
    /// The host and port as written.
    Exact(String),
    /// `*.example.com`: what must follow one or more labels, with its leading dot and its port.
    Below(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Segment {
    /// `**`: one or more whole segments.
    Any,
    /// One segment, in which `*` is any run.
    One(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Version {
    Any,
    Tag(String),
    Digest(Digest),
}

/// Why a string is no image pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// The empty string, or longer than 1,024 bytes.
    Length,
    /// A byte outside printable ASCII, or a space.
    Character,
    /// No registry host is written.
    NoHost {
        /// The pattern as it is probably meant.
        hint: String,
    },
    /// The host is no host and port.
    Host,
    /// A `*` in the host that is not the whole first label, or a `**` beside other text.
    HostWildcard,
    /// An upper-case letter in host or path: no accepted reference has one.
    UpperCase,
    /// A name of Docker Hub under another name than the one that references are normalised to.
    HubName {
        /// The pattern as it is probably meant.
        hint: String,
    },
    /// Nothing after the host.
    NoPath,
    /// An empty segment, a letter that no repository has, or a `**` beside other text.
    Path,
    /// The tag pattern could match no tag.
    Tag,
    /// The digest is not one that the guard accepts.
    Digest(DigestError),
    /// Both a tag and a digest: a reference with a digest has no tag.
    TagAndDigest,
    /// Where a match allows something, the host must be somebody's: a whole address or
    /// single-label name, or with a registrable domain in it.
    TooBroad {
        /// A reference of a stranger that the pattern would match.
        counter_example: String,
    },
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("an image pattern has 1 to 1024 bytes"),
            Self::Character => f.write_str("an image pattern is printable ascii without spaces"),
            Self::NoHost { hint } => {
                write!(f, "an image pattern names its registry host: write `{hint}`")
            }
            Self::Host => f.write_str("the part before the first slash is not a registry host"),
            Self::HostWildcard => f.write_str(
                "in a host, `*` stands only for whole leading labels as in `*.example.com`, and `**` only alone for any host",
            ),
            Self::UpperCase => f.write_str("registry hosts and paths are written in lower case"),
            Self::HubName { hint } => {
                write!(f, "no reference ever matches this spelling: write `{hint}`")
            }
            Self::NoPath => {
                f.write_str("a path is missing after the host: `/**` matches every repository")
            }
            Self::Path => f.write_str(
                "a path has segments of lower-case letters, digits, `.`, `_`, `-` and `*`, or `**` alone for whole segments",
            ),
            Self::Tag => f.write_str("no tag matches the part after the colon"),
            Self::Digest(error) => fmt::Display::fmt(error, f),
            Self::TagAndDigest => f.write_str(
                "a tag and a digest never match together: a reference with a digest has no tag",
            ),
            Self::TooBroad { counter_example } => write!(
                f,
                "the host must be an address, a single-label name, or have a registrable domain in it: this pattern also matches `{counter_example}`"
            ),
        }
    }
}

impl std::error::Error for PatternError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Digest(error) = self {
            Some(error)
        } else {
            None
        }
    }
}

impl Pattern {
    /// Parses a pattern for one use.
    ///
    /// # Errors
    /// [`PatternError`]: outside the dialect, never matching, or too broad for `purpose`.
    pub fn parse(text: &str, purpose: PatternUse) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(PatternError::Length);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PatternError::Character);
        }
        let (host, rest) = split_host(text)?;
        let (name, version) = parse_version(rest)?;
        if host
            .bytes()
            .chain(name.bytes())
            .any(|b| b.is_ascii_uppercase())
        {
            return Err(PatternError::UpperCase);
        }
        let host_pattern = parse_host(host)?;
        let path = parse_path(name)?;
        refuse_hub_spellings(host, rest, &path)?;
        let pattern = Self {
            text: text.to_owned(),
            host: host_pattern,
            path,
            version,
        };
        match purpose {
            PatternUse::Allow | PatternUse::Skip | PatternUse::Exception => {
                pattern.refuse_strangers()?;
            }
            PatternUse::Deny | PatternUse::Verify => {}
        }
        Ok(pattern)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern speaks of a digest, so that matching needs proven digests.
    pub fn needs_digest(&self) -> bool {
        self.digest().is_some()
    }

    /// The digest that the pattern speaks of, if it does.
    pub fn digest(&self) -> Option<&Digest> {
        match &self.version {
            Version::Digest(digest) => Some(digest),
            Version::Any | Version::Tag(_) => None,
        }
    }

    /// Whether the pattern speaks of a tag.
    pub fn needs_tag(&self) -> bool {
        match &self.version {
            Version::Tag(_) => true,
            Version::Any | Version::Digest(_) => false,
        }
    }

    /// Whether the pattern matches `reference`. `proven` holds the digests (index, platform
    /// manifest) that the chain proves for the image; only those match `@sha256:…`.
    pub fn matches(&self, reference: &Reference, proven: &[Digest]) -> bool {
        let version = match &self.version {
            Version::Any => true,
            Version::Tag(pattern) => reference.tag().is_some_and(|tag| glob(pattern, tag)),
            Version::Digest(digest) => proven.contains(digest),
        };
        version && self.matches_repository(reference)
    }

    /// Whether host and path match, whatever tag or digest.
    pub fn matches_repository(&self, reference: &Reference) -> bool {
        let repository = reference.repository();
        let host = match &self.host {
            HostPattern::Any => true,
            HostPattern::Exact(host) => host == repository.host(),
            HostPattern::Below(suffix) => repository
                .host()
                .strip_suffix(suffix.as_str())
                .is_some_and(|labels| !labels.is_empty()),
        };
        host && matches_path(&self.path, repository.path())
    }

    /// Refuses a host under which anyone can have a registry.
    fn refuse_strangers(&self) -> Result<(), PatternError> {
        let stranger = match &self.host {
            HostPattern::Exact(_) => return Ok(()),
            HostPattern::Any => "stranger.example".to_owned(),
            HostPattern::Below(suffix) => {
                let (name, _port) = split_port(suffix);
                let domain = name.trim_start_matches('.');
                if is_registrable(domain) {
                    return Ok(());
                }
                format!("stranger{suffix}")
            }
        };
        Err(PatternError::TooBroad {
            counter_example: format!("{stranger}/{}", self.example_path()),
        })
    }

    /// One path that the pattern matches, with its tag or digest.
    fn example_path(&self) -> String {
        let segments: Vec<String> = self
            .path
            .iter()
            .map(|segment| match segment {
                Segment::Any => "x".to_owned(),
                Segment::One(text) => text.replace('*', "x"),
            })
            .collect();
        let version = match &self.version {
            Version::Any => String::new(),
            Version::Tag(tag) => format!(":{}", tag.replace('*', "x")),
            Version::Digest(digest) => format!("@{digest}"),
        };
        format!("{}{version}", segments.join("/"))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The host as written and what follows its slash. A first component that a reference would take
/// for part of a Docker Hub path is refused, since it would never match as a host.
fn split_host(text: &str) -> Result<(&str, &str), PatternError> {
    let Some((host, rest)) = text.split_once('/') else {
        let looks_like_host = text == "**" || text.contains('.') || text == "localhost";
        return Err(if looks_like_host && !text.contains('@') {
            PatternError::NoPath
        } else {
            PatternError::NoHost {
                hint: format!("docker.io/library/{text}"),
            }
        });
    };
    let is_host = host == "localhost"
        || host.contains(['.', ':', '*', '['])
        || host.bytes().any(|byte| byte.is_ascii_uppercase());
    if !is_host {
        return Err(PatternError::NoHost {
            hint: format!("docker.io/{text}"),
        });
    }
    if rest.is_empty() {
        return Err(PatternError::NoPath);
    }
    Ok((host, rest))
}

fn parse_host(host: &str) -> Result<HostPattern, PatternError> {
    if host == "**" {
        return Ok(HostPattern::Any);
    }
    let literal = match host.strip_prefix("*.") {
        Some(rest) => rest,
        None => host,
    };
    if literal.contains('*') {
        return Err(PatternError::HostWildcard);
    }
    match Host::parse(literal) {
        Ok(Host::Named) if literal.len() == host.len() => Ok(HostPattern::Exact(host.to_owned())),
        Ok(Host::Named) => Ok(HostPattern::Below(format!(".{literal}"))),
        Ok(Host::Address) if literal.len() == host.len() => Ok(HostPattern::Exact(host.to_owned())),
        Ok(Host::Address) => Err(PatternError::HostWildcard),
        Err(_) => Err(PatternError::Host),
    }
}

fn parse_path(path: &str) -> Result<Vec<Segment>, PatternError> {
    path.split('/').map(parse_segment).collect()
}

fn parse_segment(segment: &str) -> Result<Segment, PatternError> {
    if segment == "**" {
        return Ok(Segment::Any);
    }
    let known = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'.' | b'_' | b'-' | b'*')
    };
    // A segment of a repository starts and ends with a letter or digit: `.a` never matches.
    let dead_end = segment.starts_with(['.', '_', '-']) || segment.ends_with(['.', '_', '-']);
    if segment.is_empty()
        || segment.contains("**")
        || dead_end
        || !segment.bytes().all(known)
        || !separators_occur(segment)
    {
        return Err(PatternError::Path);
    }
    Ok(Segment::One(segment.to_owned()))
}

/// Whether every run of separators occurs in some repository: `.`, `_`, `__`, or hyphens
/// (distribution/reference, `separator`). A star beside one makes it no other.
fn separators_occur(segment: &str) -> bool {
    segment
        .split(|letter: char| !matches!(letter, '.' | '_' | '-'))
        .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'))
}

fn parse_version(rest: &str) -> Result<(&str, Version), PatternError> {
    if let Some((name, digest)) = rest.split_once('@') {
        if name.contains(':') {
            return Err(PatternError::TagAndDigest);
        }
        let digest = Digest::parse(digest).map_err(PatternError::Digest)?;
        return Ok((name, Version::Digest(digest)));
    }
    let Some((name, tag)) = rest.split_once(':') else {
        return Ok((rest, Version::Any));
    };
    // `*` may stand for nothing and for anything: one of the two spellings is then a tag.
    let could_be_tag = is_tag(&tag.replace('*', "")) || is_tag(&tag.replace('*', "x"));
    if tag.contains("**") || !could_be_tag {
        return Err(PatternError::Tag);
    }
    Ok((name, Version::Tag(tag.to_owned())))
}

/// References on Docker Hub are normalised to `docker.io` and at least two path components.
fn refuse_hub_spellings(host: &str, rest: &str, path: &[Segment]) -> Result<(), PatternError> {
    if host == "index.docker.io" {
        return Err(PatternError::HubName {
            hint: format!("docker.io/{rest}"),
        });
    }
    if host == "docker.io" && matches!(path, [Segment::One(_)]) {
        return Err(PatternError::HubName {
            hint: format!("docker.io/library/{rest}"),
        });
    }
    Ok(())
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    }
}

/// Whether `domain` is, or lies below, a name that somebody registered: more than a public suffix.
/// A name that ends in digits is (part of) an address, and nobody registers those.
fn is_registrable(domain: &str) -> bool {
    let ends_in_number = domain
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    !ends_in_number && psl::domain_str(domain).is_some()
}

/// Which prefixes of the path each prefix of the pattern can match, one pattern segment at a time:
/// linear in pattern times path, whatever the pattern.
fn matches_path(pattern: &[Segment], path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').collect();
    // reached[i]: the pattern read so far matches the first i segments.
    let mut reached = vec![false; segments.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for part in pattern {
        let mut next = vec![false; reached.len()];
        let mut open = false;
        for ((was, segment), now) in reached.iter().zip(&segments).zip(next.iter_mut().skip(1)) {
            match part {
                Segment::Any => {
                    open |= *was;
                    *now = open;
                }
                Segment::One(text) => *now = *was && glob(text, segment),
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// Whether `text` is `pattern`, in which `*` is any run of bytes, also none.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        // The leftmost place is as good as any: what follows has more room.
        let Some((_, after)) = rest.split_once(piece) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
