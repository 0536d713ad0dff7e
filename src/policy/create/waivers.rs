//! Rules of the container itself that an exception waives: whether it does hangs on the container's own
//! image, which must be proven to be what it is called. Pure.

use super::CreatePlan;
use super::image::{Named, proven};
use crate::image::Reference;
use crate::policy::document::Action;
use crate::policy::exceptions::{Exception, Waiver};
use crate::policy::judgement::{Failures, Stage};
use crate::policy::needs::Needs;
use crate::policy::pattern::{Known, Proven, Tri};
use crate::policy::placed::Placed;
use crate::policy::{CreateEvidence, Denial};

/// What exceptions say of a rule for this container.
pub(super) enum Standing<'p> {
    /// The rule holds.
    Holds,
    Waived(&'p Exception),
    /// Evidence decides, and is still to come.
    Open,
    /// Evidence decides, and could not be had.
    Untold(Denial),
}

impl CreatePlan<'_> {
    pub(super) fn standing<'a>(
        &'a self,
        placed: Placed<'a>,
        evidence: Option<&CreateEvidence>,
    ) -> Standing<'a> {
        let (Some(image), Some(reference)) = (self.images.first(), self.own_reference()) else {
            let whole = placed.waived_whole();
            return whole.map_or(Standing::Holds, Standing::Waived);
        };
        match (placed.waiver(reference, Proven::Unknown), evidence) {
            (Waiver::No, _) => Standing::Holds,
            (Waiver::By(exception), _) if !exception.is_by_image() => Standing::Waived(exception),
            (Waiver::By(_) | Waiver::Open, None) => Standing::Open,
            (Waiver::By(_) | Waiver::Open, Some(evidence)) => {
                match proven(image, reference, evidence) {
                    Err(denial) => Standing::Untold(denial),
                    Ok(proof) => match placed.waiver(reference, Proven::Known(Known::of(proof))) {
                        Waiver::By(exception) => Standing::Waived(exception),
                        Waiver::No | Waiver::Open => Standing::Holds,
                    },
                }
            }
        }
    }

    /// When it is known whether a rule is waived.
    pub(super) fn told(&self, placed: Placed<'_>) -> Stage {
        match self.standing(placed, None) {
            Standing::Open => Stage::Evidence,
            Standing::Holds | Standing::Waived(_) | Standing::Untold(_) => Stage::Request,
        }
    }

    /// What has to be known of the container's own image because an exception by image may waive a rule
    /// that is broken, or acts, without it. Where it cannot be had, the rule speaks as if there were no
    /// exception: nothing is denied that is not denied without one.
    pub(super) fn waiver_needs(&self, asked: impl Fn(Action) -> bool) -> Needs {
        let mut needs = Needs::default();
        let Some(reference) = self.own_reference() else {
            return needs;
        };
        for placed in self.rules().filter(|placed| asked(placed.action())) {
            let is_open = matches!(self.standing(placed, None), Standing::Open);
            if placed.rule.checks_images() || !is_open || !self.acts(placed) {
                continue;
            }
            needs = needs.and(Needs {
                proof: true,
                digest: matches!(placed.waiver(reference, Proven::Unknown), Waiver::Open),
                tag: reference.tag().is_some() && placed.is_waived_by_tag(reference),
                asked: Vec::new(),
            });
        }
        needs
    }

    /// Whether a rule of the container is broken, fills in, or may, as the request alone tells.
    pub(super) fn acts(&self, placed: Placed<'_>) -> bool {
        let broken = match placed.rule.check.of_pods() {
            Some(check) => {
                self.chooses(placed.rule) != Tri::No && !self.broken(placed, check, None).is_empty()
            }
            None => false,
        };
        broken || self.limits_act(placed)
    }

    /// The failure of a rule that is broken, and of which it could not be told whether it is waived.
    /// What only an Audit or Warn rule needs and nobody gathered is not judged.
    pub(super) fn untold(
        &self,
        placed: Placed<'_>,
        denial: Denial,
        evidence: Option<&CreateEvidence>,
        failures: &mut Failures,
    ) {
        let was_gathered = evidence
            .and_then(|evidence| evidence.images.first())
            .is_some_and(Option::is_some);
        if placed.rule.enforces() || was_gathered {
            let denial = placed.says(denial);
            failures.push(placed.action(), Stage::Evidence, placed.order(0), denial);
        }
    }

    /// The container's own image as its pod names it, where that is a reference.
    pub(super) fn own_reference(&self) -> Option<&Reference> {
        match self.images.first().map(|image| &image.named) {
            Some(Named::Reference(reference)) => Some(reference),
            Some(Named::IdOnly | Named::Refused(_)) | None => None,
        }
    }
}
