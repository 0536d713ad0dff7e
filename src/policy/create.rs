//! Stage: CreateContainer. The gate of record. Pure.

mod containers;
mod image;
mod limits;
mod told;
mod waivers;

use self::image::{Image, Named, exempt, images_of, proof, proven};
use super::compile::{BootstrapEntry, Policy};
use super::document::{Action, Unmatched};
use super::evidence::CreateEvidence;
use super::exceptions::Scoped;
use super::images;
use super::judgement::{Allowed, Basis, Failures, Judgement, Order, Stage};
use super::needs::{self, Asking, Needs};
use super::pattern::{Known, Proven, Tri};
use super::placed::{Placed, placed};
use super::sandbox;
use super::scope::{Handler, NodeFacts, Scope};
use super::words::Text;
use super::{Code, Denial};
use crate::image::Reference;
use crate::request::{CreateAsk, Pod};
use crate::time::Timestamp;

/// Which image of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Its own.
    Container,
    /// The image volume at this position of `container.mounts`.
    Mount(usize),
}

/// What has to be proven of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageNeed {
    /// Which image.
    pub which: Which,
    /// The pod's own string, verbatim; from a client that sends none, the `image` field.
    pub reference: String,
    /// What has to be known of it.
    pub needs: Needs,
}

/// What has to be found out for a CreateContainer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateNeeds {
    /// Every image of the container: its own first, then image volumes in the order of the mounts.
    pub images: Vec<ImageNeed>,
    /// Whether the image's USER decides (root).
    pub effective_user_from_image: bool,
    /// Whether it decides what stands behind the mounts (hostPath).
    pub mount_origins: bool,
}

/// What has to be found out for a create, and its judgement once it is.
#[derive(Clone, Debug)]
pub struct CreatePlan<'p> {
    ask: &'p CreateAsk,
    handler: String,
    guarded: &'p [String],
    quotas: bool,
    images: Vec<Image<'p>>,
    mode: Mode<'p>,
}

#[derive(Clone, Debug)]
enum Mode<'p> {
    Policy(&'p Policy, Vec<Scoped<'p>>),
    /// There is no policy: only images of the bootstrap list start.
    OnlyBootstrap,
    /// There is no policy, and this pod starts without one.
    Free,
}

impl Policy {
    /// Plans a CreateContainer at the moment `now`, to which exceptions are held. `pod` and `handler`
    /// are those of containerd's own record of the sandbox; `ask.sandbox` must agree with it (the
    /// caller has compared them). `bootstrap` is the node's list and the policy's together.
    pub fn plan_create<'p>(
        &'p self,
        pod: &Pod,
        handler: &str,
        ask: &'p CreateAsk,
        node: &'p NodeFacts,
        bootstrap: &'p [BootstrapEntry],
        now: Timestamp,
    ) -> CreatePlan<'p> {
        let policies = self.in_scope(pod, Handler::Known(handler), node, Scope::In, now);
        CreatePlan {
            ask,
            handler: handler.to_owned(),
            guarded: &node.guarded_paths,
            quotas: node.cpu_quotas,
            images: images_of(pod, &ask.container, bootstrap),
            mode: Mode::Policy(self, policies),
        }
    }
}

impl<'p> CreatePlan<'p> {
    pub(crate) fn without_policy(
        pod: &Pod,
        ask: &'p CreateAsk,
        bootstrap: &'p [BootstrapEntry],
        free: bool,
    ) -> Self {
        Self {
            ask,
            handler: String::new(),
            guarded: &[],
            quotas: false,
            images: images_of(pod, &ask.container, bootstrap),
            mode: if free {
                Mode::Free
            } else {
                Mode::OnlyBootstrap
            },
        }
    }

    /// What enforcing rules need.
    pub fn needs(&self) -> CreateNeeds {
        self.needs_of(|action| action == Action::Enforce)
    }

    /// What all rules need, Audit and Warn too: to be gathered beside the call, never before it.
    pub fn needs_with_audit(&self) -> CreateNeeds {
        self.needs_of(|_| true)
    }

    /// The denial that needs no evidence.
    ///
    /// # Errors
    /// That denial. Nothing needs to be gathered then.
    pub fn definite(&self) -> Result<(), Denial> {
        self.failures(None).definite()
    }

    /// The judgement of a create that the request alone denies; `None` where evidence decides.
    /// Nothing is gathered for it, so what evidence would have told is not judged either.
    pub fn refused(&self) -> Option<Judgement> {
        let failures = self.failures(None);
        failures.definite().err()?;
        Some(failures.settle(Allowed::by(Basis::Rules)))
    }

    /// The judgement. What an enforcing rule needs and `evidence` does not hold is denied; what only
    /// an Audit or Warn rule needs and is not there is not judged.
    pub fn conclude(&self, evidence: &CreateEvidence) -> Judgement {
        let by_list = self
            .images
            .iter()
            .enumerate()
            .any(|(index, image)| exempt(image, proof(evidence, index)));
        let basis = match self.mode {
            Mode::Free => Basis::NoPolicy,
            Mode::Policy(..) | Mode::OnlyBootstrap if by_list => Basis::Bootstrap,
            Mode::Policy(..) | Mode::OnlyBootstrap => Basis::Rules,
        };
        self.failures(Some(evidence)).settle(Allowed {
            defaults: self.defaults(Some(evidence)),
            ..Allowed::by(basis)
        })
    }

    fn needs_of(&self, asked: impl Fn(Action) -> bool + Copy) -> CreateNeeds {
        let images = self
            .images
            .iter()
            .map(|image| ImageNeed {
                which: image.which,
                reference: image.text.to_owned(),
                needs: match image.which {
                    Which::Container => {
                        self.image_needs(image, asked).and(self.waiver_needs(asked))
                    }
                    Which::Mount(_) => self.image_needs(image, asked),
                },
            })
            .collect();
        let checks = || {
            self.rules()
                .filter(|placed| asked(placed.action()) && placed.waived_whole().is_none())
                .map(|placed| placed.rule)
                .filter(|rule| self.chooses(rule) != Tri::No)
                .filter_map(|rule| rule.check.of_pods())
        };
        CreateNeeds {
            images,
            effective_user_from_image: checks()
                .any(|check| check.needs_image_user(&self.ask.sandbox, &self.ask.container)),
            mount_origins: checks().any(|check| check.needs_mounts(&self.ask.container)),
        }
    }

    fn image_needs(&self, image: &Image<'_>, asked: impl Fn(Action) -> bool) -> Needs {
        let (policy, policies) = match &self.mode {
            Mode::Free => return Needs::default(),
            Mode::OnlyBootstrap => return needs::by_list_alone(&image.candidates),
            Mode::Policy(policy, policies) => (*policy, policies),
        };
        let Named::Reference(reference) = &image.named else {
            return Needs::default();
        };
        let asking = Asking {
            policy,
            policies,
            candidates: &image.candidates,
            own: image.which == Which::Container,
        };
        asking.needs(&image.case(reference), asked)
    }

    fn rules(&self) -> impl Iterator<Item = Placed<'_>> {
        placed(match &self.mode {
            Mode::Policy(_, policies) => policies,
            Mode::OnlyBootstrap | Mode::Free => &[],
        })
    }

    fn failures(&self, evidence: Option<&CreateEvidence>) -> Failures {
        let mut failures = Failures::default();
        for image in &self.images {
            if let Named::Refused(denial) = &image.named {
                let mut refused = Failures::default();
                let order = Order::Call {
                    image: image.position,
                };
                refused.push(Action::Enforce, Stage::Request, order, denial.clone());
                failures.append(image.said(refused));
            }
        }
        let Mode::Policy(policy, policies) = &self.mode else {
            self.judge_bootstrap(evidence, &mut failures);
            return failures;
        };
        for placed in self.rules() {
            if let Some(check) = placed.rule.check.of_pods() {
                self.judge_containers(placed, check, evidence, &mut failures);
            }
        }
        self.judge_limits(evidence, &mut failures);
        for image in &self.images {
            failures.append(self.judge_image(policy, policies, image, evidence));
        }
        sandbox::judge_unmatched(policy, policies, &self.ask.sandbox, &mut failures);
        failures
    }

    fn judge_image(
        &self,
        policy: &Policy,
        policies: &[Scoped<'_>],
        image: &Image<'_>,
        evidence: Option<&CreateEvidence>,
    ) -> Failures {
        let mut failures = Failures::default();
        let reference = match &image.named {
            Named::Reference(reference) => reference,
            Named::Refused(_) => return failures,
            Named::IdOnly => {
                self.judge_nameless(policy, image, &mut failures);
                return image.said(failures);
            }
        };
        let case = image.case(reference);
        let found = evidence.and_then(|evidence| proof(evidence, image.position));
        // Without a proof, what hangs on digests stays open here: `judge_proof` says why there is
        // none, wherever an enforcing rule needs one.
        let proven = found.map_or(Proven::Unknown, |proof| Proven::Known(Known::of(proof)));
        images::judge(policy, policies, &case, proven, &mut failures);
        if let Some(evidence) = evidence {
            self.judge_proof(image, reference, evidence, &mut failures);
        }
        // Exempt once the chain says so; before that, nothing is definite.
        let exempt = match evidence {
            None => !image.candidates.is_empty(),
            Some(_) => exempt(image, found),
        };
        if exempt {
            failures.forgive_all();
        }
        image.said(failures)
    }

    fn judge_proof(
        &self,
        image: &Image<'_>,
        reference: &Reference,
        evidence: &CreateEvidence,
        failures: &mut Failures,
    ) {
        let needs = self.image_needs(image, |action| action == Action::Enforce);
        if !needs.proof {
            return;
        }
        let Err(denial) = proven(image, reference, evidence) else {
            return;
        };
        let speaking = self.rules().find(|placed| {
            placed.rule.enforces()
                && placed
                    .rule
                    .is_by_name(image.which == Which::Container, Some(reference))
                && placed.rule.chooses(reference, Proven::Unknown) != Tri::No
                && placed.waived_whole().is_none()
        });
        let position = image.position;
        let (order, denial) = match speaking {
            Some(placed) => (placed.order(position), placed.says(denial)),
            None => (Order::Image { image: position }, denial),
        };
        failures.push(Action::Enforce, Stage::Evidence, order, denial);
    }

    /// An ID without a name proves no repository: denied wherever a name matters.
    fn judge_nameless(&self, policy: &Policy, image: &Image<'_>, failures: &mut Failures) {
        let text = || {
            Text::new()
                .words(image.object())
                .words(" ")
                .value(image.text)
                .words(" is an ID without a name")
                .advice("name the image as repository:tag or repository@sha256:...")
        };
        let position = image.position;
        let own = image.which == Which::Container;
        let by_name = self
            .rules()
            .filter(|placed| placed.rule.is_by_name(own, None));
        for placed in by_name {
            let denial = placed.denial(Code::ImgUnproven, text());
            let waived = placed.waived_whole();
            placed.push(Stage::Request, position, denial, waived, failures);
        }
        if policy.set.spec.unmatched.images == Unmatched::Deny {
            failures.push(
                Action::Enforce,
                Stage::Request,
                Order::Image { image: position },
                Denial::say(Code::ImgUnproven, text())
                    .with_rule(policy.name(), images::UNMATCHED_RULE),
            );
        }
    }

    fn judge_bootstrap(&self, evidence: Option<&CreateEvidence>, failures: &mut Failures) {
        if matches!(self.mode, Mode::Free) {
            return;
        }
        for (index, image) in self.images.iter().enumerate() {
            let listed = match evidence {
                None => !image.candidates.is_empty(),
                Some(evidence) => exempt(image, proof(evidence, index)),
            };
            if listed {
                continue;
            }
            let mut bad = Failures::default();
            let stage = if image.candidates.is_empty() {
                Stage::Request
            } else {
                Stage::Evidence
            };
            // Why the chain could not be followed says more than that there is no policy.
            let denial = match evidence.and_then(|evidence| evidence.images.get(index)) {
                Some(Some(Err(denial))) if !image.candidates.is_empty() => denial.clone(),
                _ => super::bootstrap::not_listed(image.object(), image.text),
            };
            let order = Order::Call { image: index };
            bad.push(Action::Enforce, stage, order, denial);
            failures.append(image.said(bad));
        }
    }
}
