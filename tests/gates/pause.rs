//! The pause image: what containerd says of it, and that the guard brings the listed one.

use crate::node::{Bare, STRICT, policy, shop_pinned};
use crate::support::Guard;
use crate::support::cri::PullPolicy;

/// `pause: Deny`, and an entry for this image if there is one.
fn deny(host: &str, entry: Option<&str>) -> String {
    let entry = entry.map_or_else(String::new, |image| {
        format!("  bootstrap:\n  - {{namespaces: [kube-system], image: \"{image}\"}}\n")
    });
    policy(
        &format!("{STRICT}  pause: Deny\n  allowLockout: true\n{entry}"),
        &shop_pinned(host),
    )
}

#[test]
fn without_a_setting_the_pause_image_is_the_one_that_containerd_1_6_names_in_its_status() {
    let bare = Bare::new("pause-name");
    let app = bare.registry.push("app-one", "shop/app:1");
    let pause = bare.containerd.pause().clone();
    let host = bare.host();
    Guard::write_policy(&bare.lab, "policy.yaml", &deny(&host, None));
    let node = bare.started(|settings, _| {
        settings.unset("pause_image");
    });
    node.wait_active();
    node.denied_unasked(
        |node| node.run(&app.reference, PullPolicy::IfNotPresent),
        "RunPodSandbox",
        &format!(
            "IMG-UNPROVEN gates/pause: pause image `{}` is not proven to be one of the bootstrap list; put repository@sha256:... of it on the list",
            pause.reference
        ),
    );
    node.apply(&deny(&host, Some(&pause.pinned())));
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("the listed one");
}

#[test]
fn a_pause_image_that_is_not_here_yet_is_pulled_by_the_digest_of_its_entry_whatever_its_tag_means()
{
    let bare = Bare::new("pause-fetch");
    let app = bare.registry.push("app-one", "shop/app:1");
    let pause = bare.containerd.pause().clone();
    bare.registry.push("app-two", "pause:3.10");
    assert_ne!(bare.registry.digest("pause:3.10"), pause.digest);
    let entry = deny(&bare.host(), Some(&pause.pinned()));
    let node = bare.guarded(&entry);
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("the listed pause image is brought, and its pod starts");
    let asked: Vec<String> = node
        .registry
        .settled_requests()
        .into_iter()
        .filter(|line| line.contains("/v2/pause/manifests/") && line.contains("\"containerd/"))
        .collect();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| line.contains(&pause.digest)),
        "only the listed digest was asked for: {asked:#?}"
    );
}
