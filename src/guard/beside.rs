//! Audit and Warn rules that need evidence: judged beside the call, after it went on, never before
//! it. They edit, delay and fail nothing.

use std::sync::Arc;
use std::time::Instant;

use super::Inner;
use super::facts::OwnSandbox;
use super::prove::Reach;
use super::record::Beside;
use crate::policy::document::Action;
use crate::policy::{Finding, Judgement, Policy};
use crate::relay::BoxFuture;
use crate::request::CreateAsk;
use crate::time::Timestamp;

impl Inner {
    /// What is still to be judged of a create that goes on, beside what was `judged`; `None` if
    /// enforcing rules needed the same evidence, or no rule needs more.
    pub(super) fn beside(
        self: &Arc<Self>,
        policy: Option<&Arc<Policy>>,
        ask: &CreateAsk,
        own: &Arc<OwnSandbox>,
        (judged, now): (&Judgement, Timestamp),
    ) -> Option<BoxFuture<Beside>> {
        let policy = policy?;
        let bootstrap = self.bootstrap(Some(policy));
        let plan = self.plan(Some(policy), ask, own, &bootstrap, now);
        if plan.needs() == plan.needs_with_audit() {
            return None;
        }
        let (guard, policy) = (Arc::clone(self), Arc::clone(policy));
        let (ask, own) = (ask.clone(), Arc::clone(own));
        // The call goes on, so all that enforcing rules did is to edit it.
        let mut edits = judged.findings.clone();
        edits.retain(|finding| finding.action == Action::Enforce);
        Some(Box::pin(async move {
            let mut findings = guard.judge_beside_create(&policy, &ask, &own, now).await;
            findings.append(&mut edits);
            Beside {
                findings,
                whose: None,
            }
        }))
    }

    async fn judge_beside_create(
        &self,
        policy: &Policy,
        ask: &CreateAsk,
        own: &OwnSandbox,
        now: Timestamp,
    ) -> Vec<Finding> {
        let bootstrap = self.bootstrap(Some(policy));
        let plan = self.plan(Some(policy), ask, own, &bootstrap, now);
        let until = Instant::now() + self.parts.limits.create_budget;
        let evidence = self
            .gather(
                &plan.needs_with_audit(),
                Some(policy),
                ask,
                own,
                &bootstrap,
                Reach::Registry(until),
            )
            .await;
        let mut findings = plan.conclude(&evidence).findings;
        findings.retain(|finding| finding.action != Action::Enforce);
        findings
    }
}
