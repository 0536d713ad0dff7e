//! Exceptions: which rules of a policy are waived for a pod, by all of its images or by some. Pure.
//!
//! A rule is waived only if one exception alone matches pod and image; two never add up. What is not
//! known counts as not matching: doubt waives nothing.

use super::compile::CompiledPolicy;
use super::document::ExcludeBlock;
use super::pattern::{self, ImagePattern, Proven, Tri};
use super::scope::{self, NodeFacts};
use crate::image::Reference;
use crate::request::Pod;
use crate::time::Timestamp;

/// One exception from a policy, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    pub(crate) name: String,
    /// Rules of the policy that holds it, by their place there.
    pub(crate) rules: Vec<usize>,
    pub(crate) pods: ExcludeBlock,
    /// `None`: whatever the image.
    pub(crate) images: Option<Vec<ImagePattern>>,
    /// From then on it waives nothing.
    pub(crate) expires: Timestamp,
}

/// The exception under which a finding did not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waived {
    /// Its name.
    pub exception: String,
    /// From then on it waives nothing.
    pub expires: Timestamp,
}

/// A policy that speaks of a call, and the exceptions from it that are in force for the pod.
#[derive(Clone, Debug)]
pub(crate) struct Scoped<'p> {
    pub(crate) policy: &'p CompiledPolicy,
    /// For each rule those that name it, by name; nothing at all where none is in force. A rule is
    /// asked for them often, and there may be as many as 1,000.
    exceptions: Vec<Vec<&'p Exception>>,
}

/// What the exceptions from a rule say of one image of the pod.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiver<'p> {
    No,
    By(&'p Exception),
    /// It depends on evidence that is not there yet.
    Open,
}

impl Exception {
    pub(crate) fn is_by_image(&self) -> bool {
        self.images.is_some()
    }

    pub(crate) fn as_waived(&self) -> Waived {
        Waived {
            exception: self.name.clone(),
            expires: self.expires,
        }
    }

    /// Whether it waives the rule for an image of a pod that it matches.
    fn names(&self, reference: &Reference, proven: Proven<'_>) -> Tri {
        match &self.images {
            Some(images) => pattern::any(images, reference, proven),
            None => Tri::Yes,
        }
    }
}

impl<'p> Scoped<'p> {
    /// With the exceptions that match the pod, on this node, at this moment.
    pub(crate) fn of_pod(
        policy: &'p CompiledPolicy,
        pod: &Pod,
        node: &NodeFacts,
        now: Timestamp,
    ) -> Self {
        Self::with(policy, now, |pods| scope::excluded(pods, pod, node))
    }

    /// With the exceptions that may match any pod of this node at this moment.
    pub(crate) fn of_any_pod(policy: &'p CompiledPolicy, node: &NodeFacts, now: Timestamp) -> Self {
        Self::with(policy, now, |pods| scope::excludes_on(pods, node))
    }

    fn with(
        policy: &'p CompiledPolicy,
        now: Timestamp,
        matches: impl Fn(&ExcludeBlock) -> bool,
    ) -> Self {
        let mut exceptions = Vec::new();
        let in_force = |one: &&Exception| now < one.expires && matches(&one.pods);
        for one in policy.exceptions.iter().filter(in_force) {
            exceptions.resize_with(policy.rules.len(), Vec::new);
            for rule in &one.rules {
                if let Some(named) = exceptions.get_mut(*rule) {
                    named.push(one);
                }
            }
        }
        Self { policy, exceptions }
    }

    /// Those from the rule at this place of the policy.
    pub(crate) fn exceptions(&self, rule: usize) -> &[&'p Exception] {
        self.exceptions.get(rule).map_or(&[], Vec::as_slice)
    }
}

/// What `exceptions` say of an image. Without `proven` digests the name alone is asked.
pub(crate) fn waiver<'p>(
    exceptions: impl Iterator<Item = &'p Exception> + Clone,
    reference: &Reference,
    proven: Proven<'_>,
) -> Waiver<'p> {
    if let Some(whole) = exceptions.clone().find(|one| !one.is_by_image()) {
        return Waiver::By(whole);
    }
    let mut result = Waiver::No;
    for one in exceptions {
        match one.names(reference, proven) {
            Tri::Yes => return Waiver::By(one),
            Tri::Maybe => result = Waiver::Open,
            Tri::No => {}
        }
    }
    result
}
