//! `propagation`: which mount propagation may be used. Pure.

use super::{Broken, ContainerCase};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty};
use crate::policy::document::{PropagationDoc, PropagationsDoc};
use crate::request::Propagation;

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Propagations {
    allowed: Vec<PropagationDoc>,
}

pub(super) fn compile(doc: &PropagationsDoc, notes: &mut Notes, at: &At) -> Propagations {
    not_empty(doc.allow.len(), notes, &at.down(["allow"]));
    Propagations {
        allowed: doc.allow.clone(),
    }
}

impl Propagations {
    pub(super) fn judge(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        for mount in &case.container.mounts {
            let (kind, words) = match mount.propagation {
                Propagation::None => (PropagationDoc::None, " without propagation"),
                Propagation::HostToContainer => (
                    PropagationDoc::HostToContainer,
                    " with propagation HostToContainer",
                ),
                Propagation::Bidirectional => (
                    PropagationDoc::Bidirectional,
                    " with propagation Bidirectional",
                ),
            };
            if !self.allowed.contains(&kind) {
                broken.push(Broken::Plain(
                    Code::PodPropagation,
                    case.container_text()
                        .words(" mounts ")
                        .value(&mount.container_path)
                        .words(words)
                        .advice("remove mountPropagation from the volume mount"),
                ));
            }
        }
    }
}
