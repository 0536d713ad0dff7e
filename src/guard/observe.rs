//! `mode = "observe"`: the node root's own choice. Everything is judged beside the call and
//! forwarded at once and unchanged; only the method table and hygiene still refuse.

use std::sync::Arc;
use std::time::Instant;

use super::prove::Reach;
use super::record::Record;
use super::{Inner, refusal};
use crate::image::Reference;
use crate::policy::reply::Rpc;
use crate::policy::{Denial, Judgement, refused_reference};
use crate::relay::{RawCall, Verdict};
use crate::request::Request;

impl Inner {
    pub(super) fn observe(self: &Arc<Self>, call: RawCall, mut record: Record) -> Verdict {
        let request = match self.read(&call) {
            Ok(request) => request,
            Err(denial) => {
                record.denied(&denial);
                return Verdict::Refuse(refusal(Rpc::of(call.method), &denial));
            }
        };
        let permit = Judgement::settle_observed(call.message);
        let settle = self.remember(&request);
        let guard = Arc::clone(self);
        record.goes_on();
        tokio::spawn(async move {
            match guard.judge_beside(&request, &mut record).await {
                Ok(()) => record.observed(None),
                Err(denial) => record.observed(Some(&denial)),
            }
        });
        Verdict::Forward {
            message: permit.into_message(),
            settle,
        }
    }

    async fn judge_beside(&self, request: &Request, record: &mut Record) -> Result<(), Denial> {
        let policy = self.in_force.policy();
        let judgement = match request {
            Request::Pull(ask, credentials) => {
                record.image(&ask.image);
                if let Some(sandbox) = &ask.sandbox {
                    record.pod(&sandbox.pod);
                }
                let reference = Reference::parse(&ask.image)
                    .map_err(|error| refused_reference(&ask.image, &error))?;
                self.judge_pull(policy.as_deref(), ask, &reference, credentials)
                    .await?
            }
            Request::RunSandbox(ask) => {
                record.pod(&ask.pod);
                self.judge_sandbox(policy.as_deref(), ask).await
            }
            Request::Create(ask) => {
                record.pod(&ask.sandbox.pod);
                record.container(&ask.container.name);
                let own = self.sandbox_of(ask).await?;
                let until = Instant::now() + self.parts.limits.create_budget;
                let reach = Reach::Registry(until);
                let judged = self.judge_create(policy.as_deref(), ask, &own, reach).await;
                judged.judgement
            }
            Request::ImageStatus(_)
            | Request::Start { .. }
            | Request::UpdateResources(_)
            | Request::Exec(_)
            | Request::ExecSync(_)
            | Request::Attach { .. }
            | Request::PortForward { .. } => return Ok(()),
        };
        record.judged(&judgement);
        judgement.verdict.map(|_| ())
    }
}
