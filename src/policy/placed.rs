//! A rule, its policy, and its place in the order in which denials are named. Pure.

use super::compile::{CompiledPolicy, Rule};
use super::document::Action;
use super::judgement::{Failures, Order, Stage};
use super::rules::Broken;
use super::words::Text;
use super::{Code, Denial};

/// A rule where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'p> {
    pub(crate) policy: &'p CompiledPolicy,
    pub(crate) rule: &'p Rule,
    /// Policies by name, rules in document order.
    place: (usize, usize),
}

/// Every rule of `policies`, which are sorted by name.
pub(crate) fn placed<'p>(policies: &[&'p CompiledPolicy]) -> impl Iterator<Item = Placed<'p>> {
    policies.iter().enumerate().flat_map(|(at, policy)| {
        policy
            .rules
            .iter()
            .enumerate()
            .map(move |(index, rule)| Placed {
                policy,
                rule,
                place: (at, index),
            })
    })
}

impl Placed<'_> {
    pub(crate) fn action(self) -> Action {
        self.rule.action
    }

    /// Where a failure of this rule stands that speaks of the call's image at `image`.
    pub(crate) fn order(self, image: usize) -> Order {
        let (policy, rule) = self.place;
        Order::Rule {
            policy,
            rule,
            image,
        }
    }

    /// What this rule found where the request alone is judged.
    pub(crate) fn fail(self, broken: Vec<Broken>, failures: &mut Failures) {
        for broken in broken {
            let denial = match broken {
                Broken::Plain(code, text) | Broken::Evidence(code, text) => self.denial(code, text),
                Broken::Missing(denial) => self.says(denial),
                // The create of each container asks again, with evidence.
                Broken::Wait => continue,
            };
            failures.push(self.action(), Stage::Request, self.order(0), denial);
        }
    }

    /// A denial by this rule.
    pub(crate) fn denial(self, code: Code, text: Text) -> Denial {
        self.says(Denial::say(code, text))
    }

    /// A denial that was made elsewhere, said by this rule: with its name, unless another speaks
    /// already, and with its `message` as what to change, also where it could not be told. Every
    /// denial of a rule comes through here.
    pub(crate) fn says(self, denial: Denial) -> Denial {
        if denial.rule().is_some() {
            return denial;
        }
        let denial = denial.with_rule(&self.policy.name, &self.rule.name);
        match &self.rule.message {
            Some(message) => denial.with_advice(message),
            None => denial,
        }
    }
}
