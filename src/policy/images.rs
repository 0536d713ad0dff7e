//! Stage: the image rules, for one image of one pod. Pure.

use super::compile::{CompiledPolicy, Policy, Rule};
use super::document::{Action, Unmatched};
use super::judgement::{Failures, Order, Stage};
use super::pattern::{self, ImagePattern, Proven, Tri};
use super::placed::placed;
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
            Check::Digest(_) | Check::Containers(_) => None,
        };
        let chosen = self.images.iter().flatten().chain(&self.skip_images);
        chosen.chain(checked.into_iter().flatten())
    }

    /// Whether the rule's verdict hangs on an image. Rules of containers speak of the container's
    /// own image only.
    pub(crate) fn is_by_name(&self, own: bool) -> bool {
        self.checks_images() || (self.is_by_image() && own)
    }

    /// Whether the rule checks images.
    pub(crate) fn checks_images(&self) -> bool {
        match self.check {
            Check::Registries(_) | Check::Digest(_) => true,
            Check::Containers(_) => false,
        }
    }
}

/// Judges an image by every image rule of `policies`, and by `unmatched`.
pub(crate) fn judge(
    policy: &Policy,
    policies: &[&CompiledPolicy],
    case: &ImageCase<'_>,
    proven: Proven<'_>,
    failures: &mut Failures,
) {
    for placed in placed(policies).filter(|placed| placed.rule.checks_images()) {
        if let Some((stage, code, text)) = judge_rule(placed.rule, case, proven) {
            let order = placed.order(case.position);
            failures.push(placed.action(), stage, order, placed.denial(code, text));
        }
    }
    judge_unmatched(policy, policies, case, proven, failures);
}

/// What is told without digests is told first, so that the text does not change with what the
/// evidence says.
pub(super) fn judge_rule(
    rule: &Rule,
    case: &ImageCase<'_>,
    proven: Proven<'_>,
) -> Option<(Stage, Code, Text)> {
    let judged = |proven| match rule.speaks_of(case.reference, proven) {
        Tri::No => Outcome::Pass,
        speaks @ (Tri::Yes | Tri::Maybe) => {
            let outcome = rules::judge_image(
                &rule.check,
                case.object,
                case.reference,
                proven,
                case.moment,
            );
            match (speaks, outcome) {
                (_, Outcome::Pass) => Outcome::Pass,
                (Tri::Maybe, Outcome::Fail(..)) | (_, Outcome::Wait) => Outcome::Wait,
                (_, fail @ Outcome::Fail(..)) => fail,
            }
        }
    };
    match judged(Proven::Unknown) {
        Outcome::Pass => None,
        Outcome::Fail(code, text) => Some((Stage::Request, code, text)),
        Outcome::Wait => match judged(proven) {
            Outcome::Pass | Outcome::Wait => None,
            Outcome::Fail(code, text) => Some((Stage::Evidence, code, text)),
        },
    }
}

fn judge_unmatched(
    policy: &Policy,
    policies: &[&CompiledPolicy],
    case: &ImageCase<'_>,
    proven: Proven<'_>,
    failures: &mut Failures,
) {
    let action = match policy.set.spec.unmatched.images {
        Unmatched::Allow => return,
        Unmatched::Audit => Action::Audit,
        Unmatched::Deny => Action::Enforce,
    };
    let stage = match covered(policies, case.reference, Proven::Unknown) {
        Tri::Yes => return,
        Tri::No => Stage::Request,
        Tri::Maybe if covered(policies, case.reference, proven) == Tri::No => Stage::Evidence,
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

/// Whether the `allow` of an enforcing rule names the image. `digest` and `deny` cover nothing, and
/// no rule covers what it may only speak of.
pub(crate) fn covered(
    policies: &[&CompiledPolicy],
    reference: &Reference,
    proven: Proven<'_>,
) -> Tri {
    let proven = proven.certain();
    Tri::any(policies.iter().flat_map(|policy| {
        policy
            .rules
            .iter()
            .filter(|rule| rule.enforces())
            .map(|rule| match &rule.check {
                Check::Registries(registries) => rule
                    .speaks_of(reference, proven)
                    .and(registries.names(reference, proven).unwrap_or(Tri::No)),
                Check::Digest(_) | Check::Containers(_) => Tri::No,
            })
    }))
}

/// The denial of the first enforcing image rule of one policy that is broken for certain.
pub(crate) fn broken(policy: &CompiledPolicy, case: &ImageCase<'_>) -> Option<Denial> {
    placed(&[policy])
        .filter(|placed| placed.rule.enforces() && placed.rule.checks_images())
        .find_map(|placed| {
            let (_, code, text) = judge_rule(placed.rule, case, Proven::Unknown)?;
            Some(placed.denial(code, text))
        })
}

/// Whether a rule that is `asked`, or `unmatched` where `unmatched_asked`, is still open without the
/// image's digests.
pub(crate) fn waits_for_digest(
    policies: &[&CompiledPolicy],
    case: &ImageCase<'_>,
    asked: impl Fn(&Rule) -> bool,
    unmatched_asked: bool,
) -> bool {
    let rules = policies.iter().flat_map(|policy| &policy.rules);
    let waits = rules.filter(|rule| asked(rule)).any(|rule| {
        let speaks = rule.speaks_of(case.reference, Proven::Unknown);
        let outcome = rules::judge_image(
            &rule.check,
            case.object,
            case.reference,
            Proven::Unknown,
            case.moment,
        );
        match (speaks, outcome) {
            (Tri::No, _) => false,
            // A rule of containers passes every image, and yet the image chooses it.
            (Tri::Maybe, Outcome::Pass) => !rule.checks_images(),
            (Tri::Maybe, _) | (_, Outcome::Wait) => true,
            (Tri::Yes, Outcome::Pass | Outcome::Fail(..)) => false,
        }
    });
    waits || (unmatched_asked && covered(policies, case.reference, Proven::Unknown) == Tri::Maybe)
}
