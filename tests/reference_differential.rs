//! The reference parser against the Go package that containerd uses (`distribution/reference`),
//! on the golden table and on 20,000 generated strings. Needs `go`, and fails without it.
//!
//! Wherever this crate takes a string for a reference, Go must too and must mean the same; where
//! this crate refuses what Go takes, it must be for one of the reasons it is stricter on purpose.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::tests_outside_test_module,
    reason = "a test stops where its preconditions fail; integration tests have no test module"
)]

#[path = "differential/go.rs"]
mod go;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use pullguard::image::{DigestError, Reference, ReferenceError};
use serde::Deserialize;

const GOLDEN: &str = include_str!("differential/reference/golden.jsonl");
const GENERATED: usize = 20_000;

/// What the Go program answers for one string.
#[derive(Debug, Deserialize)]
struct Answer {
    ok: bool,
    name: String,
    domain: String,
}

#[test]
fn b1_the_golden_table_holds_for_this_crate_and_agrees_with_go() {
    let rows: Vec<(String, String)> = GOLDEN
        .lines()
        .map(|line| serde_json::from_str(line).expect("a golden row is a pair of strings"))
        .collect();
    assert!(rows.len() >= 35, "the golden table lost rows");
    for (input, expected) in &rows {
        let result = match Reference::parse(input) {
            Ok(reference) => reference.to_string(),
            Err(error) => format!("! {error}"),
        };
        assert_eq!(&result, expected, "for {input:?}");
    }
    let inputs: Vec<String> = rows.into_iter().map(|(input, _)| input).collect();
    compare(&inputs);
}

#[test]
fn generated_strings_mean_the_same_to_go() {
    let inputs = generated();
    let accepted = compare(&inputs);
    assert!(
        accepted > GENERATED / 10 && accepted < GENERATED * 9 / 10,
        "the generator makes too few strings of one kind: {accepted} of {GENERATED} are references"
    );
}

/// Holds every string against Go; says how many are references for both.
fn compare(inputs: &[String]) -> usize {
    let answers: Vec<Answer> = go::ask("reference", inputs);
    let mut accepted = 0;
    for (input, go) in inputs.iter().zip(&answers) {
        match Reference::parse(input) {
            Ok(reference) => {
                accepted += 1;
                assert!(go.ok, "go refuses {input:?}, read here as `{reference}`");
                assert_eq!(reference.to_string(), go.name, "for {input:?}");
                assert_eq!(reference.repository().host(), go.domain, "for {input:?}");
            }
            Err(error) if go.ok => assert!(
                is_stricter_on_purpose(&error, input, go),
                "go takes {input:?} for {go:?}, refused here: {error}"
            ),
            Err(_) => {}
        }
    }
    accepted
}

/// The only differences from Go, each only where its reason is really there.
fn is_stricter_on_purpose(error: &ReferenceError, input: &str, go: &Answer) -> bool {
    match error {
        ReferenceError::UpperCaseHost => go.domain.bytes().any(|b| b.is_ascii_uppercase()),
        ReferenceError::TypedId => ["sha256", "sha384", "sha512"]
            .iter()
            .any(|algorithm| input.starts_with(algorithm)),
        ReferenceError::Host => go.domain.is_empty(),
        ReferenceError::Digest(DigestError::Algorithm) => {
            go.name.contains("@sha512:") || go.name.contains("@sha384:")
        }
        ReferenceError::Length => go.domain.len() > 261,
        ReferenceError::Empty
        | ReferenceError::Character
        | ReferenceError::HostPath
        | ReferenceError::BareId
        | ReferenceError::TruncatedId
        | ReferenceError::UpperCasePath
        | ReferenceError::Grammar
        | ReferenceError::Tag
        | ReferenceError::Digest(_)
        | ReferenceError::NotARepository => false,
    }
}

/// The same strings in every run: near-references, and runs of the tokens that matter.
fn generated() -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let hex = "0123456789abcdef".repeat(4);
    let digest = format!("sha256:{hex}");
    let shaped = (
        "((docker\\.io|index\\.docker\\.io|localhost|[a-c]\\.io|[A-C]b|h:5|\\[::1\\](:5)?|[a-c_-]{1,3}\\.[a-c-]{1,3}(:[0-9]{0,2})?)/)?",
        "[a-c0]{1,2}([._-]{0,3}[a-c0]{1,2}){0,2}(/[a-cA0]{1,2}([._-]{1,2}[a-c]){0,1}){0,3}",
        "(:[a-zA-Z0-9_.-]{0,4})?",
        proptest::option::weighted(0.2, Just(format!("@{digest}"))),
    )
        .prop_map(|(host, path, tag, digest)| {
            format!("{host}{path}{tag}{}", digest.unwrap_or_default())
        });
    let tokens = vec![
        "a",
        "b0",
        "library",
        "docker.io",
        "index.docker.io",
        "localhost",
        "LOCALHOST",
        "Foo",
        "/",
        "/",
        "/",
        ":",
        ":",
        "@",
        "sha256",
        "sha256:",
        "sha512:",
        "sha384",
        "5000",
        "[::1]",
        "[FE80::1]",
        "[",
        "]",
        "_",
        "__",
        "-",
        "--",
        ".",
        "..",
        "latest",
        "é",
        "ſ",
        "K",
        "\n",
        " ",
        "%2f",
        "\0",
        "a.b",
        "x:1",
        "deadbeef",
    ];
    let token = prop_oneof![
        20 => proptest::sample::select(tokens).prop_map(str::to_owned),
        1 => Just(digest),
        1 => Just(hex),
        1 => Just(format!("@sha512:{}", "a".repeat(128))),
        1 => Just("a".repeat(250)),
        1 => Just("a".repeat(128)),
    ];
    let run = proptest::collection::vec(token, 0..7).prop_map(|tokens| tokens.concat());
    let strategy = prop_oneof![3 => shaped, 1 => run];
    (0..GENERATED)
        .map(|_| {
            strategy
                .new_tree(&mut runner)
                .expect("the strategy makes a string")
                .current()
        })
        .collect()
}
