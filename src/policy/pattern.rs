//! Image patterns in a rule: matching where the digest may not be known yet. Pure.

use crate::image::{Digest, Reference};
use crate::image::{Pattern, PatternError, PatternUse};
use crate::verify::ImageProof;

/// What is known of an image's digests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proven<'a> {
    /// Nothing was looked up yet.
    Unknown,
    /// What was found; may be nothing.
    Known(Known<'a>),
}

/// The digests of an image, by what is known of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known<'a> {
    /// Proven for the image in its repository, or answered by its registry.
    pub(crate) named: &'a [Digest],
    /// Lead to the image by hash; whether they belong to the repository is not known.
    pub(crate) kin: &'a [Digest],
    /// Could not be told to be another image's.
    pub(crate) open: &'a [Digest],
}

impl<'a> Known<'a> {
    pub(crate) fn named(named: &'a [Digest]) -> Self {
        Self {
            named,
            ..Self::default()
        }
    }

    pub(crate) fn of(proof: &'a ImageProof) -> Self {
        Self {
            named: proof.digests(),
            kin: proof.kin(),
            open: proof.open(),
        }
    }
}

impl Proven<'_> {
    /// Without what is only possible: for questions of which a yes allows something.
    pub(crate) fn certain(self) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            Self::Known(known) => Self::Known(Known::named(known.named)),
        }
    }
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
    pattern: Pattern,
    purpose: PatternUse,
}

impl ImagePattern {
    pub(crate) fn parse(text: &str, purpose: PatternUse) -> Result<Self, PatternError> {
        let pattern = Pattern::parse(text, purpose)?;
        Ok(Self { pattern, purpose })
    }

    /// The pattern as it was written.
    pub(crate) fn text(&self) -> &str {
        self.pattern.as_str()
    }

    /// A pattern that allows matches digests that are proven. One that denies or demands matches
    /// whatever the image may be: a pod that writes another digest of the same image escapes
    /// nothing.
    pub(crate) fn matches(&self, reference: &Reference, proven: Proven<'_>) -> Tri {
        let Some(digest) = self.pattern.digest() else {
            return Tri::is(self.pattern.matches(reference, &[]));
        };
        if !self.pattern.matches_repository(reference) {
            return Tri::No;
        }
        match proven {
            Proven::Unknown => Tri::Maybe,
            Proven::Known(known) if self.demands() => Tri::is(
                [known.named, known.kin, known.open]
                    .iter()
                    .any(|digests| digests.contains(digest)),
            ),
            Proven::Known(known) => Tri::is(known.named.contains(digest)),
        }
    }

    /// Whether the pattern matches only because it could not be told that it does not.
    pub(crate) fn matches_by_doubt(&self, reference: &Reference, proven: Proven<'_>) -> bool {
        let without = match proven {
            Proven::Unknown => return false,
            Proven::Known(known) => Proven::Known(Known { open: &[], ..known }),
        };
        self.matches(reference, proven) == Tri::Yes && self.matches(reference, without) != Tri::Yes
    }

    /// The digest of a pattern that denies or demands, where only the digest decides.
    pub(crate) fn demanded(&self, reference: &Reference) -> Option<Digest> {
        let digest = self.pattern.digest()?;
        (self.demands() && self.pattern.matches_repository(reference)).then_some(*digest)
    }

    /// Whether the tag decides.
    pub(crate) fn hangs_on_tag(&self, reference: &Reference) -> bool {
        self.pattern.needs_tag() && self.pattern.matches_repository(reference)
    }

    fn demands(&self) -> bool {
        match self.purpose {
            PatternUse::Deny | PatternUse::Verify => true,
            PatternUse::Allow | PatternUse::Skip | PatternUse::Exception => false,
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
