//! What the recording machine decides, and how it is taken out of a recording.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::Call;
use crate::support::Lab;

/// In place of the machine's own name servers and search domains.
const SERVER: &str = "192.0.2.53";
const SEARCH: &str = "node.example";

/// The facts of the node that the translation needs.
pub(crate) fn node(calls: &[Call], lab: &Lab, kubelet: &Path) -> Value {
    let plain_pod = calls
        .iter()
        .find(|call| call.method == "RunPodSandbox" && call.pod.starts_with("plain-"))
        .expect("the plain pod");
    let resolver = &plain(plain_pod.value.clone(), lab, kubelet)["config"]["dnsConfig"];
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let swap = if unified {
        own_swap_control()
    } else {
        Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
    };
    json!({
        "name": "127.0.0.1",
        "source": "file",
        "kubelet_root": "/var/lib/kubelet",
        "pod_logs": "/var/log/pods",
        "cgroup_root": "",
        "cluster_domain": "",
        "cgroups": if unified { 2 } else { 1 },
        "swap": swap,
        "memory": memory(),
        "huge_pages": huge_pages(calls),
        "masked_paths": masked(),
        "resolver": {
            "servers": resolver["servers"],
            "searches": resolver["searches"],
            "options": resolver["options"],
        },
        "users": {
            "127.0.0.1:5000/busybox:1": "",
            "127.0.0.1:5000/busybox-user:1": "1000",
            "127.0.0.1:5000/busybox-app:1": "app",
        },
    })
}

fn own_swap_control() -> bool {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.trim().trim_start_matches("0::");
    Path::new(&format!("/sys/fs/cgroup{path}/memory.swap.max")).exists()
}

fn memory() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with("MemTotal:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<i64>().unwrap() * 1024
}

/// In the order in which the kubelet lists them.
fn huge_pages(calls: &[Call]) -> Vec<String> {
    let create = calls.iter().find(|call| call.method == "CreateContainer");
    let limits = &create.unwrap().value["config"]["linux"]["resources"]["hugepageLimits"];
    let sizes = limits.as_array().into_iter().flatten();
    sizes
        .map(|one| one["pageSize"].as_str().unwrap().to_owned())
        .collect()
}

/// Beside the usual ones.
fn masked() -> Vec<String> {
    let entries = fs::read_dir("/sys/devices/system/cpu").unwrap();
    let mut cpus: BTreeSet<u32> = BTreeSet::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("cpu").and_then(|text| text.parse().ok());
        if let Some(number) = number.filter(|_| entry.path().join("thermal_throttle").exists()) {
            cpus.insert(number);
        }
    }
    cpus.into_iter()
        .map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"))
        .collect()
}

/// A request without the laboratory's directories, and without the machine's name servers.
pub(crate) fn plain(value: Value, lab: &Lab, kubelet: &Path) -> Value {
    let resolv = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let words = |key: &str| -> BTreeSet<String> {
        resolv
            .lines()
            .filter_map(|line| line.trim().strip_prefix(key))
            .flat_map(|rest| rest.split_whitespace().map(str::to_owned))
            .collect()
    };
    let own = Own {
        servers: words("nameserver"),
        searches: words("search"),
        paths: [
            // Its name begins with the kubelet's.
            (
                lab.path("kubelet-podlogs").display().to_string(),
                "/var/log/pods",
            ),
            (kubelet.display().to_string(), "/var/lib/kubelet"),
            (lab.cgroup(), ""),
        ],
    };
    own.out_of(value)
}

struct Own {
    servers: BTreeSet<String>,
    searches: BTreeSet<String>,
    paths: [(String, &'static str); 3],
}

impl Own {
    fn out_of(&self, value: Value) -> Value {
        match value {
            Value::String(text) => {
                let text = self
                    .paths
                    .iter()
                    .fold(text, |text, (from, to)| text.replace(from, to));
                Value::String(text)
            }
            Value::Array(list) => list.into_iter().map(|one| self.out_of(one)).collect(),
            Value::Object(map) => Value::Object(
                map.into_iter()
                    .map(|(key, value)| {
                        let value = match key.as_str() {
                            "dnsConfig" => self.dns(value),
                            _ => self.out_of(value),
                        };
                        (key, value)
                    })
                    .collect::<Map<_, _>>(),
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    fn dns(&self, mut config: Value) -> Value {
        for (key, own, instead) in [
            ("servers", &self.servers, SERVER),
            ("searches", &self.searches, SEARCH),
        ] {
            let Some(list) = config[key].as_array() else {
                if let Some(map) = config.as_object_mut() {
                    map.remove(key);
                }
                continue;
            };
            let mut out: Vec<Value> = Vec::new();
            for one in list {
                let is_own = one.as_str().is_some_and(|text| own.contains(text));
                let one = if is_own { json!(instead) } else { one.clone() };
                if !out.contains(&one) {
                    out.push(one);
                }
            }
            config[key] = Value::Array(out);
        }
        config
    }
}
