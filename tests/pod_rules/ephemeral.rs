//! A container that is added to a pod that runs is judged by `podSecurity` as its others are.

use pullguard::authoring::kubelet::{Images, Node, read};
use pullguard::authoring::verdict::{Judge, Verdict, judge};
use pullguard::policy::{Code, NodeFacts};
use serde_json::{Value, json};

use crate::policy;

/// What is said of the pod's own container and of the one that is added.
fn said(level: &str, security: &Value) -> [Option<Code>; 2] {
    let image = "registry.example.com/shop/app:1";
    let hardened = json!({
        "runAsUser": 1000, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "pod", "namespace": "shop"},
        "spec": {
            "containers": [{"name": "app", "image": image, "securityContext": hardened}],
            "ephemeralContainers": [{"name": "debugger", "image": image, "securityContext": security}],
        },
    });
    let manifest = read(&pod.to_string(), "default").manifests.pop().unwrap();
    let policy = policy(&format!("podSecurity: {{level: {level}}}"));
    let by = Judge {
        policy: &policy,
        node: &NodeFacts::default(),
        bootstrap: policy.bootstrap(),
        now: crate::NOW,
    };
    let users = [(image.to_owned(), "1000".to_owned())].into();
    let images = Images {
        users,
        ..Images::default()
    };
    let judged = judge(&manifest, &Node::new("n"), &images, &by);
    ["app", "debugger"].map(|name| {
        let container = judged.containers.iter().find(|one| one.name == name);
        match &container.unwrap().judged.verdict {
            Verdict::Allowed => None,
            Verdict::Denied(denial) => Some(denial.code()),
            other @ (Verdict::Refused(_) | Verdict::Undecided { .. }) => panic!("{other:?}"),
        }
    })
}

#[test]
fn a_privileged_ephemeral_container_is_denied_at_baseline_and_its_pods_own_is_not() {
    let privileged = said("baseline", &json!({"privileged": true}));
    assert_eq!(privileged, [None, Some(Code::PodPrivileged)]);
    let twin = said("baseline", &json!({"privileged": false}));
    assert_eq!(twin, [None, None]);
}

#[test]
fn an_ephemeral_container_keeps_level_restricted_by_itself() {
    let hardened = |escalation: bool| {
        json!({
            "runAsUser": 1000, "allowPrivilegeEscalation": escalation,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        })
    };
    let open = said("restricted", &hardened(true));
    assert_eq!(open, [None, Some(Code::PodEscalation)]);
    assert_eq!(said("restricted", &hardened(false)), [None, None]);
}
