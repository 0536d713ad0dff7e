//! Limits of a container: defaults of every matching policy first, then what each asks for. Pure.

use super::CreatePlan;
use super::image::proof;
use super::waivers::Standing;
use crate::policy::CreateEvidence;
use crate::policy::judgement::Failures;
use crate::policy::pattern::{Known, Proven, Tri};
use crate::policy::placed::Placed;
use crate::policy::rules::{Amounts, Broken, Check, Resources, fill};
use crate::request::ResourceChange;

impl CreatePlan<'_> {
    /// What is appended to the request: bytes of memory, and microseconds of CPU quota in the
    /// request's own period. Only enforcing rules fill in, and none that is waived; the smallest
    /// default wins, and a value that the pod set is never changed.
    pub(super) fn defaults(&self, evidence: Option<&CreateEvidence>) -> Amounts {
        let defaults = self
            .limits(evidence)
            .filter(|(placed, ..)| placed.rule.enforces())
            .filter(|(placed, ..)| !matches!(self.standing(*placed, evidence), Standing::Waived(_)))
            .map(|(_, resources, _)| resources.defaults())
            .fold(Amounts::default(), Amounts::least);
        self.filled_with(defaults)
    }

    /// Judges the limits as they will be: by an enforcing rule with the defaults of all enforcing
    /// rules, by another on the request as it came, with its own. A rule that may not speak of the
    /// image, or may be waived for it, waits until that is known.
    pub(super) fn judge_limits(&self, evidence: Option<&CreateEvidence>, failures: &mut Failures) {
        let all = self.with(self.defaults(evidence));
        let is_early = evidence.and_then(|evidence| proof(evidence, 0)).is_none();
        for (placed, resources, speaks) in self.limits(evidence) {
            if speaks == Tri::Maybe && is_early {
                continue;
            }
            let standing = self.standing(placed, evidence);
            let own = self.filled_with(resources.defaults());
            match &standing {
                Standing::Open => continue,
                Standing::Waived(exception) if own != Amounts::default() => {
                    failures.waive_edit(placed, exception);
                }
                Standing::Holds | Standing::Untold(_) if own != Amounts::default() => {
                    failures.would_fill(placed);
                }
                Standing::Holds | Standing::Waived(_) | Standing::Untold(_) => {}
            }
            let counts = placed.rule.enforces() && !matches!(standing, Standing::Waived(_));
            let alone;
            let limits = if counts {
                &all
            } else {
                alone = self.with(own);
                &alone
            };
            let broken = self.over(resources, limits);
            match standing {
                Standing::Holds => placed.fail(broken, self.told(placed), None, failures),
                Standing::Waived(exception) => {
                    placed.fail(broken, self.told(placed), Some(exception), failures);
                }
                Standing::Untold(_) if broken.is_empty() => {}
                Standing::Untold(denial) => self.untold(placed, denial, evidence, failures),
                Standing::Open => {}
            }
        }
    }

    /// Whether a rule of limits fills in, or is broken by the request as it came with its own defaults
    /// or with all of them.
    pub(super) fn limits_act(&self, placed: Placed<'_>) -> bool {
        let Check::Resources(resources) = &placed.rule.check else {
            return false;
        };
        let speaks = self.chooses(placed.rule) != Tri::No;
        let own = self.filled_with(resources.defaults());
        let breaks = |filled: Amounts| !self.over(resources, &self.with(filled)).is_empty();
        speaks && (own != Amounts::default() || breaks(own) || breaks(self.defaults(None)))
    }

    fn filled_with(&self, defaults: Amounts) -> Amounts {
        fill(&self.ask.container.resources, defaults, self.quotas)
    }

    fn over(&self, resources: &Resources, limits: &ResourceChange) -> Vec<Broken> {
        let mut broken = Vec::new();
        resources.judge(&self.ask.container.name, limits, self.quotas, &mut broken);
        broken
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
        evidence: Option<&'a CreateEvidence>,
    ) -> impl Iterator<Item = (Placed<'a>, &'a Resources, Tri)> + 'a {
        let own = evidence.and_then(|evidence| proof(evidence, 0));
        let proven = own.map_or(Proven::Unknown, |proof| Proven::Known(Known::of(proof)));
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
}
