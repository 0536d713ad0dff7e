//! What is said of what runs already.

use super::*;

fn report() -> RunningReport {
    RunningReport {
        verdict: RunningVerdict::WouldDeny,
        code: Code::PodRoot,
        rule: Some(("payments".to_owned(), "host".to_owned())),
        policy_version: "v7".to_owned(),
        text: "POD-ROOT payments/host: container `main` runs as root".to_owned(),
        pod: Pod {
            namespace: "payments".to_owned(),
            name: "api".to_owned(),
            uid: "u-1".to_owned(),
        },
        container: Some("main".to_owned()),
        id: "c1".to_owned(),
        image: Image {
            reference: Some("registry.example.com/a:1".to_owned()),
            ..Image::default()
        },
        hits: vec![RuleHit {
            policy: "payments".to_owned(),
            rule: "host".to_owned(),
            action: Action::Enforce,
            effect: HitEffect::WouldDeny,
            code: Some(Code::PodRoot),
            exception: None,
        }],
    }
}

#[test]
fn what_runs_and_would_be_denied_is_one_event_one_line_and_no_gated_call() {
    let bench = Bench::new();
    let events = logged(tracing::Level::WARN, || bench.reporter.running(&report()));
    assert_eq!(events.len(), 1);
    for (field, value) in [
        ("event", "running_denied"),
        ("verdict", "would-deny"),
        ("code", "POD-ROOT"),
        ("policy", "payments"),
        ("rule", "host"),
        ("policy.version", "v7"),
        ("pod.namespace", "payments"),
        ("pod.name", "api"),
        ("container", "main"),
        ("id", "c1"),
        ("image.ref", "registry.example.com/a:1"),
    ] {
        assert_eq!(events[0][field], value, "{field}");
    }
    assert_eq!(bench.lines().len(), 1);
    assert_eq!(bench.reporter.calls(), CallCounts::default());
    assert!(!bench.page().contains("pullguard_would_deny_total{"));
}

#[test]
fn the_line_of_what_runs_has_the_documented_shape() {
    let line = running::line(&report(), "node-1", Timestamp::from_unix_seconds(0));
    assert_eq!(
        line,
        "{\"schema\":\"pullguard.running/v1\",\"time\":\"1970-01-01T00:00:00Z\",\"node\":\"node-1\",\
         \"event\":\"running_denied\",\"verdict\":\"would-deny\",\"code\":\"POD-ROOT\",\
         \"policy\":\"payments\",\"rule\":\"host\",\"policy_version\":\"v7\",\
         \"text\":\"POD-ROOT payments/host: container `main` runs as root\",\
         \"pod\":{\"namespace\":\"payments\",\"name\":\"api\",\"uid\":\"u-1\"},\
         \"container\":\"main\",\"id\":\"c1\",\"image\":{\"ref\":\"registry.example.com/a:1\"},\
         \"hits\":[{\"policy\":\"payments\",\"rule\":\"host\",\"action\":\"Enforce\",\
         \"effect\":\"would-deny\",\"code\":\"POD-ROOT\"}]}"
    );
}

#[test]
fn what_could_not_be_told_has_an_event_of_its_own() {
    let bench = Bench::new();
    let doubt = RunningReport {
        verdict: RunningVerdict::Undecided,
        code: Code::ImgUnreachable,
        ..report()
    };
    let events = logged(tracing::Level::WARN, || bench.reporter.running(&doubt));
    assert_eq!(events[0]["event"], "running_undecided");
    let line = &bench.lines()[0];
    assert_eq!(
        (&line["event"], &line["verdict"], &line["code"]),
        (
            &"running_undecided".into(),
            &"undecided".into(),
            &"IMG-UNREACHABLE".into()
        )
    );
}

#[test]
fn a_code_that_nothing_has_any_more_is_a_series_at_zero() {
    let bench = Bench::new();
    bench.reporter.metrics().watch(Arc::new(example_status));
    let page = bench.page();
    for series in [
        "pullguard_running_judged 3\n",
        "pullguard_running_denied{code=\"POD-ROOT\"} 1\n",
        "pullguard_running_undecided{code=\"IMG-UNREACHABLE\"} 0\n",
    ] {
        assert!(page.contains(series), "{page}");
    }
}

#[test]
fn before_the_first_pass_has_ended_no_number_is_shown() {
    let bench = Bench::new();
    bench.reporter.metrics().watch(Arc::new(|| Status {
        running: None,
        ..example_status()
    }));
    assert!(!bench.page().contains("pullguard_running_"));
}
