//! `seccomp` and `appArmor`: which profiles may be used, on effective values. Pure.

use super::{Broken, ContainerCase};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty};
use crate::policy::document::{ProfileKind, ProfilesDoc};
use crate::request::{Container, Flag, Profile};

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Profiles {
    allowed: Vec<ProfileKind>,
}

pub(super) fn compile(doc: &ProfilesDoc, notes: &mut Notes, at: &At) -> Profiles {
    not_empty(doc.allow.len(), notes, &at.down(["allow"]));
    Profiles {
        allowed: doc.allow.clone(),
    }
}

/// A profile as containerd takes it; `None` is a local one without a usable name.
pub(super) type Effective = Option<ProfileKind>;

impl Profiles {
    pub(super) fn judge_seccomp(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        for kind in seccomp(case.container) {
            match kind {
                Some(kind) if self.allowed.contains(&kind) => {}
                kind => broken.push(seccomp_broken(case, kind)),
            }
        }
    }

    pub(super) fn judge_app_armor(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        for kind in app_armor(case.container) {
            match kind {
                Some(kind) if self.allowed.contains(&kind) => {}
                kind => broken.push(app_armor_broken(case, kind)),
            }
        }
    }
}

/// The seccomp profiles that the request names; a privileged container gets none.
pub(super) fn seccomp(container: &Container) -> Vec<Effective> {
    if container.privileged == Flag::On {
        return vec![Some(ProfileKind::Unconfined)];
    }
    named_seccomp(container)
}

/// The same, whatever containerd makes of a privileged container: the field, and the deprecated
/// string if it is there too. Where the request names none, containerd applies none (critest asserts
/// it).
pub(super) fn named_seccomp(container: &Container) -> Vec<Effective> {
    let mut named = Vec::new();
    if let Some(profile) = &container.seccomp {
        named.push(of_profile(profile, is_path));
    }
    match container.seccomp_profile_path.as_str() {
        "" => {}
        "unconfined" => named.push(Some(ProfileKind::Unconfined)),
        "runtime/default" | "docker/default" => named.push(Some(ProfileKind::RuntimeDefault)),
        other => named.push(local(other, is_path)),
    }
    if named.is_empty() {
        named.push(Some(ProfileKind::Unconfined));
    }
    named
}

/// The AppArmor profiles that the request names: the field, and the deprecated string if it is
/// there too; containerd reads one of them, so both are judged. A request that names none gets the
/// runtime's own, and a privileged container gets none.
pub(super) fn app_armor(container: &Container) -> Vec<Effective> {
    let named = named_app_armor(container);
    let default = named
        .iter()
        .all(|kind| *kind == Some(ProfileKind::RuntimeDefault));
    if default && container.privileged == Flag::On {
        return vec![Some(ProfileKind::Unconfined)];
    }
    named
}

/// The same, whatever containerd makes of a privileged container.
pub(super) fn named_app_armor(container: &Container) -> Vec<Effective> {
    let mut named = Vec::new();
    if let Some(profile) = &container.apparmor {
        named.push(of_profile(profile, is_name));
    }
    match container.apparmor_profile.as_str() {
        "" => {}
        "unconfined" => named.push(Some(ProfileKind::Unconfined)),
        "runtime/default" => named.push(Some(ProfileKind::RuntimeDefault)),
        other => named.push(local(other, is_name)),
    }
    if named.is_empty() {
        named.push(Some(ProfileKind::RuntimeDefault));
    }
    named
}

fn of_profile(profile: &Profile, usable: fn(&str) -> bool) -> Effective {
    match profile {
        Profile::RuntimeDefault => Some(ProfileKind::RuntimeDefault),
        Profile::Unconfined => Some(ProfileKind::Unconfined),
        Profile::Localhost(name) => usable(name).then_some(ProfileKind::Localhost),
    }
}

fn local(text: &str, usable: fn(&str) -> bool) -> Effective {
    let name = text.strip_prefix("localhost/")?;
    usable(name).then_some(ProfileKind::Localhost)
}

/// The kubelet sends the absolute path of a seccomp profile (CVE-2023-2431: an empty one meant
/// none).
fn is_path(name: &str) -> bool {
    name != "/" && crate::policy::paths::clean(name) == Some(name)
}

/// A name of a loaded AppArmor profile; `unconfined` is the kernel's word for none.
fn is_name(name: &str) -> bool {
    let name = name.strip_prefix("localhost/").unwrap_or(name);
    !name.trim().is_empty() && !name.trim().eq_ignore_ascii_case("unconfined")
}

pub(super) fn seccomp_broken(case: &ContainerCase<'_>, kind: Effective) -> Broken {
    let words = match kind {
        Some(ProfileKind::Unconfined) if case.container.privileged == Flag::On => {
            " runs without a seccomp profile, because it is privileged"
        }
        Some(ProfileKind::Unconfined) => " runs without a seccomp profile",
        Some(ProfileKind::RuntimeDefault) => " uses the seccomp profile RuntimeDefault",
        Some(ProfileKind::Localhost) => " uses a local seccomp profile",
        None => " names a local seccomp profile that is no path",
    };
    Broken::Plain(
        Code::PodSeccomp,
        case.container_text()
            .words(words)
            .advice("set securityContext.seccompProfile.type: RuntimeDefault"),
    )
}

pub(super) fn app_armor_broken(case: &ContainerCase<'_>, kind: Effective) -> Broken {
    let words = match kind {
        Some(ProfileKind::Unconfined) if case.container.privileged == Flag::On => {
            " is AppArmor unconfined, because it is privileged"
        }
        Some(ProfileKind::Unconfined) => " is AppArmor unconfined",
        Some(ProfileKind::RuntimeDefault) => " uses the AppArmor profile RuntimeDefault",
        Some(ProfileKind::Localhost) => " uses a local AppArmor profile",
        None => " names a local AppArmor profile that is none",
    };
    Broken::Plain(
        Code::PodApparmor,
        case.container_text()
            .words(words)
            .advice("set securityContext.appArmorProfile.type: RuntimeDefault"),
    )
}
