//! `mode = "observe"`: the node root's own choice. Everything is judged beside the call and
//! forwarded at once and unchanged; only the method table and hygiene still refuse.

use std::sync::Arc;
use std::time::Instant;

use super::create::shown_image;
use super::prove::Reach;
use super::record::Record;
use super::{Inner, refusal};
use crate::image::{Reference, ReferenceError};
use crate::policy::reply::Rpc;
use crate::policy::{Denial, Judgement, Pin, Policy, refused_reference};
use crate::relay::{RawCall, Verdict};
use crate::request::{CreateAsk, Request};

impl Inner {
    pub(super) fn observe(self: &Arc<Self>, call: RawCall, mut record: Record) -> Verdict {
        let request = match self.read(&call) {
            Ok(request) => request,
            Err(denial) => {
                record.denied(&denial);
                return Verdict::Refuse(refusal(Rpc::of(call.method), &denial));
            }
        };
        let permit = Judgement::settle_observed(call.message.clone());
        let settle = self.remember(&request);
        let guard = Arc::clone(self);
        record.goes_on();
        tokio::spawn(async move {
            match guard.judge_observed(&call, &request, &mut record).await {
                Ok(()) => record.observed(None),
                Err(denial) => record.observed(Some(&denial)),
            }
        });
        Verdict::Forward {
            message: permit.into_message(),
            settle,
        }
    }

    /// The same judgement as an enforcing guard's, on the request as it came.
    async fn judge_observed(
        self: &Arc<Self>,
        call: &RawCall,
        request: &Request,
        record: &mut Record,
    ) -> Result<(), Denial> {
        let policy = self.in_force.policy();
        record.judged_by(policy.as_deref());
        let judgement = match request {
            Request::Pull(ask, credentials) => {
                record.image(&ask.image);
                if let Some(sandbox) = &ask.sandbox {
                    record.pod(&sandbox.pod);
                }
                let reference = Reference::parse(&ask.image)
                    .map_err(|error| refused_reference(&ask.image, &error))?;
                if self.is_truncated_id(&ask.image, &reference).await {
                    let error = ReferenceError::TruncatedId;
                    return Err(refused_reference(&ask.image, &error));
                }
                self.judge_pull(policy.as_deref(), ask, &reference, credentials)
                    .await
                    .judgement
            }
            Request::RunSandbox(ask) => {
                record.pod(&ask.pod);
                self.judge_sandbox(policy.as_deref(), ask).await
            }
            Request::Create(ask) => self.observe_create(call, ask, policy, record).await?,
            Request::ImageStatus(_) => {
                record.forget();
                return Ok(());
            }
            Request::Start { .. }
            | Request::UpdateResources(_)
            | Request::Exec(_)
            | Request::ExecSync(_)
            | Request::Attach { .. }
            | Request::Checkpoint { .. }
            | Request::PortForward { .. } => {
                return self.observe_entering(request, policy, record).await;
            }
        };
        record.judged(&judgement);
        let allowed = judgement.verdict?;
        if let Pin::Digest(digest) = allowed.pin {
            record.digest(&digest);
        }
        Ok(())
    }

    async fn observe_create(
        self: &Arc<Self>,
        call: &RawCall,
        ask: &CreateAsk,
        policy: Option<Arc<Policy>>,
        record: &mut Record,
    ) -> Result<Judgement, Denial> {
        record.pod(&ask.sandbox.pod);
        record.container(&ask.container.name);
        record.image(shown_image(ask));
        let own = self.sandbox_of(ask).await?;
        let until = Instant::now() + self.parts.limits.create_budget;
        let now = crate::clock::now();
        let (id, edited) = self.own_id(ask, policy.as_deref(), call, now).await?;
        let asked = edited.as_ref().map_or(ask, |(ask, _)| ask);
        if let Some(id) = &id {
            record.id(id.digest());
        }
        let judged = self
            .judge_create(policy.as_deref(), asked, &own, Reach::Registry(until), now)
            .await;
        if let Some(digest) = judged.proof.as_ref().and_then(|p| p.digests().first()) {
            record.digest(digest);
        }
        if judged.judgement.verdict.is_ok()
            && let Some(beside) =
                self.beside(policy.as_ref(), asked, &own, (&judged.judgement, now))
        {
            record.beside(beside);
        }
        Ok(judged.judgement)
    }
}
