//! `containers`: every key, compiled and judged in the order of the language. Pure.

use super::annotations::{self, Annotations};
use super::capabilities::{self, Capabilities};
use super::devices::{self, Devices};
use super::host_namespaces::{self, HostNamespaces};
use super::host_path::{self, HostPaths};
use super::host_ports::{self, HostPorts};
use super::profiles::{self, Profiles};
use super::propagation::{self, Propagations};
use super::runtime_handlers::{self, RuntimeHandlers};
use super::se_linux::{self, SeLinuxTypes};
use super::sysctls::{self, Sysctls};
use super::volumes::{self, Volumes};
use super::{Broken, ByImage, ContainerCase, escalation, groups, log_directory, privileged};
use super::{proc_mount, root};
use crate::policy::compile::{At, Notes};
use crate::policy::document::{
    AllowDeny, ContainersDoc, DenyOnly, GroupsDoc, LogDirectoryDoc, ProcMountDoc, RequireOnly,
    RootMode,
};
use crate::request::{Container, MountSource, Sandbox};

/// What `containers` asks for; an absent key is not judged.
#[derive(Clone, Debug)]
pub(crate) struct Containers {
    pub(crate) privileged: Option<DenyOnly>,
    pub(crate) root: Option<RootMode>,
    pub(crate) host_path: Option<HostPaths>,
    pub(crate) host_namespaces: Option<HostNamespaces>,
    host_ports: Option<HostPorts>,
    capabilities: Option<Capabilities>,
    no_new_privileges: Option<RequireOnly>,
    seccomp: Option<Profiles>,
    app_armor: Option<Profiles>,
    se_linux: Option<SeLinuxTypes>,
    proc_mount: Option<ProcMountDoc>,
    propagation: Option<Propagations>,
    sysctls: Option<Sysctls>,
    groups: Option<GroupsDoc>,
    devices: Option<Devices>,
    annotations: Option<Annotations>,
    runtime_handlers: Option<RuntimeHandlers>,
    log_directory: Option<LogDirectoryDoc>,
    volumes: Option<Volumes>,
    /// Exec, Attach and PortForward.
    pub(crate) exec: Option<AllowDeny>,
    /// ExecSync.
    pub(crate) exec_sync: Option<AllowDeny>,
    /// CheckpointContainer.
    pub(crate) checkpoint: Option<AllowDeny>,
}

pub(super) fn compile(doc: &ContainersDoc, notes: &mut Notes, at: &At) -> Containers {
    if *doc == ContainersDoc::default() {
        notes.error(
            at,
            "`containers` judges nothing; add one of its keys, e.g. privileged, root, hostPath"
                .to_owned(),
        );
    }
    let down = |key: &str| at.down([key]);
    Containers {
        privileged: doc.privileged,
        root: doc.root,
        host_path: (doc.host_path.as_ref())
            .map(|doc| host_path::compile(doc, notes, &down("hostPath"))),
        host_namespaces: (doc.host_namespaces.as_ref())
            .map(|doc| host_namespaces::compile(doc, notes, &down("hostNamespaces"))),
        host_ports: (doc.host_ports.as_ref())
            .map(|doc| host_ports::compile(doc, notes, &down("hostPorts"))),
        capabilities: (doc.capabilities.as_ref())
            .map(|doc| capabilities::compile(doc, notes, &down("capabilities"))),
        no_new_privileges: doc.no_new_privileges,
        seccomp: (doc.seccomp.as_ref()).map(|doc| profiles::compile(doc, notes, &down("seccomp"))),
        app_armor: (doc.app_armor.as_ref())
            .map(|doc| profiles::compile(doc, notes, &down("appArmor"))),
        se_linux: (doc.se_linux.as_ref())
            .map(|doc| se_linux::compile(doc, notes, &down("seLinux"))),
        proc_mount: doc.proc_mount,
        propagation: (doc.propagation.as_ref())
            .map(|doc| propagation::compile(doc, notes, &down("propagation"))),
        sysctls: (doc.sysctls.as_ref()).map(|doc| sysctls::compile(doc, notes, &down("sysctls"))),
        groups: doc.groups,
        devices: (doc.devices.as_ref()).map(|doc| devices::compile(doc, notes, &down("devices"))),
        annotations: (doc.annotations.as_ref())
            .map(|doc| annotations::compile(doc, notes, &down("annotations"))),
        runtime_handlers: (doc.runtime_handlers.as_ref())
            .map(|doc| runtime_handlers::compile(doc, notes, &down("runtimeHandlers"))),
        log_directory: doc.log_directory,
        volumes: (doc.volumes.as_ref()).map(|doc| volumes::compile(doc, notes, &down("volumes"))),
        exec: doc.exec,
        exec_sync: doc.exec_sync,
        checkpoint: doc.checkpoint,
    }
}

impl Containers {
    /// Every way in which a container breaks the check, in the order of the language. What is of
    /// the whole sandbox is judged here too: a policy may be newer than the sandbox, and a rule
    /// that is chosen by image is asked here only.
    pub(super) fn judge(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        if let Some(DenyOnly::Deny) = self.privileged {
            privileged::judge(case, broken);
        }
        if let Some(mode) = self.root {
            root::judge(mode, case, broken);
        }
        if let Some(paths) = &self.host_path {
            paths.judge(case, broken);
        }
        if let Some(namespaces) = &self.host_namespaces {
            namespaces.judge_container(case, broken);
        }
        if let Some(ports) = &self.host_ports {
            ports.judge(case, broken);
        }
        if let Some(capabilities) = &self.capabilities {
            capabilities.judge(case, broken);
        }
        if let Some(RequireOnly::Require) = self.no_new_privileges {
            escalation::judge(case, broken);
        }
        if let Some(profiles) = &self.seccomp {
            profiles.judge_seccomp(case, broken);
        }
        if let Some(profiles) = &self.app_armor {
            profiles.judge_app_armor(case, broken);
        }
        if let Some(types) = &self.se_linux {
            types.judge(case, broken);
        }
        if let Some(ProcMountDoc::Masked) = self.proc_mount {
            proc_mount::judge_effective(case, broken);
        }
        if let Some(propagations) = &self.propagation {
            propagations.judge(case, broken);
        }
        if let Some(doc) = self.groups {
            groups::judge(doc, case, broken);
        }
        if let Some(devices) = &self.devices {
            devices.judge(case, broken);
        }
        if let Some(annotations) = &self.annotations {
            annotations.judge(case, broken);
        }
        if let Some(LogDirectoryDoc::Pod) = self.log_directory {
            log_directory::judge(case, broken);
        }
        if let Some(volumes) = &self.volumes {
            volumes.judge(case, broken);
        }
        self.judge_sandbox_too(case.sandbox, case.handler, case.by_image, broken);
    }

    /// Every way in which a sandbox alone breaks the check.
    pub(super) fn judge_sandbox(&self, sandbox: &Sandbox, handler: &str, broken: &mut Vec<Broken>) {
        if let Some(DenyOnly::Deny) = self.privileged {
            privileged::judge_sandbox(sandbox, broken);
        }
        if let Some(namespaces) = &self.host_namespaces {
            namespaces.judge_sandbox(sandbox, broken);
        }
        self.judge_sandbox_too(sandbox, handler, ByImage::No, broken);
    }

    fn judge_sandbox_too(
        &self,
        sandbox: &Sandbox,
        handler: &str,
        by_image: ByImage,
        broken: &mut Vec<Broken>,
    ) {
        if let Some(ports) = &self.host_ports {
            ports.judge_sandbox(sandbox, broken);
        }
        // The label of a neighbour is not this container's.
        if let (Some(types), ByImage::No) = (&self.se_linux, by_image) {
            types.judge_sandbox(sandbox, broken);
        }
        if let Some(sysctls) = &self.sysctls {
            sysctls.judge_sandbox(sandbox, broken);
        }
        if let Some(annotations) = &self.annotations {
            annotations.judge_sandbox(sandbox, broken);
        }
        if let Some(handlers) = &self.runtime_handlers {
            handlers.judge(sandbox, handler, broken);
        }
        if let Some(LogDirectoryDoc::Pod) = self.log_directory {
            log_directory::judge_sandbox(sandbox, broken);
        }
    }

    /// Whether the rule says which runtime handlers may be used.
    pub(crate) fn judges_handlers(&self) -> bool {
        self.runtime_handlers.is_some()
    }

    /// Whether judging needs the image's USER.
    pub(super) fn needs_image_user(&self, sandbox: &Sandbox, container: &Container) -> bool {
        self.root
            .is_some_and(|mode| root::needs_image_user(mode, sandbox, container))
    }

    /// Whether judging needs to know what stands behind the mounts.
    pub(super) fn needs_mounts(&self, container: &Container) -> bool {
        (self.host_path.is_some() || self.volumes.is_some()) && has_host_path(container)
    }
}

/// Whether a mount names a path of the host.
pub(super) fn has_host_path(container: &Container) -> bool {
    let mounts = container.mounts.iter();
    mounts
        .into_iter()
        .any(|mount| matches!(mount.source, MountSource::HostPath(_)))
}
