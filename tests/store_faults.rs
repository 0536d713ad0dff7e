//! The state under a killed process and a full disk. Needs root (it mounts a small filesystem), and
//! says so.
#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pullguard::image::Digest;
use pullguard::store::{Admission, Admissions, CarriedPull, Ledger, Persistence, StateDir};
use pullguard::time::Timestamp;

const SOON: Duration = Duration::from_secs(20);
/// Names the state directory to the copy of this suite that is killed.
const VICTIM: &str = "PULLGUARD_TEST_VICTIM";

fn pull(number: u64) -> CarriedPull {
    CarriedPull {
        namespace: None,
        repository: "registry.example.com/app".to_owned(),
        asked: format!("registry.example.com/app:{number}"),
        digest: None,
        id: Digest::of(&number.to_be_bytes()),
        apart: Vec::new(),
        policy_version: "1".to_owned(),
        at: Timestamp::from_unix_seconds(number),
    }
}

fn admission(number: u64) -> Admission {
    Admission {
        namespace: format!("n{number}"),
        repository: "registry.example.com/app".to_owned(),
        digest: Digest::of(b"d"),
    }
}

/// Not a test of its own: the body of the process that the next test kills.
#[test]
fn victim() {
    let Some(directory) = std::env::var_os(VICTIM) else {
        return;
    };
    let state = StateDir::open(Path::new(&directory)).unwrap();
    let ledger = Ledger::open(&state);
    let admissions = Admissions::open(&state);
    for number in 0.. {
        ledger.record_pull(pull(number));
        admissions.admit(admission(number));
        assert!(ledger.flush(SOON) && admissions.flush(SOON));
        writeln!(std::io::stderr(), "flushed {number}").unwrap();
    }
}

#[test]
fn what_was_flushed_survives_kill_9() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    for round in 1..=3_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture"])
            .env(VICTIM, &directory)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let last = format!("flushed {}", round * 7);
        let seen = BufReader::new(stderr)
            .lines()
            .map_while(Result::ok)
            .any(|line| line == last);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(seen, "the victim ended before it was killed");
        let state = StateDir::open(&directory).unwrap();
        let ledger = Ledger::open(&state);
        let admissions = Admissions::open(&state);
        for number in 0..=round * 7 {
            assert_eq!(ledger.last_pull(&pull(number).asked), Some(pull(number)));
            assert!(admissions.contains(&admission(number)), "{number}");
        }
        assert_eq!(ledger.persistence(), Persistence::Healthy);
    }
    assert!(!directory.join("ledger.redb.bad-1").exists());
}

/// A filesystem of its own; it goes with the test.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf, size: &str) -> Self {
        std::fs::create_dir(&at).unwrap();
        let options = format!("size={size},mode=0700");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&at)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "this suite mounts: run it as root with CAP_SYS_ADMIN"
        );
        Self(at)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(
            done.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "the small filesystem is still mounted"
        );
    }
}

#[test]
fn on_a_full_disk_decisions_go_on_from_memory_and_say_so() {
    let parent = tempfile::tempdir().unwrap();
    let small = Small::mount(parent.path().join("state"), "128k");
    let state = StateDir::open(&small.0).unwrap();
    let admissions = Admissions::open(&state);
    std::fs::write(small.0.join("filler"), vec![0_u8; 256 * 1024]).unwrap_err();
    let ledger = Ledger::open(&state);
    ledger.record_pull(pull(1));
    admissions.admit(admission(1));
    assert!(ledger.flush(SOON) && admissions.flush(SOON));
    assert_eq!(ledger.last_pull(&pull(1).asked), Some(pull(1)));
    assert!(admissions.contains(&admission(1)));
    for persistence in [ledger.persistence(), admissions.persistence()] {
        assert!(
            matches!(&persistence, Persistence::Degraded { why, .. } if why.contains("space")
                || why.contains("tried again")),
            "{persistence:?}"
        );
    }
    assert!(!small.0.join("ledger.redb.bad-1").exists());
    drop((ledger, admissions));
    std::fs::remove_file(small.0.join("filler")).unwrap();
    let admissions = Admissions::open(&state);
    assert!(!admissions.contains(&admission(1)));
    admissions.admit(admission(2));
    assert!(admissions.flush(SOON));
    assert_eq!(admissions.persistence(), Persistence::Healthy);
}
