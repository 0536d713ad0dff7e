//! Requests and limits → the numbers of cgroups, the quality of service, and the OOM score. Pure.

use std::collections::BTreeMap;

use super::container::Container;
use super::node::{Cgroups, Node};
use super::quantity::Quantity;
use super::spec::{PodSpec, Quantities, Resources};
use crate::api::runtime_v1 as api;

const CPU: &str = "cpu";
const MEMORY: &str = "memory";
const HUGE_PAGES: &str = "hugepages-";

/// Microseconds: the kubelet's default `cpuCFSQuotaPeriod`.
const CPU_PERIOD: i64 = 100_000;
/// The kernel's smallest quota, in microseconds.
const LEAST_QUOTA: i64 = 1000;
/// The kernel's bounds of cpu.shares.
const LEAST_SHARES: i64 = 2;
const MOST_SHARES: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;

const GUARANTEED_SCORE: i64 = -997;
const BEST_EFFORT_SCORE: i64 = 1000;

/// The quality of service that the kubelet gives a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Guaranteed,
    Burstable,
    BestEffort,
}

pub(crate) fn service(spec: &PodSpec) -> Service {
    let each: Vec<&Resources> = match &spec.resources {
        Some(resources) => vec![resources],
        None => spec
            .containers
            .iter()
            .chain(&spec.init_containers)
            .map(|container| &container.resources)
            .collect(),
    };
    let (mut requests, mut limits) = (Quantities::new(), Quantities::new());
    let mut guaranteed = true;
    for resources in each {
        let counted = |list: &Quantities| -> Quantities {
            [CPU, MEMORY]
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), *list.get(*name)?)))
                .filter(|(_, quantity)| quantity.is_positive())
                .collect()
        };
        let limited = counted(&resources.limits);
        guaranteed &= limited.len() == 2;
        add(&mut requests, &counted(&resources.requests));
        add(&mut limits, &limited);
    }
    if requests.is_empty() && limits.is_empty() {
        Service::BestEffort
    } else if guaranteed && requests == limits {
        Service::Guaranteed
    } else {
        Service::Burstable
    }
}

fn add(sum: &mut Quantities, more: &Quantities) {
    for (name, quantity) in more {
        let old = sum.get(name).copied().unwrap_or_default();
        sum.insert(name.clone(), old.plus(*quantity));
    }
}

fn raise(most: &mut Quantities, others: &Quantities) {
    for (name, quantity) in others {
        let old = most.entry(name.clone()).or_insert(*quantity);
        *old = (*old).max(*quantity);
    }
}

/// The pod's sums: containers and sidecars together, or what the init containers need at most.
fn sums(spec: &PodSpec, of: impl Fn(&Resources) -> &Quantities) -> Quantities {
    let mut sum = Quantities::new();
    for container in &spec.containers {
        add(&mut sum, of(&container.resources));
    }
    let (mut sidecars, mut init) = (Quantities::new(), Quantities::new());
    for container in &spec.init_containers {
        let own = of(&container.resources);
        if container.restarts_always {
            add(&mut sum, own);
            add(&mut sidecars, own);
            raise(&mut init, &sidecars);
        } else {
            let mut at_once = own.clone();
            add(&mut at_once, &sidecars);
            raise(&mut init, &at_once);
        }
    }
    raise(&mut sum, &init);
    if let Some(resources) = &spec.resources {
        for (name, quantity) in of(resources) {
            if [CPU, MEMORY].contains(&name.as_str()) || name.starts_with(HUGE_PAGES) {
                sum.insert(name.clone(), *quantity);
            }
        }
    }
    sum
}

/// `PodSandboxConfig.linux.resources`.
pub(crate) fn of_sandbox(spec: &PodSpec, node: &Node) -> api::LinuxContainerResources {
    let requests = sums(spec, |resources| &resources.requests);
    let limits = sums(spec, |resources| &resources.limits);
    numbers(
        requests.get(CPU).copied(),
        limits.get(CPU).copied().unwrap_or_default(),
        limits.get(MEMORY).copied().unwrap_or_default(),
        node,
    )
}

/// `PodSandboxConfig.linux.overhead`.
pub(crate) fn of_overhead(spec: &PodSpec, node: &Node) -> api::LinuxContainerResources {
    if spec.overhead.is_empty() {
        return api::LinuxContainerResources::default();
    }
    let cpu = spec.overhead.get(CPU).copied().unwrap_or_default();
    let memory = spec.overhead.get(MEMORY).copied().unwrap_or_default();
    numbers(Some(cpu), cpu, memory, node)
}

/// `ContainerConfig.linux.resources`.
pub(crate) fn of_container(
    spec: &PodSpec,
    container: &Container,
    node: &Node,
) -> api::LinuxContainerResources {
    let limit = |name: &str| {
        let own = container.resources.limits.get(name).copied();
        let pods = spec.resources.as_ref();
        let pods = pods.and_then(|resources| resources.limits.get(name).copied());
        own.filter(|quantity| !quantity.is_zero())
            .or(pods)
            .unwrap_or_default()
    };
    let request = container.resources.requests.get(CPU).copied();
    let mut resources = numbers(request, limit(CPU), limit(MEMORY), node);
    resources.oom_score_adj = oom_score(spec, container, node);
    resources.hugepage_limits = huge_pages(spec, container, node);
    match node.cgroups {
        Cgroups::V1 { swap: true } => {
            resources.memory_swap_limit_in_bytes = resources.memory_limit_in_bytes;
        }
        Cgroups::V2 { swap: true } => {
            // `memorySwap.swapBehavior` is NoSwap unless the node says otherwise.
            resources
                .unified
                .insert("memory.swap.max".to_owned(), "0".to_owned());
        }
        Cgroups::V1 { swap: false } | Cgroups::V2 { swap: false } => {}
    }
    resources
}

fn numbers(
    cpu_request: Option<Quantity>,
    cpu_limit: Quantity,
    memory_limit: Quantity,
    node: &Node,
) -> api::LinuxContainerResources {
    let unified = match node.cgroups {
        Cgroups::V1 { .. } => BTreeMap::new(),
        // `singleProcessOOMKill` is false there unless the node says otherwise.
        Cgroups::V2 { .. } => [("memory.oom.group".to_owned(), "1".to_owned())].into(),
    };
    api::LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: quota(cpu_limit.milli()),
        cpu_shares: shares(cpu_request.unwrap_or(cpu_limit).milli()),
        memory_limit_in_bytes: memory_limit.value(),
        unified,
        ..api::LinuxContainerResources::default()
    }
}

fn quota(milli: i64) -> i64 {
    match milli {
        0 => 0,
        milli => (milli.saturating_mul(CPU_PERIOD) / 1000).max(LEAST_QUOTA),
    }
}

fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(SHARES_PER_CPU) / 1000).clamp(LEAST_SHARES, MOST_SHARES)
}

fn oom_score(spec: &PodSpec, container: &Container, node: &Node) -> i64 {
    if spec.priority_class == "system-node-critical" {
        return GUARANTEED_SCORE;
    }
    match service(spec) {
        Service::Guaranteed => return GUARANTEED_SCORE,
        Service::BestEffort => return BEST_EFFORT_SCORE,
        Service::Burstable => {}
    }
    let asked = |container: &Container| {
        let request = container.resources.requests.get(MEMORY).copied();
        request.unwrap_or_default().value()
    };
    let shared = shared_request(spec);
    let score = |bytes: i64| {
        let memory = node.memory.max(1);
        1000 - 1000_i64.saturating_mul(bytes.saturating_add(shared)) / memory
    };
    let mut own = score(asked(container));
    let is_sidecar = container.restarts_always
        && spec
            .init_containers
            .iter()
            .any(|init| init.name == container.name);
    if is_sidecar {
        let least = spec.containers.iter().map(asked).min().unwrap_or_default();
        own = own.min(score(least));
    }
    own.clamp(1000 + GUARANTEED_SCORE, BEST_EFFORT_SCORE - 1)
}

/// What the pod as a whole requests of memory beyond its containers, per container.
fn shared_request(spec: &PodSpec) -> i64 {
    let whole = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.get(MEMORY))
        .map(|request| request.value());
    let Some(whole) = whole else {
        return 0;
    };
    let without = PodSpec {
        resources: None,
        ..spec.clone()
    };
    let parts = sums(&without, |resources| &resources.requests);
    let parts = parts.get(MEMORY).copied().unwrap_or_default().value();
    let sidecars = spec
        .init_containers
        .iter()
        .filter(|container| container.restarts_always);
    let many = spec.containers.len() + sidecars.count();
    let many = i64::try_from(many).unwrap_or(i64::MAX).max(1);
    whole.saturating_sub(parts).max(0) / many
}

fn huge_pages(spec: &PodSpec, container: &Container, node: &Node) -> Vec<api::HugepageLimit> {
    let pods = spec.resources.as_ref().map(|resources| &resources.limits);
    let mut limits: BTreeMap<String, u64> = BTreeMap::new();
    for (name, quantity) in pods
        .into_iter()
        .flatten()
        .chain(&container.resources.limits)
    {
        let size = name.strip_prefix(HUGE_PAGES).and_then(Quantity::parse);
        if let Some(size) = size {
            let bytes = u64::try_from(quantity.value()).unwrap_or_default();
            limits.insert(page_size(size.value()), bytes);
        }
    }
    node.huge_pages
        .iter()
        .map(|size| api::HugepageLimit {
            page_size: size.clone(),
            limit: limits.get(size).copied().unwrap_or_default(),
        })
        .collect()
}

/// A size as the kernel's cgroups name it: `2MB`, `1GB`.
fn page_size(bytes: i64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB", "PB"];
    let mut size = bytes;
    let mut names = units.iter();
    let mut unit = names.next().copied().unwrap_or_default();
    while size >= 1024 && size % 1024 == 0 {
        let Some(next) = names.next() else { break };
        unit = next;
        size /= 1024;
    }
    format!("{size}{unit}")
}

/// `PodSandboxConfig.linux.cgroup_parent` under the driver cgroupfs.
pub(crate) fn cgroup_parent(spec: &PodSpec, node: &Node) -> String {
    let class = match service(spec) {
        Service::Guaranteed => "",
        Service::Burstable => "/burstable",
        Service::BestEffort => "/besteffort",
    };
    format!("{}/kubepods{class}/pod{}", node.cgroup_root, node.uid)
}
