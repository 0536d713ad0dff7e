//! Metrics: a fixed set of names, every label value from a bounded set. Image names, pod names and
//! texts are never labels, so that no tenant can make series.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::log::{log_dropped, panics};
use super::outcome::{HitEffect, Outcome, Verdict};
use super::status::{
    AuditStatus, CallCounts, LedgerState, ListenState, Mode, State, Status, UpstreamState,
};
use crate::policy::Code;
use crate::relay::RelayCounts;

/// One metric as it is documented in docs/metrics.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDoc {
    /// Its name as scraped.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($konst:ident = $name:literal, $kind:literal, [$($label:literal),*], $help:literal;)*) => {
        $(const $konst: MetricDoc = MetricDoc {
            name: $name,
            kind: $kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// Every metric of the daemon, in the order of docs/metrics.md.
        pub const METRICS: &[MetricDoc] = &[$($konst,)*];
    };
}

metrics! {
    DECISIONS = "pullguard_decisions_total", "counter", ["rpc", "verdict", "code"],
        "Gated calls by method, verdict and denial code";
    WOULD_DENY = "pullguard_would_deny_total", "counter", ["policy", "rule"],
        "Calls that an Audit or Warn rule, or an enforcing rule under observe, would have denied";
    DURATION = "pullguard_decision_duration_seconds", "histogram", ["rpc"],
        "Time from the first byte of a gated call to its verdict";
    UNKNOWN_FIELDS = "pullguard_unknown_fields_total", "counter", ["message", "field"],
        "Fields that the guard does not know, by CRI message and field number";
    UNGUARDED = "pullguard_unguarded_containers", "gauge", [],
        "Running containers that neither passed the guard nor were adopted";
    RUNNING_JUDGED = "pullguard_running_judged", "gauge", [],
        "Running containers and sandboxes that the last pass judged again";
    RUNNING_DENIED = "pullguard_running_denied", "gauge", ["code"],
        "Running containers and sandboxes that the policy in force would not let start again";
    RUNNING_UNDECIDED = "pullguard_running_undecided", "gauge", ["code"],
        "Running containers and sandboxes of which that could not be told";
    POLICY_INFO = "pullguard_policy_info", "gauge", ["version"],
        "1 for the version of the policy in force";
    POLICY_STATE = "pullguard_policy_state", "gauge", ["state"],
        "1 for the state of the policy, 0 for the others";
    POLICY_REFUSED = "pullguard_policy_refused", "gauge", [],
        "1 if the newest policy was refused and the one before it stays in force";
    MODE = "pullguard_mode", "gauge", ["mode"],
        "1 for the mode of the node, 0 for the other";
    SETTINGS_FALLBACK = "pullguard_settings_fallback", "gauge", [],
        "1 if the settings file could not be used";
    SOCKET_UP = "pullguard_socket_up", "gauge", [],
        "1 if the path of the kubelet's socket leads to the guard";
    UPSTREAM_UP = "pullguard_upstream_up", "gauge", [],
        "1 if containerd answered last";
    LEDGER_UP = "pullguard_ledger_up", "gauge", [],
        "1 if facts survive a restart";
    RELAY_CALLS = "pullguard_relay_calls_total", "counter", ["path"],
        "Calls that the relay carried unseen, handed to the gate, or refused itself";
    RELAY_IN_FLIGHT = "pullguard_relay_in_flight", "gauge", [],
        "Calls without a complete answer";
    RELAY_CONNECTIONS = "pullguard_relay_connections", "gauge", [],
        "Client connections";
    RELAY_TURNED_AWAY = "pullguard_relay_turned_away_total", "counter", [],
        "Connections closed for their user, their number or a missing preface";
    RELAY_ACCEPT_ERRORS = "pullguard_relay_accept_errors_total", "counter", [],
        "Failed accepts";
    RELAY_UPSTREAM_CONNECTS = "pullguard_relay_upstream_connects_total", "counter", [],
        "Connections made to containerd";
    RELAY_UPSTREAM_FAILURES = "pullguard_relay_upstream_failures_total", "counter", [],
        "Failed connects to containerd, and connections that broke under a call";
    RELAY_HELD = "pullguard_relay_held_bytes", "gauge", [],
        "Bytes of gated requests that are held";
    AUDIT_WRITTEN = "pullguard_audit_lines_total", "counter", [],
        "Audit lines written";
    AUDIT_DROPPED = "pullguard_audit_dropped_total", "counter", [],
        "Audit lines lost to a full queue or a failing disk";
    LOG_DROPPED = "pullguard_log_dropped_total", "counter", [],
        "Log events lost because the journal or standard error did not take them";
    PANICS = "pullguard_panics_total", "counter", [],
        "Failures of the guard itself; each refused one call";
    BUILD_INFO = "pullguard_build_info", "gauge", ["version"],
        "1 for the version of the daemon";
}

/// Series of unknown fields before the rest is counted as message and field `other`.
const MAX_UNKNOWN_FIELD_SERIES: usize = 256;

/// From 20 µs (all cached) to the pull budget of a minute.
const BUCKETS_SECONDS: [f64; 14] = [
    0.000_02, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0,
    60.0,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DecisionLabels {
    rpc: &'static str,
    verdict: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RuleLabels {
    policy: String,
    rule: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RpcLabel {
    rpc: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FieldLabels {
    message: String,
    field: String,
}

/// Gives the status at this moment.
pub type StatusSource = Arc<dyn Fn() -> Status + Send + Sync>;

type Durations = Family<RpcLabel, Histogram, fn() -> Histogram>;
type Number = Gauge<u64, AtomicU64>;
type Numbers = Family<Vec<(&'static str, String)>, Number>;

/// The daemon's metrics.
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    would_deny: Family<RuleLabels, Counter>,
    duration: Durations,
    unknown_fields: Family<FieldLabels, Counter>,
    unknown_seen: Mutex<BTreeSet<(String, u32)>>,
    verdicts: Verdicts,
    status: OnceLock<StatusSource>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let decisions = Family::default();
        let would_deny = Family::default();
        let unknown_fields = Family::default();
        let duration: Durations = Family::new_with_constructor(histogram);
        register(&mut registry, &DECISIONS, decisions.clone());
        register(&mut registry, &WOULD_DENY, would_deny.clone());
        register(&mut registry, &DURATION, duration.clone());
        register(&mut registry, &UNKNOWN_FIELDS, unknown_fields.clone());
        Self {
            registry,
            decisions,
            would_deny,
            duration,
            unknown_fields,
            unknown_seen: Mutex::default(),
            verdicts: Verdicts::default(),
            status: OnceLock::new(),
        }
    }

    /// Where the status comes from that a scrape shows; the first call counts.
    pub fn watch(&self, source: StatusSource) {
        // A second source is a second daemon in one process; the first one stays.
        self.status.set(source).unwrap_or_default();
    }

    /// One increment for one gated call, and one for each rule that would have denied.
    pub(crate) fn count(&self, outcome: &Outcome) {
        self.verdicts
            .of(outcome.verdict)
            .fetch_add(1, Ordering::Relaxed);
        self.decisions
            .get_or_create(&DecisionLabels {
                rpc: outcome.rpc,
                verdict: outcome.verdict.as_str(),
                code: outcome.code.map_or("", Code::as_str),
            })
            .inc();
        self.duration
            .get_or_create(&RpcLabel { rpc: outcome.rpc })
            .observe(outcome.duration.as_secs_f64());
        let would_deny: BTreeSet<(&str, &str)> = outcome
            .hits
            .iter()
            .filter(|hit| hit.effect == HitEffect::WouldDeny)
            .map(|hit| (hit.policy.as_str(), hit.rule.as_str()))
            .collect();
        for (policy, rule) in would_deny {
            self.would_deny
                .get_or_create(&RuleLabels {
                    policy: policy.to_owned(),
                    rule: rule.to_owned(),
                })
                .inc();
        }
    }

    /// Counts an unknown field. A client chooses the numbers, so the series are bounded.
    pub(crate) fn unknown_field(&self, message: &str, field: u32) {
        let mut seen = self
            .unknown_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = seen.contains(&(message.to_owned(), field));
        let labels = if known || seen.len() < MAX_UNKNOWN_FIELD_SERIES {
            seen.insert((message.to_owned(), field));
            FieldLabels {
                message: message.to_owned(),
                field: field.to_string(),
            }
        } else {
            FieldLabels {
                message: "other".to_owned(),
                field: "other".to_owned(),
            }
        };
        drop(seen);
        self.unknown_fields.get_or_create(&labels).inc();
    }

    /// Gated calls since the start, by verdict.
    pub(crate) fn calls(&self) -> CallCounts {
        let count = |verdict| self.verdicts.of(verdict).load(Ordering::Relaxed);
        CallCounts {
            allowed: count(Verdict::Allowed),
            allowed_unverified: count(Verdict::AllowedUnverified),
            would_deny: count(Verdict::WouldDeny),
            warned: count(Verdict::Warned),
            denied: count(Verdict::Denied),
            undecided: count(Verdict::Undecided),
        }
    }

    /// Everything as OpenMetrics text.
    pub(crate) fn page(&self, audit: &AuditStatus) -> String {
        let mut text = String::new();
        let moment = self.moment(audit);
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &moment))
            .and_then(|()| encode_eof(&mut text));
        // Writing to a String cannot fail; half a page must not look like a whole one.
        match written {
            Ok(()) => text,
            Err(fmt::Error) => String::new(),
        }
    }

    /// What is read at the scrape instead of counted.
    fn moment(&self, audit: &AuditStatus) -> Registry {
        let mut registry = Registry::default();
        counter(&mut registry, &AUDIT_WRITTEN, audit.written);
        counter(&mut registry, &AUDIT_DROPPED, audit.dropped);
        counter(&mut registry, &LOG_DROPPED, log_dropped());
        counter(&mut registry, &PANICS, panics());
        one_of(
            &mut registry,
            &BUILD_INFO,
            [(env!("CARGO_PKG_VERSION").to_owned(), true)],
        );
        if let Some(source) = self.status.get() {
            of_status(&mut registry, &source());
        }
        registry
    }
}

/// One counter a verdict.
#[derive(Debug, Default)]
struct Verdicts {
    allowed: AtomicU64,
    allowed_unverified: AtomicU64,
    would_deny: AtomicU64,
    warned: AtomicU64,
    denied: AtomicU64,
    undecided: AtomicU64,
}

impl Verdicts {
    fn of(&self, verdict: Verdict) -> &AtomicU64 {
        match verdict {
            Verdict::Allowed => &self.allowed,
            Verdict::AllowedUnverified => &self.allowed_unverified,
            Verdict::WouldDeny => &self.would_deny,
            Verdict::Warned => &self.warned,
            Verdict::Denied => &self.denied,
            Verdict::Undecided => &self.undecided,
        }
    }
}

fn of_status(registry: &mut Registry, status: &Status) {
    if let Some(containers) = status.unguarded_containers {
        gauge(registry, &UNGUARDED, containers);
    }
    if let Some(running) = &status.running {
        gauge(registry, &RUNNING_JUDGED, running.judged);
        by_code(registry, &RUNNING_DENIED, &running.denied_by_code);
        by_code(registry, &RUNNING_UNDECIDED, &running.undecided_by_code);
    }
    if let Some(policy) = &status.policy {
        one_of(registry, &POLICY_INFO, [(policy.version.clone(), true)]);
    }
    one_of(
        registry,
        &POLICY_STATE,
        State::ALL.map(|state| (state.as_str().to_owned(), state == status.state)),
    );
    gauge(
        registry,
        &POLICY_REFUSED,
        u64::from(status.refused.is_some()),
    );
    one_of(
        registry,
        &MODE,
        Mode::ALL.map(|mode| (mode.as_str().to_owned(), mode == status.mode)),
    );
    let fallback = status.settings.origin != "file";
    gauge(registry, &SETTINGS_FALLBACK, u64::from(fallback));
    let found = status.listen.state == ListenState::Reachable;
    gauge(registry, &SOCKET_UP, u64::from(found));
    let up = status.upstream.state == UpstreamState::Up;
    gauge(registry, &UPSTREAM_UP, u64::from(up));
    let ready = status.ledger.state != LedgerState::Unavailable;
    gauge(registry, &LEDGER_UP, u64::from(ready));
    of_relay(registry, &status.relay);
}

fn of_relay(registry: &mut Registry, relay: &RelayCounts) {
    let calls = Family::<Vec<(&'static str, String)>, Counter>::default();
    for (path, count) in [
        ("passed", relay.passed),
        ("guarded", relay.guarded),
        ("refused", relay.refused),
    ] {
        calls
            .get_or_create(&vec![("path", path.to_owned())])
            .inc_by(count);
    }
    register(registry, &RELAY_CALLS, calls);
    gauge(registry, &RELAY_IN_FLIGHT, relay.in_flight);
    gauge(registry, &RELAY_CONNECTIONS, relay.connections);
    counter(registry, &RELAY_TURNED_AWAY, relay.turned_away);
    counter(registry, &RELAY_ACCEPT_ERRORS, relay.accept_errors);
    counter(registry, &RELAY_UPSTREAM_CONNECTS, relay.upstream_connects);
    counter(registry, &RELAY_UPSTREAM_FAILURES, relay.upstream_failures);
    gauge(registry, &RELAY_HELD, relay.held_bytes);
}

fn counter(registry: &mut Registry, doc: &MetricDoc, value: u64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    register(registry, doc, counter);
}

fn gauge(registry: &mut Registry, doc: &MetricDoc, value: u64) {
    let number = Number::default();
    number.set(value);
    register(registry, doc, number);
}

/// A gauge for each denial code.
fn by_code(registry: &mut Registry, doc: &MetricDoc, counts: &BTreeMap<String, u64>) {
    let numbers = Numbers::default();
    for (code, count) in counts {
        let labels = vec![("code", code.clone())];
        numbers.get_or_create(&labels).set(*count);
    }
    register(registry, doc, numbers);
}

/// A gauge with one label, at 1 for what holds.
fn one_of(
    registry: &mut Registry,
    doc: &MetricDoc,
    values: impl IntoIterator<Item = (String, bool)>,
) {
    let numbers = Numbers::default();
    if let [label] = *doc.labels {
        for (value, holds) in values {
            numbers
                .get_or_create(&vec![(label, value)])
                .set(u64::from(holds));
        }
    }
    register(registry, doc, numbers);
}

fn register(registry: &mut Registry, doc: &MetricDoc, metric: impl Metric) {
    // The library writes the suffix of counters itself.
    let name = doc.name.strip_suffix("_total").unwrap_or(doc.name);
    registry.register(name, doc.help, metric);
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS_SECONDS)
}
