//! What the daemon says of itself: one document for `pullguard status`, the admin socket and the
//! metrics that are not counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::policy::PolicyKeeper;
use crate::guard::{Guard, Rejudged, State as GuardState, Unguarded};
use crate::policy::Code;
use crate::relay::{Door, RelayHandle, RelayStats};
use crate::report::{
    AdoptionStatus, LedgerState, LedgerStatus, ListenState, ListenStatus, PolicyStatus,
    RunningStatus, STATUS_SCHEMA, SettingsStatus, State, Status, StatusSource, UpstreamState,
    UpstreamStatus, printable, rfc3339,
};
use crate::settings::Loaded;
use crate::store::{Ledger, Persistence};
use crate::time::Timestamp;

/// How often containerd is asked whether it is there, and the path of the own socket whether it
/// still leads here.
const ASK: Duration = Duration::from_secs(10);

pub(super) struct StatusBoard {
    loaded: Loaded,
    guard: Guard,
    relay: Arc<RelayStats>,
    door: Door,
    socket: PathBuf,
    keeper: Arc<PolicyKeeper>,
    started: Timestamp,
    moving: Mutex<Moving>,
}

#[derive(Debug)]
struct Moving {
    listen: ListenState,
    upstream: UpstreamState,
    version: Option<String>,
    /// What the last comparison found; `None` before the first one, and after one that failed.
    unguarded: Option<BTreeSet<String>>,
    /// What was said in the log already.
    told: BTreeSet<String>,
    /// What the last pass over what runs found.
    running: Option<RunningStatus>,
}

impl StatusBoard {
    pub(super) fn new(
        loaded: &Loaded,
        guard: &Guard,
        relay: &RelayHandle,
        socket: PathBuf,
        keeper: Arc<PolicyKeeper>,
    ) -> Self {
        Self {
            loaded: loaded.clone(),
            guard: guard.clone(),
            relay: relay.stats(),
            door: relay.door(),
            socket,
            keeper,
            started: crate::clock::now(),
            moving: Mutex::new(Moving {
                listen: ListenState::Reachable,
                upstream: UpstreamState::Unknown,
                version: None,
                unguarded: None,
                told: BTreeSet::new(),
                running: None,
            }),
        }
    }

    pub(super) fn source(self: &Arc<Self>) -> StatusSource {
        let board = Arc::clone(self);
        Arc::new(move || board.status())
    }

    /// Takes in a comparison, or that there was none: a number that nobody counted is not shown. A
    /// container that is new in it is an event.
    pub(super) fn compared(&self, found: Option<Unguarded>) {
        let mut moving = self.lock();
        let Some(found) = found else {
            moving.unguarded = None;
            return;
        };
        for id in found.ids.difference(&moving.told) {
            tracing::warn!(
                event = "unguarded_container",
                container = %printable(id),
                "a container or sandbox runs that neither passed here nor was adopted"
            );
        }
        moving.told.clone_from(&found.ids);
        moving.unguarded = Some(found.ids);
    }

    /// Takes in a pass over what runs. A code that nothing has any more is kept at zero: who watches
    /// a series must see it end. A pass that fails changes nothing: what is shown says when it was.
    pub(super) fn judged_again(&self, found: Rejudged) {
        let mut moving = self.lock();
        let before = moving.running.take();
        let (denied, undecided) = before
            .map(|before| (before.denied_by_code, before.undecided_by_code))
            .unwrap_or_default();
        moving.running = Some(RunningStatus {
            policy_version: found.policy_version,
            ended_at: rfc3339(crate::clock::now()),
            judged: found.judged,
            denied: found.denied.values().sum(),
            undecided: found.undecided.values().sum(),
            left_out: found.left_out,
            denied_by_code: by_code(denied, &found.denied),
            undecided_by_code: by_code(undecided, &found.undecided),
        });
    }

    pub(super) async fn watch_upstream(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(ASK);
        loop {
            ticks.tick().await;
            self.look_at_the_door();
            let guard = self.guard.clone();
            // A task of its own: a panic in it is no answer, and containerd is asked again.
            let answer = tokio::spawn(async move { guard.runtime_version().await }).await;
            let mut moving = self.lock();
            match answer {
                Ok(Ok(version)) => {
                    moving.upstream = UpstreamState::Up;
                    moving.version = Some(format!(
                        "{} {}",
                        version.runtime_name, version.runtime_version
                    ));
                }
                Ok(Err(_)) => moving.upstream = UpstreamState::Down,
                Err(_) => moving.upstream = UpstreamState::Unknown,
            }
        }
    }

    /// A socket file that somebody removed is made again: the kubelet that is connected notices
    /// nothing, but one that starts would find no runtime.
    fn look_at_the_door(&self) {
        let mut state = ListenState::Reachable;
        if !self.door.is_reachable() {
            let socket = self.socket.display();
            match self.door.renew() {
                Ok(true) => tracing::warn!(%socket, "the socket was gone and is made again"),
                Ok(false) => {
                    state = ListenState::Unreachable;
                    tracing::error!(%socket, "the socket that systemd passed is gone from its path; restart its socket unit");
                }
                Err(error) => {
                    state = ListenState::Unreachable;
                    tracing::error!(%socket, "the socket is gone and cannot be made again: {error}");
                }
            }
        }
        self.lock().listen = state;
    }

    fn status(&self) -> Status {
        let settings = &self.loaded.settings;
        let (state, since, why, policy) = self.policy();
        let moving = self.lock();
        let reporter = self.guard.reporter();
        Status {
            schema: STATUS_SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: settings.node_name.clone(),
            started_at: rfc3339(self.started),
            state,
            since: rfc3339(since),
            why,
            mode: settings.mode,
            settings: SettingsStatus {
                origin: self.loaded.origin.as_str().to_owned(),
                problem: self.loaded.problem.clone(),
            },
            policy,
            refused: self.keeper.refused(),
            listen: ListenStatus {
                socket: self.socket.display().to_string(),
                state: moving.listen,
            },
            upstream: UpstreamStatus {
                socket: settings.upstream.display().to_string(),
                state: moving.upstream,
                version: moving.version.clone(),
            },
            ledger: ledger(self.guard.ledger()),
            admissions: admissions(&self.guard.admissions()),
            adoption: self.guard.adoption().map(|record| AdoptionStatus {
                recorded_at: rfc3339(record.written_at()),
                images: count(record.images().len()),
                containers: count(record.containers().len()),
            }),
            unguarded_containers: moving.unguarded.as_ref().map(|ids| count(ids.len())),
            running: moving.running.clone(),
            relay: self.relay.read(),
            calls: reporter.calls(),
            audit: reporter.audit(),
        }
    }

    fn policy(&self) -> (State, Timestamp, String, Option<PolicyStatus>) {
        match self.guard.in_force().state() {
            GuardState::Bootstrap { since, why } => {
                let why = match self.keeper.refused() {
                    Some(refused) => refused.error,
                    None => why,
                };
                (State::Bootstrap, since, why, None)
            }
            GuardState::Active { since, policy } => {
                let counts = policy.counts();
                let status = PolicyStatus {
                    version: policy.short_version(),
                    loaded_from: self.keeper.source(),
                    loaded_at: rfc3339(since),
                    policies: count(counts.policies),
                    rules: count(counts.rules),
                    exceptions: count(counts.exceptions),
                };
                let why = format!("policy `{}` is in force", policy.name());
                (State::Active, since, why, Some(status))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Moving> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counts of now, and those of before at zero.
fn by_code(before: BTreeMap<String, u64>, now: &BTreeMap<Code, u64>) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> = before.into_keys().map(|code| (code, 0)).collect();
    counts.extend(now.iter().map(|(code, count)| (code.to_string(), *count)));
    counts
}

fn ledger(ledger: &Ledger) -> LedgerStatus {
    let (state, problem) = match (ledger.persistence(), ledger.set_aside()) {
        (Persistence::Degraded { why, .. }, _) => (LedgerState::Unavailable, Some(why)),
        (Persistence::Healthy, Some(why)) => (LedgerState::Rebuilt, Some(why.to_owned())),
        (Persistence::Healthy, None) => (LedgerState::Ready, None),
    };
    LedgerStatus { state, problem }
}

fn admissions(persistence: &Persistence) -> LedgerStatus {
    let (state, problem) = match persistence {
        Persistence::Degraded { why, .. } => (LedgerState::Unavailable, Some(why.clone())),
        Persistence::Healthy => (LedgerState::Ready, None),
    };
    LedgerStatus { state, problem }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
