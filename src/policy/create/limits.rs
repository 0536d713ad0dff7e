//! Limits of a container: defaults of every matching policy first, then what each asks for. Pure.

use super::CreatePlan;
use super::image::Named;
use crate::image::Reference;
use crate::policy::document::Action;
use crate::policy::judgement::Failures;
use crate::policy::pattern::{Proven, Tri};
use crate::policy::placed::Placed;
use crate::policy::rules::{Amounts, Check, Resources, fill};
use crate::request::ResourceChange;

impl<'p> CreatePlan<'p> {
    /// What is appended to the request: bytes of memory, and microseconds of CPU quota in the
    /// request's own period. Only enforcing rules fill in; the smallest default wins, and a value
    /// that the pod set is never changed.
    pub(super) fn defaults(&self, proven: Proven<'_>) -> Amounts {
        let defaults = self
            .limits(proven)
            .filter(|(placed, ..)| placed.action() == Action::Enforce)
            .map(|(_, resources, _)| resources.defaults())
            .fold(Amounts::default(), Amounts::least);
        fill(&self.ask.container.resources, defaults, self.quotas)
    }

    /// Judges the limits as they will be: by an enforcing rule with the defaults of all enforcing
    /// rules, by another on the request as it came, with its own. A rule that may not speak of the
    /// image waits until that is known.
    pub(super) fn judge_limits(&self, proven: Proven<'_>, failures: &mut Failures) {
        let all = self.with(self.defaults(proven));
        for (placed, resources, speaks) in self.limits(proven) {
            if speaks == Tri::Maybe && matches!(proven, Proven::Unknown) {
                continue;
            }
            let own = fill(
                &self.ask.container.resources,
                resources.defaults(),
                self.quotas,
            );
            if own != Amounts::default() {
                failures.would_fill(placed);
            }
            let alone;
            let limits = if placed.rule.enforces() {
                &all
            } else {
                alone = self.with(own);
                &alone
            };
            let mut broken = Vec::new();
            resources.judge(&self.ask.container.name, limits, self.quotas, &mut broken);
            placed.fail(broken, failures);
        }
    }

    /// The request's limits with what is filled in.
    fn with(&self, filled: Amounts) -> ResourceChange {
        let mut limits = self.ask.container.resources.clone();
        limits.memory_limit = filled.memory.or(limits.memory_limit);
        limits.cpu_quota = filled.cpu.or(limits.cpu_quota);
        limits
    }

    fn limits<'a>(
        &'a self,
        proven: Proven<'a>,
    ) -> impl Iterator<Item = (Placed<'p>, &'p Resources, Tri)> + 'a {
        self.rules().filter_map(move |placed| {
            let Check::Resources(resources) = &placed.rule.check else {
                return None;
            };
            let speaks = match self.own_reference() {
                Some(reference) => placed.rule.speaks_of(reference, proven),
                None => Tri::Yes,
            };
            (speaks != Tri::No).then_some((placed, resources, speaks))
        })
    }

    /// The container's own image as its pod names it, where that is a reference.
    pub(super) fn own_reference(&self) -> Option<&Reference> {
        match self.images.first().map(|image| &image.named) {
            Some(Named::Reference(reference)) => Some(reference),
            Some(Named::IdOnly | Named::Refused(_)) | None => None,
        }
    }
}
