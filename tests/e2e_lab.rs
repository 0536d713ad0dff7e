//! The laboratory's larger parts, without the guard: containerd 2.x, a real kubelet with static pods, and
//! a cluster of one node.
#![expect(
    clippy::expect_used,
    reason = "a helper of these tests stops where they would"
)]

mod support;

use std::time::Duration;

use serde_json::json;
use support::cluster::NODE;
use support::cri::FOREVER;
use support::{Cluster, Containerd, Kubelet, Lab, Registry};

#[test]
fn a_pod_runs_on_containerd_2_as_the_user_of_its_image() {
    let lab = Lab::new("e2e-v2");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v2(&lab, &registry);
    let cri = containerd.cri();
    assert!(
        cri.version()
            .expect("Version answers")
            .runtime_version
            .contains("2.4")
    );
    support::pods::users_are_those_of_the_images(&containerd, &registry);
}

/// A static pod that runs until it is stopped.
fn manifest(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  \
         terminationGracePeriodSeconds: 1\n  dnsPolicy: Default\n  automountServiceAccountToken: false\n  containers:\n  \
         - {{name: main, image: \"{image}\", command: [\"/bin/sh\", \"-c\", \"trap 'exit 0' TERM; sleep 2147483647 & wait\"]}}\n"
    )
}

/// Runs a static pod on a kubelet in front of `containerd`, and one whose image is not there.
fn static_pods_run(lab: &Lab, registry: &Registry, containerd: &Containerd) {
    let pushed = registry.push("busybox-user", "app:1");
    let kubelet = Kubelet::start(lab, &containerd.socket());
    kubelet.add("good", &manifest("good", &pushed.reference));
    kubelet.add(
        "absent",
        &manifest("absent", &format!("{}/app:none", registry.host())),
    );
    let pod = kubelet.wait_running("good", Duration::from_secs(60));
    let id = &pod
        .containers
        .first()
        .expect("a running pod has a container")
        .id;
    let output = containerd
        .cri()
        .exec(id, &["id", "-u"])
        .expect("exec answers");
    assert_eq!(
        (output.stdout.as_str(), output.code),
        ("1000\n", 0),
        "{output:?}"
    );
    let text = kubelet.wait_waiting("absent", "ErrImagePull", Duration::from_secs(60));
    assert!(text.contains("not found"), "{text}");
}

#[test]
fn a_kubelet_runs_static_pods_on_containerd_2() {
    let lab = Lab::new("e2e-kubelet-v2");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v2(&lab, &registry);
    static_pods_run(&lab, &registry, &containerd);
}

#[test]
fn a_kubelet_runs_static_pods_on_containerd_1_6_and_leaves_nothing_behind() {
    let lab = Lab::new("e2e-kubelet-v1");
    let root = lab.root().to_owned();
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v1_6(&lab, &registry);
    static_pods_run(&lab, &registry, &containerd);
    drop(containerd);
    drop(registry);
    drop(lab);
    assert_eq!(Lab::leftovers(&root), Vec::<String>::new());
}

#[test]
fn a_pod_of_an_api_server_runs_on_the_node_of_its_cluster_and_nothing_is_left_behind() {
    let lab = Lab::new("e2e-cluster");
    let root = lab.root().to_owned();
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v2(&lab, &registry);
    let cluster = Cluster::start(&lab, &containerd.socket());
    let image = registry.push("busybox-user", "app:1").reference;
    let container = json!({"name": "main", "image": image, "command": FOREVER});
    let pod = json!({
        "metadata": {"name": "good"},
        "spec": {"nodeName": NODE, "dnsPolicy": "Default", "containers": [container]},
    });
    cluster.api.add_pod(&pod).expect("the API server takes it");
    let view = cluster
        .api
        .wait_running("good", "main", Duration::from_secs(60));
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    let inside = containerd.cri().exec(&view.id, &["test", "-s", token]);
    assert_eq!(inside.expect("exec answers").code, 0, "the pod has a token");
    drop(cluster);
    drop(containerd);
    drop(registry);
    drop(lab);
    assert_eq!(Lab::leftovers(&root), Vec::<String>::new());
}
