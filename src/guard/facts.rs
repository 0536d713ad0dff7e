//! What the guard keeps in memory of containerd's own answers. Everything here can be asked again.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::content::Config;
use super::flight::{Flights, Heard, Question};
use crate::containerd::RuntimeFacts;
use crate::image::{ConfigError, Digest, Links};
use crate::request::{Namespaces, Pod};

/// Entries of one cache; a full one is emptied, which costs questions and nothing else.
const MAX: usize = 4096;
/// Pods that are remembered under one `kubernetes.io/config.seen`.
const MAX_SEEN: usize = 16;
/// The labels of a pod that is kept in memory, in bytes. How many a pod has is the tenant's choice;
/// a pod with more is asked for each time.
const MAX_LABELS: usize = 4096;
/// Looks at mounts at once for one namespace; each holds a thread.
const LOOKS: usize = 8;
/// How long containerd's settings are believed: it must be restarted to change them.
const SETTINGS: Duration = Duration::from_secs(30);

/// An existing sandbox, in containerd's own words. It never changes while its ID lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnSandbox {
    pub(super) pod: Pod,
    pub(super) handler: String,
    pub(super) namespaces: Option<Namespaces>,
}

impl OwnSandbox {
    fn is_small(&self) -> bool {
        let labels = self.pod.labels.iter();
        labels
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
            <= MAX_LABELS
    }
}

#[derive(Debug, Default)]
pub(super) struct Facts {
    /// By full sandbox ID.
    sandboxes: Cache<String, Arc<OwnSandbox>>,
    /// By `kubernetes.io/config.seen`.
    seen: Cache<String, Vec<Arc<OwnSandbox>>>,
    /// Configs that were read, and those that were refused, by image ID.
    pub(super) configs: Cache<Digest, Arc<Result<Arc<Config>, ConfigError>>>,
    /// Images of which every name was looked at, by ID and the repository that asked, and when.
    pub(super) clean: Cache<(Digest, String), u64>,
    /// Documents without a fault, by the digest of their bytes, with the entries that containerd may
    /// run; none for a manifest. One that was refused is read anew: it may be gone.
    pub(super) documents: Cache<Digest, Arc<[Digest]>>,
    /// Pulls under way: they write names.
    pub(super) pulls: Arc<Pulls>,
    /// Chains that were walked, by start and end.
    pub(super) chains: Cache<(Digest, Digest), Links>,
    /// Digests that do not lead to an image, by repository, digest and image; until when, where it
    /// was only the repository that did not hold them.
    pub(super) apart: Cache<(String, Digest, Digest), Option<Instant>>,
    /// One pull of a name at a time gives it to its image, the latest last.
    pub(super) turns_of_names: Cache<String, Arc<tokio::sync::Mutex<Given>>>,
    /// Listed digests that lead to a pause image, by its ID and the policy's version.
    pub(super) pause: Cache<(Digest, String), Vec<Digest>>,
    places: AtomicU64,
    /// Questions to registries that are being asked now.
    pub(super) asked: Flights<Question, Heard>,
    /// Turns for looking at mounts, by namespace.
    turns: Cache<String, Arc<Semaphore>>,
    /// The one turn of a namespace for looking at mounts of what runs already.
    quiet_turns: Cache<String, Arc<Semaphore>>,
    runtime: Mutex<Option<(Instant, Arc<RuntimeFacts>)>>,
    /// Whether a difference of registry settings was told.
    told: Told,
}

/// The pull that gave a name to an image last: its place among the pulls, and what it pulled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    pub(super) place: u64,
    pub(super) digest: Option<Digest>,
}

impl Given {
    /// Takes the name for a pull, unless a later one has given it to another image.
    pub(super) fn take(&mut self, place: u64, digest: Option<Digest>) -> bool {
        if place < self.place {
            return digest == self.digest;
        }
        *self = Self { place, digest };
        true
    }
}

impl Facts {
    /// The place of a pull among all pulls: taken before its name is resolved.
    pub(super) fn place(&self) -> u64 {
        self.places.fetch_add(1, Ordering::Relaxed)
    }

    /// Whose turn it is to give a name.
    pub(super) fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<Given>> {
        self.turns_of_names
            .get_or_put(name.to_owned(), Arc::default)
    }

    /// The turns of a namespace. A look at a dead file system never ends and keeps its turn, so it
    /// is its own namespace that runs out of them, not the node out of threads.
    pub(super) fn turns(&self, namespace: &str) -> Arc<Semaphore> {
        let some = || Arc::new(Semaphore::new(LOOKS));
        self.turns.get_or_put(namespace.to_owned(), some)
    }

    /// The turn of a namespace for what runs already: such a look takes none from a gate.
    pub(super) fn quiet_turns(&self, namespace: &str) -> Arc<Semaphore> {
        let one = || Arc::new(Semaphore::new(1));
        self.quiet_turns.get_or_put(namespace.to_owned(), one)
    }

    pub(super) fn sandbox(&self, id: &str) -> Option<Arc<OwnSandbox>> {
        self.sandboxes.get(&id.to_owned())
    }

    pub(super) fn learn_sandbox(&self, id: &str, own: &Arc<OwnSandbox>) {
        if own.is_small() {
            self.sandboxes.put(id.to_owned(), Arc::clone(own));
        }
    }

    /// The pods of a `config.seen`, as far as they are known: all of them, or `None`.
    pub(super) fn seen(&self, seen: &str) -> Option<Vec<Arc<OwnSandbox>>> {
        self.seen.get(&seen.to_owned())
    }

    /// Adds a pod to a `config.seen`. Where it is too large to keep, or one of too many, all of them
    /// are forgotten, and containerd is asked.
    pub(super) fn expect(&self, seen: &str, own: Arc<OwnSandbox>) {
        let mut pods = self.seen(seen).unwrap_or_default();
        if pods.contains(&own) {
            return;
        }
        pods.push(own);
        self.learn_seen(seen, pods);
    }

    pub(super) fn learn_seen(&self, seen: &str, pods: Vec<Arc<OwnSandbox>>) {
        if pods.len() <= MAX_SEEN && pods.iter().all(|own| own.is_small()) {
            self.seen.put(seen.to_owned(), pods);
        } else {
            self.seen.retain(|key| key != seen);
        }
    }

    /// Keeps only the sandboxes and pods that are wanted.
    pub(super) fn keep(&self, is_id: impl Fn(&str) -> bool, is_seen: impl Fn(&str) -> bool) {
        self.sandboxes.retain(|id| is_id(id));
        self.seen.retain(|seen| is_seen(seen));
    }

    pub(super) fn runtime(&self) -> Option<Arc<RuntimeFacts>> {
        let known = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((at, facts)) if at.elapsed() < SETTINGS => Some(Arc::clone(facts)),
            Some(_) | None => None,
        }
    }

    /// Keeps containerd's settings; says once if it reaches registries by others than the guard's.
    pub(super) fn learn_runtime(
        &self,
        facts: RuntimeFacts,
        certs_dirs: &[PathBuf],
    ) -> Arc<RuntimeFacts> {
        if let Some(why) = facts.registry.differs_from(certs_dirs) {
            self.told.0.call_once(|| tracing::warn!("{why}"));
        }
        let facts = Arc::new(facts);
        let mut known = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Instant::now(), Arc::clone(&facts)));
        facts
    }
}

/// Pulls that the guard carries. While one is under way, what was found about names counts for
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    now: Mutex<PullsNow>,
}

#[derive(Debug, Default)]
struct PullsNow {
    under_way: u64,
    begun: u64,
}

/// A pull that has begun. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    pulls: Arc<Pulls>,
}

impl Pulls {
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut now = self.lock();
        now.under_way = now.under_way.saturating_add(1);
        now.begun = now.begun.saturating_add(1);
        UnderWay {
            pulls: Arc::clone(self),
        }
    }

    /// A moment between two pulls; `None` while one is under way. The same number as before means
    /// that no pull has begun since.
    pub(super) fn moment(&self) -> Option<u64> {
        let now = self.lock();
        (now.under_way == 0).then_some(now.begun)
    }

    fn lock(&self) -> MutexGuard<'_, PullsNow> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut now = self.pulls.lock();
        now.under_way = now.under_way.saturating_sub(1);
    }
}

/// Something that is said once.
#[derive(Debug)]
struct Told(Once);

impl Default for Told {
    fn default() -> Self {
        Self(Once::new())
    }
}

/// A bounded map behind a lock.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    map: Mutex<HashMap<K, V>>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self {
            map: Mutex::new(HashMap::new()),
        }
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(key).cloned()
    }

    pub(super) fn put(&self, key: K, value: V) {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MAX {
            map.clear();
        }
        map.insert(key, value);
    }

    /// What is there, or what is put there now: the same for all who ask at once.
    pub(super) fn get_or_put(&self, key: K, make: impl FnOnce() -> V) -> V {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MAX && !map.contains_key(&key) {
            map.clear();
        }
        map.entry(key).or_insert_with(make).clone()
    }

    /// Drops the entries of which the key is not wanted any more.
    pub(super) fn retain(&self, wanted: impl Fn(&K) -> bool) {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        map.retain(|key, _| wanted(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, labels: usize) -> Arc<OwnSandbox> {
        Arc::new(OwnSandbox {
            pod: Pod {
                namespace: "shop".to_owned(),
                name: name.to_owned(),
                uid: "u".to_owned(),
                source: crate::request::PodSource::Api,
                labels: (0..labels)
                    .map(|at| (format!("label-{at}"), "x".to_owned()))
                    .collect(),
                config_seen: "seen".to_owned(),
            },
            handler: String::new(),
            namespaces: None,
        })
    }

    #[test]
    fn a_pod_with_a_hundred_thousand_labels_is_not_kept() {
        let facts = Facts::default();
        facts.learn_sandbox("large", &pod("large", 100_000));
        facts.learn_sandbox("small", &pod("small", 3));
        assert_eq!(facts.sandbox("large"), None);
        assert_eq!(facts.sandbox("small"), Some(pod("small", 3)));
    }

    #[test]
    fn the_pods_of_one_moment_are_known_all_or_not_at_all() {
        let facts = Facts::default();
        facts.expect("seen", pod("a", 1));
        assert_eq!(facts.seen("seen"), Some(vec![pod("a", 1)]));
        facts.expect("seen", pod("large", 100_000));
        assert_eq!(facts.seen("seen"), None);
        for at in 0..MAX_SEEN {
            facts.expect("many", pod(&at.to_string(), 1));
        }
        assert_eq!(facts.seen("many").unwrap().len(), MAX_SEEN);
        facts.expect("many", pod("one more", 1));
        assert_eq!(facts.seen("many"), None);
    }

    #[test]
    fn an_earlier_pull_does_not_take_a_name_from_a_later_one() {
        let (one, two) = (Some(Digest::of(b"1")), Some(Digest::of(b"2")));
        let mut given = Given::default();
        assert!(given.take(7, two));
        assert!(!given.take(6, one), "an earlier one of another image");
        assert!(given.take(6, two), "an earlier one of the same image");
        assert!(given.take(8, one), "a later one");
        assert!(!given.take(7, two));
    }

    #[test]
    fn what_was_found_about_names_counts_until_the_next_pull_begins() {
        let pulls = Arc::new(Pulls::default());
        let before = pulls.moment();
        assert_eq!(before, pulls.moment());
        let one = pulls.begin();
        assert_eq!(pulls.moment(), None);
        drop(one);
        assert!(pulls.moment().is_some());
        assert_ne!(pulls.moment(), before);
    }

    #[test]
    fn a_namespace_of_which_every_look_hangs_takes_no_turn_from_another() {
        let facts = Facts::default();
        let turns = facts.turns("hung");
        let held: Vec<_> =
            std::iter::from_fn(|| Arc::clone(&turns).try_acquire_owned().ok()).collect();
        assert_eq!(held.len(), LOOKS);
        assert!(facts.turns("hung").try_acquire_owned().is_err());
        assert!(facts.turns("other").try_acquire_owned().is_ok());
        assert!(facts.quiet_turns("hung").try_acquire_owned().is_ok());
        drop(held);
        assert!(facts.turns("hung").try_acquire_owned().is_ok());
    }
}
