//! Stage: PullImage. The early gate: what can be said before the image is here. Pure.

use super::Code;
use super::Denial;
use super::compile::{BootstrapEntry, CompiledPolicy, Policy};
use super::document::{Action, DigestMode, Unmatched};
use super::images::{self, ImageCase};
use super::judgement::{Allowed, Basis, Failures, Judgement, Order, Pin, Stage};
use super::pattern::{Proven, Tri};
use super::placed::{Placed, placed};
use super::rules::{Check, Moment};
use super::scope::{Handler, NodeFacts, Scope};
use super::words::Text;
use crate::image::{Digest, Reference};
use crate::request::Pod;

/// What has to be found out for a pull, and its judgement once it is.
#[derive(Clone, Debug)]
pub struct PullPlan<'p> {
    reference: &'p Reference,
    /// Told without evidence and without the bootstrap list.
    early: Failures,
    mode: Mode<'p>,
    /// Entries of the bootstrap list that name the pod's namespace and the image's repository.
    candidates: Vec<&'p BootstrapEntry>,
    /// The first enforcing rule that pins.
    pins: Option<Placed<'p>>,
    waits: bool,
    names_image: bool,
}

#[derive(Clone, Debug)]
enum Mode<'p> {
    /// For a pod, by the policies that match it.
    Pod(&'p Policy, Vec<&'p CompiledPolicy>),
    /// Without a pod, or without a policy: `early` has said everything.
    Settled(Basis),
}

impl Policy {
    /// Plans a PullImage. `pod` is `None` for a pull without a sandbox config (crictl, kubeadm);
    /// `bootstrap` is the node's list and the policy's together.
    pub fn plan_pull<'p>(
        &'p self,
        pod: Option<&'p Pod>,
        reference: &'p Reference,
        node: &NodeFacts,
        bootstrap: &'p [BootstrapEntry],
    ) -> PullPlan<'p> {
        match pod {
            Some(pod) => self.plan_pod_pull(pod, reference, node, bootstrap),
            None => self.plan_bare_pull(reference, bootstrap),
        }
    }

    fn plan_pod_pull<'p>(
        &'p self,
        pod: &Pod,
        reference: &'p Reference,
        node: &NodeFacts,
        bootstrap: &'p [BootstrapEntry],
    ) -> PullPlan<'p> {
        // A policy that asks for the runtime handler may or may not speak of this pod. It denies
        // nothing here; create knows the handler.
        let with = |scope| self.in_scope(pod, Handler::Unknown, node, scope);
        let certain = with(Scope::In);
        let perhaps = with(Scope::Handler);
        let case = ImageCase {
            reference,
            object: "image",
            position: 0,
            moment: Moment::Pull,
        };
        let mut early = Failures::default();
        images::judge(self, &certain, &case, Proven::Unknown, &mut early);
        if images::covered(&perhaps, reference, Proven::Unknown) != Tri::No {
            early.forgive(Code::ImgUnmatched);
        }
        let mut pins = None;
        for placed in pin_rules(&certain, reference) {
            if placed.rule.enforces() {
                pins.get_or_insert(placed);
            } else {
                early.would_pin(placed);
            }
        }
        let waits = images::waits_for_digest(
            &certain,
            &case,
            |rule| rule.enforces() && rule.checks_images(),
            self.set.spec.unmatched.images == Unmatched::Deny,
        );
        let names_image = images::named(&certain, reference) || images::named(&perhaps, reference);
        PullPlan {
            reference,
            early,
            mode: Mode::Pod(self, certain),
            candidates: candidates(bootstrap, pod, reference),
            pins,
            waits,
            names_image,
        }
    }

    /// A pull without a pod starts nothing, so it passes if anything could let the image run.
    fn plan_bare_pull<'p>(
        &'p self,
        reference: &'p Reference,
        bootstrap: &'p [BootstrapEntry],
    ) -> PullPlan<'p> {
        let mut early = Failures::default();
        let listed = bootstrap
            .iter()
            .any(|entry| entry.repository == *reference.repository());
        let open = self.set.spec.unmatched.images != Unmatched::Deny;
        if !listed && !open {
            let case = ImageCase {
                reference,
                object: "image",
                position: 0,
                moment: Moment::Pull,
            };
            let covering = self.policies.iter().filter(|policy| {
                images::covered(&[*policy], reference, Proven::Unknown) != Tri::No
            });
            let broken: Vec<Option<Denial>> = covering
                .map(|policy| images::broken(policy, &case))
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
            pins: None,
            waits: false,
            names_image: false,
        }
    }

    pub(crate) fn with_candidates(mut self, candidates: Vec<&'p BootstrapEntry>) -> Self {
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
        self.pins.is_some()
    }

    /// Whether an enforcing image rule that matches the pod names the image (ImageStatus).
    pub fn names_image_by_rule(&self) -> bool {
        self.names_image
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

    /// The judgement. `resolved` is every digest that the reference is proven to mean now, the one
    /// to pull first; `None` where nothing was resolved.
    pub fn conclude(&self, resolved: Option<&[Digest]>) -> Judgement {
        let digests = resolved.unwrap_or_default();
        let basis = match self.mode {
            Mode::Settled(basis) => basis,
            Mode::Pod(..) => Basis::Rules,
        };
        if resolved.is_none() && self.definite().is_err() {
            // Nothing was resolved because nothing needed to be: no finding by itself.
            return self.early.clone().settle(Allowed {
                basis,
                pin: Pin::No,
            });
        }
        let mut failures = match &self.mode {
            Mode::Settled(_) => self.early.clone(),
            Mode::Pod(policy, certain) => self.judge(policy, certain, resolved),
        };
        if failures.denies()
            && self
                .candidates
                .iter()
                .any(|entry| digests.contains(&entry.digest))
        {
            failures.forgive_all();
            // Exempt from image rules, so nothing is pinned either.
            return failures.settle(Allowed {
                basis: Basis::Bootstrap,
                pin: Pin::No,
            });
        }
        let pin = match (self.pins, digests.first()) {
            (Some(placed), Some(digest)) => {
                failures.would_pin(placed);
                Pin::Digest(*digest)
            }
            (Some(_), None) => {
                // Where a rule waits for the digest, this is said already.
                if !self.waits {
                    self.push_unresolved(&mut failures);
                }
                Pin::No
            }
            (None, _) => Pin::No,
        };
        failures.settle(Allowed { basis, pin })
    }

    fn judge(
        &self,
        policy: &Policy,
        certain: &[&CompiledPolicy],
        resolved: Option<&[Digest]>,
    ) -> Failures {
        let mut failures = self.early.clone();
        if !self.waits {
            return failures;
        }
        match resolved {
            None => self.push_unresolved(&mut failures),
            Some(digests) => {
                let case = ImageCase {
                    reference: self.reference,
                    object: "image",
                    position: 0,
                    moment: Moment::Pull,
                };
                let mut late = Failures::default();
                images::judge(policy, certain, &case, Proven::Known(digests), &mut late);
                failures.append_late(late);
            }
        }
        failures
    }

    fn push_unresolved(&self, failures: &mut Failures) {
        let text = Text::new()
            .words("image ")
            .value(&self.reference.to_string())
            .words(" was not resolved to a digest")
            .advice("write its digest in the pod, or see pullguard status on the node");
        let denial = Denial::say(Code::ImgUnproven, text);
        let (order, denial) = match self.pins {
            Some(placed) => (placed.order(0), placed.says(denial)),
            None => (Order::Image { image: 0 }, denial),
        };
        failures.push(Action::Enforce, Stage::Evidence, order, denial);
    }
}

/// Pin rules that speak of an image with a tag.
fn pin_rules<'p>(
    policies: &[&'p CompiledPolicy],
    reference: &Reference,
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
