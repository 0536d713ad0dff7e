//! `hostPorts`: which ports of the host a pod may take. Pure.

use serde::Deserialize;

use super::{Broken, ContainerCase, pod_text};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty, shown};
use crate::policy::document::HostPortsDoc;
use crate::policy::words::Text;
use crate::request::Sandbox;

/// The kubelet's own annotation of a container with ports: the only place where those of init and
/// sidecar containers are said.
const PORTS: &str = "io.kubernetes.container.ports";
const HIGHEST: i32 = 65_535;

/// The check, compiled: ranges, both ends included.
#[derive(Clone, Debug)]
pub(crate) struct HostPorts {
    allowed: Vec<(i32, i32)>,
}

pub(super) fn compile(doc: &HostPortsDoc, notes: &mut Notes, at: &At) -> HostPorts {
    let HostPortsDoc::Allow(list) = doc else {
        return HostPorts::none();
    };
    let at = at.down(["allow"]);
    not_empty(list.len(), notes, &at);
    let mut allowed = Vec::new();
    for (index, text) in list.iter().enumerate() {
        match range(text) {
            Some(range) => allowed.push(range),
            None => notes.error(
                &at.down([&index.to_string()]),
                format!(
                    "`{}` is no port and no range; write \"8080\" or \"30000-32767\"",
                    shown(text)
                ),
            ),
        }
    }
    HostPorts { allowed }
}

fn range(text: &str) -> Option<(i32, i32)> {
    let port = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<i32>().ok().filter(|_| digits)?;
        (1..=HIGHEST).contains(&number).then_some(number)
    };
    match text.split_once('-') {
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            (first <= last).then_some((first, last))
        }
        None => port(text).map(|port| (port, port)),
    }
}

/// One port of the annotation; other keys are not of interest.
#[derive(Deserialize)]
struct Port {
    #[serde(rename = "hostPort", default)]
    host_port: i32,
}

impl HostPorts {
    pub(super) fn none() -> Self {
        Self {
            allowed: Vec::new(),
        }
    }

    pub(super) fn judge_sandbox(&self, sandbox: &Sandbox, broken: &mut Vec<Broken>) {
        self.judge_ports(&sandbox.host_ports, || pod_text(sandbox), broken);
    }

    pub(super) fn judge(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        let Some(text) = case.container.annotations.get(PORTS) else {
            return;
        };
        match serde_json::from_str::<Vec<Port>>(text) {
            Ok(ports) => {
                let taken: Vec<i32> = ports
                    .iter()
                    .map(|port| port.host_port)
                    .filter(|port| *port != 0)
                    .collect();
                self.judge_ports(&taken, || case.container_text(), broken);
            }
            Err(_) => broken.push(Broken::Plain(
                Code::PodHostPort,
                case.container_text()
                    .words(" has a list of ports that cannot be read in ")
                    .value(PORTS)
                    .advice("leave this annotation to the kubelet"),
            )),
        }
    }

    fn judge_ports(&self, ports: &[i32], text: impl Fn() -> Text, broken: &mut Vec<Broken>) {
        for port in ports {
            let allowed = |(first, last): &(i32, i32)| (first..=last).contains(&port);
            if !self.allowed.iter().any(allowed) {
                let text = text().words(" takes port ").value(&port.to_string());
                broken.push(Broken::Plain(
                    Code::PodHostPort,
                    text.words(" of the host").advice("remove hostPort"),
                ));
            }
        }
    }
}
