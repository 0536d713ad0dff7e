//! Images and containers that were on the node before the guard's first start.

use crate::node::{Bare, Node, STRICT, id_in, policy, shop_pinned};
use crate::support::cri::{FOREVER, PullPolicy};
use crate::support::{Guard, Pushed};

/// A node where one image was pulled, and runs, before the guard.
fn node(name: &str, set: &str) -> (Node, Pushed) {
    let bare = Bare::new(name);
    let app = bare.registry.push("app-one", "shop/app:1");
    bare.containerd
        .cri()
        .run("before", &app.reference, &FOREVER)
        .expect("started before the guard");
    let rules = shop_pinned(&bare.host());
    let policy = policy(&format!("{STRICT}{set}"), &rules);
    (bare.guarded(&policy), app)
}

/// How many containers and sandboxes run that neither passed nor were adopted.
fn counted(node: &Node) -> u64 {
    crate::support::until(
        "running containers are counted",
        std::time::Duration::from_secs(20),
        || node.status().unguarded_containers.ok_or("not yet"),
    )
}

#[test]
fn a_first_start_records_once_what_is_on_the_node() {
    let (mut node, app) = node("adopt-once", "");
    let first = node.status().adoption.expect("recorded at the first start");
    assert_eq!(
        (first.images, first.containers),
        (2, 1),
        "app and pause; one container"
    );
    node.run(&app.reference, PullPolicy::Always)
        .expect("starts");
    for crash in [false, true] {
        if crash {
            node.guard.kill9();
            node.guard.launch();
        } else {
            node.guard.restart();
        }
        let again = node.status().adoption.expect("still there");
        assert_eq!(again, first, "never written again");
    }
    assert_eq!(counted(&node), 0);
}

#[test]
fn a_container_brought_past_the_guard_is_counted_and_an_adopted_one_is_not() {
    let (mut node, app) = node("unguarded", "");
    node.containerd
        .cri()
        .run("past", &app.reference, &FOREVER)
        .expect("started past the guard");
    // The count is taken at the start, and then now and then.
    node.guard.restart();
    node.wait_active();
    let counted = counted(&node);
    assert_eq!(counted, 2, "the container and its sandbox");
}

#[test]
fn a_container_that_the_cri_does_not_list_is_counted() {
    let (mut node, app) = node("unlisted", "");
    let status = std::process::Command::new("ctr")
        .arg("--address")
        .arg(node.containerd.socket())
        .args(["--namespace", "k8s.io", "run", "--detach"])
        .args([app.reference.as_str(), "by-hand"])
        .args(FOREVER)
        .status()
        .expect("ctr runs");
    assert!(status.success());
    node.guard.restart();
    node.wait_active();
    let counted = counted(&node);
    let ended = std::process::Command::new("ctr")
        .arg("--address")
        .arg(node.containerd.socket())
        .args(["--namespace", "k8s.io", "task", "rm", "--force", "by-hand"])
        .status()
        .expect("ctr runs");
    assert!(ended.success());
    assert_eq!(counted, 1);
}

#[test]
fn an_image_from_before_the_guard_is_pulled_again_and_starts() {
    let (node, app) = node("preloaded", "");
    let started = node
        .run(&app.reference, PullPolicy::IfNotPresent)
        .expect("pulled through the guard, and starts");
    assert_eq!(node.build(&started), "one");
    node.audit_line(&["\"rpc\":\"CreateContainer\""]);
    let pulls = node
        .guard
        .audit()
        .into_iter()
        .filter(|line| line.contains("\"rpc\":\"PullImage\"") && line.contains("\"edit\":\"pin "))
        .count();
    assert_eq!(pulls, 1, "{:#?}", node.guard.audit());
}

#[test]
fn with_adopt_an_image_from_before_the_guard_starts_without_the_registry() {
    let (mut node, app) = node("adopt", "  preloaded: Adopt\n");
    node.registry.stop();
    for policy in [PullPolicy::IfNotPresent, PullPolicy::Never] {
        let started = node.run(&app.reference, policy);
        let started = started.unwrap_or_else(|refused| panic!("{policy:?}: {refused:?}"));
        assert_eq!(node.build(&started), "one");
    }
}

#[test]
fn with_adopt_a_pull_still_needs_the_registry() {
    // A pull asks whether these credentials open the name; the record cannot know.
    let (mut node, app) = node("adopt-pull", "  preloaded: Adopt\n");
    node.registry.stop();
    let refused = node
        .run(&app.reference, PullPolicy::Always)
        .expect_err("not answered from the record");
    assert_eq!(
        (refused.call, refused.text()),
        (
            "PullImage",
            format!(
                "RegistryUnavailable: IMG-UNREACHABLE: image `{}`: the registry could not be asked: no answer; bring the registry or its mirror back; the kubelet tries again",
                app.reference
            )
            .as_str()
        )
    );
    node.registry.start();
    node.run(&app.reference, PullPolicy::Always)
        .expect("with the registry back it is pulled");
}

#[test]
fn with_verify_an_image_from_before_the_guard_needs_the_registry_and_the_text_says_so() {
    let (mut node, app) = node("verify", "");
    node.registry.stop();
    let refused = node
        .run(&app.reference, PullPolicy::IfNotPresent)
        .expect_err("not proven");
    assert_eq!(refused.call, "PullImage");
    let text = refused.text();
    for part in [
        "RegistryUnavailable: IMG-UNREACHABLE",
        "it was on the node before the guard",
        "preloaded: Adopt",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let id = id_in(&node.containerd, &app.reference);
    let sandbox = node.sandbox(|_| {});
    let created = node
        .create(&sandbox, &id, &app.reference)
        .expect_err("nor is the create");
    assert_eq!(created.code(), "IMG-UNREACHABLE", "{created:?}");
    node.registry.start();
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("with the registry back it starts");
}

#[test]
fn what_the_registry_proved_once_starts_again_without_it_and_another_name_does_not() {
    let (mut node, app) = node("answer-kept", "");
    let id = id_in(&node.containerd, &app.reference);
    let sandbox = node.sandbox(|_| {});
    node.create(&sandbox, &id, &app.reference)
        .expect("proven by the registry");
    node.registry.stop();
    for restart in [false, true] {
        if restart {
            node.guard.restart();
            node.wait_active();
        }
        node.create(&sandbox, &id, &app.reference)
            .unwrap_or_else(|refused| panic!("restart {restart}: {refused:?}"));
        let other = format!("{}/shop/other:1", node.host());
        let created = node.create(&sandbox, &id, &other).expect_err("not proven");
        assert_eq!(created.code(), "IMG-UNREACHABLE", "{created:?}");
    }
}

#[test]
fn adopt_proves_only_the_name_that_was_recorded() {
    let bare = Bare::new("adopt-name");
    let foreign = bare.registry.push("app-two", "other/app:1");
    let named = format!("{}/shop/app:1", bare.host());
    bare.containerd
        .ctr(&["images", "pull", "--plain-http", &foreign.reference]);
    let id = id_in(&bare.containerd, &foreign.reference);
    let rules = shop_pinned(&bare.host());
    let adopt = policy(&format!("{STRICT}  preloaded: Adopt\n"), &rules);
    Guard::write_policy(&bare.lab, "policy.yaml", &adopt);
    let mut node = bare.started(|_, _| {});
    node.wait_active();
    // The name comes after the guard: it is not in the record.
    node.point(&foreign.reference, &named, &id);
    // The pause image is not on the node yet.
    let sandbox = node.sandbox(|_| {});
    node.registry.stop();
    let created = node
        .create(&sandbox, &id, &named)
        .expect_err("a name that was not recorded");
    assert_eq!(created.code(), "IMG-UNREACHABLE", "{created:?}");
}
