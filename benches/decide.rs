//! What a decision costs by itself: `cargo bench --bench decide`, about five seconds once it is built.
//!
//! A CreateContainer of 10 KB under 1,000 rules in ten policies, every fact in memory: no socket, no
//! file, no other process. Every rule holds, so that each is judged to its end. Then 1,000 rules of
//! one key alone, key by key, beside a policy without one, in the same round. With `--write` the
//! tables go into docs/performance.md, between their own marks.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::as_conversions,
    reason = "a benchmark prints, and stops at the first surprise"
)]

#[path = "decide/facts.rs"]
mod facts;
#[path = "decide/rules.rs"]
mod rules;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use pullguard::request::{GatedMethod, Request, Tolerated, decode};

use pullguard::time::Timestamp;

use facts::Facts;
use rules::{KEYS, RULES};

/// Time plays no part here.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_780_272_000);

/// How many decisions the percentiles are of.
const RUNS: usize = 20_000;
/// Rounds of the table of keys, and decisions of one key in a round.
const ROUNDS: usize = 9;
const EACH: usize = 25;
/// p99 that is wanted of a decision.
const WANTED: Duration = Duration::from_millis(1);

const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- decide: begin -->\n";
const END: &str = "<!-- decide: end -->";

fn main() {
    let facts = Facts::new();
    let mut out = String::new();
    whole(&facts, &mut out);
    by_key(&facts, &mut out);
    println!("{out}");
    if std::env::args().any(|word| word == "--write") {
        let page = std::fs::read_to_string(PAGE).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        std::fs::write(PAGE, format!("{before}{BEGIN}{out}{END}{after}")).unwrap();
    }
}

/// Decoding, deciding and both, one after the other in every run.
fn whole(facts: &Facts, out: &mut String) {
    let policy = rules::compile(&rules::mixed());
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..RUNS {
        let begin = Instant::now();
        let ask = ask(&facts.bytes);
        let decoded = begin.elapsed();
        let begin = Instant::now();
        let judged = facts.judge(&policy, &ask);
        let decided = begin.elapsed();
        assert!(judged.verdict.is_ok(), "{:?}", judged.verdict);
        for (list, time) in times.iter_mut().zip([decoded, decided, decoded + decided]) {
            list.push(time);
        }
    }
    let decode = sorted(&times[0]);
    writeln!(
        out,
        "A CreateContainer of {} bytes, {RULES} rules in ten policies, {RUNS} runs. p99 of deciding is wanted below {} ms.\n",
        facts.bytes.len(),
        WANTED.as_millis()
    )
    .unwrap();
    writeln!(
        out,
        "| what | p50, µs | p99, µs | max, µs | p50 / p50 of decoding | p99 / p50 |"
    )
    .unwrap();
    writeln!(out, "|---|---|---|---|---|---|").unwrap();
    for (name, list) in ["decode the request", "decide", "both"].iter().zip(&times) {
        let list = sorted(list);
        writeln!(
            out,
            "| {name} | {} | {} | {} | {:.1} | {:.2} |",
            micros(at(&list, 50)),
            micros(at(&list, 99)),
            micros(at(&list, 100)),
            at(&list, 50).as_secs_f64() / at(&decode, 50).as_secs_f64(),
            at(&list, 99).as_secs_f64() / at(&list, 50).as_secs_f64(),
        )
        .unwrap();
    }
}

/// Per key: what 1,000 rules of it cost over a policy with one, in the same round.
fn by_key(facts: &Facts, out: &mut String) {
    let ask = ask(&facts.bytes);
    let none = rules::compile(&rules::of_key(KEYS[0].1, 1));
    let policies: Vec<_> = KEYS
        .iter()
        .map(|(_, check)| rules::compile(&rules::of_key(check, RULES)))
        .collect();
    let run = |policy| {
        let begin = Instant::now();
        for _ in 0..EACH {
            let judged = black_box(facts.judge(black_box(policy), &ask));
            assert!(judged.verdict.is_ok(), "{:?}", judged.verdict);
        }
        begin.elapsed().as_secs_f64() / EACH as f64
    };
    let mut costs = vec![Vec::new(); KEYS.len()];
    for _ in 0..ROUNDS {
        for (policy, costs) in policies.iter().zip(&mut costs) {
            let base = run(&none);
            costs.push((run(policy) - base) * 1e9 / RULES as f64);
        }
    }
    let median = |list: &Vec<f64>| {
        let mut list = list.clone();
        list.sort_by(f64::total_cmp);
        (list[list.len() / 2], list[0], list[list.len() - 1])
    };
    let all: Vec<_> = costs.iter().map(median).collect();
    let mean = all.iter().map(|(middle, ..)| middle).sum::<f64>() / all.len() as f64;
    writeln!(
        out,
        "\nOne rule of a key, over {RULES} of them: median of {ROUNDS} rounds, least and most; beside the mean of all keys.\n"
    )
    .unwrap();
    writeln!(out, "| key | ns per rule | over the mean |").unwrap();
    writeln!(out, "|---|---|---|").unwrap();
    for ((name, _), (middle, least, most)) in KEYS.iter().zip(&all) {
        writeln!(
            out,
            "| {name} | {middle:.0} [{least:.0}, {most:.0}] | {:.2} |",
            middle / mean
        )
        .unwrap();
    }
}

fn ask(bytes: &[u8]) -> Box<pullguard::request::CreateAsk> {
    let decoded = decode(GatedMethod::CreateContainer, bytes, &Tolerated::none());
    match decoded.map(|one| one.request) {
        Ok(Request::Create(ask)) => ask,
        other => panic!("{other:?}"),
    }
}

fn sorted(list: &[Duration]) -> Vec<Duration> {
    let mut list = list.to_vec();
    list.sort();
    list
}

/// A percentile of a sorted list.
fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted[((sorted.len() - 1) * percent) / 100]
}

fn micros(time: Duration) -> String {
    format!("{:.0}", time.as_secs_f64() * 1e6)
}
