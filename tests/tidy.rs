//! Rules of the tree that no compiler holds: reading order, pure modules, file sizes, words, and
//! documents in step with the code.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a rule that cannot be checked must fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pullguard::policy::Code;
use pullguard::report::METRICS;
use pullguard::request::{Handling, Method};
use pullguard::settings::Settings;

const MAX_LINES: usize = 500;
/// Generated from proto/, never edited by hand.
const GENERATED: &str = "src/api/runtime_v1.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below a directory, as paths from the root of the repository.
fn rust_files(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let path = path.strip_prefix(root()).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Files that git knows, as paths from the root.
fn tracked() -> Vec<String> {
    let output = Command::new("git")
        // A checkout may belong to another user than root.
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "git ls-files failed");
    String::from_utf8(output.stdout)
        .unwrap()
        .split('\0')
        .filter(|path| !path.is_empty() && root().join(path).is_file())
        .map(str::to_owned)
        .collect()
}

/// Module names of `src/lib.rs` in reading order, and how many of them are pure.
fn modules() -> (Vec<String>, usize) {
    let library = read("src/lib.rs");
    let mut names = Vec::new();
    let mut pure = None;
    for line in library.lines() {
        if line.starts_with("// Edges:") {
            pure = Some(names.len());
        }
        if let Some(name) = line
            .strip_prefix("pub mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        {
            names.push(name.to_owned());
        }
    }
    (names, pure.unwrap())
}

fn module_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix("src/")?;
    let name = path.split('/').next()?;
    Some(name.strip_suffix(".rs").unwrap_or(name))
}

/// The lines of a file with their numbers, without comments, and without what follows
/// `#[cfg(test)]` in a file of its own module tests.
fn code_lines(path: &str) -> Vec<(usize, String)> {
    let text = read(path);
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("#[cfg(test)]") && is_last_item(&text, number) {
            break;
        }
        let line = line.split("//").next().unwrap_or("");
        lines.push((number, line.to_owned()));
    }
    lines
}

/// Whether the item after this line is an inline `mod … {`, which by convention ends a file.
fn is_last_item(text: &str, line: usize) -> bool {
    text.lines()
        .nth(line)
        .is_some_and(|next| next.trim_start().starts_with("mod ") && next.ends_with('{'))
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn fail_with(findings: Vec<String>, rule: &str) {
    assert!(findings.is_empty(), "{rule}:\n{}", findings.join("\n"));
}

#[test]
fn a_module_imports_only_from_modules_above_it() {
    let (order, _) = modules();
    let place: BTreeMap<&str, usize> = order
        .iter()
        .enumerate()
        .map(|(at, name)| (name.as_str(), at))
        .collect();
    let mut findings = Vec::new();
    for path in rust_files("src") {
        let Some(own) = module_of(&path).and_then(|module| place.get(module)) else {
            continue;
        };
        if is_test_file(&path) {
            continue;
        }
        for (number, line) in code_lines(&path) {
            for part in line.split("crate::").skip(1) {
                let named: String = part
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let upwards = place.get(named.as_str()).is_none_or(|at| at <= own);
                if !upwards {
                    findings.push(format!(
                        "{path}:{number}: imports `{named}`, which is below"
                    ));
                }
            }
        }
    }
    fail_with(findings, "modules stand in reading order in src/lib.rs");
}

#[test]
fn pure_files_hold_no_clock_files_sockets_or_logging() {
    const IMPURE: [&str; 14] = [
        "async ",
        ".await",
        "tokio",
        "tracing",
        "SystemTime",
        "Instant",
        "std::fs",
        "std::net::Tcp",
        "std::os::unix::net",
        "std::env",
        "std::process",
        "std::thread",
        "hyper",
        "reqwest",
    ];
    let (order, pure) = modules();
    let pure: BTreeSet<&str> = order.iter().take(pure).map(String::as_str).collect();
    let mut findings = Vec::new();
    for path in rust_files("src") {
        let ours = module_of(&path).is_some_and(|module| pure.contains(module))
            || path.starts_with("src/authoring/");
        if !ours || is_test_file(&path) || path == GENERATED {
            continue;
        }
        for (number, line) in code_lines(&path) {
            for word in IMPURE {
                if line.contains(word) {
                    findings.push(format!("{path}:{number}: `{word}`"));
                }
            }
        }
    }
    fail_with(findings, "pure modules take values and give values");
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let mut findings = Vec::new();
    for directory in ["src", "tests", "examples", "benches"] {
        if !root().join(directory).is_dir() {
            continue;
        }
        for path in rust_files(directory) {
            // `tests.rs` beside a module belongs to that module's own words.
            let beside = path.starts_with("src/") && is_test_file(&path);
            if path != GENERATED && !beside && !read(&path).starts_with("//! ") {
                findings.push(path);
            }
        }
    }
    fail_with(findings, "a file begins with `//! ` and what it is for");
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let mut findings = Vec::new();
    for path in rust_files("src") {
        let lines = read(&path).lines().count();
        if path != GENERATED && lines > MAX_LINES {
            findings.push(format!("{path}: {lines}"));
        }
    }
    fail_with(findings, "a file over 500 lines is two files");
}

#[test]
fn exceptions_from_lints_argue() {
    let mut findings = Vec::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        if path == GENERATED || path == "tests/tidy.rs" {
            continue;
        }
        for (number, line) in (1..).zip(read(&path).lines()) {
            if line.contains("#[allow(") || line.contains("#![allow(") {
                findings.push(format!("{path}:{number}"));
            }
            if line.contains("#[ignore") {
                findings.push(format!("{path}:{number}: a test that does not run"));
            }
        }
    }
    fail_with(findings, "`#[expect(lint, reason = …)]`, never `#[allow]`");
}

#[test]
fn every_metric_is_documented_and_nothing_else() {
    let document = read("docs/metrics.md");
    let documented: BTreeMap<String, (String, Vec<String>)> = document
        .lines()
        .filter(|line| line.starts_with("| `pullguard_"))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, name, kind, labels, _, _] = cells.as_slice() else {
                panic!("docs/metrics.md: five columns: {line}");
            };
            let labels = labels
                .split(',')
                .map(|label| label.trim().trim_matches('`').to_owned())
                .filter(|label| !label.is_empty())
                .collect();
            (
                name.trim_matches('`').to_owned(),
                ((*kind).to_owned(), labels),
            )
        })
        .collect();
    let known: BTreeMap<String, (String, Vec<String>)> = METRICS
        .iter()
        .map(|metric| {
            let labels = metric.labels.iter().map(|label| (*label).to_owned());
            (
                metric.name.to_owned(),
                (metric.kind.to_owned(), labels.collect()),
            )
        })
        .collect();
    assert_eq!(documented, known);
}

#[test]
fn no_two_metrics_say_the_same() {
    let help: BTreeSet<_> = METRICS.iter().map(|metric| metric.help).collect();
    assert_eq!(help.len(), METRICS.len());
}

#[test]
fn every_denial_code_has_one_section() {
    let document = read("docs/denials.md");
    let sections: Vec<_> = document
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| title.trim_matches('`'))
        .filter(|title| title.chars().all(|c| c.is_ascii_uppercase() || c == '-'))
        .collect();
    let unique: BTreeSet<_> = sections.iter().copied().collect();
    let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(unique, codes);
    assert_eq!(sections.len(), codes.len(), "a code has two sections");
}

#[test]
fn every_setting_is_documented_and_nothing_else() {
    let document = read("docs/settings.md");
    let documented: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .filter(|key| key != "registry.timeouts")
        .collect();
    let known: BTreeSet<String> = Settings::defaults("node")
        .rows(None)
        .into_iter()
        .map(|row| row.key)
        .collect();
    assert_eq!(documented, known);
}

#[test]
fn every_test_program_has_one_row_in_the_tests_readme() {
    let programs: BTreeSet<String> = tracked()
        .iter()
        .filter_map(|path| path.strip_prefix("tests/"))
        .filter_map(|path| {
            let (name, rest) = path.split_once('/').map_or_else(
                || path.strip_suffix(".rs").map(|name| (name, "main.rs")),
                Some,
            )?;
            (rest == "main.rs").then(|| name.to_owned())
        })
        .collect();
    let document = read("tests/README.md");
    let rows: Vec<String> = document
        .lines()
        .filter(|line| line.contains("| `make "))
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
        .flat_map(|(names, _)| names.split(", "))
        .filter_map(|name| Some(name.strip_prefix('`')?.strip_suffix('`')?.to_owned()))
        .collect();
    let once: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(once, programs);
    assert_eq!(rows.len(), once.len(), "one row each");
}

#[test]
fn no_package_registry_is_named() {
    // Spelled in halves, so that this file passes itself.
    let words: Vec<String> = [
        ("crates", ".io"),
        ("proxy.golang", ".org"),
        ("sum.golang", ".org"),
        ("pypi", ".org"),
        ("npmjs", ".com"),
        ("npmjs", ".org"),
        ("repo1.maven", ".org"),
        ("rubygems", ".org"),
    ]
    .iter()
    .map(|(head, tail)| format!("{head}{tail}"))
    .collect();
    let mut findings = Vec::new();
    for path in tracked() {
        let name = PathBuf::from(&path);
        let name = name.file_name().unwrap().to_str().unwrap().to_owned();
        // Lock files are written by the package managers.
        if name.ends_with(".lock") || name == "go.sum" {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            for word in &words {
                if line.contains(word.as_str()) {
                    findings.push(format!("{path}:{number}: `{word}`"));
                }
            }
        }
    }
    fail_with(findings, "packages come through their ordinary clients");
}

/// The words in backticks of a document that look like tests: `some_words_with_underscores`.
fn named_tests(document: &str) -> BTreeSet<String> {
    read(document)
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|word| word.rsplit("::").next().unwrap_or(word).to_owned())
        .filter(|word| {
            word.matches('_').count() >= 3
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        })
        .filter(|word| !word.starts_with("max_") && !word.starts_with("min_"))
        .collect()
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let sources: Vec<String> = rust_files("src")
        .iter()
        .chain(&rust_files("tests"))
        .map(|path| read(path))
        .collect();
    let missing: Vec<String> = named_tests("ARCHITECTURE.md")
        .into_iter()
        .filter(|name| {
            let function = format!("fn {name}(");
            !sources.iter().any(|source| source.contains(&function))
        })
        .collect();
    fail_with(missing, "ARCHITECTURE.md names tests that do not exist");
}

/// Every `name` in backticks in the first column of the first table of methods, with what stands
/// beside it.
#[test]
fn every_method_of_the_cri_is_documented_and_nothing_else() {
    let document = read("docs/methods.md");
    let documented: BTreeMap<String, String> = document
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect();
    let mut findings = Vec::new();
    for method in Method::ALL {
        let begins = match method.handling() {
            Handling::Gate(_) => "**gate",
            Handling::FilterImageStatus => "**filter**",
            Handling::GateIfAsked(_) | Handling::Relay => "carried",
            Handling::RefuseUnlessAsked(_) => "refused",
            Handling::Unimplemented => "UNIMPLEMENTED",
        };
        match documented.get(method.name()) {
            Some(text) if text.starts_with(begins) => {}
            Some(text) => findings.push(format!("{}: `{text}`, not `{begins}`", method.name())),
            None => findings.push(format!("{} is missing", method.name())),
        }
    }
    assert_eq!(documented.len(), Method::ALL.len(), "a method too many");
    fail_with(
        findings,
        "docs/methods.md says what the table of methods does",
    );
}

#[test]
fn every_relative_link_in_the_documents_leads_somewhere() {
    let mut findings = Vec::new();
    for path in tracked().iter().filter(|path| path.ends_with(".md")) {
        let text = read(path);
        let beside = root().join(path);
        let beside = beside.parent().unwrap();
        for target in text.split("](").skip(1) {
            let target = target.split([')', ' ']).next().unwrap_or_default();
            let (file, _) = target.split_once('#').unwrap_or((target, ""));
            if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !beside.join(file).exists() {
                findings.push(format!("{path}: {target}"));
            }
        }
    }
    fail_with(findings, "a link leads nowhere");
}

#[test]
fn every_file_that_the_documents_name_exists() {
    const ROOTS: [&str; 8] = [
        "src/",
        "docs/",
        "tests/",
        "tools/",
        "proto/",
        "examples/",
        "benches/",
        "fuzz/",
    ];
    let mut findings = Vec::new();
    for path in tracked().iter().filter(|path| path.ends_with(".md")) {
        for word in read(path).split('`').skip(1).step_by(2) {
            let named = ROOTS.iter().any(|root| word.starts_with(root));
            let plain = word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if named && plain && !root().join(word).exists() {
                findings.push(format!("{path}: `{word}`"));
            }
        }
    }
    fail_with(findings, "a document names a file that does not exist");
}
