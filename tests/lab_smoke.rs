//! The laboratory itself, on real parts and without the guard: if this fails, no other suite on real parts means anything.

mod support;

use std::time::Duration;

use support::cri::{FOREVER, PullPolicy};
use support::{Containerd, Lab, Registry};

#[test]
fn a_pod_runs_on_containerd_1_6_as_the_user_of_its_image() {
    let lab = Lab::new("smoke-v1");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v1_6(&lab, &registry);
    support::pods::users_are_those_of_the_images(&containerd, &registry);
}

#[test]
fn a_container_ends_and_its_log_is_read() {
    let lab = Lab::new("smoke-log");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v1_6(&lab, &registry);
    let pushed = registry.push("app-one", "app:1");
    let cri = containerd.cri();
    let pod = cri
        .run(
            "build",
            &pushed.reference,
            &["/bin/sh", "-c", "cat /build; exit 3"],
        )
        .unwrap_or_else(|refused| panic!("{refused:?}"));
    assert_eq!(cri.wait_exit(&pod.container, Duration::from_secs(20)), 3);
    assert_eq!(cri.logs(&pod.container), "one\n");
}

#[test]
fn a_tag_moves_in_the_registry() {
    let lab = Lab::new("smoke-tag");
    let registry = Registry::start_open(&lab);
    let one = registry.push("app-one", "app:1");
    let two = registry.push("app-two", "app:2");
    assert_ne!(one.digest, two.digest);
    registry.retag("app:2", "app:1");
    assert_eq!(registry.digest("app:1"), two.digest);
}

#[test]
fn the_image_for_this_platform_is_taken_from_an_index() {
    let lab = Lab::new("smoke-index");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v1_6(&lab, &registry);
    let single = registry.push("app-one", "app:1");
    let index = registry.push("platforms", "app:many");
    assert_ne!(single.digest, index.digest);
    let cri = containerd.cri();
    let sandbox = cri.sandbox("index");
    let from_single = cri
        .pull(&single.reference, &sandbox)
        .unwrap_or_else(|status| panic!("{status}"));
    let from_index = cri
        .pull(&index.reference, &sandbox)
        .unwrap_or_else(|status| panic!("{status}"));
    assert_eq!(from_single, from_index);
}

#[test]
fn a_registry_with_a_password_refuses_a_pull_without_it() {
    let lab = Lab::new("smoke-auth");
    let open = Registry::start_open(&lab);
    let private = Registry::start_private(&lab);
    let containerd = Containerd::v1_6(&lab, &open);
    let pushed = private.push("app-one", "secret/app:1");
    let cri = containerd.cri();
    let sandbox = cri.sandbox("auth");
    let status = cri
        .pull(&pushed.reference, &sandbox)
        .expect_err("containerd has no password");
    assert!(status.message().ends_with("401 Unauthorized"), "{status}");
    let with_password = support::messages::PullImageRequest {
        image: Some(support::cri::spec_for(&pushed.reference, &sandbox)),
        auth: Some(support::messages::AuthConfig {
            username: support::registry::USER.to_owned(),
            password: support::registry::PASSWORD.to_owned(),
            ..Default::default()
        }),
        sandbox_config: Some(sandbox),
    };
    cri.pull_with(with_password)
        .unwrap_or_else(|status| panic!("{status}"));
}

#[test]
fn containers_outlive_a_killed_containerd() {
    let lab = Lab::new("smoke-kill");
    let registry = Registry::start_open(&lab);
    let mut containerd = Containerd::v1_6(&lab, &registry);
    let pushed = registry.push("app-one", "app:1");
    let pod = containerd
        .cri()
        .run_with(
            "survivor",
            &pushed.reference,
            &FOREVER,
            PullPolicy::Always,
            |_, _| {},
        )
        .unwrap_or_else(|refused| panic!("{refused:?}"));
    containerd.kill9();
    containerd.start();
    let status = containerd
        .cri()
        .container_status(&pod.container)
        .unwrap_or_else(|status| panic!("{status}"));
    assert_eq!(status.state, 1, "{status:?}");
}

#[test]
fn nothing_stays_behind_even_if_a_test_fails() {
    let lab = Lab::new("smoke-clean");
    let root = lab.root().to_owned();
    let failing = std::thread::spawn(move || {
        let registry = Registry::start_open(&lab);
        let mut containerd = Containerd::v1_6(&lab, &registry);
        let pushed = registry.push("app-one", "app:1");
        containerd
            .cri()
            .run("left", &pushed.reference, &FOREVER)
            .unwrap_or_else(|refused| panic!("{refused:?}"));
        containerd.kill9();
        panic!("on purpose: containerd is dead and a pod still runs");
    });
    assert!(failing.join().is_err());
    assert_eq!(Lab::leftovers(&root), Vec::<String>::new());
}

#[test]
fn a_stopped_registry_answers_again_on_its_port() {
    let lab = Lab::new("smoke-stop");
    let mut registry = Registry::start_open(&lab);
    let pushed = registry.push("app-one", "app:1");
    let host = registry.host();
    registry.stop();
    assert!(std::net::TcpStream::connect(&host).is_err());
    registry.start();
    assert_eq!(registry.host(), host);
    assert_eq!(registry.digest("app:1"), pushed.digest);
}

#[test]
fn a_deleted_manifest_is_not_found() {
    let lab = Lab::new("smoke-delete");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v1_6(&lab, &registry);
    let pushed = registry.push("app-one", "app:1");
    registry.delete("app:1");
    let cri = containerd.cri();
    let status = cri
        .pull(&pushed.reference, &cri.sandbox("gone"))
        .expect_err("the manifest is gone");
    assert_eq!(status.code(), tonic::Code::NotFound, "{status}");
}

#[test]
fn a_frozen_containerd_answers_once_it_is_thawed() {
    let lab = Lab::new("smoke-freeze");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v1_6(&lab, &registry);
    let cri = containerd.cri();
    containerd.freeze();
    let status = cri
        .unary::<_, support::messages::VersionResponse>(
            "/runtime.v1.RuntimeService/Version",
            support::messages::VersionRequest::default(),
            Duration::from_millis(300),
        )
        .expect_err("nobody answers");
    assert_eq!(status.code(), tonic::Code::Cancelled, "{status}");
    containerd.thaw();
    assert!(cri.version().is_ok());
}

#[test]
fn a_name_is_pointed_elsewhere_with_ctr() {
    let lab = Lab::new("smoke-ctr");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v1_6(&lab, &registry);
    let one = registry.push("app-one", "app:1");
    let two = registry.push("app-two", "app:2");
    let cri = containerd.cri();
    let sandbox = cri.sandbox("ctr");
    let first = cri.pull(&one.reference, &sandbox).expect("pull one");
    let second = cri.pull(&two.reference, &sandbox).expect("pull two");
    assert_ne!(first, second);
    containerd.ctr(&["images", "tag", "--force", &two.reference, &one.reference]);
    let now = support::until(
        "containerd takes over the name",
        Duration::from_secs(10),
        || match cri.image_status(support::cri::spec(&one.reference)) {
            Ok(Some(image)) if image.id == second => Ok(image.id),
            other => Err(format!("{other:?}")),
        },
    );
    assert_eq!(now, second);
}
