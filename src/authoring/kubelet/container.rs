//! A container as its manifest writes it, and how it is read. Pure.

use super::env::{EnvFrom, EnvVar, read_env, read_env_from};
use super::fields::Fields;
use super::hook::{Hook, read_hook};
use super::security::{Security, read_security};
use super::spec::{Resources, read_resources};
use super::volume::{VolumeMount, read_mount};

/// One port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) host_port: i32,
    pub(crate) container_port: i32,
    pub(crate) protocol: String,
    pub(crate) host_ip: String,
}

/// A v1 Container or EphemeralContainer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Container {
    /// Where it stands in the file.
    pub(crate) line: u64,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) pull_policy: String,
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) ports: Vec<Port>,
    pub(crate) env_from: Vec<EnvFrom>,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) resources: Resources,
    pub(crate) restarts_always: bool,
    pub(crate) mounts: Vec<VolumeMount>,
    pub(crate) pre_stop: Option<Hook>,
    pub(crate) stop_signal: String,
    pub(crate) termination_path: String,
    pub(crate) termination_policy: String,
    pub(crate) security: Security,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) tty: bool,
    /// `targetContainerName` of an ephemeral container.
    pub(crate) target: String,
}

/// Keys that no CreateContainer shows: probes are calls of their own.
const NOT_IN_REQUESTS: &[&str] = &[
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "resizePolicy",
    "restartPolicyRules",
];

pub(crate) fn read_container(mut fields: Fields<'_>) -> Container {
    let (pre_stop, stop_signal) = read_lifecycle(&mut fields);
    let or = |text: String, default: &str| {
        if text.is_empty() {
            default.to_owned()
        } else {
            text
        }
    };
    let container = Container {
        line: fields.line(),
        name: fields.needed("name"),
        image: fields.text("image"),
        pull_policy: fields.text("imagePullPolicy"),
        command: fields.texts("command"),
        args: fields.texts("args"),
        working_dir: fields.text("workingDir"),
        ports: fields.each("ports", read_port),
        env_from: fields.each("envFrom", read_env_from),
        env: fields.each("env", read_env),
        resources: fields
            .object("resources")
            .map(read_resources)
            .unwrap_or_default(),
        restarts_always: fields.text("restartPolicy") == "Always",
        mounts: fields.each("volumeMounts", read_mount),
        pre_stop,
        stop_signal,
        termination_path: or(
            fields.text("terminationMessagePath"),
            "/dev/termination-log",
        ),
        termination_policy: or(fields.text("terminationMessagePolicy"), "File"),
        security: fields
            .object("securityContext")
            .map(read_security)
            .unwrap_or_default(),
        stdin: fields.flag("stdin"),
        stdin_once: fields.flag("stdinOnce"),
        tty: fields.flag("tty"),
        target: fields.text("targetContainerName"),
    };
    if container.image.is_empty() {
        fields.refuse("image", "is missing");
    }
    if !["", "Always", "IfNotPresent", "Never"].contains(&container.pull_policy.as_str()) {
        fields.refuse("imagePullPolicy", "must be Always, IfNotPresent or Never");
    }
    // The node's path of a raw block device hangs on the volume's driver.
    fields.not_translated("volumeDevices");
    fields.skip(NOT_IN_REQUESTS);
    fields.close();
    container
}

fn read_lifecycle(fields: &mut Fields<'_>) -> (Option<Hook>, String) {
    let Some(mut lifecycle) = fields.object("lifecycle") else {
        return (None, String::new());
    };
    let pre_stop = lifecycle.object("preStop").map(read_hook);
    let signal = lifecycle.text("stopSignal");
    // Run by the kubelet after the start: a call of its own.
    lifecycle.skip(&["postStart"]);
    lifecycle.close();
    (pre_stop, signal)
}

fn read_port(mut fields: Fields<'_>) -> Port {
    let mut number = |key: &str| {
        let number = fields.integer(key).unwrap_or_default();
        i32::try_from(number).unwrap_or_else(|_| {
            fields.refuse(key, "is no port");
            0
        })
    };
    let (host_port, container_port) = (number("hostPort"), number("containerPort"));
    let protocol = fields.text("protocol");
    let port = Port {
        name: fields.text("name"),
        host_port,
        container_port,
        protocol: if protocol.is_empty() {
            "TCP".to_owned()
        } else {
            protocol
        },
        host_ip: fields.text("hostIP"),
    };
    if !["TCP", "UDP", "SCTP"].contains(&port.protocol.as_str()) {
        fields.refuse("protocol", "must be TCP, UDP or SCTP");
    }
    fields.close();
    port
}
