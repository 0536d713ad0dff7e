//! What runs, judged again by the policy in force: what would not be let start is said once, and goes on.

use std::time::Duration;

use pullguard::report::RunningStatus;
use serde_json::{Value, json};

use crate::crafted::Crafted;
use crate::faults::proxied;
use crate::node::{
    Bare, NO_IMAGE_RULE, Node, OPEN, STRICT, from_file, pinned, policy, said, shop_pinned,
};
use crate::support::cri::{PullPolicy, Started};
use crate::support::until;

const SOON: Duration = Duration::from_secs(20);

const NO_ROOT: &str = "  - name: user\n    containers: {root: Deny}\n";

/// Judged, denied and not told, and the codes of both that are not at zero.
fn counts(running: &RunningStatus) -> (u64, u64, u64, Vec<(String, u64)>) {
    let codes = running
        .denied_by_code
        .iter()
        .chain(&running.undecided_by_code);
    let some = codes.filter(|(_, count)| **count > 0);
    (
        running.judged,
        running.denied,
        running.undecided,
        some.map(|(code, count)| (code.clone(), *count)).collect(),
    )
}

/// The audit lines about what runs, once there are `count`.
fn lines(node: &Node, count: usize) -> Vec<Value> {
    until("the audit lines are written", SOON, || {
        let all = node.guard.audit();
        let parsed = all.iter().map(|line| serde_json::from_str::<Value>(line));
        let of: Vec<Value> = parsed
            .map(|line| line.expect("a line of JSON"))
            .filter(|line| line["schema"] == "pullguard.running/v1")
            .collect();
        if of.len() >= count {
            Ok(of)
        } else {
            Err(format!("{all:#?}"))
        }
    })
}

fn goes_on(node: &Node, started: &Started) {
    let status = node.containerd.cri().container_status(&started.container);
    let status = status.expect("the container is there");
    assert_eq!(
        (status.id.as_str(), status.state),
        (started.container.as_str(), 1)
    );
}

#[test]
fn a_container_that_a_new_policy_would_deny_is_reported_once_and_goes_on() {
    let bare = Bare::new("running-denied");
    let root = bare.registry.push("busybox", "shop/root:1");
    let user = bare.registry.push("busybox-user", "shop/user:1");
    let mut node = bare.guarded(&policy(OPEN, NO_IMAGE_RULE));
    let bad = node
        .run(&root.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    let twin = node
        .run(&user.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    assert!(lines_now(&node).is_empty(), "nothing is denied yet");

    node.apply(&policy(OPEN, NO_ROOT));
    let found = node.judged(|found| found.judged == 4);
    let one = |code: &str| vec![(code.to_owned(), 1)];
    assert_eq!(counts(&found), (4, 1, 0, one("POD-ROOT")));
    let told = lines(&node, 1);
    assert_eq!(told.len(), 1, "{told:#?}");
    for (field, wanted) in [
        ("event", json!("running_denied")),
        ("verdict", json!("would-deny")),
        ("code", json!("POD-ROOT")),
        ("policy", json!("gates")),
        ("rule", json!("user")),
        ("policy_version", json!(found.policy_version)),
        ("container", json!("main")),
        ("id", json!(bad.container)),
    ] {
        assert_eq!(told[0][field], wanted, "{field}");
    }
    assert_eq!(told[0]["image"]["ref"], json!(root.reference));
    assert_eq!(told[0]["pod"]["namespace"], json!("default"));
    assert_eq!(told[0]["hits"][0]["effect"], json!("would-deny"));
    let events = |node: &Node| {
        let log = node.guard.log();
        log.lines()
            .filter(|line| line.contains("running_denied"))
            .count()
    };
    assert_eq!(events(&node), 1);
    let gauge = "pullguard_running_denied{code=\"POD-ROOT\"} ";
    let metrics = node.settings.metrics().expect("metrics");
    assert!(metrics.contains(&format!("{gauge}1\n")), "{metrics}");
    let human = node.guard.command(&["status"]);
    let human = String::from_utf8_lossy(&human.stdout).into_owned();
    assert!(
        human.contains("1 would not be let start now (POD-ROOT 1), 0 could not be told"),
        "{human}"
    );
    goes_on(&node, &bad);
    goes_on(&node, &twin);
    let again = node.run(&root.reference, PullPolicy::IfNotPresent);
    assert_eq!(said(&again), ("CreateContainer", "POD-ROOT".to_owned()));

    // The guard of after a restart says it again, by its own record of how the pod names the image.
    node.guard.restart();
    node.cri = node.guard.cri();
    let found = node.judged(|found| found.denied == 1);
    assert_eq!(counts(&found).3, one("POD-ROOT"));
    let told = lines(&node, 2);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[1]["image"]["ref"], json!(root.reference));
    assert!(
        told.iter().all(|line| line["id"] == json!(bad.container)),
        "{told:#?}"
    );

    node.apply(&policy(OPEN, NO_IMAGE_RULE));
    let found = node.judged(|found| found.denied == 0);
    assert_eq!(found.denied_by_code.get("POD-ROOT"), Some(&0));
    let metrics = node.settings.metrics().expect("metrics");
    assert!(metrics.contains(&format!("{gauge}0\n")), "{metrics}");
    goes_on(&node, &bad);
    assert_eq!(lines_now(&node).len(), 2);
}

fn lines_now(node: &Node) -> Vec<Value> {
    lines(node, 0)
}

#[test]
fn images_of_what_runs_are_judged_without_a_packet_to_a_registry() {
    let bare = Bare::new("running-images");
    let app = bare.registry.push("app-one", "shop/app:1");
    let other = bare.registry.push("app-two", "other/app:1");
    let rules = shop_pinned(&bare.host());
    let mut node = bare.guarded(&policy(OPEN, NO_IMAGE_RULE));
    let good = node
        .run(&app.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    let bad = node
        .run(&other.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    let asked = node.registry.settled_requests();

    node.apply(&policy(STRICT, &rules));
    let found = node.judged(|found| found.judged == 4);
    assert_eq!(
        counts(&found),
        (4, 1, 0, vec![("REG-DENIED".to_owned(), 1)])
    );
    let told = lines(&node, 1);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["id"], json!(bad.container));
    let hit = |rule: &str, code: &str| json!({"policy": "gates", "rule": rule, "action": "Enforce", "effect": "would-deny", "code": code});
    assert_eq!(
        told[0]["hits"],
        json!([
            hit("registries", "REG-DENIED"),
            hit("unmatched", "IMG-UNMATCHED")
        ])
    );
    assert_eq!(node.registry.settled_requests(), asked);

    // Without the ledger nothing tells whose image it is; it was made under a name that this
    // containerd does not keep.
    node.guard.stop();
    std::fs::remove_file(node.lab.path("guard-state/ledger.redb")).expect("remove the ledger");
    node.guard.launch();
    node.cri = node.guard.cri();
    let found = node.judged(|found| found.judged == 4);
    assert_eq!(
        counts(&found),
        (4, 0, 2, vec![("RUNTIME-UNAVAILABLE".to_owned(), 2)])
    );
    let told = lines(&node, 3);
    assert!(
        told[1..]
            .iter()
            .all(|line| line["event"] == "running_undecided"),
        "{told:#?}"
    );
    assert_eq!(node.registry.settled_requests(), asked);
    goes_on(&node, &good);
    goes_on(&node, &bad);
}

#[test]
fn what_a_lost_image_was_could_not_be_told_and_is_no_denial() {
    let bare = Bare::new("running-lost");
    let app = bare.registry.push("app-one", "shop/app:1");
    let rules = pinned(&bare.host());
    let mut node = bare.guarded(&rules);
    let started = node
        .run(&app.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    node.containerd
        .cri()
        .remove_image(&app.reference)
        .expect("RemoveImage");
    // A guard that remembers nothing of what it read.
    node.guard.restart();
    node.cri = node.guard.cri();
    let found = node.judged(|found| found.undecided == 1);
    assert_eq!(
        counts(&found),
        (2, 0, 1, vec![("IMG-UNREACHABLE".to_owned(), 1)])
    );
    assert_eq!(lines(&node, 1)[0]["id"], json!(started.container));
    goes_on(&node, &started);
}

#[test]
fn a_pass_repairs_no_name_that_the_next_create_leads_back() {
    let bare = Bare::new("running-names");
    let app = bare.registry.push("app-one", "shop/app:1");
    let mut node = bare.guarded(&policy(OPEN, NO_IMAGE_RULE));
    let started = node
        .run(&app.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    let note = r#","Annotations":{"org.criu.checkpoint.container.name":"app"}"#;
    let foreign = Crafted::of(&node.lab, "cp", "app-one")
        .index(note)
        .push(&node.registry, "aaa/checkpoint:1");
    let id = node.smuggle(&foreign.reference);
    assert_eq!(id, started.image_id, "the same image");
    node.containerd
        .ctr(&["images", "rm", "--sync", &foreign.reference]);
    // What the ID's own name leads to is a checkpoint now.
    let names = || node.containerd.ctr(&["images", "ls"]);
    let astray = names();
    assert!(astray.contains(&foreign.digest), "{astray}");

    node.guard.restart();
    node.cri = node.guard.cri();
    let found = node.judged(|found| found.judged == 2);
    assert_eq!(counts(&found), (2, 0, 0, Vec::new()));
    let names = || node.containerd.ctr(&["images", "ls"]);
    assert_eq!(names(), astray, "a look changes nothing");
    goes_on(&node, &started);

    let sandbox = node.sandbox(|_| {});
    node.create(&sandbox, &id, &app.reference)
        .expect("led back");
    assert!(!names().contains(&foreign.digest), "{}", names());
}

#[test]
fn under_observe_what_runs_is_judged_the_same() {
    let bare = Bare::new("running-observe");
    let root = bare.registry.push("busybox", "shop/root:1");
    crate::support::Guard::write_policy(&bare.lab, "policy.yaml", &policy(OPEN, NO_ROOT));
    let node = bare.started(|settings, _| {
        settings.set("mode", "\"observe\"");
    });
    node.wait_active();
    let started = node
        .run(&root.reference, PullPolicy::IfNotPresent)
        .expect("observed");
    let more = format!("{NO_ROOT}    message: \"use a number\"\n");
    node.apply(&policy(OPEN, &more));
    let found = node.judged(|found| found.judged == 2);
    assert_eq!(counts(&found), (2, 1, 0, vec![("POD-ROOT".to_owned(), 1)]));
    assert_eq!(lines(&node, 1)[0]["id"], json!(started.container));
    goes_on(&node, &started);
}

#[test]
fn a_static_pod_that_a_policy_locks_out_is_reported_once_that_policy_is_in_force() {
    let bare = Bare::new("running-static");
    let root = bare.registry.push("busybox", "shop/root:1");
    let node = bare.guarded(&policy(OPEN, NO_IMAGE_RULE));
    let started = node
        .run_with(&root.reference, PullPolicy::IfNotPresent, |sandbox, _| {
            from_file(sandbox);
            let linux = sandbox.linux.get_or_insert_default();
            let context = linux.security_context.get_or_insert_default();
            let options = context.namespace_options.get_or_insert_default();
            options.network = 2;
            sandbox.hostname.clear();
        })
        .expect("starts");
    let rules = format!("{NO_ROOT}  - name: host\n    containers: {{hostNamespaces: Deny}}\n");
    let refused = node.refusal(&policy(OPEN, &rules));
    assert!(refused.contains("allowLockout"), "{refused}");
    assert!(lines_now(&node).is_empty(), "it is not in force");

    node.apply(&policy(&format!("{OPEN}  allowLockout: true\n"), &rules));
    let found = node.judged(|found| found.judged == 2);
    // The sandbox for its namespaces; the container by the guard's own record, for both.
    assert_eq!(counts(&found).1, 2);
    let told = lines(&node, 2);
    let of = |line: &&Value| line.get("container").is_none();
    let sandbox = told.iter().find(of).expect("a line of the sandbox");
    assert_eq!(
        (&sandbox["code"], &sandbox["id"]),
        (&json!("POD-HOST-NAMESPACE"), &json!(started.pod))
    );
    let container = told
        .iter()
        .find(|line| !of(line))
        .expect("a line of the container");
    assert_eq!(container["id"], json!(started.container));
    let codes: Vec<&Value> = container["hits"]
        .as_array()
        .expect("hits")
        .iter()
        .map(|hit| &hit["code"])
        .collect();
    assert_eq!(codes, ["POD-ROOT", "POD-HOST-NAMESPACE"]);
    goes_on(&node, &started);
}

#[test]
fn what_a_containerd_that_goes_away_does_not_tell_is_asked_again_and_not_reported() {
    let (node, proxy) = proxied(Bare::new("running-away"));
    let before = node.judged(|_| true);
    node.sandbox(|_| {});
    node.sandbox(|_| {});
    proxy.away_at("/PodSandboxStatus");
    let host = "  - name: host\n    containers: {hostNamespaces: Deny}\n";
    node.apply(&policy(OPEN, host));
    until("containerd is away", SOON, || {
        proxy.is_away().then_some(()).ok_or("not yet".to_owned())
    });
    // Time for what must not come.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(node.status().running, Some(before), "no pass has ended");
    proxy.is_back();
    node.apply(&policy(OPEN, &format!("{host}    message: \"no\"\n")));
    let found = node.judged(|found| found.judged == 2);
    assert_eq!(counts(&found), (2, 0, 0, Vec::new()));
    assert!(lines_now(&node).is_empty(), "nothing was said");
}

#[test]
fn a_rule_about_the_other_name_of_an_image_could_not_be_told_either() {
    let bare = Bare::new("running-nameless");
    let one = bare.registry.push("busybox", "shop/root:1");
    let other = bare.registry.push("busybox", "other/root:1");
    let mut node = bare.guarded(&policy(OPEN, NO_IMAGE_RULE));
    node.run(&one.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    node.smuggle(&other.reference);
    // Nothing tells any more by which of both names the pod asked for it.
    node.guard.stop();
    std::fs::remove_file(node.lab.path("guard-state/ledger.redb")).expect("remove the ledger");
    node.guard.launch();
    node.cri = node.guard.cri();
    for path in ["shop", "other"] {
        let images = format!("    images: [\"{}/{path}/**\"]\n", node.host());
        node.apply(&policy(OPEN, &format!("{NO_ROOT}{images}")));
        let found = node.judged(|found| found.judged == 2);
        assert_eq!(
            counts(&found),
            (2, 0, 1, vec![("RUNTIME-UNAVAILABLE".to_owned(), 1)]),
            "{path}"
        );
    }
}
