//! Stage: the image rules, for one image of one pod. Pure.

use super::compile::{Policy, Rule};
use super::document::{Action, Unmatched};
use super::exceptions::{Exception, Scoped, Waiver};
use super::judgement::{Failures, Order, Stage};
use super::pattern::{self, ImagePattern, Proven, Tri};
use super::placed::{Placed, placed};
use super::rules::{self, Check, Moment, Outcome};
use super::words::Text;
use super::{Code, Denial};
use crate::image::{Digest, Reference};

/// The name under which `unmatched` speaks in a denial, after the PolicySet's.
pub(crate) const UNMATCHED_RULE: &str = "unmatched";

/// One image to judge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageCase<'a> {
    pub(crate) reference: &'a Reference,
    /// What a text calls it: `image` or `image volume`.
    pub(crate) object: &'static str,
    /// Which of the call's images it is.
    pub(crate) position: usize,
    pub(crate) moment: Moment,
}

impl<'a> ImageCase<'a> {
    /// A container's image when it is pulled.
    pub(crate) fn at_pull(reference: &'a Reference) -> Self {
        Self {
            reference,
            object: "image",
            position: 0,
            moment: Moment::Pull,
        }
    }

    /// What the check of a rule says of the image, whether the rule speaks of it or not.
    pub(crate) fn outcome(&self, rule: &Rule, proven: Proven<'_>) -> Outcome {
        rules::judge_image(
            &rule.check,
            self.object,
            self.reference,
            proven,
            self.moment,
        )
    }

    /// What exceptions from a rule say of the image. A name that was pulled is what was asked for; at
    /// create it waives nothing before it is proven to be the image's.
    fn waiver<'p>(&self, placed: Placed<'p>, proven: Proven<'_>) -> Waiver<'p> {
        match (placed.waiver(self.reference, proven), self.moment, proven) {
            (Waiver::By(exception), Moment::Create, Proven::Unknown) if exception.is_by_image() => {
                Waiver::Open
            }
            (waiver, Moment::Pull | Moment::Create, Proven::Unknown | Proven::Known(_)) => waiver,
        }
    }
}

/// What an image rule finds.
pub(super) struct Told<'p> {
    pub(super) stage: Stage,
    pub(super) code: Code,
    pub(super) text: Text,
    /// The exception under which it does not count.
    pub(super) waived: Option<&'p Exception>,
}

impl Rule {
    /// Whether the rule speaks of an image.
    pub(crate) fn speaks_of(&self, reference: &Reference, proven: Proven<'_>) -> Tri {
        self.chooses(reference, proven)
            .and(pattern::any(&self.skip_images, reference, proven).not())
    }

    /// The same without `skipImages`: whether the image's name matters to the rule.
    pub(crate) fn chooses(&self, reference: &Reference, proven: Proven<'_>) -> Tri {
        self.images
            .as_deref()
            .map_or(Tri::Yes, |images| pattern::any(images, reference, proven))
    }

    /// The digests of which this rule must know whether they are digests of the image, too.
    pub(crate) fn demanded_digests<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> impl Iterator<Item = Digest> + 'a {
        self.patterns()
            .filter_map(|pattern| pattern.demanded(reference))
    }

    /// Whether the rule's verdict hangs on the image's tag.
    pub(crate) fn hangs_on_tag(&self, reference: &Reference) -> bool {
        self.patterns()
            .any(|pattern| pattern.hangs_on_tag(reference))
    }

    fn patterns(&self) -> impl Iterator<Item = &ImagePattern> {
        let checked = match &self.check {
            Check::Registries(registries) => Some(registries.patterns()),
            Check::Digest(_)
            | Check::Containers(_)
            | Check::PodSecurity(_)
            | Check::Resources(_) => None,
        };
        let waived = match &self.check {
            Check::PodSecurity(standards) => Some(standards.patterns()),
            Check::Registries(_)
            | Check::Digest(_)
            | Check::Containers(_)
            | Check::Resources(_) => None,
        };
        let chosen = self.images.iter().flatten().chain(&self.skip_images);
        chosen
            .chain(checked.into_iter().flatten())
            .chain(waived.into_iter().flatten())
    }

    /// Whether the rule's verdict hangs on an image. Rules of containers speak of the container's
    /// own image only.
    pub(crate) fn is_by_name(&self, own: bool, reference: Option<&Reference>) -> bool {
        let waived = match (&self.check, reference) {
            (Check::PodSecurity(standards), Some(reference)) => {
                standards.names(reference, Proven::Unknown) != Tri::No
            }
            (Check::PodSecurity(standards), None) => standards.is_by_image(),
            (
                Check::Registries(_)
                | Check::Digest(_)
                | Check::Containers(_)
                | Check::Resources(_),
                _,
            ) => false,
        };
        self.checks_images() || ((self.is_by_image() || waived) && own)
    }

    /// Whether the rule checks images.
    pub(crate) fn checks_images(&self) -> bool {
        match self.check {
            Check::Registries(_) | Check::Digest(_) => true,
            Check::Containers(_) | Check::PodSecurity(_) | Check::Resources(_) => false,
        }
    }
}

/// Judges an image by every image rule of `policies`, and by `unmatched`.
pub(crate) fn judge(
    policy: &Policy,
    policies: &[Scoped<'_>],
    case: &ImageCase<'_>,
    proven: Proven<'_>,
    failures: &mut Failures,
) {
    for placed in placed(policies).filter(|placed| placed.rule.checks_images()) {
        if let Some(told) = judge_rule(placed, case, proven) {
            let denial = placed.denial(told.code, told.text);
            placed.push(told.stage, case.position, denial, told.waived, failures);
        }
    }
    judge_unmatched(policy, policies, case, proven, failures);
}

/// What a rule finds, and whether an exception waives that.
enum Found<'p> {
    Pass,
    Wait,
    Fail(Code, Text, Option<&'p Exception>),
}

/// What is told without digests is told first, so that the text does not change with what the
/// evidence says.
pub(super) fn judge_rule<'p>(
    placed: Placed<'p>,
    case: &ImageCase<'_>,
    proven: Proven<'_>,
) -> Option<Told<'p>> {
    let told = |stage, code, text, waived| Told {
        stage,
        code,
        text,
        waived,
    };
    match found(placed, case, Proven::Unknown) {
        Found::Pass => None,
        Found::Fail(code, text, waived) => Some(told(Stage::Request, code, text, waived)),
        Found::Wait => match found(placed, case, proven) {
            Found::Pass | Found::Wait => None,
            Found::Fail(code, text, waived) => Some(told(Stage::Evidence, code, text, waived)),
        },
    }
}

fn found<'p>(placed: Placed<'p>, case: &ImageCase<'_>, proven: Proven<'_>) -> Found<'p> {
    let (code, text) = match without_exceptions(placed.rule, case, proven) {
        Outcome::Pass => return Found::Pass,
        Outcome::Wait => return Found::Wait,
        Outcome::Fail(code, text) => (code, text),
    };
    match case.waiver(placed, proven) {
        Waiver::No => Found::Fail(code, text, None),
        Waiver::By(exception) => Found::Fail(code, text, Some(exception)),
        Waiver::Open => Found::Wait,
    }
}

fn without_exceptions(rule: &Rule, case: &ImageCase<'_>, proven: Proven<'_>) -> Outcome {
    let speaks = rule.speaks_of(case.reference, proven);
    if speaks == Tri::No {
        return Outcome::Pass;
    }
    let outcome = case.outcome(rule, proven);
    match (speaks, outcome) {
        (_, Outcome::Pass) => Outcome::Pass,
        (Tri::Maybe, Outcome::Fail(..)) | (_, Outcome::Wait) => Outcome::Wait,
        (_, fail @ Outcome::Fail(..)) => fail,
    }
}

/// Whether an exception from an image rule decides about the image, and does so by its tag.
pub(crate) fn is_waived_by_tag(placed: Placed<'_>, case: &ImageCase<'_>) -> bool {
    let is_broken = || match without_exceptions(placed.rule, case, Proven::Unknown) {
        Outcome::Pass => false,
        Outcome::Wait | Outcome::Fail(..) => true,
    };
    placed.is_waived_by_tag(case.reference) && is_broken()
}

fn judge_unmatched(
    policy: &Policy,
    policies: &[Scoped<'_>],
    case: &ImageCase<'_>,
    proven: Proven<'_>,
    failures: &mut Failures,
) {
    let action = match policy.set.spec.unmatched.images {
        Unmatched::Allow => return,
        Unmatched::Audit => Action::Audit,
        Unmatched::Deny => Action::Enforce,
    };
    let stage = match covered(policies, case, Proven::Unknown) {
        Tri::Yes => return,
        Tri::No => Stage::Request,
        Tri::Maybe if covered(policies, case, proven) == Tri::No => Stage::Evidence,
        Tri::Maybe => return,
    };
    let text = Text::new()
        .words(case.object)
        .words(" ")
        .value(&case.reference.to_string())
        .words(" is named by no enforcing rule")
        .advice("use an image that the policy allows");
    let denial = Denial::say(Code::ImgUnmatched, text).with_rule(policy.name(), UNMATCHED_RULE);
    let order = Order::Image {
        image: case.position,
    };
    failures.push(action, stage, order, denial);
}

/// Whether the `allow` of an enforcing rule names the image, or is waived for it: an exception takes
/// away what a rule forbids, not what it covers. `digest` and `deny` cover nothing, and no rule covers
/// what it may only speak of.
pub(crate) fn covered(policies: &[Scoped<'_>], case: &ImageCase<'_>, proven: Proven<'_>) -> Tri {
    let (reference, proven) = (case.reference, proven.certain());
    let enforcing = placed(policies).filter(|placed| placed.rule.enforces());
    Tri::any(enforcing.map(|placed| match &placed.rule.check {
        Check::Registries(registries) => {
            let Some(named) = registries.names(reference, proven) else {
                return Tri::No;
            };
            let waived = match case.waiver(placed, proven) {
                Waiver::No => Tri::No,
                Waiver::By(_) => Tri::Yes,
                Waiver::Open => Tri::Maybe,
            };
            let speaks = placed.rule.speaks_of(reference, proven);
            speaks.and(Tri::any([named, waived]))
        }
        Check::Digest(_) | Check::Containers(_) | Check::PodSecurity(_) | Check::Resources(_) => {
            Tri::No
        }
    }))
}

/// The denial of the first enforcing image rule of one policy that is broken for certain.
pub(crate) fn broken(policy: &Scoped<'_>, case: &ImageCase<'_>) -> Option<Denial> {
    placed(std::slice::from_ref(policy))
        .filter(|placed| placed.rule.enforces() && placed.rule.checks_images())
        .find_map(|placed| {
            let told = judge_rule(placed, case, Proven::Unknown)?;
            let counts = told.waived.is_none();
            counts.then(|| placed.denial(told.code, told.text))
        })
}

/// Whether a rule that is `asked`, or `unmatched` where `unmatched_asked`, is still open without the
/// image's digests.
pub(crate) fn waits_for_digest(
    policies: &[Scoped<'_>],
    case: &ImageCase<'_>,
    asked: impl Fn(&Placed<'_>) -> bool,
    unmatched_asked: bool,
) -> bool {
    // Of a name, only whether a digest decides: it is proven, or it is not.
    let by_name = ImageCase {
        moment: Moment::Pull,
        ..*case
    };
    let waits = placed(policies)
        .filter(|placed| asked(placed))
        .any(|placed| {
            let rule = placed.rule;
            let is_waiver_open = match by_name.waiver(placed, Proven::Unknown) {
                Waiver::By(exception) if rule.checks_images() || !exception.is_by_image() => {
                    return false;
                }
                Waiver::Open => rule.checks_images(),
                Waiver::By(_) | Waiver::No => false,
            };
            let speaks = rule.speaks_of(case.reference, Proven::Unknown);
            let outcome = case.outcome(rule, Proven::Unknown);
            let waived = match &rule.check {
                Check::PodSecurity(standards) => standards.names(case.reference, Proven::Unknown),
                Check::Registries(_)
                | Check::Digest(_)
                | Check::Containers(_)
                | Check::Resources(_) => Tri::No,
            };
            match (speaks, outcome) {
                (Tri::No, _) => false,
                (Tri::Yes, _) if waived == Tri::Maybe => true,
                // A rule of containers passes every image, and yet the image chooses it.
                (Tri::Maybe, Outcome::Pass) => !rule.checks_images(),
                (Tri::Maybe, _) | (_, Outcome::Wait) => true,
                (Tri::Yes, Outcome::Pass) => false,
                (Tri::Yes, Outcome::Fail(..)) => is_waiver_open,
            }
        });
    waits || (unmatched_asked && covered(policies, &by_name, Proven::Unknown) == Tri::Maybe)
}
