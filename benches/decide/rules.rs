//! Policies that the benchmark's request keeps.

use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::Policy;

/// How many rules are in force.
pub(crate) const RULES: usize = 1_000;
/// Over how many policies they are spread.
const POLICIES: usize = 10;

/// Every check that is judged at a create, by its key.
pub(crate) const KEYS: &[(&str, &str)] = &[
    (
        "registries",
        "registries: {allow: [\"registry.example.com/pay/**\", \"cgr.dev/**\"], deny: [\"**/**:latest\"]}",
    ),
    ("digest", "digest: InSpec"),
    ("privileged", "containers: {privileged: Deny}"),
    ("root", "containers: {root: Deny}"),
    (
        "hostPath",
        "containers: {hostPath: {allow: [{prefix: /srv/app, readOnly: true}, {path: /etc/localtime, readOnly: true}]}}",
    ),
    ("hostNamespaces", "containers: {hostNamespaces: Deny}"),
    (
        "hostPorts",
        "containers: {hostPorts: {allow: [\"8080\", \"30000-32767\"]}}",
    ),
    (
        "capabilities",
        "containers: {capabilities: {allowAdd: [NET_BIND_SERVICE], requireDrop: [ALL]}}",
    ),
    ("noNewPrivileges", "containers: {noNewPrivileges: Require}"),
    (
        "seccomp",
        "containers: {seccomp: {allow: [RuntimeDefault, Localhost]}}",
    ),
    (
        "appArmor",
        "containers: {appArmor: {allow: [RuntimeDefault, Localhost]}}",
    ),
    (
        "seLinux",
        "containers: {seLinux: {allowTypes: [container_t]}}",
    ),
    ("procMount", "containers: {procMount: Masked}"),
    (
        "propagation",
        "containers: {propagation: {allow: [None, HostToContainer]}}",
    ),
    (
        "volumes",
        "containers: {volumes: {allow: [emptyDir, secret, hostPath]}}",
    ),
    ("sysctls", "containers: {sysctls: {allow: [\"net.*\"]}}"),
    ("groups", "containers: {groups: {denyZero: All}}"),
    (
        "devices",
        "containers: {devices: {allow: [\"/dev/dri/*\"], cdi: [\"nvidia.com/gpu=*\"]}}",
    ),
    (
        "annotations",
        "containers: {annotations: {deny: [\"io.katacontainers.*\", \"*.cri.example.com/*\"]}}",
    ),
    (
        "runtimeHandlers",
        "containers: {runtimeHandlers: {allow: [\"\", kata]}}",
    ),
    ("logDirectory", "containers: {logDirectory: Pod}"),
    (
        "podSecurity",
        "podSecurity: {level: restricted, exclude: [{control: HostPath Volumes}, {control: Host Ports}]}",
    ),
    (
        "resources",
        "resources: {require: [memory, cpu], maximum: {memory: 8Gi, cpu: 4}}",
    ),
];

/// Every key in turn.
pub(crate) fn mixed() -> Vec<&'static str> {
    let keys = KEYS.iter().map(|(_, check)| *check);
    keys.cycle().take(RULES).collect()
}

/// One key again and again.
pub(crate) fn of_key(check: &'static str, many: usize) -> Vec<&'static str> {
    vec![check; many]
}

/// The rules, spread evenly over the policies.
pub(crate) fn compile(checks: &[&str]) -> Policy {
    let mut text = "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: bench}
spec: {audience: bench, unmatched: {pods: Allow, images: Allow}}
"
    .to_owned();
    for (place, part) in checks.chunks(checks.len().div_ceil(POLICIES)).enumerate() {
        text.push_str(&format!(
            "---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {{name: p{place}}}
spec:
  match: {{namespaces: [payments, \"payments-*\"]}}
  rules:
"
        ));
        for (index, check) in part.iter().enumerate() {
            text.push_str(&format!("  - {{name: r{index}, {check}}}\n"));
        }
    }
    let files = vec![("bench.yaml".to_owned(), text)];
    match compile_dir(files, &Limits::default(), crate::NOW) {
        Ok(authored) => authored.policy,
        Err(error) => panic!("{error}"),
    }
}
