//! A map of bounded size: the entry that was written longest ago goes first.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map that never holds more entries than its bound, nor more bytes than its budget.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    max: usize,
    max_bytes: usize,
    bytes: usize,
    next: u64,
    entries: HashMap<K, Entry<V>>,
    order: BTreeMap<u64, K>,
}

#[derive(Debug)]
struct Entry<V> {
    at: u64,
    bytes: usize,
    value: V,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(max: usize, max_bytes: usize) -> Self {
        Self {
            max,
            max_bytes,
            bytes: 0,
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
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Puts the value, which takes `bytes` of the budget, and gives what had to go: nothing, or the
    /// oldest others. A value over the whole budget is given back itself, and the others stay.
    pub(super) fn insert(&mut self, key: K, bytes: usize, value: V) -> Vec<(K, V)> {
        self.remove(&key);
        if bytes > self.max_bytes {
            return vec![(key, value)];
        }
        let at = self.next;
        self.next += 1;
        self.order.insert(at, key.clone());
        self.entries.insert(key, Entry { at, bytes, value });
        self.bytes += bytes;
        let mut gone = Vec::new();
        while self.entries.len() > self.max || self.bytes > self.max_bytes {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(entry.bytes);
                gone.push((oldest, entry.value));
            }
        }
        gone
    }

    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.at);
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some(entry.value)
    }

    /// The entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order
            .values()
            .filter_map(|key| self.entries.get(key).map(|entry| (key, &entry.value)))
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
        let mut map = Bounded::new(2, 100);
        assert_eq!(map.insert("a", 1, 1), []);
        assert_eq!(map.insert("b", 1, 2), []);
        assert_eq!(map.insert("c", 1, 3), [("a", 1)]);
        assert_eq!((map.get("a"), map.get("b"), map.len()), (None, Some(&2), 2));
    }

    #[test]
    fn the_oldest_entries_go_when_the_budget_is_spent() {
        let mut map = Bounded::new(10, 100);
        map.insert("a", 40, 1);
        map.insert("b", 40, 2);
        assert_eq!(map.insert("c", 90, 3), [("a", 1), ("b", 2)]);
        assert_eq!(map.insert("c", 10, 4), []);
        assert_eq!(map.insert("d", 90, 5), []);
    }

    #[test]
    fn a_value_over_the_whole_budget_drives_nothing_out() {
        let mut map = Bounded::new(10, 100);
        map.insert("a", 40, 1);
        assert_eq!(map.insert("b", 101, 2), [("b", 2)]);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&"a", &1)]);
    }

    #[test]
    fn writing_again_makes_an_entry_young() {
        let mut map = Bounded::new(2, 100);
        map.insert("a", 1, 1);
        map.insert("b", 1, 2);
        map.insert("a", 1, 3);
        assert_eq!(map.insert("c", 1, 4), [("b", 2)]);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&"a", &3), (&"c", &4)]);
    }

    #[test]
    fn a_removed_entry_leaves_room() {
        let mut map = Bounded::new(1, 100);
        map.insert("a", 100, 1);
        assert_eq!(map.remove("a"), Some(1));
        assert_eq!(map.insert("b", 100, 2), []);
    }
}
