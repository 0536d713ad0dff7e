//! The rules: one check, one file. Pure.

mod digest;
mod host_namespaces;
mod host_path;
mod privileged;
mod registries;
mod root;

use super::compile::{At, Notes, shown};
use super::document::{ContainersDoc, DenyOnly, DigestMode, RootMode, RuleDoc};
use super::evidence::{CreateEvidence, MountOrigin};
use super::pattern::Proven;
use super::words::Text;
use super::{Code, Denial};
use crate::image::Reference;
use crate::request::{Container, MountSource, Sandbox};

pub(crate) use digest::Moment;
pub(crate) use host_namespaces::HostNamespaces;
pub(crate) use host_path::HostPaths;
pub(crate) use registries::Registries;

/// What one rule asks for.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    Registries(Registries),
    Digest(DigestMode),
    Containers(Containers),
}

/// What `containers` asks for; an absent key is not judged.
#[derive(Clone, Debug)]
pub(crate) struct Containers {
    pub(crate) privileged: Option<DenyOnly>,
    pub(crate) root: Option<RootMode>,
    pub(crate) host_path: Option<HostPaths>,
    pub(crate) host_namespaces: Option<HostNamespaces>,
}

/// The answer of an image check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Fail(Code, Text),
    /// It depends on evidence that is not there yet.
    Wait,
}

/// One way in which a container or a sandbox breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Told from the request alone.
    Plain(Code, Text),
    /// Told with evidence.
    Evidence(Code, Text),
    /// The evidence could not be had.
    Missing(Denial),
    /// It depends on evidence that was not gathered yet.
    Wait,
}

/// A container and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContainerCase<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) container: &'a Container,
    pub(crate) by_image: ByImage,
    pub(crate) evidence: Option<&'a CreateEvidence>,
    pub(crate) guarded: &'a [String],
}

/// Whether the rule is chosen by image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByImage {
    Yes,
    No,
}

/// Compiles the one check of a rule. `None` if there is none, or more than one.
pub(crate) fn compile(rule: &RuleDoc, notes: &mut Notes, at: &At) -> Option<Check> {
    let mut checks = Vec::new();
    if let Some(doc) = &rule.registries {
        checks.push(Check::Registries(registries::compile(
            doc,
            notes,
            &at.down(["registries"]),
        )));
    }
    if let Some(mode) = rule.digest {
        checks.push(Check::Digest(mode));
    }
    if let Some(doc) = &rule.containers {
        checks.push(Check::Containers(compile_containers(
            doc,
            notes,
            &at.down(["containers"]),
        )));
    }
    if checks.len() > 1 {
        notes.error(
            at,
            format!(
                "rule `{}` has {} checks; give each its own rule",
                shown(&rule.name),
                checks.len()
            ),
        );
    }
    if checks.is_empty() {
        notes.error(
            at,
            format!(
                "rule `{}` has no check; add one of registries, digest, containers",
                shown(&rule.name)
            ),
        );
    }
    checks.into_iter().next()
}

fn compile_containers(doc: &ContainersDoc, notes: &mut Notes, at: &At) -> Containers {
    if *doc == ContainersDoc::default() {
        notes.error(
            at,
            "`containers` judges nothing; add one of privileged, root, hostPath, hostNamespaces"
                .to_owned(),
        );
    }
    Containers {
        privileged: doc.privileged,
        root: doc.root,
        host_path: doc
            .host_path
            .as_ref()
            .map(|doc| host_path::compile(doc, notes, &at.down(["hostPath"]))),
        host_namespaces: doc
            .host_namespaces
            .as_ref()
            .map(|doc| host_namespaces::compile(doc, notes, &at.down(["hostNamespaces"]))),
    }
}

/// Judges one image by an image check; a check of containers passes every image.
pub(crate) fn judge_image(
    check: &Check,
    object: &'static str,
    reference: &Reference,
    proven: Proven<'_>,
    moment: Moment,
) -> Outcome {
    match check {
        Check::Registries(registries) => registries.judge(object, reference, proven),
        Check::Digest(mode) => digest::judge(*mode, object, reference, proven, moment),
        Check::Containers(_) => Outcome::Pass,
    }
}

impl Containers {
    /// Every way in which a container breaks the check, in the order of the language.
    pub(crate) fn judge(&self, case: &ContainerCase<'_>) -> Vec<Broken> {
        let mut broken = Vec::new();
        if let Some(DenyOnly::Deny) = self.privileged {
            privileged::judge(case, &mut broken);
        }
        if let Some(mode) = self.root {
            root::judge(mode, case, &mut broken);
        }
        if let Some(paths) = &self.host_path {
            paths.judge(case, &mut broken);
        }
        if let Some(namespaces) = &self.host_namespaces {
            namespaces.judge_container(case, &mut broken);
        }
        broken
    }

    /// Every way in which a sandbox alone breaks the check.
    pub(crate) fn judge_sandbox(&self, sandbox: &Sandbox) -> Vec<Broken> {
        let mut broken = Vec::new();
        if let Some(DenyOnly::Deny) = self.privileged {
            privileged::judge_sandbox(sandbox, &mut broken);
        }
        if let Some(namespaces) = &self.host_namespaces {
            namespaces.judge_sandbox(sandbox, &mut broken);
        }
        broken
    }

    /// Whether judging needs the image's USER.
    pub(crate) fn needs_image_user(&self, sandbox: &Sandbox, container: &Container) -> bool {
        self.root
            .is_some_and(|mode| root::needs_image_user(mode, sandbox, container))
    }

    /// Whether judging needs to know what stands behind the mounts.
    pub(crate) fn needs_mounts(&self, container: &Container) -> bool {
        self.host_path.is_some()
            && container
                .mounts
                .iter()
                .any(|mount| matches!(mount.source, MountSource::HostPath(_)))
    }
}

impl ContainerCase<'_> {
    /// Text that begins with the container's name.
    fn container_text(&self) -> Text {
        Text::new().words("container ").value(&self.container.name)
    }

    /// What stands behind mount `index`, once evidence was gathered.
    fn origin(&self, index: usize) -> Option<&MountOrigin> {
        self.evidence
            .and_then(|evidence| evidence.mounts.get(index))
    }
}

/// Text that begins with the pod's name.
fn pod_text(sandbox: &Sandbox) -> Text {
    Text::new()
        .words("pod ")
        .value(&format!("{}/{}", sandbox.pod.namespace, sandbox.pod.name))
}
