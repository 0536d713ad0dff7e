//! What is denied, with the text that the pod's status or the kubelet's log shows, and the twins that
//! look alike and start.

use serde_json::json;

use crate::node::{Denied, HARDENED, Node, Pod, SOON};

/// What the pod's status shows for a denial at CreateContainer.
fn at_create(text: &str) -> Denied {
    Denied {
        reason: "CreateContainerError".to_owned(),
        text: text.to_owned(),
    }
}

#[test]
fn what_policy_denies_does_not_start_and_the_kubelet_shows_why() {
    let node = Node::start("kubelet-denied", HARDENED);
    let good = node.registry.push("app-one", "shop/app:1").reference;
    let named = node.registry.push("busybox-app", "shop/named:1").reference;
    let root = node.registry.push("busybox", "shop/root:1").reference;
    let outside = node.registry.push("app-two", "other/app:1").reference;
    node.run(&[Pod::new("good", &good)]);
    let id = node.image_id(&good);

    let host_path = json!({"hostPath": {"path": "/etc", "type": "Directory"}});
    let pods = [
        Pod::new("outside", &outside),
        Pod::new("by-id", &id),
        Pod::new("by-id-never", &id).pull("Never"),
        Pod::new("capability", &good).container(
            "securityContext",
            &json!({"capabilities": {"add": ["SYS_ADMIN"]}}),
        ),
        Pod::new("privileged", &good).container("securityContext", &json!({"privileged": true})),
        Pod::new("root", &root),
        Pod::new("root-asked", &good).container("securityContext", &json!({"runAsUser": 0})),
        Pod::new("named", &named),
        Pod::new("host-path", &good).volume(&host_path, &json!({})),
        Pod::new("host-path-below", &good).volume(&host_path, &json!({"subPath": "ssl"})),
        Pod::new("host-network", &good).spec("hostNetwork", &json!(true)),
        Pod::new("host-pid", &good).spec("hostPID", &json!(true)),
    ];
    for pod in &pods {
        node.add(pod);
    }

    let denied = node.denial("outside", "REG-DENIED");
    assert_eq!(
        denied.text,
        format!(
            "REG-DENIED lab/registries: image `{outside}` is in no allowed repository; use an image from an allowed registry"
        )
    );
    let denied = node.denial("by-id", "REF-INVALID");
    assert_eq!(
        denied.text,
        format!(
            "REF-INVALID: image `{id}`: an image id is not an image reference; name a repository; write it as repository:tag or repository@sha256:..."
        )
    );
    assert_eq!(
        node.denial("capability", "POD-PRIVILEGED"),
        at_create(
            "POD-PRIVILEGED lab/host: container `main` adds capability `SYS_ADMIN`; remove it from securityContext.capabilities.add"
        )
    );
    for pod in ["root", "root-asked"] {
        assert_eq!(
            node.denial(pod, "POD-ROOT"),
            at_create(
                "POD-ROOT lab/host: container `main` runs as uid `0`; set securityContext.runAsUser to a number from 1 to 2147483647"
            )
        );
    }
    let denied = node.denial("named", "POD-ROOT");
    assert!(denied.text.contains("`app`"), "{denied:?}");
    assert_eq!(
        node.denial("host-path", "POD-HOSTPATH"),
        at_create(
            "POD-HOSTPATH lab/host: container `main` mounts `/etc` at `/mnt`: it is a path of the host that is not allowed; remove the hostPath volume"
        )
    );
    assert_eq!(
        node.denial("host-path-below", "POD-HOSTPATH"),
        at_create(
            "POD-HOSTPATH lab/host: container `main` mounts `/etc/ssl` at `/mnt`: it (by subPath) is a path of the host that is not allowed; remove the hostPath volume"
        )
    );

    // A standalone kubelet sends no events: what RunPodSandbox denies stands in its log.
    for (pod, text) in [
        (
            "privileged",
            "POD-PRIVILEGED lab/host: pod `default/privileged-127.0.0.1`",
        ),
        (
            "host-network",
            "POD-HOST-NAMESPACE lab/host: pod `default/host-network-127.0.0.1` uses the host's network namespace; remove hostNetwork",
        ),
        (
            "host-pid",
            "POD-HOST-NAMESPACE lab/host: pod `default/host-pid-127.0.0.1` uses the host's PID namespace; remove hostPID",
        ),
    ] {
        let line = node.kubelet.wait_log(text, SOON);
        assert!(line.contains("PermissionDenied"), "{pod}: {line}");
    }

    let never = node
        .kubelet
        .wait_waiting("by-id-never", "ErrImageNeverPull", SOON);
    assert!(never.contains("is not present"), "{never}");
    for pod in [
        "outside",
        "by-id",
        "by-id-never",
        "capability",
        "privileged",
        "root",
        "root-asked",
        "named",
        "host-path",
        "host-path-below",
        "host-network",
        "host-pid",
    ] {
        assert_eq!(node.created(pod), Vec::<String>::new(), "{pod}");
    }
}

#[test]
fn volumes_that_the_kubelet_makes_are_not_taken_for_paths_of_the_host() {
    let node = Node::start("kubelet-volumes", HARDENED);
    let image = node.registry.push("app-one", "shop/app:1").reference;
    // A config map in all but its source: a standalone kubelet has no client for config maps and projected volumes.
    let items = json!([{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let pods = [
        Pod::new("empty-dir", &image).volume(&json!({"emptyDir": {}}), &json!({})),
        Pod::new("empty-dir-memory", &image)
            .volume(&json!({"emptyDir": {"medium": "Memory"}}), &json!({})),
        Pod::new("empty-dir-below", &image)
            .volume(&json!({"emptyDir": {}}), &json!({"subPath": "a/b"})),
        Pod::new("empty-dir-memory-below", &image).volume(
            &json!({"emptyDir": {"medium": "Memory"}}),
            &json!({"subPath": "a"}),
        ),
        Pod::new("downward", &image).volume(
            &json!({"downwardAPI": {"items": items}}),
            &json!({"readOnly": true}),
        ),
        Pod::new("downward-file", &image).volume(
            &json!({"downwardAPI": {"items": items}}),
            &json!({"subPath": "name"}),
        ),
    ];
    node.run(&pods);
    for (pod, file) in [("downward", "/mnt/name"), ("downward-file", "/mnt")] {
        assert_eq!(node.inside(pod, &["cat", file]), format!("{pod}-127.0.0.1"));
    }
}

#[test]
fn a11_an_init_container_of_another_registry_keeps_its_pod_from_starting() {
    let node = Node::start("kubelet-init", HARDENED);
    let app = node.registry.push("app-one", "shop/app:1").reference;
    let allowed = node.registry.push("app-two", "shop/init:1").reference;
    let outside = node.registry.push("app-two", "other/init:1").reference;
    let init = |image: &str| json!([{"name": "init", "image": image, "command": ["/bin/sh", "-c", "cat /build"]}]);
    node.run(&[Pod::new("twin", &app).spec("initContainers", &init(&allowed))]);
    assert_eq!(node.inside("twin", &["cat", "/build"]), "one");

    node.add(&Pod::new("init", &app).spec("initContainers", &init(&outside)));
    let text = format!(
        "REG-DENIED lab/registries: image `{outside}` is in no allowed repository; use an image from an allowed registry"
    );
    // The pod's status shows the containers that are to run; this one is told in the kubelet's log.
    node.kubelet.wait_log(&text, SOON);
    assert_eq!(node.created("init"), Vec::<String>::new());
}

#[test]
fn a_volume_is_known_by_the_plugin_that_made_it_also_by_subpath() {
    let rules = r#"
  - name: registries
    registries: {allow: ["HOST/shop/**"]}
  - name: types
    containers: {volumes: {allow: [downwardAPI, hostPath]}}
"#;
    let node = Node::start("kubelet-types", rules);
    let image = node.registry.push("app-one", "shop/app:1").reference;
    let items = json!([{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let downward = json!({"downwardAPI": {"items": items}});
    let host = json!({"hostPath": {"path": "/etc/ssl", "type": "Directory"}});
    let denied = [
        Pod::new("disk", &image).volume(&json!({"emptyDir": {}}), &json!({})),
        Pod::new("disk-below", &image).volume(&json!({"emptyDir": {}}), &json!({"subPath": "a"})),
        Pod::new("memory-below", &image).volume(
            &json!({"emptyDir": {"medium": "Memory"}}),
            &json!({"subPath": "a"}),
        ),
    ];
    for pod in &denied {
        node.add(pod);
    }
    node.run(&[
        Pod::new("downward", &image).volume(&downward, &json!({})),
        Pod::new("downward-below", &image).volume(&downward, &json!({"subPath": "name"})),
        Pod::new("host", &image).volume(&host, &json!({"readOnly": true})),
    ]);
    for pod in ["disk", "disk-below", "memory-below"] {
        assert_eq!(
            node.denial(pod, "POD-VOLUME"),
            at_create(
                "POD-VOLUME lab/types: container `main` mounts a volume of type `kubernetes.io~empty-dir` at `/mnt`, which is not allowed; use a volume of another type"
            ),
            "{pod}"
        );
        assert_eq!(node.created(pod), Vec::<String>::new(), "{pod}");
    }
}
