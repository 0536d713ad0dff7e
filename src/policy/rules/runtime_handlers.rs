//! `runtimeHandlers`: which runtime a pod may choose. Pure.

use super::{Broken, pod_text};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty};
use crate::policy::document::HandlersDoc;
use crate::request::Sandbox;

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeHandlers {
    allowed: Vec<String>,
}

pub(super) fn compile(doc: &HandlersDoc, notes: &mut Notes, at: &At) -> RuntimeHandlers {
    not_empty(doc.allow.len(), notes, &at.down(["allow"]));
    RuntimeHandlers {
        allowed: doc.allow.clone(),
    }
}

impl RuntimeHandlers {
    /// Whether the handler is one of the allowed ones.
    pub(crate) fn allows(&self, handler: &str) -> bool {
        self.allowed.iter().any(|own| own == handler)
    }

    /// `handler` is that of the call, or containerd's own word for an existing sandbox.
    pub(super) fn judge(&self, sandbox: &Sandbox, handler: &str, broken: &mut Vec<Broken>) {
        if !self.allows(handler) {
            let text = pod_text(sandbox)
                .words(" uses runtime handler ")
                .value(handler);
            broken.push(Broken::Plain(
                Code::PodRuntimeHandler,
                text.advice("remove runtimeClassName, or use an allowed one"),
            ));
        }
    }
}
