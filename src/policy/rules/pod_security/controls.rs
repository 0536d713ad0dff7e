//! The controls: name, level, first version, and the judgement of each. Pure.

use super::super::capabilities::{self, ALL};
use super::super::{
    Broken, ByImage, ContainerCase, escalation, host_path, host_ports, pod_text, proc_mount,
    profiles, root, se_linux, sysctls, volumes,
};
use super::Breach;
use super::versions::{self, Minor};
use crate::policy::Code;
use crate::policy::document::{HostNamespace, LevelDoc, ProfileKind, RootMode};
use crate::policy::evidence::{HostPathSafety, MountOrigin};
use crate::policy::words::Text;
use crate::request::{Container, Flag, NamespaceMode, Namespaces, Sandbox};

/// Capabilities that the baseline lets a container add: those that runtimes give anyway.
const BASELINE_CAPABILITIES: &[&str] = &[
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

/// Not `ALL`: to waive that would let a container add every capability.
pub(super) const NOT_DROPPED: &str = "drop ALL";
pub(super) const TRUE: &str = "true";
pub(super) const UNMASKED: &str = "Unmasked";
pub(super) const GIT_REPO: &str = "gitRepo";

macro_rules! controls {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $level:ident, $since:literal;)*) => {
        /// A control of the Pod Security Standards.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Control { $($(#[$doc])* $id,)* }

        impl Control {
            /// Every control, in the order of the standards.
            pub(crate) const ALL: &[Self] = &[$(Self::$id,)*];

            /// The name that policies use, as the standards write it.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$id => $name,)* }
            }

            const fn level(self) -> LevelDoc {
                match self { $(Self::$id => LevelDoc::$level,)* }
            }

            const fn since(self) -> Minor {
                match self { $(Self::$id => Minor($since),)* }
            }
        }
    };
}

controls! {
    /// Privileged containers.
    Privileged = "Privileged Containers", Baseline, 0;
    /// Namespaces of the host.
    HostNamespaces = "Host Namespaces", Baseline, 0;
    /// hostPath volumes.
    HostPath = "HostPath Volumes", Baseline, 0;
    /// Ports of the host.
    HostPorts = "Host Ports", Baseline, 0;
    /// Capabilities, at both levels.
    Capabilities = "Capabilities", Baseline, 0;
    /// What of /proc is masked.
    ProcMount = "/proc Mount Type", Baseline, 0;
    /// SELinux labels.
    SeLinux = "SELinux", Baseline, 0;
    /// Kernel settings.
    Sysctls = "Sysctls", Baseline, 0;
    /// AppArmor profiles.
    AppArmor = "AppArmor", Baseline, 0;
    /// Seccomp profiles, at both levels.
    Seccomp = "Seccomp", Baseline, 19;
    /// Hosts of probes and lifecycle hooks.
    HostProbes = "Host Probes / Lifecycle Hooks", Baseline, 34;
    /// Privilege escalation.
    Escalation = "Privilege Escalation", Restricted, 8;
    /// Running as root, by image or pod.
    RunAsNonRoot = "Running as Non-root", Restricted, 0;
    /// Running as uid 0, by the pod's own word.
    RunAsUser = "Running as Non-root user", Restricted, 23;
    /// Types of volumes.
    Volumes = "Volume Types", Restricted, 0;
}

impl Control {
    /// The control of this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|own| own.name() == name)
    }

    /// Whether level and version ask for it.
    pub(super) fn applies(self, level: LevelDoc, version: Minor) -> bool {
        let asked = level == LevelDoc::Restricted || self.level() == LevelDoc::Baseline;
        asked && version >= self.since()
    }

    /// Whether it is judged at the sandbox as a whole.
    pub(super) fn is_of_the_pod(self) -> bool {
        match self {
            Self::HostNamespaces | Self::Sysctls => true,
            Self::Privileged
            | Self::HostPath
            | Self::HostPorts
            | Self::Capabilities
            | Self::ProcMount
            | Self::SeLinux
            | Self::AppArmor
            | Self::Seccomp
            | Self::HostProbes
            | Self::Escalation
            | Self::RunAsNonRoot
            | Self::RunAsUser
            | Self::Volumes => false,
        }
    }

    /// What the CRI does not show of the control, and what is taken instead.
    pub(super) fn not_shown(self, level: LevelDoc) -> Option<&'static str> {
        match (self, level) {
            (Self::Seccomp, LevelDoc::Baseline) => Some(
                "a kubelet sends Unconfined also for a pod that says nothing, so an explicit Unconfined passes here; use `containers.seccomp`, or level restricted",
            ),
            (Self::HostPath, _) => {
                Some("a volume that no container mounts is not sent, so it passes")
            }
            (Self::AppArmor, _) | (Self::Seccomp, LevelDoc::Restricted) => Some(
                "only the profile with which a container runs is sent, so one of the pod that every container overrides passes; a local AppArmor profile that names none is denied",
            ),
            (Self::HostProbes, _) => Some(
                "probes are the kubelet's own and do not reach the node's runtime; it is not judged here",
            ),
            (Self::RunAsNonRoot, _) => Some(
                "runAsNonRoot itself is not sent; the effective user is judged, so an image of which the USER is a number passes without it, and a name does not",
            ),
            (Self::RunAsUser, _) => Some(
                "a kubelet sends the image's user as if the pod had asked for it, so uid 0 of an image is denied as well",
            ),
            (Self::Sysctls, _) => Some(
                "a kubelet sends names in dots, so a safe name passes in either spelling; `latest` is v1.37, which knows two safe names more than v1.36",
            ),
            (Self::Volumes, _) => Some(
                "a volume that the pod names itself looks like one by a claim, so of these types only gitRepo and host paths are denied; use `containers.volumes`",
            ),
            _ => None,
        }
    }
}

/// What a sandbox breaks when it is run. Its privileged flag counts here alone: any of its containers
/// sets it, and at a create each has its own (docs/decisions/0049).
pub(super) fn of_sandbox(level: LevelDoc, version: Minor, sandbox: &Sandbox) -> Vec<Breach> {
    let mut out = Vec::new();
    if sandbox.privileged == Flag::On {
        out.push(Breach {
            control: Control::Privileged,
            value: Some(TRUE.to_owned()),
            broken: Broken::Plain(
                Code::PodPrivileged,
                pod_text(sandbox)
                    .words(" is privileged")
                    .advice("remove securityContext.privileged from its containers"),
            ),
        });
    }
    out.extend(of_whole_pod(version, sandbox, |_| ByImage::No));
    out.retain(|breach| breach.control.applies(level, version));
    out
}

/// What is the whole pod's. Of a control that is asked by image, a container is judged by what it has
/// itself, not by what its pod says for those that say nothing.
fn of_whole_pod(
    version: Minor,
    sandbox: &Sandbox,
    asked: impl Fn(Control) -> ByImage,
) -> Vec<Breach> {
    let mut out = Vec::new();
    of_namespaces(&sandbox.namespaces, || pod_text(sandbox), &mut out);
    collect(&mut out, Control::HostPorts, |broken| {
        host_ports::HostPorts::none().judge_sandbox(sandbox, broken);
    });
    let types = |kind: &str| versions::is_safe_selinux_type(version, kind);
    if asked(Control::SeLinux) == ByImage::No {
        collect(&mut out, Control::SeLinux, |broken| {
            se_linux::judge(
                sandbox.selinux.as_ref(),
                types,
                || pod_text(sandbox),
                broken,
            );
        });
    }
    if asked(Control::RunAsUser) == ByImage::No {
        out.extend(root_of_pod(version, sandbox));
    }
    let safe = |name: &str| versions::is_safe_sysctl(version, name);
    collect(&mut out, Control::Sysctls, |broken| {
        sysctls::judge_names(sandbox, safe, broken);
    });
    out
}

/// Namespaces of the host, that the pod or the container asks for.
fn of_namespaces(namespaces: &Namespaces, text: impl Fn() -> Text, out: &mut Vec<Breach>) {
    for (namespace, mode, words, advice) in [
        (
            HostNamespace::Network,
            &namespaces.network,
            " uses the host's network namespace",
            "remove hostNetwork",
        ),
        (
            HostNamespace::Pid,
            &namespaces.pid,
            " uses the host's PID namespace",
            "remove hostPID",
        ),
        (
            HostNamespace::Ipc,
            &namespaces.ipc,
            " uses the host's IPC namespace",
            "remove hostIPC",
        ),
    ] {
        if *mode == NamespaceMode::Node {
            out.push(Breach {
                control: Control::HostNamespaces,
                value: Some(namespace.as_str().to_owned()),
                broken: Broken::Plain(Code::PodHostNamespace, text().words(words).advice(advice)),
            });
        }
    }
}

/// `runAsUser: 0` of the pod: the standards deny the word itself, also where every container has
/// another one.
fn root_of_pod(version: Minor, sandbox: &Sandbox) -> Option<Breach> {
    let apart = root::is_mapped_away(&sandbox.namespaces.user);
    if sandbox.run_as_user != Some(0) || frees_root(version, apart) {
        return None;
    }
    Some(Breach {
        control: Control::RunAsUser,
        value: Some("0".to_owned()),
        broken: Broken::Plain(
            Code::PodRoot,
            pod_text(sandbox)
                .words(" sets runAsUser 0 for all its containers")
                .advice("set securityContext.runAsUser of the pod to a number above 0"),
        ),
    })
}

/// What a container breaks, and its sandbox again: a policy may have changed since it was run.
/// `asked` says which controls the rule, or an exclusion of it, chooses by image.
pub(super) fn of_container(
    level: LevelDoc,
    version: Minor,
    case: &ContainerCase<'_>,
    asked: impl Fn(Control) -> ByImage,
) -> Vec<Breach> {
    let mut out = of_whole_pod(version, case.sandbox, asked);
    let container = case.container;
    // containerd takes the container's own word for some of it, e.g. for whose /dev/shm it sees.
    of_namespaces(&container.namespaces, || case.container_text(), &mut out);
    if container.privileged == Flag::On {
        out.push(Breach {
            control: Control::Privileged,
            value: Some(TRUE.to_owned()),
            broken: Broken::Plain(
                Code::PodPrivileged,
                case.container_text()
                    .words(" is privileged")
                    .advice("remove securityContext.privileged"),
            ),
        });
    }
    of_host_paths(case, &mut out);
    collect(&mut out, Control::HostPorts, |broken| {
        host_ports::HostPorts::none().judge(case, broken);
    });
    of_capabilities(level, version, case, &mut out);
    // From 1.35 a user namespace frees /proc at baseline, never at restricted.
    let apart = root::is_apart(case.sandbox, container);
    let freed = apart && version >= Minor(35) && level == LevelDoc::Baseline;
    if !freed {
        collect_as(&mut out, Control::ProcMount, UNMASKED, |broken| {
            proc_mount::judge(case, broken);
        });
    }
    let types = |kind: &str| versions::is_safe_selinux_type(version, kind);
    collect(&mut out, Control::SeLinux, |broken| {
        se_linux::judge(
            se_linux::effective(case),
            types,
            || case.container_text(),
            broken,
        );
    });
    for kind in profiles::named_app_armor(container) {
        if !matches!(
            kind,
            Some(ProfileKind::RuntimeDefault | ProfileKind::Localhost)
        ) {
            out.push(Breach {
                control: Control::AppArmor,
                value: profile_value(kind),
                broken: profiles::app_armor_broken(case, kind),
            });
        }
    }
    if level == LevelDoc::Restricted {
        of_restricted(version, case, &mut out);
    }
    out.retain(|breach| breach.control.applies(level, version));
    out
}

fn of_restricted(version: Minor, case: &ContainerCase<'_>, out: &mut Vec<Breach>) {
    for kind in profiles::named_seccomp(case.container) {
        if !matches!(
            kind,
            Some(ProfileKind::RuntimeDefault | ProfileKind::Localhost)
        ) {
            out.push(Breach {
                control: Control::Seccomp,
                value: profile_value(kind),
                broken: profiles::seccomp_broken(case, kind),
            });
        }
    }
    collect_as(out, Control::Volumes, GIT_REPO, |broken| {
        volumes::judge_git_repos(case, broken);
    });
    collect_as(out, Control::Escalation, TRUE, |broken| {
        escalation::judge(case, broken)
    });
    if !frees_root(version, root::is_apart(case.sandbox, case.container)) {
        let zero = root::is_zero(case);
        collect_user(out, Control::RunAsNonRoot, zero, case);
        // A uid that is not known is judged as well: it waits, or says why it could not be had.
        if zero != Some(false) {
            collect_user(out, Control::RunAsUser, zero, case);
        }
    }
}

/// What the effective user breaks. Uid 0 is one value, however an image writes it.
fn collect_user(
    out: &mut Vec<Breach>,
    control: Control,
    zero: Option<bool>,
    case: &ContainerCase<'_>,
) {
    let judge = |broken: &mut Vec<Broken>| root::judge(RootMode::Deny, case, broken);
    if zero == Some(true) {
        collect_as(out, control, "0", judge);
    } else {
        collect(out, control, judge);
    }
}

/// Whether the image's USER decides.
pub(super) fn needs_image_user(version: Minor, sandbox: &Sandbox, container: &Container) -> bool {
    !frees_root(version, root::is_apart(sandbox, container))
        && root::needs_image_user(RootMode::Deny, sandbox, container)
}

/// Restricted has judged capabilities since 1.22; before, the baseline counts there too.
pub(super) fn asks_to_drop(level: LevelDoc, version: Minor) -> bool {
    level == LevelDoc::Restricted && version >= Minor(22)
}

fn of_capabilities(
    level: LevelDoc,
    version: Minor,
    case: &ContainerCase<'_>,
    out: &mut Vec<Breach>,
) {
    let restricted = asks_to_drop(level, version);
    for name in capabilities::added(case.container) {
        let allowed = if restricted {
            name == "NET_BIND_SERVICE"
        } else {
            BASELINE_CAPABILITIES.contains(&name)
        };
        if !allowed {
            out.push(Breach {
                control: Control::Capabilities,
                value: Some(name.to_owned()),
                broken: capabilities::adds(case, name),
            });
        }
    }
    let dropped = &case.container.drop_capabilities;
    if restricted && !dropped.iter().any(|name| name == ALL) {
        out.push(Breach {
            control: Control::Capabilities,
            value: Some(NOT_DROPPED.to_owned()),
            broken: capabilities::keeps(case, ALL),
        });
    }
}

/// From 1.35 a user namespace, if it maps every id away from the host's users, makes root of the
/// container nobody on the host.
fn frees_root(version: Minor, apart: bool) -> bool {
    apart && version >= Minor(35)
}

fn profile_value(kind: profiles::Effective) -> Option<String> {
    let word = match kind? {
        ProfileKind::Unconfined => "Unconfined",
        ProfileKind::RuntimeDefault => "RuntimeDefault",
        ProfileKind::Localhost => "Localhost",
    };
    Some(word.to_owned())
}

/// Host paths, by the path that is mounted: what the pod calls it inside is its own choice. One that
/// can become another before it is mounted has no value.
fn of_host_paths(case: &ContainerCase<'_>, out: &mut Vec<Breach>) {
    let none = host_path::HostPaths::none();
    for (index, mount) in case.container.mounts.iter().enumerate() {
        let value = match case.origin(index) {
            Some(MountOrigin::Host {
                path,
                safe: HostPathSafety::Fixed,
                ..
            }) => Some(path.clone()),
            Some(
                MountOrigin::Host { .. }
                | MountOrigin::Kubelet(_)
                | MountOrigin::Image
                | MountOrigin::Unknown { .. },
            )
            | None => None,
        };
        out.extend(none.judge_one(case, index, mount).map(|broken| Breach {
            control: Control::HostPath,
            value,
            broken,
        }));
    }
}

/// Takes over what another rule's judgement finds. The value is the one that its text quotes last: for
/// texts that end with what is broken.
fn collect(out: &mut Vec<Breach>, control: Control, judge: impl FnOnce(&mut Vec<Broken>)) {
    let mut broken = Vec::new();
    judge(&mut broken);
    out.extend(broken.into_iter().map(|broken| Breach {
        control,
        value: broken.value().map(str::to_owned),
        broken,
    }));
}

/// The same, where a control has one value only. What could not be told has none.
fn collect_as(
    out: &mut Vec<Breach>,
    control: Control,
    value: &'static str,
    judge: impl FnOnce(&mut Vec<Broken>),
) {
    let at = out.len();
    collect(out, control, judge);
    for breach in out.iter_mut().skip(at) {
        breach.value = match breach.broken {
            Broken::Plain(..) | Broken::Evidence(..) => Some(value.to_owned()),
            Broken::Missing(_) | Broken::Wait => None,
        };
    }
}
