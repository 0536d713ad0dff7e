//! What was let start on this node: (namespace, repository, digest or ID). One line each, appended,
//! with a checksum. Apart from the ledger, because a policy state stands on it.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::StateDir;
use super::bounded::Bounded;
use super::file::{self, Existing, NoFaults};
use super::writer::{Persistence, Sink, Writer};
use crate::image::Digest;

/// The file's name in the state directory.
const NAME: &str = "admissions";
/// The first word of a line: the version of the format.
const VERSION: &str = "1";
/// Admissions remembered at most; the oldest go first.
const MAX: usize = 65_536;
/// What they may take of memory, in bytes of their names (16 MiB).
const MAX_MEMORY: usize = 16 * 1024 * 1024;
/// The file is written anew when it holds more lines than this.
const MAX_LINES: usize = 2 * MAX;
/// The largest file that is read (128 MiB).
const MAX_BYTES: u64 = 128 * 1024 * 1024;
/// Hexadecimal digits of the checksum.
const SUM: usize = 16;

/// An image that a namespace was let start from a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    /// The pod's namespace.
    pub namespace: String,
    /// The normalised repository that the pod named.
    pub repository: String,
    /// The judged digest, or the image ID where nothing asked for a digest.
    pub digest: Digest,
}

type Known = Bounded<Admission, ()>;

/// Every admission of this node, in memory, and appended to a file by a thread.
#[derive(Debug)]
pub struct Admissions {
    known: Arc<Mutex<Known>>,
    writer: Writer<Admission>,
}

impl Admissions {
    /// Reads the file, drops a torn end and skips lines that are not whole, and goes on appending.
    /// Never fails: what cannot be read is not admitted, what cannot be written is degraded.
    pub fn open(state: &StateDir) -> Self {
        let path = state.path().join(NAME);
        let known = Arc::new(Mutex::new(empty()));
        let mut sink = Appender {
            path,
            state: state.clone(),
            known: Arc::clone(&known),
            was_read: false,
            lines: 0,
            file: None,
        };
        let opened = sink.reopen();
        Self {
            known,
            writer: Writer::start("admissions", sink, opened),
        }
    }

    /// Admissions that no file keeps.
    pub fn in_memory(why: &str) -> Self {
        Self {
            known: Arc::new(Mutex::new(empty())),
            writer: Writer::without(why),
        }
    }

    /// Whether this was admitted here before.
    pub fn contains(&self, admission: &Admission) -> bool {
        lock(&self.known).get(admission).is_some()
    }

    /// Remembers an admission; at once in memory, soon on the disk.
    pub fn admit(&self, admission: Admission) {
        {
            let mut known = lock(&self.known);
            if known.get(&admission).is_some() {
                return;
            }
            insert(&mut known, admission.clone());
        }
        self.writer.put(admission);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        lock(&self.known).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until what was admitted so far is on the disk, at most `within`; whether in time.
    pub fn flush(&self, within: Duration) -> bool {
        self.writer.flush(within)
    }

    /// Whether admissions reach the disk.
    pub fn persistence(&self) -> Persistence {
        self.writer.persistence()
    }
}

/// The file, as the writing thread holds it.
struct Appender {
    path: PathBuf,
    state: StateDir,
    known: Arc<Mutex<Known>>,
    /// Whether memory holds what the file held: before that, the file is not written anew.
    was_read: bool,
    lines: usize,
    file: Option<File>,
}

impl Appender {
    /// Opens the file for appending, after its last whole line; writes it anew where it holds too
    /// many lines.
    fn reopen(&mut self) -> Result<(), String> {
        self.try_reopen().map_err(|error| {
            self.file = None;
            error.to_string()
        })
    }

    fn try_reopen(&mut self) -> io::Result<()> {
        if !self.was_read {
            self.learn()?;
        }
        if self.lines > MAX_LINES {
            self.rewrite()?;
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(file::MODE)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&self.path)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(file::MODE))?;
        let text = file::read(self.state.path(), NAME, MAX_BYTES)?.unwrap_or_default();
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(u64::try_from(whole).unwrap_or(0))?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// What the file holds, below what was admitted since.
    fn learn(&mut self) -> io::Result<()> {
        let text = file::read(self.state.path(), NAME, MAX_BYTES)?.unwrap_or_default();
        let (mut all, lines) = parse(&text);
        let mut known = lock(&self.known);
        let mut missing = 0;
        for (admission, ()) in known.iter() {
            missing += usize::from(all.get(admission).is_none());
            insert(&mut all, admission.clone());
        }
        *known = all;
        drop(known);
        self.lines = if missing == 0 { lines } else { usize::MAX };
        self.was_read = true;
        Ok(())
    }

    /// The whole memory as a new file.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        let lines = {
            let known = lock(&self.known);
            for (admission, ()) in known.iter() {
                line(admission, &mut text)?;
            }
            known.len()
        };
        file::write(self.state.path(), NAME, &text, Existing::Replace, &NoFaults)?;
        self.lines = lines;
        Ok(())
    }

    fn append(&mut self, changes: &[Admission]) -> io::Result<()> {
        let mut text = Vec::new();
        for admission in changes {
            line(admission, &mut text)?;
        }
        let file = self
            .file
            .as_mut()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        file.write_all(&text)?;
        file.sync_data()?;
        self.lines += changes.len();
        Ok(())
    }
}

impl Sink<Admission> for Appender {
    fn write(&mut self, changes: Vec<Admission>) -> Result<(), String> {
        if self.file.is_none() {
            return self.idle();
        }
        if let Err(error) = self.append(&changes) {
            // What was written may end in half a line; the next opening cuts it and, because the
            // file then lacks these lines, writes the memory anew.
            self.file = None;
            self.lines = usize::MAX;
            return Err(error.to_string());
        }
        if self.lines > MAX_LINES {
            return self.reopen();
        }
        Ok(())
    }

    fn idle(&mut self) -> Result<(), String> {
        if self.file.is_some() {
            return Ok(());
        }
        self.catch_up()
    }

    fn catch_up(&mut self) -> Result<(), String> {
        // Changes may have been lost: the file is written anew.
        self.file = None;
        self.lines = usize::MAX;
        self.reopen()
    }
}

fn empty() -> Known {
    Bounded::new(MAX, MAX_MEMORY)
}

fn insert(known: &mut Known, admission: Admission) {
    let bytes = admission.namespace.len() + admission.repository.len();
    known.insert(admission, bytes, ());
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The admissions of a file, and how many lines it has.
fn parse(text: &[u8]) -> (Known, usize) {
    let mut known = Bounded::new(MAX, MAX_MEMORY);
    let mut seen = HashSet::new();
    let mut lines = 0;
    let whole = text.split_inclusive(|byte| *byte == b'\n');
    for line in whole.filter_map(|line| line.strip_suffix(b"\n")) {
        lines += 1;
        if let Some(admission) = admission(line)
            && seen.insert(admission.clone())
        {
            insert(&mut known, admission);
        }
    }
    (known, lines)
}

fn admission(line: &[u8]) -> Option<Admission> {
    let line = std::str::from_utf8(line).ok()?;
    let (version, rest) = line.split_once(' ')?;
    let (sum, payload) = rest.split_once(' ')?;
    if version != VERSION || sum != checksum(payload.as_bytes()) {
        return None;
    }
    serde_json::from_str(payload).ok()
}

fn line(admission: &Admission, to: &mut Vec<u8>) -> io::Result<()> {
    let payload = serde_json::to_string(admission)?;
    writeln!(to, "{VERSION} {} {payload}", checksum(payload.as_bytes()))
}

fn checksum(payload: &[u8]) -> String {
    let mut hex = Digest::of(payload).hex();
    hex.truncate(SUM);
    hex
}

#[cfg(test)]
mod tests;
