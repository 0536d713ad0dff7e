//! `annotations`: keys that steer the runtime beside the API. Pure.

use super::{Broken, ContainerCase, pod_text};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty};
use crate::policy::document::AnnotationsDoc;
use crate::policy::scope::glob_matches;
use crate::policy::words::Text;
use crate::request::Sandbox;

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Annotations {
    denied: Vec<String>,
}

pub(super) fn compile(doc: &AnnotationsDoc, notes: &mut Notes, at: &At) -> Annotations {
    let at = at.down(["deny"]);
    not_empty(doc.deny.len(), notes, &at);
    for (index, glob) in doc.deny.iter().enumerate() {
        // The kubelet's own, on every pod and container: a rule that denies them denies everything.
        for own in [
            "kubernetes.io/config.source",
            "io.kubernetes.container.hash",
        ] {
            if glob_matches(glob, own) {
                notes.error(
                    &at.down([&index.to_string()]),
                    format!(
                        "this matches `{own}`, which every pod carries; name a narrower prefix"
                    ),
                );
            }
        }
    }
    Annotations {
        denied: doc.deny.clone(),
    }
}

impl Annotations {
    pub(super) fn judge_sandbox(&self, sandbox: &Sandbox, broken: &mut Vec<Broken>) {
        self.judge_keys(sandbox.annotations.keys(), || pod_text(sandbox), broken);
    }

    pub(super) fn judge(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        let keys = case.container.annotations.keys();
        self.judge_keys(keys, || case.container_text(), broken);
    }

    fn judge_keys<'a>(
        &self,
        keys: impl Iterator<Item = &'a String>,
        text: impl Fn() -> Text,
        broken: &mut Vec<Broken>,
    ) {
        for key in keys {
            if self.denied.iter().any(|glob| glob_matches(glob, key)) {
                let text = text().words(" carries annotation ").value(key);
                broken.push(Broken::Plain(
                    Code::PodAnnotation,
                    text.advice("remove it from the pod's metadata.annotations"),
                ));
            }
        }
    }
}
