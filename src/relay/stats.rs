//! Counters of the relay: plain atomics, read by the report.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// Counters since the start, written by the relay thread.
#[derive(Debug, Default)]
pub struct RelayStats {
    pub(super) passed: AtomicU64,
    pub(super) guarded: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) in_flight: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) turned_away: AtomicU64,
    pub(super) accept_errors: AtomicU64,
    pub(super) upstream_connects: AtomicU64,
    pub(super) upstream_failures: AtomicU64,
    pub(super) held_small: AtomicU64,
    pub(super) held_large: AtomicU64,
}

/// One reading of [`RelayStats`], as `pullguard status` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RelayCounts {
    /// Calls carried unseen.
    pub passed: u64,
    /// Calls handed to the gate.
    pub guarded: u64,
    /// Calls that the relay refused itself (unknown paths, framing, panics).
    pub refused: u64,
    /// Calls whose answer is not complete (a gauge).
    pub in_flight: u64,
    /// Client connections now (a gauge).
    pub connections: u64,
    /// Connections closed for their user, their number or a missing preface.
    pub turned_away: u64,
    /// Failed accepts (out of descriptors, aborted connections).
    pub accept_errors: u64,
    /// Connections made to containerd.
    pub upstream_connects: u64,
    /// Failed connects, and connections that broke under a call.
    pub upstream_failures: u64,
    /// Bytes of guarded requests held now (a gauge).
    pub held_bytes: u64,
}

impl RelayStats {
    /// The counters as they are now.
    pub fn read(&self) -> RelayCounts {
        RelayCounts {
            passed: self.passed.load(Relaxed),
            guarded: self.guarded.load(Relaxed),
            refused: self.refused.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            connections: self.connections.load(Relaxed),
            turned_away: self.turned_away.load(Relaxed),
            accept_errors: self.accept_errors.load(Relaxed),
            upstream_connects: self.upstream_connects.load(Relaxed),
            upstream_failures: self.upstream_failures.load(Relaxed),
            held_bytes: self
                .held_small
                .load(Relaxed)
                .saturating_add(self.held_large.load(Relaxed)),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Adds to one gauge while it lives.
#[derive(Debug)]
pub(super) struct Gauge {
    stats: std::sync::Arc<RelayStats>,
    pick: fn(&RelayStats) -> &AtomicU64,
    amount: u64,
}

impl Gauge {
    pub(super) fn new(
        stats: &std::sync::Arc<RelayStats>,
        pick: fn(&RelayStats) -> &AtomicU64,
        amount: u64,
    ) -> Self {
        pick(stats).fetch_add(amount, Relaxed);
        Self {
            stats: stats.clone(),
            pick,
            amount,
        }
    }

    /// What it added so far.
    pub(super) fn amount(&self) -> u64 {
        self.amount
    }

    /// Adds `more`, and gives what the gauge then says.
    pub(super) fn add(&mut self, more: u64) -> u64 {
        self.amount = self.amount.saturating_add(more);
        (self.pick)(&self.stats)
            .fetch_add(more, Relaxed)
            .saturating_add(more)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        (self.pick)(&self.stats).fetch_sub(self.amount, Relaxed);
    }
}
