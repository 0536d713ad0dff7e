//! Security contexts: how they are read, and the container's laid over the pod's. Pure.

use std::collections::BTreeMap;

use super::fields::Fields;
use crate::api::runtime_v1 as api;

/// A seccomp or AppArmor profile as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProfileName {
    pub(crate) kind: String,
    pub(crate) localhost: Option<String>,
}

/// `spec.securityContext`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodSecurity {
    pub(crate) selinux: Option<api::SeLinuxOption>,
    pub(crate) run_as_user: Option<i64>,
    pub(crate) run_as_group: Option<i64>,
    pub(crate) run_as_non_root: Option<bool>,
    pub(crate) supplemental_groups: Vec<i64>,
    pub(crate) groups_policy: String,
    pub(crate) fs_group: Option<i64>,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) seccomp: Option<ProfileName>,
    pub(crate) apparmor: Option<ProfileName>,
}

/// A container's `securityContext`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) capabilities: Option<(Vec<String>, Vec<String>)>,
    pub(crate) privileged: Option<bool>,
    pub(crate) selinux: Option<api::SeLinuxOption>,
    pub(crate) run_as_user: Option<i64>,
    pub(crate) run_as_group: Option<i64>,
    pub(crate) run_as_non_root: Option<bool>,
    pub(crate) read_only_root: bool,
    pub(crate) escalation: Option<bool>,
    pub(crate) proc_mount: String,
    pub(crate) seccomp: Option<ProfileName>,
    pub(crate) apparmor: Option<ProfileName>,
}

pub(crate) fn read_pod_security(mut fields: Fields<'_>) -> PodSecurity {
    let sysctls = fields.each("sysctls", |mut sysctl| {
        let read = (sysctl.needed("name"), sysctl.text("value"));
        sysctl.close();
        read
    });
    let security = PodSecurity {
        selinux: fields.object("seLinuxOptions").map(read_selinux),
        run_as_user: fields.integer("runAsUser"),
        run_as_group: fields.integer("runAsGroup"),
        run_as_non_root: fields.maybe_flag("runAsNonRoot"),
        supplemental_groups: fields.integers("supplementalGroups"),
        groups_policy: fields.text("supplementalGroupsPolicy"),
        fs_group: fields.integer("fsGroup"),
        sysctls: sysctls.into_iter().collect(),
        seccomp: fields.object("seccompProfile").map(read_profile),
        apparmor: fields.object("appArmorProfile").map(read_profile),
    };
    if !["", "Merge", "Strict"].contains(&security.groups_policy.as_str()) {
        fields.refuse("supplementalGroupsPolicy", "must be Merge or Strict");
    }
    // How the kubelet changes the owner of volumes, and how it labels them: no field of a request.
    fields.skip(&["fsGroupChangePolicy", "seLinuxChangePolicy"]);
    fields.not_translated("windowsOptions");
    fields.close();
    security
}

pub(crate) fn read_security(mut fields: Fields<'_>) -> Security {
    let security = Security {
        capabilities: fields.object("capabilities").map(|mut capabilities| {
            let read = (capabilities.texts("add"), capabilities.texts("drop"));
            capabilities.close();
            read
        }),
        privileged: fields.maybe_flag("privileged"),
        selinux: fields.object("seLinuxOptions").map(read_selinux),
        run_as_user: fields.integer("runAsUser"),
        run_as_group: fields.integer("runAsGroup"),
        run_as_non_root: fields.maybe_flag("runAsNonRoot"),
        read_only_root: fields.flag("readOnlyRootFilesystem"),
        escalation: fields.maybe_flag("allowPrivilegeEscalation"),
        proc_mount: fields.text("procMount"),
        seccomp: fields.object("seccompProfile").map(read_profile),
        apparmor: fields.object("appArmorProfile").map(read_profile),
    };
    if !["", "Default", "Unmasked"].contains(&security.proc_mount.as_str()) {
        fields.refuse("procMount", "must be Default or Unmasked");
    }
    fields.not_translated("windowsOptions");
    fields.close();
    security
}

fn read_selinux(mut fields: Fields<'_>) -> api::SeLinuxOption {
    let option = api::SeLinuxOption {
        user: fields.text("user"),
        role: fields.text("role"),
        r#type: fields.text("type"),
        level: fields.text("level"),
    };
    fields.close();
    option
}

fn read_profile(mut fields: Fields<'_>) -> ProfileName {
    let profile = ProfileName {
        kind: fields.needed("type"),
        localhost: fields.maybe_text("localhostProfile"),
    };
    match (profile.kind.as_str(), &profile.localhost) {
        ("RuntimeDefault" | "Unconfined", _) | ("Localhost", Some(_)) => {}
        ("Localhost", None) => fields.refuse("localhostProfile", "is missing"),
        _ => fields.refuse("type", "must be RuntimeDefault, Unconfined or Localhost"),
    }
    fields.close();
    profile
}

/// What a container really runs with: its own word first, the pod's where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) selinux: Option<api::SeLinuxOption>,
    pub(crate) run_as_user: Option<i64>,
    pub(crate) run_as_group: Option<i64>,
    pub(crate) run_as_non_root: bool,
    pub(crate) seccomp: Option<ProfileName>,
    pub(crate) apparmor: Option<ProfileName>,
}

pub(crate) fn effective(pod: &PodSecurity, container: &Security) -> Effective {
    Effective {
        selinux: container.selinux.clone().or_else(|| pod.selinux.clone()),
        run_as_user: container.run_as_user.or(pod.run_as_user),
        run_as_group: container.run_as_group.or(pod.run_as_group),
        run_as_non_root: container
            .run_as_non_root
            .or(pod.run_as_non_root)
            .unwrap_or_default(),
        seccomp: container.seccomp.clone().or_else(|| pod.seccomp.clone()),
        apparmor: container.apparmor.clone(),
    }
}
