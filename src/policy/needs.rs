//! Stage: what judging one image needs beyond its name. Pure. The same for create, which gathers it,
//! and for the gates before it, which see to it that it will be there.

use super::compile::{BootstrapEntry, Policy};
use super::document::{Action, Unmatched};
use super::exceptions::Scoped;
use super::images::{self, ImageCase};
use super::judgement::Failures;
use super::pattern::{Proven, Tri};
use super::placed::{Placed, placed};
use crate::image::Digest;

/// What has to be known of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Bytes and name have to be proven: a rule speaks by this image.
    pub proof: bool,
    /// The proof must lead to a digest: an ID for which a pull was carried is not enough.
    pub digest: bool,
    /// A rule's verdict hangs on the tag, so another image of the same repository is another image.
    pub tag: bool,
    /// Digests of which must be told whether they are the image's, too: those of patterns that deny
    /// or demand, and of the bootstrap list. Sorted.
    pub asked: Vec<Digest>,
}

impl Needs {
    /// What either asks for.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.proof |= other.proof;
        self.digest |= other.digest;
        self.tag |= other.tag;
        self.asked.extend(other.asked);
        self.asked = sorted(self.asked);
        self
    }
}

/// One image of one pod, and who asks.
pub(crate) struct Asking<'a, 'p> {
    pub(crate) policy: &'a Policy,
    pub(crate) policies: &'a [Scoped<'p>],
    pub(crate) candidates: &'a [&'p BootstrapEntry],
    /// The container's own image, not a volume's.
    pub(crate) own: bool,
}

impl Asking<'_, '_> {
    /// What rules need of which the action is `asked`.
    pub(crate) fn needs(&self, case: &ImageCase<'_>, asked: impl Fn(Action) -> bool) -> Needs {
        let reference = case.reference;
        let counts = |placed: &Placed<'_>| {
            asked(placed.action())
                && placed.rule.is_by_name(self.own, Some(reference))
                && placed.waived_whole().is_none()
        };
        let chosen = || {
            placed(self.policies).filter(|placed| {
                counts(placed) && placed.rule.chooses(reference, Proven::Unknown) != Tri::No
            })
        };
        let unmatched = match self.policy.set.spec.unmatched.images {
            Unmatched::Deny => asked(Action::Enforce),
            Unmatched::Audit => asked(Action::Audit),
            Unmatched::Allow => false,
        };
        if !unmatched && chosen().next().is_none() {
            return Needs::default();
        }
        let waits = images::waits_for_digest(self.policies, case, counts, unmatched);
        let saved = self.could_be_saved(case);
        let mut digests: Vec<Digest> = chosen()
            .flat_map(|placed| placed.rule.demanded_digests(reference))
            .collect();
        if saved {
            digests.extend(listed(self.candidates));
        }
        Needs {
            proof: true,
            digest: waits || saved,
            tag: reference.tag().is_some()
                && chosen().any(|placed| {
                    placed.rule.hangs_on_tag(reference) || images::is_waived_by_tag(placed, case)
                }),
            asked: sorted(digests),
        }
    }

    /// Whether only an entry of the bootstrap list, so only a digest, can let the image pass.
    fn could_be_saved(&self, case: &ImageCase<'_>) -> bool {
        if self.candidates.is_empty() {
            return false;
        }
        let mut early = Failures::default();
        images::judge(
            self.policy,
            self.policies,
            case,
            Proven::Unknown,
            &mut early,
        );
        early.denies()
    }
}

/// What has to be known where there is no policy, so that only the bootstrap list lets pass.
pub(crate) fn by_list_alone(candidates: &[&BootstrapEntry]) -> Needs {
    Needs {
        proof: true,
        digest: true,
        tag: false,
        asked: sorted(listed(candidates).collect()),
    }
}

pub(crate) fn listed(candidates: &[&BootstrapEntry]) -> impl Iterator<Item = Digest> {
    candidates.iter().map(|entry| entry.digest)
}

pub(crate) fn sorted(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort_unstable();
    digests.dedup();
    digests
}
