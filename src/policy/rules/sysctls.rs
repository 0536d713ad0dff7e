//! `sysctls`: which kernel settings a pod may have, and with which values. Pure.

use super::{Broken, pod_text};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty, shown};
use crate::policy::document::SysctlsDoc;
use crate::request::{NamespaceMode, Sandbox};

/// The check, compiled: names that may be set, in dots; one may end in `*`.
#[derive(Clone, Debug)]
pub(crate) struct Sysctls {
    allowed: Vec<String>,
}

pub(super) fn compile(doc: &SysctlsDoc, notes: &mut Notes, at: &At) -> Sysctls {
    let SysctlsDoc::Allow(list) = doc else {
        return Sysctls {
            allowed: Vec::new(),
        };
    };
    let at = at.down(["allow"]);
    not_empty(list.len(), notes, &at);
    for (index, name) in list.iter().enumerate() {
        let bare = name.strip_suffix('*').unwrap_or(name);
        let whole = bare.len() == name.len();
        if !is_name(bare.strip_suffix('.').filter(|_| !whole).unwrap_or(bare)) {
            notes.error(
                &at.down([&index.to_string()]),
                format!(
                    "`{}` is no sysctl; write it in dots, e.g. net.ipv4.ip_local_port_range, or net.ipv4.* for all below",
                    shown(name)
                ),
            );
        }
    }
    Sysctls {
        allowed: list.clone(),
    }
}

impl Sysctls {
    pub(super) fn judge_sandbox(&self, sandbox: &Sandbox, broken: &mut Vec<Broken>) {
        judge(sandbox, |name| self.allows(name), broken);
    }

    fn allows(&self, name: &str) -> bool {
        self.allowed.iter().any(|own| match own.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => own == name,
        })
    }
}

/// Judges every setting of the sandbox: its name, its value (CVE-2022-0811: `+` and `=` in a value
/// became settings of their own), and whether it is the host's because the namespace is.
fn judge(sandbox: &Sandbox, allows: impl Fn(&str) -> bool, broken: &mut Vec<Broken>) {
    for (written, value) in &sandbox.sysctls {
        let name = dotted(written);
        let fault = if !is_name(&name) {
            Some(" sets a sysctl of no known form, ")
        } else if !allows(&name) {
            Some(" sets sysctl ")
        } else if !is_value(value) {
            Some(" gives a value with other than digits, letters and .:,/_- to sysctl ")
        } else if is_hosts(&name, sandbox) {
            Some(" shares the namespace with the host whose setting it changes, sysctl ")
        } else {
            None
        };
        if let Some(words) = fault {
            let text = pod_text(sandbox).words(words).value(written);
            broken.push(Broken::Plain(
                Code::PodSysctl,
                text.advice("remove it from securityContext.sysctls"),
            ));
        }
    }
}

/// Judges the names alone, as Pod Security does.
pub(super) fn judge_names(
    sandbox: &Sandbox,
    allows: impl Fn(&str) -> bool,
    broken: &mut Vec<Broken>,
) {
    for written in sandbox.sysctls.keys() {
        if !allows(&dotted(written)) {
            let text = pod_text(sandbox).words(" sets sysctl ").value(written);
            broken.push(Broken::Plain(
                Code::PodSysctl,
                text.advice("remove it from securityContext.sysctls"),
            ));
        }
    }
}

/// A name in dots: the kubelet takes `net/ipv4/x` and `net.ipv4.x`; after a slash, a dot belongs to
/// the name of an interface, which no pattern covers.
fn dotted(written: &str) -> String {
    let first = written.find(['.', '/']);
    match first.and_then(|at| written.get(at..=at)) {
        Some("/") => written
            .chars()
            .map(|letter| match letter {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => written.to_owned(),
    }
}

fn is_name(name: &str) -> bool {
    let known = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_uppercase()
            || byte.is_ascii_digit()
            || b"_-/".contains(&byte)
    };
    name.split('.')
        .all(|part| !part.is_empty() && part.bytes().all(known))
}

fn is_value(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b" \t.:,/_-".contains(&byte))
}

/// Network settings belong to the network namespace, System V and POSIX IPC to that of IPC.
fn is_hosts(name: &str, sandbox: &Sandbox) -> bool {
    let of_network = name.starts_with("net.");
    let of_ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    (of_network && sandbox.namespaces.network == NamespaceMode::Node)
        || (of_ipc && sandbox.namespaces.ipc == NamespaceMode::Node)
}
