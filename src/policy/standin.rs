//! A stand-in for the image patterns until they land. Pure.
#![expect(dead_code, reason = "replaced by the real pattern")]
use crate::image::{Digest, Reference};
/// Use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatternUse {
    /// Allow.
    Allow,
    /// Skip.
    Skip,
    /// Exception.
    Exception,
    /// Deny.
    Deny,
    /// Verify.
    Verify,
}
/// Error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PatternError(String);
impl std::fmt::Display for PatternError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
/// Pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
}
impl Pattern {
    /// Parses.
    ///
    /// # Errors
    /// Bad ones.
    pub(crate) fn parse(text: &str, _use: PatternUse) -> Result<Self, PatternError> {
        if text.is_empty() || text.contains("***") {
            return Err(PatternError(format!("`{text}` is no pattern")));
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }
    /// Matches.
    pub(crate) fn matches(&self, reference: &Reference, proven: &[Digest]) -> bool {
        let (name, digest) = match self.text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (self.text.as_str(), None),
        };
        if let Some(digest) = digest {
            if !proven.iter().any(|d| d.to_string() == digest) {
                return false;
            }
        }
        let full = reference.to_string();
        let repo = reference.repository().to_string();
        if name == "**/**" {
            return true;
        }
        match name.strip_suffix("**") {
            Some(prefix) => repo.starts_with(prefix),
            None => repo == name || full == name,
        }
    }
    /// Needs digest.
    pub(crate) fn needs_digest(&self) -> bool {
        self.text.contains('@')
    }
}
