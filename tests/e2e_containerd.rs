//! The guard's own questions against containerd 2.x, where it answers otherwise than 1.6.
#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod support;

use std::time::Duration;

use pullguard::containerd::Containerd;
use pullguard::image::Reference;
use pullguard::limits::Limits;
use support::{Lab, Registry};

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
        let facts = asked.runtime_status(NOW).await.unwrap();
        assert_eq!(facts.pause_image, None);
        assert!(facts.verifies(""), "{facts:?}");
    });
}
