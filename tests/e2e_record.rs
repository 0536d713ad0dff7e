//! Records what a real kubelet sends for static pods of many kinds, and holds it beside the
//! recording in `tests/recorded`: a new kubelet that asks for something else is seen here first.
//! With `RECORD=1` (`make record-kubelet`) it writes the recording instead.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

#[path = "e2e_record/facts.rs"]
mod facts;
#[path = "e2e_record/pods.rs"]
mod pods;
#[path = "support/proto_json.rs"]
#[expect(
    unreachable_pub,
    reason = "shared with the suite that reads recordings"
)]
mod proto_json;
#[path = "relay_real/recorder.rs"]
#[expect(dead_code, reason = "the relay's own suite uses the rest")]
mod recorder;
#[expect(dead_code, reason = "the suite on a fake runtime uses the rest")]
mod relay_support;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use proto_json::proto_json;
use recorder::Recorder;
use support::parts::{Part, Parts};
use support::{Containerd, Kubelet, Lab, Registry, until};

/// What is recorded, and the message of each.
const METHODS: [(&str, &str); 3] = [
    ("RunPodSandbox", "RunPodSandboxRequest"),
    ("PullImage", "PullImageRequest"),
    ("CreateContainer", "CreateContainerRequest"),
];

/// Pods that run at once: a machine has only so much memory.
const AT_ONCE: usize = 6;
const LIMIT: Duration = Duration::from_secs(180);

/// One request, and whose it is.
#[derive(Clone, Debug)]
struct Call {
    method: &'static str,
    pod: String,
    /// The container, or the image that is pulled.
    own: String,
    value: Value,
}

fn calls(recorder: &Recorder) -> Vec<Call> {
    let mut calls = Vec::new();
    // A kubelet numbers no calls.
    for seen in recorder.of("") {
        let method = seen.path.rsplit('/').next().unwrap_or_default();
        let Some((method, message)) = METHODS.iter().find(|(name, _)| *name == method) else {
            continue;
        };
        // The kubelet may still be sending it.
        let Some(bytes) = whole(&seen.request_data) else {
            continue;
        };
        let value = proto_json(message, bytes);
        let config = match *method {
            "RunPodSandbox" => &value["config"],
            _ => &value["sandboxConfig"],
        };
        let pod = config["metadata"]["name"].as_str().unwrap().to_owned();
        let own = match *method {
            "PullImage" => &value["image"]["image"],
            "CreateContainer" => &value["config"]["metadata"]["name"],
            _ => &Value::Null,
        };
        calls.push(Call {
            method,
            pod,
            own: own.as_str().unwrap_or_default().to_owned(),
            value,
        });
    }
    calls
}

/// The message behind its gRPC prefix, once all of it is there.
fn whole(data: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = data.split_at_checked(5)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    (message.len() == usize::try_from(length).unwrap()).then_some(message)
}

/// The version of which the kubelet was built: it stands in the name of its directory.
fn version() -> String {
    let path = Parts::require().path(Part::Kubelet).to_owned();
    let directory = path.parent().and_then(Path::file_name).unwrap();
    directory.to_str().unwrap().to_owned()
}

/// Runs every pod, a few at a time, and gives the first request of each kind.
fn record() -> (Vec<Call>, Value) {
    let lab = Lab::new("e2e-record");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v2(&lab, &registry);
    for image in ["busybox", "busybox-user", "busybox-app"] {
        registry.push(image, &format!("{image}:1"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let socket = lab.path("tap.sock");
    let recorder = {
        let _entered = runtime.enter();
        Recorder::start(&socket, containerd.socket())
    };
    let kubelet = Kubelet::start(&lab, &socket);
    let all = pods::pods();
    for some in all.chunks(AT_ONCE) {
        for pod in some {
            let text = pod
                .manifest
                .to_string()
                .replace(pods::HOST, &registry.host());
            kubelet.add(&pod.name, &text);
        }
        let wanted: BTreeSet<(String, String, String)> = some
            .iter()
            .flat_map(|pod| {
                let full = format!("{}-127.0.0.1", pod.name);
                pod.wanted()
                    .map(move |(method, own)| (method.to_owned(), full.clone(), own.to_owned()))
            })
            .collect();
        until("every request of these pods", LIMIT, || {
            let here: BTreeSet<(String, String, String)> = calls(&recorder)
                .into_iter()
                .map(|call| (call.method.to_owned(), call.pod, call.own))
                .collect();
            let missing: Vec<_> = wanted.difference(&here).collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("{missing:?}"))
            }
        });
        for pod in some {
            kubelet.remove(&pod.name);
        }
    }
    let node = facts::node(&calls(&recorder), &lab, &kubelet.root());
    let mut first: BTreeMap<(&str, String, String), Call> = BTreeMap::new();
    for call in calls(&recorder) {
        let key = (call.method, call.pod.clone(), call.own.clone());
        first.entry(key).or_insert(call);
    }
    let plain = |call: Call| {
        let text = call.value.to_string().replace(&registry.host(), pods::HOST);
        let value = facts::plain(serde_json::from_str(&text).unwrap(), &lab, &kubelet.root());
        Call {
            own: call.own.replace(&registry.host(), pods::HOST),
            value,
            ..call
        }
    };
    let calls = first.into_values().map(plain).collect();
    (calls, node)
}

fn directory() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    root.join(version())
}

fn write(calls: &[Call], node: &Value) {
    let directory = directory();
    fs::create_dir_all(&directory).unwrap();
    let pods: Vec<Value> = pods::pods().into_iter().map(|pod| pod.manifest).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
    let pretty = |value: &Value| format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    fs::write(directory.join("pods.json"), pretty(&list)).unwrap();
    fs::write(directory.join("node.json"), pretty(node)).unwrap();
    let lines: String = calls
        .iter()
        .map(|call| format!("{}\n", json!({"method": call.method, "value": call.value})))
        .collect();
    fs::write(directory.join("requests.jsonl"), lines).unwrap();
}

/// Every path in a request that leads to a value, but for what the machine decides.
fn shape(path: &str, value: &Value, out: &mut BTreeSet<String>) {
    const MACHINE: [&str; 6] = [
        "maskedPaths",
        "hugepageLimits",
        "unified",
        "memorySwapLimitInBytes",
        "dnsConfig",
        "uid",
    ];
    if MACHINE.iter().any(|name| path.ends_with(name)) {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                shape(&format!("{path}.{key}"), value, out);
            }
        }
        // A kubelet gathers variables in a map: their order differs from run to run.
        Value::Array(list) if path.ends_with(".envs") => {
            for value in list {
                let name = value["key"].as_str().unwrap_or_default();
                shape(&format!("{path}[{name}]"), value, out);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                shape(&format!("{path}[{index}]"), value, out);
            }
        }
        Value::Bool(_) | Value::Null => {
            out.insert(format!("{path} = {value}"));
        }
        // Names of enums are words of the CRI; every other text may be the machine's.
        Value::String(text)
            if text
                .chars()
                .all(|one| one.is_ascii_uppercase() || one == '_') =>
        {
            out.insert(format!("{path} = {text}"));
        }
        Value::String(_) | Value::Number(_) => {
            out.insert(path.to_owned());
        }
    }
}

#[test]
fn a_kubelet_asks_for_what_was_recorded_of_its_version() {
    let (calls, node) = record();
    if std::env::var_os("RECORD").is_some() {
        write(&calls, &node);
        return;
    }
    let path = directory().join("requests.jsonl");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; run make record-kubelet", path.display());
    });
    let mut recorded = BTreeSet::new();
    for line in text.lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        shape(
            call["method"].as_str().unwrap(),
            &call["value"],
            &mut recorded,
        );
    }
    let mut fresh = BTreeSet::new();
    for call in &calls {
        shape(call.method, &call.value, &mut fresh);
    }
    let gone: Vec<_> = recorded.difference(&fresh).collect();
    let new: Vec<_> = fresh.difference(&recorded).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "this kubelet asks for something else: gone {gone:#?}, new {new:#?}"
    );
}
