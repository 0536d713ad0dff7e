//! RunPodSandbox: what the sandbox alone tells, and the pause image that containerd will start in
//! it.

use std::sync::Arc;

use super::facts::OwnSandbox;
use super::record::Record;
use super::{Decision, Inner};
use crate::policy::{Denial, Judgement, NoPolicy, Policy};
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
        let judgement = self.judge_sandbox(policy.as_deref(), ask).await;
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
        let judgement = policy.judge_sandbox(ask, &self.parts.node);
        if judgement.verdict.is_err() {
            return judgement;
        }
        self.judge_pause(policy, judgement).await
    }

    /// The kubelet's presence checks name the pod by `config.seen` alone.
    fn expect_questions(&self, ask: &Sandbox) {
        if ask.pod.config_seen.is_empty() {
            return;
        }
        let own = Arc::new(OwnSandbox {
            pod: ask.pod.clone(),
            handler: ask.runtime_handler.clone().unwrap_or_default(),
            namespaces: None,
        });
        self.facts.expect(&ask.pod.config_seen, own);
    }
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
