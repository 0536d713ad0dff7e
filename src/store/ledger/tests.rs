use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::super::disk::NAME;
use super::*;
use crate::request::{CreateAsk, PodSource};
use crate::time::Timestamp;

const SOON: Duration = Duration::from_secs(20);

fn state() -> (tempfile::TempDir, StateDir) {
    let parent = tempfile::tempdir().unwrap();
    let state = StateDir::open(&parent.path().join("state")).unwrap();
    (parent, state)
}

fn file(state: &StateDir) -> PathBuf {
    state.path().join(NAME)
}

fn pull(asked: &str, at: u64) -> CarriedPull {
    CarriedPull {
        namespace: Some("shop".to_owned()),
        repository: "registry.example.com/app".to_owned(),
        asked: asked.to_owned(),
        digest: Some(Digest::of(b"manifest")),
        id: Digest::of(b"config"),
        apart: Vec::new(),
        policy_version: "1".to_owned(),
        at: Timestamp::from_unix_seconds(at),
    }
}

fn chain(manifest: &[u8]) -> ChainFact {
    ChainFact {
        indexes: Vec::new(),
        manifest: Digest::of(manifest),
        config: Digest::of(b"config"),
        platform: None,
    }
}

fn sandbox(id: &str) -> SandboxFact {
    SandboxFact {
        id: id.to_owned(),
        at: Timestamp::from_unix_seconds(1),
    }
}

/// A container of a static pod with so many labels.
fn container(id: &str, labels: usize) -> ContainerFact {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/create.json");
    let text = std::fs::read_to_string(path).unwrap();
    let case: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut ask: CreateAsk = serde_json::from_value(case["ask"].clone()).unwrap();
    ask.sandbox.pod.labels = (0..labels)
        .map(|at| (format!("label-{at}"), "x".to_owned()))
        .collect();
    ContainerFact {
        id: id.to_owned(),
        at: Timestamp::from_unix_seconds(1),
        namespace: "shop".to_owned(),
        pod: "web".to_owned(),
        uid: "u".to_owned(),
        source: PodSource::File,
        ask: Some(ask),
        image: None,
        repository: None,
        named: None,
    }
}

/// A ledger with one of each, closed again.
fn filled(state: &StateDir) {
    let ledger = Ledger::open(state);
    ledger.record_pull(pull("registry.example.com/app:1", 5));
    ledger.record_chain(chain(b"manifest"));
    ledger.record_sandbox(sandbox("s1"));
    assert!(ledger.flush(SOON));
    assert_eq!(ledger.persistence(), Persistence::Healthy);
}

fn is_filled(ledger: &Ledger) -> bool {
    let id = Digest::of(b"config");
    let pulls = ledger.pulls_of(&id).len();
    let chains = ledger.chains_of(&id).len();
    let sandboxes = ledger.sandboxes().len();
    assert!(
        (pulls, chains, sandboxes) == (0, 0, 0) || (pulls, chains, sandboxes) == (1, 1, 1),
        "half of one commit: {pulls} {chains} {sandboxes}"
    );
    pulls == 1
}

#[test]
fn facts_are_known_after_a_restart() {
    let (_parent, state) = state();
    filled(&state);
    let ledger = Ledger::open(&state);
    let id = Digest::of(b"config");
    assert_eq!(
        *ledger.pulls_of(&id),
        vec![pull("registry.example.com/app:1", 5)]
    );
    assert_eq!(
        ledger.last_pull("registry.example.com/app:1"),
        Some(pull("registry.example.com/app:1", 5))
    );
    assert_eq!(*ledger.chains_of(&id), vec![chain(b"manifest")]);
    assert_eq!(ledger.sandbox("s1").as_deref(), Some(&sandbox("s1")));
}

#[test]
fn facts_are_known_at_once_before_any_write() {
    let ledger = Ledger::in_memory("test");
    ledger.record_pull(pull("a:1", 5));
    assert_eq!(ledger.last_pull("a:1"), Some(pull("a:1", 5)));
    assert_eq!(
        ledger.persistence(),
        Persistence::Degraded {
            why: "test".to_owned(),
            dropped: 0
        }
    );
}

#[test]
fn the_same_pull_later_replaces_the_earlier_one() {
    let ledger = Ledger::in_memory("test");
    ledger.record_pull(pull("a:1", 5));
    ledger.record_pull(pull("a:1", 6));
    ledger.record_pull(pull("a:2", 7));
    let pulls = ledger.pulls_of(&Digest::of(b"config"));
    assert_eq!(*pulls, vec![pull("a:1", 6), pull("a:2", 7)]);
}

#[test]
fn an_images_pulls_and_chains_are_bounded() {
    let ledger = Ledger::in_memory("test");
    for at in 0..100_u64 {
        let repository = format!("registry.example.com/{at}");
        ledger.record_pull(CarriedPull {
            repository,
            ..pull(&format!("a:{at}"), at)
        });
        ledger.record_chain(chain(&at.to_be_bytes()));
    }
    let id = Digest::of(b"config");
    assert_eq!(ledger.pulls_of(&id).len(), MAX_PER_IMAGE);
    assert_eq!(ledger.chains_of(&id).len(), MAX_PER_IMAGE);
    assert_eq!(ledger.pulls_of(&id).last().unwrap().asked, "a:99");
}

#[test]
fn a_forgotten_sandbox_is_gone_also_after_a_restart() {
    let (_parent, state) = state();
    filled(&state);
    {
        let ledger = Ledger::open(&state);
        ledger.forget_sandbox("s1");
        assert_eq!(ledger.sandbox("s1"), None);
    }
    let ledger = Ledger::open(&state);
    assert_eq!(ledger.sandbox("s1"), None);
}

#[test]
fn a_container_with_a_hundred_thousand_labels_costs_no_more_than_its_name() {
    let (_parent, state) = state();
    {
        let ledger = Ledger::open(&state);
        ledger.record_container(container("large", 100_000));
        ledger.record_container(container("small", 3));
        let known = |id: &str| ledger.container(id).unwrap().ask.is_some();
        assert_eq!((known("large"), known("small")), (false, true));
        assert!(ledger.flush(SOON));
    }
    assert!(std::fs::metadata(file(&state)).unwrap().len() < 4 * 1024 * 1024);
    let ledger = Ledger::open(&state);
    let known = |id: &str| ledger.container(id).unwrap().ask.is_some();
    assert_eq!((known("large"), known("small")), (false, true));
}

#[test]
fn facts_have_a_budget_in_memory_and_in_the_file_also_at_a_start() {
    let (_parent, state) = state();
    {
        // As an earlier version, without a budget, left it.
        let ledger = Ledger::open(&state);
        assert!(ledger.flush(SOON));
    }
    let rows = |count: usize| {
        let large = container("x", 2000);
        (0..count).map(move |at| {
            let fact = ContainerFact {
                id: format!("c{at:05}"),
                at: Timestamp::from_unix_seconds(u64::try_from(at).unwrap()),
                ..large.clone()
            };
            (fact.id.clone(), serde_json::to_vec(&fact).unwrap())
        })
    };
    let database = redb::Database::create(file(&state)).unwrap();
    let table: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("containers");
    let writing = database.begin_write().unwrap();
    {
        let mut containers = writing.open_table(table).unwrap();
        for (id, value) in rows(300) {
            containers.insert(id.as_str(), value.as_slice()).unwrap();
        }
    }
    writing.commit().unwrap();
    drop(database);
    let each = rows(1).next().unwrap().1.len();
    let held = Ledger::open(&state).containers();
    assert!(held.len() * each <= CONTAINER_BYTES, "{}", held.len());
    assert_eq!(held.last().unwrap().id, "c00299");
    let database = redb::Database::create(file(&state)).unwrap();
    let reading = redb::ReadableDatabase::begin_read(&database).unwrap();
    let left = redb::ReadableTableMetadata::len(&reading.open_table(table).unwrap()).unwrap();
    assert_eq!(left, u64::try_from(held.len()).unwrap());
}

#[test]
fn the_same_pull_for_another_namespace_is_one_row() {
    let ledger = Ledger::in_memory("test");
    ledger.record_pull(pull("a:1", 5));
    let other = CarriedPull {
        namespace: Some("other".to_owned()),
        ..pull("a:1", 6)
    };
    ledger.record_pull(other.clone());
    assert_eq!(*ledger.pulls_of(&other.id), vec![other]);
}

#[test]
fn many_names_of_ones_own_for_an_image_drive_no_proof_of_anothers_out() {
    let ledger = Ledger::in_memory("test");
    let victim = pull("registry.example.com/app:1", 1);
    ledger.record_pull(victim.clone());
    let attack = |repository: String, tag: u64| CarriedPull {
        namespace: Some("attacker".to_owned()),
        asked: format!("{repository}:{tag}"),
        repository,
        ..pull("", tag)
    };
    for tag in 2..200 {
        ledger.record_pull(attack("registry.example.com/evil".to_owned(), tag));
        let spread = format!("registry.example.com/evil-{tag}");
        ledger.record_pull(attack(spread, tag));
    }
    let pulls = ledger.pulls_of(&victim.id);
    assert!(pulls.contains(&victim));
    assert_eq!(pulls.len(), MAX_PER_IMAGE);
    assert!(pulls.iter().any(|pull| pull.at.unix_seconds() == 199));
}

#[test]
fn a_file_that_could_not_be_opened_at_the_start_is_learnt_later_and_not_erased() {
    let (_parent, state) = state();
    filled(&state);
    let holder = Ledger::open(&state);
    let maps = Arc::new(Mutex::new(Maps::new()));
    let (mut disk, opened) = Disk::open(state.path(), memory(&maps));
    assert_eq!(
        opened.usable,
        Err("another process holds the ledger's file".to_owned())
    );
    let meanwhile = pull("registry.example.com/app:1", 9);
    lock(&maps).put_pull(meanwhile.clone());
    drop(holder);
    assert_eq!(disk.try_now(), Ok(()));
    let id = Digest::of(b"config");
    assert_eq!(
        lock(&maps).carried.get(&id).map(|pulls| pulls.to_vec()),
        Some(vec![meanwhile.clone()])
    );
    assert!(lock(&maps).chains.get(&id).is_some());
    drop(disk);
    let ledger = Ledger::open(&state);
    assert!(is_filled(&ledger));
    assert_eq!(ledger.last_pull(&meanwhile.asked), Some(meanwhile));
}

#[test]
fn the_file_is_0600() {
    let (_parent, state) = state();
    filled(&state);
    let mode = std::fs::metadata(file(&state)).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn a_foreign_file_is_set_aside_and_a_new_one_begun() {
    let (_parent, state) = state();
    std::fs::write(file(&state), vec![b'x'; 20_000]).unwrap();
    filled(&state);
    assert!(is_filled(&Ledger::open(&state)));
    let aside = state.path().join(format!("{NAME}.bad-1"));
    assert_eq!(std::fs::read(aside).unwrap(), vec![b'x'; 20_000]);
}

#[test]
fn another_database_of_the_same_library_is_set_aside() {
    let (_parent, state) = state();
    let database = redb::Database::create(file(&state)).unwrap();
    let writing = database.begin_write().unwrap();
    let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("other");
    writing.open_table(table).unwrap().insert("a", 1).unwrap();
    writing.commit().unwrap();
    drop(database);
    filled(&state);
    assert!(state.path().join(format!("{NAME}.bad-1")).exists());
}

#[test]
fn a_ledger_of_a_later_version_is_set_aside() {
    let (_parent, state) = state();
    filled(&state);
    let database = redb::Database::create(file(&state)).unwrap();
    let writing = database.begin_write().unwrap();
    let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    writing
        .open_table(table)
        .unwrap()
        .insert("format", 2)
        .unwrap();
    writing.commit().unwrap();
    drop(database);
    assert!(!is_filled(&Ledger::open(&state)));
    assert!(state.path().join(format!("{NAME}.bad-1")).exists());
}

#[test]
fn a_file_that_another_process_holds_is_left_alone() {
    let (_parent, state) = state();
    filled(&state);
    let first = Ledger::open(&state);
    let second = Ledger::open(&state);
    assert_eq!(
        second.persistence(),
        Persistence::Degraded {
            why: "another process holds the ledger's file".to_owned(),
            dropped: 0
        }
    );
    second.record_pull(pull("b:1", 9));
    assert_eq!(second.last_pull("b:1"), Some(pull("b:1", 9)));
    assert!(is_filled(&first));
    assert!(!state.path().join(format!("{NAME}.bad-1")).exists());
}

#[test]
fn a_file_cut_anywhere_gives_all_or_nothing_and_is_usable_again() {
    let (_parent, whole_state) = state();
    filled(&whole_state);
    let whole = std::fs::read(file(&whole_state)).unwrap();
    let mut cuts: Vec<usize> = (0..64).collect();
    cuts.extend((64..whole.len()).step_by(whole.len() / 24));
    for cut in cuts {
        let (_parent, state) = state();
        std::fs::write(file(&state), &whole[..cut]).unwrap();
        let known = is_filled(&Ledger::open(&state));
        filled(&state);
        assert!(
            is_filled(&Ledger::open(&state)),
            "cut after {cut}, known {known}"
        );
    }
}

#[test]
fn damage_anywhere_is_not_fatal() {
    let (_parent, whole_state) = state();
    filled(&whole_state);
    let whole = std::fs::read(file(&whole_state)).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 32) {
        let (_parent, state) = state();
        let mut damaged = whole.clone();
        for byte in damaged.iter_mut().skip(at).take(512) {
            *byte ^= 0x5a;
        }
        std::fs::write(file(&state), &damaged).unwrap();
        drop(Ledger::open(&state));
        filled(&state);
        drop(Ledger::open(&state));
    }
}

#[test]
fn a_row_that_is_not_what_its_key_says_is_nothing() {
    let (_parent, state) = state();
    filled(&state);
    let database = redb::Database::create(file(&state)).unwrap();
    let writing = database.begin_write().unwrap();
    let table: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("chains");
    let other = Digest::of(b"other").to_string();
    let value = serde_json::to_vec(&vec![chain(b"manifest")]).unwrap();
    {
        let mut chains = writing.open_table(table).unwrap();
        chains.insert(other.as_str(), value.as_slice()).unwrap();
        chains.insert("garbage", b"{".as_slice()).unwrap();
    }
    writing.commit().unwrap();
    drop(database);
    let ledger = Ledger::open(&state);
    assert!(ledger.chains_of(&Digest::of(b"other")).is_empty());
    assert!(is_filled(&ledger));
}
