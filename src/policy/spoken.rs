//! Stage: which rules speak of an image, for people. Decides nothing: [`super::PullPlan`] does. Pure.

use super::Code;
use super::compile::Policy;
use super::document::{Action, DigestMode};
use super::images::{self, ImageCase};
use super::pattern::{Known, Proven, Tri};
use super::placed::{Placed, placed};
use super::rules::{self, Check, Moment, Outcome};
use super::scope::{Handler, NodeFacts, Scope};
use crate::image::{Digest, Reference};
use crate::request::Pod;

/// One rule that speaks of an image, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpokenRule {
    /// Its policy.
    pub policy: String,
    /// Its name.
    pub rule: String,
    /// Whether it denies or only reports.
    pub action: Action,
    /// What it asks for, in the words of the policy language.
    pub asks: &'static str,
    /// For which pods of the namespace.
    pub when: SpokenWhen,
    /// What it says.
    pub answer: RuleAnswer,
}

/// For which pods a rule speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpokenWhen {
    /// For every one that was asked about.
    Always,
    /// Only under some runtime handlers.
    SomeHandlers,
}

/// What a rule says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAnswer {
    /// It is satisfied.
    Holds,
    /// It is broken.
    Broken {
        /// The code.
        code: Code,
        /// The whole line.
        line: String,
    },
    /// It depends on a digest that is not known.
    Open,
    /// It asks about the container: CreateContainer is where it speaks.
    AtCreate,
}

impl Policy {
    /// Every rule that speaks of `reference` in `pod`, by policy and in document order. `resolved`
    /// as in [`super::PullPlan::conclude`].
    pub fn spoken(
        &self,
        pod: &Pod,
        reference: &Reference,
        node: &NodeFacts,
        resolved: Option<&[Digest]>,
    ) -> Vec<SpokenRule> {
        let proven = resolved.map_or(Proven::Unknown, |digests| {
            Proven::Known(Known::named(digests))
        });
        let case = ImageCase {
            reference,
            object: "image",
            position: 0,
            moment: Moment::Pull,
        };
        let mut found = Vec::new();
        for (scope, when) in [
            (Scope::In, SpokenWhen::Always),
            (Scope::Handler, SpokenWhen::SomeHandlers),
        ] {
            for policy in self.in_scope(pod, Handler::Unknown, node, scope) {
                for placed in placed(&[policy]) {
                    let rule = placed.rule;
                    if let Some(answer) = answer(placed, &case, proven) {
                        found.push(SpokenRule {
                            policy: policy.name.clone(),
                            rule: rule.name.clone(),
                            action: rule.action,
                            asks: asks(&rule.check),
                            when,
                            answer,
                        });
                    }
                }
            }
        }
        found
    }
}

fn asks(check: &Check) -> &'static str {
    match check {
        Check::Registries(_) => "registries",
        Check::Digest(DigestMode::InSpec) => "digest: InSpec",
        Check::Digest(DigestMode::Pin) => "digest: Pin",
        Check::Containers(_) => "containers",
    }
}

/// `None` where the rule does not speak of the image.
fn answer(placed: Placed<'_>, case: &ImageCase<'_>, proven: Proven<'_>) -> Option<RuleAnswer> {
    let rule = placed.rule;
    let speaks = rule.speaks_of(case.reference, proven);
    if speaks == Tri::No {
        return None;
    }
    if !rule.checks_images() {
        return Some(RuleAnswer::AtCreate);
    }
    if let Some((_, code, text)) = images::judge_rule(rule, case, proven) {
        return Some(RuleAnswer::Broken {
            code,
            line: placed.denial(code, text).line(),
        });
    }
    let outcome = rules::judge_image(
        &rule.check,
        case.object,
        case.reference,
        proven,
        case.moment,
    );
    Some(match (speaks, outcome) {
        (_, Outcome::Pass) => RuleAnswer::Holds,
        (_, Outcome::Wait | Outcome::Fail(..)) => RuleAnswer::Open,
    })
}
