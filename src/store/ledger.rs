//! The ledger: facts that make deciding fast. It is never proof by itself that a policy allows
//! something, and losing it costs time, not safety. Reads come from memory; the file follows.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bounded::Bounded;
use super::disk::{Change, Disk, Table};
use super::writer::{Persistence, Writer};
use super::{CarriedPull, ChainFact, ContainerFact, SandboxFact, StateDir};
use crate::image::Digest;

/// Images whose pulls and chains are remembered.
const MAX_IMAGES: usize = 16_384;
/// Names whose last pull is found by name.
const MAX_NAMES: usize = 32_768;
/// Containers that are remembered.
const MAX_CONTAINERS: usize = 8_192;
/// Sandboxes that are remembered.
const MAX_SANDBOXES: usize = 8_192;
/// Pulls and chains remembered per image; the oldest go first.
const MAX_PER_IMAGE: usize = 32;

/// Facts about this node, in memory, and in a file that a thread keeps.
#[derive(Debug)]
pub struct Ledger {
    maps: Arc<Mutex<Maps>>,
    writer: Writer<Change>,
    set_aside: Option<String>,
}

#[derive(Debug)]
struct Maps {
    carried: Bounded<Digest, Arc<Vec<CarriedPull>>>,
    by_name: Bounded<String, CarriedPull>,
    chains: Bounded<Digest, Arc<Vec<ChainFact>>>,
    containers: Bounded<String, Arc<ContainerFact>>,
    sandboxes: Bounded<String, Arc<SandboxFact>>,
    by_config_seen: HashMap<String, BTreeSet<String>>,
}

impl Ledger {
    /// Opens the ledger of the state directory and reads it. Never fails: a file that cannot be
    /// used is set aside or left, and the ledger begins empty.
    pub fn open(state: &StateDir) -> Self {
        let maps = Arc::new(Mutex::new(Maps::new()));
        let shared = Arc::clone(&maps);
        let snapshot = Box::new(move || lock(&shared).rows());
        let (disk, opened) = Disk::open(state.path(), snapshot);
        lock(&maps).load(opened.rows);
        Self {
            maps,
            writer: Writer::start("ledger", disk, opened.usable),
            set_aside: opened.set_aside,
        }
    }

    /// A ledger that no file keeps.
    pub fn in_memory(why: &str) -> Self {
        Self {
            maps: Arc::new(Mutex::new(Maps::new())),
            writer: Writer::without(why),
            set_aside: None,
        }
    }

    /// What was wrong with the file at the start, if it was set aside, and where it is now.
    pub fn set_aside(&self) -> Option<&str> {
        self.set_aside.as_deref()
    }

    /// Remembers a pull that was carried and succeeded.
    pub fn record_pull(&self, pull: CarriedPull) {
        let changes = lock(&self.maps).put_pull(pull);
        self.put(changes);
    }

    /// The carried pulls that returned this image ID, newest last.
    pub fn pulls_of(&self, id: &Digest) -> Arc<Vec<CarriedPull>> {
        lock(&self.maps)
            .carried
            .get(id)
            .cloned()
            .unwrap_or_default()
    }

    /// The last pull of the normalised reference, whatever it returned.
    pub fn last_pull(&self, asked: &str) -> Option<CarriedPull> {
        lock(&self.maps).by_name.get(asked).cloned()
    }

    /// Remembers a proven chain.
    pub fn record_chain(&self, chain: ChainFact) {
        let changes = lock(&self.maps).put_chain(chain);
        self.put(changes);
    }

    /// The proven chains that end in this image ID, newest last.
    pub fn chains_of(&self, id: &Digest) -> Arc<Vec<ChainFact>> {
        lock(&self.maps).chains.get(id).cloned().unwrap_or_default()
    }

    /// Remembers a container whose create passed here.
    pub fn record_container(&self, container: ContainerFact) {
        let changes = lock(&self.maps).put_container(Arc::new(container));
        self.put(changes);
    }

    /// The container with this ID, if its create passed here.
    pub fn container(&self, id: &str) -> Option<Arc<ContainerFact>> {
        lock(&self.maps).containers.get(id).cloned()
    }

    /// Every container whose create passed here, oldest first.
    pub fn containers(&self) -> Vec<Arc<ContainerFact>> {
        let maps = lock(&self.maps);
        maps.containers
            .iter()
            .map(|(_, fact)| Arc::clone(fact))
            .collect()
    }

    /// Forgets a container that is gone.
    pub fn forget_container(&self, id: &str) {
        let known = lock(&self.maps).containers.remove(id).is_some();
        if known {
            self.put(vec![gone(Table::Containers, id)]);
        }
    }

    /// Remembers a sandbox that was run here.
    pub fn record_sandbox(&self, sandbox: SandboxFact) {
        let changes = lock(&self.maps).put_sandbox(Arc::new(sandbox));
        self.put(changes);
    }

    /// The sandbox with this ID, if it was run here.
    pub fn sandbox(&self, id: &str) -> Option<Arc<SandboxFact>> {
        lock(&self.maps).sandboxes.get(id).cloned()
    }

    /// Every sandbox that was run here, oldest first.
    pub fn sandboxes(&self) -> Vec<Arc<SandboxFact>> {
        let maps = lock(&self.maps);
        maps.sandboxes
            .iter()
            .map(|(_, fact)| Arc::clone(fact))
            .collect()
    }

    /// The sandboxes whose pod has this `kubernetes.io/config.seen`: usually one pod's, but nothing
    /// makes the annotation unique. Sorted by ID.
    pub fn sandboxes_seen(&self, config_seen: &str) -> Vec<Arc<SandboxFact>> {
        let maps = lock(&self.maps);
        maps.by_config_seen
            .get(config_seen)
            .into_iter()
            .flatten()
            .filter_map(|id| maps.sandboxes.get(id).cloned())
            .collect()
    }

    /// Forgets a sandbox that is gone.
    pub fn forget_sandbox(&self, id: &str) {
        let known = lock(&self.maps).remove_sandbox(id);
        if known {
            self.put(vec![gone(Table::Sandboxes, id)]);
        }
    }

    /// Waits until what was recorded so far is on the disk, at most `within`; whether in time.
    pub fn flush(&self, within: Duration) -> bool {
        self.writer.flush(within)
    }

    /// Whether facts reach the disk.
    pub fn persistence(&self) -> Persistence {
        self.writer.persistence()
    }

    fn put(&self, changes: Vec<Change>) {
        for change in changes {
            self.writer.put(change);
        }
    }
}

impl Maps {
    fn new() -> Self {
        Self {
            carried: Bounded::new(MAX_IMAGES),
            by_name: Bounded::new(MAX_NAMES),
            chains: Bounded::new(MAX_IMAGES),
            containers: Bounded::new(MAX_CONTAINERS),
            sandboxes: Bounded::new(MAX_SANDBOXES),
            by_config_seen: HashMap::new(),
        }
    }

    fn put_pull(&mut self, pull: CarriedPull) -> Vec<Change> {
        let id = pull.id;
        let mut pulls = self
            .carried
            .get(&id)
            .map(|known| known.to_vec())
            .unwrap_or_default();
        // The same fact again, only later: one row.
        pulls.retain(|known| {
            (&known.namespace, &known.asked, &known.digest)
                != (&pull.namespace, &pull.asked, &pull.digest)
        });
        pulls.push(pull.clone());
        trim(&mut pulls);
        self.by_name.insert(pull.asked.clone(), pull);
        let pulls = Arc::new(pulls);
        let mut changes = row(Table::Carried, &id.to_string(), &*pulls);
        if let Some((old, _)) = self.carried.insert(id, pulls) {
            changes.push(gone(Table::Carried, &old.to_string()));
        }
        changes
    }

    fn put_chain(&mut self, chain: ChainFact) -> Vec<Change> {
        let id = chain.config;
        let known = self.chains.get(&id);
        if known.is_some_and(|known| known.contains(&chain)) {
            return Vec::new();
        }
        let mut chains = known.map(|known| known.to_vec()).unwrap_or_default();
        chains.push(chain);
        trim(&mut chains);
        let chains = Arc::new(chains);
        let mut changes = row(Table::Chains, &id.to_string(), &*chains);
        if let Some((old, _)) = self.chains.insert(id, chains) {
            changes.push(gone(Table::Chains, &old.to_string()));
        }
        changes
    }

    fn put_container(&mut self, fact: Arc<ContainerFact>) -> Vec<Change> {
        let mut changes = row(Table::Containers, &fact.id, &*fact);
        if let Some((old, _)) = self.containers.insert(fact.id.clone(), fact) {
            changes.push(gone(Table::Containers, &old));
        }
        changes
    }

    fn put_sandbox(&mut self, fact: Arc<SandboxFact>) -> Vec<Change> {
        let mut changes = row(Table::Sandboxes, &fact.id, &*fact);
        self.remove_sandbox(&fact.id);
        let seen = fact.sandbox.pod.config_seen.clone();
        if !seen.is_empty() {
            self.by_config_seen
                .entry(seen)
                .or_default()
                .insert(fact.id.clone());
        }
        if let Some((old, fact)) = self.sandboxes.insert(fact.id.clone(), fact) {
            self.unindex(&fact);
            changes.push(gone(Table::Sandboxes, &old));
        }
        changes
    }

    fn remove_sandbox(&mut self, id: &str) -> bool {
        let Some(fact) = self.sandboxes.remove(id) else {
            return false;
        };
        self.unindex(&fact);
        true
    }

    fn unindex(&mut self, fact: &SandboxFact) {
        let seen = &fact.sandbox.pod.config_seen;
        if let Some(ids) = self.by_config_seen.get_mut(seen) {
            ids.remove(&fact.id);
            if ids.is_empty() {
                self.by_config_seen.remove(seen);
            }
        }
    }

    /// Takes rows of the file; a row that does not say what its key says is nothing.
    fn load(&mut self, rows: Vec<Change>) {
        let mut pulls: Vec<CarriedPull> = Vec::new();
        let mut containers: Vec<ContainerFact> = Vec::new();
        let mut sandboxes: Vec<SandboxFact> = Vec::new();
        for row in rows {
            let Some(value) = row.value else { continue };
            match row.table {
                Table::Carried => pulls.extend(
                    many::<CarriedPull>(&value)
                        .into_iter()
                        .filter(|pull| pull.id.to_string() == row.key),
                ),
                Table::Chains => {
                    for chain in many::<ChainFact>(&value) {
                        if chain.config.to_string() == row.key {
                            self.put_chain(chain);
                        }
                    }
                }
                Table::Containers => containers
                    .extend(one::<ContainerFact>(&value).filter(|fact| fact.id == row.key)),
                Table::Sandboxes => {
                    sandboxes.extend(one::<SandboxFact>(&value).filter(|fact| fact.id == row.key))
                }
            }
        }
        pulls.sort_by_key(|pull| pull.at);
        containers.sort_by_key(|fact| fact.at);
        sandboxes.sort_by_key(|fact| fact.at);
        for pull in pulls {
            self.put_pull(pull);
        }
        for fact in containers {
            self.put_container(Arc::new(fact));
        }
        for fact in sandboxes {
            self.put_sandbox(Arc::new(fact));
        }
    }

    /// Everything, as rows.
    fn rows(&self) -> Vec<Change> {
        let mut rows = Vec::new();
        for (id, pulls) in self.carried.iter() {
            rows.extend(row(Table::Carried, &id.to_string(), &**pulls));
        }
        for (id, chains) in self.chains.iter() {
            rows.extend(row(Table::Chains, &id.to_string(), &**chains));
        }
        for (id, fact) in self.containers.iter() {
            rows.extend(row(Table::Containers, id, &**fact));
        }
        for (id, fact) in self.sandboxes.iter() {
            rows.extend(row(Table::Sandboxes, id, &**fact));
        }
        rows
    }
}

fn lock(maps: &Mutex<Maps>) -> MutexGuard<'_, Maps> {
    maps.lock().unwrap_or_else(PoisonError::into_inner)
}

fn trim<T>(list: &mut Vec<T>) {
    let over = list.len().saturating_sub(MAX_PER_IMAGE);
    list.drain(..over);
}

/// A row; none for a value that has no JSON (there is no such fact).
fn row<T: Serialize>(table: Table, key: &str, value: &T) -> Vec<Change> {
    serde_json::to_vec(value)
        .map(|value| Change {
            table,
            key: key.to_owned(),
            value: Some(value),
        })
        .into_iter()
        .collect()
}

fn gone(table: Table, key: &str) -> Change {
    Change {
        table,
        key: key.to_owned(),
        value: None,
    }
}

fn one<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

fn many<T: DeserializeOwned>(value: &[u8]) -> Vec<T> {
    serde_json::from_slice(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
