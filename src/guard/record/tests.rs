use super::*;
use crate::policy::Text;
use crate::policy::{Allowed, Basis, Code};

/// Calls reported when `end` has its way with a record.
fn reported(end: impl FnOnce(Record) + std::panic::UnwindSafe) -> (u64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let reporter = Reporter::new("node-1", directory.path());
    let record = Record::begin(reporter.clone(), "PullImage", Mode::Enforce);
    let record = std::panic::AssertUnwindSafe(record);
    let ended = std::panic::catch_unwind(move || {
        let record = record;
        end(record.0);
    });
    drop(ended);
    let calls = reporter.calls();
    (calls.undecided, calls.allowed + calls.denied)
}

#[test]
fn a_call_that_the_client_gave_up_is_reported_once() {
    assert_eq!(reported(drop), (1, 0));
}

#[test]
fn a_panic_while_deciding_is_left_for_the_relay_to_report() {
    let boom = |_record: Record| panic!("asked for");
    assert_eq!(reported(boom), (0, 0));
}

#[test]
fn a_panic_beside_a_call_that_went_on_is_reported_here() {
    let boom = |mut record: Record| {
        record.goes_on();
        panic!("asked for");
    };
    assert_eq!(reported(boom), (1, 0));
}

#[test]
fn a_break_after_a_verdict_is_one_undecided_call() {
    let broken = |record: Record| record.broken("RUNTIME-UNAVAILABLE: it went away; wait");
    assert_eq!(reported(broken), (1, 0));
}

fn denial(policy: &str, code: Code) -> Denial {
    let text = Text::new().words("object").advice("change it");
    Denial::say(code, text).with_rule(policy, "rule")
}

/// `POLICY/rule` is broken.
fn broken(policy: &str, action: Action, code: Code) -> Finding {
    Finding {
        policy: policy.to_owned(),
        rule: "rule".to_owned(),
        action,
        effect: Effect::Denied,
        code: Some(code),
        line: denial(policy, code).line(),
        waived: None,
    }
}

/// Verdict, code and policy of the audit line of a call that was judged so, and its hits as
/// `POLICY ACTION EFFECT`.
fn line_of(
    mode: Mode,
    findings: Vec<Finding>,
    end: impl FnOnce(Record),
) -> (String, String, String, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let reporter = Reporter::new("node-1", directory.path());
    let mut record = Record::begin(reporter.clone(), "CreateContainer", mode);
    record.judged(&Judgement {
        verdict: Ok(Allowed::by(Basis::Rules)),
        findings,
    });
    end(record);
    reporter.flush(Duration::from_secs(10));
    let text = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let hits = line["hits"].as_array().cloned().unwrap_or_default();
    let hits = hits.iter().map(|hit| {
        let [policy, action, effect] = ["policy", "action", "effect"].map(|key| word(&hit[key]));
        format!("{policy} {action} {effect}")
    });
    (
        word(&line["verdict"]),
        word(&line["code"]),
        word(&line["policy"]),
        hits.collect(),
    )
}

fn said(
    verdict: &str,
    code: &str,
    policy: &str,
    hits: &[&str],
) -> (String, String, String, Vec<String>) {
    (
        verdict.to_owned(),
        code.to_owned(),
        policy.to_owned(),
        hits.iter().map(|&hit| hit.to_owned()).collect(),
    )
}

const BOTH: [&str; 2] = ["a Audit would-deny", "w Warn would-deny"];

fn audit_and_warn() -> Vec<Finding> {
    vec![
        broken("a", Action::Audit, Code::PodRoot),
        broken("w", Action::Warn, Code::PodHostpath),
    ]
}

#[test]
fn a_broken_rule_that_warns_is_another_verdict_than_one_that_records() {
    for mode in Mode::ALL {
        let warns = vec![broken("w", Action::Warn, Code::PodHostpath)];
        let records = vec![broken("a", Action::Audit, Code::PodRoot)];
        assert_eq!(
            line_of(mode, warns, Record::answered),
            said("warned", "POD-HOSTPATH", "w", &["w Warn would-deny"])
        );
        assert_eq!(
            line_of(mode, records, Record::answered),
            said("would-deny", "POD-ROOT", "a", &["a Audit would-deny"])
        );
        assert_eq!(
            line_of(mode, Vec::new(), Record::answered),
            said("allowed", "-", "-", &[])
        );
    }
}

#[test]
fn a_rule_that_only_records_silences_no_warning() {
    for mode in Mode::ALL {
        let mut turned = audit_and_warn();
        turned.reverse();
        let wanted = |hits: &[&str]| said("warned", "POD-HOSTPATH", "w", hits);
        assert_eq!(
            line_of(mode, audit_and_warn(), Record::answered),
            wanted(&BOTH)
        );
        let [a, w] = BOTH;
        assert_eq!(line_of(mode, turned, Record::answered), wanted(&[w, a]));
    }
}

#[test]
fn a_denial_goes_before_a_warning_and_the_line_has_all_three() {
    let mut findings = audit_and_warn();
    findings.push(broken("z", Action::Enforce, Code::PodPrivileged));
    let denial = denial("z", Code::PodPrivileged);
    let [a, w] = BOTH;
    assert_eq!(
        line_of(Mode::Enforce, findings.clone(), |record| record
            .denied(&denial)),
        said("denied", "POD-PRIVILEGED", "z", &[a, w, "z Enforce denied"])
    );
    assert_eq!(
        line_of(Mode::Observe, findings, |record| record
            .observed(Some(&denial))),
        said(
            "would-deny",
            "POD-PRIVILEGED",
            "z",
            &[a, w, "z Enforce would-deny"]
        )
    );
}

#[test]
fn a_refusal_after_the_answer_names_no_rule_of_another_code() {
    let late = "IMG-CONFIG: image `a`: it is another one; build it anew";
    assert_eq!(
        line_of(Mode::Enforce, audit_and_warn(), |record| record
            .refused_late(late)),
        said("denied", "IMG-CONFIG", "-", &BOTH)
    );
}

#[test]
fn a_call_that_the_client_gave_up_keeps_what_was_judged() {
    assert_eq!(
        line_of(Mode::Enforce, audit_and_warn(), drop),
        said("undecided", "-", "-", &BOTH)
    );
}

#[tokio::test]
async fn what_is_judged_beside_the_call_stands_in_place_of_what_was_known_before() {
    let directory = tempfile::tempdir().unwrap();
    let reporter = Reporter::new("node-1", directory.path());
    let mut record = Record::begin(reporter.clone(), "Exec", Mode::Enforce);
    record.judged(&Judgement {
        verdict: Ok(Allowed::by(Basis::Rules)),
        findings: vec![broken("a", Action::Audit, Code::PodRoot)],
    });
    let pod = Pod::new("shop", "web", "u", &Default::default(), &Default::default());
    let (done, told) = tokio::sync::oneshot::channel();
    record.beside(Box::pin(async move {
        let done: Result<(), ()> = done.send(());
        done.unwrap();
        Beside {
            findings: vec![broken("w", Action::Warn, Code::PodExec)],
            whose: Some((pod, "main".to_owned())),
        }
    }));
    record.answered();
    told.await.unwrap();
    // On this one thread the report follows before anything else runs.
    reporter.flush(Duration::from_secs(10));
    let text = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&line["verdict"], &line["code"]),
        (&"warned".into(), &"POD-EXEC".into())
    );
    assert_eq!(
        (&line["pod"]["name"], &line["container"]),
        (&"web".into(), &"main".into())
    );
    assert_eq!(line["hits"].as_array().unwrap().len(), 1);
}
