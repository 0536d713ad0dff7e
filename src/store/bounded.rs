//! A map of bounded size: the entry that was written longest ago goes first.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map that never holds more than its bound.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    max: usize,
    next: u64,
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            next: 0,
            entries: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Puts the value, and gives what had to go: nothing, or the oldest other entry.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        let at = self.next;
        self.next += 1;
        if let Some((old, _)) = self.entries.insert(key.clone(), (at, value)) {
            self.order.remove(&old);
        }
        self.order.insert(at, key);
        if self.entries.len() <= self.max {
            return None;
        }
        let (_, oldest) = self.order.pop_first()?;
        let (_, value) = self.entries.remove(&oldest)?;
        Some((oldest, value))
    }

    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let (at, value) = self.entries.remove(key)?;
        self.order.remove(&at);
        Some(value)
    }

    /// The entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order
            .values()
            .filter_map(|key| self.entries.get(key).map(|(_, value)| (key, value)))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_goes_when_the_map_is_full() {
        let mut map = Bounded::new(2);
        assert_eq!(map.insert("a", 1), None);
        assert_eq!(map.insert("b", 2), None);
        assert_eq!(map.insert("c", 3), Some(("a", 1)));
        assert_eq!((map.get("a"), map.get("b"), map.len()), (None, Some(&2), 2));
    }

    #[test]
    fn writing_again_makes_an_entry_young() {
        let mut map = Bounded::new(2);
        map.insert("a", 1);
        map.insert("b", 2);
        map.insert("a", 3);
        assert_eq!(map.insert("c", 4), Some(("b", 2)));
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&"a", &3), (&"c", &4)]);
    }

    #[test]
    fn a_removed_entry_leaves_room() {
        let mut map = Bounded::new(1);
        map.insert("a", 1);
        assert_eq!(map.remove("a"), Some(1));
        assert_eq!(map.insert("b", 2), None);
    }
}
