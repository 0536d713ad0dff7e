//! `seLinux`: which types may be named; a user or a role never. Pure.
//!
//! A container that states no label at all has its sandbox's, a privileged one none (containerd).

use super::{Broken, ContainerCase, pod_text};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty};
use crate::policy::document::SeLinuxDoc;
use crate::policy::words::Text;
use crate::request::{Flag, Sandbox, SeLinux};

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct SeLinuxTypes {
    allowed: Vec<String>,
}

pub(super) fn compile(doc: &SeLinuxDoc, notes: &mut Notes, at: &At) -> SeLinuxTypes {
    not_empty(doc.allow_types.len(), notes, &at.down(["allowTypes"]));
    SeLinuxTypes {
        allowed: doc.allow_types.clone(),
    }
}

impl SeLinuxTypes {
    pub(super) fn judge_sandbox(&self, sandbox: &Sandbox, broken: &mut Vec<Broken>) {
        let allowed = |kind: &str| self.allowed.iter().any(|own| own == kind);
        judge(
            sandbox.selinux.as_ref(),
            allowed,
            || pod_text(sandbox),
            broken,
        );
    }

    pub(super) fn judge(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        if case.container.privileged == Flag::On {
            let words = " runs without an SELinux label";
            broken.push(super::by_privilege(case, Code::PodSelinux, words));
        }
        let allowed = |kind: &str| self.allowed.iter().any(|own| own == kind);
        judge(effective(case), allowed, || case.container_text(), broken);
    }
}

/// The label that the container's process gets.
pub(super) fn effective<'a>(case: &ContainerCase<'a>) -> Option<&'a SeLinux> {
    let own = case.container.selinux.as_ref();
    own.filter(|options| **options != SeLinux::default())
        .or(case.sandbox.selinux.as_ref())
}

/// A type that is not named is the runtime's own.
pub(super) fn judge(
    options: Option<&SeLinux>,
    allowed: impl Fn(&str) -> bool,
    text: impl Fn() -> Text,
    broken: &mut Vec<Broken>,
) {
    let Some(options) = options else {
        return;
    };
    if !options.kind.is_empty() && !allowed(&options.kind) {
        broken.push(Broken::Plain(
            Code::PodSelinux,
            text()
                .words(" has SELinux type ")
                .value(&options.kind)
                .advice("remove seLinuxOptions.type, or use an allowed one"),
        ));
    }
    for (what, value, advice) in [
        (
            " has SELinux user ",
            &options.user,
            "remove seLinuxOptions.user",
        ),
        (
            " has SELinux role ",
            &options.role,
            "remove seLinuxOptions.role",
        ),
    ] {
        if !value.is_empty() {
            let text = text().words(what).value(value).advice(advice);
            broken.push(Broken::Plain(Code::PodSelinux, text));
        }
    }
}
