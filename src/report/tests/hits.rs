//! What is said of the rules that spoke: `hits` of an audit line, and the metric.

use super::*;

/// A hit of `payments/RULE`.
fn hit(rule: &str, action: Action, effect: HitEffect, code: Option<Code>) -> RuleHit {
    RuleHit {
        policy: "payments".to_owned(),
        rule: rule.to_owned(),
        action,
        effect,
        code,
        exception: None,
    }
}

#[test]
fn the_audit_line_has_every_rule_with_its_action_effect_and_code() {
    let mut outcome = denied();
    outcome.hits = vec![
        hit(
            "registries",
            Action::Enforce,
            HitEffect::Denied,
            Some(Code::RegDenied),
        ),
        hit("pinned", Action::Audit, HitEffect::WouldPin, None),
    ];
    let line = audit::line(&outcome, "node-1", Timestamp::from_unix_seconds(0));
    let wanted = "\"hits\":[{\"policy\":\"payments\",\"rule\":\"registries\",\"action\":\"Enforce\",\
                  \"effect\":\"denied\",\"code\":\"REG-DENIED\"},\
                  {\"policy\":\"payments\",\"rule\":\"pinned\",\"action\":\"Audit\",\
                  \"effect\":\"would-pin\"}]";
    assert!(line.contains(wanted), "{line}");
}

#[test]
fn what_an_exception_waives_stands_in_the_line_with_its_name_and_counts_as_no_denial() {
    let bench = Bench::new();
    let mut outcome = allowed();
    outcome.hits = vec![RuleHit {
        exception: Some("legacy-agent".to_owned()),
        ..hit(
            "host",
            Action::Enforce,
            HitEffect::Waived,
            Some(Code::PodPrivileged),
        )
    }];
    let line = audit::line(&outcome, "node-1", Timestamp::from_unix_seconds(0));
    let wanted = "\"hits\":[{\"policy\":\"payments\",\"rule\":\"host\",\"action\":\"Enforce\",\
                  \"effect\":\"waived\",\"code\":\"POD-PRIVILEGED\",\
                  \"exception\":\"legacy-agent\"}]";
    assert!(line.contains(wanted), "{line}");
    bench.reporter.record(&outcome);
    let page = bench.page();
    assert!(!page.contains("pullguard_would_deny_total{"), "{page}");
}

#[test]
fn what_would_have_been_denied_is_counted_once_a_rule_and_what_was_is_not() {
    let bench = Bench::new();
    let mut outcome = allowed();
    outcome.hits = vec![
        hit(
            "host",
            Action::Enforce,
            HitEffect::WouldDeny,
            Some(Code::PodRoot),
        ),
        hit(
            "host",
            Action::Enforce,
            HitEffect::WouldDeny,
            Some(Code::PodPrivileged),
        ),
        hit(
            "a",
            Action::Enforce,
            HitEffect::Denied,
            Some(Code::RegDenied),
        ),
        hit("b", Action::Audit, HitEffect::WouldPin, None),
        hit("c", Action::Enforce, HitEffect::Pinned, None),
    ];
    bench.reporter.record(&outcome);
    let page = bench.page();
    let counted: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("pullguard_would_deny_total{"))
        .collect();
    assert_eq!(
        counted,
        ["pullguard_would_deny_total{policy=\"payments\",rule=\"host\"} 1"]
    );
}
