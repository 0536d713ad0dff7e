//! Rules of what a container may be: `containers` and `podSecurity`. Pure.

use super::CreatePlan;
use super::image::{Named, proof};
use super::waivers::Standing;
use crate::policy::compile::Rule;
use crate::policy::judgement::{Failures, Stage};
use crate::policy::pattern::{Known, Proven, Tri};
use crate::policy::placed::Placed;
use crate::policy::rules::{Broken, ByImage, ContainerCase, OfImage, PodCheck};
use crate::policy::words::Text;
use crate::policy::{Code, CreateEvidence, Denial};

impl CreatePlan<'_> {
    /// Whether a rule of containers chooses this container by its image's name; a name that cannot
    /// be told is chosen.
    pub(super) fn chooses(&self, rule: &Rule) -> Tri {
        self.container_choice(rule, Proven::Unknown)
    }

    fn container_choice(&self, rule: &Rule, proven: Proven<'_>) -> Tri {
        match self.images.first().map(|image| &image.named) {
            Some(Named::Reference(reference)) => rule.speaks_of(reference, proven),
            Some(Named::IdOnly | Named::Refused(_)) | None => Tri::Yes,
        }
    }

    pub(super) fn judge_containers(
        &self,
        placed: Placed<'_>,
        check: PodCheck<'_>,
        evidence: Option<&CreateEvidence>,
        failures: &mut Failures,
    ) {
        let rule = placed.rule;
        let early = self.container_choice(rule, Proven::Unknown);
        let choice = match (early, evidence) {
            (Tri::Maybe, Some(evidence)) => {
                let known = proof(evidence, 0).map(Known::of).unwrap_or_default();
                self.container_choice(rule, Proven::Known(known))
            }
            (choice, _) => choice,
        };
        if choice != Tri::Yes {
            return;
        }
        let late = if early == Tri::Yes {
            self.told(placed)
        } else {
            Stage::Evidence
        };
        let broken = self.broken(placed, check, evidence);
        let waived = match self.standing(placed, evidence) {
            Standing::Holds => None,
            Standing::Waived(exception) => Some(exception),
            Standing::Open => return,
            Standing::Untold(_) if broken.is_empty() => return,
            Standing::Untold(denial) => return self.untold(placed, denial, evidence, failures),
        };
        for broken in broken {
            let (stage, denial) = match broken {
                Broken::Plain(code, text) => (late, placed.denial(code, text)),
                Broken::Evidence(code, text) => (Stage::Evidence, placed.denial(code, text)),
                Broken::Missing(denial) => (Stage::Evidence, placed.says(denial)),
                Broken::Wait if waived.is_some() => continue,
                Broken::Wait => {
                    self.not_gathered(placed, evidence, failures);
                    continue;
                }
            };
            placed.push(stage, 0, denial, waived, failures);
        }
    }

    /// Every way in which the container breaks a rule that chooses it.
    pub(super) fn broken(
        &self,
        placed: Placed<'_>,
        check: PodCheck<'_>,
        evidence: Option<&CreateEvidence>,
    ) -> Vec<Broken> {
        let case = ContainerCase {
            sandbox: &self.ask.sandbox,
            container: &self.ask.container,
            handler: &self.handler,
            by_image: if placed.is_by_image() {
                ByImage::Yes
            } else {
                ByImage::No
            },
            evidence,
            guarded: self.guarded,
        };
        let own = evidence.and_then(|evidence| proof(evidence, 0));
        let image = self.own_reference().map(|reference| OfImage {
            reference,
            early: evidence.is_none(),
            proven: own.map_or(Proven::Unknown, |proof| Proven::Known(Known::of(proof))),
        });
        check.judge(&case, image)
    }

    /// An enforcing rule waits for what nobody gathered: denied, never passed.
    fn not_gathered(
        &self,
        placed: Placed<'_>,
        evidence: Option<&CreateEvidence>,
        failures: &mut Failures,
    ) {
        if evidence.is_some() && placed.rule.enforces() {
            let text = Text::new()
                .words("container ")
                .value(&self.ask.container.name)
                .words(": evidence that the rule needs was not gathered")
                .advice("report this, with the node's log");
            failures.push(
                placed.action(),
                Stage::Evidence,
                placed.order(0),
                Denial::say(Code::Internal, text).with_rule(&placed.policy.name, &placed.rule.name),
            );
        }
    }
}
