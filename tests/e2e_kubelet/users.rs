//! A tag under `digest: Pin` starts, and its container has the uid of the image's USER.

use crate::node::{Node, PINNED, Pod, policy};

const POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// Pods of both images under all three pull policies. Always comes first: it brings the images.
fn round(node: &Node, name: &str) {
    for pull in POLICIES {
        let pods: Vec<(Pod, String, &str)> = [("user", "1000"), ("app", "1001")]
            .into_iter()
            .map(|(image, uid)| {
                let pod = format!("{name}-{image}-{}", pull.to_lowercase());
                let reference = format!("{}/shop/{image}:1", node.registry.host());
                (Pod::new(&pod, &reference).pull(pull), pod, uid)
            })
            .collect();
        node.run(
            &pods
                .iter()
                .map(|(pod, _, _)| pod.clone())
                .collect::<Vec<_>>(),
        );
        for (_, pod, uid) in &pods {
            assert_eq!(node.inside(pod, &["id", "-u"]), *uid, "{pod}");
        }
    }
}

#[test]
fn a_tag_under_pin_starts_as_the_user_of_its_image_whatever_the_pull_policy_before_and_after_a_kill_of_the_guard_and_a_change_of_policy()
 {
    let mut node = Node::start("kubelet-users", PINNED);
    let user = node.registry.push("busybox-user", "shop/user:1");
    node.registry.push("busybox-app", "shop/app:1");
    round(&node, "first");
    let asked = node.registry.settled_requests();
    let by_containerd = |part: &str| -> Vec<&String> {
        let from_it = asked.iter().filter(|line| line.contains("\"containerd/"));
        from_it.filter(|line| line.contains(part)).collect()
    };
    let pinned = format!("/v2/shop/user/manifests/{}", user.digest);
    assert_ne!(by_containerd(&pinned), Vec::<&String>::new());
    // containerd reads by digest also what it resolved by tag itself: it must never ask for the tag.
    for tag in ["/v2/shop/user/manifests/1 ", "/v2/shop/app/manifests/1 "] {
        assert_eq!(by_containerd(tag), Vec::<&String>::new());
    }

    node.kill_guard();
    round(&node, "killed");

    // A rule more is another version; what was pulled under the first still counts.
    let more = format!("{PINNED}  - name: host\n    containers: {{privileged: Deny}}\n");
    node.change_policy(&policy(&node.registry, "Verify", &more));
    node.registry.stop();
    for (image, uid) in [("user", "1000"), ("app", "1001")] {
        for pull in ["IfNotPresent", "Never"] {
            let pod = format!("changed-{image}-{}", pull.to_lowercase());
            let reference = format!("{}/shop/{image}:1", node.registry.host());
            node.run(&[Pod::new(&pod, &reference).pull(pull)]);
            assert_eq!(node.inside(&pod, &["id", "-u"]), uid, "{pod}");
        }
    }
    node.registry.start();
    round(&node, "changed-online");
    node.assert_runtime_was_never_down();
}

#[test]
fn an_image_that_was_pulled_before_the_policy_asked_for_pins_starts_when_it_does() {
    let loose = "\n  - name: registries\n    registries: {allow: [\"HOST/shop/**\"]}\n";
    let node = Node::start("kubelet-loose", loose);
    let image = node.registry.push("busybox-app", "shop/app:1").reference;
    node.run(&[Pod::new("loose", &image).pull("IfNotPresent")]);

    node.change_policy(&policy(&node.registry, "Verify", PINNED));
    node.run(&[Pod::new("never-first", &image).pull("Never")]);
    assert_eq!(node.inside("never-first", &["id", "-u"]), "1001");
    node.run(&[Pod::new("pinned", &image).pull("IfNotPresent")]);
    assert_eq!(node.inside("pinned", &["id", "-u"]), "1001");
    node.run(&[Pod::new("never", &image).pull("Never")]);
    assert_eq!(node.inside("never", &["id", "-u"]), "1001");
}
