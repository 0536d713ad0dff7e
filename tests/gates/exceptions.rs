//! Exceptions on real parts: what one lets run, what stays refused, and what the audit log says of it.

use crate::node::{Bare, Node, OPEN, STRICT, from_file, namespace, policy, said, shop};
use crate::support::cri::{PullPolicy, Refused, Started};
use crate::support::messages::Capability;

/// The policy, and an exception from `rules` for `HOST/agent` until then.
fn excepted(host: &str, set: &str, rules: &str, waived: &str, expires: &str) -> String {
    format!(
        "{}---\napiVersion: pullguard.io/v1alpha1\nkind: NodePolicyException\nmetadata: {{name: agent}}\nspec:\n  policy: gates\n  rules: [{waived}]\n  match: {{namespaces: [default], images: [\"{host}/agent\"]}}\n  expires: {expires}\n  reason: T-1\n",
        policy(set, rules)
    )
}

const LATER: &str = "2999-01-01T00:00:00Z";
const ENDED: &str = "2026-01-01T00:00:00Z";

/// Runs an image with a capability that `privileged: Deny` denies.
fn with_power(node: &Node, image: &str) -> Result<Started, Refused> {
    node.run_with(image, PullPolicy::IfNotPresent, |_, container| {
        let linux = container.linux.get_or_insert_default();
        let context = linux.security_context.get_or_insert_default();
        context.capabilities = Some(Capability {
            add_capabilities: vec!["SYS_PTRACE".to_owned()],
            ..Default::default()
        });
    })
}

#[test]
fn an_exception_by_image_lets_that_image_run_with_more_and_no_other() {
    let bare = Bare::new("exception-pod");
    let agent = bare.registry.push("app-one", "agent:1");
    let other = bare.registry.push("app-two", "other:1");
    let rules = "  - name: flag\n    containers: {privileged: Deny}\n";
    let under = |expires| excepted(&bare.host(), OPEN, rules, "flag", expires);
    let (lasting, ended) = (under(LATER), under(ENDED));
    let node = bare.guarded(&lasting);
    let started = with_power(&node, &agent.reference).expect("the agent runs");
    let line = node.audit_line(&["CreateContainer", "\"waived\""]);
    let wanted = "\"hits\":[{\"policy\":\"gates\",\"rule\":\"flag\",\"action\":\"Enforce\",\"effect\":\"waived\",\"code\":\"POD-PRIVILEGED\",\"exception\":\"agent\"}]";
    assert!(line.contains(wanted), "{line}");
    let denied = ("CreateContainer", "POD-PRIVILEGED".to_owned());
    assert_eq!(said(&with_power(&node, &other.reference)), denied);
    // Once it has ended nothing starts by it, and what runs stays.
    node.apply(&ended);
    assert_eq!(said(&with_power(&node, &agent.reference)), denied);
    assert!(node.containers().contains(&started.container));
}

#[test]
fn an_image_for_which_the_registries_are_waived_is_pulled_and_started() {
    let bare = Bare::new("exception-image");
    let agent = bare.registry.push("app-one", "agent:1");
    let other = bare.registry.push("app-two", "other:1");
    let rules = shop(&bare.host());
    let under = |expires| excepted(&bare.host(), STRICT, &rules, "registries", expires);
    let (lasting, ended) = (under(LATER), under(ENDED));
    let node = bare.guarded(&lasting);
    let run = |image: &str| node.run(image, PullPolicy::Always);
    run(&agent.reference).expect("the agent runs");
    let denied = ("PullImage", "REG-DENIED".to_owned());
    assert_eq!(said(&run(&other.reference)), denied);
    node.apply(&ended);
    assert_eq!(said(&run(&agent.reference)), denied);
}

#[test]
fn a_policy_that_an_exception_keeps_from_locking_out_a_static_pod_is_taken() {
    let bare = Bare::new("exception-lockout");
    let agent = bare.registry.push("app-one", "agent:1");
    let rules = "  - name: where\n    registries: {allow: [\"elsewhere.example.com/**\"]}\n";
    let node = bare.guarded(&policy(
        OPEN,
        "  - name: pods\n    containers: {privileged: Deny}\n",
    ));
    node.run_with(&agent.reference, PullPolicy::IfNotPresent, |sandbox, _| {
        from_file(sandbox);
        namespace(sandbox, "kube-system");
    })
    .expect("a static pod");
    let under = |expires| {
        excepted(&node.host(), OPEN, rules, "where", expires).replace(
            "namespaces: [default]",
            "namespaces: [kube-system], sources: [file]",
        )
    };
    let refused = node.refusal(&under(ENDED));
    assert!(refused.contains("REG-DENIED gates/where"), "{refused}");
    node.apply(&under(LATER));
}
