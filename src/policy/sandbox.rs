//! Stage: RunPodSandbox. What the sandbox alone tells. Pure.

use super::compile::{BootstrapEntry, CompiledPolicy, Policy};
use super::document::{Action, Pause, Unmatched};
use super::exceptions::Scoped;
use super::images::UNMATCHED_RULE;
use super::judgement::{Allowed, Basis, Failures, Judgement, Order, Stage};
use super::placed::placed;
use super::scope::{self, Handler, NodeFacts, Scope};
use super::words::Text;
use super::{Code, Denial};
use crate::image::{Digest, Reference};
use crate::request::{Pod, Sandbox};
use crate::time::Timestamp;

/// The name under which `pause` speaks in a denial, after the PolicySet's.
const PAUSE_RULE: &str = "pause";

impl Policy {
    /// Judges a RunPodSandbox at the moment `now`, to which exceptions are held. Rules that are chosen
    /// by image, or could be waived by one, are not asked here: a sandbox has no image that a policy
    /// speaks of.
    pub fn judge_sandbox(&self, sandbox: &Sandbox, node: &NodeFacts, now: Timestamp) -> Judgement {
        let handler = sandbox.runtime_handler.as_deref().unwrap_or_default();
        let policies = self.in_scope(&sandbox.pod, Handler::Known(handler), node, Scope::In, now);
        let mut failures = Failures::default();
        for placed in placed(&policies).filter(|placed| !placed.is_by_image()) {
            let Some(check) = placed.rule.check.of_pods() else {
                continue;
            };
            let broken = check.judge_sandbox(sandbox, handler);
            placed.fail(broken, Stage::Request, placed.waived_whole(), &mut failures);
        }
        judge_unmatched(self, &policies, sandbox, &mut failures);
        failures.settle(Allowed::by(Basis::Rules))
    }

    /// Judges the pause image by `pause` of the PolicySet: `chain` is every digest that is proven
    /// to lead to its ID, empty where none is. The bootstrap list is asked whatever the namespace:
    /// the image belongs to the node.
    pub fn judge_pause(
        &self,
        image: &Reference,
        chain: &[Digest],
        bootstrap: &[BootstrapEntry],
    ) -> Judgement {
        let listed = bootstrap
            .iter()
            .any(|entry| entry.repository == *image.repository() && chain.contains(&entry.digest));
        let mut failures = Failures::default();
        if !listed {
            let action = match self.set.spec.pause {
                Pause::Warn => Action::Warn,
                Pause::Deny => Action::Enforce,
            };
            let text = Text::new()
                .words("pause image ")
                .value(&image.to_string())
                .words(" is not proven to be one of the bootstrap list")
                .advice("put repository@sha256:... of it on the list");
            let denial = Denial::say(Code::ImgUnproven, text).with_rule(self.name(), PAUSE_RULE);
            let order = Order::Image { image: 0 };
            failures.push(action, Stage::Evidence, order, denial);
        }
        failures.settle(Allowed::by(if listed {
            Basis::Bootstrap
        } else {
            Basis::Rules
        }))
    }

    /// The policies of which the scope for `pod` is exactly `wanted`, by name, with the exceptions
    /// that are in force for it.
    pub(crate) fn in_scope<'p>(
        &'p self,
        pod: &Pod,
        handler: Handler<'_>,
        node: &NodeFacts,
        wanted: Scope,
        now: Timestamp,
    ) -> Vec<Scoped<'p>> {
        let is_wanted = |policy: &&CompiledPolicy| {
            let matches = policy.matches.as_deref();
            scope::scope(matches, &policy.excludes, pod, handler, node) == wanted
        };
        let policies = self.policies.iter().filter(is_wanted);
        policies
            .map(|policy| Scoped::of_pod(policy, pod, node, now))
            .collect()
    }
}

/// Whether an enforcing policy with a pod rule matches, and what follows if none does. A rule that is
/// waived covers the pod nevertheless.
pub(crate) fn judge_unmatched(
    policy: &Policy,
    policies: &[Scoped<'_>],
    sandbox: &Sandbox,
    failures: &mut Failures,
) {
    let action = match policy.set.spec.unmatched.pods {
        Unmatched::Allow => return,
        Unmatched::Audit => Action::Audit,
        Unmatched::Deny => Action::Enforce,
    };
    let covered =
        placed(policies).any(|placed| placed.rule.enforces() && placed.rule.check.is_of_pods());
    if !covered {
        let text = Text::new()
            .words("pod ")
            .value(&format!("{}/{}", sandbox.pod.namespace, sandbox.pod.name))
            .words(" is matched by no enforcing pod rule")
            .advice("run it in a namespace that the policy speaks of");
        let denial = Denial::say(Code::PodUnmatched, text).with_rule(policy.name(), UNMATCHED_RULE);
        failures.push(action, Stage::Request, Order::Pod, denial);
    }
}
