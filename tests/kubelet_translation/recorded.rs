//! Every recorded request beside the translated one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use pullguard::authoring::kubelet::{
    Cgroups, ContainerCalls, Images, Manifest, Node, Resolver, Source, Translation, read,
};
use serde_json::Value;

use crate::proto_json::proto_json;

/// What only a live kubelet or its cluster knows, and why. Everything else is compared.
const LIVE: [(&str, &str); 4] = [
    (
        "config.annotations.io.kubernetes.container.hash",
        "Go's own print of the container, hashed",
    ),
    (
        "config.envs[KUBERNETES_*]",
        "the services of the cluster at that time",
    ),
    (
        "config.envs[*].value of a secret or config map",
        "their contents",
    ),
    (
        "config.mounts[].hostPath: the name of a termination log",
        "a random number",
    ),
];

struct Recording {
    node: Value,
    pods: String,
    /// Requests of attempt 0 by method, pod and container (or image), each the first.
    requests: BTreeMap<(String, String, String), Value>,
}

fn recordings() -> Vec<PathBuf> {
    if let Some(elsewhere) = std::env::var_os("RECORDED") {
        return vec![PathBuf::from(elsewhere)];
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let mut all: Vec<PathBuf> = fs::read_dir(&root)
        .expect("tests/recorded")
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    all
}

fn load(directory: &Path) -> Recording {
    let text = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let mut requests = BTreeMap::new();
    for line in text("requests.jsonl").lines() {
        let call: Value = serde_json::from_str(line).expect("a JSON line");
        if call["direction"] == "response" {
            continue;
        }
        let value = call["value"].clone();
        let method = call["method"].as_str().unwrap();
        let (pod, own) = match method {
            "RunPodSandbox" => (&value["config"]["metadata"], String::new()),
            "PullImage" => (
                &value["sandboxConfig"]["metadata"],
                word(&value["image"]["image"]),
            ),
            "CreateContainer" => (
                &value["sandboxConfig"]["metadata"],
                word(&value["config"]["metadata"]["name"]),
            ),
            _ => continue,
        };
        let again = value["config"]["metadata"]["attempt"].is_number();
        if !again {
            let key = (method.to_owned(), word(&pod["name"]), own);
            requests.entry(key).or_insert(value);
        }
    }
    Recording {
        node: serde_json::from_str(&text("node.json")).expect("node.json"),
        pods: text("pods.json"),
        requests,
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn words(value: &Value) -> Vec<String> {
    value
        .as_array()
        .map(|list| list.iter().map(word).collect())
        .unwrap_or_default()
}

/// The node of a recording, and what it made up for one pod: uid, time and IDs stand in the
/// requests themselves.
fn node(facts: &Value, sandbox: &Value) -> Node {
    let mut node = Node::new(facts["name"].as_str().unwrap());
    node.source = match facts["source"].as_str().unwrap() {
        "api" => Source::Api,
        "file" => Source::File,
        other => panic!("source {other}"),
    };
    node.kubelet_root = word(&facts["kubelet_root"]);
    node.pod_logs = word(&facts["pod_logs"]);
    node.cgroup_root = word(&facts["cgroup_root"]);
    let swap = facts["swap"].as_bool().unwrap();
    node.cgroups = match facts["cgroups"].as_u64() {
        Some(1) => Cgroups::V1 { swap },
        Some(2) => Cgroups::V2 { swap },
        other => panic!("cgroups {other:?}"),
    };
    node.memory = facts["memory"].as_i64().unwrap();
    node.huge_pages = words(&facts["huge_pages"]);
    node.masked_paths = words(&facts["masked_paths"]);
    node.cluster_dns = Vec::new();
    node.cluster_domain = word(&facts["cluster_domain"]);
    node.resolver = Resolver {
        servers: words(&facts["resolver"]["servers"]),
        searches: words(&facts["resolver"]["searches"]),
        options: words(&facts["resolver"]["options"]),
    };
    node.uid = word(&sandbox["metadata"]["uid"]);
    node.config_seen = word(&sandbox["annotations"]["kubernetes.io/config.seen"]);
    node
}

/// What the requests say that their kubelet could not know from the manifest.
fn learn(node: &mut Node, images: &mut Images, create: &Value) {
    node.sandbox_id = word(&create["podSandboxId"]);
    let spec = &create["config"]["image"];
    let id = word(&spec["image"]);
    images.ids.insert(word(&spec["userSpecifiedImage"]), id);
    for mount in create["config"]["mounts"].as_array().into_iter().flatten() {
        let image = &mount["image"];
        if image.is_object() {
            let id = word(&image["image"]);
            images.ids.insert(word(&image["userSpecifiedImage"]), id);
        }
        let path = word(&mount["hostPath"]);
        if mount["containerPath"] == "/var/run/secrets/kubernetes.io/serviceaccount" {
            node.token_volume = path.rsplit('/').next().map(str::to_owned);
        }
        if path.contains("/containers/") {
            node.termination_log = path.rsplit('/').next().unwrap().to_owned();
        }
    }
    let target = &create["config"]["linux"]["securityContext"]["namespaceOptions"]["targetId"];
    if target.is_string() {
        node.container_ids.insert("c".to_owned(), word(target));
    }
}

/// Takes out what only a live kubelet knows; the order of variables is chance.
fn without_live(mut request: Value, told_elsewhere: &BTreeSet<String>) -> Value {
    let config = &mut request["config"];
    if let Some(annotations) = config["annotations"].as_object_mut() {
        annotations.remove("io.kubernetes.container.hash");
    }
    if let Some(envs) = config["envs"].as_array_mut() {
        envs.retain(|env| !word(&env["key"]).starts_with("KUBERNETES_"));
        for env in &mut *envs {
            if told_elsewhere.contains(&word(&env["key"])) {
                env["value"] = Value::Null;
            }
        }
        envs.sort_by_key(|env| word(&env["key"]));
        if envs.is_empty() {
            config.as_object_mut().unwrap().remove("envs");
        }
    }
    request
}

/// Where two values differ: path, recorded, translated.
fn differences(path: &str, recorded: &Value, translated: &Value, out: &mut Vec<String>) {
    match (recorded, translated) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let none = Value::Null;
                differences(
                    &format!("{path}.{key}"),
                    left.get(key).unwrap_or(&none),
                    right.get(key).unwrap_or(&none),
                    out,
                );
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differences(&format!("{path}[{index}]"), left, right, out);
            }
        }
        (left, right) if left == right => {}
        (left, right) => out.push(format!("{path}: recorded {left}, translated {right}")),
    }
}

/// Variables of which the manifest does not tell the value.
fn told_elsewhere(pods: &str, pod: &str) -> BTreeSet<String> {
    let list: Value = serde_json::from_str(pods).unwrap();
    let mut names = BTreeSet::new();
    for item in list["items"].as_array().unwrap() {
        let name = word(&item["metadata"]["name"]);
        if !pod.starts_with(&name) {
            continue;
        }
        for container in item["spec"]["containers"].as_array().into_iter().flatten() {
            for env in container["env"].as_array().into_iter().flatten() {
                let from = &env["valueFrom"];
                if from.is_object() && !from["fieldRef"].is_object() {
                    names.insert(word(&env["name"]));
                }
                let path = word(&from["fieldRef"]["fieldPath"]);
                if path.starts_with("status.") {
                    names.insert(word(&env["name"]));
                }
            }
        }
    }
    names
}

struct Held {
    recorded: Recording,
    compared: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

impl Held {
    fn hold(
        &mut self,
        method: &'static str,
        key: &(String, String, String),
        message: &str,
        bytes: &[u8],
    ) {
        let Some(recorded) = self.recorded.requests.get(key) else {
            return;
        };
        let live = told_elsewhere(&self.recorded.pods, &key.1);
        let mut found = Vec::new();
        differences(
            "",
            &without_live(recorded.clone(), &live),
            &without_live(proto_json(message, bytes), &live),
            &mut found,
        );
        let place = format!("{method} {} {}", key.1, key.2);
        self.wrong
            .extend(found.iter().map(|one| format!("{place}: {one}")));
        *self.compared.entry(method).or_default() += 1;
    }

    fn pod(&mut self, manifest: &Manifest) {
        let facts = self.recorded.node.clone();
        let suffix = match facts["source"].as_str().unwrap() {
            "file" => format!("-{}", facts["name"].as_str().unwrap()),
            _ => String::new(),
        };
        let name = format!("{}{suffix}", manifest.name());
        let key = |method: &str, own: &str| (method.to_owned(), name.clone(), own.to_owned());
        let Some(run) = self.recorded.requests.get(&key("RunPodSandbox", "")) else {
            return;
        };
        let mut node = node(&facts, &run["config"]);
        let mut images = Images::default();
        for (image, user) in facts["users"].as_object().unwrap() {
            images.users.insert(image.clone(), word(user));
        }
        let containers: Vec<String> = translate(manifest, &node, &images)
            .containers
            .iter()
            .map(|one| one.name.clone())
            .collect();
        for container in containers {
            let create_key = key("CreateContainer", &container);
            if let Some(create) = self.recorded.requests.get(&create_key) {
                learn(&mut node, &mut images, create);
            }
            let translation = translate(manifest, &node, &images);
            let calls = calls_of(&translation, &container);
            // The recorder waited for every request that the kubelet sends.
            let is_sent = self.recorded.requests.contains_key(&create_key);
            if facts["source"] == "file" {
                let is_made = calls.create.is_ok();
                assert_eq!(is_made, is_sent, "{name}: {container}");
            }
            if let Ok(create) = &calls.create {
                let bytes = create.encode_to_vec();
                self.hold(
                    "CreateContainer",
                    &create_key,
                    "CreateContainerRequest",
                    &bytes,
                );
            } else {
                assert!(!is_sent, "{name}: the kubelet creates {container}");
            }
            for pull in &calls.pulls {
                let image = &pull.image.as_ref().unwrap().image;
                let bytes = pull.encode_to_vec();
                self.hold(
                    "PullImage",
                    &key("PullImage", image),
                    "PullImageRequest",
                    &bytes,
                );
            }
        }
        let translation = translate(manifest, &node, &images);
        let bytes = translation.sandbox.encode_to_vec();
        let run_key = key("RunPodSandbox", "");
        self.hold("RunPodSandbox", &run_key, "RunPodSandboxRequest", &bytes);
    }
}

fn translate(manifest: &Manifest, node: &Node, images: &Images) -> Translation {
    manifest.translate(node, images).expect("a Linux pod")
}

fn calls_of<'t>(translation: &'t Translation, name: &str) -> &'t ContainerCalls {
    let mut all = translation.containers.iter();
    all.find(|one| one.name == name).unwrap()
}

#[test]
fn every_recorded_request_is_the_translated_one_but_for_what_only_a_live_kubelet_knows() {
    let directories = recordings();
    assert!(!directories.is_empty(), "nothing is recorded");
    for directory in directories {
        let recorded = load(&directory);
        let found = read(&recorded.pods, "default");
        assert_eq!(found.errors, [], "{}", directory.display());
        let mut held = Held {
            recorded,
            compared: BTreeMap::new(),
            wrong: Vec::new(),
        };
        for manifest in &found.manifests {
            assert_eq!(manifest.untranslated, [], "{}", manifest.name());
            held.pod(manifest);
        }
        assert!(
            held.wrong.is_empty(),
            "{}: not in the list of live fields {LIVE:#?}:\n{}",
            directory.display(),
            held.wrong.join("\n")
        );
        for method in ["RunPodSandbox", "PullImage", "CreateContainer"] {
            let many = held.compared.get(method).copied().unwrap_or_default();
            assert!(many > 0, "{}: no {method}", directory.display());
        }
        let sandboxes = held.compared["RunPodSandbox"];
        assert!(sandboxes > 20, "only {sandboxes} pods were recorded");
    }
}
