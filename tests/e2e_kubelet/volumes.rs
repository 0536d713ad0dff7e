//! A10: image volumes on containerd 2.x, which mounts them.

use serde_json::json;

use crate::node::{HARDENED, Node, Pod};
use crate::support::cri::{FOREVER, PullPolicy};
use crate::support::messages::{ImageSpec, Mount};

/// A pod whose /mnt is an image volume.
fn with_volume(name: &str, image: &str, volume: &str) -> Pod {
    let source = json!({"image": {"reference": volume, "pullPolicy": "IfNotPresent"}});
    Pod::new(name, image).volume(&source, &json!({"readOnly": true}))
}

#[test]
fn an_image_volume_of_an_allowed_image_is_mounted_and_one_of_another_registry_is_not() {
    let node = Node::start("kubelet-volume", HARDENED);
    let app = node.registry.push("app-one", "shop/app:1").reference;
    let files = node.registry.push("app-two", "shop/files:1").reference;
    let outside = node.registry.push("app-two", "other/files:1").reference;
    node.run(&[with_volume("volume", &app, &files)]);
    assert_eq!(node.inside("volume", &["cat", "/build"]), "one");
    assert_eq!(node.inside("volume", &["cat", "/mnt/build"]), "two");

    node.add(&with_volume("outside", &app, &outside));
    let denied = node.denial("outside", "REG-DENIED");
    assert_eq!(
        denied.text,
        format!(
            "REG-DENIED lab/registries: image `{outside}` is in no allowed repository; use an image from an allowed registry"
        )
    );
    assert_eq!(node.created("outside"), Vec::<String>::new());
}

#[test]
fn an_image_volume_is_the_image_that_its_text_names_and_no_path_beside_it() {
    let mut node = Node::start("kubelet-volume-id", HARDENED);
    let app = node.registry.push("app-one", "shop/app:1").reference;
    let files = node.registry.push("app-two", "shop/files:1").reference;
    node.run(&[with_volume("pulls", &app, &files)]);
    let (own, other) = (node.image_id(&app), node.image_id(&files));
    // It ends pods that are not its own, in the middle of their start too.
    node.kubelet.stop();
    let cri = node.guard.cri();
    let run = |name: &str, id: &str, sub_path: &str| {
        let mount = Mount {
            container_path: "/mnt".to_owned(),
            readonly: true,
            image: Some(ImageSpec {
                image: id.to_owned(),
                user_specified_image: files.clone(),
                ..ImageSpec::default()
            }),
            image_sub_path: sub_path.to_owned(),
            ..Mount::default()
        };
        let change = |_: &mut _, container: &mut crate::support::messages::ContainerConfig| {
            container.mounts.push(mount);
        };
        cri.run_with(name, &app, &FOREVER, PullPolicy::IfNotPresent, change)
    };
    let started = run("twin", &other, "").expect("its own ID is mounted");
    let build = cri.exec(&started.container, &["cat", "/mnt/build"]);
    assert_eq!(build.expect("exec").stdout, "two\n");
    let below = run("below", &other, "etc").expect("a directory of it is mounted");
    let passwd = cri.exec(&below.container, &["ls", "/mnt/passwd"]);
    assert_eq!(passwd.expect("exec").code, 0);

    let before = containers(&node);
    let swapped = run("swapped", &own, "").expect_err("another image's ID");
    let (repository, _) = files.rsplit_once(':').expect("a tag");
    assert_eq!(
        swapped.text(),
        format!(
            "ImageVolumeMountFailed: IMG-UNPROVEN lab/registries: image `{files}`: nothing shows that image `{own}` belongs to `{repository}`; pull it again through the guard (imagePullPolicy: Always, or remove it from the node)"
        )
    );
    for path in ["../..", "etc/../..", "/etc"] {
        let up = run("up", &other, path).expect_err("a path that leaves the volume");
        assert_eq!(
            (up.call, up.text()),
            (
                "CreateContainer",
                "RPC-MALFORMED: request `CreateContainer`: field `Mount.image_sub_path` is an absolute path or has `..` in it; report the client that sent it"
            ),
            "{path}"
        );
    }
    let mut come = containers(&node);
    come.retain(|id| !before.contains(id));
    assert_eq!(come, Vec::<String>::new());
}

fn containers(node: &Node) -> Vec<String> {
    let all = node.containerd.cri().list_containers();
    let all = all.expect("containerd lists");
    all.into_iter().map(|one| one.id).collect()
}
