//! What guarded requests may hold at once.
//!
//! A request is held from its first byte until containerd has it. Large ones share one bound, so
//! that they cannot fill the memory; small ones have a bound of their own, so that the large ones
//! of one tenant keep nobody else's pods from starting.

use std::sync::Arc;

use bytes::Bytes;

use super::RelayConfig;
use super::stats::{Gauge, RelayStats};

/// What no ordinary request is longer than, prefix included (bytes).
const SMALL: u64 = 256 * 1024;

/// The bytes of one request, counted until they are dropped.
#[derive(Debug)]
pub(super) struct Held {
    gauge: Gauge,
    stats: Arc<RelayStats>,
    size: Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// The bound that is reached, bytes.
    pub(super) limit: usize,
}

impl Held {
    pub(super) fn new(stats: &Arc<RelayStats>) -> Self {
        Self {
            gauge: Gauge::new(stats, |stats| &stats.held_small, 0),
            stats: stats.clone(),
            size: Size::Small,
        }
    }

    /// Counts bytes that arrived, if there is room for them.
    pub(super) fn add(&mut self, bytes: usize, config: &RelayConfig) -> Result<(), Full> {
        let now = self.count(bytes);
        let limit = match self.size {
            Size::Small => config.max_held_small_bytes,
            Size::Large => config.max_held_bytes,
        };
        if now > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(Full { limit });
        }
        Ok(())
    }

    /// Counts bytes; gives what all requests of this size hold then.
    pub(super) fn count(&mut self, bytes: usize) -> u64 {
        let more = u64::try_from(bytes).unwrap_or(u64::MAX);
        let all = self.gauge.amount().saturating_add(more);
        if self.size == Size::Large || all <= SMALL {
            return self.gauge.add(more);
        }
        self.size = Size::Large;
        self.gauge = Gauge::new(&self.stats, |stats| &stats.held_large, 0);
        self.gauge.add(all)
    }

    /// `bytes`, counted until the last of its copies is gone: also within the HTTP/2 library, while
    /// containerd does not take them.
    pub(super) fn until_dropped(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, _held: self })
    }
}

struct Counted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn config() -> RelayConfig {
        let mut config = RelayConfig::new("/x", &Limits::default());
        config.max_held_bytes = 1_000_000;
        config.max_held_small_bytes = 500_000;
        config
    }

    #[test]
    fn large_requests_fill_their_own_bound_only() {
        let (config, stats) = (config(), Arc::default());
        let mut large = Held::new(&stats);
        assert_eq!(large.add(1_000_000, &config), Ok(()));
        let mut second = Held::new(&stats);
        assert_eq!(second.add(300_000, &config), Err(Full { limit: 1_000_000 }));
        let mut small = Held::new(&stats);
        assert_eq!(small.add(200_000, &config), Ok(()));
    }

    #[test]
    fn small_requests_have_a_bound_too() {
        let (config, stats) = (config(), Arc::default());
        let mut held = Vec::new();
        for _ in 0..5 {
            let mut small = Held::new(&stats);
            assert_eq!(small.add(100_000, &config), Ok(()));
            held.push(small);
        }
        let mut small = Held::new(&stats);
        assert_eq!(small.add(1, &config), Err(Full { limit: 500_000 }));
    }

    #[test]
    fn bytes_are_counted_until_their_last_copy_is_gone() {
        let (config, stats) = (config(), Arc::default());
        let mut held = Held::new(&stats);
        held.add(7, &config).unwrap();
        let whole = held.until_dropped(Bytes::from_static(b"0123456"));
        let part = whole.slice(5..);
        drop(whole);
        assert_eq!(stats.read().held_bytes, 7);
        drop(part);
        assert_eq!(stats.read().held_bytes, 0);
    }
}
