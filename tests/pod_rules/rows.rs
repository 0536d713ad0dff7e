//! Every control of `containers` and `resources`: what breaks it, and a twin that differs in one field.

use super::*;
use crate::standards::user_namespace;

pub(crate) const PORTS: &str = "io.kubernetes.container.ports";

pub(crate) fn rows() -> Vec<Row> {
    let none: Change = |_| {};
    vec![
        Row(
            "containers: {privileged: Deny}",
            |ask| ask.container.privileged = Flag::On,
            none,
            Code::PodPrivileged,
        ),
        Row(
            "containers: {root: Deny}",
            |ask| ask.container.run_as_user = Some(0),
            none,
            Code::PodRoot,
        ),
        Row(
            "containers: {root: DenyUnlessUserNamespace}",
            |ask| {
                user_namespace(ask);
                ask.container.run_as_user = Some(0);
                ask.container.namespaces.user = UserNamespace::None;
            },
            |ask| {
                user_namespace(ask);
                ask.container.run_as_user = Some(0);
            },
            Code::PodRoot,
        ),
        Row(
            "containers: {hostPath: Deny}",
            |ask| ask.container.mounts = vec![mount(Propagation::None)],
            none,
            Code::PodHostpath,
        ),
        Row(
            "containers: {hostPath: {allow: [{prefix: /srv/data, readOnly: true}]}}",
            |ask| ask.container.mounts = vec![mount(Propagation::None)],
            |ask| {
                let readonly = Flag::On;
                ask.container.mounts = vec![Mount {
                    readonly,
                    ..mount(Propagation::None)
                }];
            },
            Code::PodHostpath,
        ),
        Row(
            "containers: {hostNamespaces: {allow: [network]}}",
            |ask| ask.container.namespaces.pid = NamespaceMode::Node,
            |ask| ask.container.namespaces.pid = NamespaceMode::Target,
            Code::PodHostNamespace,
        ),
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
            |ask| "unconfined".clone_into(&mut ask.container.seccomp_profile_path),
            |ask| "runtime/default".clone_into(&mut ask.container.seccomp_profile_path),
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
            "containers: {volumes: {allow: [secret, hostPath]}}",
            |ask| ask.container.mounts = vec![volume("kubernetes.io~empty-dir")],
            |ask| ask.container.mounts = vec![volume("kubernetes.io~secret")],
            Code::PodVolume,
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
            "containers: {devices: Deny}",
            |ask| {
                let local = "/k/pods/u/volumeDevices/kubernetes.io~local-volume/pv-1";
                ask.container.devices = words(&[local]);
            },
            |ask| {
                ask.container.devices = words(&["/k/pods/u/volumeDevices/kubernetes.io~csi/pv-1"]);
            },
            Code::PodDevice,
        ),
        Row(
            "containers: {devices: {allow: [\"/k/pods/*/volumeDevices/kubernetes.io~local-volume/*\"]}}",
            |ask| {
                ask.container.devices =
                    words(&["/k/pods/other/volumeDevices/kubernetes.io~csi/pv-1"]);
            },
            |ask| {
                let local = "/k/pods/u/volumeDevices/kubernetes.io~local-volume/pv-1";
                ask.container.devices = words(&[local]);
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
            "resources: {require: [cpu]}",
            none,
            |ask| ask.container.resources.cpu_quota = Some(1_000),
            Code::PodResources,
        ),
        // What the pod says itself, if only that there is no limit, is not filled in.
        Row(
            "resources: {require: [memory], defaults: {memory: 64Mi}}",
            |ask| unified(ask, "memory.max", "max"),
            none,
            Code::PodResources,
        ),
        Row(
            "resources: {require: [memory], defaults: {memory: 64Mi}}",
            |ask| ask.container.resources.memory_limit = Some(-1),
            none,
            Code::PodResources,
        ),
        Row(
            "resources: {require: [cpu], defaults: {cpu: 500m}}",
            |ask| unified(ask, "cpu.max", "max"),
            none,
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
                unified(ask, "memory.max", "max");
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
        if bad.sandbox != good.sandbox {
            let got = sandbox_code(&policy, &bad.sandbox);
            assert_eq!(got, Some(code), "row {index}: {check}");
        }
        assert_eq!(sandbox_code(&policy, &good.sandbox), None, "row {index}");
    }
}
