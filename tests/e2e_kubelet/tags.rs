//! Tags that move, in the registry or on the node: the other image never starts.

use crate::node::{HARDENED, Node, Pod, SOON};
use crate::support::until;

/// The builds that run anywhere on the node: `/build` of every running container.
fn builds(node: &Node) -> Vec<String> {
    let cri = node.containerd.cri();
    let all = cri.list_containers().expect("containerd lists");
    let mut builds: Vec<String> = all
        .iter()
        .filter(|one| one.state == 1)
        .filter_map(|one| cri.exec(&one.id, &["cat", "/build"]).ok())
        .map(|output| output.stdout.trim().to_owned())
        .collect();
    builds.sort();
    builds.dedup();
    builds
}

#[test]
fn a_tag_that_moved_in_the_registry_or_was_repointed_on_the_node_never_starts_the_other_image() {
    let node = Node::start("kubelet-tags", HARDENED);
    let host = node.registry.host();
    // In the registry: what was pulled and pinned before is what a pod gets that does not pull.
    let moved = node.registry.push("app-one", "shop/moved:1").reference;
    node.run(&[Pod::new("moved-first", &moved)]);
    node.registry.push("app-two", "shop/moved:1");
    node.run(&[
        Pod::new("moved-present", &moved).pull("IfNotPresent"),
        Pod::new("moved-never", &moved).pull("Never"),
    ]);
    assert_eq!(builds(&node), ["one"]);

    // On the node: another image, of an allowed repository or not, under the pod's tag.
    let names = ["shop/local-a:1", "shop/local-b:1"];
    for (number, name) in names.into_iter().enumerate() {
        let local = node.registry.push("app-one", name).reference;
        node.run(&[Pod::new(&format!("local-first-{number}"), &local)]);
    }
    for (number, from) in ["shop/two:1", "other/two:1"].into_iter().enumerate() {
        node.registry.push("app-two", from);
        let foreign = format!("{host}/{from}");
        let local = format!("{host}/{}", names[number]);
        node.containerd.ctr(&["images", "pull", "--plain-http", &foreign]);
        node.containerd.ctr(&["images", "tag", "--force", &foreign, &local]);
        let foreign_id = node.image_id(&foreign);
        until("the name means the other image", SOON, || {
            let now = node.image_id(&local);
            if now == foreign_id { Ok(()) } else { Err(now) }
        });
        let (never, present) = (format!("never-{number}"), format!("present-{number}"));
        node.add(&Pod::new(&never, &local).pull("Never"));
        until("Never is refused", SOON, || {
            let view = node.kubelet.pod(&never).unwrap_or_default();
            let refused = view.containers.iter().any(|one| {
                one.state == "waiting"
                    && (one.reason == "ErrImageNeverPull" || one.message.contains("IMG-UNPROVEN"))
            });
            if refused { Ok(()) } else { Err(format!("{view:?}")) }
        });
        node.run(&[Pod::new(&present, &local).pull("IfNotPresent")]);
        assert_eq!(node.inside(&present, &["cat", "/build"]), "one", "{present}");
    }
    assert_eq!(builds(&node), ["one"]);
}
