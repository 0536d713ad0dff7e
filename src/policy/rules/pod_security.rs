//! `podSecurity`: the levels of the Pod Security Standards, on what the CRI shows. Pure.
//!
//! The checks and their versions are those of Kubernetes' admission library. What the CRI cannot
//! show is said by the compiler ([`warnings`]) and in docs/policy.md, control by control.

mod controls;
mod values;
mod versions;

use super::{Broken, ByImage, ContainerCase};
use crate::image::PatternUse;
use crate::image::Reference;
use crate::policy::compile::{At, Notes, not_empty, patterns, shown};
use crate::policy::document::{
    LevelDoc, PodSecurityDoc, PodSecurityExcludeDoc, PodSecurityExemptDoc,
};
use crate::policy::paths;
use crate::policy::pattern::{self, ImagePattern, Proven, Tri};
use crate::request::{Container, Sandbox};

pub(crate) use self::controls::Control;
use self::versions::Minor;

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct PodSecurity {
    level: LevelDoc,
    version: Minor,
    excludes: Vec<Exclude>,
    exempt_namespaces: Vec<String>,
    exempt_handlers: Vec<String>,
}

#[derive(Clone, Debug)]
struct Exclude {
    control: Control,
    images: Option<Vec<ImagePattern>>,
    values: Option<Vec<String>>,
}

/// One control that is not kept.
pub(super) struct Breach {
    control: Control,
    /// What `exclude.values` can name: never a word that the pod chooses for something else. `None`
    /// where no value tells what is broken.
    value: Option<String>,
    broken: Broken,
}

/// The image of the container that is judged, as far as it is known; `None` for a sandbox.
#[derive(Clone, Copy)]
pub(crate) struct OfImage<'a> {
    pub(crate) reference: &'a Reference,
    pub(crate) proven: Proven<'a>,
    /// Whether evidence is still to come.
    pub(crate) early: bool,
}

pub(super) fn compile(doc: &PodSecurityDoc, notes: &mut Notes, at: &At) -> PodSecurity {
    let version = Minor::parse(&doc.version).unwrap_or_else(|text| {
        notes.error(&at.down(["version"]), text);
        Minor::LATEST
    });
    warnings(doc.level, version, notes, at);
    let mut excludes = Vec::new();
    for (index, exclude) in doc.exclude.iter().flatten().enumerate() {
        let at = at.down(["exclude", &index.to_string()]);
        let compiled = compile_exclude(exclude, notes, &at);
        if let Some(exclude) = &compiled {
            warn_of_exclude(exclude, doc.level, version, notes, &at);
        }
        excludes.extend(compiled);
    }
    if doc.exempt == Some(PodSecurityExemptDoc::default()) {
        notes.error(
            &at.down(["exempt"]),
            "`exempt` exempts nothing; add namespaces or runtimeHandlers".to_owned(),
        );
    }
    none_in_reach(&excludes, notes, &at.down(["exclude"]));
    let exempt = doc.exempt.clone().unwrap_or_default();
    for (index, name) in exempt.namespaces.iter().flatten().enumerate() {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(known) {
            notes.error(
                &at.down(["exempt", "namespaces", &index.to_string()]),
                format!(
                    "`{}` can be no namespace; `exempt` takes names of namespaces, whole, without `*`",
                    shown(name)
                ),
            );
        }
    }
    for (key, list) in [
        ("namespaces", &exempt.namespaces),
        ("runtimeHandlers", &exempt.runtime_handlers),
    ] {
        if let Some(list) = list {
            not_empty(list.len(), notes, &at.down(["exempt", key]));
        }
    }
    PodSecurity {
        level: doc.level,
        version,
        excludes,
        exempt_namespaces: exempt.namespaces.unwrap_or_default(),
        exempt_handlers: exempt.runtime_handlers.unwrap_or_default(),
    }
}

fn compile_exclude(doc: &PodSecurityExcludeDoc, notes: &mut Notes, at: &At) -> Option<Exclude> {
    let Some(control) = Control::parse(&doc.control) else {
        let names: Vec<&str> = Control::ALL.iter().map(|control| control.name()).collect();
        notes.error(
            &at.down(["control"]),
            format!(
                "`{}` is no control; the controls are {}",
                shown(&doc.control),
                names.join(", ")
            ),
        );
        return None;
    };
    if doc.images.is_some() && control.is_of_the_pod() {
        notes.error(
            &at.down(["images"]),
            format!(
                "`{}` is a control of the whole pod; leave images out, or exclude by namespace",
                control.name()
            ),
        );
    }
    if let Some(values) = &doc.values {
        check_values(control, values, notes, &at.down(["values"]));
    }
    Some(Exclude {
        control,
        images: doc
            .images
            .as_ref()
            .map(|list| patterns(list, PatternUse::Skip, notes, &at.down(["images"]))),
        values: doc.values.clone(),
    })
}

/// A value that no container can have waives nothing, and was meant to.
fn check_values(control: Control, values: &[String], notes: &mut Notes, at: &At) {
    not_empty(values.len(), notes, at);
    for (index, value) in values.iter().enumerate() {
        if let Err(known) = control.check_value(value) {
            notes.error(
                &at.down([&index.to_string()]),
                format!(
                    "`{}` is no value of `{}`: {known}",
                    shown(value),
                    control.name()
                ),
            );
        }
    }
}

/// A host path below another one that may be mounted could be replaced by who mounts that
/// (docs/decisions/0031).
fn none_in_reach(excludes: &[Exclude], notes: &mut Notes, at: &At) {
    let of_hosts = excludes
        .iter()
        .filter(|one| one.control == Control::HostPath);
    let paths: Vec<&String> = of_hosts
        .filter_map(|one| one.values.as_ref())
        .flatten()
        .collect();
    for above in &paths {
        let below = paths
            .iter()
            .find(|path| *path != above && paths::covers(above, path));
        if let Some(below) = below {
            let (above, below) = (shown(above), shown(below));
            notes.error(
                at,
                format!(
                    "`{below}` is below `{above}`, and a container that mounts the one can replace the other; name one of them"
                ),
            );
        }
    }
}

/// What an exclusion waives beside what it seems to, and one that waives nothing.
fn warn_of_exclude(exclude: &Exclude, level: LevelDoc, version: Minor, notes: &mut Notes, at: &At) {
    let control = exclude.control;
    if !control.applies(level, version) {
        notes.warn(
            &at.down(["control"]),
            format!(
                "`{}` is not asked at this level and version, so nothing is waived",
                control.name()
            ),
        );
    }
}

/// Each control that the CRI cannot show as the API does, and what is taken instead.
fn warnings(level: LevelDoc, version: Minor, notes: &mut Notes, at: &At) {
    if !Control::Seccomp.applies(level, version) {
        notes.warn(
            &at.down(["version"]),
            format!(
                "control `{}`: before v1.19 it speaks of annotations that no supported kubelet reads; they are not judged",
                Control::Seccomp.name()
            ),
        );
    }
    for control in Control::ALL {
        if !control.applies(level, version) {
            continue;
        }
        if let Some(text) = control.not_shown(level) {
            notes.warn(
                &at.down(["level"]),
                format!("control `{}`: {text}", control.name()),
            );
        }
    }
}

impl PodSecurity {
    /// Runtime handlers of which pods are exempt: the tenant's choice, so that another rule must
    /// say who may use them.
    pub(crate) fn exempt_handlers(&self) -> &[String] {
        &self.exempt_handlers
    }

    /// Whether an image could take a control away: then its name must be proven, and controls of
    /// the container are judged per container.
    pub(crate) fn is_by_image(&self) -> bool {
        self.excludes.iter().any(|exclude| exclude.images.is_some())
    }

    /// The patterns of exclusions by image.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &ImagePattern> {
        self.excludes
            .iter()
            .filter_map(|exclude| exclude.images.as_deref())
            .flatten()
    }

    /// Whether one of the exclusions by image speaks of this image.
    pub(crate) fn names(&self, reference: &Reference, proven: Proven<'_>) -> Tri {
        Tri::any(
            self.excludes
                .iter()
                .filter_map(|exclude| exclude.images.as_deref())
                .map(|images| pattern::any(images, reference, proven)),
        )
    }

    pub(super) fn judge_sandbox(&self, sandbox: &Sandbox, handler: &str, out: &mut Vec<Broken>) {
        if self.is_exempt(sandbox, handler) {
            return;
        }
        let mut breaches = controls::of_sandbox(self.level, self.version, sandbox);
        // What an image could waive is asked with each container.
        breaches.retain(|breach| !self.excludes.iter().any(|one| one.may_waive(breach)));
        self.keep(breaches, None, out);
    }

    pub(super) fn judge(
        &self,
        case: &ContainerCase<'_>,
        image: Option<OfImage<'_>>,
        out: &mut Vec<Broken>,
    ) {
        if self.is_exempt(case.sandbox, case.handler) {
            return;
        }
        let asked = |control| match case.by_image {
            ByImage::No if !self.is_waived_by_image(control) => ByImage::No,
            ByImage::No | ByImage::Yes => ByImage::Yes,
        };
        let breaches = controls::of_container(self.level, self.version, case, asked);
        self.keep(breaches, image, out);
    }

    /// Whether judging needs the image's USER.
    pub(super) fn needs_image_user(&self, sandbox: &Sandbox, container: &Container) -> bool {
        Control::RunAsNonRoot.applies(self.level, self.version)
            && controls::needs_image_user(self.version, sandbox, container)
    }

    fn is_waived_by_image(&self, control: Control) -> bool {
        let mut excludes = self.excludes.iter();
        excludes.any(|exclude| exclude.control == control && exclude.images.is_some())
    }

    fn is_exempt(&self, sandbox: &Sandbox, handler: &str) -> bool {
        self.exempt_namespaces.contains(&sandbox.pod.namespace)
            || self.exempt_handlers.iter().any(|own| own == handler)
    }

    fn keep(&self, breaches: Vec<Breach>, image: Option<OfImage<'_>>, out: &mut Vec<Broken>) {
        let early = image.is_none_or(|image| image.early);
        for breach in breaches {
            let waived = self.excludes.iter().map(|one| one.waives(&breach, image));
            match Tri::any(waived) {
                Tri::Yes => {}
                Tri::Maybe if early => out.push(Broken::Wait),
                Tri::Maybe | Tri::No => out.push(breach.broken),
            }
        }
    }
}

impl Exclude {
    /// Whether the image decides.
    fn may_waive(&self, breach: &Breach) -> bool {
        self.images.is_some() && self.speaks_of(breach)
    }

    fn speaks_of(&self, breach: &Breach) -> bool {
        let by_value = self.values.as_ref();
        self.control == breach.control
            && by_value.is_none_or(|values| {
                breach
                    .value
                    .as_ref()
                    .is_some_and(|own| values.contains(own))
            })
    }

    /// Only what is sure waives: an image that may be another one does not, once its proof is there.
    fn waives(&self, breach: &Breach, image: Option<OfImage<'_>>) -> Tri {
        if !self.speaks_of(breach) {
            return Tri::No;
        }
        match (&self.images, image) {
            (None, _) => Tri::Yes,
            (Some(_), None) => Tri::No,
            (Some(images), Some(image)) => pattern::any(images, image.reference, image.proven),
        }
    }
}
