//! What the audit log holds of a call: every rule that spoke, also where nothing is enforced.

use std::time::Duration;

use serde_json::{Value, json};

use crate::node::{Bare, Node, OPEN, STRICT, policy, said, shop, shop_pinned, wait_active};
use crate::support::cri::{PullPolicy, spec};
use crate::support::until;

/// The audit lines of one method, once there are `count`.
fn lines(node: &Node, rpc: &str, count: usize) -> Vec<Value> {
    until(
        "the audit lines are written",
        Duration::from_secs(20),
        || {
            let all = node.guard.audit();
            let parsed = all.iter().map(|line| serde_json::from_str::<Value>(line));
            let of: Vec<Value> = parsed
                .map(|line| line.expect("a line of JSON"))
                .filter(|line| line["rpc"] == rpc)
                .collect();
            if of.len() >= count {
                Ok(of)
            } else {
                Err(format!("{all:#?}"))
            }
        },
    )
}

fn hit(rule: &str, action: &str, effect: &str, code: &str) -> Value {
    let mut hit = json!({"policy": "gates", "rule": rule, "action": action, "effect": effect});
    if !code.is_empty() {
        hit["code"] = json!(code);
    }
    hit
}

#[test]
fn a_denial_records_every_rule_that_is_broken_and_none_that_was_not_judged() {
    let bare = Bare::new("audit-all");
    let rules = format!(
        "{}  - name: flag\n    containers: {{privileged: Deny}}\n  - name: user\n    containers: {{root: Deny}}\n  - name: looked-at\n    action: Audit\n    digest: InSpec\n",
        shop_pinned(&bare.host())
    );
    let text = policy(OPEN, &rules);
    let node = bare.guarded(&text);
    let app = node.registry.push("app-one", "shop/app:1");
    let denied = node.run_with(&app.reference, PullPolicy::Always, |_, container| {
        let linux = container.linux.get_or_insert_default();
        let context = linux.security_context.get_or_insert_default();
        context.capabilities = Some(crate::support::messages::Capability {
            add_capabilities: vec!["SYS_ADMIN".to_owned()],
            ..Default::default()
        });
        context.run_as_user = Some(crate::support::messages::Int64Value { value: 0 });
    });
    assert_eq!(
        said(&denied),
        ("CreateContainer", "POD-PRIVILEGED".to_owned())
    );
    let create = lines(&node, "CreateContainer", 1);
    assert_eq!(
        create[0]["hits"],
        json!([
            hit("flag", "Enforce", "denied", "POD-PRIVILEGED"),
            hit("user", "Enforce", "denied", "POD-ROOT"),
            hit("looked-at", "Audit", "would-deny", "IMG-DIGEST-REQUIRED"),
        ])
    );
    let pull = lines(&node, "PullImage", 1);
    assert_eq!(
        pull[0]["hits"],
        json!([
            hit("looked-at", "Audit", "would-deny", "IMG-DIGEST-REQUIRED"),
            hit("pinned", "Enforce", "pinned", ""),
        ])
    );
}

#[test]
fn a_pin_that_is_only_audited_is_recorded_as_one_that_would_be() {
    let bare = Bare::new("audit-pin");
    let rules = shop_pinned(&bare.host());
    let node =
        bare.guarded(&policy(OPEN, &rules).replace("\n  rules:", "\n  action: Audit\n  rules:"));
    let app = node.registry.push("app-one", "shop/app:1");
    node.run(&app.reference, PullPolicy::Always)
        .expect("starts");
    let pull = lines(&node, "PullImage", 1);
    assert_eq!(
        (&pull[0]["verdict"], &pull[0]["hits"]),
        (
            &json!("allowed"),
            &json!([hit("pinned", "Audit", "would-pin", "")])
        )
    );
}

#[test]
fn observe_says_of_each_call_what_enforce_would_and_a_later_enforce_pulls_nothing_again() {
    let bare = Bare::new("observe");
    let text = policy(STRICT, &shop_pinned(&bare.host()));
    crate::support::Guard::write_policy(&bare.lab, "policy.yaml", &text);
    let mut node = bare.started(|settings, _| {
        settings.set("mode", "\"observe\"");
    });
    wait_active(&node.guard);
    let version = node.status().policy.map(|policy| policy.version);
    let app = node.registry.push("app-one", "shop/app:1");
    let other = node.registry.push("app-two", "other/app:1");
    node.run(&app.reference, PullPolicy::Always)
        .expect("starts");
    node.run(&other.reference, PullPolicy::Always)
        .expect("observe refuses nothing");
    let sandbox = node.sandbox(|_| {});
    node.create(&sandbox, &other.reference, "")
        .expect("by name, as crictl does");

    let denied = json!([
        hit("registries", "Enforce", "would-deny", "REG-DENIED"),
        hit("unmatched", "Enforce", "would-deny", "IMG-UNMATCHED"),
    ]);
    let pulls = lines(&node, "PullImage", 2);
    let of = |lines: &[Value], verdict: &str| -> Vec<Value> {
        let of = lines.iter().filter(|line| line["verdict"] == verdict);
        of.cloned().collect()
    };
    let allowed = of(&pulls, "allowed");
    assert_eq!(
        allowed[0]["hits"],
        json!([hit("pinned", "Enforce", "would-pin", "")])
    );
    assert_eq!(of(&pulls, "would-deny")[0]["hits"], denied);
    let creates = lines(&node, "CreateContainer", 3);
    let (good, bad) = (of(&creates, "allowed"), of(&creates, "would-deny"));
    assert_eq!((good.len(), bad.len()), (1, 2), "{creates:#?}");
    for line in &creates {
        let reference = line["image"]["ref"].as_str().expect("a reference");
        assert!(
            [&app.reference, &other.reference]
                .iter()
                .any(|name| *name == reference)
        );
        let id = node.id_in_containerd(reference);
        assert_eq!(line["image"]["id"], json!(id), "{line}");
        assert_eq!(line["policy_version"], json!(version), "{line}");
    }
    assert_eq!(good[0]["image"]["digest"], json!(app.digest));
    for line in &bad {
        assert_eq!(line["hits"], denied, "{line}");
    }
    let seen = node.guard.audit();
    assert!(
        !seen.iter().any(|line| line.contains("ImageStatus")),
        "{seen:#?}"
    );
    let metrics = node.settings.metrics().expect("metrics");
    let counted = "pullguard_would_deny_total{policy=\"gates\",rule=\"registries\"} 3\n";
    assert!(metrics.contains(counted), "{metrics}");

    node.settings.set("mode", "\"enforce\"");
    node.guard.settings(&node.settings);
    node.guard.restart();
    node.cri = node.guard.cri();
    node.run(&app.reference, PullPolicy::Never)
        .expect("what was pulled under observe is not hidden");
    let refused = node.run(&other.reference, PullPolicy::Never);
    assert_eq!(said(&refused), ("CreateContainer", "REG-DENIED".to_owned()));
    assert!(matches!(
        node.cri.image_status(spec(&app.reference)),
        Ok(Some(_))
    ));
}

#[test]
fn a_rule_that_warns_changes_the_verdict_and_one_that_enforces_changes_the_call() {
    let bare = Bare::new("audit-warn");
    let rules = shop(&bare.host());
    let warn = policy(OPEN, &rules).replace("\n  rules:", "\n  action: Warn\n  rules:");
    let node = bare.guarded(&warn);
    let other = node.registry.push("app-two", "other/app:1");
    node.run(&other.reference, PullPolicy::Always)
        .expect("warned");
    let pull = lines(&node, "PullImage", 1);
    assert_eq!(
        (&pull[0]["verdict"], &pull[0]["hits"]),
        (
            &json!("warned"),
            &json!([hit("registries", "Warn", "would-deny", "REG-DENIED")])
        )
    );
    node.apply(&policy(OPEN, &rules));
    let denied = node.run(&other.reference, PullPolicy::Always);
    assert_eq!(said(&denied), ("PullImage", "REG-DENIED".to_owned()));
    let pull = lines(&node, "PullImage", 2);
    assert_eq!(
        (&pull[1]["verdict"], &pull[1]["hits"]),
        (
            &json!("denied"),
            &json!([hit("registries", "Enforce", "denied", "REG-DENIED")])
        )
    );
}
