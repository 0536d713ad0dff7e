//! Stage: PullImage. The early gate: what can be said before the image is here. Pure.

use super::Code;
use super::Denial;
use super::compile::{BootstrapEntry, Policy};
use super::document::{Action, DigestMode, Unmatched};
use super::exceptions::{Exception, Scoped, Waiver};
use super::images::{self, ImageCase};
use super::judgement::{Allowed, Basis, Failures, Judgement, Order, Pin, Stage};
use super::needs::{self, Asking, Needs};
use super::pattern::{Known, Proven, Tri};
use super::placed::{Placed, placed};
use super::rules::{Check, Moment};
use super::scope::{Handler, NodeFacts, Scope};
use super::words::Text;
use crate::image::{Digest, Reference};
use crate::request::Pod;
use crate::time::Timestamp;

/// What the edge found a reference to mean now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// The chain that the reference leads to, in its repository: the digest to pull first.
    pub digests: Vec<Digest>,
    /// Of what the plan asks about: digests that lead to the same image by hash.
    pub kin: Vec<Digest>,
    /// Of what the plan asks about: digests that do not, or that the repository does not hold.
    pub apart: Vec<Digest>,
}

impl From<&[Digest]> for Resolution {
    /// A chain, and nothing else was looked at.
    fn from(digests: &[Digest]) -> Self {
        Self {
            digests: digests.to_vec(),
            ..Self::default()
        }
    }
}

/// What has to be found out for a pull, and its judgement once it is.
#[derive(Clone, Debug)]
pub struct PullPlan<'p> {
    reference: &'p Reference,
    /// Told without evidence and without the bootstrap list.
    early: Failures,
    mode: Mode<'p>,
    /// Entries of the bootstrap list that name the pod's namespace and the image's repository.
    candidates: Vec<&'p BootstrapEntry>,
    waits: bool,
    /// A policy that may speak of the pod hangs on the digest.
    perhaps: bool,
    asked: Vec<Digest>,
    at_create: Needs,
}

#[derive(Clone, Debug)]
enum Mode<'p> {
    /// For a pod, by the policies that match it.
    Pod(&'p Policy, Vec<Scoped<'p>>),
    /// Without a pod, or without a policy: `early` has said everything.
    Settled(Basis),
}

impl Policy {
    /// Plans a PullImage at the moment `now`, to which exceptions are held. `pod` is `None` for a pull
    /// without a sandbox config (crictl, kubeadm); `handler` is the sandbox's, where the sandbox is
    /// known; `bootstrap` is the node's list and the policy's together.
    pub fn plan_pull<'p>(
        &'p self,
        pod: Option<&'p Pod>,
        handler: Option<&str>,
        reference: &'p Reference,
        node: &NodeFacts,
        bootstrap: &'p [BootstrapEntry],
        now: Timestamp,
    ) -> PullPlan<'p> {
        match pod {
            Some(pod) => {
                let handler = handler.map_or(Handler::Unknown, Handler::Known);
                self.plan_pod_pull(pod, handler, reference, node, bootstrap, now)
            }
            None => self.plan_bare_pull(reference, node, bootstrap, now),
        }
    }

    fn plan_pod_pull<'p>(
        &'p self,
        pod: &Pod,
        handler: Handler<'_>,
        reference: &'p Reference,
        node: &NodeFacts,
        bootstrap: &'p [BootstrapEntry],
        now: Timestamp,
    ) -> PullPlan<'p> {
        // A policy that asks for a runtime handler that is not known here may or may not speak of
        // this pod. It denies nothing here; create knows the handler.
        let with = |scope| self.in_scope(pod, handler, node, scope, now);
        let certain = with(Scope::In);
        let perhaps = with(Scope::Handler);
        let case = ImageCase::at_pull(reference);
        let mut early = Failures::default();
        images::judge(self, &certain, &case, Proven::Unknown, &mut early);
        if images::covered(&perhaps, &case, Proven::Unknown) != Tri::No {
            early.forgive(Code::ImgUnmatched);
        }
        for placed in pin_rules(&certain, reference) {
            match waives_pin(placed, reference) {
                Some(exception) => early.waive_edit(placed, exception),
                None if placed.rule.enforces() => {}
                None => early.would_pin(placed),
            }
        }
        let candidates = candidates(bootstrap, pod, reference);
        let waits = waits(
            &certain,
            &case,
            self.set.spec.unmatched.images == Unmatched::Deny,
        );
        let perhaps_hangs = waits_or_pins(&perhaps, &case);
        let now = self.asks(&certain, &candidates).needs(&case, enforced);
        let mut all = certain.clone();
        all.extend(perhaps);
        let case = ImageCase {
            moment: Moment::Create,
            ..case
        };
        let at_create = self.asks(&all, &candidates).needs(&case, enforced);
        PullPlan {
            reference,
            early,
            mode: Mode::Pod(self, certain),
            candidates,
            waits,
            perhaps: perhaps_hangs,
            asked: now.asked,
            at_create,
        }
    }

    fn asks<'a, 'p>(
        &'a self,
        policies: &'a [Scoped<'p>],
        candidates: &'a [&'p BootstrapEntry],
    ) -> Asking<'a, 'p> {
        Asking {
            policy: self,
            policies,
            candidates,
            own: true,
        }
    }

    /// A pull without a pod starts nothing, so it passes if anything could let the image run, an
    /// exception for some pods too.
    fn plan_bare_pull<'p>(
        &'p self,
        reference: &'p Reference,
        node: &NodeFacts,
        bootstrap: &'p [BootstrapEntry],
        now: Timestamp,
    ) -> PullPlan<'p> {
        let mut early = Failures::default();
        let listed = bootstrap
            .iter()
            .any(|entry| entry.repository == *reference.repository());
        let open = self.set.spec.unmatched.images != Unmatched::Deny;
        if !listed && !open {
            let case = ImageCase::at_pull(reference);
            let policies = self.policies.iter();
            let scoped = policies.map(|policy| Scoped::of_any_pod(policy, node, now));
            let covering = scoped.filter(|policy| {
                let only = std::slice::from_ref(policy);
                images::covered(only, &case, Proven::Unknown) != Tri::No
            });
            let broken: Vec<Option<Denial>> = covering
                .map(|policy| images::broken(&policy, &case))
                .collect();
            if broken.iter().all(Option::is_some) {
                let first = broken.into_iter().flatten().next();
                let denial = first.unwrap_or_else(|| self.named_by_no_rule(reference));
                let order = Order::Image { image: 0 };
                early.push(Action::Enforce, Stage::Request, order, denial);
            }
        }
        PullPlan::settled(reference, early, Basis::Rules)
    }

    fn named_by_no_rule(&self, reference: &Reference) -> Denial {
        let text = Text::new()
            .words("image ")
            .value(&reference.to_string())
            .words(" is named by no enforcing rule")
            .advice("use an image that the policy allows");
        Denial::say(Code::ImgUnmatched, text).with_rule(self.name(), images::UNMATCHED_RULE)
    }
}

impl<'p> PullPlan<'p> {
    pub(crate) fn settled(reference: &'p Reference, early: Failures, basis: Basis) -> Self {
        Self {
            reference,
            early,
            mode: Mode::Settled(basis),
            candidates: Vec::new(),
            waits: false,
            perhaps: false,
            asked: Vec::new(),
            at_create: Needs::default(),
        }
    }

    pub(crate) fn with_candidates(mut self, candidates: Vec<&'p BootstrapEntry>) -> Self {
        self.asked = needs::by_list_alone(&candidates).asked;
        self.candidates = candidates;
        self
    }

    /// Whether judging needs the digest that the reference means now.
    pub fn needs_digest(&self) -> bool {
        let saved_by_digest = self.early.denies() && !self.candidates.is_empty();
        saved_by_digest || (self.waits && self.definite().is_ok())
    }

    /// Whether an enforcing rule pins: the pull is forwarded as `repository@digest`, so the digest
    /// is needed, though not for judging.
    pub fn pins(&self) -> bool {
        self.pin_rule().is_some()
    }

    /// The first enforcing rule that pins.
    fn pin_rule(&self) -> Option<Placed<'_>> {
        let Mode::Pod(_, certain) = &self.mode else {
            return None;
        };
        pin_rules(certain, self.reference).find(|placed| pins(*placed, self.reference))
    }

    /// Whether a policy of which it is not known here whether it speaks of the pod hangs on the
    /// digest: the pull is pinned if the digest can be had, and goes as it came if not.
    pub fn would_rather_pin(&self) -> bool {
        self.perhaps && self.definite().is_ok()
    }

    /// Digests of which judging must know whether they lead to the image, too.
    pub fn asked(&self) -> &[Digest] {
        &self.asked
    }

    /// What create will have to know of the image, so what the node must be able to prove for it
    /// to count as present.
    pub fn at_create(&self) -> &Needs {
        &self.at_create
    }

    /// A denial that was made elsewhere, said by the first enforcing rule that speaks by the image.
    pub fn says(&self, denial: Denial) -> Denial {
        let Mode::Pod(_, certain) = &self.mode else {
            return denial;
        };
        let mut speaking = placed(certain)
            .filter(|placed| {
                placed.rule.enforces()
                    && placed.rule.is_by_name(true, Some(self.reference))
                    && placed.waived_whole().is_none()
            })
            .filter(|placed| placed.rule.chooses(self.reference, Proven::Unknown) != Tri::No);
        match speaking.next() {
            Some(placed) => placed.says(denial),
            None => denial,
        }
    }

    /// The denial of an image of which it is open whether it is one that a rule names by digest.
    pub fn not_told(&self) -> Denial {
        let text = Text::new()
            .words("image ")
            .value(&self.reference.to_string())
            .words(" could not be told apart from the digests that rules name")
            .advice("pull it again through the guard");
        Denial::say(Code::ImgUnproven, text)
    }

    /// The denial that needs no evidence.
    ///
    /// # Errors
    /// That denial. Nothing needs to be resolved then.
    pub fn definite(&self) -> Result<(), Denial> {
        if self.candidates.is_empty() {
            self.early.definite()
        } else {
            Ok(())
        }
    }

    /// The judgement of a pull of which nobody could tell what the reference means; `denial` says
    /// why. What the request alone tells is found beside it, unless the bootstrap list might have
    /// taken the image out of the rules.
    pub fn unresolved(&self, denial: Denial) -> Judgement {
        let early = self.early.clone().settle(Allowed::by(Basis::Rules));
        let findings = if self.candidates.is_empty() {
            early.findings
        } else {
            Vec::new()
        };
        Judgement {
            verdict: Err(denial),
            findings,
        }
    }

    /// The judgement. `None` where nothing was resolved. What the plan asks about and `resolved`
    /// does not settle counts as open.
    pub fn conclude(&self, resolved: Option<&Resolution>) -> Judgement {
        let basis = match self.mode {
            Mode::Settled(basis) => basis,
            Mode::Pod(..) => Basis::Rules,
        };
        if resolved.is_none() && self.definite().is_err() {
            // Nothing was resolved because nothing needed to be: no finding by itself.
            return self.early.clone().settle(Allowed {
                basis,
                pin: Pin::No,
                ..Allowed::by(basis)
            });
        }
        let mut failures = match &self.mode {
            Mode::Settled(_) => self.early.clone(),
            Mode::Pod(policy, certain) => self.judge(policy, certain, resolved),
        };
        let exempt = failures.denies() && resolved.is_some_and(|found| self.listed(found));
        if exempt {
            failures.forgive_all();
        }
        let pin = match resolved.and_then(|found| found.digests.first()) {
            // What was judged is what is pulled.
            Some(digest) if self.hangs() || exempt => self.pin(*digest),
            Some(_) => Pin::No,
            None => {
                // Where a rule waits for the digest, this is said already.
                if self.pins() && !self.waits {
                    self.push_unresolved(&mut failures);
                }
                Pin::No
            }
        };
        // Exempt from image rules, so it is the list that pins and no rule.
        if let (Some(placed), Pin::Digest(_), false) = (self.pin_rule(), pin, exempt) {
            failures.would_pin(placed);
        }
        let basis = if exempt { Basis::Bootstrap } else { basis };
        failures.settle(Allowed {
            pin,
            ..Allowed::by(basis)
        })
    }

    /// Whether a verdict may have hung on the digest, or a rule pins.
    fn hangs(&self) -> bool {
        self.waits || self.perhaps || self.pins()
    }

    /// A name with a digest is pulled by it as it came.
    fn pin(&self, digest: Digest) -> Pin {
        if self.reference.tag().is_some() {
            Pin::Digest(digest)
        } else {
            Pin::No
        }
    }

    /// Whether an entry of the bootstrap list is the image, by whichever of its digests.
    fn listed(&self, found: &Resolution) -> bool {
        needs::listed(&self.candidates)
            .any(|digest| found.digests.contains(&digest) || found.kin.contains(&digest))
    }

    fn judge(
        &self,
        policy: &Policy,
        certain: &[Scoped<'_>],
        resolved: Option<&Resolution>,
    ) -> Failures {
        let mut failures = self.early.clone();
        if !self.waits {
            return failures;
        }
        let Some(found) = resolved else {
            self.push_unresolved(&mut failures);
            return failures;
        };
        let settled = [&found.digests, &found.kin, &found.apart];
        let open: Vec<Digest> = self
            .asked
            .iter()
            .filter(|digest| !settled.iter().any(|list| list.contains(digest)))
            .copied()
            .collect();
        let known = Known {
            named: &found.digests,
            kin: &found.kin,
            open: &open,
        };
        let case = ImageCase::at_pull(self.reference);
        let mut late = Failures::default();
        images::judge(policy, certain, &case, Proven::Known(known), &mut late);
        failures.append_late(late);
        failures
    }

    fn push_unresolved(&self, failures: &mut Failures) {
        let text = Text::new()
            .words("image ")
            .value(&self.reference.to_string())
            .words(" was not resolved to a digest")
            .advice("write its digest in the pod, or see pullguard status on the node");
        let denial = Denial::say(Code::ImgUnproven, text);
        let (order, denial) = match self.pin_rule() {
            Some(placed) => (placed.order(0), placed.says(denial)),
            None => (Order::Image { image: 0 }, denial),
        };
        failures.push(Action::Enforce, Stage::Evidence, order, denial);
    }
}

fn enforced(action: Action) -> bool {
    action == Action::Enforce
}

/// Whether an enforcing rule that speaks by the image is open without its digests.
fn waits(policies: &[Scoped<'_>], case: &ImageCase<'_>, unmatched: bool) -> bool {
    let counts = |placed: &Placed<'_>| {
        placed.rule.enforces() && placed.rule.is_by_name(true, Some(case.reference))
    };
    images::waits_for_digest(policies, case, counts, unmatched)
}

fn waits_or_pins(policies: &[Scoped<'_>], case: &ImageCase<'_>) -> bool {
    waits(policies, case, false)
        || pin_rules(policies, case.reference).any(|placed| pins(placed, case.reference))
}

fn pins(placed: Placed<'_>, reference: &Reference) -> bool {
    placed.rule.enforces() && waives_pin(placed, reference).is_none()
}

/// The exception under which a rule does not pin the image. Where only its digest tells, it is pinned
/// to that.
fn waives_pin<'p>(placed: Placed<'p>, reference: &Reference) -> Option<&'p Exception> {
    match placed.waiver(reference, Proven::Unknown) {
        Waiver::By(exception) => Some(exception),
        Waiver::No | Waiver::Open => None,
    }
}

/// Pin rules that speak of an image with a tag.
fn pin_rules<'p>(
    policies: &'p [Scoped<'p>],
    reference: &'p Reference,
) -> impl Iterator<Item = Placed<'p>> {
    let tagged = reference.tag().is_some();
    placed(policies).filter(move |placed| {
        tagged
            && matches!(placed.rule.check, Check::Digest(DigestMode::Pin))
            && placed.rule.speaks_of(reference, Proven::Unknown) != Tri::No
    })
}

/// Bootstrap entries that could exempt an image.
pub(crate) fn candidates<'p>(
    bootstrap: &'p [BootstrapEntry],
    pod: &Pod,
    reference: &Reference,
) -> Vec<&'p BootstrapEntry> {
    bootstrap
        .iter()
        .filter(|entry| {
            entry.repository == *reference.repository() && entry.namespaces.contains(&pod.namespace)
        })
        .collect()
}
