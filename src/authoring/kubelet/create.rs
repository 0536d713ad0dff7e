//! Container → ContainerConfig. Pure.

use std::collections::BTreeMap;

use super::container::Container;
use super::env::{Environment, environment, expand};
use super::mounts::{Mounts, Origin, mounts};
use super::node::{Images, Node};
use super::resources;
use super::sandbox::{groups, groups_policy, namespaces, own_labels, with_host_port};
use super::security::{Effective, ProfileName, effective};
use super::spec::Pod;
use super::{Refused, image_id};
use crate::api::runtime_v1 as api;

/// The kubelet's own lists, unless the pod unmasks /proc.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Annotation that named a profile before there was a field for it; the kubelet still reads it.
const APPARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(crate) fn config(
    pod: &Pod,
    container: &Container,
    node: &Node,
    images: &Images,
) -> Result<(api::ContainerConfig, Vec<Origin>), Refused> {
    let environment = environment(pod, &container.env, &container.env_from, node);
    let mounted: Mounts = mounts(pod, container, &environment, node, images)?;
    let (mounts, origins) = mounted.into_iter().unzip();
    let words = |list: &[String]| -> Vec<String> {
        // What only the cluster knows stays as it is written.
        let expanded = list
            .iter()
            .map(|text| expand(text, &|name| environment.look_up(name)));
        expanded
            .zip(list)
            .map(|(expanded, text)| expanded.unwrap_or_else(|| text.clone()))
            .collect()
    };
    let config = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata {
            name: container.name.clone(),
            attempt: 0,
        }),
        image: Some(api::ImageSpec {
            image: image_id(&container.image, images),
            user_specified_image: container.image.clone(),
            ..api::ImageSpec::default()
        }),
        command: words(&container.command),
        args: words(&container.args),
        working_dir: container.working_dir.clone(),
        envs: variables(&environment),
        mounts,
        labels: labels(pod, container, node),
        annotations: annotations(pod, container),
        log_path: format!("{}/0.log", container.name),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        linux: Some(api::LinuxContainerConfig {
            resources: Some(resources::of_container(&pod.spec, container, node)),
            security_context: Some(security(pod, container, node, images)?),
        }),
        stop_signal: stop_signal(container, node)?,
        ..api::ContainerConfig::default()
    };
    Ok((config, origins))
}

fn variables(environment: &Environment) -> Vec<api::KeyValue> {
    environment
        .variables
        .iter()
        .map(|(key, value)| api::KeyValue {
            key: key.clone(),
            value: value.clone().unwrap_or_default().into_bytes(),
        })
        .collect()
}

fn labels(pod: &Pod, container: &Container, node: &Node) -> BTreeMap<String, String> {
    let mut labels = own_labels(pod, node);
    let name = "io.kubernetes.container.name".to_owned();
    labels.insert(name, container.name.clone());
    labels
}

/// The hash of the container, which no rule looks at, is left out.
fn annotations(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let own = |key: &str, value: String| (format!("io.kubernetes.{key}"), value);
    let mut annotations: BTreeMap<String, String> = [
        own("container.restartCount", "0".to_owned()),
        own(
            "container.terminationMessagePath",
            container.termination_path.clone(),
        ),
        own(
            "container.terminationMessagePolicy",
            container.termination_policy.clone(),
        ),
        own(
            "pod.terminationGracePeriod",
            pod.spec.grace_seconds.to_string(),
        ),
    ]
    .into();
    let handler = container.pre_stop.as_ref().map(serde_json::to_string);
    if let Some(Ok(handler)) = handler {
        annotations.extend([own("container.preStopHandler", as_go(&handler))]);
    }
    if let Some(ports) = ports(pod, container) {
        annotations.extend([own("container.ports", ports)]);
    }
    annotations
}

/// The ports as Go writes them in JSON: empty values are left out, the container's port never.
fn ports(pod: &Pod, container: &Container) -> Option<String> {
    if container.ports.is_empty() {
        return None;
    }
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let ports = container.ports.iter().map(|port| {
        let port = with_host_port(port, pod.spec.host_network);
        let mut parts = Vec::new();
        if !port.name.is_empty() {
            parts.push(format!("\"name\":{}", quoted(&port.name)));
        }
        if port.host_port != 0 {
            parts.push(format!("\"hostPort\":{}", port.host_port));
        }
        parts.push(format!("\"containerPort\":{}", port.container_port));
        parts.push(format!("\"protocol\":{}", quoted(&port.protocol)));
        if !port.host_ip.is_empty() {
            parts.push(format!("\"hostIP\":{}", quoted(&port.host_ip)));
        }
        format!("{{{}}}", parts.join(","))
    });
    let ports: Vec<String> = ports.collect();
    Some(as_go(&format!("[{}]", ports.join(","))))
}

/// Go escapes what HTML would take for its own.
fn as_go(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

fn security(
    pod: &Pod,
    container: &Container,
    node: &Node,
    images: &Images,
) -> Result<api::LinuxContainerSecurityContext, Refused> {
    let own = &container.security;
    let effective = effective(&pod.spec.security, own);
    let (run_as_user, run_as_username) = user(container, &effective, images)?;
    let (masked_paths, readonly_paths) = paths(&own.proc_mount, node);
    let (apparmor, apparmor_profile) = apparmor(pod, container, &effective);
    Ok(api::LinuxContainerSecurityContext {
        capabilities: own
            .capabilities
            .clone()
            .map(|(add_capabilities, drop_capabilities)| api::Capability {
                add_capabilities,
                drop_capabilities,
                ..api::Capability::default()
            }),
        privileged: own.privileged.unwrap_or_default(),
        namespace_options: Some(container_namespaces(pod, container, node)?),
        selinux_options: effective.selinux.clone(),
        run_as_user,
        run_as_group: effective
            .run_as_group
            .map(|value| api::Int64Value { value }),
        run_as_username,
        readonly_rootfs: own.read_only_root,
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        no_new_privs: own.escalation == Some(false),
        masked_paths,
        readonly_paths,
        seccomp: Some(seccomp(effective.seccomp.as_ref(), node)),
        apparmor,
        apparmor_profile,
        ..api::LinuxContainerSecurityContext::default()
    })
}

/// The user as the kubelet puts it together: the pod's number, else the image's number or name,
/// else 0. An image of which nobody told the USER gives none.
fn user(
    container: &Container,
    effective: &Effective,
    images: &Images,
) -> Result<(Option<api::Int64Value>, String), Refused> {
    let number = |value| (Some(api::Int64Value { value }), String::new());
    let non_root = effective.run_as_non_root;
    let refused = |text: String| Err(Refused::new(text));
    if let Some(uid) = effective.run_as_user {
        return match uid {
            0 if non_root => refused("runAsNonRoot is set and runAsUser is 0".to_owned()),
            uid => Ok(number(uid)),
        };
    }
    let Some(written) = images.users.get(&container.image) else {
        return Ok((None, String::new()));
    };
    // containerd's split: a group behind a colon is no part of the user.
    let name = written.split(':').next().unwrap_or_default();
    match name.parse::<i64>() {
        Ok(0) if non_root => refused("runAsNonRoot is set and the image runs as root".to_owned()),
        Ok(uid) => Ok(number(uid)),
        Err(_) if name.is_empty() && non_root => {
            refused("runAsNonRoot is set and the image runs as root".to_owned())
        }
        Err(_) if name.is_empty() => Ok(number(0)),
        Err(_) if non_root => refused(format!(
            "runAsNonRoot is set and the image's user `{name}` is a name; set runAsUser to a number"
        )),
        Err(_) => Ok((None, name.to_owned())),
    }
}

fn paths(proc_mount: &str, node: &Node) -> (Vec<String>, Vec<String>) {
    if proc_mount == "Unmasked" {
        return (Vec::new(), Vec::new());
    }
    let words =
        |list: &[&str]| -> Vec<String> { list.iter().map(|path| (*path).to_owned()).collect() };
    let mut masked = words(&MASKED);
    masked.extend(node.masked_paths.iter().cloned());
    (masked, words(&READ_ONLY))
}

fn profile(kind: api::security_profile::ProfileType) -> api::SecurityProfile {
    api::SecurityProfile {
        profile_type: kind.into(),
        ..api::SecurityProfile::default()
    }
}

fn seccomp(named: Option<&ProfileName>, node: &Node) -> api::SecurityProfile {
    use api::security_profile::ProfileType;
    match named.map(|named| (named.kind.as_str(), &named.localhost)) {
        None if node.seccomp_default => profile(ProfileType::RuntimeDefault),
        Some(("RuntimeDefault", _)) => profile(ProfileType::RuntimeDefault),
        Some(("Localhost", Some(file))) => api::SecurityProfile {
            profile_type: ProfileType::Localhost.into(),
            localhost_ref: format!(
                "{}/seccomp/{}",
                node.kubelet_root,
                file.trim_start_matches('/')
            ),
        },
        Some(_) | None => profile(ProfileType::Unconfined),
    }
}

/// The container's field, else the old annotation, else the pod's field; in both of the CRI's
/// spellings.
fn apparmor(
    pod: &Pod,
    container: &Container,
    effective: &Effective,
) -> (Option<api::SecurityProfile>, String) {
    use api::security_profile::ProfileType;
    let key = format!("{APPARMOR_ANNOTATION}{}", container.name);
    let annotated = pod.annotations.get(&key).and_then(|value| {
        let named = |kind: &str, localhost: Option<&str>| ProfileName {
            kind: kind.to_owned(),
            localhost: localhost.map(str::to_owned),
        };
        match (value.as_str(), value.strip_prefix("localhost/")) {
            ("runtime/default", _) => Some(named("RuntimeDefault", None)),
            ("unconfined", _) => Some(named("Unconfined", None)),
            (_, Some(file)) => Some(named("Localhost", Some(file))),
            (_, None) => None,
        }
    });
    let named = effective
        .apparmor
        .clone()
        .or(annotated)
        .or_else(|| pod.spec.security.apparmor.clone());
    match named
        .as_ref()
        .map(|one| (one.kind.as_str(), &one.localhost))
    {
        Some(("RuntimeDefault", _)) => (
            Some(profile(ProfileType::RuntimeDefault)),
            "runtime/default".to_owned(),
        ),
        Some(("Unconfined", _)) => (
            Some(profile(ProfileType::Unconfined)),
            "unconfined".to_owned(),
        ),
        Some((_, Some(file))) => (
            Some(api::SecurityProfile {
                profile_type: ProfileType::Localhost.into(),
                localhost_ref: file.clone(),
            }),
            format!("localhost/{file}"),
        ),
        Some((_, None)) | None => (None, String::new()),
    }
}

/// The pod's, but that an ephemeral container joins the processes of its target.
fn container_namespaces(
    pod: &Pod,
    container: &Container,
    node: &Node,
) -> Result<api::NamespaceOption, Refused> {
    let mut options = namespaces(pod, node);
    if container.target.is_empty() {
        return Ok(options);
    }
    let is_there = pod
        .spec
        .containers
        .iter()
        .any(|one| one.name == container.target);
    if !is_there {
        let text = format!(
            "targetContainerName `{}` is no container of the pod",
            container.target
        );
        return Err(Refused::new(text));
    }
    if options.pid == i32::from(api::NamespaceMode::Container) {
        options.pid = api::NamespaceMode::Target.into();
        let id = node.container_ids.get(&container.target);
        options.target_id = id.cloned().unwrap_or_else(|| "0".repeat(64));
    }
    Ok(options)
}

fn stop_signal(container: &Container, node: &Node) -> Result<i32, Refused> {
    if container.stop_signal.is_empty() || !node.stop_signals {
        return Ok(0);
    }
    // The API writes SIGRTMIN+1, the CRI SIGRTMINPLUS1.
    let name = container
        .stop_signal
        .replace('+', "PLUS")
        .replace("MAX-", "MAXMINUS");
    match api::Signal::from_str_name(&name) {
        Some(signal) => Ok(signal.into()),
        None => Err(Refused::new(format!(
            "stopSignal `{}` is no signal",
            container.stop_signal
        ))),
    }
}
