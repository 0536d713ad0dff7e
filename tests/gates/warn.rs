//! Rules that warn, that record and that enforce, broken together: the verdict of each gated call, and
//! its line with every rule of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pullguard::api::runtime_v1 as api;
use serde_json::Value;

use crate::node::{Bare, Node, OPEN, namespace, node_policy, policy};
use crate::support::messages::PodSandboxConfig;
use crate::support::until;

const SOON: Duration = Duration::from_secs(20);

/// Every call below breaks some of these.
const RULES: &str = "  - name: source
    registries: {allow: [\"registry.example.com/**\"]}
  - name: pods
    containers: {root: Deny, annotations: {deny: [\"example.com/*\"]}, exec: Deny, execSync: Deny, checkpoint: Deny}
  - name: limits
    resources: {maximum: {memory: 16Mi}}
";

/// What each call breaks by what it says itself: rule and code.
const BROKEN: &[(&str, &[(&str, &str)])] = &[
    ("PullImage", &[("source", "REG-DENIED")]),
    ("RunPodSandbox", &[("pods", "POD-ANNOTATION")]),
    (
        "CreateContainer",
        &[
            ("source", "REG-DENIED"),
            ("pods", "POD-ANNOTATION"),
            ("limits", "POD-RESOURCES"),
        ],
    ),
    ("UpdateContainerResources", &[("limits", "POD-RESOURCES")]),
    ("Exec", &[("pods", "POD-EXEC")]),
    ("ExecSync", &[("pods", "POD-EXEC")]),
    ("Attach", &[("pods", "POD-EXEC")]),
    ("PortForward", &[("pods", "POD-EXEC")]),
    ("CheckpointContainer", &[("pods", "POD-EXEC")]),
];

/// Audit speaks of `quiet` and `both`, Warn of `loud` and `both`, and an enforcing rule allows
/// checkpoints. `more` follows. The pause image is listed, so that it warns of nothing.
fn rules(pause: &str, more: &str) -> String {
    let open = policy(
        &format!("{OPEN}  bootstrap:\n  - {{namespaces: [kube-system], image: \"{pause}\"}}\n"),
        "  - name: open\n    containers: {checkpoint: Allow}\n",
    );
    let only = |action: &str, namespaces: &str| {
        format!("  action: {action}\n  match: {{namespaces: [{namespaces}]}}\n")
    };
    let audit = node_policy("audits", &only("Audit", "quiet, both"), RULES);
    let warn = node_policy("warns", &only("Warn", "loud, both"), RULES);
    format!("{open}---\n{audit}---\n{warn}{more}")
}

fn enforcing() -> String {
    let spec = "  match: {namespaces: [both]}\n";
    format!("---\n{}", node_policy("zealous", spec, RULES))
}

/// A pod that calls are about.
struct Pod {
    config: PodSandboxConfig,
    sandbox: String,
    container: String,
}

struct Calls<'a> {
    node: &'a Node,
    image: &'a str,
    id: &'a str,
}

impl Calls<'_> {
    fn config(&self, of: &str) -> PodSandboxConfig {
        let mut config = self.node.cri.sandbox("pod");
        namespace(&mut config, of);
        config
            .annotations
            .insert("example.com/note".to_owned(), "x".to_owned());
        config
    }

    /// A pod made by calls that go on.
    fn pod(&self, of: &str) -> Pod {
        let config = self.config(of);
        let cri = &self.node.cri;
        cri.pull(self.image, &config).expect("PullImage");
        let sandbox = cri.run_sandbox(&config).expect("RunPodSandbox");
        let made = crate::node::Sandbox {
            id: sandbox.clone(),
            config: config.clone(),
        };
        let container = self
            .node
            .create(&made, self.id, self.image)
            .expect("CreateContainer");
        cri.start(&container).expect("StartContainer");
        Pod {
            config,
            sandbox,
            container,
        }
    }

    /// The calls that make a pod once more, whatever becomes of them.
    fn make(&self, of: &str, pod: &Pod) {
        let config = self.config(of);
        drop(self.node.cri.pull(self.image, &config));
        drop(self.node.cri.run_sandbox(&config));
        let made = crate::node::Sandbox {
            id: pod.sandbox.clone(),
            config: pod.config.clone(),
        };
        drop(self.node.create(&made, self.id, self.image));
    }

    /// The calls into a pod, whatever becomes of them.
    fn enter(&self, pod: &Pod) {
        let id = &pod.container;
        let linux = api::LinuxContainerResources {
            memory_limit_in_bytes: 32 << 20,
            memory_swap_limit_in_bytes: 32 << 20,
            ..Default::default()
        };
        self.call(
            "UpdateContainerResources",
            api::UpdateContainerResourcesRequest {
                container_id: id.clone(),
                linux: Some(linux),
                ..Default::default()
            },
        );
        self.call(
            "Exec",
            api::ExecRequest {
                container_id: id.clone(),
                cmd: vec!["id".to_owned()],
                stdout: true,
                ..Default::default()
            },
        );
        drop(self.node.cri.exec(id, &["id"]));
        self.call(
            "Attach",
            api::AttachRequest {
                container_id: id.clone(),
                stdout: true,
                ..Default::default()
            },
        );
        self.call(
            "PortForward",
            api::PortForwardRequest {
                pod_sandbox_id: pod.sandbox.clone(),
                port: vec![80],
            },
        );
        // containerd 1.6 does not know it, and says so: it was let through.
        self.call(
            "CheckpointContainer",
            api::CheckpointContainerRequest {
                container_id: id.clone(),
                location: "/nowhere/checkpoint.tar".to_owned(),
                ..Default::default()
            },
        );
    }

    fn call<Q: prost::Message + 'static>(&self, method: &str, request: Q) {
        let path: &'static str = BROKEN
            .iter()
            .zip(PATHS)
            .find_map(|((name, _), path)| (*name == method).then_some(*path))
            .expect("a method of the table");
        // Every one of these answers is read as one without fields.
        let answer: Result<api::ExecResponse, _> = self.node.cri.unary(path, request, SOON);
        drop(answer);
    }

    /// The lines of a namespace so far, by method.
    fn lines(&self, of: &str) -> BTreeMap<String, Vec<Value>> {
        let mut by_method: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in self.node.guard.audit() {
            let line: Value = serde_json::from_str(&line).expect("a line of JSON");
            if line["pod"]["namespace"] == of
                && let Some(rpc) = line["rpc"].as_str()
            {
                by_method.entry(rpc.to_owned()).or_default().push(line);
            }
        }
        by_method
    }

    /// The line of each method that came after `before`, once each has exactly one.
    fn newer(&self, of: &str, before: &BTreeMap<String, Vec<Value>>) -> BTreeMap<String, Value> {
        let count = |lines: &BTreeMap<String, Vec<Value>>, method: &str| {
            lines.get(method).map_or(0, Vec::len)
        };
        until("every call has its line", SOON, || {
            let now = self.lines(of);
            let one_more = |method: &str| count(&now, method) == count(before, method) + 1;
            if !BROKEN.iter().all(|(method, _)| one_more(method)) {
                return Err(format!("{now:#?}"));
            }
            let newest = |(rpc, mut of): (String, Vec<Value>)| Some((rpc, of.pop()?));
            Ok(now.into_iter().filter_map(newest).collect())
        })
    }
}

const PATHS: &[&str] = &[
    "/runtime.v1.ImageService/PullImage",
    "/runtime.v1.RuntimeService/RunPodSandbox",
    "/runtime.v1.RuntimeService/CreateContainer",
    "/runtime.v1.RuntimeService/UpdateContainerResources",
    "/runtime.v1.RuntimeService/Exec",
    "/runtime.v1.RuntimeService/ExecSync",
    "/runtime.v1.RuntimeService/Attach",
    "/runtime.v1.RuntimeService/PortForward",
    "/runtime.v1.RuntimeService/CheckpointContainer",
];

/// `POLICY/RULE ACTION EFFECT CODE` of every hit.
fn hits(line: &Value) -> BTreeSet<String> {
    let hits = line["hits"].as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    hits.iter()
        .map(|hit| {
            let [policy, rule, action, effect, code] =
                ["policy", "rule", "action", "effect", "code"].map(|key| word(&hit[key]));
            format!("{policy}/{rule} {action} {effect} {code}")
        })
        .collect()
}

/// Every line has this verdict, code of a rule of `named`, and exactly the hits of these policies. A
/// create that goes on was judged with the image's USER, too.
fn all_say(
    lines: &BTreeMap<String, Value>,
    verdict: &str,
    named: &str,
    speaking: &[(&str, &str, &str)],
    user: bool,
) {
    for (method, broken) in BROKEN {
        let line = &lines[*method];
        assert_eq!(
            (&line["verdict"], &line["policy"]),
            (&verdict.into(), &named.into()),
            "{method}: {line}"
        );
        assert_eq!(line["code"], broken[0].1, "{method}: {line}");
        let mut wanted = BTreeSet::new();
        for (policy, action, effect) in speaking {
            let mut add = |rule: &str, code: &str| {
                wanted.insert(format!("{policy}/{rule} {action} {effect} {code}"));
            };
            for (rule, code) in *broken {
                add(rule, code);
            }
            if user && *method == "CreateContainer" {
                add("pods", "POD-ROOT");
            }
        }
        assert_eq!(hits(line), wanted, "{method}: {line}");
    }
}

#[test]
fn warn_audit_and_enforce_are_told_apart_for_every_gated_call_and_every_broken_rule_is_in_the_line()
{
    let bare = Bare::new("warn");
    let image = bare.registry.push("busybox", "shop/root:1").reference;
    let pause = bare.containerd.pause().pinned();
    let mut node = bare.guarded(&rules(&pause, ""));
    node.cri
        .pull(&image, &node.cri.sandbox("before"))
        .expect("PullImage");
    let id = node.id_in_containerd(&image);
    let audit = ("audits", "Audit", "would-deny");
    let warn = ("warns", "Warn", "would-deny");

    let calls = Calls {
        node: &node,
        image: &image,
        id: &id,
    };
    let none = BTreeMap::new();
    let mut kept = None;
    for (of, verdict, named, speaking) in [
        ("quiet", "would-deny", "audits", vec![audit]),
        ("loud", "warned", "warns", vec![warn]),
        ("both", "warned", "warns", vec![audit, warn]),
    ] {
        let pod = calls.pod(of);
        calls.enter(&pod);
        all_say(&calls.newer(of, &none), verdict, named, &speaking, true);
        kept = Some(pod);
    }
    let pod = kept.expect("the pod of `both`");
    let counted = node.status().calls;
    assert_eq!((counted.denied, counted.undecided), (0, 0));
    assert_eq!((counted.would_deny, counted.warned), (9, 18));

    // An enforcing rule besides: each call is refused, and the line has what the others say too.
    let before = calls.lines("both");
    node.apply(&rules(&pause, &enforcing()));
    calls.make("both", &pod);
    calls.enter(&pod);
    let three = |effect| vec![audit, warn, ("zealous", "Enforce", effect)];
    let lines = calls.newer("both", &before);
    all_say(&lines, "denied", "zealous", &three("denied"), false);

    // Under observe the same goes on, and its verdict is that of the enforcing rule.
    node.settings.set("mode", "\"observe\"");
    node.guard.settings(&node.settings);
    node.guard.restart();
    node.cri = node.guard.cri();
    let calls = Calls {
        node: &node,
        image: &image,
        id: &id,
    };
    let before = calls.lines("both");
    calls.make("both", &pod);
    calls.enter(&pod);
    let lines = calls.newer("both", &before);
    all_say(&lines, "would-deny", "zealous", &three("would-deny"), false);
    for (of, verdict, named, speaking) in [
        ("quiet", "would-deny", "audits", vec![audit]),
        ("loud", "warned", "warns", vec![warn]),
    ] {
        let before = calls.lines(of);
        let pod = calls.pod(of);
        calls.enter(&pod);
        let lines = calls.newer(of, &before);
        all_say(&lines, verdict, named, &speaking, true);
    }
}

#[test]
fn a_pull_that_could_not_be_resolved_keeps_what_rules_say_that_only_record() {
    let bare = Bare::new("warn-unresolved");
    let app = bare.registry.push("app-one", "shop/app:1");
    let pin = format!(
        "  - name: pinned\n    images: [\"{}/shop/**\"]\n    digest: Pin\n",
        bare.host()
    );
    let audit = node_policy(
        "audits",
        "  action: Audit\n",
        "  - name: source\n    registries: {allow: [\"registry.example.com/**\"]}\n",
    );
    let mut node = bare.guarded(&format!("{}---\n{audit}", policy(OPEN, &pin)));
    node.registry.stop();
    let refused = node.pull(&app.reference).expect_err("nobody answers");
    assert_eq!(refused.code(), "IMG-UNREACHABLE");
    let line = node.audit_line(&["PullImage", "IMG-UNREACHABLE"]);
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["verdict"], "undecided", "{line}");
    let wanted = "audits/source Audit would-deny REG-DENIED".to_owned();
    assert_eq!(hits(&line), BTreeSet::from([wanted]), "{line}");
}
