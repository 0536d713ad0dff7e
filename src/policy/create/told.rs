//! What of a create hangs on digests that nobody knows before the image is here, and on the name of the
//! image. For people: decides nothing. Pure.

use super::{CreatePlan, Mode, Named, Unmatched, Which};
use crate::policy::document::{Action, DigestMode};
use crate::policy::images;
use crate::policy::judgement::Failures;
use crate::policy::pattern::Proven;
use crate::policy::rules::Check;

impl CreatePlan<'_> {
    /// Whether an enforcing rule, an exception from one, or `unmatched` speaks by what the container's
    /// image is called: then the judgement holds for no other name of the same image.
    pub fn hangs_on_name(&self) -> bool {
        let Mode::Policy(policy, _) = &self.mode else {
            return true;
        };
        policy.set.spec.unmatched.images == Unmatched::Deny
            || self
                .rules()
                .filter(|placed| placed.rule.enforces() && placed.waived_whole().is_none())
                .any(|placed| {
                    placed.rule.is_by_name(true, None) || placed.is_by_image() && self.acts(placed)
                })
    }

    /// For each image of [`Self::needs`]: whether an enforcing rule, an exception from one, or the
    /// bootstrap list, answers by which digest it is. A rule that pins any digest does not.
    pub fn hangs_on_digest(&self) -> Vec<bool> {
        self.images
            .iter()
            .map(|image| {
                let Named::Reference(reference) = &image.named else {
                    return false;
                };
                let Mode::Policy(policy, policies) = &self.mode else {
                    return !image.candidates.is_empty();
                };
                let case = image.case(reference);
                let own = image.which == Which::Container;
                let waits = images::waits_for_digest(
                    policies,
                    &case,
                    |placed| {
                        let rule = placed.rule;
                        rule.enforces()
                            && rule.is_by_name(own, Some(reference))
                            && !matches!(rule.check, Check::Digest(DigestMode::Pin))
                    },
                    policy.set.spec.unmatched.images == Unmatched::Deny,
                );
                let saved = !image.candidates.is_empty() && {
                    let mut early = Failures::default();
                    images::judge(policy, policies, &case, Proven::Unknown, &mut early);
                    early.denies()
                };
                let waived = own && self.waiver_needs(|action| action == Action::Enforce).digest;
                waits || saved || waived
            })
            .collect()
    }
}
