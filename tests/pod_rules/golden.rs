//! The golden lines of pod rules are what the rules say.

use std::path::Path;

use pullguard::policy::{Code, CreateEvidence, Intrusion, NodeFacts, Running};
use pullguard::request::{Flag, Profile, Propagation};

use crate::{Change, NOW, annotate, ask, evidence, mount, named, selinux, sysctl, words};

fn golden(code: Code) -> String {
    let file = format!("tests/golden/denials/{}.txt", code.as_str());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.trim_end().to_owned()
}

fn examples() -> Vec<(Code, &'static str, &'static str, Change)> {
    vec![
        (
            Code::PodHostPort,
            "host",
            "containers: {hostPorts: Deny}",
            |ask| ask.sandbox.host_ports = vec![80],
        ),
        (
            Code::PodCapability,
            "hardened",
            "containers: {capabilities: {allowAdd: []}}",
            |ask| ask.container.add_capabilities = words(&["NET_ADMIN"]),
        ),
        (
            Code::PodSeccomp,
            "hardened",
            "containers: {seccomp: {allow: [RuntimeDefault]}}",
            |ask| ask.container.seccomp = None,
        ),
        (
            Code::PodApparmor,
            "hardened",
            "containers: {appArmor: {allow: [RuntimeDefault]}}",
            |ask| ask.container.apparmor = Some(Profile::Unconfined),
        ),
        (
            Code::PodSelinux,
            "hardened",
            "containers: {seLinux: {allowTypes: [container_t]}}",
            |ask| ask.container.selinux = selinux("", "spc_t"),
        ),
        (
            Code::PodSysctl,
            "hardened",
            "containers: {sysctls: Deny}",
            |ask| sysctl(&mut ask.sandbox, "kernel.msgmax", "1"),
        ),
        (
            Code::PodProcMount,
            "hardened",
            "containers: {procMount: Masked}",
            |ask| ask.container.masked_paths.clear(),
        ),
        (
            Code::PodEscalation,
            "hardened",
            "containers: {noNewPrivileges: Require}",
            |ask| ask.container.no_new_privs = Flag::Off,
        ),
        (
            Code::PodPropagation,
            "hardened",
            "containers: {propagation: {allow: [None]}}",
            |ask| {
                let mut data = mount(Propagation::Bidirectional);
                "/data".clone_into(&mut data.container_path);
                ask.container.mounts = vec![data];
            },
        ),
        (
            Code::PodDevice,
            "hardened",
            "containers: {devices: Deny}",
            |ask| ask.container.devices = words(&["/dev/kvm"]),
        ),
        (
            Code::PodGroup,
            "hardened",
            "containers: {groups: {denyZero: Supplemental}}",
            |ask| ask.container.supplemental_groups = vec![0],
        ),
        (
            Code::PodAnnotation,
            "hardened",
            "containers: {annotations: {deny: [\"io.katacontainers.*\"]}}",
            |ask| {
                let key = "io.katacontainers.config.hypervisor.path";
                ask.sandbox
                    .annotations
                    .insert(key.to_owned(), String::new());
            },
        ),
        (
            Code::PodResources,
            "limits",
            "resources: {require: [memory]}",
            |_| {},
        ),
        (
            Code::PodLogPath,
            "hardened",
            "containers: {logDirectory: Pod}",
            |ask| "../../x.log".clone_into(&mut ask.container.log_path),
        ),
    ]
}

#[test]
fn the_golden_texts_of_pod_rules_are_what_the_rules_say() {
    let node = NodeFacts::default();
    for (code, rule, check, change) in examples() {
        let policy = named("payments", rule, check).unwrap();
        let mut ask = ask();
        "api-0".clone_into(&mut ask.sandbox.pod.name);
        "/var/log/pods/payments_api-0_u".clone_into(&mut ask.sandbox.log_directory);
        change(&mut ask);
        let evidence: CreateEvidence = evidence(&ask);
        let plan = policy.plan_create(&ask.sandbox.pod, "", &ask, &node, &[], NOW);
        let denial = plan.conclude(&evidence).verdict.expect_err(check);
        assert_eq!(denial.line(), golden(code));
    }
}

#[test]
fn the_golden_text_of_a_closed_container_is_what_the_rule_says() {
    let policy = named("payments", "hardened", "containers: {exec: Deny}").unwrap();
    let mut ask = ask();
    "api-0".clone_into(&mut ask.sandbox.pod.name);
    let running = Running {
        pod: &ask.sandbox.pod,
        handler: "",
        container: "app",
        image: None,
    };
    let judged = policy.judge_intrusion(Intrusion::Exec, &running, &NodeFacts::default(), NOW);
    let denial = judged.verdict.expect_err("closed");
    assert_eq!(denial.line(), golden(Code::PodExec));
}

#[test]
fn an_annotation_of_the_container_is_told_like_one_of_the_pod() {
    let check = "containers: {annotations: {deny: [\"x.example/*\"]}}";
    let policy = named("payments", "hardened", check).unwrap();
    let mut ask = ask();
    annotate(&mut ask.container, "x.example/a", "1");
    let node = NodeFacts::default();
    let plan = policy.plan_create(&ask.sandbox.pod, "", &ask, &node, &[], NOW);
    let denial = plan.conclude(&evidence(&ask)).verdict.expect_err(check);
    assert_eq!(
        denial.line(),
        "POD-ANNOTATION payments/hardened: container `app` carries annotation `x.example/a`; remove it from the pod's metadata.annotations"
    );
}
