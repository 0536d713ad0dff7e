//! The rules: one check, one file. Pure.

mod annotations;
mod capabilities;
mod containers;
mod devices;
mod digest;
mod escalation;
mod groups;
mod host_namespaces;
mod host_path;
mod host_ports;
mod log_directory;
mod pod_security;
mod privileged;
mod proc_mount;
mod profiles;
mod propagation;
mod registries;
mod resources;
mod root;
mod runtime_handlers;
mod se_linux;
mod sysctls;
mod volumes;

use super::compile::{At, Notes, shown};
use super::document::{DigestMode, RuleDoc};
use super::evidence::{CreateEvidence, MountOrigin};
use super::pattern::Proven;
use super::words::Text;
use super::{Code, Denial};
use crate::image::Reference;
use crate::request::{Container, Sandbox};

pub(crate) use containers::Containers;
pub(crate) use digest::Moment;
pub(crate) use pod_security::{OfImage, PodSecurity};
pub(crate) use registries::Registries;
pub use resources::Amounts;
pub(crate) use resources::{Resources, fill};

/// What one rule asks for.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    Registries(Registries),
    Digest(DigestMode),
    Containers(Box<Containers>),
    PodSecurity(Box<PodSecurity>),
    Resources(Resources),
}

/// A check of containers: what `containers` and `podSecurity` have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PodCheck<'p> {
    Containers(&'p Containers),
    PodSecurity(&'p PodSecurity),
}

impl Check {
    /// The check, if it is one of what a container or a sandbox may be.
    pub(crate) fn of_pods(&self) -> Option<PodCheck<'_>> {
        match self {
            Self::Containers(containers) => Some(PodCheck::Containers(containers)),
            Self::PodSecurity(standards) => Some(PodCheck::PodSecurity(standards)),
            Self::Registries(_) | Self::Digest(_) | Self::Resources(_) => None,
        }
    }

    /// Whether a rule with it makes a pod one that policy speaks of (`unmatched.pods`).
    pub(crate) fn is_of_pods(&self) -> bool {
        match self {
            Self::Containers(_) | Self::PodSecurity(_) | Self::Resources(_) => true,
            Self::Registries(_) | Self::Digest(_) => false,
        }
    }
}

impl PodCheck<'_> {
    /// Every way in which a container breaks the check.
    pub(crate) fn judge(self, case: &ContainerCase<'_>, image: Option<OfImage<'_>>) -> Vec<Broken> {
        let mut broken = Vec::new();
        match self {
            Self::Containers(containers) => containers.judge(case, &mut broken),
            Self::PodSecurity(standards) => standards.judge(case, image, &mut broken),
        }
        broken
    }

    /// Every way in which a sandbox alone breaks the check; `handler` as containerd takes it.
    pub(crate) fn judge_sandbox(self, sandbox: &Sandbox, handler: &str) -> Vec<Broken> {
        let mut broken = Vec::new();
        match self {
            Self::Containers(containers) => containers.judge_sandbox(sandbox, handler, &mut broken),
            Self::PodSecurity(standards) => standards.judge_sandbox(sandbox, handler, &mut broken),
        }
        broken
    }

    /// Whether judging needs the image's USER.
    pub(crate) fn needs_image_user(self, sandbox: &Sandbox, container: &Container) -> bool {
        match self {
            Self::Containers(containers) => containers.needs_image_user(sandbox, container),
            Self::PodSecurity(standards) => standards.needs_image_user(sandbox, container),
        }
    }

    /// Whether judging needs to know what stands behind the mounts.
    pub(crate) fn needs_mounts(self, container: &Container) -> bool {
        match self {
            Self::Containers(containers) => containers.needs_mounts(container),
            Self::PodSecurity(_) => containers::has_host_path(container),
        }
    }
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

impl Broken {
    /// The value that its text quotes last. What that is, is the text's affair: fit to be compared
    /// only where the text ends with it.
    fn value(&self) -> Option<&str> {
        match self {
            Self::Plain(_, text) | Self::Evidence(_, text) => text.last_value(),
            Self::Missing(_) | Self::Wait => None,
        }
    }
}

/// A container and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContainerCase<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) container: &'a Container,
    /// The sandbox's runtime handler, in containerd's own word.
    pub(crate) handler: &'a str,
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
        let containers = containers::compile(doc, notes, &at.down(["containers"]));
        checks.push(Check::Containers(Box::new(containers)));
    }
    calls_name_no_image(rule, notes, at);
    if let Some(doc) = &rule.pod_security {
        let standards = pod_security::compile(doc, notes, &at.down(["podSecurity"]));
        checks.push(Check::PodSecurity(Box::new(standards)));
    }
    if let Some(doc) = &rule.resources {
        let resources = resources::compile(doc, notes, &at.down(["resources"]));
        checks.push(Check::Resources(resources));
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
                "rule `{}` has no check; add one of registries, digest, containers, podSecurity, resources",
                shown(&rule.name)
            ),
        );
    }
    checks.into_iter().next()
}

/// Calls about a container that runs do not say its image.
fn calls_name_no_image(rule: &RuleDoc, notes: &mut Notes, at: &At) {
    if rule.images.is_none() && rule.skip_images.is_none() {
        return;
    }
    if let Some(doc) = &rule.containers {
        for (key, said) in [
            ("exec", doc.exec),
            ("execSync", doc.exec_sync),
            ("checkpoint", doc.checkpoint),
        ] {
            if said.is_some() {
                notes.error(
                    &at.down(["containers", key]),
                    format!(
                        "such calls do not say the image, so `{key}` cannot be in a rule with images or skipImages; give it a rule of its own"
                    ),
                );
            }
        }
    }
    if rule.resources.is_some() {
        notes.warn(
            &at.down(["resources"]),
            "a change of a running container's resources does not say the image: there the rule speaks of every container of the pods that match"
                .to_owned(),
        );
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
        Check::Containers(_) | Check::PodSecurity(_) | Check::Resources(_) => Outcome::Pass,
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

/// What containerd gives a privileged container, whatever else its request says.
fn by_privilege(case: &ContainerCase<'_>, code: Code, words: &'static str) -> Broken {
    let text = case.container_text().words(words);
    let text = text.words(", because it is privileged");
    Broken::Plain(code, text.advice("remove securityContext.privileged"))
}

/// Text that begins with the pod's name.
fn pod_text(sandbox: &Sandbox) -> Text {
    Text::new()
        .words("pod ")
        .value(&format!("{}/{}", sandbox.pod.namespace, sandbox.pod.name))
}
