//! What follows containerd's answer: the report, and what a stage still has to do.

use super::record::Record;
use crate::relay::{BoxFuture, Settle, Settled, UpstreamReply};

/// Reports a call once it is answered, after the stage's own look at the answer.
pub(super) struct Reported {
    record: Record,
    stage: Option<Box<dyn Settle>>,
}

impl Reported {
    pub(super) fn new(record: Record, stage: Option<Box<dyn Settle>>) -> Self {
        Self { record, stage }
    }
}

impl Settle for Reported {
    fn settle(self: Box<Self>, reply: UpstreamReply) -> BoxFuture<Settled> {
        Box::pin(async move {
            let broken = match &reply {
                UpstreamReply::Broken(refusal) => Some(refusal.text.clone()),
                UpstreamReply::Ok(_) | UpstreamReply::Status { .. } | UpstreamReply::Unreadable => {
                    None
                }
            };
            let settled = match self.stage {
                Some(stage) => stage.settle(reply).await,
                None => Settled::Relay,
            };
            match (&settled, broken) {
                (Settled::Relay, Some(line)) => self.record.broken(&line),
                (Settled::Relay, None) | (Settled::Answer(_), _) => self.record.answered(),
                (Settled::Refuse(refusal), _) => self.record.refused_late(&refusal.text),
            }
            settled
        })
    }
}
