//! Containers that are added to a pod that runs already: no RunPodSandbox comes with them.

use serde_json::{Value, json};

use crate::node::{Node, Pod, SOON, root};
use crate::support::cri::FOREVER;
use crate::support::until;

/// What `kubectl debug` adds.
fn debugger(name: &str, image: &str, security: &Value) -> Value {
    json!({
        "name": name,
        "image": image,
        "command": FOREVER,
        "securityContext": security,
    })
}

#[test]
fn an_ephemeral_container_is_judged_like_any_other() {
    let node = Node::start("cluster-ephemeral");
    let app = node.push("app-one");
    let tools = node.push("busybox-user");
    node.add(&Pod::new("app", &app));
    node.runs_as("app", "main", "1000");
    let debug = |name: &str, security: Value| {
        node.cluster
            .api
            .debug("app", &debugger(name, &tools, &security))
            .expect("the API server takes it");
    };

    debug("plain", json!({}));
    node.runs_as("app", "plain", "1000");
    debug("as-root", json!({"runAsUser": 0}));
    node.denied("app", "as-root", &root("as-root"));
    debug("privileged", json!({"privileged": true}));
    node.denied(
        "app",
        "privileged",
        "POD-PRIVILEGED lab/host: container `privileged` is privileged; remove securityContext.privileged",
    );
    // What ran before goes on.
    node.runs_as("app", "main", "1000");
    node.runs_as("app", "plain", "1000");
}

#[test]
fn a_denied_ephemeral_container_does_not_keep_its_pods_own_from_starting_again() {
    let node = Node::start("cluster-debugged");
    let app = node.push("app-one");
    node.add(&Pod::new("app", &app));
    node.runs_as("app", "main", "1000");
    let debugger = debugger("debugger", &app, &json!({"privileged": true}));
    let added = node.cluster.api.debug("app", &debugger);
    added.expect("the API server takes it");
    node.denied(
        "app",
        "debugger",
        "POD-PRIVILEGED lab/host: container `debugger` is privileged; remove securityContext.privileged",
    );
    // From now on the kubelet calls the whole pod privileged, in the config of its sandbox too.
    let main = node.cluster.api.wait_running("app", "main", SOON).id;
    node.containerd.cri().stop(&main, 0).expect("ended");
    until("main runs again", SOON, || {
        let now = node.cluster.api.wait_running("app", "main", SOON).id;
        if now == main { Err("not yet") } else { Ok(()) }
    });
    node.runs_as("app", "main", "1000");
}
