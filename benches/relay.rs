//! What the guard costs: `cargo bench --bench relay`, about two minutes.
//!
//! Four targets answer the same calls in one interleaved run: the fake runtime itself (direct), a
//! byte splice in front of it (the floor), the relay, and the relay once more (what differs
//! between the two is noise). Then the built daemon, with a policy in force and everything that a
//! decision needs in its memory: each gated call beside a carried one of the same bytes. Every
//! process but the load and the daemon is this binary in a role.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::as_conversions,
    reason = "a benchmark prints, and stops at the first surprise"
)]

#[path = "relay/cpu.rs"]
mod cpu;
#[path = "relay/daemon.rs"]
mod daemon;
#[path = "relay/gate.rs"]
mod gate;
#[path = "relay/load.rs"]
mod load;
#[path = "relay/peers.rs"]
mod peers;
#[path = "relay/report.rs"]
mod report;
#[path = "relay/runtime.rs"]
mod runtime;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use load::{CASES, Case, Connection, Slice};
use peers::{Child, Role};
use report::{Round, Series};

/// One slice of one case on one target.
pub(crate) const SLICE: Duration = Duration::from_millis(150);
/// The whole latency part; a started round is finished.
const BUDGET: Duration = Duration::from_secs(75);
const ROUNDS: usize = 15;
/// A slice during which other processes used more than this share of one processor is done again,
/// at most twice.
pub(crate) const MAX_FOREIGN: f64 = 0.05;

/// Fresh processes that memory is read from: one alone says little.
pub(crate) const FRESH: usize = 3;

const TARGETS: [&str; 4] = ["direct", "splice", "relay", "relay (again)"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(role) = Role::from_arguments(&arguments) {
        return role.run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // `cargo bench -- daemon` measures the daemon alone.
    if arguments.iter().any(|word| word == "daemon") {
        runtime.block_on(daemon_alone());
    } else {
        runtime.block_on(coordinate());
    }
}

/// The sockets and processes of one run.
pub(crate) struct Stage {
    _directory: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) runtime: Child,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let runtime = Child::start(&Role::Runtime {
            listen: path.join("runtime"),
        });
        Self {
            _directory: directory,
            path,
            runtime,
        }
    }

    pub(crate) fn upstream(&self) -> PathBuf {
        self.path.join("runtime")
    }

    fn splice(&self) -> Child {
        Child::start(&Role::Splice {
            listen: self.path.join("splice"),
            upstream: self.upstream(),
        })
    }

    fn relay(&self, name: &str) -> Child {
        Child::start(&Role::Relay {
            listen: self.path.join(name),
            upstream: self.upstream(),
        })
    }
}

async fn daemon_alone() {
    let stage = Stage::new();
    let daemon = daemon::measure(&stage).await;
    println!("{}", report::render_daemon(&daemon));
}

async fn coordinate() {
    let begin = Instant::now();
    let stage = Stage::new();
    let splice = stage.splice();
    let relays = [stage.relay("relay-a"), stage.relay("relay-b")];
    let sockets = [
        stage.upstream(),
        splice.socket(),
        relays[0].socket(),
        relays[1].socket(),
    ];
    let pids = [
        stage.runtime.id(),
        splice.id(),
        relays[0].id(),
        relays[1].id(),
    ];
    let series = latencies(&sockets, &pids).await;
    drop((splice, relays));
    let memory = memory(&stage).await;
    let daemon = daemon::measure(&stage).await;
    println!(
        "{}",
        report::render(&series, &memory, &daemon, begin.elapsed())
    );
}

async fn latencies(sockets: &[PathBuf; 4], pids: &[u32; 4]) -> Vec<Series> {
    let mut connections = Vec::new();
    for socket in sockets {
        let connection = Connection::open(socket).await;
        for case in CASES {
            connection.slice(case, Duration::from_millis(30)).await;
        }
        connections.push(connection);
    }
    let mut series: Vec<Series> = CASES.iter().map(|&case| Series::new(case)).collect();
    let mut order: Vec<usize> = (0..TARGETS.len()).collect();
    let mut dice = report::Dice::new();
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        if begin.elapsed() > BUDGET {
            break;
        }
        for (case, series) in CASES.iter().zip(&mut series) {
            dice.shuffle(&mut order);
            let mut round: Vec<Option<Slice>> = vec![None; TARGETS.len()];
            for &target in &order {
                let measured = quiet_slice(&connections[target], *case, pids[target], pids).await;
                series.noisy += usize::from(measured.foreign > MAX_FOREIGN);
                round[target] = Some(measured);
            }
            let round: Vec<Slice> = round.into_iter().map(|slice| slice.unwrap()).collect();
            series.rounds.push(Round(round));
        }
    }
    series
}

/// One slice, done again while others are busy.
async fn quiet_slice(connection: &Connection, case: Case, pid: u32, ours: &[u32; 4]) -> Slice {
    let mut best: Option<Slice> = None;
    for _ in 0..3 {
        let foreign = cpu::foreign(ours);
        let own = cpu::of(pid);
        let begin = Instant::now();
        let mut slice = connection.slice(case, SLICE).await;
        let wall = begin.elapsed().as_secs_f64();
        slice.cpu = cpu::of(pid).saturating_sub(own).as_secs_f64() / slice.calls as f64;
        slice.foreign = cpu::since(&foreign, ours).as_secs_f64() / wall;
        if best
            .as_ref()
            .is_none_or(|best| slice.foreign < best.foreign)
        {
            best = Some(slice);
        }
        if best
            .as_ref()
            .is_some_and(|best| best.foreign <= MAX_FOREIGN)
        {
            break;
        }
    }
    best.unwrap()
}

/// Memory of fresh relays.
pub(crate) struct Memory {
    /// KiB resident after one call, of each.
    pub(crate) idle: Vec<u64>,
    /// KiB resident at most, after 16 lists of 12 MB at once, of each.
    pub(crate) lists: Vec<u64>,
}

async fn memory(stage: &Stage) -> Memory {
    let (mut idle, mut lists) = (Vec::new(), Vec::new());
    for number in 0..FRESH {
        let relay = stage.relay(&format!("relay-memory-{number}"));
        let connection = Connection::open(&relay.socket()).await;
        connection.call("/bench/Unary", &[0; 30]).await;
        idle.push(status(relay.id(), "VmRSS:"));
        connection.at_once("/bench/Huge", 16).await;
        lists.push(status(relay.id(), "VmHWM:"));
    }
    Memory { idle, lists }
}

/// A figure of a process in KiB.
pub(crate) fn status(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let text = text.expect("the process is alive");
    let line = text
        .lines()
        .find(|line| line.starts_with(key))
        .expect("the kernel tells memory");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
