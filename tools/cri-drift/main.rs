//! `cri_drift NAME THEIRS.fds EXPECTED.txt`: lists the differences between proto/runtime_v1.proto,
//! with the method table, and a descriptor that tools/cri-drift printed. Exit code 1 if one of them
//! is not expected, or an expected one is gone.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people: its output is its purpose"
)]

mod compare;

use std::process::ExitCode;

use pullguard::api::DESCRIPTOR_SET;
use pullguard::request::{Method, Service, Shape};

use compare::{Drift, Facts};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, theirs, expected] = arguments.as_slice() else {
        eprintln!("usage: cri_drift NAME THEIRS.fds EXPECTED.txt");
        return ExitCode::from(2);
    };
    match drift(theirs, expected) {
        Ok(drift) => show(name, &drift),
        Err(text) => {
            eprintln!("cri_drift: {text}");
            ExitCode::from(2)
        }
    }
}

fn drift(theirs: &str, expected: &str) -> Result<Drift, String> {
    let read = |path: &str| std::fs::read(path).map_err(|error| format!("{path}: {error}"));
    let expected = String::from_utf8(read(expected)?).map_err(|error| error.to_string())?;
    let theirs = compare::descriptor(&read(theirs)?)?;
    let ours = compare::descriptor(DESCRIPTOR_SET)?;
    // Answers that nobody here reads are no drift: theirs counts as far as ours names it. A new
    // message inside a gated request shows as a new field of a message that ours does name.
    let wanted = compare::names(&ours);
    let mut here = compare::types(&ours, None);
    let mut there = compare::types(&theirs, Some(&wanted));
    here.extend(method_table());
    there.extend(compare::methods(&theirs));
    Ok(compare::compare(&here, &there, &expected))
}

fn method_table() -> Facts {
    let line = |method: &Method| {
        let service = match method.service() {
            Service::Runtime => "RuntimeService",
            Service::Image => "ImageService",
        };
        let shape = match method.shape() {
            Shape::Unary => "unary",
            Shape::ServerStream => "stream",
        };
        let subject = format!("method {service}/{}", method.name());
        (subject, shape.to_owned())
    };
    Method::ALL.iter().map(line).collect()
}

fn show(name: &str, drift: &Drift) -> ExitCode {
    for (difference, reason) in &drift.expected {
        println!("{name}: expected: {difference} ({reason})");
    }
    for difference in &drift.unexpected {
        println!("{name}: UNEXPECTED: {difference}");
    }
    for difference in &drift.stale {
        println!("{name}: expected, but gone: {difference}");
    }
    let bad = drift.unexpected.len().saturating_add(drift.stale.len());
    println!(
        "{name}: {} expected, {bad} not as listed",
        drift.expected.len()
    );
    if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
