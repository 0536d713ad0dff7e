//! The keys of `containers`, each as docs/policy.md says it.

use std::collections::BTreeSet;

use pullguard::api::runtime_v1::{NamespaceOption, SeLinuxOption, SecurityProfile};
use pullguard::policy::{Code, HostPathSafety, KubeletMount, MountOrigin, Via};

use crate::oracle::{Call, Oracle};
use crate::rule::{Entry, Kind};
use crate::spec::{LOCALHOST, MASKED, NODE, READ_ONLY, UNCONFINED};

impl Oracle<'_> {
    /// "privileged: Deny denies the flag … and what equals it".
    pub(crate) fn privileged(&self, by_image: bool) -> bool {
        let (own, pod) = (self.spec.security(), self.spec.pod_security());
        // "of privileged only the container's own flag counts (and the sandbox's SELinux label
        // where the container states none …)"
        let pods = || {
            self.clause(
                "privileged: sandbox's AppArmor",
                !by_image && pod.apparmor.as_ref().is_some_and(no_app_armor),
            ) || self.clause(
                "privileged: sandbox's SELinux",
                !by_image && pod.selinux_options.as_ref().is_some_and(is_foreign),
            )
        };
        if self.call == Call::Sandbox {
            return self.clause("privileged: sandbox's flag", pod.privileged) || pods();
        }
        let mounts = &self.spec.container().mounts;
        self.clause("privileged: flag", own.privileged)
            || self.clause("privileged: unmasked", own.masked_paths.is_empty())
            || self.clause("privileged: writable", own.readonly_paths.is_empty())
            || self.clause(
                "privileged: Bidirectional",
                mounts.iter().any(|mount| mount.propagation == 2),
            )
            || self.clause(
                "privileged: AppArmor",
                own.apparmor.as_ref().is_some_and(no_app_armor),
            )
            || self.clause(
                "privileged: AppArmor in the older spelling",
                ["unconfined", "localhost/unconfined"].contains(&own.apparmor_profile.as_str()),
            )
            || self.clause("privileged: SELinux", self.label().is_some_and(is_foreign))
            || pods()
            || self.clause("privileged: capabilities", self.powerful())
    }

    /// The label of the container's process: its own, or "a container without a label has its
    /// sandbox's".
    pub(crate) fn label(&self) -> Option<&SeLinuxOption> {
        let own = self.spec.security().selinux_options.as_ref();
        let states = own.filter(|label| **label != SeLinuxOption::default());
        states.or(self.spec.pod_security().selinux_options.as_ref())
    }

    /// "the added capabilities … in any spelling that containerd folds".
    fn powerful(&self) -> bool {
        const LISTED: [&str; 11] = [
            "ALL",
            "SYS_ADMIN",
            "SYS_MODULE",
            "SYS_RAWIO",
            "SYS_PTRACE",
            "SYS_BOOT",
            "BPF",
            "PERFMON",
            "DAC_READ_SEARCH",
            "MAC_ADMIN",
            "MAC_OVERRIDE",
        ];
        self.added().iter().any(|name| {
            let upper = name.to_uppercase();
            let bare = upper.trim_start_matches("CAP_");
            // A name with a blank is none; nobody can say what it is folded to.
            LISTED.contains(&bare) || upper.contains(' ')
        })
    }

    pub(crate) fn added(&self) -> Vec<String> {
        let Some(list) = &self.spec.security().capabilities else {
            return Vec::new();
        };
        let lists = [&list.add_capabilities, &list.add_ambient_capabilities];
        lists.into_iter().flatten().cloned().collect()
    }

    pub(crate) fn dropped(&self) -> Vec<String> {
        let list = self.spec.security().capabilities.as_ref();
        list.map_or(Vec::new(), |list| list.drop_capabilities.clone())
    }

    /// "an effective user that is not provably a number from 1 to 2147483647".
    pub(crate) fn root(&self, user_namespace: bool) -> bool {
        if user_namespace && self.clause("root: user namespace", self.mapped_away()) {
            return false;
        }
        self.is_maybe_root()
    }

    pub(crate) fn is_maybe_root(&self) -> bool {
        let own = self.spec.security();
        if self.clause("root: user name", !own.run_as_username.is_empty()) {
            return true;
        }
        let in_range = |uid: i64| (1..=2_147_483_647).contains(&uid);
        if let Some(uid) = &own.run_as_user {
            return self.clause("root: uid", !in_range(uid.value));
        }
        let image = &self.spec.image_user;
        // "only as one plain number, without a group"
        let plain = image
            .parse()
            .is_ok_and(|uid| in_range(uid) && uid.to_string() == *image);
        self.clause("root: image's user", !plain)
    }

    /// "a user namespace of which every id is mapped to 65536 or above, the same for container and
    /// sandbox".
    pub(crate) fn mapped_away(&self) -> bool {
        let of = |options: &Option<NamespaceOption>| {
            options
                .as_ref()
                .and_then(|options| options.userns_options.clone())
        };
        let own = of(&self.spec.security().namespace_options);
        let pod = of(&self.spec.pod_security().namespace_options);
        let (Some(own), Some(pod)) = (own, pod) else {
            return false;
        };
        let ids = || own.uids.iter().chain(&own.gids);
        own == pod
            && own.mode == 0
            && !own.uids.is_empty()
            && !own.gids.is_empty()
            && ids().all(|range| range.host_id >= 65_536)
    }

    /// "The node sees a claim as what it is bound to": the directory of a plugin is a type of volume.
    pub(crate) fn volumes(&self, types: &[&str]) -> BTreeSet<Code> {
        let mut codes = BTreeSet::new();
        for origin in &self.spec.origins {
            let written: &[&str] = match origin {
                MountOrigin::Image => &["image"],
                MountOrigin::Kubelet(KubeletMount::File) => continue,
                MountOrigin::Kubelet(KubeletMount::Volume(plugin)) => match plugin.as_str() {
                    "kubernetes.io~empty-dir" => &["emptyDir"],
                    "kubernetes.io~csi" => &["csi"],
                    "kubernetes.io~git-repo" => &["gitRepo"],
                    "kubernetes.io~nfs" => &["nfs"],
                    "kubernetes.io~local-volume" => &["persistentVolumeClaim", "ephemeral"],
                    "example.com~flex" => &["flexVolume"],
                    _ => &[],
                },
                MountOrigin::Host { via, .. } => match via {
                    Via::Spec | Via::SubPath => &["hostPath"],
                    Via::LocalVolume => &["persistentVolumeClaim", "ephemeral"],
                    Via::Csi => &["csi"],
                },
                MountOrigin::Unknown { .. } => {
                    if self.clause("volumes: could not be told", true) {
                        codes.insert(Code::PodMountUnknown);
                    }
                    continue;
                }
            };
            let other = !written.iter().any(|kind| types.contains(kind));
            if self.clause("volumes", other) {
                codes.insert(Code::PodVolume);
            }
        }
        codes
    }

    /// "hostPath: Deny, or {allow: […]}".
    pub(crate) fn host_path(&self, entries: Option<&[Entry]>) -> BTreeSet<Code> {
        let entries = entries.unwrap_or_default();
        let mut codes = BTreeSet::new();
        for (mount, origin) in self.spec.container().mounts.iter().zip(&self.spec.origins) {
            let unclean = mount.host_path.ends_with("/.");
            let (path, via, safe, guarded) = match origin {
                MountOrigin::Kubelet(_) | MountOrigin::Image => continue,
                MountOrigin::Unknown { .. } if self.clause("hostPath: unclean", unclean) => {
                    codes.insert(Code::PodHostpath);
                    continue;
                }
                MountOrigin::Unknown { .. } => {
                    if self.clause("hostPath: could not be told", true) {
                        codes.insert(Code::PodMountUnknown);
                    }
                    continue;
                }
                MountOrigin::Host {
                    path,
                    via,
                    safe,
                    guarded,
                } => (path, *via, *safe, guarded),
            };
            let covers = |entry: &Entry| {
                let fits = if entry.prefix {
                    below(path, entry.path, true)
                        && !self.clause(
                            "hostPath: guarded set",
                            is_guarded(path) || guarded.is_some(),
                        )
                        && !self.clause("hostPath: symlink", safe == HostPathSafety::Symlink)
                } else {
                    path == entry.path
                };
                fits && !self.clause("hostPath: read-only", entry.read_only && !mount.readonly)
                    && !self.clause(
                        "hostPath: propagation",
                        mount.propagation > entry.propagation,
                    )
            };
            let replaceable = entries
                .iter()
                .any(|entry| !entry.read_only && below(path, entry.path, false));
            let broken = self.clause("hostPath: unclean", unclean)
                || self.clause(
                    "hostPath: a parent that others can change",
                    safe == HostPathSafety::Writable,
                )
                || self.clause(
                    "hostPath: below a writable entry",
                    replaceable && via == Via::Spec,
                )
                || self.clause("hostPath: not covered", !entries.iter().any(covers));
            if broken {
                codes.insert(Code::PodHostpath);
            }
        }
        codes
    }

    pub(crate) fn host_namespaces(&self, allowed: &[&str]) -> bool {
        let own = self.spec.security().namespace_options.as_ref();
        let pod = self.spec.pod_security().namespace_options.as_ref();
        let own = if self.call == Call::Create { own } else { None };
        let shares = |options: Option<&NamespaceOption>, key: &str| {
            options.is_some_and(|options| match key {
                "network" => options.network == NODE,
                "pid" => options.pid == NODE,
                _ => options.ipc == NODE,
            })
        };
        [
            (
                "network",
                "hostNamespaces: network",
                "hostNamespaces: pod's network",
            ),
            ("pid", "hostNamespaces: pid", "hostNamespaces: pod's pid"),
            ("ipc", "hostNamespaces: ipc", "hostNamespaces: pod's ipc"),
        ]
        .iter()
        .any(|(key, of_container, of_pod)| {
            let denied = !allowed.contains(key);
            self.clause(of_container, denied && shares(own, key))
                || self.clause(of_pod, denied && shares(pod, key))
        })
    }

    /// The ports of the host that are asked for; `None` where it cannot be read.
    pub(crate) fn ports(&self) -> Option<Vec<i64>> {
        let mut ports: Vec<i64> = Vec::new();
        let mappings = self.spec.sandbox().port_mappings.iter();
        ports.extend(mappings.map(|mapping| i64::from(mapping.host_port)));
        let annotations = &self.spec.container().annotations;
        if self.call == Call::Create
            && let Some(text) = annotations.get("io.kubernetes.container.ports")
        {
            let said: serde_json::Value = serde_json::from_str(text).ok()?;
            for port in said.as_array()? {
                ports.extend(port.get("hostPort").and_then(serde_json::Value::as_i64));
            }
        }
        ports.retain(|port| *port > 0);
        Some(ports)
    }

    pub(crate) fn host_ports(&self, ranges: &[(i32, i32)]) -> bool {
        let Some(ports) = self.ports() else {
            return self.clause("hostPorts: unreadable", true);
        };
        let allowed = |port: &i64| {
            let mut ranges = ranges.iter();
            ranges.any(|(from, to)| i64::from(*from) <= *port && *port <= i64::from(*to))
        };
        self.clause("hostPorts", !ports.iter().all(allowed))
    }

    pub(crate) fn capabilities(&self, add: Option<&[&str]>, drop: Option<&[&str]>) -> bool {
        let added = self.added();
        let dropped = self.dropped();
        let keeps = |name: &&str| !dropped.iter().any(|word| word == name || word == "ALL");
        self.clause("capabilities: privileged", self.spec.security().privileged)
            || self.clause(
                "capabilities: allowAdd",
                add.is_some_and(|list| added.iter().any(|name| !list.contains(&name.as_str()))),
            )
            || self.clause(
                "capabilities: requireDrop",
                drop.is_some_and(|list| list.iter().any(keeps)),
            )
    }

    /// The kinds of seccomp profile that the request names; `None` stands for one that is none.
    pub(crate) fn seccomp_kinds(&self) -> Vec<Option<Kind>> {
        let own = self.spec.security();
        let older = match own.seccomp_profile_path.as_str() {
            "" => None,
            text => Some(spelled(text, is_path)),
        };
        let typed = own.seccomp.as_ref().map(|profile| typed(profile, is_path));
        let mut kinds: Vec<Option<Kind>> = typed.into_iter().chain(older).collect();
        if kinds.is_empty() {
            kinds.push(Some(Kind::Unconfined));
        }
        kinds
    }

    pub(crate) fn seccomp(&self, allowed: &[Kind]) -> bool {
        let other = |kind: &Option<Kind>| kind.is_none_or(|kind| !allowed.contains(&kind));
        // "A privileged container has neither."
        if self.clause("seccomp: privileged", self.spec.security().privileged) {
            return !allowed.contains(&Kind::Unconfined);
        }
        self.clause("seccomp", self.seccomp_kinds().iter().any(other))
    }

    /// As of seccomp; what names none has the runtime's.
    pub(crate) fn app_armor_kinds(&self) -> Vec<Option<Kind>> {
        let own = self.spec.security();
        let older = match own.apparmor_profile.as_str() {
            "" => None,
            text => Some(spelled(text, is_name)),
        };
        let typed = own.apparmor.as_ref().map(|profile| typed(profile, is_name));
        let mut kinds: Vec<Option<Kind>> = typed.into_iter().chain(older).collect();
        if kinds.is_empty() {
            kinds.push(Some(Kind::RuntimeDefault));
        }
        kinds
    }

    pub(crate) fn app_armor(&self, allowed: &[Kind]) -> bool {
        let kinds = self.app_armor_kinds();
        let default = kinds.iter().all(|kind| *kind == Some(Kind::RuntimeDefault));
        // "of AppArmor only a local one that it names"
        let none = default && self.spec.security().privileged;
        if self.clause("appArmor: privileged", none) {
            return !allowed.contains(&Kind::Unconfined);
        }
        let other = |kind: &Option<Kind>| kind.is_none_or(|kind| !allowed.contains(&kind));
        self.clause("appArmor", kinds.iter().any(other))
    }

    pub(crate) fn se_linux(&self, types: &[&str], by_image: bool) -> bool {
        let named = |label: &SeLinuxOption| {
            self.clause(
                "seLinux: user or role",
                !label.user.is_empty() || !label.role.is_empty(),
            ) || self.clause(
                "seLinux: type",
                !label.r#type.is_empty() && !types.contains(&label.r#type.as_str()),
            )
        };
        let pod = self.spec.pod_security().selinux_options.as_ref();
        if self.call == Call::Sandbox {
            return pod.is_some_and(named);
        }
        self.clause("seLinux: privileged", self.spec.security().privileged)
            || self.label().is_some_and(named)
            || !by_image && pod.is_some_and(named)
    }

    pub(crate) fn proc_mount(&self) -> bool {
        let own = self.spec.security();
        self.clause("procMount: privileged", own.privileged) || self.unmasked()
    }

    pub(crate) fn unmasked(&self) -> bool {
        let own = self.spec.security();
        let misses = |list: &[String], path: &&str| !list.iter().any(|one| one == path);
        self.clause(
            "procMount: masked",
            MASKED
                .iter()
                .filter(|path| **path != "/proc/asound")
                .any(|path| misses(&own.masked_paths, path)),
        ) || self.clause(
            "procMount: read-only",
            READ_ONLY
                .iter()
                .any(|path| misses(&own.readonly_paths, path)),
        )
    }

    pub(crate) fn sysctls(&self, list: &[&str]) -> bool {
        let linux = self.spec.sandbox().linux.as_ref().unwrap();
        let options = self
            .spec
            .pod_security()
            .namespace_options
            .clone()
            .unwrap_or_default();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || " .:,/_-".contains(letter);
        linux.sysctls.iter().any(|(name, value)| {
            let name = name.replace('/', ".");
            let listed = list.iter().any(|one| match one.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == *one,
            });
            let of_network = name.starts_with("net.");
            let of_ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
                .iter()
                .any(|start| name.starts_with(start));
            self.clause("sysctls", !listed)
                || self.clause("sysctls: value", !value.chars().all(plain))
                || self.clause(
                    "sysctls: the host's network",
                    of_network && options.network == NODE,
                )
                || self.clause("sysctls: the host's IPC", of_ipc && options.ipc == NODE)
        })
    }

    pub(crate) fn groups(&self, all: bool) -> bool {
        let own = self.spec.security();
        let bad = |group: i64| !(1..=2_147_483_647).contains(&group);
        let supplemental = own.supplemental_groups.iter().any(|group| bad(*group));
        let primary = own
            .run_as_group
            .as_ref()
            .is_none_or(|group| bad(group.value));
        self.clause("groups: supplemental", supplemental)
            || self.clause("groups: primary", all && primary)
    }

    pub(crate) fn devices(&self, paths: &[&str], names: &[&str]) -> bool {
        let container = self.spec.container();
        let kubelets = "/var/lib/kubelet/pods/u/volumeDevices/kubernetes.io~csi/pv-1";
        let other_path = |path: &str| match path {
            // "Raw block volumes that the kubelet made for the pod are not judged, but for local ones."
            _ if path == kubelets => false,
            "/dev/fuse" => !(paths.contains(&"/dev/fuse") || paths.contains(&"/dev/*")),
            "/dev/dri" => !(paths.contains(&"/dev/dri") || paths.contains(&"/dev/*")),
            "/dev/mem" => !paths.contains(&"/dev/*"),
            // "a directory that a pattern matches brings every device in it": if it is named.
            "/dev/dri/card0" => !paths.contains(&"/dev/dri/*"),
            _ => true,
        };
        let other_name = |name: &str| match name {
            "nvidia.com/gpu=0" => names.is_empty(),
            "nvidia.com/gpu=all" => !names.contains(&"nvidia.com/gpu=*"),
            _ => true,
        };
        let annotated = container
            .annotations
            .iter()
            .filter(|(key, _)| key.starts_with("cdi.k8s.io/"))
            .flat_map(|(_, value)| value.split(','));
        self.clause("devices: privileged", self.spec.security().privileged)
            || self.clause(
                "devices: path",
                container
                    .devices
                    .iter()
                    .any(|device| other_path(&device.host_path)),
            )
            || self.clause(
                "devices: CDI",
                container
                    .cdi_devices
                    .iter()
                    .any(|device| other_name(&device.name)),
            )
            || self.clause(
                "devices: CDI annotation",
                annotated.into_iter().any(other_name),
            )
    }

    pub(crate) fn annotations(&self, patterns: &[&str]) -> bool {
        let denied = |key: &String| {
            patterns.iter().any(|pattern| match *pattern {
                "io.katacontainers.*" => key.starts_with("io.katacontainers."),
                "*.k8s.io/*" => key.contains(".k8s.io/"),
                plain => key == plain,
            })
        };
        let own = self.spec.container().annotations.keys().any(denied);
        let pods = self.spec.sandbox().annotations.keys().any(denied);
        self.clause("annotations: container's", self.call == Call::Create && own)
            || self.clause("annotations: pod's", pods)
    }

    pub(crate) fn log_directory(&self) -> bool {
        let sandbox = self.spec.sandbox();
        let pod = sandbox.metadata.as_ref().unwrap();
        let own = format!("{}_{}_{}", pod.namespace, pod.name, pod.uid);
        let directory = sandbox.log_directory.as_str();
        let fits = directory.starts_with('/') && directory.rsplit('/').next() == Some(&own);
        let path = &self.spec.container().log_path;
        // A kubelet's is clean; of another nobody says where it leads.
        let leaves =
            path.starts_with('/') || path.split('/').any(|part| [".", ".."].contains(&part));
        // "Where there is no directory, no log is written."
        self.clause("logDirectory: directory", !directory.is_empty() && !fits)
            || self.clause("logDirectory: log", self.call == Call::Create && leaves)
    }
}

/// AppArmor that is none, in words or by the kernel's own word.
fn no_app_armor(profile: &SecurityProfile) -> bool {
    let name = profile.localhost_ref.trim_start_matches("localhost/");
    profile.profile_type == UNCONFINED || profile.profile_type == LOCALHOST && name == "unconfined"
}

/// An SELinux type outside the baseline of the Pod Security Standards.
fn is_foreign(label: &SeLinuxOption) -> bool {
    ![
        "",
        "container_t",
        "container_init_t",
        "container_kvm_t",
        "container_engine_t",
    ]
    .contains(&label.r#type.as_str())
}

/// The kind of a profile in the older spelling.
fn spelled(text: &str, usable: fn(&str) -> bool) -> Option<Kind> {
    match text {
        "runtime/default" | "docker/default" => Some(Kind::RuntimeDefault),
        "unconfined" => Some(Kind::Unconfined),
        _ => {
            let name = text.strip_prefix("localhost/")?;
            usable(name).then_some(Kind::Localhost)
        }
    }
}

/// The kind of a typed profile.
fn typed(profile: &SecurityProfile, usable: fn(&str) -> bool) -> Option<Kind> {
    if profile.profile_type == UNCONFINED {
        return Some(Kind::Unconfined);
    }
    if profile.profile_type != LOCALHOST {
        return Some(Kind::RuntimeDefault);
    }
    usable(&profile.localhost_ref).then_some(Kind::Localhost)
}

/// "A local profile must have a usable name": of seccomp, an absolute path.
fn is_path(name: &str) -> bool {
    name.starts_with('/')
}

/// Of AppArmor, a name that is not the kernel's word for none.
fn is_name(name: &str) -> bool {
    !["", "unconfined"].contains(&name.trim_start_matches("localhost/"))
}

/// Whether a path is below a directory, or is the directory where that counts.
fn below(path: &str, directory: &str, itself: bool) -> bool {
    match path.strip_prefix(directory) {
        Some("") => itself,
        Some(rest) => rest.starts_with('/'),
        None => false,
    }
}

/// Of the paths in this test.
fn is_guarded(path: &str) -> bool {
    matches!(path, "/" | "/etc" | "/proc" | "/proc/1/root")
        || path == "/etc/kubernetes/pki"
        || path == "/run/containerd/containerd.sock"
}
