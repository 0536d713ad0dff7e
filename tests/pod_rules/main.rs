//! Every control of `containers`, `podSecurity` and `resources`: a request that breaks it, and the
//! twin that differs in that one field and starts.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says why it failed by panicking"
)]

mod ephemeral;
mod excluded;
mod golden;
mod rows;
mod running;
mod standards;
mod twins;

use std::path::Path;

use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::{
    Code, CreateEvidence, HostPathSafety, KubeletMount, MountOrigin, NodeFacts, Policy, Via,
};
use pullguard::request::{
    Container, CreateAsk, Flag, IdRange, Mount, MountSource, NamespaceMode, Profile, Propagation,
    Sandbox, SeLinux, UserNamespace,
};
use pullguard::time::Timestamp;

/// Time plays no part here.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_780_272_000);

fn compile(check: &str) -> Result<Policy, String> {
    named("p", "r", check)
}

/// The only rule of the only policy.
fn named(policy: &str, rule: &str, check: &str) -> Result<Policy, String> {
    let files = vec![("p.yaml".to_owned(), yaml(policy, rule, check))];
    compile_dir(files, &Limits::default(), NOW)
        .map(|compiled| compiled.policy)
        .map_err(|error| error.to_string())
}

fn yaml(policy: &str, rule: &str, check: &str) -> String {
    format!(
        "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {{name: set}}
spec: {{audience: test, unmatched: {{pods: Allow, images: Allow}}}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {{name: {policy}}}
spec: {{rules: [{{name: {rule}, {check}}}]}}
"
    )
}

fn policy(check: &str) -> Policy {
    compile(check).unwrap()
}

/// A container as a kubelet asks for it, that keeps level restricted.
fn ask() -> CreateAsk {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/create.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut ask: CreateAsk = serde_json::from_value(value.get_mut("ask").unwrap().take()).unwrap();
    ask.container.seccomp = Some(Profile::RuntimeDefault);
    ask.container.no_new_privs = Flag::On;
    ask.container.drop_capabilities = vec!["ALL".to_owned()];
    ask.container.run_as_group = Some(1000);
    ask
}

fn host(path: &str) -> MountOrigin {
    MountOrigin::Host {
        path: path.to_owned(),
        via: Via::Spec,
        safe: HostPathSafety::Fixed,
        guarded: None,
    }
}

fn volume_of(inside: &str) -> MountOrigin {
    let plugin = inside.split('/').next().unwrap();
    MountOrigin::Kubelet(KubeletMount::Volume(plugin.to_owned()))
}

/// What a look at the node finds: a volume below `/volumes/PLUGIN/`, every other path is the host's own.
fn evidence(ask: &CreateAsk) -> CreateEvidence {
    CreateEvidence {
        image_user: Some(Ok(String::new())),
        mounts: ask
            .container
            .mounts
            .iter()
            .map(|mount| match &mount.source {
                MountSource::HostPath(path) => match path.split_once("/volumes/") {
                    Some((_, volume)) => volume_of(volume),
                    None => host(path),
                },
                MountSource::Image { .. } => MountOrigin::Image,
            })
            .collect(),
        ..CreateEvidence::default()
    }
}

fn judge(policy: &Policy, ask: &CreateAsk) -> Option<Code> {
    let node = NodeFacts {
        cpu_quotas: true,
        ..NodeFacts::default()
    };
    let handler = ask.sandbox.runtime_handler.clone().unwrap_or_default();
    let evidence = evidence(ask);
    let plan = policy.plan_create(&ask.sandbox.pod, &handler, ask, &node, &[], NOW);
    let verdict = plan.conclude(&evidence).verdict;
    verdict.err().map(|denial| denial.code())
}

fn sandbox_code(policy: &Policy, sandbox: &Sandbox) -> Option<Code> {
    let judged = policy.judge_sandbox(sandbox, &NodeFacts::default(), NOW);
    judged.verdict.err().map(|denial| denial.code())
}

type Change = fn(&mut CreateAsk);

/// `check` in YAML; what breaks it; what the twin has instead; the code.
struct Row(&'static str, Change, Change, Code);

fn unified(ask: &mut CreateAsk, key: &str, value: &str) {
    let unified = &mut ask.container.resources.unified;
    unified.insert(key.to_owned(), value.to_owned());
}

/// `cpu.max` with a quota of 50 ms and no period, beside a typed period.
fn quota_alone(ask: &mut CreateAsk, period: i64) {
    ask.container.resources.cpu_period = Some(period);
    unified(ask, "cpu.max", "50000");
}

fn mount(propagation: Propagation) -> Mount {
    Mount {
        container_path: "/m".to_owned(),
        source: MountSource::HostPath("/srv/data".to_owned()),
        readonly: Flag::Off,
        recursive_read_only: Flag::Off,
        propagation,
    }
}

/// A volume of the kubelet's, by the directory of its plugin.
fn volume(plugin: &str) -> Mount {
    Mount {
        source: MountSource::HostPath(format!("/var/lib/kubelet/pods/u/volumes/{plugin}/v")),
        ..mount(Propagation::None)
    }
}

fn selinux(user: &str, kind: &str) -> Option<SeLinux> {
    Some(SeLinux {
        user: user.to_owned(),
        kind: kind.to_owned(),
        ..SeLinux::default()
    })
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn annotate(container: &mut Container, key: &str, value: &str) {
    container
        .annotations
        .insert(key.to_owned(), value.to_owned());
}

fn sysctl(sandbox: &mut Sandbox, name: &str, value: &str) {
    sandbox.sysctls.insert(name.to_owned(), value.to_owned());
}

#[test]
fn an_excluded_value_is_waived_and_its_neighbour_is_not() {
    let policy = policy(
        "podSecurity: {level: baseline, exclude: [{control: Capabilities, values: [NET_RAW]}]}",
    );
    let mut ask = ask();
    ask.container.add_capabilities = words(&["NET_RAW"]);
    assert_eq!(judge(&policy, &ask), None);
    ask.container.add_capabilities = words(&["NET_RAW", "NET_ADMIN"]);
    assert_eq!(judge(&policy, &ask), Some(Code::PodCapability));
}

#[test]
fn what_an_image_may_be_waived_is_asked_with_its_container() {
    let waived = |images: &str| {
        policy(&format!(
            "podSecurity: {{level: baseline, exclude: [{{control: Host Ports, images: [\"{images}\"]}}]}}"
        ))
    };
    let own = waived("registry.example.com/pay/api");
    let other = waived("registry.example.com/pay/other");
    let mut ask = ask();
    ask.sandbox.host_ports = vec![80];
    assert_eq!(sandbox_code(&own, &ask.sandbox), None);
    // Nothing but the proof of its name is asked for.
    assert_eq!(judge(&own, &ask), Some(Code::ImgUnproven));
    assert_eq!(judge(&other, &ask), Some(Code::PodHostPort));
    let all = policy("podSecurity: {level: baseline}");
    assert_eq!(sandbox_code(&all, &ask.sandbox), Some(Code::PodHostPort));
}

#[test]
fn uid_0_of_the_image_is_denied_where_only_running_as_non_root_is_waived() {
    let policy =
        policy("podSecurity: {level: restricted, exclude: [{control: Running as Non-root}]}");
    let mut ask = ask();
    ask.container.run_as_user = None;
    let node = NodeFacts::default();
    for (user, code) in [
        ("0", Some(Code::PodRoot)),
        ("00:5", Some(Code::PodRoot)),
        ("", Some(Code::PodRoot)),
        ("1000", None),
        ("app", None),
    ] {
        let plan = policy.plan_create(&ask.sandbox.pod, "", &ask, &node, &[], NOW);
        let evidence = CreateEvidence {
            image_user: Some(Ok(user.to_owned())),
            ..CreateEvidence::default()
        };
        let verdict = plan.conclude(&evidence).verdict;
        assert_eq!(verdict.err().map(|denial| denial.code()), code, "{user:?}");
    }
}

/// A control, how a pod breaks it for all its containers, and the code.
type PodWide = (&'static str, fn(&mut Sandbox), Code);

#[test]
fn what_no_image_may_be_waived_is_asked_with_the_sandbox() {
    let waived = |control: &str| {
        policy(&format!(
            "podSecurity: {{level: restricted, exclude: [{{control: {control}, images: [\"registry.example.com/pay/api\"]}}]}}"
        ))
    };
    let rows: [PodWide; 3] = [
        (
            "Privileged Containers",
            |sandbox| sandbox.privileged = Flag::On,
            Code::PodPrivileged,
        ),
        (
            "SELinux",
            |sandbox| sandbox.selinux = selinux("", "spc_t"),
            Code::PodSelinux,
        ),
        (
            "Running as Non-root user",
            |sandbox| sandbox.run_as_user = Some(0),
            Code::PodRoot,
        ),
    ];
    for (control, change, code) in rows {
        let mut sandbox = ask().sandbox;
        change(&mut sandbox);
        let other = sandbox_code(&waived("Capabilities"), &sandbox);
        assert_eq!(other, Some(code), "{control}");
        assert_eq!(sandbox_code(&waived(control), &sandbox), None, "{control}");
    }
}

#[test]
fn a_privileged_neighbour_denies_the_sandbox_and_not_the_other_containers() {
    let policy = policy("podSecurity: {level: baseline}");
    let mut ask = ask();
    ask.sandbox.privileged = Flag::On;
    let run = sandbox_code(&policy, &ask.sandbox);
    assert_eq!(run, Some(Code::PodPrivileged));
    assert_eq!(judge(&policy, &ask), None);
    ask.container.privileged = Flag::On;
    assert_eq!(judge(&policy, &ask), Some(Code::PodPrivileged));
}

#[test]
fn a_pod_with_a_hundred_thousand_capabilities_costs_a_few_findings_for_each_rule() {
    let policy =
        policy("containers: {capabilities: {allowAdd: [CHOWN]}, groups: {denyZero: Supplemental}}");
    let mut ask = ask();
    ask.container.add_capabilities = (0..100_000).map(|at| format!("C{at}")).collect();
    ask.container.supplemental_groups = vec![0; 100_000];
    let node = NodeFacts::default();
    let plan = policy.plan_create(&ask.sandbox.pod, "", &ask, &node, &[], NOW);
    let judgement = plan.conclude(&evidence(&ask));
    let denial = judgement.verdict.expect_err("it is denied");
    assert!(denial.line().contains("`C0`"), "{}", denial.line());
    assert_eq!(judgement.findings.len(), 32);
}

#[test]
fn an_exempt_namespace_keeps_no_level() {
    let policy = policy("podSecurity: {level: baseline, exempt: {namespaces: [kube-system]}}");
    let mut ask = ask();
    ask.container.privileged = Flag::On;
    assert_eq!(judge(&policy, &ask), Some(Code::PodPrivileged));
    "kube-system".clone_into(&mut ask.sandbox.pod.namespace);
    assert_eq!(judge(&policy, &ask), None);
}

#[test]
fn a_handler_is_exempt_where_a_rule_says_who_may_choose_it() {
    let yaml = |matches: &str| {
        format!(
            "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {{name: set}}
spec: {{audience: test, unmatched: {{pods: Allow, images: Allow}}}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {{name: handlers}}
spec: {{{matches}rules: [{{name: h, containers: {{runtimeHandlers: {{allow: [\"\"]}}}}}}]}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {{name: level}}
spec: {{rules: [{{name: r, podSecurity: {{level: baseline, exempt: {{runtimeHandlers: [gvisor]}}}}}}]}}
"
        )
    };
    let compiled = |matches: &str| {
        compile_dir(
            vec![("p.yaml".to_owned(), yaml(matches))],
            &Limits::default(),
            NOW,
        )
        .map(|_| ())
        .map_err(|error| error.to_string())
    };
    compiled("").expect("a policy that speaks of every pod says who may");
    for scope in ["match", "exclude"] {
        let error = compiled(&format!("{scope}: {{namespaces: [other]}}, "));
        let error = error.expect_err("it does not speak of all");
        assert!(error.contains("exempts runtime handlers"), "{error}");
    }
}

#[test]
fn what_cannot_be_enforced_as_written_is_refused_by_the_compiler() {
    for (check, part) in [
        ("podSecurity: {level: privileged}", "privileged"),
        (
            "podSecurity: {level: baseline, version: v2.1}",
            "a version is",
        ),
        (
            "podSecurity: {level: baseline, version: \"1.30\"}",
            "a version is",
        ),
        (
            "podSecurity: {level: baseline, exclude: [{control: Capability}]}",
            "is no control",
        ),
        (
            "podSecurity: {level: baseline, exclude: [{control: Sysctls, images: [\"r.example/a\"]}]}",
            "control of the whole pod",
        ),
        (
            "podSecurity: {level: baseline, exempt: {runtimeHandlers: [gvisor]}}",
            "exempts runtime handlers",
        ),
        (
            "podSecurity: {level: baseline, exempt: {namespaces: [\"kube-*\"]}}",
            "names of namespaces, whole",
        ),
        (
            "podSecurity: {level: baseline, exempt: {}}",
            "exempts nothing",
        ),
        (
            "containers: {capabilities: {allowAdd: [CAP_NET_RAW]}}",
            "is no capability",
        ),
        ("containers: {capabilities: {}}", "judges nothing"),
        ("containers: {hostPorts: {allow: [\"0\"]}}", "is no port"),
        ("containers: {hostPorts: {allow: [\"9-8\"]}}", "is no port"),
        (
            "containers: {sysctls: {allow: [\"net..x\"]}}",
            "is no sysctl",
        ),
        ("containers: {devices: {}}", "allows nothing"),
        ("containers: {devices: Allow}", "Deny"),
        (
            "containers: {annotations: {deny: [\"*\"]}}",
            "every pod carries",
        ),
        ("resources: {}", "judges nothing"),
        ("resources: {maximum: {memory: 5x}}", "no quantity"),
        (
            "resources: {defaults: {cpu: 2}, maximum: {cpu: 1}}",
            "above the maximum",
        ),
        (
            "resources: {defaults: {memory: 512m}}",
            "no whole number of bytes",
        ),
        (
            "resources: {maximum: {memory: 0.5}}",
            "no whole number of bytes",
        ),
        ("resources: {require: [disk]}", "disk"),
        (
            "images: [\"r.example/a\"], containers: {checkpoint: Allow}",
            "do not say the image",
        ),
        (
            "skipImages: [\"r.example/a\"], containers: {exec: Deny}",
            "do not say the image",
        ),
        ("containers: {volumes: {allow: [cephFS]}}", "cephFS"),
        ("containers: {volumes: {allow: []}}", "an empty list"),
    ] {
        let error = compile(check).expect_err(check);
        assert!(error.contains(part), "{check}: {error}");
    }
}
