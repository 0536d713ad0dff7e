//! Stage: which rules speak of an image, for people. Decides nothing: [`super::PullPlan`] does. Pure.

use super::Code;
use super::compile::Policy;
use super::document::{Action, DigestMode};
use super::exceptions::Waived;
use super::images::{self, ImageCase};
use super::pattern::{Known, Proven, Tri};
use super::placed::{Placed, placed};
use super::rules::{Check, Moment, Outcome};
use super::scope::{Handler, NodeFacts, Scope};
use crate::image::{Digest, Reference};
use crate::request::Pod;
use crate::time::Timestamp;

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
    /// It is broken, and an exception waives it.
    Waived {
        /// The code that it would have.
        code: Code,
        /// The whole line.
        line: String,
        /// The exception.
        waived: Waived,
    },
    /// It depends on a digest that is not known.
    Open,
    /// It asks about the container: CreateContainer is where it speaks.
    AtCreate,
}

impl Policy {
    /// Every rule that speaks of `reference` in `pod` at the moment `now`, by policy and in document
    /// order. `resolved` as in [`super::PullPlan::conclude`].
    pub fn spoken(
        &self,
        pod: &Pod,
        reference: &Reference,
        node: &NodeFacts,
        resolved: Option<&[Digest]>,
        now: Timestamp,
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
            let policies = self.in_scope(pod, Handler::Unknown, node, scope, now);
            for placed in placed(&policies) {
                let rule = placed.rule;
                if let Some(answer) = answer(placed, &case, proven) {
                    found.push(SpokenRule {
                        policy: placed.policy.name.clone(),
                        rule: rule.name.clone(),
                        action: rule.action,
                        asks: asks(&rule.check),
                        when,
                        answer,
                    });
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
        Check::PodSecurity(_) => "podSecurity",
        Check::Resources(_) => "resources",
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
    if let Some(told) = images::judge_rule(placed, case, proven) {
        let (code, line) = (told.code, placed.denial(told.code, told.text).line());
        return Some(match told.waived {
            Some(exception) => RuleAnswer::Waived {
                code,
                line,
                waived: exception.as_waived(),
            },
            None => RuleAnswer::Broken { code, line },
        });
    }
    let outcome = case.outcome(rule, proven);
    Some(match (speaks, outcome) {
        (_, Outcome::Pass) => RuleAnswer::Holds,
        (_, Outcome::Wait | Outcome::Fail(..)) => RuleAnswer::Open,
    })
}
