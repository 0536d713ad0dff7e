//! Image patterns in a rule: matching where the digest may not be known yet. Pure.

use crate::image::{Digest, Reference};
use crate::image::{Pattern, PatternError, PatternUse};

/// What is known of an image's digests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proven<'a> {
    /// Nothing was looked up yet.
    Unknown,
    /// The digests that the chain proves, or that a registry answered; may be none.
    Known(&'a [Digest]),
}

/// An answer that may have to wait for evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tri {
    Yes,
    No,
    /// It depends on a digest that is not known yet.
    Maybe,
}

impl Tri {
    pub(crate) fn is(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    pub(crate) fn any(answers: impl IntoIterator<Item = Self>) -> Self {
        let mut result = Self::No;
        for answer in answers {
            match answer {
                Self::Yes => return Self::Yes,
                Self::Maybe => result = Self::Maybe,
                Self::No => {}
            }
        }
        result
    }

    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            (Self::Maybe, _) | (_, Self::Maybe) => Self::Maybe,
        }
    }

    pub(crate) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }
}

/// One image pattern of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImagePattern {
    text: String,
    whole: Pattern,
    /// The pattern without its digest, if it has one: tells whether a digest could matter.
    name: Option<Pattern>,
}

impl ImagePattern {
    pub(crate) fn parse(text: &str, purpose: PatternUse) -> Result<Self, PatternError> {
        let whole = Pattern::parse(text, purpose)?;
        let name = match text.split_once('@') {
            Some((name, _)) if whole.needs_digest() => Some(Pattern::parse(name, purpose)?),
            _ => None,
        };
        Ok(Self {
            text: text.to_owned(),
            whole,
            name,
        })
    }

    /// The pattern as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn matches(&self, reference: &Reference, proven: Proven<'_>) -> Tri {
        match (&self.name, proven) {
            (None, _) => Tri::is(self.whole.matches(reference, &[])),
            (Some(_), Proven::Known(digests)) => Tri::is(self.whole.matches(reference, digests)),
            (Some(name), Proven::Unknown) if name.matches(reference, &[]) => Tri::Maybe,
            (Some(_), Proven::Unknown) => Tri::No,
        }
    }
}

/// Whether any of `patterns` matches.
pub(crate) fn any(patterns: &[ImagePattern], reference: &Reference, proven: Proven<'_>) -> Tri {
    Tri::any(
        patterns
            .iter()
            .map(|pattern| pattern.matches(reference, proven)),
    )
}
