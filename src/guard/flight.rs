//! Questions to registries that many ask at once, and the one answer that they share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;

use crate::image::{Digest, ImageId, Repository};
use crate::registry::RegistryError;
use crate::verify::Evidence;

/// What a registry had to say to one question.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) evidence: Evidence,
    pub(super) failure: Option<RegistryError>,
}

/// What create asks of a registry: whether it holds one of these digests, or what the tag means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) repository: Repository,
    pub(super) tag: Option<String>,
    pub(super) digests: Vec<Digest>,
    /// Where the chain is to end.
    pub(super) id: ImageId,
}

/// What is being found out now, shared by all who ask for the same. Nothing outlives those who
/// wait for it; who is given up leaves it to the next of them.
#[derive(Debug)]
pub(super) struct Flights<K, V> {
    map: Mutex<HashMap<K, Weak<OnceCell<V>>>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self {
            map: Mutex::new(HashMap::new()),
        }
    }
}

impl<K: Eq + Hash + Clone, V> Flights<K, V> {
    /// The place where the answer will be, or is for as long as somebody holds it.
    pub(super) fn join(&self, key: &K) -> Arc<OnceCell<V>> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = map.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        map.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(OnceCell::new());
        map.insert(key.clone(), Arc::downgrade(&flight));
        flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_the_same_at_the_same_time_shares_one_answer() {
        let flights: Flights<&str, u8> = Flights::default();
        let (first, second) = (flights.join(&"a"), flights.join(&"a"));
        first.set(1).unwrap();
        assert_eq!(second.get(), Some(&1));
        assert_eq!(flights.join(&"b").get(), None);
    }

    #[test]
    fn an_answer_that_nobody_waits_for_any_more_is_forgotten() {
        let flights: Flights<&str, u8> = Flights::default();
        flights.join(&"a").set(1).unwrap();
        assert_eq!(flights.join(&"a").get(), None);
    }
}
