//! The guard's own questions against a real containerd: blobs, records, aliases, settings.
#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod support;

use std::time::Duration;

use pullguard::containerd::{ContainerState, Containerd, ContainerdError};
use pullguard::image::{Digest, Reference};
use pullguard::limits::Limits;
use pullguard::request::Readiness;
use support::cri::FOREVER;
use support::{Lab, Registry};

const NOW: Duration = Duration::from_secs(10);
const MIB: usize = 1024 * 1024;

/// A laboratory with one containerd, and the guard's connection to it.
struct Real {
    runtime: tokio::runtime::Runtime,
    asked: Containerd,
    containerd: support::Containerd,
    registry: Registry,
    lab: Lab,
}

impl Real {
    fn new(name: &str) -> Self {
        let lab = Lab::new(name);
        let registry = Registry::start_open(&lab);
        let containerd = support::Containerd::v1_6(&lab, &registry);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let inside = runtime.enter();
        let asked = Containerd::new(&containerd.socket(), "k8s.io", &Limits::default()).unwrap();
        drop(inside);
        Self {
            runtime,
            asked,
            containerd,
            registry,
            lab,
        }
    }

    fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    /// Pushes an image and pulls it by digest: its `repo@D` and its ID.
    fn pulled(&self, image: &str, name: &str) -> (Reference, Reference, Digest) {
        let pushed = self.registry.push(image, name);
        let by_tag = Reference::parse(&pushed.reference).unwrap();
        let by_digest = Reference::parse(&pushed.pinned()).unwrap();
        let id = self.wait(self.asked.pull_image(&by_digest, NOW)).unwrap();
        (by_tag, by_digest, id)
    }
}

#[test]
fn an_alias_gives_the_pulled_image_its_tag() {
    let real = Real::new("ctd-alias");
    let (tag, pinned, id) = real.pulled("busybox-user", "app:1");
    let name = tag.to_string();
    assert_eq!(
        real.wait(real.asked.image_status(&name, NOW)).unwrap(),
        None
    );
    real.wait(real.asked.alias(&tag, &pinned, &id, NOW))
        .unwrap();
    let image = real
        .wait(real.asked.image_status(&name, NOW))
        .unwrap()
        .unwrap();
    assert_eq!(image.id, id);
    assert_eq!(image.repo_tags, vec![name.clone()]);
    assert_eq!(image.repo_digests, vec![pinned.to_string()]);
    assert_eq!(image.uid, Some(1000));
    let target = real
        .wait(real.asked.image_target(&name, NOW))
        .unwrap()
        .unwrap();
    assert_eq!(Some(&target.digest), pinned.digest());
}

#[test]
fn an_alias_moves_a_tag_that_names_another_image() {
    let real = Real::new("ctd-move");
    let (tag, first, one) = real.pulled("app-one", "app:1");
    real.wait(real.asked.alias(&tag, &first, &one, NOW))
        .unwrap();
    let (_, second, two) = real.pulled("app-two", "app:1");
    assert_ne!(one, two);
    real.wait(real.asked.alias(&tag, &second, &two, NOW))
        .unwrap();
    let image = real
        .wait(real.asked.image_status(&tag.to_string(), NOW))
        .unwrap()
        .unwrap();
    assert_eq!(image.id, two);
}

#[test]
fn an_alias_again_changes_nothing() {
    let real = Real::new("ctd-again");
    let (tag, pinned, id) = real.pulled("app-one", "app:1");
    real.wait(real.asked.alias(&tag, &pinned, &id, NOW))
        .unwrap();
    real.wait(real.asked.alias(&tag, &pinned, &id, NOW))
        .unwrap();
}

#[test]
fn an_alias_of_a_forged_record_is_refused() {
    let real = Real::new("ctd-forged");
    let (_, good, _) = real.pulled("app-one", "app:1");
    let (tag, evil, two) = real.pulled("app-two", "app:2");
    // Somebody lets the name of the good digest point at the other image.
    real.containerd.ctr(&[
        "images",
        "tag",
        "--force",
        &evil.to_string(),
        &good.to_string(),
    ]);
    assert_eq!(
        real.wait(real.asked.alias(&tag, &good, &two, NOW)),
        Err(ContainerdError::Bad {
            name: good.to_string(),
            why: "the record points at another digest than its name".to_owned(),
        })
    );
}

#[test]
fn an_alias_of_an_image_that_is_away_says_so() {
    let real = Real::new("ctd-away");
    let (tag, _, id) = real.pulled("app-one", "app:1");
    let absent = Reference::parse(&format!("{}@{}", tag.repository(), Digest::of(b"x"))).unwrap();
    assert_eq!(
        real.wait(real.asked.alias(&tag, &absent, &id, NOW)),
        Err(ContainerdError::NotFound {
            asked: "naming an image",
            name: absent.to_string(),
        })
    );
}

#[test]
fn the_chain_of_an_image_is_in_the_content_store() {
    let real = Real::new("ctd-chain");
    let (_, pinned, id) = real.pulled("platforms", "app:many");
    let candidates = real.wait(real.asked.candidates(&id, NOW)).unwrap();
    let digest = pinned.digest().unwrap();
    assert_eq!(candidates.len(), 1);
    assert_eq!(&candidates[0].digest, digest);
    let names = vec![pinned.to_string(), id.to_string()];
    assert_eq!(candidates[0].names, names);
    assert_eq!(real.wait(real.asked.names_of(digest, NOW)).unwrap(), names);
    for blob in [digest, &id] {
        let bytes = real.wait(real.asked.blob(blob, MIB, NOW)).unwrap().unwrap();
        assert_eq!(Digest::of(&bytes), *blob);
    }
}

#[test]
fn a_blob_over_the_limit_is_refused() {
    let real = Real::new("ctd-limit");
    let (_, _, id) = real.pulled("app-one", "app:1");
    assert_eq!(
        real.wait(real.asked.blob(&id, 10, NOW)),
        Err(ContainerdError::TooLarge {
            name: id.to_string(),
            limit: 10,
        })
    );
}

#[test]
fn a_blob_that_is_away_is_none() {
    let real = Real::new("ctd-none");
    let digest = Digest::of(b"nowhere");
    assert_eq!(real.wait(real.asked.blob(&digest, MIB, NOW)).unwrap(), None);
    assert_eq!(
        real.wait(real.asked.candidates(&digest, NOW)).unwrap(),
        vec![]
    );
}

#[test]
fn a_blob_with_other_bytes_is_bad() {
    let real = Real::new("ctd-bytes");
    let (_, _, id) = real.pulled("app-one", "app:1");
    let bytes = real.wait(real.asked.blob(&id, MIB, NOW)).unwrap().unwrap();
    let blobs = "containerd1/root/io.containerd.content.v1.content/blobs/sha256";
    let file = real.lab.path(blobs).join(id.hex());
    std::fs::write(&file, vec![b' '; bytes.len()]).unwrap();
    assert_eq!(
        real.wait(real.asked.blob(&id, MIB, NOW)),
        Err(ContainerdError::Bad {
            name: id.to_string(),
            why: "the stored bytes have another digest".to_owned(),
        })
    );
}

#[test]
fn settings_of_1_6_tell_pause_image_runtime_snapshotter_and_directories() {
    let real = Real::new("ctd-facts");
    let facts = real.wait(real.asked.runtime_status(NOW)).unwrap();
    let pause = facts.pause_image.clone().unwrap();
    assert!(pause.ends_with("/pause:3.10"), "{pause}");
    assert_eq!(facts.default_runtime.as_deref(), Some("runc"));
    assert_eq!(facts.handlers["runc"].runtime_type, "io.containerd.runc.v2");
    assert!(facts.verifies(""), "{facts:?}");
    let home = real.containerd.socket().with_file_name("");
    for own in ["root", "state", "cni", "certs.d"] {
        let path = home.join(own).display().to_string();
        assert!(facts.directories.contains(&path), "{path}: {facts:?}");
    }
    let version = real.wait(real.asked.version(NOW)).unwrap();
    assert_eq!(version.runtime_name, "containerd");
}

#[test]
fn a_running_pod_is_told_by_its_records() {
    let real = Real::new("ctd-pod");
    let pushed = real.registry.push("busybox", "busybox:1");
    let cri = real.containerd.cri();
    let pod = cri
        .run("web", &pushed.reference, &FOREVER)
        .unwrap_or_else(|refused| panic!("{refused:?}"));
    let sandbox = real.wait(real.asked.sandbox(&pod.pod, NOW)).unwrap();
    assert_eq!(sandbox.readiness, Readiness::Ready);
    let info = real.wait(real.asked.sandbox_info(&pod.pod, NOW)).unwrap();
    assert!(info.is_some_and(|info| info.contains("\"config\"")));
    let listed = real.wait(real.asked.list_pod_sandbox(NOW)).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].id, &listed[0].uid),
        (&sandbox.id, &sandbox.pod.uid)
    );
    let containers = real.wait(real.asked.list_containers(NOW)).unwrap();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0].sandbox_id.as_ref(), Some(&pod.pod));
    let container = real
        .wait(real.asked.container_status(&pod.container, true, NOW))
        .unwrap();
    assert_eq!(container.state, ContainerState::Running);
    assert!(container.info.is_some());
    let images = real.wait(real.asked.list_images(NOW)).unwrap();
    assert_eq!(images.len(), 2, "busybox and pause: {images:?}");
}

#[test]
fn a_prefix_of_a_sandboxs_id_is_no_answer() {
    let real = Real::new("ctd-prefix");
    let pushed = real.registry.push("busybox", "busybox:1");
    let cri = real.containerd.cri();
    let pod = cri
        .run("web", &pushed.reference, &FOREVER)
        .unwrap_or_else(|refused| panic!("{refused:?}"));
    let prefix: String = pod.pod.chars().take(12).collect();
    assert_eq!(
        real.wait(real.asked.sandbox(&prefix, NOW)),
        Err(ContainerdError::Bad {
            name: prefix.clone(),
            why: "containerd answered for another ID".to_owned(),
        })
    );
}

#[test]
fn a_stopped_containerd_is_unavailable_and_found_again() {
    let mut real = Real::new("ctd-restart");
    real.wait(real.asked.version(NOW)).unwrap();
    real.containerd.stop();
    let error = real.wait(real.asked.version(NOW)).unwrap_err();
    assert!(error.is_undecided(), "{error}");
    assert!(
        matches!(
            error,
            ContainerdError::Unavailable {
                asked: "Version",
                ..
            }
        ),
        "{error}"
    );
    real.containerd.start();
    real.wait(real.asked.version(NOW)).unwrap();
}

#[test]
fn a_hung_containerd_costs_no_more_than_the_time_given() {
    let real = Real::new("ctd-hung");
    real.wait(real.asked.version(NOW)).unwrap();
    real.containerd.freeze();
    let within = Duration::from_millis(200);
    let error = real.wait(real.asked.version(within)).unwrap_err();
    real.containerd.thaw();
    assert_eq!(
        error.to_string(),
        "containerd did not answer Version within 200 ms"
    );
}
