//! Medians of per-round ratios, with bootstrap intervals, as a Markdown table.

use std::fmt::Write;
use std::time::Duration;

use crate::daemon::{Daemon, Pair};
use crate::load::{Case, Slice};
use crate::{Memory, TARGETS};

const DIRECT: usize = 0;
const SPLICE: usize = 1;
const RELAY: usize = 2;
const AGAIN: usize = 3;

/// The slices of one round, by target.
pub(crate) struct Round(pub(crate) Vec<Slice>);

/// All rounds of one case.
pub(crate) struct Series {
    case: Case,
    pub(crate) rounds: Vec<Round>,
    /// Slices kept although others were busy.
    pub(crate) noisy: usize,
}

impl Series {
    pub(crate) fn new(case: Case) -> Self {
        Self {
            case,
            rounds: Vec::new(),
            noisy: 0,
        }
    }

    fn each(&self, value: impl Fn(&[Slice]) -> f64) -> Estimate {
        Estimate::of(self.rounds.iter().map(|round| value(&round.0)).collect())
    }
}

/// A median and its 95 % interval.
struct Estimate {
    median: f64,
    low: f64,
    high: f64,
}

impl Estimate {
    fn of(values: Vec<f64>) -> Self {
        let mut dice = Dice::new();
        let mut medians: Vec<f64> = (0..2000)
            .map(|_| {
                let drawn = (0..values.len())
                    .map(|_| values[dice.below(values.len())])
                    .collect();
                median(drawn)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        Self {
            median: median(values),
            low: medians[50],
            high: medians[1949],
        }
    }

    fn ratio(&self) -> String {
        format!("{:.2} [{:.2}, {:.2}]", self.median, self.low, self.high)
    }

    fn micros(&self) -> String {
        let [median, low, high] = [self.median, self.low, self.high].map(|value| value * 1e6);
        format!("{median:.0} [{low:.0}, {high:.0}]")
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// The same draws in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            order.swap(last, self.below(last + 1));
        }
    }
}

pub(crate) fn render(
    series: &[Series],
    memory: &Memory,
    daemon: &Daemon,
    took: Duration,
) -> String {
    let mut out = String::new();
    machine(&mut out, series, took).unwrap();
    times(&mut out, series).unwrap();
    goals(&mut out, series, memory, daemon).unwrap();
    out + &render_daemon(daemon)
}

pub(crate) fn render_daemon(daemon: &Daemon) -> String {
    let mut out = String::new();
    gated(&mut out, daemon).unwrap();
    out
}

fn machine(out: &mut String, series: &[Series], took: Duration) -> std::fmt::Result {
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let rounds = series.first().map_or(0, |series| series.rounds.len());
    let slices = series.len() * rounds * TARGETS.len();
    let noisy: usize = series.iter().map(|series| series.noisy).sum();
    writeln!(
        out,
        "{processors} processors, {rounds} rounds, {:.0} s. Slices kept with other processes \
         busy: {noisy} of {slices}.\nEach figure is the median over rounds, with its bootstrap \
         95 % interval; a ratio is taken within a round.\n",
        took.as_secs_f64()
    )
}

fn times(out: &mut String, series: &[Series]) -> std::fmt::Result {
    writeln!(
        out,
        "| case | target | p50, µs | p50 / splice | p99 / direct | CPU per call, µs |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for series in series {
        for (index, target) in TARGETS.iter().enumerate() {
            writeln!(
                out,
                "| {} | {target} | {} | {} | {} | {} |",
                series.case.name,
                series.each(|round| round[index].p50).micros(),
                series
                    .each(|round| round[index].p50 / round[SPLICE].p50)
                    .ratio(),
                series
                    .each(|round| round[index].p99 / round[DIRECT].p99)
                    .ratio(),
                series.each(|round| round[index].cpu).micros(),
            )?;
        }
    }
    writeln!(out)
}

/// The goals, each with what was measured for it.
fn goals(
    out: &mut String,
    series: &[Series],
    memory: &Memory,
    daemon: &Daemon,
) -> std::fmt::Result {
    let [unary, parallel, list, stream, carried, gated] = series else {
        panic!("six cases")
    };
    let over_splice = |series: &Series| {
        series
            .each(|round| round[RELAY].p50 / round[SPLICE].p50)
            .ratio()
    };
    let again = |series: &Series| {
        series
            .each(|round| round[AGAIN].p50 / round[RELAY].p50)
            .ratio()
    };
    let added = Estimate::of(
        carried
            .rounds
            .iter()
            .zip(&gated.rounds)
            .map(|(carried, gated)| gated.0[RELAY].p50 - carried.0[RELAY].p50)
            .collect(),
    );
    let tail = unary
        .each(|round| round[RELAY].p99 / round[DIRECT].p99)
        .ratio();
    let worst = daemon
        .pairs
        .iter()
        .map(|pair| (over_carried(pair), pair.name))
        .max_by(|(one, _), (other, _)| one.median.total_cmp(&other.median));
    let worst = worst.map_or_else(String::new, |(estimate, name)| {
        format!("{}: {name}", estimate.micros())
    });
    writeln!(out, "| goal | wanted | measured | relay again / relay |")?;
    writeln!(out, "|---|---|---|---|")?;
    let rows = [
        (
            "G1 unary c=1, p50 / splice",
            "1.20",
            over_splice(unary),
            again(unary),
        ),
        (
            "G2 unary c=16, p50 / splice",
            "1.5",
            over_splice(parallel),
            again(parallel),
        ),
        (
            "G3 list 300 KB, p50 / splice",
            "1.25",
            over_splice(list),
            again(list),
        ),
        (
            "G4 stream of 500, p50 / splice",
            "1.35",
            over_splice(stream),
            again(stream),
        ),
        ("G5 unary c=1, p99 / direct", "1.6", tail, String::new()),
        (
            "G8 the daemon's dearest gated call over carried, p50, µs",
            "40",
            worst,
            String::new(),
        ),
        (
            "of it, the way to a gate that permits at once, p50, µs",
            "",
            added.micros(),
            again(gated),
        ),
        (
            "idle daemon, resident",
            "25 MiB",
            mib(&daemon.idle),
            String::new(),
        ),
        (
            "daemon's peak at 16 lists of 12 MB",
            "40 MiB",
            mib(&daemon.lists),
            String::new(),
        ),
        (
            "of it, the relay alone: idle",
            "",
            mib(&memory.idle),
            String::new(),
        ),
        (
            "of it, the relay alone: peak",
            "",
            mib(&memory.lists),
            String::new(),
        ),
    ];
    for (goal, wanted, measured, again) in rows {
        writeln!(out, "| {goal} | {wanted} | {measured} | {again} |")?;
    }
    Ok(())
}

/// The least and the most of several processes.
fn mib(kib: &[u64]) -> String {
    let of = |kib: Option<&u64>| kib.map_or(f64::NAN, |kib| *kib as f64 / 1024.0);
    format!(
        "{:.1} to {:.1} MiB",
        of(kib.iter().min()),
        of(kib.iter().max())
    )
}

/// What a gated call costs over a carried one of the same bytes, seconds.
fn over_carried(pair: &Pair) -> Estimate {
    let rounds = pair.rounds.iter();
    Estimate::of(
        rounds
            .map(|(carried, gated)| gated.p50 - carried.p50)
            .collect(),
    )
}

/// The built daemon: each gated call beside a carried one of the same bytes, in the same round.
fn gated(out: &mut String, daemon: &Daemon) -> std::fmt::Result {
    writeln!(
        out,
        "\nThe daemon, policy in force, all facts in memory; slices kept with other processes busy: {} of {}.\n",
        daemon.noisy, daemon.slices
    )?;
    writeln!(
        out,
        "| call | carried p50, µs | gated p50, µs | gated over carried (wanted 40), µs | p99, µs |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for pair in &daemon.pairs {
        let of = |value: fn(&(Slice, Slice)) -> f64| {
            Estimate::of(pair.rounds.iter().map(value).collect()).micros()
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            pair.name,
            of(|(carried, _)| carried.p50),
            of(|(_, gated)| gated.p50),
            over_carried(pair).micros(),
            of(|(_, gated)| gated.p99),
        )?;
    }
    writeln!(out, "\n| memory of the daemon | wanted | measured |")?;
    writeln!(out, "|---|---|---|")?;
    writeln!(out, "| idle, resident | 25 MiB | {} |", mib(&daemon.idle))?;
    writeln!(
        out,
        "| peak at 16 lists of 12 MB | 40 MiB | {} |",
        mib(&daemon.lists)
    )
}
