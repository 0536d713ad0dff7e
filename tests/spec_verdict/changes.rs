//! Every way in which a request may differ from the plain one, in what a seed picks.

use std::collections::BTreeMap;

use pullguard::api::runtime_v1::{
    CdiDevice, Device, IdMapping, ImageSpec, Int64Value, LinuxContainerResources, Mount,
    NamespaceOption, PortMapping, SeLinuxOption, SecurityProfile, UserNamespace,
};
use pullguard::policy::{HostPathSafety, KubeletMount, MountOrigin, Via};

use crate::random::Random;
use crate::spec::{IMAGE, LOCALHOST, NODE, Spec, UNCONFINED};

type Change = fn(&mut Random, &mut Spec);

/// Every way in which a request may differ, by the field that differs.
pub(crate) const CHANGES: &[(&str, Change)] = &[
    ("privileged", |_, spec| {
        spec.security_mut().privileged = true
    }),
    ("sandbox privileged", |_, spec| {
        spec.pod_security_mut().privileged = true;
    }),
    ("run_as_user", |random, spec| {
        let value = random.one(&[0, 1, 1000, 2_147_483_647, 2_147_483_648, -1, 4_294_967_296]);
        spec.security_mut().run_as_user = Some(Int64Value { value });
    }),
    ("no run_as_user", |_, spec| {
        spec.security_mut().run_as_user = None
    }),
    ("run_as_username", |random, spec| {
        let name = random.word(&["", "root", "app", "1000", "0"]);
        spec.security_mut().run_as_username = name;
    }),
    ("image user", |random, spec| {
        spec.image_user = random.word(&["", "0", "1000", "app", "1000:1000", "01", "2147483648"]);
        spec.security_mut().run_as_user = None;
    }),
    ("sandbox run_as_user", |random, spec| {
        let value = random.one(&[0, 1000]);
        spec.pod_security_mut().run_as_user = Some(Int64Value { value });
    }),
    ("run_as_group", |random, spec| {
        let value = random.one(&[0, 1, 1000, -1, 2_147_483_648, 4_294_967_296]);
        spec.security_mut().run_as_group = Some(Int64Value { value });
    }),
    ("no run_as_group", |_, spec| {
        spec.security_mut().run_as_group = None
    }),
    ("supplemental_groups", |random, spec| {
        let list = random.some(&[0, 1, 1000, -1, 4_294_967_296]);
        spec.security_mut().supplemental_groups = list;
    }),
    ("sandbox supplemental_groups", |random, spec| {
        let list = random.some(&[0, 1, 1000, -1]);
        spec.pod_security_mut().supplemental_groups = list;
    }),
    ("capabilities", capabilities),
    ("no capabilities", |_, spec| {
        spec.security_mut().capabilities = None
    }),
    ("masked_paths", |random, spec| {
        let security = spec.security_mut();
        match random.below(3) {
            0 => security.masked_paths.clear(),
            1 => drop_one(random, &mut security.masked_paths),
            _ => security.masked_paths.push("/proc/interrupts".to_owned()),
        }
    }),
    ("readonly_paths", |random, spec| {
        let security = spec.security_mut();
        match random.below(2) {
            0 => security.readonly_paths.clear(),
            _ => drop_one(random, &mut security.readonly_paths),
        }
    }),
    ("seccomp", |random, spec| {
        let typed = profile(
            random,
            &["/var/lib/kubelet/seccomp/a.json", "", "localhost/a.json"],
        );
        spec.security_mut().seccomp = typed;
    }),
    ("seccomp_profile_path", |random, spec| {
        let security = spec.security_mut();
        security.seccomp_profile_path = random.word(&[
            "runtime/default",
            "docker/default",
            "unconfined",
            "localhost/a.json",
            "localhost/",
            "mine",
        ]);
        if random.once_in(2) {
            security.seccomp = None;
        }
    }),
    ("apparmor", |random, spec| {
        let names = [
            "mine",
            "",
            "unconfined",
            "localhost/mine",
            "localhost/unconfined",
        ];
        spec.security_mut().apparmor = profile(random, &names);
    }),
    ("apparmor_profile", |random, spec| {
        spec.security_mut().apparmor_profile = random.word(&[
            "runtime/default",
            "unconfined",
            "localhost/mine",
            "localhost/",
            "localhost/unconfined",
            "mine",
        ]);
    }),
    ("sandbox apparmor", |random, spec| {
        spec.pod_security_mut().apparmor = profile(random, &["mine", "", "unconfined"]);
    }),
    ("selinux", |random, spec| {
        spec.security_mut().selinux_options = selinux(random)
    }),
    ("sandbox selinux", |random, spec| {
        spec.pod_security_mut().selinux_options = selinux(random);
    }),
    ("no_new_privs", |_, spec| {
        spec.security_mut().no_new_privs = false
    }),
    ("namespaces", |random, spec| {
        namespaces(random, &mut spec.security_mut().namespace_options);
    }),
    ("sandbox namespaces", |random, spec| {
        namespaces(random, &mut spec.pod_security_mut().namespace_options);
    }),
    ("no namespaces", |random, spec| match random.below(2) {
        0 => spec.security_mut().namespace_options = None,
        _ => spec.pod_security_mut().namespace_options = None,
    }),
    ("user namespace", |random, spec| {
        let user = user_namespace(random);
        let other = user_namespace(random);
        let own = if random.once_in(4) {
            other
        } else {
            user.clone()
        };
        let options = &mut spec.security_mut().namespace_options;
        options.get_or_insert_default().userns_options = own;
        let options = &mut spec.pod_security_mut().namespace_options;
        options.get_or_insert_default().userns_options = user;
    }),
    ("mount", mount),
    ("host mount", host_mount),
    ("device", |random, spec| {
        let host_path = random.word(&[
            "/dev/fuse",
            "/dev/dri/card0",
            "/dev/dri/by-path/x",
            "/dev/dri",
            "/dev/mem",
            "/dev/dri/../mem",
            "/dev/",
            "/dev/.",
            "dev/fuse",
            "/var/lib/kubelet/pods/u/volumeDevices/kubernetes.io~csi/pv-1",
            "/var/lib/kubelet/pods/u/volumeDevices/kubernetes.io~local-volume/pv-1",
            "/var/lib/kubelet/pods/other/volumeDevices/kubernetes.io~csi/pv-1",
            "/var/lib/kubelet/pods/u/volumeDevices/kubernetes.io~csi/../../../../../../dev/sda",
        ]);
        spec.container_mut().devices.push(Device {
            container_path: "/dev/x".to_owned(),
            host_path,
            permissions: "rwm".to_owned(),
        });
    }),
    ("cdi_devices", |random, spec| {
        let name = random.word(&[
            "nvidia.com/gpu=0",
            "nvidia.com/gpu=all",
            "evil.com/gpu=0",
            "",
        ]);
        spec.container_mut().cdi_devices.push(CdiDevice { name });
    }),
    ("annotations", |random, spec| {
        let (key, value) = random.one(ANNOTATIONS);
        let pair = (key.to_owned(), value.to_owned());
        let annotations = &mut spec.container_mut().annotations;
        annotations.extend([pair]);
    }),
    ("sandbox annotations", |random, spec| {
        let (key, value) = random.one(ANNOTATIONS);
        let pair = (key.to_owned(), value.to_owned());
        spec.sandbox_mut().annotations.extend([pair]);
    }),
    ("ports annotation", |random, spec| {
        let value = random.word(&[
            "[]",
            "{",
            "null",
            "",
            r#"[{"containerPort":9,"protocol":"TCP"}]"#,
            r#"[{"hostPort":8080,"containerPort":9,"protocol":"TCP"}]"#,
            r#"[{"name":"a","hostPort":30001,"containerPort":9},{"hostPort":53,"containerPort":53,"protocol":"UDP"}]"#,
        ]);
        let key = "io.kubernetes.container.ports".to_owned();
        spec.container_mut().annotations.insert(key, value);
    }),
    ("port_mappings", |random, spec| {
        let host_port = random.one(&[0, 53, 80, 8080, 30_000, 30_001, 32_767, 32_768]);
        spec.sandbox_mut().port_mappings.push(PortMapping {
            container_port: 80,
            host_port,
            ..PortMapping::default()
        });
    }),
    ("sysctls", |random, spec| {
        let name = random.word(&[
            "kernel.shm_rmid_forced",
            "kernel.msgmax",
            "kernel.sem",
            "fs.mqueue.msg_max",
            "net.ipv4.ip_local_port_range",
            "net/ipv4/ip_local_port_range",
            "net.ipv4.ip_local_reserved_ports",
            "net.ipv4.tcp_keepalive_time",
            "net.ipv4.tcp_fin_timeout",
            "net.ipv4.tcp_rmem",
            "net.ipv4.tcp_slow_start_after_idle",
            "net.core.somaxconn",
            "vm.swappiness",
        ]);
        let value = random.word(&["1", "1024 65535", "1\nkernel.x=2", "1+2", "a:b.c,d/e-f_g"]);
        let linux = spec.sandbox_mut().linux.as_mut().unwrap();
        linux.sysctls.insert(name, value);
    }),
    ("handler", |random, spec| {
        spec.handler = random.word(&["", "kata", "gvisor", "runc-privileged"]);
    }),
    ("log_directory", |random, spec| {
        spec.sandbox_mut().log_directory = random.word(&[
            "/var/log/pods/payments_other_u",
            "/data/pods/payments_api_u",
            "/var/log/pods/payments_api_u/x",
            "/var/log/pods/payments_api_u/..",
            "payments_api_u",
            "",
        ]);
    }),
    ("log_path", |random, spec| {
        spec.container_mut().log_path = random.word(&[
            "app/1.log",
            "app/../../x.log",
            "../x.log",
            "/etc/x.log",
            "app/./0.log",
            "",
        ]);
    }),
    ("namespace", |random, spec| {
        let metadata = spec.sandbox_mut().metadata.as_mut().unwrap();
        metadata.namespace = random.word(&["kube-system", "payments"]);
    }),
    ("image", |random, spec| {
        let image = spec.container_mut().image.as_mut().unwrap();
        image.user_specified_image = random.word(&[
            IMAGE,
            "registry.example.com/agent:7",
            "docker.io/library/nginx:1",
        ]);
    }),
    ("resources", |random, spec| {
        resources(random, spec.resources_mut())
    }),
    ("unified", |random, spec| {
        unified(random, &mut spec.resources_mut().unified)
    }),
    ("update", |random, spec| resources(random, &mut spec.update)),
    ("update unified", |random, spec| {
        unified(random, &mut spec.update.unified)
    }),
    ("update period", |random, spec| {
        spec.update.cpu_period = random.one(&[0, 1_000, 100_000]);
    }),
    ("no quotas", |_, spec| spec.quotas = false),
];

/// Changes that act on the same sentences: most requests differ within one of these.
pub(crate) const TOGETHER: &[&[&str]] = &[
    &[
        "run_as_user",
        "no run_as_user",
        "run_as_username",
        "image user",
        "sandbox run_as_user",
        "user namespace",
        "masked_paths",
    ],
    &["run_as_group", "no run_as_group", "supplemental_groups"],
    &[
        "privileged",
        "sandbox privileged",
        "capabilities",
        "no_new_privs",
        "masked_paths",
        "user namespace",
    ],
    &[
        "privileged",
        "seccomp",
        "seccomp_profile_path",
        "apparmor",
        "apparmor_profile",
        "sandbox apparmor",
    ],
    &["selinux", "sandbox selinux", "privileged", "image"],
    &[
        "namespaces",
        "sandbox namespaces",
        "no namespaces",
        "sandbox namespaces",
        "sysctls",
        "sysctls",
    ],
    &["mount", "host mount", "host mount"],
    &["device", "cdi_devices", "annotations", "privileged"],
    &["ports annotation", "port_mappings", "image"],
    &["annotations", "sandbox annotations", "handler", "namespace"],
    &["log_directory", "log_path"],
    &["resources", "unified", "no quotas"],
    &["update", "update unified", "update period"],
];

const ANNOTATIONS: &[(&str, &str)] = &[
    ("io.katacontainers.config.x", "1"),
    ("io.katacontainersx", "1"),
    ("example.com/team", "1"),
    ("cdi.k8s.io/x", "nvidia.com/gpu=0"),
    ("cdi.k8s.io/y", "nvidia.com/gpu=0,evil.com/d=1"),
    ("cdi.k8s.io/z", ""),
];

fn drop_one(random: &mut Random, list: &mut Vec<String>) {
    if !list.is_empty() {
        list.remove(random.below(list.len()));
    }
}

fn capabilities(random: &mut Random, spec: &mut Spec) {
    let added = [
        "NET_BIND_SERVICE",
        "NET_RAW",
        "NET_ADMIN",
        "CHOWN",
        "SYS_ADMIN",
        "BPF",
        "MKNOD",
        "ALL",
        "all",
        "cap_sys_admin",
        "CAP_CHOWN",
        "SYS ADMIN",
    ];
    let list = spec.security_mut().capabilities.get_or_insert_default();
    match random.below(4) {
        0 => list.add_capabilities = random.words(&added),
        1 => list.add_capabilities = vec![random.word(&added)],
        2 => list.add_ambient_capabilities = vec![random.word(&added)],
        _ => list.drop_capabilities = random.words(&["NET_RAW", "CHOWN", "ALL", "all"]),
    }
}

fn profile(random: &mut Random, names: &[&str]) -> Option<SecurityProfile> {
    let profile_type = match random.below(4) {
        0 => return None,
        1 => 0,
        2 => UNCONFINED,
        _ => LOCALHOST,
    };
    let localhost_ref = if profile_type == LOCALHOST {
        random.word(names)
    } else {
        String::new()
    };
    Some(SecurityProfile {
        profile_type,
        localhost_ref,
    })
}

fn selinux(random: &mut Random) -> Option<SeLinuxOption> {
    if random.once_in(5) {
        return None;
    }
    Some(SeLinuxOption {
        user: random.word(&["", "", "", "system_u"]),
        role: random.word(&["", "", "", "object_r"]),
        r#type: random.word(&[
            "",
            "container_t",
            "container_init_t",
            "container_engine_t",
            "spc_t",
        ]),
        level: random.word(&["", "s0:c1,c2"]),
    })
}

fn namespaces(random: &mut Random, options: &mut Option<NamespaceOption>) {
    let options = options.get_or_insert_default();
    let mode = random.one(&[0, 1, NODE, NODE, 3]);
    match random.below(3) {
        0 => options.network = mode,
        1 => options.ipc = mode,
        _ => options.pid = mode,
    }
    if mode == 3 {
        options.target_id = "t".to_owned();
    }
}

fn user_namespace(random: &mut Random) -> Option<UserNamespace> {
    let mapping = |host_id, length| IdMapping {
        host_id,
        container_id: 0,
        length,
    };
    let range = mapping(random.one(&[65_536, 131_072, 131_072, 0, 65_535]), 65_536);
    let mut user = UserNamespace {
        mode: 0,
        uids: vec![range],
        gids: vec![range],
    };
    match random.below(10) {
        0 => return None,
        1 => {
            user = UserNamespace {
                mode: NODE,
                ..UserNamespace::default()
            }
        }
        2 => user.gids = vec![mapping(0, 1)],
        3 => user.uids.push(mapping(1000, 1)),
        4 => user.uids.clear(),
        _ => {}
    }
    Some(user)
}

fn mount(random: &mut Random, spec: &mut Spec) {
    let image = random.once_in(4).then(|| ImageSpec {
        image: format!("sha256:{}", "c8".repeat(32)),
        user_specified_image: "registry.example.com/model:1".to_owned(),
        ..ImageSpec::default()
    });
    let plugin = random.one(&[
        "kubernetes.io~empty-dir",
        "kubernetes.io~empty-dir",
        "kubernetes.io~csi",
        "kubernetes.io~git-repo",
        "kubernetes.io~nfs",
        "kubernetes.io~local-volume",
        "kubernetes.io~unheard-of",
        "example.com~flex",
        "",
    ]);
    let pod = "/var/lib/kubelet/pods/u";
    let (path, kubelets) = match plugin {
        "" => (format!("{pod}/etc-hosts"), KubeletMount::File),
        plugin => (
            format!("{pod}/volumes/{plugin}/v"),
            KubeletMount::Volume(plugin.to_owned()),
        ),
    };
    let (host_path, origin) = match &image {
        Some(_) => (String::new(), MountOrigin::Image),
        None => (path, MountOrigin::Kubelet(kubelets)),
    };
    let mount = Mount {
        container_path: "/v".to_owned(),
        host_path,
        readonly: random.once_in(2),
        propagation: if image.is_some() {
            0
        } else {
            random.one(&[0, 0, 1, 2])
        },
        image,
        ..Mount::default()
    };
    spec.mount(mount, origin);
}

fn host_mount(random: &mut Random, spec: &mut Spec) {
    let path = random.word(&[
        "/srv",
        "/srv/data",
        "/srv/data/sub",
        "/srv/data/sub",
        "/srv/data/sub",
        "/srvx",
        "/var/log/app",
        "/var/log/app/x",
        "/etc/localtime",
        "/etc/kubernetes/pki",
        "/proc",
        "/proc/1/root",
        "/etc",
        "/",
        "/run/containerd/containerd.sock",
    ]);
    let via = random.one(&[
        Via::Spec,
        Via::Spec,
        Via::Spec,
        Via::SubPath,
        Via::LocalVolume,
        Via::Csi,
    ]);
    let safe = random.one(&[
        HostPathSafety::Fixed,
        HostPathSafety::Fixed,
        HostPathSafety::Fixed,
        HostPathSafety::Symlink,
        HostPathSafety::Writable,
    ]);
    let guarded = random.once_in(8).then(|| "/run/containerd".to_owned());
    let host_path = match via {
        Via::Spec if random.once_in(10) => format!("{path}/."),
        Via::Spec => path.clone(),
        Via::SubPath => "/var/lib/kubelet/pods/u/volume-subpaths/v/app/0".to_owned(),
        Via::LocalVolume => {
            "/var/lib/kubelet/pods/u/volumes/kubernetes.io~local-volume/pv".to_owned()
        }
        Via::Csi => "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pv/mount".to_owned(),
    };
    let origin = if random.once_in(10) {
        MountOrigin::Unknown {
            why: "the mount table could not be read",
        }
    } else {
        MountOrigin::Host {
            path,
            via,
            safe,
            guarded,
        }
    };
    let mount = Mount {
        container_path: "/h".to_owned(),
        host_path,
        readonly: random.once_in(2),
        propagation: random.one(&[0, 0, 0, 1, 2]),
        ..Mount::default()
    };
    spec.mount(mount, origin);
}

fn resources(random: &mut Random, resources: &mut LinuxContainerResources) {
    match random.below(3) {
        0 => {
            resources.memory_limit_in_bytes = random.one(&[0, 1 << 26, 1 << 30, (1 << 30) + 1, -1])
        }
        1 => resources.cpu_quota = random.one(&[0, 25_000, 50_000, 50_001, 200_000, -1]),
        _ => {
            resources.cpu_quota = random.one(&[500, 25_000, 50_000]);
            resources.cpu_period = random.one(&[0, 1_000, 50_000, 100_000]);
        }
    }
}

fn unified(random: &mut Random, unified: &mut BTreeMap<String, String>) {
    let (key, values): (&str, &[&str]) = match random.below(2) {
        0 => ("memory.max", &["max", "1073741824", "1073741825", "1"]),
        _ => (
            "cpu.max",
            &["max 100000", "50000 100000", "50001 100000", "50000", "max"],
        ),
    };
    unified.insert(key.to_owned(), random.word(values));
}
