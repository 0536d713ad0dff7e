//! RunPodSandbox: what the sandbox alone tells, and the pause image that containerd will start in
//! it.

use std::sync::Arc;

use super::facts::OwnSandbox;
use super::handler::effective_handler;
use super::record::{Beside, Record};
use super::{Decision, Inner};
use crate::policy::document::Pause;
use crate::policy::{Allowed, Basis, Denial, Finding, Judgement, NoPolicy, Policy};
use crate::relay::{BoxFuture, RawCall, Settle, Settled, UpstreamReply};
use crate::request::{Sandbox, created_sandbox};
use crate::store::SandboxFact;

impl Inner {
    pub(super) async fn sandbox(
        self: &Arc<Self>,
        call: &RawCall,
        ask: &Sandbox,
        record: &mut Record,
    ) -> Result<Decision, Denial> {
        record.pod(&ask.pod);
        let policy = self.in_force.policy();
        record.judged_by(policy.as_deref());
        let judgement = match &policy {
            Some(policy) if policy.set().pause == Pause::Warn => {
                let judged = self.judge_sandbox_itself(policy, ask);
                record.beside(self.pause_beside(policy, judged.findings.clone()));
                judged
            }
            Some(_) | None => self.judge_sandbox(policy.as_deref(), ask).await,
        };
        record.judged(&judgement);
        let permit = judgement.permit(call.message.clone())?;
        self.expect_questions(ask);
        let settle = SandboxSettle {
            guard: Arc::clone(self),
        };
        Ok(Decision::Forward(permit, Some(Box::new(settle))))
    }

    pub(super) async fn judge_sandbox(&self, policy: Option<&Policy>, ask: &Sandbox) -> Judgement {
        let Some(policy) = policy else {
            return NoPolicy.judge_sandbox(ask, &self.parts.bootstrap);
        };
        let judgement = self.judge_sandbox_itself(policy, ask);
        if judgement.verdict.is_err() {
            return judgement;
        }
        self.judge_pause(policy, judgement).await
    }

    /// `pause: Warn` refuses nothing, so it delays nothing and brings nothing to the node.
    fn pause_beside(
        self: &Arc<Self>,
        policy: &Arc<Policy>,
        findings: Vec<Finding>,
    ) -> BoxFuture<Beside> {
        let (guard, policy) = (Arc::clone(self), Arc::clone(policy));
        Box::pin(async move {
            let open = Judgement {
                verdict: Ok(Allowed::by(Basis::Rules)),
                findings,
            };
            Beside {
                findings: guard.judge_pause(&policy, open).await.findings,
                whose: None,
            }
        })
    }

    fn judge_sandbox_itself(&self, policy: &Policy, ask: &Sandbox) -> Judgement {
        let mut effective = ask.clone();
        effective.runtime_handler = Some(handler_of(ask));
        policy.judge_sandbox(&effective, &self.parts.node, crate::clock::now())
    }

    /// The kubelet's presence checks name the pod by `config.seen` alone.
    fn expect_questions(&self, ask: &Sandbox) {
        if ask.pod.config_seen.is_empty() {
            return;
        }
        let own = Arc::new(OwnSandbox {
            pod: ask.pod.clone(),
            handler: handler_of(ask),
            namespaces: None,
        });
        self.facts.expect(&ask.pod.config_seen, own);
    }
}

fn handler_of(ask: &Sandbox) -> String {
    let requested = ask.runtime_handler.as_deref().unwrap_or_default();
    effective_handler(requested, &ask.annotations)
}

/// Remembers a sandbox that was run through the guard.
struct SandboxSettle {
    guard: Arc<Inner>,
}

impl Settle for SandboxSettle {
    fn settle(self: Box<Self>, reply: UpstreamReply) -> BoxFuture<Settled> {
        Box::pin(async move {
            if let UpstreamReply::Ok(message) = reply
                && let Ok(id) = created_sandbox(&message)
            {
                self.guard.parts.ledger.record_sandbox(SandboxFact {
                    id,
                    at: crate::clock::now(),
                });
            }
            Settled::Relay
        })
    }
}
