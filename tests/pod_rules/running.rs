//! Calls about a container that runs, and limits that a policy fills in.

use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::document::Action;
use pullguard::policy::{Code, CreateEvidence, Effect, Intrusion, NodeFacts, Policy, Running};
use pullguard::request::{CreateAsk, ResourceChange};
use pullguard::time::Timestamp;

use crate::{NOW, ask, policy};

fn node() -> NodeFacts {
    NodeFacts {
        cpu_quotas: true,
        ..NodeFacts::default()
    }
}

pub(crate) fn enters(policy: &Policy, call: Intrusion) -> Option<Code> {
    let ask = ask();
    let running = Running {
        pod: &ask.sandbox.pod,
        handler: "",
        container: "app",
        image: None,
    };
    let judged = policy.judge_intrusion(call, &running, &node(), NOW);
    judged.verdict.err().map(|denial| denial.code())
}

fn updates(policy: &Policy, change: &ResourceChange) -> Option<Code> {
    let ask = ask();
    let running = Running {
        pod: &ask.sandbox.pod,
        handler: "",
        container: "app",
        image: None,
    };
    let judged = policy.judge_update(&running, change, &node(), NOW);
    judged.verdict.err().map(|denial| denial.code())
}

#[test]
fn a_call_into_a_container_is_denied_by_its_own_key_alone() {
    let closed = policy("containers: {exec: Deny, execSync: Allow}");
    assert_eq!(enters(&closed, Intrusion::Exec), Some(Code::PodExec));
    assert_eq!(enters(&closed, Intrusion::ExecSync), None);
    let probes = policy("containers: {execSync: Deny}");
    assert_eq!(enters(&probes, Intrusion::Exec), None);
    assert_eq!(enters(&probes, Intrusion::ExecSync), Some(Code::PodExec));
}

#[test]
fn a_checkpoint_is_denied_unless_an_enforcing_rule_allows_it() {
    for (check, code) in [
        ("containers: {checkpoint: Allow}", None),
        ("containers: {checkpoint: Deny}", Some(Code::PodExec)),
        ("containers: {exec: Allow}", Some(Code::RpcRefused)),
        (
            "action: Audit, containers: {checkpoint: Allow}",
            Some(Code::RpcRefused),
        ),
        (
            "action: Audit, containers: {checkpoint: Deny}",
            Some(Code::RpcRefused),
        ),
    ] {
        let policy = policy(check);
        assert_eq!(enters(&policy, Intrusion::Checkpoint), code, "{check}");
        let allows = policy.allows_some(Intrusion::Checkpoint);
        assert_eq!(allows, code.is_none(), "{check}");
    }
}

/// A policy with this check, and an exception from it with this `match`, that ends a second after `NOW`.
fn excepted(check: &str, matches: &str) -> Policy {
    let exception = format!(
        "---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicyException
metadata: {{name: e}}
spec: {{policy: p, rules: [r], match: {matches}, expires: 2026-06-01T00:00:01Z, reason: T-1}}
"
    );
    let yaml = crate::yaml("p", "r", check) + &exception;
    let files = vec![("p.yaml".to_owned(), yaml)];
    compile_dir(files, &Limits::default(), NOW).unwrap().policy
}

#[test]
fn an_exception_opens_a_container_that_runs_and_one_by_image_does_not() {
    let check = "containers: {exec: Deny, checkpoint: Allow}";
    let open = excepted(check, "{namespaces: [payments]}");
    assert_eq!(enters(&open, Intrusion::Exec), None);
    let ask = ask();
    let running = Running {
        pod: &ask.sandbox.pod,
        handler: "",
        container: "app",
        image: None,
    };
    let later = Timestamp::from_unix_seconds(NOW.unix_seconds() + 1);
    let judged = open.judge_intrusion(Intrusion::Exec, &running, &node(), later);
    assert_eq!(judged.verdict.unwrap_err().code(), Code::PodExec);
    let by_image = excepted(check, "{images: [registry.example.com/pay/api]}");
    assert_eq!(enters(&by_image, Intrusion::Exec), Some(Code::PodExec));
    // What the rule grants stays.
    assert_eq!(enters(&open, Intrusion::Checkpoint), None);
}

#[test]
fn an_exception_from_a_denied_checkpoint_allows_none() {
    let open = excepted("containers: {checkpoint: Deny}", "{namespaces: [payments]}");
    assert_eq!(enters(&open, Intrusion::Checkpoint), Some(Code::RpcRefused));
}

#[test]
fn an_exception_lets_a_limit_be_raised_and_one_by_image_does_not() {
    let check = "resources: {maximum: {memory: 64Mi}}";
    let change = ResourceChange {
        memory_limit: Some(65 << 20),
        ..ResourceChange::default()
    };
    let open = excepted(check, "{namespaces: [payments]}");
    assert_eq!(updates(&open, &change), None);
    let by_image = excepted(check, "{images: [registry.example.com/pay/api]}");
    assert_eq!(updates(&by_image, &change), Some(Code::PodResources));
}

#[test]
fn an_update_is_judged_by_what_it_sets() {
    let policy = policy("resources: {maximum: {memory: 1Gi, cpu: 500m}}");
    let unified = |key: &str, value: &str| ResourceChange {
        unified: [(key.to_owned(), value.to_owned())].into(),
        ..ResourceChange::default()
    };
    let denied = Some(Code::PodResources);
    let quota = |quota, period| ResourceChange {
        cpu_quota: quota,
        cpu_period: period,
        ..ResourceChange::default()
    };
    let memory = |bytes| ResourceChange {
        memory_limit: Some(bytes),
        ..ResourceChange::default()
    };
    for (change, code) in [
        (ResourceChange::default(), None),
        (memory(1 << 30), None),
        (memory((1 << 30) + 1), denied),
        (memory(-1), denied),
        (unified("memory.max", "max"), denied),
        (unified("memory.max", "1"), None),
        (unified("cpu.max", "max 100000"), denied),
        (quota(Some(50_000), Some(100_000)), None),
        (quota(Some(50_000), Some(50_000)), denied),
        // The quota that stays would be worth more.
        (quota(None, Some(1_000)), denied),
        // And so would a quota in a short period that stays.
        (quota(Some(50_000), None), denied),
        (unified("cpu.max", "50000"), denied),
        (unified("cpu.max", "50000 100000"), None),
        (quota(Some(-1), None), None),
    ] {
        assert_eq!(updates(&policy, &change), code, "{change:?}");
    }
}

/// What is filled in, and what the findings say of it.
fn filled(check: &str, ask: &CreateAsk) -> (Option<i64>, Vec<(Action, Effect)>) {
    let policy = policy(check);
    let node = node();
    let plan = policy.plan_create(&ask.sandbox.pod, "", ask, &node, &[], NOW);
    let judged = plan.conclude(&CreateEvidence::default());
    let effects = judged.findings.iter();
    let effects = effects.map(|one| (one.action, one.effect)).collect();
    let memory = judged.verdict.map(|allowed| allowed.defaults.memory);
    (memory.ok().flatten(), effects)
}

#[test]
fn only_an_enforcing_rule_fills_in_and_another_says_what_it_would() {
    let limits = "resources: {require: [memory], defaults: {memory: 64Mi}}";
    assert_eq!(
        filled(limits, &ask()),
        (Some(64 << 20), vec![(Action::Enforce, Effect::Filled)])
    );
    assert_eq!(
        filled(&format!("action: Audit, {limits}"), &ask()),
        (None, vec![(Action::Audit, Effect::Filled)])
    );
    let mut own = ask();
    own.container.resources.memory_limit = Some(1);
    assert_eq!(filled(limits, &own), (None, Vec::new()));
    let closed = "resources: {require: [cpu], defaults: {memory: 64Mi}}";
    assert_eq!(
        filled(closed, &ask()),
        (None, vec![(Action::Enforce, Effect::Denied)])
    );
}
