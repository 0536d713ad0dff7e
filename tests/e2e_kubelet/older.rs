//! The main cases with Debian's containerd 1.6.

use serde_json::json;

use crate::node::{HARDENED, Node, Pod, Socket, ids};
use crate::support::containerd::Version;

#[test]
fn on_containerd_1_6_a_kubelet_starts_what_is_allowed_shows_what_is_denied_and_survives_a_kill() {
    let mut node = Node::with("kubelet-1.6", Version::V1, Socket::Own, HARDENED, |_, _| {});
    let good = node.registry.push("app-one", "shop/app:1").reference;
    let root = node.registry.push("busybox", "shop/root:1").reference;
    let outside = node.registry.push("app-two", "other/app:1").reference;
    for pull in ["Always", "IfNotPresent", "Never"] {
        let name = format!("good-{}", pull.to_lowercase());
        node.run(&[Pod::new(&name, &good)
            .pull(pull)
            .volume(&json!({"emptyDir": {}}), &json!({"subPath": "a"}))]);
        assert_eq!(node.inside(&name, &["id", "-u"]), "1000");
    }
    node.add(&Pod::new("outside", &outside));
    node.add(&Pod::new("root", &root));
    node.add(&Pod::new("host-path", &good).volume(
        &json!({"hostPath": {"path": "/etc"}}),
        &json!({"subPath": "ssl"}),
    ));
    node.add(&Pod::new("host-network", &good).spec("hostNetwork", &json!(true)));
    node.denial("outside", "REG-DENIED lab/registries: ");
    node.denial("root", "POD-ROOT lab/host: ");
    node.denial("host-path", "POD-HOSTPATH lab/host: ");
    node.kubelet
        .wait_log("POD-HOST-NAMESPACE lab/host: ", crate::node::SOON);
    let view = |node: &Node| ids(&node.kubelet.pod("good-always").unwrap_or_default());
    let before = view(&node);
    node.kill_guard();
    node.run(&[Pod::new("after", &good).pull("Never")]);
    assert_eq!(node.inside("after", &["id", "-u"]), "1000");
    assert_eq!(view(&node), before);
    for pod in ["outside", "root", "host-path", "host-network"] {
        assert_eq!(node.created(pod), Vec::<String>::new(), "{pod}");
    }
    node.assert_runtime_was_never_down();
}
