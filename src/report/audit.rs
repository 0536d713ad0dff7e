//! The audit trail: one JSON line per gated call, written beside the decision.
//!
//! A thread of its own writes; a full queue or a full disk loses lines, counted, and never makes
//! a decision wait. Files are 0600 and rotated.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::outcome::{Image, Outcome, Pod, RuleHit};
use super::sink::LOOK;
use super::status::AuditStatus;
use super::text::{printable, rfc3339};
use crate::policy::Code;
use crate::time::Timestamp;

/// Name and version of the line format (docs/audit-log.md).
pub const AUDIT_SCHEMA: &str = "pullguard.audit/v2";

/// A file is set aside when the next line would make it larger than this (64 MiB).
pub const MAX_AUDIT_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Files that were set aside and are kept, beside the current one.
pub const MAX_AUDIT_FILES: usize = 7;

/// The file that is being written.
const CURRENT: &str = "audit.jsonl";

/// Lines that may wait for the disk; at 1 KiB a line, 4 MiB.
const QUEUE: usize = 4_096;

/// Between two tries to find a place in a full queue.
const PAUSE: Duration = Duration::from_millis(1);

/// A flush that was given up.
const LATE: &str = "the disk did not take the last lines";

/// The way to the audit thread.
#[derive(Debug)]
pub struct Audit {
    queue: SyncSender<Job>,
    state: Arc<Shared>,
    directory: PathBuf,
}

#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    dropped: AtomicU64,
    problem: Mutex<Option<String>>,
}

#[derive(Debug)]
enum Job {
    Line(String),
    Flush(SyncSender<()>),
}

impl Audit {
    /// Starts the thread that writes below `directory`.
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, MAX_AUDIT_FILE_BYTES)
    }

    pub(crate) fn start_with(directory: &Path, max_file_bytes: u64) -> Self {
        let (queue, jobs) = sync_channel(QUEUE);
        let state = Arc::new(Shared::default());
        let mut writer = Writer {
            directory: directory.to_path_buf(),
            max_file_bytes,
            open: None,
            state: state.clone(),
        };
        let started = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&jobs));
        if let Err(error) = started {
            // The receiver is gone with the closure, so every line will be counted as dropped.
            state.set_problem(Some(format!("cannot start the audit thread: {error}")));
        }
        Self {
            queue,
            state,
            directory: directory.to_path_buf(),
        }
    }

    /// Hands one line, without its end, to the thread. Never blocks.
    pub(crate) fn write(&self, line: String) {
        match self.queue.try_send(Job::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.state.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until what was handed in is written, at most `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let (done, wait) = sync_channel(1);
        let mut job = Job::Flush(done);
        // A full queue is what a flush is for: it waits for a place.
        loop {
            job = match self.queue.try_send(job) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(job)) => job,
            };
            if Instant::now() >= until {
                return self.state.set_problem(Some(LATE.to_owned()));
            }
            std::thread::sleep(PAUSE);
        }
        let left = until.saturating_duration_since(Instant::now());
        if wait.recv_timeout(left).is_err() {
            self.state.set_problem(Some(LATE.to_owned()));
        }
    }

    /// Lines written and lost since the start.
    pub(crate) fn status(&self) -> AuditStatus {
        AuditStatus {
            directory: self.directory.display().to_string(),
            written: self.state.written.load(Ordering::Relaxed),
            dropped: self.state.dropped.load(Ordering::Relaxed),
            problem: self
                .state
                .problem
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

impl Shared {
    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

struct Writer {
    directory: PathBuf,
    max_file_bytes: u64,
    open: Option<Open>,
    state: Arc<Shared>,
}

struct Open {
    file: File,
    length: u64,
}

impl Writer {
    fn run(&mut self, jobs: &Receiver<Job>) {
        while let Some(job) = next(jobs) {
            match job {
                Job::Line(mut line) => {
                    line.push('\n');
                    match self.append(line.as_bytes()) {
                        Ok(()) => {
                            self.state.written.fetch_add(1, Ordering::Relaxed);
                            self.state.set_problem(None);
                        }
                        Err(error) => {
                            self.open = None;
                            self.state.dropped.fetch_add(1, Ordering::Relaxed);
                            self.state.set_problem(Some(error.to_string()));
                        }
                    }
                }
                Job::Flush(done) => {
                    // Whoever waited may have lost patience.
                    done.try_send(()).unwrap_or_default();
                }
            }
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let full = self.open.as_ref().is_some_and(|open| {
            open.length > 0 && open.length.saturating_add(bytes) > self.max_file_bytes
        });
        if full {
            self.open = None;
            rotate(&self.directory)?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => open_current(&self.directory)?,
        };
        if let Err(error) = open.file.write_all(line) {
            // Half a line would spoil the one after it.
            open.file.set_len(open.length).unwrap_or_default();
            return Err(error);
        }
        open.length = open.length.saturating_add(bytes);
        self.open = Some(open);
        Ok(())
    }
}

/// The next job; `None` when nobody is left who could hand one in. After the last one that is here
/// the thread looks away for a moment: waking up for each line would cost the decision that made it.
fn next(jobs: &Receiver<Job>) -> Option<Job> {
    match jobs.try_recv() {
        Ok(job) => Some(job),
        Err(TryRecvError::Disconnected) => None,
        Err(TryRecvError::Empty) => {
            std::thread::sleep(LOOK);
            jobs.recv().ok()
        }
    }
}

fn open_current(directory: &Path) -> io::Result<Open> {
    if directory.is_dir() {
        tighten(directory)?;
    } else {
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(directory)?;
    }
    let mut file = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(directory.join(CURRENT))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let length = end_last_line(&mut file)?;
    Ok(Open { file, length })
}

/// Files of before are for root alone, and so is a directory that holds nothing else. One that others
/// share (`/var/log`) keeps its mode: taking it from them would break the node.
fn tighten(directory: &Path) -> io::Result<()> {
    let mut is_shared = false;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            name == CURRENT || (name.starts_with("audit-") && name.ends_with(".jsonl"))
        });
        if is_ours && entry.file_type()?.is_file() {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o600))?;
        }
        is_shared |= !is_ours;
    }
    if !is_shared {
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// A crash of the machine can leave half a line at the end: it is closed, so that it spoils no
/// other.
fn end_last_line(file: &mut File) -> io::Result<u64> {
    use std::os::unix::fs::FileExt;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last == *b"\n" {
        return Ok(length);
    }
    file.write_all(b"\n")?;
    Ok(length + 1)
}

/// Sets the current file aside as `audit-<number>.jsonl`, counting up, and removes the oldest ones
/// beyond [`MAX_AUDIT_FILES`].
fn rotate(directory: &Path) -> io::Result<()> {
    let mut kept = set_aside(directory)?;
    kept.sort_unstable();
    let next = kept.last().map_or(1, |last| last + 1);
    fs::rename(directory.join(CURRENT), directory.join(aside(next)))?;
    kept.push(next);
    let surplus = kept.len().saturating_sub(MAX_AUDIT_FILES);
    for number in kept.into_iter().take(surplus) {
        fs::remove_file(directory.join(aside(number)))?;
    }
    Ok(())
}

fn set_aside(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".jsonl"))
            .and_then(|number| number.parse().ok());
        numbers.extend(number);
    }
    Ok(numbers)
}

fn aside(number: u64) -> String {
    format!("audit-{number:08}.jsonl")
}

#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    time: String,
    node: &'a str,
    rpc: &'static str,
    verdict: &'static str,
    ending: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    pod: PodLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    image: ImageLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    edit: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hits: Vec<HitLine<'a>>,
    duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<PeerLine>,
}

#[derive(Serialize)]
pub(super) struct PodLine {
    namespace: String,
    name: String,
    uid: String,
}

#[derive(Serialize)]
pub(super) struct ImageLine {
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

#[derive(Serialize)]
pub(super) struct HitLine<'a> {
    policy: &'a str,
    rule: &'a str,
    action: &'static str,
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<&'a str>,
}

#[derive(Serialize)]
struct PeerLine {
    uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
}

impl PodLine {
    pub(super) fn of(pod: &Pod) -> Self {
        Self {
            namespace: safe(&pod.namespace),
            name: safe(&pod.name),
            uid: safe(&pod.uid),
        }
    }
}

impl ImageLine {
    pub(super) fn of(image: &Image) -> Self {
        Self {
            reference: image.reference.as_deref().map(safe),
            id: image.id.as_deref().map(safe),
            digest: image.digest.as_deref().map(safe),
        }
    }
}

pub(super) fn hit_lines(hits: &[RuleHit]) -> Vec<HitLine<'_>> {
    hits.iter()
        .map(|hit| HitLine {
            policy: &hit.policy,
            rule: &hit.rule,
            action: hit.action.as_str(),
            effect: hit.effect.as_str(),
            code: hit.code.map(Code::as_str),
            exception: hit.exception.as_deref(),
        })
        .collect()
}

pub(super) fn safe(text: &str) -> String {
    printable(text).into_owned()
}

/// The audit line of an outcome, without its end.
pub(crate) fn line(outcome: &Outcome, node: &str, now: Timestamp) -> String {
    let line = Line {
        schema: AUDIT_SCHEMA,
        time: rfc3339(now),
        node,
        rpc: outcome.rpc,
        verdict: outcome.verdict.as_str(),
        ending: outcome.ending.as_str(),
        code: outcome.code.map(|code| code.as_str()),
        policy: outcome.rule.as_ref().map(|(policy, _)| policy.as_str()),
        rule: outcome.rule.as_ref().map(|(_, rule)| rule.as_str()),
        policy_version: outcome.policy_version.as_deref(),
        text: outcome.text.as_deref().map(safe),
        pod: PodLine::of(&outcome.pod),
        container: outcome.container.as_deref().map(safe),
        image: ImageLine::of(&outcome.image),
        edit: outcome.edit.as_deref().map(safe),
        hits: hit_lines(&outcome.hits),
        duration_us: u64::try_from(outcome.duration.as_micros()).unwrap_or(u64::MAX),
        peer: outcome.peer.map(|peer| PeerLine {
            uid: peer.uid,
            pid: peer.pid,
        }),
    };
    // Strings, numbers and no maps: serialising this cannot fail.
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests;
