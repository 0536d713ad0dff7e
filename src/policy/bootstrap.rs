//! Stage: judging while there is no policy (state Bootstrap). Pure.
//!
//! No policy is a state, not permission: static pods start, images of the bootstrap list start,
//! everything else waits.

use super::compile::BootstrapEntry;
use super::create::CreatePlan;
use super::document::Action;
use super::judgement::{Allowed, Basis, Failures, Judgement, Order, Pin, Stage};
use super::pull::{PullPlan, candidates};
use super::words::Text;
use super::{Code, Denial};
use crate::image::Reference;
use crate::request::{CreateAsk, Pod, PodSource, Sandbox};

/// Judges calls while there is no policy, by the node's bootstrap list alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPolicy;

impl NoPolicy {
    /// Plans a PullImage: without a pod always, for static pods always, else by the list.
    pub fn plan_pull<'p>(
        self,
        pod: Option<&Pod>,
        reference: &'p Reference,
        bootstrap: &'p [BootstrapEntry],
    ) -> PullPlan<'p> {
        let mut early = Failures::default();
        let mut entries = Vec::new();
        if let Some(pod) = pod
            && !is_static(pod)
        {
            entries = candidates(bootstrap, pod, reference);
            let denial = not_listed("image", &reference.to_string());
            let order = Order::Call { image: 0 };
            early.push(Action::Enforce, Stage::Request, order, denial);
        }
        PullPlan::settled(reference, early, Basis::NoPolicy).with_candidates(entries)
    }

    /// Judges a RunPodSandbox: static pods, and namespaces that the list names.
    pub fn judge_sandbox(self, sandbox: &Sandbox, bootstrap: &[BootstrapEntry]) -> Judgement {
        let pod = &sandbox.pod;
        let named = bootstrap
            .iter()
            .any(|entry| entry.namespaces.contains(&pod.namespace));
        let mut failures = Failures::default();
        if !is_static(pod) && !named {
            let text = Text::new()
                .words("pod ")
                .value(&format!("{}/{}", pod.namespace, pod.name))
                .words(" waits, because this node has no policy yet")
                .advice("see pullguard status on the node");
            let denial = Denial::say(Code::StateBootstrap, text);
            let order = Order::Call { image: 0 };
            failures.push(Action::Enforce, Stage::Request, order, denial);
        }
        failures.settle(Allowed {
            basis: if named {
                Basis::Bootstrap
            } else {
                Basis::NoPolicy
            },
            pin: Pin::No,
        })
    }

    /// Plans a CreateContainer: static pods, and images of the list, image volumes alike.
    pub fn plan_create<'p>(
        self,
        pod: &Pod,
        ask: &'p CreateAsk,
        bootstrap: &'p [BootstrapEntry],
    ) -> CreatePlan<'p> {
        CreatePlan::without_policy(pod, ask, bootstrap, is_static(pod))
    }
}

/// Static pods; no `config.source`, or one that no kubelet writes, counts as the API's.
fn is_static(pod: &Pod) -> bool {
    match pod.source {
        PodSource::File | PodSource::Http => true,
        PodSource::Api | PodSource::Unstated => false,
    }
}

pub(crate) fn not_listed(object: &'static str, image: &str) -> Denial {
    let text = Text::new()
        .words(object)
        .words(" ")
        .value(image)
        .words(" is not on the bootstrap list, and this node has no policy yet")
        .advice("see pullguard status on the node");
    Denial::say(Code::StateBootstrap, text)
}
