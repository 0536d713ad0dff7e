//! Limits of a container: defaults of every matching policy first, then what each asks for. Pure.

use super::CreatePlan;
use crate::image::Reference;
use crate::policy::compile::Rule;
use crate::policy::document::Action;
use crate::policy::judgement::{Failures, Stage};
use crate::policy::pattern::{Proven, Tri};
use crate::policy::rules::{Amounts, Broken, Check, Resources, fill};
use crate::request::ResourceChange;

impl<'p> CreatePlan<'p> {
    /// What is appended to the request: bytes of memory, and microseconds of CPU quota in the
    /// request's own period. Only enforcing rules fill in; the smallest default wins, and a value
    /// that the pod set is never changed.
    pub(crate) fn defaults(&self, proven: Proven<'_>) -> Amounts {
        let defaults = self
            .limits(proven)
            .filter(|(_, rule, _)| rule.action == Action::Enforce)
            .map(|(_, _, resources)| resources.defaults())
            .fold(Amounts::default(), Amounts::least);
        fill(&self.ask.container.resources, defaults, self.quotas)
    }

    /// Judges the limits as they will be.
    pub(super) fn judge_limits(&self, proven: Proven<'_>, failures: &mut Failures) {
        let filled = self.defaults(proven);
        let mut limits: ResourceChange = self.ask.container.resources.clone();
        limits.memory_limit = filled.memory.or(limits.memory_limit);
        limits.cpu_quota = filled.cpu.or(limits.cpu_quota);
        for (policy, rule, resources) in self.limits(proven) {
            let mut broken = Vec::new();
            resources.judge(&self.ask.container.name, &limits, self.quotas, &mut broken);
            for broken in broken {
                if let Broken::Plain(code, text) = broken {
                    let denial = rule.denial(policy, code, text);
                    failures.push(rule.action, Stage::Request, denial);
                }
            }
        }
    }

    fn limits(
        &self,
        proven: Proven<'_>,
    ) -> impl Iterator<Item = (&'p str, &'p Rule, &'p Resources)> {
        let reference = self.own_reference().cloned();
        let digests: Option<Vec<_>> = match proven {
            Proven::Known(digests) => Some(digests.to_vec()),
            Proven::Unknown => None,
        };
        self.rules().filter_map(move |(policy, rule)| {
            let Check::Resources(resources) = &rule.check else {
                return None;
            };
            let proven = digests.as_deref().map_or(Proven::Unknown, Proven::Known);
            let speaks = match &reference {
                Some(reference) => rule.speaks_of(reference, proven) != Tri::No,
                None => true,
            };
            speaks.then_some((policy, rule, resources))
        })
    }

    pub(super) fn own_reference(&self) -> Option<&Reference> {
        use super::image::Named;
        match self.images.first().map(|image| &image.named) {
            Some(Named::Reference(reference)) => Some(reference),
            Some(Named::IdOnly | Named::Refused(_)) | None => None,
        }
    }
}
