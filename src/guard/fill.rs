//! Limits that a policy fills in: bytes behind the request, judged again as containerd reads them.

use bytes::Bytes;

use super::facts::OwnSandbox;
use super::prove::Reach;
use super::record::Record;
use super::{Inner, internal};
use crate::policy::{Amounts, Denial, Permit, Policy};
use crate::request::{CreateAsk, Limits, Request, fill_limits};
use crate::time::Timestamp;

impl Inner {
    pub(super) async fn filled(
        &self,
        (policy, own, reach, now): (Option<&Policy>, &OwnSandbox, Reach, Timestamp),
        (message, asked): (&Bytes, &CreateAsk),
        amounts: Amounts,
        record: &mut Record,
    ) -> Result<Permit, Denial> {
        let limits = Limits {
            memory: amounts.memory,
            cpu_quota: amounts.cpu,
        };
        let edited = fill_limits(message, limits)
            .map_err(|_| internal("a create that cannot be given limits"))?;
        let mut merged = match edited.request() {
            Ok(Request::Create(merged)) => *merged,
            Ok(_) | Err(_) => return Err(internal("a create that reads as something else")),
        };
        // For judging only: the pod's own string, where a client sent none.
        let named = &mut merged.container.user_specified_image;
        named.clone_from(&asked.container.user_specified_image);
        let judged = self.judge_create(policy, &merged, own, reach, now).await;
        if judged.judgement.verdict.is_err() {
            record.judged(&judged.judgement);
        }
        record.filled(&amounts);
        judged.judgement.permit(edited.message().to_vec().into())
    }
}
