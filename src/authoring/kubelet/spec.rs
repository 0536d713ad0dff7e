//! The pod as its manifest writes it, with the API server's own defaults, and how it is read. Pure.

use std::collections::BTreeMap;

use super::container::{Container, read_container};
use super::fields::Fields;
use super::quantity::Quantity;
use super::security::{PodSecurity, read_pod_security};
use super::volume::{Volume, read_volume};

/// Quantities by resource name.
pub(crate) type Quantities = BTreeMap<String, Quantity>;

/// What a pod (or a container) asks for and may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) requests: Quantities,
    pub(crate) limits: Quantities,
}

/// `spec.dnsConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    /// Name and value.
    pub(crate) options: Vec<(String, Option<String>)>,
}

/// A v1 Pod: name, metadata and spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    /// The beginning of a name that the server completes.
    pub(crate) generate_name: String,
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) spec: PodSpec,
}

/// A v1 PodSpec, as far as it shows in a request of the kubelet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodSpec {
    pub(crate) volumes: Vec<Volume>,
    pub(crate) init_containers: Vec<Container>,
    pub(crate) containers: Vec<Container>,
    pub(crate) ephemeral_containers: Vec<Container>,
    pub(crate) grace_seconds: i64,
    pub(crate) dns_policy: String,
    pub(crate) dns: Option<Dns>,
    pub(crate) service_account: String,
    pub(crate) automount_token: Option<bool>,
    pub(crate) host_network: bool,
    pub(crate) host_pid: bool,
    pub(crate) host_ipc: bool,
    pub(crate) share_processes: bool,
    pub(crate) host_users: Option<bool>,
    pub(crate) security: PodSecurity,
    pub(crate) hostname: String,
    pub(crate) hostname_override: Option<String>,
    pub(crate) subdomain: String,
    pub(crate) hostname_as_fqdn: bool,
    pub(crate) priority_class: String,
    pub(crate) runtime_class: String,
    pub(crate) overhead: Quantities,
    pub(crate) resources: Option<Resources>,
    /// `windows`, or nothing.
    pub(crate) os: String,
}

/// Keys of a PodSpec that no request of the kubelet shows: scheduling, pull secrets, restarts,
/// and the contents of /etc/hosts.
const NOT_IN_REQUESTS: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "enableServiceLinks",
    "hostAliases",
    "imagePullSecrets",
    "nodeName",
    "nodeSelector",
    "preemptionPolicy",
    "priority",
    "readinessGates",
    "restartPolicy",
    "schedulerName",
    "schedulingGates",
    "schedulingGroup",
    "tolerations",
    "topologySpreadConstraints",
    "workloadRef",
];

/// The grace period that the API server fills in.
const GRACE_SECONDS: i64 = 30;

/// Reads `metadata` and `spec` of a pod or of a pod template. `owner` names what a template
/// belongs to: its pods get their names and namespaces from there.
pub(crate) fn read_pod(fields: &mut Fields<'_>, owner: Option<(&str, &str)>) -> Pod {
    let mut pod = Pod::default();
    if let Some(mut metadata) = fields.object("metadata") {
        pod.name = metadata.text("name");
        pod.generate_name = metadata.text("generateName");
        pod.namespace = metadata.text("namespace");
        pod.labels = metadata.words("labels");
        pod.annotations = metadata.words("annotations");
        // An object as a server gave it has many more, and none of them shows.
        metadata.skip_rest();
    }
    if let Some((name, namespace)) = owner {
        name.clone_into(&mut pod.name);
        namespace.clone_into(&mut pod.namespace);
    }
    match fields.object("spec") {
        Some(spec) => pod.spec = read_spec(spec),
        None => fields.refuse("spec", "is missing"),
    }
    pod
}

fn read_spec(mut fields: Fields<'_>) -> PodSpec {
    let mut spec = PodSpec {
        volumes: fields.each("volumes", read_volume),
        init_containers: fields.each("initContainers", read_container),
        containers: fields.each("containers", read_container),
        ephemeral_containers: fields.each("ephemeralContainers", read_container),
        grace_seconds: fields
            .integer("terminationGracePeriodSeconds")
            .unwrap_or(GRACE_SECONDS),
        dns_policy: fields.text("dnsPolicy"),
        dns: fields.object("dnsConfig").map(read_dns),
        service_account: fields.text("serviceAccountName"),
        automount_token: fields.maybe_flag("automountServiceAccountToken"),
        host_network: fields.flag("hostNetwork"),
        host_pid: fields.flag("hostPID"),
        host_ipc: fields.flag("hostIPC"),
        share_processes: fields.flag("shareProcessNamespace"),
        host_users: fields.maybe_flag("hostUsers"),
        security: fields
            .object("securityContext")
            .map(read_pod_security)
            .unwrap_or_default(),
        hostname: fields.text("hostname"),
        hostname_override: fields.maybe_text("hostnameOverride"),
        subdomain: fields.text("subdomain"),
        hostname_as_fqdn: fields.flag("setHostnameAsFQDN"),
        priority_class: fields.text("priorityClassName"),
        runtime_class: fields.text("runtimeClassName"),
        overhead: read_quantities(&mut fields, "overhead"),
        resources: fields.object("resources").map(read_resources),
        os: read_os(&mut fields),
    };
    let old_account = fields.text("serviceAccount");
    if spec.service_account.is_empty() {
        spec.service_account = old_account;
    }
    if spec.containers.is_empty() {
        fields.refuse("containers", "is missing; a pod has at least one container");
    }
    default_requests(&mut spec);
    fields.skip(NOT_IN_REQUESTS);
    fields.not_translated("resourceClaims");
    fields.close();
    spec
}

fn read_os(fields: &mut Fields<'_>) -> String {
    let Some(mut os) = fields.object("os") else {
        return String::new();
    };
    let name = os.text("name");
    os.close();
    name
}

fn read_dns(mut fields: Fields<'_>) -> Dns {
    let dns = Dns {
        servers: fields.texts("nameservers"),
        searches: fields.texts("searches"),
        options: fields.each("options", |mut option| {
            let read = (option.needed("name"), option.maybe_text("value"));
            option.close();
            read
        }),
    };
    fields.close();
    dns
}

pub(crate) fn read_resources(mut fields: Fields<'_>) -> Resources {
    let resources = Resources {
        requests: read_quantities(&mut fields, "requests"),
        limits: read_quantities(&mut fields, "limits"),
    };
    fields.not_translated("claims");
    fields.close();
    resources
}

fn read_quantities(fields: &mut Fields<'_>, key: &str) -> Quantities {
    let mut quantities = Quantities::new();
    for (name, text, _) in fields.scalars(key) {
        match Quantity::parse(&text) {
            Some(quantity) => {
                quantities.insert(name, quantity);
            }
            None => fields.refuse(
                &format!("{key}.{name}"),
                "is no quantity; write it like 500m or 64Mi",
            ),
        }
    }
    quantities
}

/// The API server's: a limit without a request is a request too.
fn default_requests(spec: &mut PodSpec) {
    for container in spec.init_containers.iter_mut().chain(&mut spec.containers) {
        let resources = &mut container.resources;
        for (name, limit) in &resources.limits {
            resources.requests.entry(name.clone()).or_insert(*limit);
        }
    }
    let Some(resources) = &mut spec.resources else {
        return;
    };
    // What no container requests, the pod requests up to its limit.
    for (name, limit) in &resources.limits {
        let asked = spec
            .containers
            .iter()
            .chain(&spec.init_containers)
            .any(|container| container.resources.requests.contains_key(name));
        if !asked {
            resources.requests.entry(name.clone()).or_insert(*limit);
        }
    }
}

impl PodSpec {
    /// Every container, in the order in which the kubelet starts them.
    pub(crate) fn every_container(&self) -> impl Iterator<Item = &Container> {
        self.init_containers
            .iter()
            .chain(&self.containers)
            .chain(&self.ephemeral_containers)
    }
}
