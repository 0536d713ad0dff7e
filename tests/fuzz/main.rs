//! The fuzz targets of fuzz/, driven in this process by a stable toolchain: seeds, recorded requests
//! and what was found before, changed at random. What a target says of an input stands in for
//! coverage: an input of which something new is said is kept and changed further.
//!
//! Without `FUZZ_SECONDS` each target has its seeds and a fixed number of inputs, always the same;
//! with it, so many seconds, and keeps what it finds in fuzz/corpus. `FUZZ_SEED` picks other inputs.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::tests_outside_test_module,
    reason = "a test says why it failed by panicking; integration tests have no test module"
)]

#[path = "../../fuzz/targets/decide_everything.rs"]
mod decide_everything;
#[path = "../../fuzz/targets/decode_request.rs"]
mod decode_request;
#[path = "../../fuzz/targets/hosts_toml.rs"]
mod hosts_toml;
#[path = "../../fuzz/targets/image_reference.rs"]
mod image_reference;
#[path = "../../fuzz/targets/manifest.rs"]
mod manifest;
mod mutate;
#[path = "../../fuzz/targets/pattern.rs"]
mod pattern;
#[path = "../../fuzz/targets/plan_never_permits_unproven.rs"]
mod plan_never_permits_unproven;
#[path = "../../fuzz/targets/policy_document.rs"]
mod policy_document;
#[path = "../spec_verdict/random.rs"]
mod random;
mod recorded;
mod text;
mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pullguard::image::Digest;

use mutate::Shape;
use random::Random;

/// Inputs of a target where no time is set.
const INPUTS: u64 = 1_500;
/// Inputs that are kept in memory.
const KEPT: usize = 4_096;
/// Longer inputs are cut.
const LONGEST: usize = 64 << 10;
/// What takes longer is a fault. Far above what a busy machine adds.
const SLOW: Duration = Duration::from_secs(20);

struct Target {
    name: &'static str,
    shape: Shape,
    run: fn(&[u8]) -> String,
}

/// Every target of fuzz/targets.
const TARGETS: [Target; 8] = [
    Target {
        name: "decide_everything",
        shape: Shape::Call,
        run: decide_everything::run,
    },
    Target {
        name: "decode_request",
        shape: Shape::Call,
        run: decode_request::run,
    },
    Target {
        name: "hosts_toml",
        shape: Shape::Text,
        run: hosts_toml::run,
    },
    Target {
        name: "image_reference",
        shape: Shape::Text,
        run: image_reference::run,
    },
    Target {
        name: "manifest",
        shape: Shape::Text,
        run: manifest::run,
    },
    Target {
        name: "pattern",
        shape: Shape::Text,
        run: pattern::run,
    },
    Target {
        name: "plan_never_permits_unproven",
        shape: Shape::Message,
        run: plan_never_permits_unproven::run,
    },
    Target {
        name: "policy_document",
        shape: Shape::Text,
        run: policy_document::run,
    },
];

#[test]
fn no_input_of_any_target_is_without_a_judgement_or_a_refusal() {
    let seconds = number("FUZZ_SECONDS");
    let seed = number("FUZZ_SEED").unwrap_or(1);
    for target in &TARGETS {
        drive(target, seconds.map(Duration::from_secs), seed);
    }
}

#[test]
fn every_target_is_driven_here_and_by_libfuzzer() {
    let names = |directory: &str| -> BTreeSet<String> {
        let files = fs::read_dir(root().join(directory)).unwrap();
        let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        files
            .filter_map(|file| file.strip_suffix(".rs").map(str::to_owned))
            .collect()
    };
    let here: BTreeSet<String> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(names("fuzz/targets"), here);
    assert_eq!(names("fuzz/fuzz_targets"), here);
    let page = fs::read_to_string(root().join("fuzz/README.md")).unwrap();
    for name in &here {
        assert!(
            page.contains(&format!("| `{name}` |")),
            "fuzz/README.md: {name}"
        );
    }
}

#[test]
fn the_policy_that_decides_everything_uses_every_key() {
    let error = serde_json::from_str::<pullguard::policy::document::ContainersDoc>(r#"{"?":1}"#);
    let text = error.err().unwrap().to_string();
    let (_, list) = text.split_once("expected ").unwrap();
    let keys: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    assert!(keys.len() > 20, "{text}");
    for key in keys {
        let used = decide_everything::YAML.contains(&format!("{key}: "));
        assert!(used, "every_rule.yaml does not use `{key}`");
    }
}

/// What a break looks like: it is told, with the input that did it.
#[test]
fn an_input_that_breaks_a_target_is_kept_and_told() {
    let broken = Target {
        name: "a_target_that_breaks",
        shape: Shape::Text,
        run: |input| {
            assert!(!input.contains(&b'!'), "an exclamation");
            String::new()
        },
    };
    let told = catch_unwind(|| drive(&broken, None, 1)).unwrap_err();
    let text = told.downcast_ref::<String>().unwrap();
    let (_, path) = text.split_once("kept as ").unwrap();
    let input = fs::read(root().join(path)).unwrap();
    assert!(input.contains(&b'!'));
    fs::remove_dir_all(root().join("fuzz/artifacts").join(broken.name)).unwrap();
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn drive(target: &Target, time: Option<Duration>, seed: u64) {
    let mut random = Random::new(seed);
    let begin = Instant::now();
    let mut inputs = seeds(target);
    let given = inputs.len();
    let mut said = BTreeSet::new();
    let mut executions = 0_u64;
    for input in &inputs {
        said.insert(execute(target, input, seed, executions));
        executions += 1;
    }
    if inputs.is_empty() {
        inputs.push(b"!".to_vec());
    }
    let mut finds = 0_u64;
    let goes_on = |executions: u64| match time {
        Some(time) => begin.elapsed() < time,
        None => executions < INPUTS,
    };
    while goes_on(executions) {
        let mut input = target.shape.change(&inputs, &mut random);
        input.truncate(LONGEST);
        let outcome = execute(target, &input, seed, executions);
        executions += 1;
        if said.insert(outcome) {
            finds += 1;
            if time.is_some() {
                keep("corpus", target.name, &input);
            }
            if inputs.len() < KEPT {
                inputs.push(input);
            }
        }
    }
    println!(
        "{}: {executions} inputs of {given} seeds in {:.1} s, {finds} new finds, {} outcomes, FUZZ_SEED={seed}",
        target.name,
        begin.elapsed().as_secs_f64(),
        said.len()
    );
}

/// What a target says of one input, without what the input itself brought into the words.
fn execute(target: &Target, input: &[u8], seed: u64, place: u64) -> String {
    let begin = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let slow = begin.elapsed() > SLOW;
    let text = match outcome {
        Ok(text) if !slow => text,
        Ok(_) => broken(target, input, seed, place, "took too long"),
        Err(_) => broken(target, input, seed, place, "broke"),
    };
    // Readers of TOML and YAML show the line they stumble over behind a bar.
    let lines = text.lines().filter(|line| !line.contains('|'));
    let plain = lines.flat_map(|line| line.split('`').step_by(2));
    let plain = plain
        .flat_map(str::chars)
        .filter(|letter| !letter.is_ascii_digit());
    plain.take(400).collect()
}

fn broken(target: &Target, input: &[u8], seed: u64, place: u64, how: &str) -> ! {
    let path = keep("artifacts", target.name, input);
    panic!(
        "{}: input {place} of FUZZ_SEED={seed} {how}; kept as {}",
        target.name,
        path.display()
    );
}

/// Writes an input below fuzz/, named by its content, and says where.
fn keep(kind: &str, name: &str, input: &[u8]) -> PathBuf {
    let directory = Path::new("fuzz").join(kind).join(name);
    fs::create_dir_all(root().join(&directory)).unwrap();
    let digest = Digest::of(input).to_string();
    let path = directory.join(digest.trim_start_matches("sha256:"));
    fs::write(root().join(&path), input).unwrap();
    path
}

/// Seeds, what was found before, and for calls what a real kubelet sends.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for kind in ["seeds", "corpus"] {
        if kind == "corpus" && std::env::var_os("FUZZ_SECONDS").is_none() {
            continue;
        }
        let directory = root().join("fuzz").join(kind).join(target.name);
        let Ok(listed) = fs::read_dir(directory) else {
            continue;
        };
        files.extend(listed.map(|file| file.unwrap().path()));
    }
    files.sort();
    let mut inputs: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    inputs.extend(recorded::inputs(target.name));
    inputs
}
