//! The ledger: facts that make deciding fast. It is never proof by itself that a policy allows
//! something, and losing it costs time, not safety. Reads come from memory; the file follows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bounded::Bounded;
use super::disk::{Change, Disk, Memory, Table};
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
/// Pulls and chains remembered per image.
const MAX_PER_IMAGE: usize = 32;
/// Pulls remembered per image and repository.
const MAX_PER_REPOSITORY: usize = 8;

/// The budget of all facts, 16 MiB of JSON, by kind. Names are of the tenants' choice.
const MIB: usize = 1024 * 1024;
const PULL_BYTES: usize = 4 * MIB;
const NAME_BYTES: usize = 3 * MIB;
const CHAIN_BYTES: usize = 3 * MIB;
const CONTAINER_BYTES: usize = 4 * MIB;
const SANDBOX_BYTES: usize = 2 * MIB;

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
}

impl Ledger {
    /// Opens the ledger of the state directory and reads it. Never fails: a file that cannot be
    /// used is set aside or left, and the ledger begins empty.
    pub fn open(state: &StateDir) -> Self {
        let maps = Arc::new(Mutex::new(Maps::new()));
        let (disk, opened) = Disk::open(state.path(), memory(&maps));
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
        let changes = lock(&self.maps).put_container(container);
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
        let changes = lock(&self.maps).put_sandbox(sandbox);
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

    /// Forgets a sandbox that is gone.
    pub fn forget_sandbox(&self, id: &str) {
        let known = lock(&self.maps).sandboxes.remove(id).is_some();
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
            carried: Bounded::new(MAX_IMAGES, PULL_BYTES),
            by_name: Bounded::new(MAX_NAMES, NAME_BYTES),
            chains: Bounded::new(MAX_IMAGES, CHAIN_BYTES),
            containers: Bounded::new(MAX_CONTAINERS, CONTAINER_BYTES),
            sandboxes: Bounded::new(MAX_SANDBOXES, SANDBOX_BYTES),
        }
    }

    fn put_pull(&mut self, pull: CarriedPull) -> Vec<Change> {
        let id = pull.id;
        let mut pulls = self
            .carried
            .get(&id)
            .map(|known| known.to_vec())
            .unwrap_or_default();
        // The same fact again, only later or for another pod: one row.
        pulls.retain(|known| (&known.asked, &known.digest) != (&pull.asked, &pull.digest));
        pulls.push(pull.clone());
        trim_pulls(&mut pulls);
        let name = pull.asked.clone();
        let bytes = size(&pull);
        self.by_name.insert(name, bytes, pull);
        let key = id.to_string();
        put(&mut self.carried, Table::Carried, id, &key, Arc::new(pulls))
    }

    fn put_chain(&mut self, chain: ChainFact) -> Vec<Change> {
        let id = chain.config;
        let known = self.chains.get(&id);
        if known.is_some_and(|known| known.contains(&chain)) {
            return Vec::new();
        }
        let mut chains = known.map(|known| known.to_vec()).unwrap_or_default();
        chains.push(chain);
        let over = chains.len().saturating_sub(MAX_PER_IMAGE);
        chains.drain(..over);
        let key = id.to_string();
        put(&mut self.chains, Table::Chains, id, &key, Arc::new(chains))
    }

    fn put_container(&mut self, fact: ContainerFact) -> Vec<Change> {
        let fact = Arc::new(fact.bounded());
        let id = fact.id.clone();
        put(
            &mut self.containers,
            Table::Containers,
            id.clone(),
            &id,
            fact,
        )
    }

    fn put_sandbox(&mut self, fact: SandboxFact) -> Vec<Change> {
        let fact = Arc::new(fact);
        let id = fact.id.clone();
        put(&mut self.sandboxes, Table::Sandboxes, id.clone(), &id, fact)
    }

    /// Takes the rows of the file below what is known already: what memory has is newer.
    fn merge(&mut self, rows: Vec<Change>) {
        let own = std::mem::replace(self, Self::new()).rows();
        self.load(rows);
        self.load(own);
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
            self.put_container(fact);
        }
        for fact in sandboxes {
            self.put_sandbox(fact);
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

/// The maps, as the writing thread sees them.
fn memory(maps: &Arc<Mutex<Maps>>) -> Memory {
    let maps = Arc::clone(maps);
    Box::new(move |known| {
        let mut maps = lock(&maps);
        if let Some(rows) = known {
            maps.merge(rows);
        }
        maps.rows()
    })
}

fn lock(maps: &Mutex<Maps>) -> MutexGuard<'_, Maps> {
    maps.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a fact into its map: the changes of the file.
fn put<K: Clone + Eq + std::hash::Hash + ToString, V: Serialize>(
    map: &mut Bounded<K, Arc<V>>,
    table: Table,
    key: K,
    text: &str,
    fact: Arc<V>,
) -> Vec<Change> {
    let mut changes = row(table, text, &*fact);
    let bytes = changes
        .iter()
        .map(|row| row.key.len() + row.value.as_ref().map_or(0, Vec::len))
        .sum();
    let evicted = map.insert(key, bytes, fact);
    changes.extend(evicted.iter().map(|(old, _)| gone(table, &old.to_string())));
    changes
}

/// Bounds the pulls of one image. Whoever fills the list loses his own: the oldest of a repository
/// with too many, then the oldest of the namespace with the most. So a copy of somebody's image
/// under many names of one's own drives no proof of his out.
fn trim_pulls(pulls: &mut Vec<CarriedPull>) {
    while let Some(at) = oldest_of_most(pulls, MAX_PER_REPOSITORY, |pull| &pull.repository) {
        pulls.remove(at);
    }
    while pulls.len() > MAX_PER_IMAGE {
        let Some(at) = oldest_of_most(pulls, 0, |pull| {
            pull.namespace.as_deref().unwrap_or_default()
        }) else {
            break;
        };
        pulls.remove(at);
    }
}

/// The first pull of the group with the most pulls, if that has more than `allowed`.
fn oldest_of_most<'p>(
    pulls: &'p [CarriedPull],
    allowed: usize,
    group: impl Fn(&'p CarriedPull) -> &'p str,
) -> Option<usize> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for pull in pulls {
        *counts.entry(group(pull)).or_default() += 1;
    }
    let most = counts
        .values()
        .copied()
        .max()
        .filter(|most| *most > allowed)?;
    pulls
        .iter()
        .position(|pull| counts.get(group(pull)) == Some(&most))
}

/// What a fact takes of the budget.
fn size<T: Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
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
