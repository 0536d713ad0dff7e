//! `podSecurity` against Kubernetes' Pod Security admission library, on pods written from the
//! documentation of the Pod Security Standards. Needs `go`, and fails without it.
//!
//! The library judges the pod; the guard judges what a kubelet sends for it, by the daemon's own
//! decision code. Where they differ, `divergences` says why: a difference that it does not name
//! fails, and so does one that it names and that does not occur.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::tests_outside_test_module,
    reason = "a test stops where its preconditions fail; integration tests have no test module"
)]

#[path = "pod_security_differential/baseline.rs"]
mod baseline;
#[path = "pod_security_differential/divergences.rs"]
mod divergences;
#[path = "differential/go.rs"]
mod go;
#[path = "pod_security_differential/restricted.rs"]
mod restricted;
#[path = "pod_security_differential/twins.rs"]
mod twins;

use std::collections::BTreeSet;

use pullguard::authoring::kubelet::{Claims, Images, Manifest, Node, read};
use pullguard::authoring::verdict::{Judge, JudgedPod, Verdict, judge};
use pullguard::authoring::{Authored, compile_dir};
use pullguard::limits::Limits;
use pullguard::policy::{NodeFacts, Policy};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use divergences::{DIVERGENCES, Divergence};
use pullguard::time::Timestamp;
use twins::{Control, IMAGE, Place, Twin};

/// Time plays no part here.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_780_272_000);

const POLICY_PAGE: &str = include_str!("../docs/policy.md");

/// The versions in which a check begins or changes, one between, and one that the library does not
/// know yet; `None` is `latest`.
const VERSIONS: [Option<u32>; 14] = [
    Some(0),
    Some(8),
    Some(18),
    Some(19),
    Some(22),
    Some(23),
    Some(27),
    Some(29),
    Some(31),
    Some(32),
    Some(34),
    Some(35),
    Some(37),
    None,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Baseline,
    Restricted,
}

/// Under what a pod is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) level: Level,
    /// A minor version; `latest` is the largest number.
    pub(crate) version: u32,
}

impl Cell {
    fn all() -> impl Iterator<Item = Self> {
        let levels = [Level::Baseline, Level::Restricted];
        levels.into_iter().flat_map(|level| {
            let versions = VERSIONS.iter();
            versions.map(move |version| Self {
                level,
                version: version.unwrap_or(u32::MAX),
            })
        })
    }

    fn level(self) -> &'static str {
        match self.level {
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }

    fn version(self) -> String {
        match self.version {
            u32::MAX => "latest".to_owned(),
            minor => format!("v1.{minor}"),
        }
    }
}

/// What comes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It runs.
    Allowed,
    /// It is denied.
    Denied,
    /// The kubelet itself does not run it; no request reaches the guard.
    Refused,
    /// The translation does not know a key of it.
    Untold,
}

#[derive(Serialize)]
struct Question<'a> {
    level: &'static str,
    version: String,
    pod: &'a Value,
}

/// What the library says.
#[derive(Debug, Deserialize)]
struct Answer {
    allowed: bool,
    checks: Vec<String>,
    #[serde(default)]
    error: String,
}

/// One pod of the table.
struct Row<'a> {
    control: &'a Control,
    twin: &'a Twin,
    fails: bool,
    place: Place,
    pod: Value,
    manifest: Manifest,
}

impl Row<'_> {
    fn key(&self) -> String {
        format!("{}: {}", self.control.name, self.twin.name)
    }
}

/// One pod under one level and version.
struct Case<'a> {
    row: &'a Row<'a>,
    cell: Cell,
    library: Answer,
    guard: Outcome,
    /// Codes of what the guard denies.
    codes: BTreeSet<&'static str>,
    text: String,
}

impl Case<'_> {
    fn library(&self) -> Outcome {
        if self.library.allowed {
            Outcome::Allowed
        } else {
            Outcome::Denied
        }
    }

    /// What the kubelet does not run is not allowed either.
    fn agrees(&self) -> bool {
        match self.guard {
            Outcome::Allowed => self.library.allowed,
            Outcome::Denied | Outcome::Refused => !self.library.allowed,
            Outcome::Untold => false,
        }
    }

    fn shown(&self) -> String {
        let (level, version) = (self.cell.level(), self.cell.version());
        format!(
            "{} ({:?}) at {level} {version}: the library says {:?} {:?}, here {:?} {}",
            self.row.key(),
            self.row.place,
            self.library(),
            self.library.checks,
            self.guard,
            self.text
        )
    }

    fn divergence(&self) -> Option<&'static Divergence> {
        let key = self.row.key();
        let mut claims = DIVERGENCES
            .iter()
            .filter(|one| one.twins.contains(&key.as_str()) && (one.when)(self.cell));
        let first = claims.next();
        assert!(claims.next().is_none(), "two divergences claim {key}");
        first
    }
}

#[test]
fn the_verdict_is_that_of_the_admission_library_but_for_the_divergences_that_are_named() {
    let controls = controls();
    let rows = rows(&controls);
    let cases = cases(&rows);
    let mut faults = Vec::new();
    for case in &cases {
        match case.divergence() {
            None if case.agrees() => {}
            None => faults.push(case.shown()),
            Some(named) if named.guard == case.guard && !case.agrees() => {}
            Some(named) => faults.push(format!(
                "{}; a divergence is named and is not there: {}",
                case.shown(),
                named.reason
            )),
        }
    }
    faults.extend(cases.iter().filter_map(wrong_control));
    faults.extend(controls.iter().flat_map(|control| lonely(control, &cases)));
    faults.extend(idle(&rows));
    let many = faults.len();
    assert!(
        faults.is_empty(),
        "{many} of {} cases:\n{}",
        cases.len(),
        faults.join("\n")
    );
}

#[test]
fn every_divergence_is_told_to_whoever_writes_a_policy() {
    for one in DIVERGENCES {
        assert!(
            POLICY_PAGE.contains(one.documented),
            "docs/policy.md does not say `{}`",
            one.documented
        );
    }
}

#[test]
fn the_compiler_warns_of_each_control_of_which_the_verdict_differs() {
    for cell in Cell::all() {
        let warnings = compiled(cell).warnings;
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        // What the kubelet refuses to run, or the translation to read, is no verdict of the guard's.
        let is_verdict = |one: &&Divergence| match one.guard {
            Outcome::Allowed | Outcome::Denied => (one.when)(cell),
            Outcome::Refused | Outcome::Untold => false,
        };
        let claimed = DIVERGENCES.iter().filter(is_verdict);
        for twin in claimed.flat_map(|one| one.twins) {
            let (control, _) = twin.split_once(": ").expect("`control: twin`");
            let words = format!("control `{control}`");
            assert!(
                warnings.iter().any(|warning| warning.contains(&words)),
                "{twin}: nothing is said of `{control}` at {} {}",
                cell.level(),
                cell.version()
            );
        }
    }
}

fn controls() -> Vec<Control> {
    let mut controls = baseline::controls();
    controls.extend(restricted::controls());
    controls
}

fn rows(controls: &[Control]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for control in controls {
        let fails = control.fails.iter().map(|twin| (twin, true));
        let passes = control.passes.iter().map(|twin| (twin, false));
        for (twin, fails) in fails.chain(passes) {
            rows.extend(twin.places().iter().map(|place| {
                let pod = twin.pod(*place);
                Row {
                    control,
                    twin,
                    fails,
                    place: *place,
                    manifest: manifest(&pod),
                    pod,
                }
            }));
        }
    }
    rows
}

/// Every row in every cell, judged by both.
fn cases<'a>(rows: &'a [Row<'a>]) -> Vec<Case<'a>> {
    let cells: Vec<Cell> = Cell::all().collect();
    let mut questions = Vec::new();
    for cell in &cells {
        questions.extend(rows.iter().map(|row| Question {
            level: cell.level(),
            version: cell.version(),
            pod: &row.pod,
        }));
    }
    let answers: Vec<Answer> = go::ask("pod_security", &questions);
    let mut answers = answers.into_iter();
    let mut cases = Vec::new();
    for (cell, pods) in cells.iter().zip(judged(&cells, rows)) {
        for (row, pod) in rows.iter().zip(pods) {
            let library = answers.next().expect("an answer for each question");
            assert_eq!(library.error, "", "{}", row.key());
            let (guard, codes, text) = outcome(&pod);
            cases.push(Case {
                row,
                cell: *cell,
                library,
                guard,
                codes,
                text,
            });
        }
    }
    cases
}

/// The guard's own verdicts, by cell and row.
fn judged(cells: &[Cell], rows: &[Row<'_>]) -> Vec<Vec<JudgedPod>> {
    let of_cell = |cell: &Cell| {
        let policy = compiled(*cell).policy;
        let pods = rows.iter().map(|row| guard(&policy, row));
        pods.collect::<Vec<_>>()
    };
    let (first, second) = cells.split_at(cells.len() / 2);
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| second.iter().map(of_cell).collect::<Vec<_>>());
        let mut judged: Vec<_> = first.iter().map(of_cell).collect();
        judged.extend(beside.join().expect("the other half is judged"));
        judged
    })
}

fn compiled(cell: Cell) -> Authored {
    let text = format!(
        "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {{name: set}}
spec: {{audience: test, unmatched: {{pods: Allow, images: Allow}}}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {{name: p}}
spec:
  rules: [{{name: r, podSecurity: {{level: {}, version: {}}}}}]
",
        cell.level(),
        cell.version()
    );
    let files = vec![("p.yaml".to_owned(), text)];
    compile_dir(files, &Limits::default(), NOW).expect("the policy compiles")
}

/// As `pullguard explain -f --trust-claims --image-user` judges it.
fn guard(policy: &Policy, row: &Row<'_>) -> JudgedPod {
    let mut node = Node::new("n");
    node.claims = Claims::Volumes;
    let users = [(IMAGE.to_owned(), row.twin.user.to_owned())];
    let images = Images {
        users: users.into(),
        ..Images::default()
    };
    let by = Judge {
        policy,
        node: &NodeFacts::default(),
        bootstrap: policy.bootstrap(),
        now: NOW,
    };
    judge(&row.manifest, &node, &images, &by)
}

fn manifest(pod: &Value) -> Manifest {
    let mut found = read(&pod.to_string(), "default");
    assert_eq!(found.errors, [], "{pod}");
    found.manifests.pop().expect("one pod")
}

/// The pod's outcome is that of its sandbox and all its containers.
fn outcome(pod: &JudgedPod) -> (Outcome, BTreeSet<&'static str>, String) {
    let containers = pod.containers.iter().map(|one| &one.judged);
    let all: Vec<_> = std::iter::once(&pod.sandbox).chain(containers).collect();
    let codes = all
        .iter()
        .flat_map(|one| &one.findings)
        .filter_map(|finding| finding.code.map(|code| code.as_str()))
        .collect();
    let texts = all.iter().map(|one| match &one.verdict {
        Verdict::Allowed => (Outcome::Allowed, String::new()),
        Verdict::Denied(denial) => (Outcome::Denied, denial.line()),
        Verdict::Refused(text) => (Outcome::Refused, text.clone()),
        Verdict::Undecided { text, .. } => (Outcome::Untold, text.clone()),
    });
    let texts: Vec<(Outcome, String)> = texts.collect();
    let worst = [Outcome::Denied, Outcome::Refused, Outcome::Untold]
        .into_iter()
        .find_map(|wanted| texts.iter().find(|(outcome, _)| *outcome == wanted));
    let (outcome, text) = worst.cloned().unwrap_or((Outcome::Allowed, String::new()));
    (outcome, codes, text)
}

/// A denial for anything but the control in which the pod differs.
fn wrong_control(case: &Case<'_>) -> Option<String> {
    let control = case.row.control;
    let reasons = case.library.checks.iter().map(String::as_str);
    let mut other: Vec<&str> = reasons
        .filter(|reason| !control.reasons.contains(reason))
        .collect();
    let codes = case.codes.iter().copied();
    other.extend(codes.filter(|code| !control.codes.contains(code)));
    (!other.is_empty()).then(|| format!("{}; for another control: {other:?}", case.shown()))
}

/// Twins of which the library does not tell any two apart: one that fails must be denied where one
/// that passes is allowed, and the other way about.
fn lonely(control: &Control, cases: &[Case<'_>]) -> Vec<String> {
    let own = |fails: bool| {
        cases
            .iter()
            .filter(move |case| case.row.control.name == control.name && case.row.fails == fails)
    };
    let place = |case: &Case<'_>| (case.cell.level(), case.cell.version);
    let denied: BTreeSet<_> = own(true)
        .filter(|case| !case.library.allowed)
        .map(place)
        .collect();
    let allowed: BTreeSet<_> = own(false)
        .filter(|case| case.library.allowed)
        .map(place)
        .collect();
    let told: BTreeSet<String> = own(true)
        .filter(|case| !case.library.allowed && allowed.contains(&place(case)))
        .chain(own(false).filter(|case| case.library.allowed && denied.contains(&place(case))))
        .map(|case| case.row.key())
        .collect();
    let keys: BTreeSet<String> = own(true)
        .chain(own(false))
        .map(|case| case.row.key())
        .collect();
    keys.difference(&told)
        .map(|key| format!("{key}: the library does not tell it from its twins"))
        .collect()
}

/// Divergences that speak of no row.
fn idle(rows: &[Row<'_>]) -> Vec<String> {
    let keys: BTreeSet<String> = rows.iter().map(Row::key).collect();
    let named = DIVERGENCES.iter().flat_map(|one| one.twins);
    named
        .filter(|twin| !keys.contains(**twin))
        .map(|twin| format!("a divergence names `{twin}`, which is in no table"))
        .collect()
}
