//! The guard's own questions against containerd 2.x, where it answers otherwise than 1.6.

mod support;

use std::time::Duration;

use pullguard::containerd::Containerd;
use pullguard::image::Reference;
use pullguard::limits::Limits;
use pullguard::report::Status;
use support::cri::{FOREVER, PullPolicy};
use support::{Guard, GuardSettings, Lab, Registry, until};

const NOW: Duration = Duration::from_secs(10);

#[test]
fn an_alias_and_the_settings_of_containerd_2() {
    let lab = Lab::new("ctd2-alias");
    let registry = Registry::start_open(&lab);
    let containerd = support::Containerd::v2(&lab, &registry);
    let pushed = registry.push("busybox-user", "app:1");
    let tag = Reference::parse(&pushed.reference).unwrap();
    let pinned = Reference::parse(&pushed.pinned()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let asked = Containerd::new(&containerd.socket(), "k8s.io", &Limits::default()).unwrap();
        let id = asked.pull_image(&pinned, NOW).await.unwrap();
        asked.alias(&tag, &pinned, &id, NOW).await.unwrap();
        let image = asked
            .image_status(&tag.to_string(), NOW)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((image.id, image.uid), (id, Some(1000)));
        let candidates = asked.candidates(&id, NOW).await.unwrap();
        assert_eq!(candidates.len(), 1);
        assert_eq!(Some(&candidates[0].digest), pinned.digest());
        let records = asked.records_of(&id, NOW).await.unwrap();
        let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
        let mut wanted = vec![tag.to_string(), pinned.to_string(), id.to_string()];
        wanted.sort();
        assert_eq!(names, wanted);
        let facts = asked.runtime_status(NOW).await.unwrap();
        assert_eq!(facts.pause_image, None);
        assert!(facts.verifies(""), "{facts:?}");
    });
}

/// A guard in front of containerd 2.x under a policy that pins.
fn guarded(lab: &Lab, containerd: &support::Containerd, rules: &str) -> Guard {
    let policy = format!(
        "apiVersion: pullguard.io/v1alpha1\nkind: PolicySet\nmetadata: {{name: e2e}}\nspec:\n  audience: e2e\n  unmatched: {{pods: Allow, images: Allow}}\n---\napiVersion: pullguard.io/v1alpha1\nkind: NodePolicy\nmetadata: {{name: e2e}}\nspec:\n  rules:\n{rules}"
    );
    Guard::write_policy(lab, "policy.yaml", &policy);
    let guard = Guard::start(lab, &GuardSettings::new(lab, containerd));
    until("a policy is in force", NOW, || {
        let output = guard.command(&["status", "-o", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("active") || text.contains("Active") {
            Ok(())
        } else {
            Err(text)
        }
    });
    guard
}

#[test]
fn on_containerd_2_a_checkpoint_is_refused_and_ordinary_images_stand_on_their_layers() {
    let lab = Lab::new("ctd2-content");
    let registry = Registry::start_open(&lab);
    let containerd = support::Containerd::v2(&lab, &registry);
    let host = registry.host();
    let rules = format!(
        "  - name: registries\n    registries: {{allow: [\"{host}/**\"]}}\n  - name: pinned\n    images: [\"{host}/shop/**\"]\n    digest: Pin\n"
    );
    let guard = guarded(&lab, &containerd, &rules);
    let cri = guard.cri();
    let app = registry.push("app-one", "shop/app:1");
    let started = cri
        .run_with(
            "app",
            &app.reference,
            &FOREVER,
            PullPolicy::Always,
            |_, _| {},
        )
        .unwrap();
    let checkpoint = registry.push("checkpoint", "tenant/checkpoint:1");
    let pulled = cri.run_with(
        "checkpoint",
        &checkpoint.reference,
        &FOREVER,
        PullPolicy::Always,
        |_, _| {},
    );
    let refused = pulled.unwrap_err();
    assert_eq!((refused.call, refused.code()), ("PullImage", "IMG-CONFIG"));
    let names = containerd.ctr(&["images", "list", "-q"]);
    assert!(!names.contains("tenant/"), "{names}");
    let again = cri
        .run_with(
            "again",
            &app.reference,
            &FOREVER,
            PullPolicy::Never,
            |_, _| {},
        )
        .unwrap();
    assert_eq!(again.image_id, started.image_id);
}

#[test]
fn what_ran_on_containerd_2_before_the_guard_is_judged_by_containerds_own_record_of_it() {
    let lab = Lab::new("ctd2-running");
    let registry = Registry::start_open(&lab);
    let containerd = support::Containerd::v2(&lab, &registry);
    let host = registry.host();
    let run = |image: &str, name: &str| {
        let pushed = registry.push(image, name);
        let started = containerd.cri().run("pod", &pushed.reference, &FOREVER);
        started.unwrap().container
    };
    let other = run("app-two", "other/app:1");
    let root = run("busybox", "shop/root:1");
    let user = run("busybox-user", "shop/user:1");
    let rules = format!(
        "  - name: registries\n    registries: {{allow: [\"{host}/shop/**\"]}}\n  - name: user\n    containers: {{root: Deny}}\n"
    );
    let guard = guarded(&lab, &containerd, &rules);
    let running = until("what runs is judged", NOW, || {
        let output = guard.command(&["status", "-o", "json"]);
        let status: Status = serde_json::from_slice(&output.stdout).unwrap();
        status.running.ok_or_else(|| "not yet".to_owned())
    });
    // Three sandboxes, three containers.
    assert_eq!(
        (running.judged, running.denied, running.undecided),
        (6, 2, 1),
        "{running:?}"
    );
    let lines: Vec<serde_json::Value> = until("the lines are written", NOW, || {
        let lines = guard.audit();
        let parsed = lines
            .iter()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let of: Vec<_> = parsed.filter(|line| line["rpc"].is_null()).collect();
        if of.len() == 3 {
            Ok(of)
        } else {
            Err(format!("{lines:#?}"))
        }
    });
    for (container, code, name) in [
        (&other, "REG-DENIED", "other/app:1"),
        (&root, "POD-ROOT", "shop/root:1"),
        // Only the adoption record knows whose image it is, and the policy does not take its word.
        (&user, "IMG-UNREACHABLE", "shop/user:1"),
    ] {
        let line = lines.iter().find(|line| line["id"] == **container).unwrap();
        assert_eq!(line["code"], code, "{line}");
        assert_eq!(line["image"]["ref"], format!("{host}/{name}"), "{line}");
        let status = containerd.cri().container_status(container).unwrap();
        assert_eq!(status.state, 1, "{line}");
    }
}
