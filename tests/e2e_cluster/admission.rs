//! Two gaps that admission has and the node closes: a static pod, and a pod that was made while the
//! webhook was away. And what a pod says of where it came from.

use serde_json::json;

use crate::node::{HARDENED, Node, Pod, SOON, root};

#[test]
fn a_pod_made_while_the_webhook_is_away_is_judged_by_the_node() {
    let node = Node::start("cluster-webhook");
    let app = node.push("app-one");
    let api = &node.cluster.api;
    let bad = |name: &str| Pod::new(name, &app).security(&json!({"runAsUser": 0}));
    // The twin that shows that the webhook is asked: with this policy its silence refuses the pod.
    node.cluster.add_dead_webhook("Fail");
    node.refused(&bad("refused"), "failed calling webhook");
    node.cluster.change_dead_webhook("Ignore");
    node.add_once_taken(&bad("slipped"));
    node.add(&Pod::new("good", &app));
    node.denied("slipped", "main", &root("main"));
    node.runs_as("good", "main", "1000");
    assert!(api.containers("refused").is_empty());
}

#[test]
fn a_static_pod_that_no_admission_sees_is_judged_by_the_node() {
    let node = Node::start("cluster-static");
    let app = node.push("app-one");
    let kubelet = &node.cluster.kubelet;
    let privileged = json!({"privileged": true});
    let bad = Pod::new("bad", &app).security(&json!({"runAsUser": 0}));
    kubelet.add("bad", &bad.as_static());
    kubelet.add("good", &Pod::new("good", &app).as_static());
    kubelet.add(
        "privileged",
        &Pod::new("privileged", &app)
            .security(&privileged)
            .as_static(),
    );
    // The mirror of a static pod shows what became of it.
    node.denied("bad-127.0.0.1", "main", &root("main"));
    node.runs_as("good-127.0.0.1", "main", "1000");
    node.denied_at_sandbox(
        "privileged-127.0.0.1",
        "POD-PRIVILEGED lab/host: pod `default/privileged-127.0.0.1` is privileged; remove securityContext.privileged from its containers",
    );

    // With a webhook that refuses everything there is not even a mirror, and the pod is on the node all the same.
    node.cluster.add_dead_webhook("Fail");
    node.refused(&Pod::new("refused", &app), "failed calling webhook");
    kubelet.add(
        "unseen",
        &Pod::new("unseen", &app)
            .security(&json!({"runAsUser": 0}))
            .as_static(),
    );
    kubelet.add("unseen-good", &Pod::new("unseen-good", &app).as_static());
    let text = kubelet.wait_waiting("unseen", "CreateContainerError", SOON);
    assert_eq!(text, root("main"));
    kubelet.wait_running("unseen-good", SOON);
    assert!(node.cluster.api.containers("unseen-127.0.0.1").is_empty());
    assert_eq!(node.created("unseen-127.0.0.1"), Vec::<String>::new());
}

/// [`HARDENED`] but for root, which is denied to all but static pods.
fn root_for_static_pods() -> String {
    let rules = HARDENED.replace("root: Deny, ", "");
    format!(
        "{rules}---\n\
         apiVersion: pullguard.io/v1alpha1\n\
         kind: NodePolicy\n\
         metadata: {{name: users}}\n\
         spec:\n  exclude: {{sources: [file]}}\n  rules:\n  - name: users\n    containers: {{root: Deny}}\n"
    )
}

#[test]
fn a_pod_of_the_api_that_says_that_it_is_static_is_judged_as_one_of_the_api() {
    let node = Node::with("cluster-forged", &root_for_static_pods());
    let app = node.push("app-one");
    let pod = |name: &str| Pod::new(name, &app).security(&json!({"runAsUser": 0}));
    let forged = json!({
        "kubernetes.io/config.source": "file",
        "kubernetes.io/config.hash": "0123456789abcdef0123456789abcdef",
    });
    node.add(&pod("forged").annotations(&forged));
    node.cluster.kubelet.add("real", &pod("real").as_static());
    node.runs_as("real-127.0.0.1", "main", "0");
    let text = root("main").replace("lab/host", "users/users");
    node.denied("forged", "main", &text);
}
