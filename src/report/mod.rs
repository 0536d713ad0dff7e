//! What is said about each decision: one log event, one metric increment, one audit line.
//!
//! Stage: [`Outcome`] -> log, metrics, audit. Nothing here can hold up or change a decision: a
//! full disk, a slow scraper and a stuck journal cost lines, which are counted. Image names are
//! never metric labels, and no string from outside can break a line.

mod audit;
mod http;
mod journal;
mod log;
mod metrics;
mod outcome;
mod running;
mod sink;
mod status;
mod text;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::example_status;

use std::path::Path;
use std::sync::Arc;

pub use audit::{AUDIT_SCHEMA, Audit, MAX_AUDIT_FILE_BYTES, MAX_AUDIT_FILES};
pub use http::{Answer, Clients, serve_tcp, serve_unix};
pub use log::{Journald, Level, LogFormat, flush_log, install_panic_hook, start_log};
pub use metrics::{METRICS, MetricDoc, Metrics, StatusSource};
pub use outcome::{Ending, HitEffect, Image, Outcome, Peer, Pod, RuleHit, Verdict};
pub use running::{RUNNING_SCHEMA, RunningReport, RunningVerdict};
pub use status::{
    AdoptionStatus, AuditStatus, CallCounts, LedgerState, LedgerStatus, ListenState, ListenStatus,
    Mode, PolicyStatus, RefusedPolicy, RunningStatus, STATUS_SCHEMA, SettingsStatus, State, Status,
    UpstreamState, UpstreamStatus,
};
pub use text::{printable, rfc3339};

/// Takes outcomes and tells log, metrics and audit. Cheap to share, never blocks.
#[derive(Clone, Debug)]
pub struct Reporter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: String,
    metrics: Metrics,
    audit: Audit,
}

impl Reporter {
    /// A reporter for the node of this name that writes audit lines below `audit_dir`. A directory
    /// that cannot be written costs audit lines, counted, and is tried again with each line.
    pub fn new(node: &str, audit_dir: &Path) -> Self {
        Self {
            inner: Arc::new(Inner {
                node: node.to_owned(),
                metrics: Metrics::new(),
                audit: Audit::start(audit_dir),
            }),
        }
    }

    /// Tells one gated call: exactly one event, one increment, one audit line. To be called once a
    /// call, also when the client went away.
    pub fn record(&self, outcome: &Outcome) {
        let now = crate::clock::now();
        self.inner.metrics.count(outcome);
        self.inner
            .audit
            .write(audit::line(outcome, &self.inner.node, now));
        log::event(outcome);
    }

    /// Tells of something that runs and would not be let start again: one event, one audit line.
    pub fn running(&self, report: &RunningReport) {
        let now = crate::clock::now();
        let line = running::line(report, &self.inner.node, now);
        self.inner.audit.write(line);
        running::event(report);
    }

    /// Counts a field that the guard does not know, by message name and field number.
    pub fn unknown_field(&self, message: &str, field: u32) {
        self.inner.metrics.unknown_field(message, field);
    }

    /// The metrics, for [`serve_tcp`].
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Gated calls since the start, by verdict, for the status.
    pub fn calls(&self) -> CallCounts {
        self.inner.metrics.calls()
    }

    /// What the audit file is doing, for the status.
    pub fn audit(&self) -> AuditStatus {
        self.inner.audit.status()
    }

    /// Waits until every audit line handed in so far is with the kernel. For the end of the
    /// process and for tests; blocks for as long as the disk does, at most `patience`.
    pub fn flush(&self, patience: std::time::Duration) {
        self.inner.audit.flush(patience);
    }

    /// The answer to `GET /metrics`; everything else is 404 or 405.
    pub fn metrics_page(&self) -> impl Fn(&str) -> Option<Answer> + Send + Sync + use<> {
        let reporter = self.clone();
        move |path| {
            (path == "/metrics").then(|| Answer {
                content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
                body: reporter.inner.metrics.page(&reporter.inner.audit.status()),
            })
        }
    }
}
