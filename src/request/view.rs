//! The views: one struct per thing that policy judges, in the words of CRI runtime.v1. A view is
//! made only by decoding a request that passed hygiene; nothing is forwarded from a view. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A boolean of the CRI that matters for security.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flag {
    /// Set.
    On,
    /// Not set, or false.
    Off,
}

/// Where the kubelet read a pod from: annotation `kubernetes.io/config.source`, which the kubelet
/// itself overwrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PodSource {
    /// The API server.
    Api,
    /// A manifest file on the node: a static pod.
    File,
    /// A manifest URL: a static pod.
    Http,
    /// No such annotation, or a value that no kubelet writes: another client.
    Unstated,
}

/// The pod that a call belongs to: `PodSandboxConfig.metadata`, `.labels`, `.annotations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// Where the kubelet read it from.
    pub source: PodSource,
    /// The pod's labels: the tenant's choice.
    pub labels: BTreeMap<String, String>,
    /// `kubernetes.io/config.seen`, empty if absent: the same in every request of one pod.
    pub config_seen: String,
}

/// One namespace of `NamespaceOption`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// POD (0).
    Pod,
    /// CONTAINER (1).
    Container,
    /// NODE (2): the host's.
    Node,
    /// TARGET (3): another container's, by `target_id`.
    Target,
}

/// One id mapping of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id on the host.
    pub host_id: u32,
    /// First id in the container.
    pub container_id: u32,
    /// How many ids.
    pub length: u32,
}

/// `UserNamespace`: absent and NODE both mean that there is none (containerd, not the proto's
/// comment).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserNamespace {
    /// None: ids are the host's.
    None,
    /// POD with these mappings.
    Pod {
        /// uid mappings.
        uids: Vec<IdRange>,
        /// gid mappings.
        gids: Vec<IdRange>,
    },
}

/// `NamespaceOption`; an absent message is all POD and no user namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Network.
    pub network: NamespaceMode,
    /// Process ids.
    pub pid: NamespaceMode,
    /// IPC.
    pub ipc: NamespaceMode,
    /// `target_id`, empty if none.
    pub target_id: String,
    /// User namespace.
    pub user: UserNamespace,
}

/// `SecurityProfile` (seccomp, AppArmor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// RuntimeDefault (0).
    RuntimeDefault,
    /// Unconfined (1).
    Unconfined,
    /// Localhost (2) with its reference.
    Localhost(String),
}

/// `SELinuxOption`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeLinux {
    /// User.
    pub user: String,
    /// Role.
    pub role: String,
    /// Type.
    pub kind: String,
    /// Level.
    pub level: String,
}

/// A sandbox: `PodSandboxConfig`, and `runtime_handler` where the request has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Whose.
    pub pod: Pod,
    /// `RunPodSandboxRequest.runtime_handler`, or containerd's own word for an existing sandbox;
    /// `None` where nothing says (CreateContainer's copy of the config names none).
    pub runtime_handler: Option<String>,
    /// `linux.security_context.privileged`.
    pub privileged: Flag,
    /// `linux.security_context.namespace_options`.
    pub namespaces: Namespaces,
    /// `linux.security_context.selinux_options`.
    pub selinux: Option<SeLinux>,
    /// `linux.security_context.apparmor`; the sandbox has no deprecated string.
    pub apparmor: Option<Profile>,
    /// `linux.security_context.run_as_user`.
    pub run_as_user: Option<i64>,
    /// `linux.security_context.supplemental_groups`.
    pub supplemental_groups: Vec<i64>,
    /// Every `port_mappings[].host_port` above 0.
    pub host_ports: Vec<i32>,
    /// `linux.sysctls`.
    pub sysctls: BTreeMap<String, String>,
    /// `annotations`, verbatim.
    pub annotations: BTreeMap<String, String>,
    /// `log_directory`.
    pub log_directory: String,
}

/// `Mount.propagation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// PRIVATE (0).
    None,
    /// HOST_TO_CONTAINER (1).
    HostToContainer,
    /// BIDIRECTIONAL (2).
    Bidirectional,
}

/// What is mounted: a host path, or an image volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// `host_path`, verbatim.
    HostPath(String),
    /// `image`: an image volume. `host_path` is empty beside it (a request with both is refused).
    Image {
        /// `image.image`: an ID from a kubelet.
        image: String,
        /// `image.user_specified_image`: the pod's own string.
        user_specified_image: String,
        /// `image_sub_path`.
        sub_path: String,
    },
}

/// One element of `ContainerConfig.mounts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// `container_path`.
    pub container_path: String,
    /// What is mounted.
    pub source: MountSource,
    /// `readonly`.
    pub readonly: Flag,
    /// `recursive_read_only`.
    pub recursive_read_only: Flag,
    /// `propagation`.
    pub propagation: Propagation,
}

/// `LinuxContainerResources`: `None` and empty are "not said", which on the wire is 0. In an
/// update what is not said stays as it is (containerd changes only what is not 0).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceChange {
    /// `cpu_period`, microseconds.
    pub cpu_period: Option<i64>,
    /// `cpu_quota`, microseconds in a period; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// `cpu_shares`.
    pub cpu_shares: Option<i64>,
    /// `memory_limit_in_bytes`.
    pub memory_limit: Option<i64>,
    /// `memory_swap_limit_in_bytes`.
    pub memory_swap_limit: Option<i64>,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i64>,
    /// `cpuset_cpus`, empty if it stays.
    pub cpuset_cpus: String,
    /// `cpuset_mems`, empty if it stays.
    pub cpuset_mems: String,
    /// `hugepage_limits`: page size and bytes.
    pub hugepage_limits: Vec<(String, u64)>,
    /// `unified`: cgroup v2 keys, which override the typed fields.
    pub unified: BTreeMap<String, String>,
}

/// A container: `ContainerConfig` with its `LinuxContainerSecurityContext`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// `metadata.name`.
    pub name: String,
    /// `image.image`: an ID from a kubelet, a name from crictl.
    pub image: String,
    /// `image.user_specified_image`; empty from crictl.
    pub user_specified_image: String,
    /// `mounts`.
    pub mounts: Vec<Mount>,
    /// `devices[].host_path`.
    pub devices: Vec<String>,
    /// `CDI_devices[].name`.
    pub cdi_devices: Vec<String>,
    /// `log_path`, below the sandbox's `log_directory`.
    pub log_path: String,
    /// `annotations`, verbatim.
    pub annotations: BTreeMap<String, String>,
    /// `linux.security_context.privileged`.
    pub privileged: Flag,
    /// `run_as_user`.
    pub run_as_user: Option<i64>,
    /// `run_as_username`, empty if none; wins over the uid in containerd.
    pub run_as_username: String,
    /// `run_as_group`.
    pub run_as_group: Option<i64>,
    /// `supplemental_groups`.
    pub supplemental_groups: Vec<i64>,
    /// `namespace_options`.
    pub namespaces: Namespaces,
    /// `capabilities.add_capabilities`, verbatim.
    pub add_capabilities: Vec<String>,
    /// `capabilities.drop_capabilities`, verbatim.
    pub drop_capabilities: Vec<String>,
    /// `capabilities.add_ambient_capabilities`, verbatim.
    pub add_ambient_capabilities: Vec<String>,
    /// `masked_paths`: empty means that containerd masks nothing.
    pub masked_paths: Vec<String>,
    /// `readonly_paths`: empty means that containerd protects nothing.
    pub readonly_paths: Vec<String>,
    /// `seccomp`.
    pub seccomp: Option<Profile>,
    /// `seccomp_profile_path` (deprecated, still read by containerd where `seccomp` is absent).
    pub seccomp_profile_path: String,
    /// `apparmor`.
    pub apparmor: Option<Profile>,
    /// `apparmor_profile` (deprecated, still read by containerd where `apparmor` is absent).
    pub apparmor_profile: String,
    /// `selinux_options`.
    pub selinux: Option<SeLinux>,
    /// `no_new_privs`.
    pub no_new_privs: Flag,
    /// `linux.resources`; absent: nothing is said.
    pub resources: ResourceChange,
}

/// A decoded `CreateContainerRequest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateAsk {
    /// `pod_sandbox_id`, verbatim.
    pub sandbox_id: String,
    /// `sandbox_config`: what containerd will believe of the sandbox in this call.
    pub sandbox: Sandbox,
    /// `config`.
    pub container: Container,
}

/// A decoded `PullImageRequest`. Its credentials stay with the edge that uses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullAsk {
    /// `image.image`, verbatim.
    pub image: String,
    /// `image.runtime_handler`, empty if none.
    pub runtime_handler: String,
    /// `sandbox_config`; `None` from crictl and kubeadm.
    pub sandbox: Option<Sandbox>,
}

/// A decoded `ImageStatusRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageStatusAsk {
    /// `image.image`, verbatim.
    pub image: String,
    /// `image.annotations["kubernetes.io/config.source"]`, if there.
    pub config_source: Option<String>,
    /// `image.annotations["kubernetes.io/config.seen"]`, if there.
    pub config_seen: Option<String>,
    /// `verbose`.
    pub verbose: Flag,
}
