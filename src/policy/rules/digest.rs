//! `digest`: InSpec and Pin. Pure.

use super::Outcome;
use crate::image::Reference;
use crate::policy::Code;
use crate::policy::document::DigestMode;
use crate::policy::pattern::Proven;
use crate::policy::words::Text;

/// Which gate asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// PullImage: a tag can still be pinned.
    Pull,
    /// CreateContainer: the bytes are what they are.
    Create,
}

pub(super) fn judge(
    mode: DigestMode,
    object: &'static str,
    reference: &Reference,
    proven: Proven<'_>,
    moment: Moment,
) -> Outcome {
    match (mode, moment) {
        (DigestMode::InSpec, _) if reference.digest().is_none() => Outcome::Fail(
            Code::ImgDigestRequired,
            Text::new()
                .words(object)
                .words(" ")
                .value(&reference.to_string())
                .words(" names no digest")
                .advice("write it as repository@sha256:..."),
        ),
        (DigestMode::InSpec, _) | (DigestMode::Pin, Moment::Pull) => Outcome::Pass,
        (DigestMode::Pin, Moment::Create) => match proven {
            Proven::Unknown => Outcome::Wait,
            Proven::Known(known) if known.named.is_empty() => Outcome::Fail(
                Code::ImgUnproven,
                Text::new()
                    .words(object)
                    .words(" ")
                    .value(&reference.to_string())
                    .words(" is not proven to be any digest of its repository")
                    .advice("pull it again through the guard, or write its digest in the pod"),
            ),
            Proven::Known(_) => Outcome::Pass,
        },
    }
}
