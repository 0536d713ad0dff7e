//! Stage: calls about a container that exists: Exec, Attach, PortForward, ExecSync,
//! CheckpointContainer, UpdateContainerResources. Pure.
//!
//! A rule that is chosen by image speaks of a container of which the image cannot be told, and allows
//! none; an exception by image does not match it.

use super::compile::{Policy, Rule};
use super::document::{Action, AllowDeny};
use super::exceptions::Scoped;
use super::judgement::{Allowed, Basis, Failures, Judgement, Order, Stage};
use super::pattern::{Proven, Tri};
use super::placed::{Placed, placed};
use super::rules::{Check, Containers};
use super::scope::{Handler, NodeFacts, Scope};
use super::words::Text;
use super::{Code, Denial};
use crate::image::Reference;
use crate::request::{Pod, ResourceChange};
use crate::time::Timestamp;

/// A call into a running container or sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intrusion {
    /// Exec, Attach, PortForward: key `exec`.
    Exec,
    /// ExecSync: key `execSync`.
    ExecSync,
    /// CheckpointContainer: key `checkpoint`, denied where no rule allows it.
    Checkpoint,
}

/// What the rules of a policy together have to say of a kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// Nothing.
    Silent,
    /// Something that is only recorded.
    Records,
    /// Something that can deny.
    Decides,
}

/// Whose call it is about.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// The pod, in containerd's own words.
    pub pod: &'a Pod,
    /// Its sandbox's runtime handler.
    pub handler: &'a str,
    /// The container's name; empty for a sandbox (PortForward).
    pub container: &'a str,
    /// The pod's own string of the container's image, where it can be told.
    pub image: Option<&'a Reference>,
}

impl Intrusion {
    fn asked(self, containers: &Containers) -> Option<AllowDeny> {
        match self {
            Self::Exec => containers.exec,
            Self::ExecSync => containers.exec_sync,
            Self::Checkpoint => containers.checkpoint,
        }
    }

    fn text(self, running: &Running<'_>) -> Text {
        let (words, advice) = match self {
            Self::Exec => (
                " may not be entered",
                "look at its logs, or ask for a rule without `exec: Deny`",
            ),
            Self::ExecSync => (
                " may not be entered by probes and hooks",
                "use a probe of the network, or ask for a rule without `execSync: Deny`",
            ),
            Self::Checkpoint => (
                " may not be checkpointed",
                "ask for a rule with `checkpoint: Allow`",
            ),
        };
        let pod = format!("{}/{}", running.pod.namespace, running.pod.name);
        let text = if running.container.is_empty() {
            Text::new().words("pod ").value(&pod)
        } else {
            let name = running.container;
            Text::new()
                .words("container ")
                .value(name)
                .words(" of pod ")
                .value(&pod)
        };
        text.words(words).advice(advice)
    }
}

impl Policy {
    /// Whether any rule has something to say of such calls: where none has, they are carried
    /// without a question, and a checkpoint is refused without one.
    pub fn speaks_of(&self, call: Intrusion) -> Voice {
        self.voice(|rule| said(rule, call).is_some())
    }

    /// Whether any enforcing rule allows such calls.
    pub fn allows_some(&self, call: Intrusion) -> bool {
        let allows = |rule: &Rule| said(rule, call) == Some(AllowDeny::Allow);
        self.voice(allows) == Voice::Decides
    }

    /// Whether any rule limits resources.
    pub fn speaks_of_resources(&self) -> Voice {
        self.voice(|rule| matches!(rule.check, Check::Resources(_)))
    }

    fn voice(&self, speaks: impl Fn(&Rule) -> bool) -> Voice {
        let rules = self.policies.iter().flat_map(|policy| &policy.rules);
        let speaking = rules
            .filter(|rule| speaks(rule))
            .map(|rule| rule.enforces());
        speaking.fold(Voice::Silent, |voice, enforces| match (voice, enforces) {
            (Voice::Decides, _) | (_, true) => Voice::Decides,
            (Voice::Silent | Voice::Records, false) => Voice::Records,
        })
    }

    /// Judges a call into a running container at the moment `now`, to which exceptions are held. What
    /// a rule allows, it allows also where it is waived.
    pub fn judge_intrusion(
        &self,
        call: Intrusion,
        running: &Running<'_>,
        node: &NodeFacts,
        now: Timestamp,
    ) -> Judgement {
        let mut failures = Failures::default();
        let mut allowed = false;
        let policies = self.policies_of(running, node, now);
        for placed in placed(&policies).filter(|placed| speaks(*placed, running)) {
            match said(placed.rule, call) {
                Some(AllowDeny::Deny) => {
                    let denial = placed.denial(Code::PodExec, call.text(running));
                    let waived = placed.waived_whole();
                    placed.push(Stage::Request, 0, denial, waived, &mut failures);
                }
                Some(AllowDeny::Allow) if placed.rule.enforces() && !placed.rule.is_by_image() => {
                    allowed = true;
                }
                Some(AllowDeny::Allow) | None => {}
            }
        }
        if call == Intrusion::Checkpoint && !allowed && !failures.denies() {
            let denial = Denial::say(Code::RpcRefused, call.text(running));
            let order = Order::Call { image: 0 };
            failures.push(Action::Enforce, Stage::Request, order, denial);
        }
        failures.settle(ALLOWED)
    }

    /// Judges an UpdateContainerResources at the moment `now`: no limit that it sets may be above what
    /// a rule allows.
    pub fn judge_update(
        &self,
        running: &Running<'_>,
        change: &ResourceChange,
        node: &NodeFacts,
        now: Timestamp,
    ) -> Judgement {
        let mut failures = Failures::default();
        let policies = self.policies_of(running, node, now);
        for placed in placed(&policies).filter(|placed| speaks(*placed, running)) {
            let Check::Resources(resources) = &placed.rule.check else {
                continue;
            };
            let mut broken = Vec::new();
            resources.judge_update(running.container, change, node.cpu_quotas, &mut broken);
            placed.fail(broken, Stage::Request, placed.waived_whole(), &mut failures);
        }
        failures.settle(ALLOWED)
    }

    fn policies_of(
        &self,
        running: &Running<'_>,
        node: &NodeFacts,
        now: Timestamp,
    ) -> Vec<Scoped<'_>> {
        let handler = Handler::Known(running.handler);
        self.in_scope(running.pod, handler, node, Scope::In, now)
    }
}

fn speaks(placed: Placed<'_>, running: &Running<'_>) -> bool {
    running
        .image
        .is_none_or(|image| placed.rule.speaks_of(image, Proven::Unknown) != Tri::No)
}

const ALLOWED: Allowed = Allowed::by(Basis::Rules);

fn said(rule: &Rule, call: Intrusion) -> Option<AllowDeny> {
    match &rule.check {
        Check::Containers(containers) => call.asked(containers),
        Check::Registries(_) | Check::Digest(_) | Check::PodSecurity(_) | Check::Resources(_) => {
            None
        }
    }
}
