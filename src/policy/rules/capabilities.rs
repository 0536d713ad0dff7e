//! `capabilities`: what may be added, what must be dropped. Pure.
//!
//! Names are compared as Pod Security compares them, exactly: containerd folds case, so another
//! spelling may mean a capability all the same, and is denied. A privileged container has every one,
//! whatever it drops.

use super::{Broken, ContainerCase};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty, shown};
use crate::policy::document::CapabilitiesDoc;
use crate::request::{Container, Flag};

/// Every capability at once, in `add` and in `drop`.
pub(super) const ALL: &str = "ALL";

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Capabilities {
    /// `None`: any may be added.
    allow_add: Option<Vec<String>>,
    require_drop: Vec<String>,
}

pub(super) fn compile(doc: &CapabilitiesDoc, notes: &mut Notes, at: &At) -> Capabilities {
    if *doc == CapabilitiesDoc::default() {
        notes.error(
            at,
            "`capabilities` judges nothing; add allowAdd or requireDrop".to_owned(),
        );
    }
    if let Some(list) = &doc.allow_add {
        // An empty list is meant: nothing may be added.
        names(list, notes, &at.down(["allowAdd"]));
    }
    if let Some(list) = &doc.require_drop {
        let at = at.down(["requireDrop"]);
        not_empty(list.len(), notes, &at);
        names(list, notes, &at);
    }
    Capabilities {
        allow_add: doc.allow_add.clone(),
        require_drop: doc.require_drop.clone().unwrap_or_default(),
    }
}

fn names(list: &[String], notes: &mut Notes, at: &At) {
    for (index, name) in list.iter().enumerate() {
        let known = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.starts_with("CAP_") || !name.bytes().all(known) {
            notes.error(
                &at.down([&index.to_string()]),
                format!(
                    "`{}` is no capability's name; write it in upper case and without CAP_, e.g. NET_ADMIN",
                    shown(name)
                ),
            );
        }
    }
}

impl Capabilities {
    pub(super) fn judge(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        if case.container.privileged == Flag::On {
            let words = " has every capability";
            broken.push(super::by_privilege(case, Code::PodCapability, words));
        }
        if let Some(allowed) = &self.allow_add {
            for name in added(case.container) {
                if !allowed.iter().any(|known| known == name) {
                    broken.push(adds(case, name));
                }
            }
        }
        for name in &self.require_drop {
            if !drops(case.container, name) {
                broken.push(keeps(case, name));
            }
        }
    }
}

/// What is added, ambient ones too.
pub(super) fn added(container: &Container) -> impl Iterator<Item = &str> {
    container
        .add_capabilities
        .iter()
        .chain(&container.add_ambient_capabilities)
        .map(String::as_str)
}

/// Whether `name` is dropped, by itself or with all the others.
pub(super) fn drops(container: &Container, name: &str) -> bool {
    let dropped = &container.drop_capabilities;
    dropped.iter().any(|own| own == name || own == ALL)
}

pub(super) fn adds(case: &ContainerCase<'_>, name: &str) -> Broken {
    Broken::Plain(
        Code::PodCapability,
        case.container_text()
            .words(" adds capability ")
            .value(name)
            .advice("remove it from securityContext.capabilities.add"),
    )
}

pub(super) fn keeps(case: &ContainerCase<'_>, name: &str) -> Broken {
    Broken::Plain(
        Code::PodCapability,
        case.container_text()
            .words(" does not drop capability ")
            .value(name)
            .advice("add it to securityContext.capabilities.drop"),
    )
}
