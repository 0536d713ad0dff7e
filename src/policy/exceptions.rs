//! Stage: exceptions: which rules are waived for a pod, by image or for all of it. Pure.
//!
//! A rule is waived only if one exception alone matches pod and image; two never add up.

use super::compile::{At, Notes, check_name, not_empty, patterns, shown};
use super::document::{ExceptionSpec, Metadata};
use super::pattern::{self, ImagePattern, Proven, Tri};
use super::scope::glob_matches;
use crate::image::{PatternUse, Reference};
use crate::request::Pod;
use crate::time::Timestamp;

/// One exception, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    pub(crate) policy: String,
    pub(crate) rules: Vec<String>,
    namespaces: Option<Vec<String>>,
    images: Option<Vec<ImagePattern>>,
    expires: Timestamp,
}

pub(super) fn compile(
    metadata: &Metadata,
    spec: &ExceptionSpec,
    notes: &mut Notes,
    at: &At,
) -> Exception {
    check_name(&metadata.name, notes, &at.down(["metadata", "name"]));
    let at = at.down(["spec"]);
    not_empty(spec.rules.len(), notes, &at.down(["rules"]));
    if spec.matches.namespaces.is_none() && spec.matches.images.is_none() {
        notes.error(
            &at.down(["match"]),
            "an exception for every pod is no exception; name namespaces or images".to_owned(),
        );
    }
    if let Some(list) = &spec.matches.namespaces {
        not_empty(list.len(), notes, &at.down(["match", "namespaces"]));
    }
    if spec.reason.trim().is_empty() {
        notes.error(
            &at.down(["reason"]),
            "say why, e.g. the ticket that ends it".to_owned(),
        );
    }
    let expires = Timestamp::parse_rfc3339(&spec.expires).unwrap_or_else(|| {
        notes.error(
            &at.down(["expires"]),
            format!(
                "`{}` is no moment; write it in UTC, e.g. 2026-12-31T00:00:00Z",
                shown(&spec.expires)
            ),
        );
        Timestamp::from_unix_seconds(0)
    });
    Exception {
        policy: spec.policy.clone(),
        rules: spec.rules.clone(),
        namespaces: spec.matches.namespaces.clone(),
        images: spec.matches.images.as_ref().map(|list| {
            let at = at.down(["match", "images"]);
            patterns(list, PatternUse::Exception, notes, &at)
        }),
        expires,
    }
}

impl Exception {
    /// Whether it speaks of this rule for this pod now, whatever the image.
    fn speaks(&self, policy: &str, rule: &str, pod: &Pod, now: Timestamp) -> bool {
        let namespace = |globs: &Vec<String>| {
            globs
                .iter()
                .any(|glob| glob_matches(glob, &pod.namespace))
        };
        self.policy == policy
            && self.rules.iter().any(|own| own == rule)
            && now < self.expires
            && self.namespaces.as_ref().is_none_or(namespace)
    }

    /// When it ends.
    pub(crate) fn expires(&self) -> Timestamp {
        self.expires
    }
}

/// Whether an exception waives the rule for the pod as a whole, whatever its images.
pub(crate) fn waives_pod(
    exceptions: &[Exception],
    (policy, rule): (&str, &str),
    pod: &Pod,
    now: Timestamp,
) -> bool {
    exceptions
        .iter()
        .any(|one| one.images.is_none() && one.speaks(policy, rule, pod, now))
}

/// Whether an exception by image could waive the rule for this pod: then the rule is judged per
/// container.
pub(crate) fn may_waive_by_image(
    exceptions: &[Exception],
    (policy, rule): (&str, &str),
    pod: &Pod,
    now: Timestamp,
) -> bool {
    exceptions
        .iter()
        .any(|one| one.images.is_some() && one.speaks(policy, rule, pod, now))
}

/// Whether an exception waives the rule for this image of the pod.
pub(crate) fn waives_image(
    exceptions: &[Exception],
    (policy, rule): (&str, &str),
    pod: &Pod,
    now: Timestamp,
    reference: &Reference,
    proven: Proven<'_>,
) -> Tri {
    let matching = exceptions
        .iter()
        .filter(|one| one.speaks(policy, rule, pod, now));
    Tri::any(matching.map(|one| match &one.images {
        Some(images) => pattern::any(images, reference, proven),
        None => Tri::Yes,
    }))
}
