//! Rules: what a policy may ask, made from a seed, and how it is written in YAML.

use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    RuntimeDefault,
    Localhost,
    Unconfined,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::RuntimeDefault, Self::Localhost, Self::Unconfined];
}

/// An entry of `hostPath.allow`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// `prefix`, else `path`.
    pub(crate) prefix: bool,
    pub(crate) path: &'static str,
    pub(crate) read_only: bool,
    /// As in the CRI: 0, 1, 2.
    pub(crate) propagation: i32,
}

/// An element of `podSecurity.exclude`.
#[derive(Clone, Debug)]
pub(crate) struct Waiver {
    pub(crate) control: &'static str,
    pub(crate) images: Option<Vec<&'static str>>,
    pub(crate) values: Option<Vec<&'static str>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Standard {
    pub(crate) restricted: bool,
    /// A minor version; `latest` is the largest number.
    pub(crate) version: u32,
    pub(crate) exclude: Vec<Waiver>,
    pub(crate) exempt: Vec<&'static str>,
}

/// An amount as it is written, and what it is worth: bytes, or thousandths of a CPU.
pub(crate) type Amount = (&'static str, i64);

#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) memory: Option<Amount>,
    pub(crate) cpu: Option<Amount>,
}

/// Words, where a key is there.
pub(crate) type List = Option<Vec<&'static str>>;

#[derive(Clone, Debug)]
pub(crate) enum Check {
    Privileged,
    Root {
        user_namespace: bool,
    },
    /// `None` is Deny, here and below.
    HostPath(Option<Vec<Entry>>),
    HostNamespaces(Option<Vec<&'static str>>),
    HostPorts(Option<Vec<(i32, i32)>>),
    Capabilities {
        add: Option<Vec<&'static str>>,
        drop: Option<Vec<&'static str>>,
    },
    NoNewPrivileges,
    Seccomp(Vec<Kind>),
    AppArmor(Vec<Kind>),
    SeLinux(Vec<&'static str>),
    ProcMount,
    Propagation(Vec<i32>),
    Sysctls(Option<Vec<&'static str>>),
    Groups {
        all: bool,
    },
    /// Paths, and names of the Container Device Interface.
    Devices(Option<(List, List)>),
    Annotations(Vec<&'static str>),
    RuntimeHandlers(Vec<&'static str>),
    LogDirectory,
    Volumes(Vec<&'static str>),
    /// `exec`, `execSync`, `checkpoint`: true allows.
    Calls([Option<bool>; 3]),
    PodSecurity(Standard),
    Resources {
        require: Vec<&'static str>,
        defaults: Limits,
        maximum: Limits,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) check: Check,
    pub(crate) enforce: bool,
    /// `images`, where the rule has any.
    pub(crate) images: Option<&'static str>,
}

/// How many kinds of checks there are.
pub(crate) const KINDS: usize = 22;
/// And which of them these are.
pub(crate) const HOST_PATH: usize = 2;
pub(crate) const POD_SECURITY: usize = 19;

const VERSIONS: [u32; 16] = [
    0,
    7,
    8,
    18,
    19,
    21,
    22,
    23,
    27,
    29,
    31,
    32,
    34,
    35,
    37,
    u32::MAX,
];

/// Controls, and values by which they can be waived.
const CONTROLS: [(&str, &[&str]); 16] = [
    ("Privileged Containers", &[]),
    ("Host Namespaces", &[]),
    ("HostPath Volumes", &[]),
    ("Host Ports", &["80", "53"]),
    ("Capabilities", &["NET_RAW", "NET_ADMIN", "SYS_ADMIN"]),
    ("Capabilities", &["NET_RAW"]),
    ("Capabilities", &["NET_ADMIN", "CHOWN"]),
    ("/proc Mount Type", &[]),
    ("SELinux", &[]),
    ("Sysctls", &["vm.swappiness", "net.core.somaxconn"]),
    ("AppArmor", &[]),
    ("Seccomp", &[]),
    ("Privilege Escalation", &[]),
    ("Running as Non-root", &[]),
    ("Running as Non-root", &[]),
    ("Running as Non-root user", &[]),
];

impl Rule {
    /// The rule of this kind that a seed names.
    pub(crate) fn of(kind: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let check = Check::of(kind, &mut random);
        // The three calls do not say the image.
        let images = (!matches!(check, Check::Calls(_)) && random.once_in(6))
            .then(|| random.one(&["registry.example.com/**", "docker.io/library/*"]));
        Self {
            check,
            enforce: !random.once_in(6),
            images,
        }
    }
}

impl Check {
    fn of(kind: usize, random: &mut Random) -> Self {
        match kind {
            0 => Self::Privileged,
            1 => Self::Root {
                user_namespace: random.once_in(2),
            },
            HOST_PATH => Self::HostPath((!random.once_in(4)).then(|| entries(random))),
            3 => Self::HostNamespaces(
                (!random.once_in(3)).then(|| random.some(&["network", "pid", "ipc"])),
            ),
            4 => Self::HostPorts(
                (!random.once_in(3))
                    .then(|| random.some(&[(8080, 8080), (30_000, 32_767), (53, 80), (1, 65_535)])),
            ),
            5 => capabilities(random),
            6 => Self::NoNewPrivileges,
            7 => Self::Seccomp(random.some(&Kind::ALL)),
            8 => Self::AppArmor(random.some(&Kind::ALL)),
            9 => Self::SeLinux(random.some(&["container_t", "container_init_t", "spc_t"])),
            10 => Self::ProcMount,
            11 => Self::Propagation(random.some(&[0, 1, 2])),
            12 => Self::Sysctls((!random.once_in(3)).then(|| {
                random.some(&[
                    "net.ipv4.ip_local_port_range",
                    "net.*",
                    "kernel.*",
                    "kernel.msgmax",
                    "fs.mqueue.*",
                    "vm.swappiness",
                ])
            })),
            13 => Self::Groups {
                all: random.once_in(2),
            },
            14 => devices(random),
            15 => Self::Annotations(random.some(&[
                "io.katacontainers.*",
                "example.com/team",
                "*.k8s.io/*",
            ])),
            16 => Self::RuntimeHandlers(random.some(&["", "kata", "gvisor"])),
            17 => Self::LogDirectory,
            18 => calls(random),
            POD_SECURITY => Self::PodSecurity(standard(random)),
            20 => Self::Volumes(random.some(&[
                "emptyDir",
                "csi",
                "persistentVolumeClaim",
                "hostPath",
                "image",
                "gitRepo",
                "nfs",
                "flexVolume",
            ])),
            _ => resources(random),
        }
    }
}

fn entries(random: &mut Random) -> Vec<Entry> {
    let list = [
        (true, "/srv"),
        (true, "/srv/data"),
        (true, "/var/log/app"),
        (true, "/etc"),
        (false, "/srv"),
        (false, "/srv/data/sub"),
        (false, "/etc/localtime"),
        (false, "/proc"),
        (false, "/run/containerd/containerd.sock"),
    ];
    let some = random.some(&list).into_iter();
    some.map(|(prefix, path)| Entry {
        prefix,
        path,
        read_only: random.once_in(2),
        propagation: random.one(&[0, 0, 1, 2]),
    })
    .collect()
}

fn capabilities(random: &mut Random) -> Check {
    let add = match random.below(4) {
        0 => None,
        1 => Some(Vec::new()),
        _ => Some(random.some(&["NET_BIND_SERVICE", "NET_RAW", "CHOWN", "SYS_ADMIN", "ALL"])),
    };
    let drop =
        (add.is_none() || random.once_in(2)).then(|| random.some(&["ALL", "NET_RAW", "CHOWN"]));
    Check::Capabilities { add, drop }
}

fn devices(random: &mut Random) -> Check {
    let paths = ["/dev/fuse", "/dev/dri/*", "/dev/dri", "/dev/*"];
    let names = ["nvidia.com/gpu=*", "nvidia.com/gpu=0"];
    Check::Devices(match random.below(4) {
        0 => None,
        1 => Some((Some(random.some(&paths)), None)),
        2 => Some((None, Some(random.some(&names)))),
        _ => Some((Some(random.some(&paths)), Some(random.some(&names)))),
    })
}

fn calls(random: &mut Random) -> Check {
    loop {
        let calls = [0; 3].map(|_| match random.below(3) {
            0 => None,
            1 => Some(false),
            _ => Some(true),
        });
        if calls.iter().any(Option::is_some) {
            return Check::Calls(calls);
        }
    }
}

fn standard(random: &mut Random) -> Standard {
    let mut exclude = Vec::new();
    while random.once_in(3) {
        let (control, values) = random.one(&CONTROLS);
        let whole_pod = ["Host Namespaces", "Sysctls"].contains(&control);
        let images = (!whole_pod && random.once_in(3))
            .then(|| random.some(&["registry.example.com/pay/**", "registry.example.com/agent"]));
        exclude.push(Waiver {
            control,
            images,
            values: (!values.is_empty() && random.once_in(2)).then(|| random.some(values)),
        });
    }
    Standard {
        restricted: random.once_in(2),
        version: random.one(&VERSIONS),
        exclude,
        exempt: if random.once_in(8) {
            vec!["kube-system"]
        } else {
            Vec::new()
        },
    }
}

fn resources(random: &mut Random) -> Check {
    let memory = [("64Mi", 1 << 26), ("1Gi", 1 << 30), ("2Gi", 1 << 31)];
    let cpu = [("250m", 250), ("500m", 500), ("2", 2_000)];
    let limits = |random: &mut Random| Limits {
        memory: random.once_in(2).then(|| random.one(&memory)),
        cpu: random.once_in(2).then(|| random.one(&cpu)),
    };
    let above = |default: Option<Amount>, maximum: Option<Amount>| match (default, maximum) {
        (Some((_, default)), Some((_, maximum))) => default > maximum,
        (None, _) | (_, None) => false,
    };
    loop {
        let (defaults, maximum) = (limits(random), limits(random));
        let require = if random.once_in(2) {
            random.some(&["memory", "cpu"])
        } else {
            Vec::new()
        };
        let asks = !require.is_empty() || defaults.yaml().is_some() || maximum.yaml().is_some();
        // The compiler refuses a default above its own maximum.
        let sound = !above(defaults.memory, maximum.memory) && !above(defaults.cpu, maximum.cpu);
        if asks && sound {
            return Check::Resources {
                require,
                defaults,
                maximum,
            };
        }
    }
}
