//! Bootstrap, observe, Audit and `unmatched`, and the pause image.

use std::time::Duration;

use crate::node::{
    Bare, Node, OPEN, STRICT, from_file, namespace, policy, said, shop, shop_pinned,
};
use crate::support::cri::{FOREVER, PullPolicy};
use crate::support::messages::Empty;
use crate::support::{GuardSettings, until};
use crate::texts::unmatched;
use tonic::Code;

fn refusal_text<T>(result: &Result<T, crate::support::cri::Refused>) -> &str {
    result
        .as_ref()
        .map_or_else(|refused| refused.text(), |_| "")
}

/// Whether containerd asked the registry what `shop/app:1` means.
fn containerd_resolved(node: &Node) -> bool {
    node.registry.settled_requests().iter().any(|line| {
        line.contains("HEAD /v2/shop/app/manifests/1 ") && line.contains("\"containerd/")
    })
}

#[test]
fn a15_without_a_policy_only_static_pods_and_the_bootstrap_list_start() {
    let bare = Bare::new("a15");
    let app = bare.registry.push("app-one", "shop/app:1");
    let listed = bare.registry.push("busybox-user", "system/agent:1");
    let pinned = listed.pinned();
    let node = bare.started(|settings: &mut GuardSettings, _| {
        settings.bootstrap(&["kube-system"], &pinned);
    });
    let api = node.run(&app.reference, PullPolicy::IfNotPresent);
    assert_eq!(said(&api), ("RunPodSandbox", "STATE-BOOTSTRAP".to_owned()));
    let status = api.expect_err("waits").status;
    assert_eq!(status.code(), Code::Unavailable);

    // A pod without a source counts as one of the API.
    let unsaid = node.run_with(&app.reference, PullPolicy::IfNotPresent, |sandbox, _| {
        sandbox.annotations.clear();
    });
    assert_eq!(said(&unsaid).1, "STATE-BOOTSTRAP");

    node.run_with(&app.reference, PullPolicy::IfNotPresent, |sandbox, _| {
        from_file(sandbox);
    })
    .expect("a static pod starts");
    node.run_with(&listed.reference, PullPolicy::IfNotPresent, |sandbox, _| {
        namespace(sandbox, "kube-system");
    })
    .expect("the bootstrap list starts");
    node.denied(
        |node| {
            node.run_with(&app.reference, PullPolicy::IfNotPresent, |sandbox, _| {
                namespace(sandbox, "kube-system");
            })
        },
        "CreateContainer",
        &format!(
            "STATE-BOOTSTRAP: image `{}` is not on the bootstrap list, and this node has no policy yet; see pullguard status on the node",
            app.reference
        ),
    );
    let elsewhere = node.run_with(&listed.reference, PullPolicy::Always, |_, _| {});
    assert_eq!(said(&elsewhere).1, "STATE-BOOTSTRAP");
}

#[test]
fn a15_what_creates_nothing_is_relayed_without_a_policy() {
    let bare = Bare::new("a15-relay");
    let app = bare.registry.push("app-one", "shop/app:1");
    let before = bare
        .containerd
        .cri()
        .run("before", &app.reference, &FOREVER)
        .expect("started before the guard");
    let node = bare.started(|_, _| {});
    let cri = &node.cri;
    cri.version().expect("Version");
    cri.status(true).expect("Status");
    assert_eq!(cri.list_pods().expect("ListPodSandbox").len(), 1);
    assert_eq!(cri.list_containers().expect("ListContainers").len(), 1);
    assert!(!cri.list_images().expect("ListImages").is_empty());
    cri.container_status(&before.container)
        .expect("ContainerStatus");
    assert_eq!(node.build(&before), "one", "ExecSync");
    let limit = Duration::from_secs(10);
    let _: Empty = cri
        .unary("/runtime.v1.ImageService/ImageFsInfo", Empty {}, limit)
        .expect("ImageFsInfo");
    cri.stop(&before.container, 1).expect("StopContainer");
    cri.start(&before.container)
        .expect_err("containerd's own answer: it has ended");
    cri.remove(&before.container).expect("RemoveContainer");
    cri.remove_pod(&before.pod)
        .expect("StopPodSandbox, RemovePodSandbox");
    cri.remove_image(&app.reference).expect("RemoveImage");
    let status = node.status();
    assert_eq!(status.calls.denied + status.calls.undecided, 0);
}

#[test]
fn observe_forwards_unchanged_and_says_what_would_be_denied() {
    let bare = Bare::new("observe");
    let other = bare.registry.push("app-two", "other/app:1");
    let app = bare.registry.push("app-one", "shop/app:1");
    let set = shop_pinned(&bare.host());
    crate::support::Guard::write_policy(&bare.lab, "policy.yaml", &policy(STRICT, &set));
    let node = bare.started(|settings, _| {
        settings.set("mode", "\"observe\"");
    });
    node.wait_active();
    let denied = node
        .run(&other.reference, PullPolicy::IfNotPresent)
        .expect("nothing is refused");
    assert_eq!(node.build(&denied), "two");
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("allowed");
    let lines = until("both creates are told", Duration::from_secs(20), || {
        let lines: Vec<String> = node
            .guard
            .audit()
            .into_iter()
            .filter(|line| line.contains("CreateContainer"))
            .collect();
        if lines.len() == 2 {
            Ok(lines)
        } else {
            Err(format!("{lines:?}"))
        }
    });
    let would = |line: &&String| line.contains("\"verdict\":\"would-deny\"");
    let hit: Vec<&String> = lines.iter().filter(would).collect();
    assert_eq!(hit.len(), 1, "{lines:#?}");
    assert!(
        hit[0].contains("REG-DENIED") && hit[0].contains("other/app:1"),
        "{hit:?}"
    );
    assert!(
        node.guard
            .audit()
            .iter()
            .all(|line| !line.contains("\"edit\"")),
        "nothing is edited"
    );
    // The tag went upstream as it came.
    assert!(containerd_resolved(&node), "containerd itself resolved it");
}

#[test]
fn unmatched_images_and_pods_are_refused_where_the_set_says_deny() {
    let bare = Bare::new("unmatched");
    let host = bare.host();
    let app = bare.registry.push("app-one", "shop/app:1");
    let rules = shop(&host);
    let in_default = policy(STRICT, &rules).replace(
        "metadata: {name: gates}\nspec:\n  rules",
        "metadata: {name: gates}\nspec:\n  match: {namespaces: [default]}\n  rules",
    );
    let node = bare.guarded(&in_default);
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("covered");
    let elsewhere = |node: &Node| {
        node.run_with(&app.reference, PullPolicy::IfNotPresent, |sandbox, _| {
            namespace(sandbox, "elsewhere");
        })
    };
    node.denied_unasked(elsewhere, "CreateContainer", &unmatched(&app.reference));
    node.apply(&in_default.replace(STRICT, "  unmatched: {pods: Deny, images: Allow}\n"));
    node.denied_unasked(
        |node| node.run(&app.reference, PullPolicy::IfNotPresent),
        "RunPodSandbox",
        "POD-UNMATCHED gates/unmatched: pod `default/pod` is matched by no enforcing pod rule; run it in a namespace that the policy speaks of",
    );
    node.apply(&in_default.replace(STRICT, OPEN));
    elsewhere(&node).expect("unmatched is allowed");
}

#[test]
fn an_audit_rule_edits_hides_and_refuses_nothing() {
    let bare = Bare::new("audit");
    let rules = shop_pinned(&bare.host());
    let audit = policy(OPEN, &rules).replace("\n  rules:", "\n  action: Audit\n  rules:");
    let node = bare.guarded(&audit);
    let app = node.registry.push("app-one", "shop/app:1");
    let other = node.registry.push("app-two", "other/app:1");
    node.smuggle(&app.reference);
    node.run(&app.reference, PullPolicy::Never)
        .expect("an image of the node is not hidden");
    node.run(&other.reference, PullPolicy::Always)
        .expect("what an Audit rule forbids starts");
    let last = node
        .run(&app.reference, PullPolicy::Always)
        .expect("and nothing is pinned");
    node.audit_line(&["CreateContainer", "\"hits\"", "REG-DENIED"]);
    // The last call's line: all before it are written.
    let uid = last.sandbox.metadata.unwrap_or_default().uid;
    node.audit_line(&["CreateContainer", &uid]);
    let lines = node.guard.audit();
    assert!(
        lines.iter().all(|line| !line.contains("\"edit\"")),
        "{lines:#?}"
    );
    assert!(containerd_resolved(&node), "containerd itself resolved it");
}

#[test]
fn a9_an_unlisted_pause_image_is_warned_of_or_refused_as_the_set_says() {
    let node = Node::pinning("a9");
    let app = node.registry.push("app-one", "shop/app:1");
    let rules = shop_pinned(&node.host());
    let set = |keys: &str| policy(&format!("{STRICT}{keys}"), &rules);
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("pause: Warn is the default");
    node.audit_line(&["RunPodSandbox", "\"verdict\":\"warned\"", "IMG-UNPROVEN"]);

    let refused = node.refusal(&set("  pause: Deny\n"));
    assert!(
        refused.contains("IMG-UNPROVEN") && refused.contains("allowLockout"),
        "{refused}"
    );
    node.apply(&set("  pause: Deny\n  allowLockout: true\n"));
    node.denied_unasked(
        |node| node.run(&app.reference, PullPolicy::IfNotPresent),
        "RunPodSandbox",
        &format!(
            "IMG-UNPROVEN gates/pause: pause image `{}` is not proven to be one of the bootstrap list; put repository@sha256:... of it on the list",
            node.containerd.pause().reference
        ),
    );
    let listed = format!(
        "  pause: Deny\n  bootstrap:\n  - {{namespaces: [kube-system], image: \"{}\"}}\n",
        node.containerd.pause().pinned()
    );
    node.apply(&set(&listed));
    let started = node.run(&app.reference, PullPolicy::IfNotPresent);
    assert_eq!(refusal_text(&started), "", "a listed pause image starts");
}

#[test]
fn only_an_enforced_deny_brings_the_pause_image_to_the_node() {
    for (name, mode, pause, fetches) in [
        ("pause-warn", "enforce", "Warn", false),
        ("pause-observe", "observe", "Deny", false),
        ("pause-deny", "enforce", "Deny", true),
    ] {
        let bare = Bare::new(name);
        let listed = bare.containerd.pause().clone();
        let set = format!(
            "{OPEN}  pause: {pause}\n  bootstrap:\n  - {{namespaces: [kube-system], image: \"{}\"}}\n",
            listed.pinned()
        );
        let rules = shop(&bare.host());
        crate::support::Guard::write_policy(&bare.lab, "policy.yaml", &policy(&set, &rules));
        let node = bare.started(|settings, _| {
            settings.set("mode", &format!("\"{mode}\""));
        });
        node.wait_active();
        let _sandbox = node.sandbox(|_| {});
        // The guard pulls by digest, containerd by the configured tag.
        let by_tag = format!("HEAD /v2/pause/manifests/{} ", tag_of(&listed.reference));
        let asked = node.registry.requests();
        let own = asked
            .iter()
            .any(|line| line.contains(&by_tag) && line.contains("containerd"));
        assert_eq!(!own, fetches, "{name}: {asked:#?}");
    }
}

fn tag_of(reference: &str) -> &str {
    reference.rsplit(':').next().unwrap_or_default()
}
