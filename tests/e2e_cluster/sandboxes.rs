//! What is denied at RunPodSandbox: the pod's status stays empty, and its events say why.

use serde_json::json;

use crate::node::{Node, Pod, SOON, root};

#[test]
fn a_pod_that_is_denied_at_its_sandbox_says_why_in_its_events() {
    let node = Node::start("cluster-sandbox");
    let app = node.push("app-one");
    node.add(&Pod::new("privileged", &app).security(&json!({"privileged": true})));
    node.add(&Pod::new("network", &app).spec("hostNetwork", &json!(true)));
    node.add(&Pod::new("plain", &app));
    node.runs_as("plain", "main", "1000");
    node.denied_at_sandbox(
        "privileged",
        "POD-PRIVILEGED lab/host: pod `default/privileged` is privileged; remove securityContext.privileged from its containers",
    );
    node.denied_at_sandbox(
        "network",
        "POD-HOST-NAMESPACE lab/host: pod `default/network` uses the host's network namespace; remove hostNetwork",
    );
}

#[test]
fn a_runtime_class_changes_nothing_in_what_is_judged() {
    let node = Node::start("cluster-handler");
    let app = node.push("app-one");
    let api = &node.cluster.api;
    api.add_runtime_class("other", "other");
    api.add_runtime_class("absent", "absent");
    let pod =
        |name: &str, class: &str| Pod::new(name, &app).spec("runtimeClassName", &json!(class));
    node.add(&pod("plain", "other"));
    node.add(&pod("as-root", "other").security(&json!({"runAsUser": 0})));
    node.add(&pod("network", "other").spec("hostNetwork", &json!(true)));
    node.add(&pod("no-handler", "absent"));
    node.runs_as("plain", "main", "1000");
    node.denied("as-root", "main", &root("main"));
    node.denied_at_sandbox(
        "network",
        "POD-HOST-NAMESPACE lab/host: pod `default/network` uses the host's network namespace; remove hostNetwork",
    );
    // This one is containerd's to refuse, and its words come through as they are.
    let words = api.wait_event("no-handler", "FailedCreatePodSandBox", "\"absent\"", SOON);
    assert!(words.contains("no runtime for"), "{words}");
}
