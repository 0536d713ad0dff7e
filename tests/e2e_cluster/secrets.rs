//! Pull secrets of the cluster against a registry with a password.

use serde_json::{Value, json};

use crate::node::{Node, Pod, SOON};
use crate::support::registry::{PASSWORD, USER};

#[test]
fn a_pull_secret_serves_the_pod_that_has_it_and_no_other() {
    let node = Node::start("cluster-secrets");
    let image = node.private.push("app-one", "shop/app:1").reference;
    let api = &node.cluster.api;
    api.add_pull_secret("right", &node.private.host(), USER, PASSWORD);
    api.add_pull_secret("wrong", &node.private.host(), USER, "a guess");
    let with = |secret: &str| -> Value { json!([{"name": secret}]) };
    let refused = format!(
        "IMG-REFUSED: image `{image}`: the registry refused access; give the pod a pull secret for this registry, or correct the one that it has"
    );
    let denied = |pod: &str| {
        let message = api.wait_event(pod, "Failed", "IMG-REFUSED", SOON);
        assert!(message.contains(&refused), "{pod}: {message}");
        let view = api.wait_waiting(pod, "main", "IMG-REFUSED", SOON);
        assert!(view.message.contains(&refused), "{pod}: {view:?}");
        assert_eq!(node.created(pod), Vec::<String>::new(), "{pod}");
    };

    node.add(&Pod::new("before", &image));
    denied("before");
    node.add(&Pod::new("holder", &image).spec("imagePullSecrets", &with("right")));
    node.runs_as("holder", "main", "1000");
    // The image is on the node now; that is no right to it.
    node.add(&Pod::new("after", &image));
    denied("after");
    node.add(&Pod::new("guesser", &image).spec("imagePullSecrets", &with("wrong")));
    denied("guesser");
    node.add(&Pod::new("second-holder", &image).spec("imagePullSecrets", &with("right")));
    node.runs_as("second-holder", "main", "1000");
}
