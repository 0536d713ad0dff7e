//! The status of the daemon as JSON: what `pullguard status` prints and the reporter reads. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::relay::RelayCounts;

/// Version of the status document. Fields may be added under the same number.
pub const STATUS_SCHEMA: u32 = 1;

/// State of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No policy yet: pods of the API server wait, static pods and the bootstrap list start.
    Bootstrap,
    /// A policy is in force.
    Active,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Bootstrap, Self::Active];

    /// The word in status, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Active => "active",
        }
    }
}

/// Whether the guard denies or only says what it would have denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Denials are enforced.
    Enforce,
    /// Everything is judged beside the call and forwarded unchanged.
    Observe,
}

impl Mode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::Enforce, Self::Observe];

    /// The word in settings, status and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// Everything that an operator asks first. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`STATUS_SCHEMA`].
    pub schema: u32,
    /// The daemon's version.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// When the daemon started.
    pub started_at: String,
    /// State of the policy.
    pub state: State,
    /// Since when.
    pub since: String,
    /// Why, in one line.
    pub why: String,
    /// Enforce or observe.
    pub mode: Mode,
    /// Where the settings came from.
    pub settings: SettingsStatus,
    /// The policy in force, if any.
    pub policy: Option<PolicyStatus>,
    /// The newest policy, if it was refused.
    pub refused: Option<RefusedPolicy>,
    /// The socket for the kubelet.
    #[serde(default)]
    pub listen: ListenStatus,
    /// containerd.
    pub upstream: UpstreamStatus,
    /// The ledger of facts.
    pub ledger: LedgerStatus,
    /// The list of admissions.
    pub admissions: LedgerStatus,
    /// What was on the node before the guard, if that is recorded.
    pub adoption: Option<AdoptionStatus>,
    /// Running containers and sandboxes of containerd's namespace that neither passed here nor were
    /// adopted; `None` before the first count and after one that failed.
    pub unguarded_containers: Option<u64>,
    /// What the last pass over what runs found; `None` before the first one has ended.
    #[serde(default)]
    pub running: Option<RunningStatus>,
    /// The relay's counters.
    pub relay: RelayCounts,
    /// Gated calls since the start.
    pub calls: CallCounts,
    /// The audit trail.
    pub audit: AuditStatus,
}

/// Where the settings came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsStatus {
    /// `file`, `last-good` or `defaults`.
    pub origin: String,
    /// Why they are not the file as written.
    pub problem: Option<String>,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its version.
    pub version: String,
    /// Where it was read from.
    pub loaded_from: String,
    /// When it came into force.
    pub loaded_at: String,
    /// NodePolicies in it.
    pub policies: u64,
    /// Rules in it.
    pub rules: u64,
    /// Exceptions in it, expired ones too.
    #[serde(default)]
    pub exceptions: u64,
}

/// A policy that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedPolicy {
    /// When.
    pub at: String,
    /// Where it was read from.
    pub from: String,
    /// Why, with file, line and column where there are any.
    pub error: String,
}

/// Whether new clients find the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenState {
    /// The path leads to it.
    #[default]
    Reachable,
    /// The path leads nowhere, or to another socket; who is connected already is served.
    Unreachable,
}

/// The socket for the kubelet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenStatus {
    /// Its path.
    pub socket: String,
    /// Whether new clients find it.
    pub state: ListenState,
}

/// Whether containerd answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamState {
    /// It answered last.
    Up,
    /// It did not.
    Down,
    /// Nobody asked yet.
    Unknown,
}

/// containerd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Its socket.
    pub socket: String,
    /// Whether it answers.
    pub state: UpstreamState,
    /// Its version, once known.
    pub version: Option<String>,
}

/// Whether facts survive a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerState {
    /// Open.
    Ready,
    /// Set aside and started anew: facts are being collected again.
    Rebuilt,
    /// Not there: everything is asked again each time.
    Unavailable,
}

/// The ledger of facts, or the list of admissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// Whether facts survive a restart.
    pub state: LedgerState,
    /// Why it is not ready.
    pub problem: Option<String>,
}

/// What was on the node before the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptionStatus {
    /// When it was recorded.
    pub recorded_at: String,
    /// Images in it.
    pub images: u64,
    /// Containers in it.
    pub containers: u64,
}

/// What runs, judged again by the policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningStatus {
    /// The version that judged.
    pub policy_version: String,
    /// When the pass ended.
    pub ended_at: String,
    /// Running containers and sandboxes that were judged.
    pub judged: u64,
    /// Of these, how many would not be let start again.
    pub denied: u64,
    /// Of these, how many could not be told.
    pub undecided: u64,
    /// How many more run than one pass looks at.
    pub left_out: u64,
    /// `denied` by code. A code stays, at 0, once nothing has it any more.
    pub denied_by_code: BTreeMap<String, u64>,
    /// `undecided` by code, in the same way.
    pub undecided_by_code: BTreeMap<String, u64>,
}

/// Gated calls since the start, by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallCounts {
    /// `allowed`.
    pub allowed: u64,
    /// `allowed-unverified`.
    pub allowed_unverified: u64,
    /// `would-deny`.
    pub would_deny: u64,
    /// `warned`.
    pub warned: u64,
    /// `denied`.
    pub denied: u64,
    /// `undecided`.
    pub undecided: u64,
}

/// The audit trail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditStatus {
    /// Where the files are.
    pub directory: String,
    /// Lines written since the start.
    pub written: u64,
    /// Lines lost since the start.
    pub dropped: u64,
    /// Why the last line was lost.
    pub problem: Option<String>,
}
