//! `privileged: Deny`: the flag, and what equals it. Pure.

use super::{Broken, ByImage, ContainerCase, pod_text};
use crate::policy::Code;
use crate::policy::words::Text;
use crate::request::{Flag, Profile, Propagation, Sandbox, SeLinux};

/// Capabilities that are the host's, without `CAP_`.
const HOST_CAPABILITIES: &[&str] = &[
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

/// SELinux types of the Pod Security baseline; empty is the runtime's own.
const SELINUX_TYPES: &[&str] = &[
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
];

pub(super) fn judge_sandbox(sandbox: &Sandbox, broken: &mut Vec<Broken>) {
    if sandbox.privileged == Flag::On {
        broken.push(plain(
            pod_text(sandbox).words(" is privileged"),
            "remove securityContext.privileged from its containers",
        ));
    }
    profiles_of_sandbox(sandbox, broken);
}

fn profiles_of_sandbox(sandbox: &Sandbox, broken: &mut Vec<Broken>) {
    if matches!(&sandbox.apparmor, Some(profile) if is_unconfined(profile)) {
        broken.push(plain(
            pod_text(sandbox).words(" is AppArmor unconfined"),
            "use the AppArmor profile RuntimeDefault",
        ));
    }
    selinux(sandbox.selinux.as_ref(), || pod_text(sandbox), broken);
}

pub(super) fn judge(case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
    let container = case.container;
    let text = || case.container_text();
    if container.privileged == Flag::On {
        broken.push(plain(
            text().words(" is privileged"),
            "remove securityContext.privileged",
        ));
    }
    // The sandbox's own flag is judged where the sandbox is made. Here the kubelet sets it for every
    // container that the pod has had put in since (docs/decisions/0049), and a rule that is chosen by
    // image speaks of this container anyway, not of its neighbours.
    if case.by_image == ByImage::No {
        profiles_of_sandbox(case.sandbox, broken);
    } else if states_no_label(container.selinux.as_ref()) {
        // containerd then gives the container the sandbox's label (`toLabel` in its CRI server).
        selinux(case.sandbox.selinux.as_ref(), text, broken);
    }
    capabilities(case, broken);
    if container.masked_paths.is_empty() || container.readonly_paths.is_empty() {
        broken.push(plain(
            text().words(" sees /proc unmasked"),
            "remove procMount: Unmasked",
        ));
    }
    for mount in &container.mounts {
        if mount.propagation == Propagation::Bidirectional {
            broken.push(plain(
                text()
                    .words(" mounts ")
                    .value(&mount.container_path)
                    .words(" with propagation Bidirectional"),
                "use HostToContainer or None",
            ));
        }
    }
    if matches!(&container.apparmor, Some(profile) if is_unconfined(profile))
        || names_unconfined(&container.apparmor_profile)
    {
        broken.push(plain(
            text().words(" is AppArmor unconfined"),
            "use the AppArmor profile RuntimeDefault",
        ));
    }
    selinux(container.selinux.as_ref(), text, broken);
}

fn capabilities(case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
    let container = case.container;
    let added = container.add_capabilities.iter().map(|name| (name, "add"));
    let ambient = container
        .add_ambient_capabilities
        .iter()
        .map(|name| (name, "ambient"));
    for (name, _) in added.chain(ambient) {
        if is_host_capability(name) {
            broken.push(plain(
                case.container_text().words(" adds capability ").value(name),
                "remove it from securityContext.capabilities.add",
            ));
        }
    }
}

/// containerd upper-cases a name and compares by Unicode folding, so `sys_admin` and `ſYS_ADMIN`
/// are SYS_ADMIN. What is not plain ASCII letters, digits and `_` is no capability's name; it is
/// denied rather than guessed.
fn is_host_capability(name: &str) -> bool {
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return true;
    }
    let upper = name.to_ascii_uppercase();
    let mut bare = upper.as_str();
    while let Some(rest) = bare.strip_prefix("CAP_") {
        bare = rest;
    }
    HOST_CAPABILITIES.contains(&bare)
}

fn is_unconfined(profile: &Profile) -> bool {
    match profile {
        Profile::RuntimeDefault => false,
        Profile::Unconfined => true,
        Profile::Localhost(name) => names_unconfined(name),
    }
}

/// `unconfined` in the deprecated string, also as the name of a local profile: the kernel takes it
/// for no profile at all.
fn names_unconfined(profile: &str) -> bool {
    let name = profile.trim();
    let name = name.strip_prefix("localhost/").unwrap_or(name);
    name.trim().eq_ignore_ascii_case("unconfined")
}

fn states_no_label(options: Option<&SeLinux>) -> bool {
    options.is_none_or(|options| {
        [&options.user, &options.role, &options.kind, &options.level]
            .iter()
            .all(|part| part.is_empty())
    })
}

fn selinux(options: Option<&SeLinux>, text: impl Fn() -> Text, broken: &mut Vec<Broken>) {
    if let Some(options) = options
        && !SELINUX_TYPES.contains(&options.kind.as_str())
    {
        broken.push(plain(
            text().words(" has SELinux type ").value(&options.kind),
            "use container_t, or leave the type out",
        ));
    }
}

fn plain(text: Text, advice: &'static str) -> Broken {
    Broken::Plain(Code::PodPrivileged, text.advice(advice))
}
