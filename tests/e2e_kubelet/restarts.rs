//! The guard dies and comes back: nothing that runs is lost, nothing that is denied starts.

use serde_json::json;

use crate::front::Front;
use crate::node::{HARDENED, Node, Pod, SOON, ids, killing_meanwhile, policy};
use crate::support::{Cri, until};

const RUNNING: [&str; 3] = ["one", "two", "three"];
const DENIED: [&str; 3] = ["outside", "root", "host-path"];

#[test]
fn a_guard_that_is_killed_under_load_loses_no_container_and_starts_none_that_is_denied() {
    let mut node = Node::start("kubelet-kill", HARDENED);
    let good = node.registry.push("app-one", "shop/app:1").reference;
    let root = node.registry.push("busybox", "shop/root:1").reference;
    let outside = node.registry.push("app-two", "other/app:1").reference;
    node.run(&RUNNING.map(|name| Pod::new(name, &good)));
    node.add(&Pod::new("outside", &outside).pull("Always"));
    node.add(&Pod::new("root", &root).pull("Always"));
    node.add(
        &Pod::new("host-path", &good).volume(&json!({"hostPath": {"path": "/etc"}}), &json!({})),
    );
    node.denial("outside", "REG-DENIED");
    node.denial("root", "POD-ROOT");
    node.denial("host-path", "POD-HOSTPATH");
    let views = |node: &Node| RUNNING.map(|name| ids(&node.kubelet.pod(name).unwrap_or_default()));
    let before = views(&node);

    // Calls that fail with the guard that carried them are what is asked for here.
    let socket = node.guard.socket().to_owned();
    let load = || {
        let Ok(cri) = Cri::try_connect(&socket) else {
            return;
        };
        cri.list_containers().ok();
        cri.pull(&good, &cri.sandbox("load")).ok();
        cri.pull(&outside, &cri.sandbox("load")).ok();
        cri.run("load-outside", &outside, &["true"]).ok();
    };
    for turn in 0..3 {
        // The kubelet itself is busy too: it starts a pod and tries the denied ones again.
        node.add(&Pod::new(&format!("during-{turn}"), &good).pull("Always"));
        killing_meanwhile(&mut node.guard, 3, load);
    }
    for turn in 0..3 {
        assert_eq!(
            node.inside(&format!("during-{turn}"), &["id", "-u"]),
            "1000"
        );
    }
    assert_eq!(views(&node), before);
    for pod in DENIED {
        assert_eq!(node.created(pod), Vec::<String>::new(), "{pod}");
    }
    let all = node
        .containerd
        .cri()
        .list_containers()
        .expect("containerd lists");
    let foreign: Vec<&str> = all
        .iter()
        .filter(|one| !one.image_ref.is_empty() && one.image_ref != node.image_id(&good))
        .map(|one| one.image_ref.as_str())
        .collect();
    assert_eq!(foreign, Vec::<&str>::new());
    node.assert_runtime_was_never_down();
}

#[test]
fn over_a_restart_of_the_guard_the_kubelet_never_misses_its_runtime_and_containers_keep_their_ids()
{
    let mut node = Node::start("kubelet-restart", HARDENED);
    let good = node.registry.push("app-one", "shop/app:1").reference;
    node.run(&RUNNING.map(|name| Pod::new(name, &good)));
    let views = |node: &Node| RUNNING.map(|name| ids(&node.kubelet.pod(name).unwrap_or_default()));
    let before = views(&node);
    for turn in 0..4 {
        node.guard.restart();
        let name = format!("after-{turn}");
        node.run(&[Pod::new(&name, &good)]);
    }
    assert_eq!(views(&node), before);
    node.assert_runtime_was_never_down();
}

#[test]
fn a_restart_within_a_pull_and_within_a_stop_is_over_before_the_kubelet_misses_its_runtime() {
    let mut node = Node::start("kubelet-restart-busy", HARDENED);
    let good = node.registry.push("app-one", "shop/app:1").reference;
    node.registry.push("app-two", "shop/slow:1");
    let (front, asked) = Front::start(&node.registry.host(), "/v2/shop/slow/blobs/");
    let rules = HARDENED.replace("HOST", &node.registry.host());
    let both = rules.replace(
        "/shop/**\"]",
        &format!("/shop/**\", \"{}/shop/**\"]", front.host()),
    );
    node.change_policy(&policy(&node.registry, "Verify", &both));
    node.run(&RUNNING.map(|name| Pod::new(name, &good)));
    // The first process of a container has no default for SIGTERM: it takes the whole grace.
    let stubborn = Pod::new("stubborn", &good).spec("terminationGracePeriodSeconds", &json!(30));
    node.run(&[stubborn]);
    let views = |node: &Node| RUNNING.map(|name| ids(&node.kubelet.pod(name).unwrap_or_default()));
    let before = views(&node);

    node.add(&Pod::new("slow", &format!("{}/shop/slow:1", front.host())));
    let held = asked
        .recv_timeout(SOON)
        .expect("containerd asks for a blob");
    node.kubelet.remove("stubborn");
    node.kubelet
        .wait_log("Killing container with a grace period", SOON);
    node.guard.restart();
    drop(held);

    assert_eq!(node.inside("slow", &["cat", "/build"]), "two");
    until("the stubborn container is gone", SOON, || {
        let left = node.created("stubborn");
        if left.is_empty() {
            Ok(())
        } else {
            Err(left.join(" "))
        }
    });
    assert_eq!(views(&node), before);
    node.assert_runtime_was_never_down();
}

#[test]
fn a_guard_that_stays_away_is_missed_by_the_kubelet_and_no_container_is_lost() {
    let mut node = Node::start("kubelet-away", HARDENED);
    let good = node.registry.push("app-one", "shop/app:1").reference;
    node.run(&RUNNING.map(|name| Pod::new(name, &good)));
    let views = |node: &Node| RUNNING.map(|name| ids(&node.kubelet.pod(name).unwrap_or_default()));
    let before = views(&node);
    node.guard.stop();
    node.kubelet.wait_log("container runtime is down", SOON);
    node.guard.launch();
    node.run(&[Pod::new("after", &good)]);
    assert_eq!(views(&node), before);
}
