//! Images that were on the node before the guard's first start.

use crate::node::{HARDENED, Node, Pod, Socket, policy};
use crate::support::containerd::Version;

#[test]
fn an_image_from_before_the_guard_is_pulled_again_and_without_its_registry_starts_only_if_adopted()
{
    let mut node = Node::with(
        "kubelet-before",
        Version::V2,
        Socket::HandedOver,
        HARDENED,
        |registry, containerd| {
            let cri = containerd.cri();
            // An image each: of an ID that it pulled itself a kubelet asks for credentials under every
            // other name, by a pull.
            for (built, name) in [
                ("app-one", "shop/online:1"),
                ("app-one", "shop/shared:1"),
                ("app-two", "shop/offline:1"),
                ("busybox-user", "shop/never:1"),
            ] {
                let image = registry.push(built, name).reference;
                cri.pull(&image, &cri.sandbox("before"))
                    .expect("containerd pulls");
            }
        },
    );
    let host = node.registry.host();
    let online = format!("{host}/shop/online:1");
    node.run(&[Pod::new("online", &online).pull("IfNotPresent")]);
    assert_eq!(node.inside("online", &["id", "-u"]), "1000");
    let audit = node.guard.audit();
    let pulled = |image: &str| {
        audit
            .iter()
            .any(|line| line.contains("PullImage") && line.contains(image))
    };
    assert!(pulled(&online), "it was pulled again: {audit:?}");

    node.registry.stop();
    let offline = format!("{host}/shop/offline:1");
    node.add(&Pod::new("offline", &offline).pull("IfNotPresent"));
    let denied = node.denial("offline", "IMG-UNREACHABLE");
    assert!(
        denied.text.ends_with(
            "; it was on the node before the guard: bring the registry back, or set preloaded: Adopt in the PolicySet"
        ),
        "{denied:?}"
    );
    assert_eq!(node.created("offline"), Vec::<String>::new());

    node.change_policy(&policy(&node.registry, "Adopt", HARDENED));
    node.kubelet.wait_running("offline", crate::node::SOON);
    assert_eq!(node.inside("offline", &["id", "-u"]), "1000");
    node.run(&[Pod::new("never", &format!("{host}/shop/never:1")).pull("Never")]);
    assert_eq!(node.inside("never", &["id", "-u"]), "1000");
    // The kubelet's own question, whether this pod's credentials open the name: the record knows no
    // answer to it (docs/decisions/0028).
    let shared = format!("{host}/shop/shared:1");
    node.add(&Pod::new("shared", &shared).pull("IfNotPresent"));
    node.denial("shared", "IMG-UNREACHABLE");
    assert_eq!(node.created("shared"), Vec::<String>::new());
}
