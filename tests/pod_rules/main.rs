//! Every control of `containers`, `podSecurity` and `resources`: a request that breaks it, and the
//! twin that differs in that one field and starts.
#![expect(clippy::unwrap_used, reason = "a test says why it failed by panicking")]

mod excluded;
mod golden;
mod running;

use std::path::Path;

use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::{
    Code, CreateEvidence, HostPathSafety, MountOrigin, NodeFacts, Policy, Via,
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
    let yaml = format!(
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
    );
    compile_dir(vec![("p.yaml".to_owned(), yaml)], &Limits::default(), NOW)
        .map(|compiled| compiled.policy)
        .map_err(|error| error.to_string())
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

/// What a look at the node finds: every path is the host's own.
fn evidence(ask: &CreateAsk) -> CreateEvidence {
    CreateEvidence {
        image_user: Some(Ok(String::new())),
        mounts: ask
            .container
            .mounts
            .iter()
            .map(|mount| match &mount.source {
                MountSource::HostPath(path) => host(path),
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

/// `cpu.max` with a quota of 50 ms and no period, beside a typed period.
fn quota_alone(ask: &mut CreateAsk, period: i64) {
    let resources = &mut ask.container.resources;
    resources.cpu_period = Some(period);
    let unified = &mut resources.unified;
    unified.insert("cpu.max".to_owned(), "50000".to_owned());
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

const PORTS: &str = "io.kubernetes.container.ports";

fn rows() -> Vec<Row> {
    let none: Change = |_| {};
    vec![
        Row(
            "containers: {hostPorts: {allow: [\"8080\", \"30000-32767\"]}}",
            |ask| ask.sandbox.host_ports = vec![80],
            |ask| ask.sandbox.host_ports = vec![8080, 30000, 32767],
            Code::PodHostPort,
        ),
        Row(
            "containers: {hostPorts: Deny}",
            |ask| {
                annotate(
                    &mut ask.container,
                    PORTS,
                    r#"[{"hostPort":9,"containerPort":9}]"#,
                )
            },
            |ask| {
                annotate(
                    &mut ask.container,
                    PORTS,
                    r#"[{"containerPort":9,"protocol":"TCP"}]"#,
                )
            },
            Code::PodHostPort,
        ),
        Row(
            "containers: {hostPorts: Deny}",
            |ask| annotate(&mut ask.container, PORTS, "{"),
            none,
            Code::PodHostPort,
        ),
        Row(
            "containers: {capabilities: {allowAdd: [NET_BIND_SERVICE]}}",
            |ask| ask.container.add_capabilities = words(&["NET_ADMIN"]),
            |ask| ask.container.add_capabilities = words(&["NET_BIND_SERVICE"]),
            Code::PodCapability,
        ),
        Row(
            "containers: {capabilities: {allowAdd: [NET_BIND_SERVICE]}}",
            |ask| ask.container.add_capabilities = words(&["net_bind_service"]),
            none,
            Code::PodCapability,
        ),
        Row(
            "containers: {capabilities: {allowAdd: []}}",
            |ask| ask.container.add_ambient_capabilities = words(&["CHOWN"]),
            none,
            Code::PodCapability,
        ),
        Row(
            "containers: {capabilities: {requireDrop: [NET_RAW]}}",
            |ask| ask.container.drop_capabilities = words(&["CHOWN"]),
            |ask| ask.container.drop_capabilities = words(&["NET_RAW"]),
            Code::PodCapability,
        ),
        Row(
            "containers: {noNewPrivileges: Require}",
            |ask| ask.container.no_new_privs = Flag::Off,
            none,
            Code::PodEscalation,
        ),
        Row(
            "containers: {seccomp: {allow: [RuntimeDefault, Localhost]}}",
            |ask| ask.container.seccomp = Some(Profile::Unconfined),
            |ask| ask.container.seccomp = Some(Profile::Localhost("/k/seccomp/a.json".to_owned())),
            Code::PodSeccomp,
        ),
        Row(
            "containers: {seccomp: {allow: [RuntimeDefault]}}",
            |ask| ask.container.seccomp = None,
            |ask| {
                ask.container.seccomp = None;
                "runtime/default".clone_into(&mut ask.container.seccomp_profile_path);
            },
            Code::PodSeccomp,
        ),
        Row(
            "containers: {seccomp: {allow: [RuntimeDefault]}}",
            |ask| ask.container.privileged = Flag::On,
            none,
            Code::PodSeccomp,
        ),
        Row(
            "containers: {appArmor: {allow: [RuntimeDefault, Localhost]}}",
            |ask| ask.container.apparmor = Some(Profile::Unconfined),
            |ask| ask.container.apparmor = Some(Profile::Localhost("k8s-x".to_owned())),
            Code::PodApparmor,
        ),
        Row(
            "containers: {appArmor: {allow: [RuntimeDefault]}}",
            |ask| {
                ask.container.apparmor = Some(Profile::RuntimeDefault);
                "unconfined".clone_into(&mut ask.container.apparmor_profile);
            },
            |ask| ask.container.apparmor = Some(Profile::RuntimeDefault),
            Code::PodApparmor,
        ),
        Row(
            "containers: {seLinux: {allowTypes: [container_t]}}",
            |ask| ask.container.selinux = selinux("", "spc_t"),
            |ask| ask.container.selinux = selinux("", "container_t"),
            Code::PodSelinux,
        ),
        Row(
            "containers: {seLinux: {allowTypes: [container_t]}}",
            |ask| ask.container.selinux = selinux("system_u", "container_t"),
            none,
            Code::PodSelinux,
        ),
        Row(
            "containers: {seLinux: {allowTypes: [container_t]}}",
            |ask| ask.sandbox.selinux = selinux("", "spc_t"),
            |ask| ask.sandbox.selinux = selinux("", "container_t"),
            Code::PodSelinux,
        ),
        Row(
            "containers: {procMount: Masked}",
            |ask| ask.container.masked_paths.clear(),
            none,
            Code::PodProcMount,
        ),
        Row(
            "containers: {procMount: Masked}",
            |ask| {
                ask.container
                    .readonly_paths
                    .retain(|path| path != "/proc/sys")
            },
            none,
            Code::PodProcMount,
        ),
        Row(
            "containers: {propagation: {allow: [None, HostToContainer]}}",
            |ask| ask.container.mounts = vec![mount(Propagation::Bidirectional)],
            |ask| ask.container.mounts = vec![mount(Propagation::HostToContainer)],
            Code::PodPropagation,
        ),
        Row(
            "containers: {sysctls: {allow: [\"net.ipv4.ip_local_port_range\"]}}",
            |ask| sysctl(&mut ask.sandbox, "net.ipv4.ip_forward", "1"),
            |ask| {
                sysctl(
                    &mut ask.sandbox,
                    "net/ipv4/ip_local_port_range",
                    "1024 65535",
                )
            },
            Code::PodSysctl,
        ),
        Row(
            "containers: {sysctls: {allow: [\"kernel.*\"]}}",
            |ask| {
                sysctl(
                    &mut ask.sandbox,
                    "kernel.shm_rmid_forced",
                    "1+kernel.core_pattern=|/x",
                )
            },
            |ask| sysctl(&mut ask.sandbox, "kernel.shm_rmid_forced", "1"),
            Code::PodSysctl,
        ),
        Row(
            "containers: {sysctls: {allow: [\"net.*\"]}}",
            |ask| {
                sysctl(&mut ask.sandbox, "net.core.somaxconn", "1024");
                ask.sandbox.namespaces.network = NamespaceMode::Node;
            },
            |ask| sysctl(&mut ask.sandbox, "net.core.somaxconn", "1024"),
            Code::PodSysctl,
        ),
        Row(
            "containers: {groups: {denyZero: Supplemental}}",
            |ask| ask.container.supplemental_groups = vec![1000, 0],
            |ask| ask.container.supplemental_groups = vec![1000, 1],
            Code::PodGroup,
        ),
        Row(
            "containers: {groups: {denyZero: All}}",
            |ask| ask.container.run_as_group = None,
            none,
            Code::PodGroup,
        ),
        Row(
            "containers: {devices: Deny}",
            |ask| ask.container.devices = words(&["/dev/mem"]),
            |ask| {
                ask.container.devices = words(&["/k/pods/u/volumeDevices/kubernetes.io~csi/pv-1"])
            },
            Code::PodDevice,
        ),
        Row(
            "containers: {devices: {allow: [\"/dev/dri/*\"]}}",
            |ask| ask.container.devices = words(&["/dev/dri/../mem"]),
            |ask| ask.container.devices = words(&["/dev/dri/card0"]),
            Code::PodDevice,
        ),
        Row(
            "containers: {devices: {cdi: [\"nvidia.com/gpu=*\"]}}",
            |ask| ask.container.cdi_devices = words(&["evil.com/gpu=0"]),
            |ask| ask.container.cdi_devices = words(&["nvidia.com/gpu=0"]),
            Code::PodDevice,
        ),
        Row(
            "containers: {devices: {cdi: [\"nvidia.com/gpu=*\"]}}",
            |ask| {
                annotate(
                    &mut ask.container,
                    "cdi.k8s.io/x",
                    "nvidia.com/gpu=0,evil.com/d=1",
                )
            },
            |ask| annotate(&mut ask.container, "cdi.k8s.io/x", "nvidia.com/gpu=0"),
            Code::PodDevice,
        ),
        Row(
            "containers: {capabilities: {allowAdd: []}}",
            |ask| ask.container.privileged = Flag::On,
            none,
            Code::PodCapability,
        ),
        Row(
            "containers: {procMount: Masked}",
            |ask| ask.container.privileged = Flag::On,
            none,
            Code::PodProcMount,
        ),
        Row(
            "containers: {seLinux: {allowTypes: [container_t]}}",
            |ask| ask.container.privileged = Flag::On,
            none,
            Code::PodSelinux,
        ),
        Row(
            "containers: {devices: {allow: [\"/dev/*\"]}}",
            |ask| ask.container.privileged = Flag::On,
            none,
            Code::PodDevice,
        ),
        Row(
            "containers: {devices: {allow: [\"/dev/*\"]}}",
            |ask| ask.container.devices = words(&["/dev/"]),
            |ask| ask.container.devices = words(&["/dev/fuse"]),
            Code::PodDevice,
        ),
        Row(
            "containers: {devices: {allow: [\"/dev/*\"]}}",
            |ask| ask.container.devices = words(&["/dev/."]),
            none,
            Code::PodDevice,
        ),
        Row(
            "containers: {annotations: {deny: [\"io.katacontainers.*\"]}}",
            |ask| annotate(&mut ask.container, "io.katacontainers.config.x", "1"),
            |ask| annotate(&mut ask.container, "io.katacontainersx", "1"),
            Code::PodAnnotation,
        ),
        Row(
            "containers: {runtimeHandlers: {allow: [\"\", kata]}}",
            |ask| ask.sandbox.runtime_handler = Some("runc-privileged".to_owned()),
            |ask| ask.sandbox.runtime_handler = Some("kata".to_owned()),
            Code::PodRuntimeHandler,
        ),
        Row(
            "containers: {logDirectory: Pod}",
            |ask| "/var/log/pods/payments_other_u".clone_into(&mut ask.sandbox.log_directory),
            none,
            Code::PodLogPath,
        ),
        Row(
            "containers: {logDirectory: Pod}",
            |ask| "app/../../x.log".clone_into(&mut ask.container.log_path),
            none,
            Code::PodLogPath,
        ),
        Row(
            "resources: {require: [memory]}",
            none,
            |ask| ask.container.resources.memory_limit = Some(1),
            Code::PodResources,
        ),
        Row(
            "resources: {maximum: {memory: 1Gi}}",
            |ask| ask.container.resources.memory_limit = Some((1 << 30) + 1),
            |ask| ask.container.resources.memory_limit = Some(1 << 30),
            Code::PodResources,
        ),
        Row(
            "resources: {maximum: {memory: 1Gi}}",
            |ask| {
                ask.container.resources.memory_limit = Some(1);
                let key = "memory.max".to_owned();
                ask.container
                    .resources
                    .unified
                    .insert(key, "max".to_owned());
            },
            |ask| ask.container.resources.memory_limit = Some(1),
            Code::PodResources,
        ),
        Row(
            "resources: {maximum: {cpu: 500m}}",
            |ask| ask.container.resources.cpu_quota = Some(50_001),
            |ask| ask.container.resources.cpu_quota = Some(50_000),
            Code::PodResources,
        ),
        // One number in cpu.max leaves the period that the typed field set.
        Row(
            "resources: {maximum: {cpu: 500m}}",
            |ask| quota_alone(ask, 1_000),
            |ask| quota_alone(ask, 100_000),
            Code::PodResources,
        ),
        Row(
            "resources: {maximum: {cpu: 500m}}",
            none,
            |ask| ask.container.resources.cpu_quota = Some(-1),
            Code::PodResources,
        ),
    ]
}

#[test]
fn each_control_denies_what_breaks_it_and_lets_its_twin_start() {
    for (index, Row(check, broken, twin, code)) in rows().into_iter().enumerate() {
        let policy = policy(check);
        let mut bad = ask();
        broken(&mut bad);
        assert_eq!(judge(&policy, &bad), Some(code), "row {index}: {check}");
        let mut good = ask();
        twin(&mut good);
        assert_eq!(judge(&policy, &good), None, "twin of row {index}: {check}");
    }
}

#[test]
fn what_a_sandbox_alone_tells_is_denied_before_it_runs() {
    for (index, Row(check, broken, twin, code)) in rows().into_iter().enumerate() {
        let policy = policy(check);
        let (mut bad, mut good) = (ask(), ask());
        broken(&mut bad);
        twin(&mut good);
        if bad.sandbox != ask().sandbox {
            let got = sandbox_code(&policy, &bad.sandbox);
            assert_eq!(got, Some(code), "row {index}: {check}");
        }
        assert_eq!(sandbox_code(&policy, &good.sandbox), None, "row {index}");
    }
}

fn user_namespace(ask: &mut CreateAsk) {
    let range = IdRange {
        host_id: 65_536,
        container_id: 0,
        length: 65_536,
    };
    let user = UserNamespace::Pod {
        uids: vec![range],
        gids: vec![range],
    };
    ask.container.namespaces.user = user.clone();
    ask.sandbox.namespaces.user = user;
}

/// Level, version, change, and what is said.
type Standard = (&'static str, &'static str, Change, Option<Code>);

fn standards() -> Vec<Standard> {
    let none: Change = |_| {};
    let root: Change = |ask| ask.container.run_as_user = Some(0);
    let kept: Change = |ask| ask.container.drop_capabilities.clear();
    vec![
        ("restricted", "latest", none, None),
        ("baseline", "latest", none, None),
        (
            "baseline",
            "latest",
            |ask| ask.container.privileged = Flag::On,
            Some(Code::PodPrivileged),
        ),
        (
            "baseline",
            "v1.0",
            |ask| ask.container.privileged = Flag::On,
            Some(Code::PodPrivileged),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.sandbox.namespaces.pid = NamespaceMode::Node,
            Some(Code::PodHostNamespace),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.mounts = vec![mount(Propagation::None)],
            Some(Code::PodHostpath),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.sandbox.host_ports = vec![80],
            Some(Code::PodHostPort),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.add_capabilities = words(&["NET_RAW"]),
            Some(Code::PodCapability),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.add_capabilities = words(&["CHOWN", "SYS_CHROOT"]),
            None,
        ),
        (
            "restricted",
            "v1.22",
            |ask| ask.container.add_capabilities = words(&["CHOWN"]),
            Some(Code::PodCapability),
        ),
        (
            "restricted",
            "v1.21",
            |ask| ask.container.add_capabilities = words(&["CHOWN"]),
            None,
        ),
        ("restricted", "latest", kept, Some(Code::PodCapability)),
        ("restricted", "v1.21", kept, None),
        ("baseline", "latest", kept, None),
        (
            "baseline",
            "latest",
            |ask| ask.container.masked_paths.clear(),
            Some(Code::PodProcMount),
        ),
        (
            "baseline",
            "v1.35",
            |ask| {
                ask.container.masked_paths.clear();
                user_namespace(ask);
            },
            None,
        ),
        (
            "baseline",
            "v1.34",
            |ask| {
                ask.container.masked_paths.clear();
                user_namespace(ask);
            },
            Some(Code::PodProcMount),
        ),
        (
            "restricted",
            "v1.35",
            |ask| {
                ask.container.masked_paths.clear();
                user_namespace(ask);
            },
            Some(Code::PodProcMount),
        ),
        (
            "baseline",
            "v1.30",
            |ask| ask.container.selinux = selinux("", "container_engine_t"),
            Some(Code::PodSelinux),
        ),
        (
            "baseline",
            "v1.31",
            |ask| ask.container.selinux = selinux("", "container_engine_t"),
            None,
        ),
        (
            "baseline",
            "v1.28",
            |ask| sysctl(&mut ask.sandbox, "net.ipv4.tcp_keepalive_time", "1"),
            Some(Code::PodSysctl),
        ),
        (
            "baseline",
            "v1.29",
            |ask| sysctl(&mut ask.sandbox, "net.ipv4.tcp_keepalive_time", "1"),
            None,
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.apparmor = Some(Profile::Unconfined),
            Some(Code::PodApparmor),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.seccomp = Some(Profile::Unconfined),
            None,
        ),
        (
            "restricted",
            "latest",
            |ask| ask.container.seccomp = Some(Profile::Unconfined),
            Some(Code::PodSeccomp),
        ),
        (
            "restricted",
            "v1.18",
            |ask| ask.container.seccomp = None,
            None,
        ),
        (
            "restricted",
            "v1.8",
            |ask| ask.container.no_new_privs = Flag::Off,
            Some(Code::PodEscalation),
        ),
        (
            "restricted",
            "v1.7",
            |ask| ask.container.no_new_privs = Flag::Off,
            None,
        ),
        ("restricted", "latest", root, Some(Code::PodRoot)),
        ("restricted", "v1.0", root, Some(Code::PodRoot)),
        ("baseline", "latest", root, None),
        (
            "restricted",
            "v1.35",
            |ask| {
                ask.container.run_as_user = Some(0);
                user_namespace(ask);
            },
            None,
        ),
        (
            "restricted",
            "v1.34",
            |ask| {
                ask.container.run_as_user = Some(0);
                user_namespace(ask);
            },
            Some(Code::PodRoot),
        ),
        (
            "restricted",
            "latest",
            |ask| ask.container.run_as_user = None,
            Some(Code::PodRoot),
        ),
    ]
}

#[test]
fn the_standards_are_kept_level_by_level_and_version_by_version() {
    for (index, (level, version, change, code)) in standards().into_iter().enumerate() {
        let policy = policy(&format!(
            "podSecurity: {{level: {level}, version: {version}}}"
        ));
        let mut ask = ask();
        change(&mut ask);
        assert_eq!(judge(&policy, &ask), code, "row {index}: {level} {version}");
    }
}

#[test]
fn a_user_namespace_that_is_none_frees_nothing() {
    let of_hosts = |ask: &mut CreateAsk| {
        let range = IdRange {
            host_id: 0,
            container_id: 0,
            length: 65_536,
        };
        let user = UserNamespace::Pod {
            uids: vec![range],
            gids: vec![range],
        };
        ask.container.namespaces.user = user.clone();
        ask.sandbox.namespaces.user = user;
    };
    let not_its_sandboxs = |ask: &mut CreateAsk| {
        user_namespace(ask);
        ask.sandbox.namespaces.user = UserNamespace::None;
    };
    let changes: [(&str, Change); 2] = [
        ("ids of the host", of_hosts),
        ("not its sandbox's", not_its_sandboxs),
    ];
    for (name, change) in changes {
        let mut ask = ask();
        change(&mut ask);
        ask.container.run_as_user = Some(0);
        let restricted = policy("podSecurity: {level: restricted}");
        assert_eq!(judge(&restricted, &ask), Some(Code::PodRoot), "{name}");
        ask.container.masked_paths.clear();
        let baseline = policy("podSecurity: {level: baseline}");
        assert_eq!(judge(&baseline, &ask), Some(Code::PodProcMount), "{name}");
    }
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
