//! Log events: to the journal if the daemon runs under systemd, else lines on standard error.
//! Formatted where they arise, written by the log's own thread.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::journal::Journal;
use super::outcome::{Outcome, Verdict};
use super::sink::Sink;
use super::text::{one_line, printable};
use crate::policy::Code;

/// Whether events go to the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Journald {
    /// If standard error is the journal (`JOURNAL_STREAM`, systemd.exec(5)).
    Auto,
    /// Yes; standard error is used if there is no journal.
    Always,
    /// No: standard error.
    Never,
}

/// Severity of log events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The guard's own failures.
    Error,
    /// What an operator should look at.
    Warn,
    /// Denials and changes of state.
    Info,
    /// Every decision, also what was allowed.
    Debug,
    /// Every call.
    Trace,
}

/// How lines on standard error look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Plain,
}

/// The log of this process, once it is started.
static SINK: OnceLock<Sink> = OnceLock::new();

/// Starts the log of this process. A second call changes nothing.
pub fn start_log(journald: Journald, level: Level, format: LogFormat) {
    let wanted = match journald {
        Journald::Auto => stderr_is_journal(),
        Journald::Always => true,
        Journald::Never => false,
    };
    let journal = wanted.then(Journal::writer).and_then(Result::ok);
    let registry = tracing_subscriber::registry().with(filter(level));
    // A log that was started already stays, which is what the caller wants.
    let started = match (journal, format) {
        (Some(write), _) => {
            let sink = SINK.get_or_init(|| Sink::start(write));
            registry.with(Journal::new(sink.clone())).try_init()
        }
        (None, LogFormat::Json) => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_writer(Lines(stderr_sink())),
            )
            .try_init(),
        (None, LogFormat::Plain) => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .with_writer(Lines(stderr_sink())),
            )
            .try_init(),
    };
    started.unwrap_or_default();
}

fn stderr_sink() -> Sink {
    let start = || Sink::start(|line| io::stderr().lock().write_all(line));
    SINK.get_or_init(start).clone()
}

/// Waits until every event so far is written, at most `patience`: for the end of the process.
pub fn flush_log(patience: Duration) {
    if let Some(sink) = SINK.get() {
        // Whoever does not read cannot be told either.
        let _all_of_it: bool = sink.flush(patience);
    }
}

/// Events lost so far, because nobody took them.
pub(crate) fn log_dropped() -> u64 {
    SINK.get().map_or(0, Sink::dropped)
}

/// The guard's own events by `level`; of the libraries below it only what an operator should look
/// at, or the frames of each connection would drown the decisions.
fn filter(level: Level) -> Targets {
    let own = least(level);
    Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("pullguard", own)
}

fn least(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

/// systemd.exec(5): `JOURNAL_STREAM` holds device and inode of the stream, which a child with a
/// redirected standard error must compare.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(facts) = nix::sys::stat::fstat(io::stderr()) else {
        return false;
    };
    stream == format!("{}:{}", facts.st_dev, facts.st_ino)
}

/// Hands over each event as one line, whatever it holds.
#[derive(Clone, Debug)]
struct Lines(Sink);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The formatter hands over a whole event at a time.
        self.0.push(one_line(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! decision {
    ($level:ident, $outcome:ident) => {{
        let (policy, rule) = $outcome
            .rule
            .as_ref()
            .map_or(("", ""), |(policy, rule)| (policy.as_str(), rule.as_str()));
        tracing::$level!(
            rpc = $outcome.rpc,
            verdict = $outcome.verdict.as_str(),
            ending = $outcome.ending.as_str(),
            code = $outcome.code.map_or("", Code::as_str),
            policy,
            rule,
            policy.version = $outcome.policy_version.as_deref().unwrap_or(""),
            pod.namespace = %printable(&$outcome.pod.namespace),
            pod.name = %printable(&$outcome.pod.name),
            pod.uid = %printable(&$outcome.pod.uid),
            container = %optional(&$outcome.container),
            image.ref = %optional(&$outcome.image.reference),
            image.id = %optional(&$outcome.image.id),
            image.digest = %optional(&$outcome.image.digest),
            edit = %optional(&$outcome.edit),
            hits = $outcome.hits.len(),
            duration_us = u64::try_from($outcome.duration.as_micros()).unwrap_or(u64::MAX),
            "{}",
            message($outcome)
        )
    }};
}

/// The one event of a gated call: our own failure is `error`, the rest `info`.
pub(crate) fn event(outcome: &Outcome) {
    if outcome.code == Some(Code::Internal) {
        return decision!(error, outcome);
    }
    match outcome.verdict {
        Verdict::Allowed => decision!(info, outcome),
        Verdict::AllowedUnverified
        | Verdict::WouldDeny
        | Verdict::Warned
        | Verdict::Denied
        | Verdict::Undecided => decision!(info, outcome),
    }
}

fn message(outcome: &Outcome) -> String {
    let head = format!("{} {}", outcome.rpc, outcome.verdict.as_str());
    match &outcome.text {
        Some(text) => format!("{head}: {}", printable(text)),
        None => head,
    }
}

fn optional(text: &Option<String>) -> std::borrow::Cow<'_, str> {
    printable(text.as_deref().unwrap_or(""))
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Panics of this process so far.
pub(crate) fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Counts panics and says them in one line of the log. The call in which one happens is refused
/// by its own task; the daemon goes on (docs/decisions/0008).
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        let place = panic.location().map_or_else(String::new, |place| {
            format!("{}:{}", place.file(), place.line())
        });
        let what = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(place, "the guard failed: {}", printable(what));
    }));
}
