//! `hostNamespaces`: network, PID and IPC of the host. Pure.

use super::{Broken, ContainerCase, pod_text};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty};
use crate::policy::document::{HostNamespace, HostNamespacesDoc};
use crate::policy::words::Text;
use crate::request::{NamespaceMode, Namespaces, Sandbox};

/// The check, compiled: what is allowed.
#[derive(Clone, Debug)]
pub(crate) struct HostNamespaces {
    allowed: Vec<HostNamespace>,
}

pub(super) fn compile(doc: &HostNamespacesDoc, notes: &mut Notes, at: &At) -> HostNamespaces {
    match doc {
        HostNamespacesDoc::Deny => HostNamespaces {
            allowed: Vec::new(),
        },
        HostNamespacesDoc::Allow(list) => {
            not_empty(list.len(), notes, &at.down(["allow"]));
            HostNamespaces {
                allowed: list.clone(),
            }
        }
    }
}

impl HostNamespaces {
    pub(super) fn judge_sandbox(&self, sandbox: &Sandbox, broken: &mut Vec<Broken>) {
        self.judge(&sandbox.namespaces, || pod_text(sandbox), broken);
    }

    /// The container's own word counts, and its sandbox's: containerd puts a container into the
    /// sandbox's namespaces wherever the container itself does not say NODE.
    pub(super) fn judge_container(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        self.judge(&case.container.namespaces, || case.container_text(), broken);
        self.judge_sandbox(case.sandbox, broken);
    }

    fn judge(&self, namespaces: &Namespaces, text: impl Fn() -> Text, broken: &mut Vec<Broken>) {
        let modes = [
            (
                HostNamespace::Network,
                &namespaces.network,
                " uses the host's network namespace",
                "remove hostNetwork",
            ),
            (
                HostNamespace::Pid,
                &namespaces.pid,
                " uses the host's PID namespace",
                "remove hostPID",
            ),
            (
                HostNamespace::Ipc,
                &namespaces.ipc,
                " uses the host's IPC namespace",
                "remove hostIPC",
            ),
        ];
        for (namespace, mode, words, advice) in modes {
            if *mode == NamespaceMode::Node && !self.allowed.contains(&namespace) {
                let text = text().words(words).advice(advice);
                broken.push(Broken::Plain(Code::PodHostNamespace, text));
            }
        }
    }
}
