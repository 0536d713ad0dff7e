//! What is denied at CreateContainer, beside twins that differ in one field and run.

use serde_json::{Value, json};

use crate::node::{Node, Pod, root};

#[test]
fn an_init_container_as_root_is_denied_and_its_pod_does_not_start() {
    let node = Node::start("cluster-init");
    let app = node.push("app-one");
    let init = |uid: u32| {
        json!([{
            "name": "init",
            "image": app,
            "command": ["/bin/true"],
            "securityContext": {"runAsUser": uid},
        }])
    };
    node.add(&Pod::new("as-user", &app).spec("initContainers", &init(1000)));
    node.add(&Pod::new("as-root", &app).spec("initContainers", &init(0)));
    node.runs_as("as-user", "main", "1000");
    node.denied("as-root", "init", &root("init"));
    assert_eq!(node.created("as-root"), Vec::<String>::new());
}

#[test]
fn a_sidecar_as_root_is_denied_and_its_pod_does_not_start() {
    let node = Node::start("cluster-sidecar");
    let app = node.push("app-one");
    let sidecar = |uid: u32| {
        json!([{
            "name": "sidecar",
            "image": app,
            "command": crate::support::cri::FOREVER,
            "restartPolicy": "Always",
            "securityContext": {"runAsUser": uid},
        }])
    };
    node.add(&Pod::new("as-user", &app).spec("initContainers", &sidecar(1001)));
    node.add(&Pod::new("as-root", &app).spec("initContainers", &sidecar(0)));
    node.runs_as("as-user", "sidecar", "1001");
    node.runs_as("as-user", "main", "1000");
    node.denied("as-root", "sidecar", &root("sidecar"));
    assert_eq!(node.created("as-root"), Vec::<String>::new());
}

#[test]
fn an_image_whose_user_is_a_name_is_denied_under_no_root_and_one_whose_user_is_a_number_runs() {
    let node = Node::start("cluster-users");
    let named = node.push("busybox-app");
    let numbered = node.push("busybox-user");
    let silent = node.push("busybox");
    node.add(&Pod::new("named", &named));
    node.add(&Pod::new("named-with-number", &named).security(&json!({"runAsUser": 1001})));
    node.add(&Pod::new("numbered", &numbered));
    node.add(&Pod::new("silent", &silent));
    node.runs_as("numbered", "main", "1000");
    node.runs_as("named-with-number", "main", "1001");
    node.denied("silent", "main", &root("main"));
    node.denied(
        "named",
        "main",
        "POD-ROOT lab/host: container `main` runs as user `app`, and a name proves no uid; set securityContext.runAsUser to a number from 1 to 2147483647",
    );
}

#[test]
fn a_path_of_the_host_by_sub_path_is_denied_and_a_volume_of_the_pod_by_sub_path_is_mounted() {
    let node = Node::start("cluster-hostpath");
    let app = node.push("app-one");
    let host: Value = json!({"hostPath": {"path": "/etc", "type": "Directory"}});
    let below = json!({"subPath": "ssl"});
    node.add(&Pod::new("of-host", &app).volume(&host, &below));
    node.add(&Pod::new("of-pod", &app).volume(&json!({"emptyDir": {}}), &below));
    node.runs_as("of-pod", "main", "1000");
    node.denied(
        "of-host",
        "main",
        "POD-HOSTPATH lab/host: container `main` mounts `/etc/ssl` at `/mnt`: it (by subPath) is a path of the host that is not allowed; remove the hostPath volume",
    );
}
