//! What of a create hangs on digests that nobody knows before the image is here. For people:
//! decides nothing. Pure.

use super::{CreatePlan, Mode, Named, Unmatched, Which};
use crate::policy::document::DigestMode;
use crate::policy::images;
use crate::policy::judgement::Failures;
use crate::policy::pattern::Proven;
use crate::policy::rules::Check;

impl CreatePlan<'_> {
    /// For each image of [`Self::needs`]: whether an enforcing rule, or the bootstrap list, answers
    /// by which digest it is. A rule that pins any digest does not.
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
                let waits = images::waits_for_digest(
                    policies,
                    &case,
                    |rule| {
                        rule.enforces()
                            && rule.is_by_name(image.which == Which::Container)
                            && !matches!(rule.check, Check::Digest(DigestMode::Pin))
                    },
                    policy.set.spec.unmatched.images == Unmatched::Deny,
                );
                let saved = !image.candidates.is_empty() && {
                    let mut early = Failures::default();
                    images::judge(policy, policies, &case, Proven::Unknown, &mut early);
                    early.denies()
                };
                waits || saved
            })
            .collect()
    }
}
