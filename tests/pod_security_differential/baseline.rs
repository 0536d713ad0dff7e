//! The controls of the baseline, as the Kubernetes documentation lists them.

use serde_json::json;

use super::twins::{Control, annotated, container, plain, security, spec, sub_path, volume};

pub(crate) fn controls() -> Vec<Control> {
    vec![
        privileged(),
        host_namespaces(),
        host_path(),
        host_ports(),
        capabilities(),
        proc_mount(),
        selinux(),
        sysctls(),
        app_armor(),
        seccomp(),
        host_probes(),
        windows(),
    ]
}

fn privileged() -> Control {
    Control {
        name: "Privileged Containers",
        // The API takes no privileged container that forbids privilege escalation.
        reasons: &["privileged", "allowPrivilegeEscalation != false"],
        codes: &["POD-PRIVILEGED", "POD-ESCALATION"],
        fails: vec![security(
            "privileged",
            json!({"privileged": true, "allowPrivilegeEscalation": null}),
        )],
        passes: vec![security("not privileged", json!({"privileged": false}))],
    }
}

fn host_namespaces() -> Control {
    Control {
        name: "Host Namespaces",
        reasons: &["host namespaces"],
        codes: &["POD-HOST-NAMESPACE"],
        fails: vec![
            spec("hostNetwork", json!({"hostNetwork": true})),
            spec("hostPID", json!({"hostPID": true})),
            spec("hostIPC", json!({"hostIPC": true})),
        ],
        passes: vec![
            spec("no hostNetwork", json!({"hostNetwork": false})),
            spec("no hostPID", json!({"hostPID": false})),
            spec("no hostIPC", json!({"hostIPC": false})),
            spec("shared processes", json!({"shareProcessNamespace": true})),
            spec("hostUsers", json!({"hostUsers": true})),
        ],
    }
}

fn host_path() -> Control {
    Control {
        name: "HostPath Volumes",
        reasons: &["hostPath volumes", "restricted volume types"],
        codes: &["POD-HOSTPATH"],
        fails: vec![
            volume("hostPath", json!({"hostPath": {"path": "/srv/data"}})),
            volume(
                "hostPath of a type",
                json!({"hostPath": {"path": "/srv/data", "type": "Directory"}}),
            ),
            sub_path(
                "subPath of a hostPath",
                json!({"hostPath": {"path": "/srv/data"}}),
            ),
            spec(
                "hostPath that nothing mounts",
                json!({"volumes": [{"name": "v", "hostPath": {"path": "/srv/data"}}]}),
            ),
        ],
        passes: vec![
            volume("emptyDir", json!({"emptyDir": {}})),
            sub_path("subPath of an emptyDir", json!({"emptyDir": {}})),
        ],
    }
}

fn host_ports() -> Control {
    Control {
        name: "Host Ports",
        reasons: &["hostPort"],
        codes: &["POD-HOST-PORT"],
        fails: vec![
            container(
                "hostPort",
                json!({"ports": [{"containerPort": 80, "hostPort": 8080}]}),
            ),
            container(
                "one hostPort of two",
                json!({"ports": [{"containerPort": 80}, {"containerPort": 53, "hostPort": 53, "protocol": "UDP"}]}),
            ),
        ],
        passes: vec![
            container("containerPort", json!({"ports": [{"containerPort": 80}]})),
            container(
                "hostPort 0",
                json!({"ports": [{"containerPort": 80, "hostPort": 0}]}),
            ),
        ],
    }
}

fn capabilities() -> Control {
    Control {
        name: "Capabilities",
        reasons: &["non-default capabilities", "unrestricted capabilities"],
        codes: &["POD-CAPABILITY"],
        fails: vec![
            security(
                "adds NET_ADMIN",
                json!({"capabilities": {"add": ["NET_ADMIN"]}}),
            ),
            security(
                "adds NET_RAW",
                json!({"capabilities": {"add": ["NET_RAW"]}}),
            ),
            security("adds ALL", json!({"capabilities": {"add": ["ALL"]}})),
            security(
                "adds CAP_CHOWN",
                json!({"capabilities": {"add": ["CAP_CHOWN"]}}),
            ),
            security("adds chown", json!({"capabilities": {"add": ["chown"]}})),
            security(
                "adds a good and a bad one",
                json!({"capabilities": {"add": ["NET_BIND_SERVICE", "SYS_ADMIN"]}}),
            ),
            security("adds CHOWN", json!({"capabilities": {"add": ["CHOWN"]}})),
            security("drops nothing", json!({"capabilities": null})),
            security(
                "drops CHOWN only",
                json!({"capabilities": {"drop": ["CHOWN"]}}),
            ),
            security("drops all", json!({"capabilities": {"drop": ["all"]}})),
        ],
        passes: vec![
            security("drops ALL", json!({})),
            security(
                "drops ALL and more",
                json!({"capabilities": {"drop": ["NET_RAW", "ALL"]}}),
            ),
            security(
                "adds NET_BIND_SERVICE",
                json!({"capabilities": {"add": ["NET_BIND_SERVICE"]}}),
            ),
        ],
    }
}

fn proc_mount() -> Control {
    let unmasked = || {
        let mut one = plain("c");
        one["securityContext"]["procMount"] = json!("Unmasked");
        json!([one])
    };
    Control {
        name: "/proc Mount Type",
        reasons: &["procMount"],
        codes: &["POD-PROC-MOUNT"],
        fails: vec![
            security("Unmasked", json!({"procMount": "Unmasked"})),
            spec(
                "Unmasked of the host's users",
                json!({"hostUsers": true, "containers": unmasked()}),
            ),
        ],
        passes: vec![
            security("Default", json!({"procMount": "Default"})),
            spec(
                "Unmasked with users of its own",
                json!({"hostUsers": false, "containers": unmasked()}),
            ),
        ],
    }
}

fn selinux() -> Control {
    let kind = |name, kind: &str| security(name, json!({"seLinuxOptions": {"type": kind}}));
    let of_pod = |name, options| {
        spec(
            name,
            json!({"securityContext": {"seLinuxOptions": options}}),
        )
    };
    let mut own = plain("c");
    own["securityContext"]["seLinuxOptions"] = json!({"type": "container_t"});
    Control {
        name: "SELinux",
        reasons: &["seLinuxOptions"],
        codes: &["POD-SELINUX"],
        fails: vec![
            kind("type spc_t", "spc_t"),
            security("user", json!({"seLinuxOptions": {"user": "system_u"}})),
            security("role", json!({"seLinuxOptions": {"role": "system_r"}})),
            of_pod("type spc_t of the pod", json!({"type": "spc_t"})),
            of_pod("user of the pod", json!({"user": "system_u"})),
            of_pod("role of the pod", json!({"role": "system_r"})),
            spec(
                "type spc_t of the pod, another of its container",
                json!({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}, "containers": [own]}),
            ),
            kind("type container_engine_t", "container_engine_t"),
        ],
        passes: vec![
            kind("type container_t", "container_t"),
            kind("type container_init_t", "container_init_t"),
            kind("type container_kvm_t", "container_kvm_t"),
            kind("type container_engine_t since 1.31", "container_engine_t"),
            kind("empty type", ""),
            security("level", json!({"seLinuxOptions": {"level": "s0:c1,c2"}})),
            of_pod(
                "type container_t of the pod",
                json!({"type": "container_t"}),
            ),
        ],
    }
}

/// The settings that are safe, by the version that says so.
const SAFE: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_notsent_lowat",
];

fn sysctls() -> Control {
    let sets = |name: &'static str, sysctl: &str| {
        let sysctls = json!([{"name": sysctl, "value": "1"}]);
        spec(name, json!({"securityContext": {"sysctls": sysctls}}))
    };
    let mut fails = vec![
        sets("kernel.msgmax", "kernel.msgmax"),
        sets("net.core.somaxconn", "net.core.somaxconn"),
        sets("net/ipv4/tcp_syncookies", "net/ipv4/tcp_syncookies"),
        spec(
            "a safe and an unsafe one",
            json!({"securityContext": {"sysctls": [
                {"name": "net.ipv4.tcp_syncookies", "value": "1"},
                {"name": "kernel.sem", "value": "1"},
            ]}}),
        ),
    ];
    let (known, newer) = SAFE.split_at(12);
    fails.extend(newer.iter().map(|name| sets(name, name)));
    let mut passes = vec![spec("none", json!({"securityContext": {"sysctls": []}}))];
    passes.extend(known.iter().map(|name| sets(name, name)));
    Control {
        name: "Sysctls",
        reasons: &["forbidden sysctls"],
        codes: &["POD-SYSCTL"],
        fails,
        passes,
    }
}

fn app_armor() -> Control {
    const KEY: &str = "container.apparmor.security.beta.kubernetes.io/c";
    let profile = |kind: &str| match kind {
        "Localhost" => json!({"type": kind, "localhostProfile": "own"}),
        _ => json!({"type": kind}),
    };
    let field = |name, kind| security(name, json!({"appArmorProfile": profile(kind)}));
    let of_pod = |name, kind| {
        spec(
            name,
            json!({"securityContext": {"appArmorProfile": profile(kind)}}),
        )
    };
    let mut own = plain("c");
    own["securityContext"]["appArmorProfile"] = profile("RuntimeDefault");
    Control {
        name: "AppArmor",
        reasons: &["forbidden AppArmor profile"],
        codes: &["POD-APPARMOR"],
        fails: vec![
            field("Unconfined", "Unconfined"),
            of_pod("Unconfined pod", "Unconfined"),
            annotated("annotation unconfined", KEY, "unconfined"),
            spec(
                "Unconfined pod, another profile of its container",
                json!({"securityContext": {"appArmorProfile": profile("Unconfined")}, "containers": [own]}),
            ),
        ],
        passes: vec![
            field("RuntimeDefault", "RuntimeDefault"),
            field("Localhost", "Localhost"),
            of_pod("RuntimeDefault pod", "RuntimeDefault"),
            of_pod("Localhost pod", "Localhost"),
            annotated("annotation runtime/default", KEY, "runtime/default"),
            annotated("annotation localhost/own", KEY, "localhost/own"),
            annotated("annotation without a value", KEY, ""),
            annotated("annotation localhost/ without a name", KEY, "localhost/"),
            annotated(
                "annotation localhost/unconfined",
                KEY,
                "localhost/unconfined",
            ),
        ],
    }
}

fn seccomp() -> Control {
    const KEY: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const OWN_KEY: &str = "container.seccomp.security.alpha.kubernetes.io/c";
    let profile = |kind: &str| match kind {
        "Localhost" => json!({"type": kind, "localhostProfile": "own.json"}),
        _ => json!({"type": kind}),
    };
    let field = |name, kind| security(name, json!({"seccompProfile": profile(kind)}));
    let of_pod = |name, kind| {
        spec(
            name,
            json!({"securityContext": {"seccompProfile": profile(kind)}}),
        )
    };
    let mut own = plain("c");
    own["securityContext"]["seccompProfile"] = profile("RuntimeDefault");
    Control {
        name: "Seccomp",
        reasons: &["seccompProfile"],
        codes: &["POD-SECCOMP"],
        fails: vec![
            field("Unconfined", "Unconfined"),
            of_pod("Unconfined pod", "Unconfined"),
            spec(
                "no profile",
                json!({"securityContext": {"seccompProfile": null}}),
            ),
            spec(
                "Unconfined pod, another profile of its container",
                json!({"securityContext": {"seccompProfile": profile("Unconfined")}, "containers": [own]}),
            ),
            annotated("annotation unconfined", KEY, "unconfined"),
            annotated(
                "annotation unconfined of a container",
                OWN_KEY,
                "unconfined",
            ),
        ],
        passes: vec![
            field("RuntimeDefault", "RuntimeDefault"),
            field("Localhost", "Localhost"),
            of_pod("Localhost pod", "Localhost"),
            spec(
                "no profile of the pod, one of its container",
                json!({"securityContext": {"seccompProfile": null}, "containers": [own]}),
            ),
            annotated("annotation runtime/default", KEY, "runtime/default"),
        ],
    }
}

fn host_probes() -> Control {
    let http = |host: &str| json!({"httpGet": {"port": 80, "host": host}});
    let tcp = |host: &str| json!({"tcpSocket": {"port": 80, "host": host}});
    Control {
        name: "Host Probes / Lifecycle Hooks",
        reasons: &["probe or lifecycle host"],
        codes: &[],
        fails: vec![
            container(
                "host of livenessProbe",
                json!({"livenessProbe": http("192.0.2.1")}),
            ),
            container(
                "host of readinessProbe",
                json!({"readinessProbe": tcp("192.0.2.1")}),
            ),
            container(
                "host of startupProbe",
                json!({"startupProbe": http("192.0.2.1")}),
            ),
            container(
                "host of postStart",
                json!({"lifecycle": {"postStart": http("192.0.2.1")}}),
            ),
            container(
                "host of preStop",
                json!({"lifecycle": {"preStop": http("192.0.2.1")}}),
            ),
        ],
        passes: vec![
            container(
                "no host of livenessProbe",
                json!({"livenessProbe": http("")}),
            ),
            container(
                "no host of readinessProbe",
                json!({"readinessProbe": tcp("")}),
            ),
            container(
                "no host of preStop",
                json!({"lifecycle": {"preStop": http("")}}),
            ),
        ],
    }
}

fn windows() -> Control {
    Control {
        name: "HostProcess",
        reasons: &["hostProcess"],
        codes: &[],
        fails: vec![security(
            "hostProcess",
            json!({"windowsOptions": {"hostProcess": true}}),
        )],
        passes: vec![security("no windowsOptions", json!({}))],
    }
}
