//! Pod → PodSandboxConfig. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::container::{Container, Port};
use super::node::{Node, Source};
use super::resources;
use super::spec::{Dns, Pod};
use crate::api::runtime_v1 as api;

/// The kernel's longest host name.
const HOSTNAME_BYTES: usize = 63;
/// What the kubelet writes for the cluster's own DNS.
const CLUSTER_OPTIONS: &str = "ndots:5";

/// What a pod's user namespace maps, from 0 on.
const MAPPED_IDS: u32 = 65_536;

pub(crate) fn sandbox(pod: &Pod, node: &Node) -> api::PodSandboxConfig {
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: pod.name.clone(),
            uid: node.uid.clone(),
            namespace: pod.namespace.clone(),
            attempt: 0,
        }),
        hostname: hostname(pod, node),
        log_directory: format!(
            "{}/{}_{}_{}",
            node.pod_logs, pod.namespace, pod.name, node.uid
        ),
        dns_config: Some(dns(pod, node)),
        port_mappings: pod
            .spec
            .containers
            .iter()
            .flat_map(|container| ports(container, pod.spec.host_network))
            .collect(),
        labels: labels(pod, node),
        annotations: annotations(pod, node),
        linux: Some(linux(pod, node)),
        windows: None,
    }
}

fn linux(pod: &Pod, node: &Node) -> api::LinuxPodSandboxConfig {
    let security = &pod.spec.security;
    api::LinuxPodSandboxConfig {
        cgroup_parent: resources::cgroup_parent(&pod.spec, node),
        security_context: Some(api::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(pod, node)),
            selinux_options: security.selinux.clone(),
            run_as_user: security.run_as_user.map(|value| api::Int64Value { value }),
            run_as_group: security.run_as_group.map(|value| api::Int64Value { value }),
            supplemental_groups: groups(pod),
            supplemental_groups_policy: groups_policy(pod),
            privileged: pod
                .spec
                .every_container()
                .any(|container| container.security.privileged == Some(true)),
            // For the pause process alone, whatever the pod says.
            seccomp: Some(api::SecurityProfile::default()),
            ..api::LinuxSandboxSecurityContext::default()
        }),
        sysctls: security
            .sysctls
            .iter()
            .map(|(name, value)| (in_dots(name), value.clone()))
            .collect(),
        overhead: Some(resources::of_overhead(&pod.spec, node)),
        resources: Some(resources::of_sandbox(&pod.spec, node)),
    }
}

/// `net/ipv4/x` is sent as `net.ipv4.x`; where the first separator is a slash, the two are swapped
/// (`NormalizeName` of the kubelet's helpers).
fn in_dots(name: &str) -> String {
    let separators = |letter: char| ['.', '/'].contains(&letter);
    if name.matches(separators).next() != Some("/") {
        return name.to_owned();
    }
    let swapped = name.chars().map(|letter| match letter {
        '/' => '.',
        '.' => '/',
        other => other,
    });
    swapped.collect()
}

/// The pod's own annotations; the kubelet writes its two over them.
pub(crate) fn annotations(pod: &Pod, node: &Node) -> BTreeMap<String, String> {
    let mut annotations = pod.annotations.clone();
    let mut own = |key: &str, value: &str| {
        annotations.insert(key.to_owned(), value.to_owned());
    };
    own("kubernetes.io/config.seen", &node.config_seen);
    own("kubernetes.io/config.source", node.source.as_str());
    match node.source {
        Source::Api => {}
        Source::File | Source::Http => own("kubernetes.io/config.hash", &node.uid),
    }
    annotations
}

fn labels(pod: &Pod, node: &Node) -> BTreeMap<String, String> {
    let mut labels = pod.labels.clone();
    labels.extend(own_labels(pod, node));
    labels
}

/// The labels by which the kubelet finds its own.
pub(crate) fn own_labels(pod: &Pod, node: &Node) -> BTreeMap<String, String> {
    let label = |key: &str, value: &str| (format!("io.kubernetes.pod.{key}"), value.to_owned());
    [
        label("name", &pod.name),
        label("namespace", &pod.namespace),
        label("uid", &node.uid),
    ]
    .into()
}

pub(crate) fn namespaces(pod: &Pod, node: &Node) -> api::NamespaceOption {
    let spec = &pod.spec;
    let host_or_pod = |host| {
        i32::from(if host {
            api::NamespaceMode::Node
        } else {
            api::NamespaceMode::Pod
        })
    };
    api::NamespaceOption {
        network: host_or_pod(spec.host_network),
        pid: match (spec.host_pid, spec.share_processes) {
            (true, _) => api::NamespaceMode::Node.into(),
            (false, true) => api::NamespaceMode::Pod.into(),
            (false, false) => api::NamespaceMode::Container.into(),
        },
        ipc: host_or_pod(spec.host_ipc),
        target_id: String::new(),
        userns_options: Some(user_namespace(pod, node)),
    }
}

/// The kubelet gives every pod with a namespace of its own another range of host ids.
fn user_namespace(pod: &Pod, node: &Node) -> api::UserNamespace {
    if pod.spec.host_users != Some(false) {
        return api::UserNamespace {
            mode: api::NamespaceMode::Node.into(),
            ..api::UserNamespace::default()
        };
    }
    let range = api::IdMapping {
        host_id: node.first_mapped_id,
        container_id: 0,
        length: MAPPED_IDS,
    };
    api::UserNamespace {
        mode: api::NamespaceMode::Pod.into(),
        uids: vec![range],
        gids: vec![range],
    }
}

/// fsGroup first, then the supplemental groups. (Groups that a volume brings are the node's.)
pub(crate) fn groups(pod: &Pod) -> Vec<i64> {
    let security = &pod.spec.security;
    let fs_group = security.fs_group.into_iter();
    fs_group
        .chain(security.supplemental_groups.iter().copied())
        .collect()
}

pub(crate) fn groups_policy(pod: &Pod) -> i32 {
    if pod.spec.security.groups_policy == "Strict" {
        api::SupplementalGroupsPolicy::Strict.into()
    } else {
        api::SupplementalGroupsPolicy::Merge.into()
    }
}

/// Ports of one container; with hostNetwork the API server makes each a host port. A name or a
/// whole mapping that is there twice counts once.
pub(crate) fn ports(container: &Container, host_network: bool) -> Vec<api::PortMapping> {
    let mut names = BTreeSet::new();
    let mut mappings = Vec::new();
    for port in &container.ports {
        let port = with_host_port(port, host_network);
        let name = if port.name.is_empty() {
            format!(
                "\n{}-{}:{}:{}",
                port.protocol, port.host_ip, port.container_port, port.host_port
            )
        } else {
            port.name.clone()
        };
        if names.insert(name) {
            mappings.push(api::PortMapping {
                protocol: i32::from(match port.protocol.as_str() {
                    "UDP" => api::Protocol::Udp,
                    "SCTP" => api::Protocol::Sctp,
                    _ => api::Protocol::Tcp,
                }),
                container_port: port.container_port,
                host_port: port.host_port,
                host_ip: port.host_ip,
            });
        }
    }
    mappings
}

pub(crate) fn with_host_port(port: &Port, host_network: bool) -> Port {
    let mut port = port.clone();
    if host_network && port.host_port == 0 {
        port.host_port = port.container_port;
    }
    port
}

/// Nothing for the host's own network.
fn hostname(pod: &Pod, node: &Node) -> String {
    let spec = &pod.spec;
    if spec.host_network {
        return String::new();
    }
    if let Some(name) = &spec.hostname_override {
        return shortened(name);
    }
    let name = if spec.hostname.is_empty() {
        &pod.name
    } else {
        &spec.hostname
    };
    let short = shortened(name);
    if spec.hostname_as_fqdn && !spec.subdomain.is_empty() {
        return format!(
            "{short}.{}.{}.svc.{}",
            spec.subdomain, pod.namespace, node.cluster_domain
        );
    }
    short
}

fn shortened(name: &str) -> String {
    if name.len() <= HOSTNAME_BYTES {
        return name.to_owned();
    }
    let cut = name.get(..HOSTNAME_BYTES).unwrap_or(name);
    cut.trim_end_matches(['-', '.']).to_owned()
}

fn dns(pod: &Pod, node: &Node) -> api::DnsConfig {
    let spec = &pod.spec;
    let host = api::DnsConfig {
        servers: node.resolver.servers.clone(),
        searches: node.resolver.searches.clone(),
        options: node.resolver.options.clone(),
    };
    let by_cluster = match spec.dns_policy.as_str() {
        "" | "ClusterFirst" => !spec.host_network,
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut config = if spec.dns_policy == "None" {
        api::DnsConfig::default()
    } else if by_cluster && !node.cluster_dns.is_empty() {
        let domain = &node.cluster_domain;
        let mut searches = vec![
            format!("{}.svc.{domain}", pod.namespace),
            format!("svc.{domain}"),
            domain.clone(),
        ];
        unite(&mut searches, &host.searches);
        api::DnsConfig {
            servers: node.cluster_dns.clone(),
            searches,
            options: vec![CLUSTER_OPTIONS.to_owned()],
        }
    } else {
        host
    };
    if let Some(own) = &spec.dns {
        append(&mut config, own);
    }
    config
}

fn append(config: &mut api::DnsConfig, own: &Dns) {
    unite(&mut config.servers, &own.servers);
    unite(&mut config.searches, &own.searches);
    for (name, value) in &own.options {
        let prefix = format!("{name}:");
        config
            .options
            .retain(|option| option != name && !option.starts_with(&prefix));
        config.options.push(match value {
            Some(value) => format!("{name}:{value}"),
            None => name.clone(),
        });
    }
}

fn unite(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}
