//! Tags that move, in the registry or on the node: the other image never starts.

use crate::front::Front;
use crate::node::{HARDENED, Node, Pod, SOON, policy};
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

    // On the node: another image under the pod's tag, of a repository that is allowed, of one that is
    // not, and of the same one.
    let local_c = node.registry.push("app-two", "shop/local-c:two").reference;
    let cri = node.guard.cri();
    cri.pull(&local_c, &cri.sandbox("pulls"))
        .expect("its own tag is allowed");
    for (letter, from) in [
        ("a", "shop/two:1"),
        ("b", "other/two:1"),
        ("c", "shop/local-c:two"),
    ] {
        let local = node
            .registry
            .push("app-one", &format!("shop/local-{letter}:1"))
            .reference;
        node.run(&[Pod::new(&format!("{letter}-first"), &local)]);
        if letter != "c" {
            node.registry.push("app-two", from);
        }
        let foreign = format!("{host}/{from}");
        node.containerd
            .ctr(&["images", "pull", "--plain-http", &foreign]);
        node.containerd
            .ctr(&["images", "tag", "--force", &foreign, &local]);
        let foreign_id = node.image_id(&foreign);
        until("the name means the other image", SOON, || {
            let now = node.image_id(&local);
            if now == foreign_id { Ok(()) } else { Err(now) }
        });
        for pull in ["Never", "IfNotPresent"] {
            let name = format!("{letter}-{}", pull.to_lowercase());
            node.add(&Pod::new(&name, &local).pull(pull));
            let denied = node.denial(&name, "IMG-UNPROVEN");
            assert_eq!(denied.reason, "CreateContainerError", "{denied:?}");
        }
        // As the text says: a pull through the guard gives the tag its own image back.
        let always = format!("{letter}-always");
        node.run(&[Pod::new(&always, &local).pull("Always")]);
        assert_eq!(node.inside(&always, &["cat", "/build"]), "one", "{always}");
        assert_eq!(
            node.inside(&format!("{letter}-never"), &["cat", "/build"]),
            "one"
        );
    }
    assert_eq!(builds(&node), ["one"]);
}

#[test]
fn a_tag_that_moves_between_the_judgement_and_the_pull_is_pulled_as_it_was_judged() {
    let node = Node::start("kubelet-race", HARDENED);
    node.registry.push("app-one", "shop/race:1");
    let (front, asked) = Front::start(&node.registry.host(), "/v2/shop/race/manifests/1 ");
    // Said to be plain HTTP, as a registry is that answers no TLS hello: else who asks waits for one.
    let plain = format!("server = \"http://{}\"\n", front.host());
    node.containerd.hosts(&front.host(), &plain);
    let rules = HARDENED.replace("HOST", &front.host());
    node.change_policy(&policy(&node.registry, "Verify", &rules));
    let image = format!("{}/shop/race:1", front.host());
    node.add(&Pod::new("race", &image));
    // The first who asks what the tag means is the guard. Its answer waits until the tag has moved.
    let waiting = asked
        .recv_timeout(SOON)
        .expect("the guard asks for the tag");
    let other = node.registry.push("app-two", "shop/race:1");
    drop(waiting);
    assert_eq!(node.inside("race", &["cat", "/build"]), "one");
    assert_eq!(builds(&node), ["one"]);
    assert_eq!(node.registry.digest("shop/race:1"), other.digest);
}
