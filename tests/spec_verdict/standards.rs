//! `podSecurity` as the Pod Security Standards say it, and of what the CRI does not show, what
//! docs/policy.md says is taken.

use std::collections::BTreeSet;

use pullguard::api::runtime_v1::SeLinuxOption;
use pullguard::policy::{Code, KubeletMount, MountOrigin};

use crate::oracle::{Call, Oracle};
use crate::rule::{Kind, Standard};

/// A control, and the first version in which it is judged.
const BASELINE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Safe sysctls, and since which version.
const SAFE: [(&str, u32); 14] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];

impl Oracle<'_> {
    pub(crate) fn standard(&self, standard: &Standard, by_image: bool) -> BTreeSet<Code> {
        let mut codes = BTreeSet::new();
        let pod = self.spec.sandbox().metadata.as_ref().unwrap();
        if self.clause(
            "podSecurity: exempt namespace",
            standard.exempt.contains(&pod.namespace.as_str()),
        ) {
            return codes;
        }
        let mut say = |code: Code, broken: bool| {
            if broken {
                codes.insert(code);
            }
        };
        say(
            Code::PodHostNamespace,
            self.asks(standard, "Host Namespaces") && self.host_namespaces(&[]),
        );
        say(Code::PodHostPort, self.standard_ports(standard));
        say(Code::PodSysctl, self.standard_sysctls(standard));
        say(
            Code::PodSelinux,
            self.asks(standard, "SELinux") && self.standard_se_linux(standard, by_image),
        );
        let flag = match self.call {
            Call::Sandbox => self.spec.pod_security().privileged,
            Call::Create => self.spec.security().privileged,
        };
        say(
            Code::PodPrivileged,
            self.asks(standard, "Privileged Containers")
                && self.clause("podSecurity: privileged", flag),
        );
        if standard.restricted {
            say(Code::PodRoot, self.standard_root(standard, by_image));
        }
        if self.call == Call::Sandbox {
            return codes;
        }
        say(Code::PodCapability, self.standard_capabilities(standard));
        say(
            Code::PodApparmor,
            self.asks(standard, "AppArmor") && self.standard_app_armor(),
        );
        say(
            Code::PodProcMount,
            self.asks(standard, "/proc Mount Type") && self.standard_proc_mount(standard),
        );
        let is_git = |origin: &MountOrigin| matches!(origin, MountOrigin::Kubelet(KubeletMount::Volume(plugin)) if plugin == "kubernetes.io~git-repo");
        let git = self.spec.origins.iter().any(is_git);
        say(
            Code::PodVolume,
            standard.restricted
                && self.asks(standard, "Volume Types")
                && self.clause("podSecurity: gitRepo", git),
        );
        if self.asks(standard, "HostPath Volumes") {
            for code in self.standard_host_path() {
                say(code, true);
            }
        }
        if standard.restricted {
            say(
                Code::PodEscalation,
                self.asks(standard, "Privilege Escalation")
                    && standard.version >= 8
                    && self.clause(
                        "podSecurity: privilege escalation",
                        !self.spec.security().no_new_privs,
                    ),
            );
            say(
                Code::PodSeccomp,
                self.asks(standard, "Seccomp")
                    && standard.version >= 19
                    && self.clause("podSecurity: seccomp", self.without_seccomp()),
            );
        }
        codes
    }

    /// The values by which a control is waived for this image; `None`: the whole control is.
    fn waived(&self, standard: &Standard, control: &str) -> Option<Vec<&'static str>> {
        let mut values = Vec::new();
        for waiver in standard.exclude.iter().filter(|one| one.control == control) {
            // "A control that is waived for some images is judged with each container."
            let later = self.call == Call::Sandbox && waiver.images.is_some();
            let fits = later
                || waiver
                    .images
                    .as_ref()
                    .is_none_or(|images| images.iter().any(|pattern| self.image_is(pattern)));
            match &waiver.values {
                _ if !fits => {}
                None => return None,
                Some(list) => values.extend(list),
            }
        }
        Some(values)
    }

    /// Whether a control counts here.
    fn asks(&self, standard: &Standard, control: &str) -> bool {
        !self.clause(
            "podSecurity: exclude",
            self.waived(standard, control).is_none(),
        )
    }

    fn standard_ports(&self, standard: &Standard) -> bool {
        if !self.asks(standard, "Host Ports") {
            return false;
        }
        let waived = self.waived(standard, "Host Ports").unwrap_or_default();
        let Some(ports) = self.ports() else {
            return self.clause("podSecurity: unreadable ports", true);
        };
        let other = |port: &i64| {
            !self.clause(
                "podSecurity: exclude a port",
                waived.contains(&port.to_string().as_str()),
            )
        };
        self.clause("podSecurity: host ports", ports.iter().any(other))
    }

    fn standard_sysctls(&self, standard: &Standard) -> bool {
        if !self.asks(standard, "Sysctls") {
            return false;
        }
        let waived = self.waived(standard, "Sysctls").unwrap_or_default();
        let linux = self.spec.sandbox().linux.as_ref().unwrap();
        let other = |name: &String| {
            let name = name.replace('/', ".");
            let mut safe = SAFE.iter();
            let safe = safe.any(|(safe, since)| *safe == name && *since <= standard.version);
            let waived = self.clause(
                "podSecurity: exclude a sysctl",
                waived.contains(&name.as_str()),
            );
            !safe && !waived
        };
        self.clause("podSecurity: sysctls", linux.sysctls.keys().any(other))
    }

    fn standard_se_linux(&self, standard: &Standard, by_image: bool) -> bool {
        let types = ["", "container_t", "container_init_t", "container_kvm_t"];
        let named = |label: &SeLinuxOption| {
            let newer = label.r#type == "container_engine_t" && standard.version >= 31;
            let known = newer || types.contains(&label.r#type.as_str());
            self.clause("podSecurity: SELinux type", !known)
                || self.clause(
                    "podSecurity: SELinux user or role",
                    !label.user.is_empty() || !label.role.is_empty(),
                )
        };
        let pod = self.spec.pod_security().selinux_options.as_ref();
        let by_image = by_image || is_by_image(standard, "SELinux");
        self.call == Call::Create && self.label().is_some_and(named)
            || !by_image && pod.is_some_and(named)
    }

    /// "a number above 0 passes, also by the image's USER", "uid 0 is denied wherever it comes
    /// from", "a user namespace frees … the user at restricted".
    fn standard_root(&self, standard: &Standard, by_image: bool) -> bool {
        let freed = standard.version >= 35
            && self.clause(
                "podSecurity: user namespace frees the user",
                self.mapped_away(),
            );
        if freed {
            return false;
        }
        let own = self.spec.security();
        let pod = self.spec.pod_security().run_as_user.as_ref();
        let zero = |value: Option<i64>| value == Some(0);
        // Under a rule by image the container's own user counts alone.
        let by_image = by_image || is_by_image(standard, "Running as Non-root user");
        let by_pod = !by_image && zero(pod.map(|user| user.value));
        let by_container = self.call == Call::Create
            && match &own.run_as_user {
                Some(user) => user.value == 0,
                None => {
                    own.run_as_username.is_empty()
                        && ["", "0"].contains(&self.spec.image_user.as_str())
                }
            };
        let uid = standard.version >= 23
            && self.asks(standard, "Running as Non-root user")
            && (self.clause("podSecurity: the pod's uid 0", by_pod)
                || self.clause("podSecurity: uid 0", by_container));
        uid || self.call == Call::Create
            && self.asks(standard, "Running as Non-root")
            && self.clause("podSecurity: running as non-root", self.is_maybe_root())
    }

    fn standard_capabilities(&self, standard: &Standard) -> bool {
        if !self.asks(standard, "Capabilities") {
            return false;
        }
        let waived = self.waived(standard, "Capabilities").unwrap_or_default();
        let restricted = standard.restricted && standard.version >= 22;
        let other = |name: &String| {
            let name = name.as_str();
            let known = if restricted {
                name == "NET_BIND_SERVICE"
            } else {
                BASELINE_CAPABILITIES.contains(&name)
            };
            let waived = self.clause("podSecurity: exclude a capability", waived.contains(&name));
            !known && !waived
        };
        let all = self.dropped().iter().any(|name| name == "ALL");
        self.clause("podSecurity: capabilities", self.added().iter().any(other))
            || self.clause("podSecurity: drop ALL", restricted && !all)
    }

    fn standard_app_armor(&self) -> bool {
        let kinds = self.app_armor_kinds();
        let none = |kind: &Option<Kind>| matches!(kind, None | Some(Kind::Unconfined));
        self.clause("podSecurity: AppArmor", kinds.iter().any(none))
    }

    fn standard_proc_mount(&self, standard: &Standard) -> bool {
        let freed = !standard.restricted
            && standard.version >= 35
            && self.clause(
                "podSecurity: user namespace frees /proc",
                self.mapped_away(),
            );
        !freed && self.unmasked()
    }

    fn standard_host_path(&self) -> BTreeSet<Code> {
        let mut codes = BTreeSet::new();
        let mounts = self.spec.container().mounts.iter();
        for (mount, origin) in mounts.zip(&self.spec.origins) {
            match origin {
                MountOrigin::Kubelet(_) | MountOrigin::Image => {}
                MountOrigin::Unknown { .. } if mount.host_path.ends_with("/.") => {
                    codes.insert(Code::PodHostpath);
                }
                MountOrigin::Unknown { .. } => {
                    if self.clause("podSecurity: mount that could not be told", true) {
                        codes.insert(Code::PodMountUnknown);
                    }
                }
                MountOrigin::Host { .. } => {
                    if self.clause("podSecurity: host path", true) {
                        codes.insert(Code::PodHostpath);
                    }
                }
            }
        }
        codes
    }

    fn without_seccomp(&self) -> bool {
        let none = |kind: &Option<Kind>| matches!(kind, None | Some(Kind::Unconfined));
        self.seccomp_kinds().iter().any(none)
    }
}

/// Whether a control can be waived for some images.
fn is_by_image(standard: &Standard, control: &str) -> bool {
    let mut waivers = standard.exclude.iter();
    waivers.any(|waiver| waiver.control == control && waiver.images.is_some())
}
