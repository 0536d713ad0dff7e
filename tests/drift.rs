//! The drift check tells what it must tell: on made-up descriptors. The check against the real
//! ones needs go: tools/cri-drift/run.sh.
#![expect(clippy::expect_used, reason = "an integration test fails by panicking")]

use std::collections::BTreeSet;

use prost::Message as _;
use pullguard::api::DESCRIPTOR_SET;
use pullguard::request::{GatedMethod, Handling, Method};

#[path = "../tools/cri-drift/compare.rs"]
mod compare;

use compare::{Drift, Facts, compare as judge};

/// The facts of the types in `body`, a proto without its head.
fn facts(body: &str) -> Facts {
    let directory = tempfile::tempdir().expect("a directory");
    let text = format!("syntax = \"proto3\"; package runtime.v1; {body}");
    std::fs::write(directory.path().join("x.proto"), text).expect("written");
    let set = protox::compile(["x.proto"], [directory.path()]).expect("it compiles");
    let set = compare::descriptor(&set.encode_to_vec()).expect("it is one");
    let mut facts = compare::types(&set, None);
    facts.extend(compare::methods(&set));
    facts
}

fn unexpected(lines: &[&str]) -> Drift {
    Drift {
        unexpected: lines.iter().map(|line| (*line).to_owned()).collect(),
        ..Drift::default()
    }
}

#[test]
fn equal_descriptors_do_not_drift() {
    let one = facts("message M { string a = 1; }");
    assert_eq!(judge(&one, &one, ""), Drift::default());
}

#[test]
fn a_new_field_is_drift() {
    let here = facts("message M { string a = 1; }");
    let there = facts("message M { string a = 1; repeated int32 b = 2; }");
    let line = "there only: field M.2 `b repeated int32`";
    assert_eq!(judge(&here, &there, ""), unexpected(&[line]));
}

#[test]
fn another_type_is_drift() {
    let here = facts("message M { bytes a = 1; }");
    let there = facts("message M { string a = 1; }");
    let line = "differs: field M.1: here `a bytes`, there `a string`";
    assert_eq!(judge(&here, &there, ""), unexpected(&[line]));
}

#[test]
fn a_new_message_in_a_known_one_is_drift_by_its_field_and_by_its_name() {
    let here = facts("message M {}");
    let there = facts("message M { N n = 1; } message N { string a = 1; }");
    let lines = [
        "there only: field M.1 `n N`",
        "there only: type N `message`",
    ];
    assert_eq!(judge(&here, &there, ""), unexpected(&lines));
}

#[test]
fn a_new_enum_number_is_drift() {
    let here = facts("enum E { A = 0; }");
    let there = facts("enum E { A = 0; B = 1; }");
    let line = "there only: value E.1 `B`";
    assert_eq!(judge(&here, &there, ""), unexpected(&[line]));
}

#[test]
fn a_new_method_and_a_new_shape_are_drift() {
    let message = "message M {}";
    let here = facts(&format!("{message} service S {{ rpc A(M) returns (M); }}"));
    let there = facts(&format!(
        "{message} service S {{ rpc A(M) returns (stream M); rpc B(M) returns (M); }}"
    ));
    let lines = [
        "differs: method S/A: here `unary`, there `stream`",
        "there only: method S/B `unary`",
    ];
    assert_eq!(judge(&here, &there, ""), unexpected(&lines));
}

#[test]
fn an_expected_difference_needs_a_reason() {
    let here = facts("message M { string a = 1; }");
    let there = facts("message M {}");
    let line = "here only: field M.1 `a string`";
    assert_eq!(judge(&here, &there, line), unexpected(&[line]));
    let expected = vec![(line.to_owned(), "added later".to_owned())];
    assert_eq!(
        judge(&here, &there, &format!("# why\n{line} | added later\n")),
        Drift {
            expected,
            ..Drift::default()
        }
    );
}

#[test]
fn an_expected_difference_that_is_gone_is_told() {
    let one = facts("message M {}");
    let stale = vec!["here only: field M.1 `a string`".to_owned()];
    assert_eq!(
        judge(&one, &one, "here only: field M.1 `a string` | added later"),
        Drift {
            stale,
            ..Drift::default()
        }
    );
}

#[test]
fn the_committed_descriptor_holds_the_request_of_every_gated_method() {
    let ours = compare::descriptor(DESCRIPTOR_SET).expect("it is one");
    let names = compare::names(&ours);
    let gated: BTreeSet<String> = Method::ALL
        .iter()
        .filter_map(|method| match method.handling() {
            Handling::Gate(gated)
            | Handling::GateIfAsked(gated)
            | Handling::RefuseUnlessAsked(gated) => Some(gated),
            Handling::FilterImageStatus => Some(GatedMethod::ImageStatus),
            Handling::Relay | Handling::Unimplemented => None,
        })
        .map(|gated| gated.request_message().to_owned())
        .collect();
    assert_eq!(gated.len(), 11);
    assert!(gated.is_subset(&names), "{gated:?}");
}
