use std::os::unix::fs::MetadataExt as _;

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn state() -> (tempfile::TempDir, StateDir) {
    let parent = tempfile::tempdir().unwrap();
    let state = StateDir::open(&parent.path().join("state")).unwrap();
    (parent, state)
}

fn of(namespace: &str) -> Admission {
    Admission {
        namespace: namespace.to_owned(),
        repository: "registry.example.com/app".to_owned(),
        digest: Digest::of(b"d"),
    }
}

fn admitted(state: &StateDir, namespaces: &[&str]) {
    let admissions = Admissions::open(state);
    for namespace in namespaces {
        admissions.admit(of(namespace));
    }
    assert!(admissions.flush(SOON));
    assert_eq!(admissions.persistence(), Persistence::Healthy);
}

#[test]
fn an_admission_is_known_after_a_restart() {
    let (_parent, state) = state();
    admitted(&state, &["a", "b"]);
    let admissions = Admissions::open(&state);
    assert!(admissions.contains(&of("a")));
    assert!(admissions.contains(&of("b")));
    assert!(!admissions.contains(&of("c")));
}

#[test]
fn an_admission_counts_for_its_namespace_repository_and_digest_only() {
    let admissions = Admissions::in_memory("test");
    admissions.admit(of("a"));
    let other = Admission {
        repository: "registry.example.com/app2".to_owned(),
        ..of("a")
    };
    assert!(!admissions.contains(&other));
    let other = Admission {
        digest: Digest::of(b"e"),
        ..of("a")
    };
    assert!(!admissions.contains(&other));
    assert!(admissions.contains(&of("a")));
}

#[test]
fn the_same_admission_twice_is_one_line() {
    let (_parent, state) = state();
    admitted(&state, &["a", "a"]);
    admitted(&state, &["a"]);
    let text = std::fs::read_to_string(state.path().join(NAME)).unwrap();
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn a_file_cut_at_any_byte_keeps_its_whole_lines_and_grows_again() {
    let (_parent, state) = state();
    admitted(&state, &["a", "b"]);
    let path = state.path().join(NAME);
    let whole = std::fs::read(&path).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        {
            let admissions = Admissions::open(&state);
            assert_eq!(admissions.contains(&of("a")), end >= first, "{end}");
            assert!(!admissions.contains(&of("b")), "{end}");
            admissions.admit(of("c"));
        }
        let admissions = Admissions::open(&state);
        assert!(admissions.contains(&of("c")), "{end}");
        assert_eq!(admissions.contains(&of("a")), end >= first, "{end}");
    }
}

#[test]
fn a_line_with_any_byte_changed_is_not_admitted() {
    let (_parent, state) = state();
    admitted(&state, &["a"]);
    let path = state.path().join(NAME);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() - 1 {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert!(Admissions::open(&state).is_empty(), "byte {at}");
    }
}

#[test]
fn lines_of_a_later_version_are_left_alone() {
    let (_parent, state) = state();
    let path = state.path().join(NAME);
    std::fs::write(&path, "2 whatever comes\n").unwrap();
    admitted(&state, &["a"]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("2 whatever comes\n1 "), "{text}");
}

#[test]
fn a_loose_mode_is_tightened() {
    let (_parent, state) = state();
    let path = state.path().join(NAME);
    std::fs::write(&path, "").unwrap();
    drop(Admissions::open(&state));
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn without_a_file_admissions_go_on_from_memory_and_say_so() {
    let (_parent, state) = state();
    std::fs::create_dir(state.path().join(NAME)).unwrap();
    let admissions = Admissions::open(&state);
    admissions.admit(of("a"));
    assert!(admissions.contains(&of("a")));
    assert!(matches!(
        admissions.persistence(),
        Persistence::Degraded { .. }
    ));
}

#[test]
fn a_file_that_can_be_written_again_gets_everything_that_memory_holds() {
    let (_parent, state) = state();
    let path = state.path().join(NAME);
    std::fs::create_dir(&path).unwrap();
    let admissions = Admissions::open(&state);
    admissions.admit(of("a"));
    assert!(admissions.flush(SOON));
    std::fs::remove_dir(&path).unwrap();
    admissions.admit(of("b"));
    assert!(admissions.flush(SOON));
    assert_eq!(admissions.persistence(), Persistence::Healthy);
    drop(admissions);
    let admissions = Admissions::open(&state);
    assert!(admissions.contains(&of("a")) && admissions.contains(&of("b")));
}
