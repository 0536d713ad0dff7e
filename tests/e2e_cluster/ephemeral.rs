//! Containers that are added to a pod that runs already: no RunPodSandbox comes with them.

use serde_json::{Value, json};

use crate::node::{Node, Pod, root};
use crate::support::cri::FOREVER;

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
