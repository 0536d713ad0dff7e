//! No key of `containers` and `resources`, and no control of `podSecurity`, is without a pair of
//! requests that differ in exactly one field: one is denied, the other starts. The keys are those
//! that the product itself lists.

use std::collections::{BTreeMap, BTreeSet};

use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::document::{AmountsDoc, ContainersDoc, ResourcesDoc};
use pullguard::policy::{Code, Intrusion};
use pullguard::request::{CreateAsk, Flag, NamespaceMode, Profile, Propagation};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::rows::rows;
use crate::running::enters;
use crate::{
    Change, Row, ask, compile, judge, mount, policy, selinux, sysctl, volume, words, yaml,
};

/// A control, the lowest level that asks for it, what breaks it, what the twin has instead.
struct Control(&'static str, &'static str, Change, Change, Code);

fn controls() -> Vec<Control> {
    let none: Change = |_| {};
    vec![
        Control(
            "Privileged Containers",
            "baseline",
            |ask| ask.container.privileged = Flag::On,
            none,
            Code::PodPrivileged,
        ),
        Control(
            "Host Namespaces",
            "baseline",
            |ask| ask.sandbox.namespaces.pid = NamespaceMode::Node,
            |ask| ask.sandbox.namespaces.pid = NamespaceMode::Pod,
            Code::PodHostNamespace,
        ),
        Control(
            "HostPath Volumes",
            "baseline",
            |ask| ask.container.mounts = vec![mount(Propagation::None)],
            none,
            Code::PodHostpath,
        ),
        Control(
            "Host Ports",
            "baseline",
            |ask| ask.sandbox.host_ports = vec![80],
            none,
            Code::PodHostPort,
        ),
        Control(
            "Capabilities",
            "baseline",
            |ask| ask.container.add_capabilities = words(&["NET_RAW"]),
            |ask| ask.container.add_capabilities = words(&["CHOWN"]),
            Code::PodCapability,
        ),
        Control(
            "Capabilities",
            "restricted",
            |ask| ask.container.drop_capabilities = words(&["CHOWN"]),
            |ask| ask.container.drop_capabilities = words(&["ALL"]),
            Code::PodCapability,
        ),
        Control(
            "/proc Mount Type",
            "baseline",
            |ask| ask.container.readonly_paths.clear(),
            none,
            Code::PodProcMount,
        ),
        Control(
            "SELinux",
            "baseline",
            |ask| ask.container.selinux = selinux("", "spc_t"),
            |ask| ask.container.selinux = selinux("", "container_t"),
            Code::PodSelinux,
        ),
        Control(
            "Sysctls",
            "baseline",
            |ask| sysctl(&mut ask.sandbox, "net.core.somaxconn", "1"),
            |ask| sysctl(&mut ask.sandbox, "net.ipv4.tcp_syncookies", "1"),
            Code::PodSysctl,
        ),
        Control(
            "AppArmor",
            "baseline",
            |ask| ask.container.apparmor = Some(Profile::Unconfined),
            |ask| ask.container.apparmor = Some(Profile::RuntimeDefault),
            Code::PodApparmor,
        ),
        Control(
            "Seccomp",
            "restricted",
            |ask| ask.container.seccomp = Some(Profile::Unconfined),
            |ask| ask.container.seccomp = Some(Profile::RuntimeDefault),
            Code::PodSeccomp,
        ),
        Control(
            "Privilege Escalation",
            "restricted",
            |ask| ask.container.no_new_privs = Flag::Off,
            none,
            Code::PodEscalation,
        ),
        Control(
            "Running as Non-root",
            "restricted",
            |ask| "app".clone_into(&mut ask.container.run_as_username),
            none,
            Code::PodRoot,
        ),
        Control(
            "Running as Non-root user",
            "restricted",
            |ask| ask.sandbox.run_as_user = Some(0),
            |ask| ask.sandbox.run_as_user = Some(1000),
            Code::PodRoot,
        ),
        Control(
            "Volume Types",
            "restricted",
            |ask| ask.container.mounts = vec![volume("kubernetes.io~git-repo")],
            |ask| ask.container.mounts = vec![volume("kubernetes.io~empty-dir")],
            Code::PodVolume,
        ),
    ]
}

/// Controls of which docs/policy.md says that the CRI shows nothing.
const NOT_SHOWN: [&str; 1] = ["Host Probes / Lifecycle Hooks"];

/// Keys that speak of a call into a container, with a call that is denied and one that is not.
const CALLS: [(&str, Intrusion, Intrusion); 3] = [
    ("exec", Intrusion::Exec, Intrusion::ExecSync),
    ("execSync", Intrusion::ExecSync, Intrusion::Exec),
    ("checkpoint", Intrusion::Checkpoint, Intrusion::Exec),
];

#[test]
fn every_key_has_a_pair_that_differs_in_one_field() {
    let mut known = fields::<ContainersDoc>();
    for part in fields::<ResourcesDoc>() {
        let amounts = fields::<AmountsDoc>();
        known.extend(amounts.iter().map(|name| format!("{part} of {name}")));
    }
    assert!(known.len() > 25, "{known:?}");
    let mut paired: BTreeSet<String> = CALLS.iter().map(|(key, ..)| (*key).to_owned()).collect();
    for Row(check, broken, twin, _) in rows() {
        if differing(broken, twin).len() == 1 {
            paired.extend(keys_of(check));
        }
    }
    let lonely: Vec<_> = known.difference(&paired).collect();
    assert!(lonely.is_empty(), "no pair tells of {lonely:?}");
    let unknown: Vec<_> = paired.difference(&known).collect();
    assert!(unknown.is_empty(), "no such key: {unknown:?}");
}

#[test]
fn every_control_of_pod_security_has_a_pair_that_differs_in_one_field() {
    let mut paired: BTreeSet<String> = NOT_SHOWN.map(str::to_owned).into();
    for Control(name, level, broken, twin, code) in controls() {
        let policy = policy(&format!("podSecurity: {{level: {level}}}"));
        let differing = differing(broken, twin);
        assert_eq!(differing.len(), 1, "{name}: {differing:?}");
        let (mut bad, mut good) = (ask(), ask());
        broken(&mut bad);
        twin(&mut good);
        assert_eq!(judge(&policy, &bad), Some(code), "{name}");
        assert_eq!(judge(&policy, &good), None, "twin of {name}");
        paired.insert(name.to_owned());
    }
    let error = compile("podSecurity: {level: baseline, exclude: [{control: none}]}").unwrap_err();
    let (_, list) = error.split_once("the controls are ").unwrap();
    let list = list.lines().next().unwrap();
    let known: BTreeSet<String> = list.split(", ").map(str::to_owned).collect();
    assert_eq!(paired, known);
    let page = include_str!("../../docs/policy.md");
    for name in NOT_SHOWN {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| {name} |")));
        assert!(row.is_some(), "docs/policy.md has no row `{name}`");
    }
}

#[test]
fn every_call_into_a_container_has_a_twin_that_goes_on() {
    for (key, denied, allowed) in CALLS {
        let policy = policy(&format!("containers: {{{key}: Deny}}"));
        assert_eq!(enters(&policy, denied), Some(Code::PodExec), "{key}");
        assert_eq!(enters(&policy, allowed), None, "twin of {key}");
    }
}

/// The fields of a document, as its own reader lists them to whoever misspells one.
fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
    let error = serde_json::from_str::<T>(r#"{"no such field": 1}"#);
    let text = error.err().unwrap().to_string();
    let (_, list) = text.split_once("expected ").unwrap();
    let quoted = list.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// The keys that a check uses; of `resources` each part with each resource.
fn keys_of(check: &str) -> BTreeSet<String> {
    let files = vec![("p.yaml".to_owned(), yaml("p", "r", check))];
    let json = compile_dir(files, &Limits::default(), crate::NOW)
        .unwrap()
        .json;
    let policy: Value = serde_json::from_slice(&json).unwrap();
    let mut keys = BTreeSet::new();
    collect(&policy, &mut keys);
    keys
}

fn collect(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|one| collect(one, keys)),
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value.as_object()) {
                    ("containers", Some(own)) => keys.extend(own.keys().cloned()),
                    ("resources", Some(parts)) => {
                        for (part, names) in parts {
                            let names = names_of(names);
                            keys.extend(names.iter().map(|name| format!("{part} of {name}")));
                        }
                    }
                    (_, Some(_) | None) => collect(value, keys),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Resources in a list, or as keys.
fn names_of(value: &Value) -> Vec<String> {
    let listed = value.as_array().into_iter().flatten();
    let listed = listed.filter_map(|name| name.as_str().map(str::to_owned));
    let keyed = value
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys().cloned());
    listed.chain(keyed).collect()
}

/// The fields in which the two requests differ.
fn differing(broken: Change, twin: Change) -> BTreeSet<String> {
    let leaves = |change: Change| {
        let mut request = ask();
        change(&mut request);
        leaves_of(&request)
    };
    let (bad, good) = (leaves(broken), leaves(twin));
    let names: BTreeSet<&String> = bad.keys().chain(good.keys()).collect();
    let differ = names
        .into_iter()
        .filter(|name| bad.get(*name) != good.get(*name));
    differ.cloned().collect()
}

/// Every field of the request, by its path; a list, a map and a message of the CRI that is absent or
/// there as a whole is one field.
fn leaves_of(ask: &CreateAsk) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
        const WALKED: [&str; 7] = [
            "",
            "/sandbox",
            "/sandbox/pod",
            "/sandbox/namespaces",
            "/container",
            "/container/namespaces",
            "/container/resources",
        ];
        let map = value.as_object().filter(|_| WALKED.contains(&path));
        let Some(map) = map else {
            leaves.insert(path.to_owned(), value.clone());
            return;
        };
        for (key, value) in map {
            walk(&format!("{path}/{key}"), value, leaves);
        }
    }
    let mut leaves = BTreeMap::new();
    walk("", &serde_json::to_value(ask).unwrap(), &mut leaves);
    leaves
}
