//! A rule, its policy, and its place in the order in which denials are named. Pure.

use super::compile::{CompiledPolicy, Rule};
use super::document::Action;
use super::exceptions::{self, Exception, Scoped, Waiver};
use super::judgement::{Failures, Order, Stage};
use super::pattern::{Proven, Tri};
use super::rules::Broken;
use super::words::Text;
use super::{Code, Denial};
use crate::image::Reference;

/// A rule where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'p> {
    pub(crate) policy: &'p CompiledPolicy,
    pub(crate) rule: &'p Rule,
    /// Those from it that are in force for the pod, by name.
    exceptions: &'p [&'p Exception],
    /// Policies by name, rules in document order.
    place: (usize, usize),
}

/// Every rule of `policies`, which are sorted by name.
pub(crate) fn placed<'p>(policies: &'p [Scoped<'p>]) -> impl Iterator<Item = Placed<'p>> {
    policies.iter().enumerate().flat_map(|(at, scoped)| {
        let rules = scoped.policy.rules.iter().enumerate();
        rules.map(move |(index, rule)| Placed {
            policy: scoped.policy,
            rule,
            exceptions: scoped.exceptions(index),
            place: (at, index),
        })
    })
}

impl<'p> Placed<'p> {
    /// The exceptions from this rule that are in force for the pod, by name.
    pub(crate) fn exceptions(self) -> impl Iterator<Item = &'p Exception> + Clone {
        self.exceptions.iter().copied()
    }

    /// The exception that waives the rule for the pod, whatever the image.
    pub(crate) fn waived_whole(self) -> Option<&'p Exception> {
        self.exceptions().find(|one| !one.is_by_image())
    }

    /// What exceptions say of an image of the pod. Without `proven` digests its name alone is asked.
    pub(crate) fn waiver(self, reference: &Reference, proven: Proven<'_>) -> Waiver<'p> {
        exceptions::waiver(self.exceptions(), reference, proven)
    }

    /// Whether only the tag brings this image under an exception from the rule.
    pub(crate) fn is_waived_by_tag(self, reference: &Reference) -> bool {
        let patterns = self.exceptions().filter_map(|one| one.images.as_deref());
        let mut matching = patterns
            .flatten()
            .filter(|pattern| pattern.matches(reference, Proven::Unknown) == Tri::Yes)
            .peekable();
        matching.peek().is_some() && matching.all(|pattern| pattern.hangs_on_tag(reference))
    }

    /// Whether the rule is chosen by image, or could be waived by one: then it is judged per
    /// container.
    pub(crate) fn is_by_image(self) -> bool {
        self.rule.is_by_image() || self.exceptions().any(Exception::is_by_image)
    }

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

    /// What this rule found in the request; `stage` says when it is known whether that counts. `waived`
    /// by an exception, it is only recorded.
    pub(crate) fn fail(
        self,
        broken: Vec<Broken>,
        stage: Stage,
        waived: Option<&Exception>,
        failures: &mut Failures,
    ) {
        for broken in broken {
            let denial = match broken {
                Broken::Plain(code, text) | Broken::Evidence(code, text) => self.denial(code, text),
                Broken::Missing(denial) => self.says(denial),
                // The create of each container asks again, with evidence.
                Broken::Wait => continue,
            };
            self.push(stage, 0, denial, waived, failures);
        }
    }

    /// One failure of this rule, about the call's image at `image`.
    pub(crate) fn push(
        self,
        stage: Stage,
        image: usize,
        denial: Denial,
        waived: Option<&Exception>,
        failures: &mut Failures,
    ) {
        let order = self.order(image);
        match waived {
            Some(exception) => failures.waive(self.action(), stage, order, denial, exception),
            None => failures.push(self.action(), stage, order, denial),
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
