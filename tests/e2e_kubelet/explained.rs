//! What `pullguard explain` says of manifests beforehand is what the pods' status shows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::node::{HARDENED, Node, Pod};

/// By pod: verdict and text of its container.
fn explained(
    node: &Node,
    pods: &[Pod],
    users: &[(&str, &str)],
) -> BTreeMap<String, (String, String)> {
    for pod in pods {
        let name = format!("explained/{}.json", pod.name());
        node.lab.write(&name, &pod.text());
    }
    let directory = node.lab.path("explained").display().to_string();
    let users: Vec<String> = users
        .iter()
        .map(|(image, user)| format!("{image}={user}"))
        .collect();
    let mut arguments = vec!["explain", "-f", &directory, "--static", "-o", "json"];
    for user in &users {
        arguments.extend(["--image-user", user]);
    }
    let output = node.guard.command(&arguments);
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    document["pods"]
        .as_array()
        .expect("pods")
        .iter()
        .map(|pod| {
            let container = &pod["containers"][0];
            let told = (word(&container["verdict"]), word(&container["text"]));
            (word(&pod["name"]), told)
        })
        .collect()
}

#[test]
fn explain_says_beforehand_what_the_pods_status_shows() {
    let node = Node::start("kubelet-explained", HARDENED);
    let good = node.registry.push("app-one", "shop/app:1").reference;
    let named = node.registry.push("busybox-app", "shop/named:1").reference;
    let root = node.registry.push("busybox", "shop/root:1").reference;
    let outside = node.registry.push("app-two", "other/app:1").reference;
    let host_path = json!({"hostPath": {"path": "/etc", "type": "Directory"}});
    let pods = [
        Pod::new("good", &good),
        Pod::new("outside", &outside),
        Pod::new("capability", &good).container(
            "securityContext",
            &json!({"capabilities": {"add": ["SYS_ADMIN"]}}),
        ),
        Pod::new("root", &root),
        Pod::new("root-asked", &good).container("securityContext", &json!({"runAsUser": 0})),
        Pod::new("named", &named),
        Pod::new("host-path", &good).volume(&host_path, &json!({})),
        Pod::new("host-path-below", &good).volume(&host_path, &json!({"subPath": "ssl"})),
        Pod::new("empty-dir", &good).volume(&json!({"emptyDir": {}}), &json!({"subPath": "ssl"})),
    ];
    let users = [(good.as_str(), "1000"), (&named, "app"), (&root, "")];
    let told = explained(&node, &pods, &users);
    for pod in &pods {
        node.add(pod);
    }
    for pod in &pods {
        let (verdict, text) = &told[pod.name()];
        if verdict == "allowed" {
            node.container(pod.name());
            continue;
        }
        let code = text.split(' ').next().expect("a code");
        assert_eq!(&node.denial(pod.name(), code).text, text, "{}", pod.name());
    }
    let allowed: Vec<&String> = told
        .iter()
        .filter(|(_, (verdict, _))| verdict == "allowed")
        .map(|(name, _)| name)
        .collect();
    assert_eq!(allowed, ["empty-dir", "good"]);
}
