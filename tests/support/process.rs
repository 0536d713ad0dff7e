//! A child process with a log file, ended by its own pid.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::try_until;

/// A running program. Dropping it ends it: SIGTERM, and SIGKILL if that did not help within five seconds.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts `command` with its output appended to `log`. Standard input is closed unless the command sets it.
    pub fn start(name: &str, log: &Path, command: &mut Command) -> Self {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("open the log");
        let err = out.try_clone().expect("share the log");
        let child = command
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child: Some(child),
        }
    }

    /// Starts `command` as [`Process::start`] does, with `/dev/null` as its standard input.
    pub fn start_detached(name: &str, log: &Path, command: &mut Command) -> Self {
        Self::start(name, log, command.stdin(Stdio::null()))
    }

    /// The pid; panics when the process was ended.
    pub fn pid(&self) -> u32 {
        self.child
            .as_ref()
            .unwrap_or_else(|| panic!("{} is not running", self.name))
            .id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        read_lossy(&self.log)
    }

    /// Whether it ended by itself, as a sentence; for readiness loops, so that they give up with the reason.
    pub fn assert_running(&mut self) {
        let Some(child) = self.child.as_mut() else {
            panic!("{} is not running", self.name)
        };
        if let Some(status) = child.try_wait().expect("ask for the child") {
            panic!("{} ended: {status}\n{}", self.name, tail(&self.log, 40));
        }
    }

    /// SIGTERM, then up to `limit` for the end, then SIGKILL. True if it went by itself.
    pub fn terminate(&mut self, limit: Duration) -> bool {
        self.end(Signal::SIGTERM, limit)
    }

    /// SIGKILL, and waits for the end.
    pub fn kill9(&mut self) {
        self.end(Signal::SIGKILL, Duration::from_secs(10));
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill(self.nix_pid(), signal)
            .unwrap_or_else(|error| panic!("signal {}: {error}", self.name));
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid()).expect("a pid is an i32"))
    }

    fn end(&mut self, signal: Signal, limit: Duration) -> bool {
        let Some(mut child) = self.child.take() else {
            return true;
        };
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            return true;
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid is an i32"));
        // The child is not reaped yet, so the pid is still its own.
        kill(pid, signal).ok();
        let ended = try_until(limit, || match child.try_wait() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("still running".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        if ended.is_err() {
            drop(child.kill());
            drop(child.wait());
        }
        ended.is_ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate(Duration::from_secs(5));
    }
}

/// Runs a short command to its end and gives its standard output; panics with its own words when it fails.
pub fn run(command: &mut Command) -> String {
    match try_run(command) {
        Ok(text) => text,
        Err(reason) => panic!("{reason}"),
    }
}

/// As [`run`], but hands back the failure.
pub fn try_run(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "{command:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

/// A file's text, empty if it is not there.
pub fn read_lossy(path: &Path) -> String {
    fs::read(path).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// The last lines of a file.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = read_lossy(path);
    let all: Vec<&str> = text.lines().collect();
    all.iter()
        .skip(all.len().saturating_sub(lines))
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
}

/// How many threads of a process are not stopped (proc_pid_stat(5): the state is `T`).
pub fn running_threads(pid: u32) -> usize {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok())
        .filter(|stat| {
            let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            !after_name.starts_with('T')
        })
        .count()
}
