//! Pod rules on real parts: what is refused of a container that runs, and limits that a policy fills
//! in.

use std::time::Duration;

use pullguard::api::runtime_v1 as api;

use crate::node::{Bare, Node, OPEN, node_policy, policy, said};
use crate::support::cri::{PullPolicy, Refused};

const SOON: Duration = Duration::from_secs(20);

/// A node under one NodePolicy with these rules, and a pod that runs on it.
fn running(name: &str, rules: &str) -> (Node, String) {
    let bare = Bare::new(name);
    let app = bare.registry.push("busybox-user", "shop/app:1");
    let node = bare.guarded(&policy(OPEN, rules));
    let started = node
        .run(&app.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    (node, started.container)
}

fn exec(node: &Node, container: &str) -> Result<api::ExecResponse, Refused> {
    let request = api::ExecRequest {
        container_id: container.to_owned(),
        cmd: vec!["id".to_owned()],
        stdout: true,
        ..api::ExecRequest::default()
    };
    let call = "/runtime.v1.RuntimeService/Exec";
    let answer = node.cri.unary(call, request, SOON);
    answer.map_err(|status| Refused {
        call: "Exec",
        status,
    })
}

fn update(node: &Node, container: &str, memory: i64) -> Result<(), Refused> {
    let request = api::UpdateContainerResourcesRequest {
        container_id: container.to_owned(),
        linux: Some(api::LinuxContainerResources {
            memory_limit_in_bytes: memory,
            memory_swap_limit_in_bytes: memory,
            ..api::LinuxContainerResources::default()
        }),
        ..api::UpdateContainerResourcesRequest::default()
    };
    let call = "/runtime.v1.RuntimeService/UpdateContainerResources";
    let answer: Result<api::ExecResponse, _> = node.cri.unary(call, request, SOON);
    answer.map(|_| ()).map_err(|status| Refused {
        call: "UpdateContainerResources",
        status,
    })
}

#[test]
fn exec_is_refused_where_a_rule_says_so_and_probes_go_on() {
    let rules = "  - name: closed\n    containers: {exec: Deny}\n";
    let (node, container) = running("exec", rules);
    let refused = exec(&node, &container).expect_err("closed");
    assert_eq!(
        (refused.status.code(), refused.text()),
        (
            tonic::Code::PermissionDenied,
            "POD-EXEC gates/closed: container `main` of pod `default/pod` may not be entered; look at its logs, or ask for a rule without `exec: Deny`"
        )
    );
    let probe = node.cri.exec(&container, &["id", "-u"]).expect("ExecSync");
    assert_eq!(probe.stdout, "1000\n");
    // The same without the rule.
    let other = node_policy(
        "gates",
        "",
        "  - name: open\n    containers: {exec: Allow}\n",
    );
    let set = "apiVersion: pullguard.io/v1alpha1\nkind: PolicySet\nmetadata: {name: gates}\nspec:\n  audience: gates\n";
    node.apply(&format!("{set}{OPEN}---\n{other}"));
    exec(&node, &container).expect("open");
}

#[test]
fn a_container_without_a_limit_gets_the_default_and_one_with_a_limit_keeps_its_own() {
    let rules = "  - name: limits\n    resources: {require: [memory], defaults: {memory: 64Mi}}\n";
    let (node, container) = running("limits", rules);
    let limit = |container: &str| {
        let read = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
        let output = node.cri.exec(container, &["sh", "-c", read]).expect("read");
        output.stdout.trim().to_owned()
    };
    assert_eq!(limit(&container), (64 << 20).to_string());
    node.audit_line(&["CreateContainer", "memory 67108864"]);
    let app = format!("{}/shop/app:1", node.host());
    let own = node
        .run_with(&app, PullPolicy::IfNotPresent, |_, config| {
            let linux = config.linux.get_or_insert_default();
            let resources = linux.resources.get_or_insert_default();
            resources.memory_limit_in_bytes = 32 << 20;
        })
        .expect("starts");
    assert_eq!(limit(&own.container), (32 << 20).to_string());
}

#[test]
fn an_update_above_the_maximum_is_refused_and_one_below_is_carried() {
    let rules =
        "  - name: limits\n    resources: {defaults: {memory: 32Mi}, maximum: {memory: 64Mi}}\n";
    let (node, container) = running("update", rules);
    let refused = update(&node, &container, 65 << 20).expect_err("too much");
    assert_eq!(
        refused.text(),
        "POD-RESOURCES gates/limits: container `main` may use `68157440` bytes of memory, more than `67108864`; lower resources.limits"
    );
    update(&node, &container, 48 << 20).expect("below the maximum");
}

#[test]
fn a_container_outside_level_restricted_is_refused_and_its_twin_starts() {
    let rules = "  - name: hardened\n    podSecurity: {level: restricted}\n";
    let bare = Bare::new("restricted");
    let app = bare.registry.push("busybox-user", "shop/app:1");
    let node = bare.guarded(&policy(OPEN, rules));
    let hardened = |config: &mut crate::support::messages::ContainerConfig| {
        let linux = config.linux.get_or_insert_default();
        let context = linux.security_context.get_or_insert_default();
        context.no_new_privs = true;
        context.seccomp = Some(crate::support::messages::SecurityProfile::default());
        let capabilities = context.capabilities.get_or_insert_default();
        capabilities.drop_capabilities = vec!["ALL".to_owned()];
    };
    let plain = node.run(&app.reference, PullPolicy::IfNotPresent);
    assert_eq!(
        said(&plain),
        ("CreateContainer", "POD-CAPABILITY".to_owned())
    );
    node.run_with(&app.reference, PullPolicy::IfNotPresent, |_, config| {
        hardened(config);
    })
    .expect("keeps the level");
}

#[test]
fn a_checkpoint_is_refused_also_where_a_rule_that_only_records_allows_it() {
    let rules =
        "  - name: kept\n    action: Audit\n    containers: {checkpoint: Allow, exec: Deny}\n";
    let (node, container) = running("checkpoint", rules);
    let request = api::CheckpointContainerRequest {
        container_id: container.clone(),
        location: "/nowhere/checkpoint.tar".to_owned(),
        ..api::CheckpointContainerRequest::default()
    };
    let call = "/runtime.v1.RuntimeService/CheckpointContainer";
    let answer: Result<api::ExecResponse, _> = node.cri.unary(call, request, SOON);
    let refused = Refused {
        call: "CheckpointContainer",
        status: answer.expect_err("denied by default"),
    };
    assert_eq!(
        refused.text(),
        "RPC-REFUSED: container `main` of pod `default/pod` may not be checkpointed; ask for a rule with `checkpoint: Allow`"
    );
    // The same rule only records what it says of exec.
    exec(&node, &container).expect("carried");
    node.audit_line(&["\"Exec\"", "\"effect\":\"would-deny\""]);
}
