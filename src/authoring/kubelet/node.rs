//! What a kubelet knows besides the manifest, or invents: inputs of the translation. Pure.

use std::collections::BTreeMap;

/// Where the kubelet reads a pod from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The API server.
    Api,
    /// A manifest file of the node.
    File,
    /// A manifest URL.
    Http,
}

impl Source {
    /// As annotation `kubernetes.io/config.source` has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::File => "file",
            Self::Http => "http",
        }
    }
}

/// What claims are bound to, and what CSI drivers mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// Nobody told: a local volume is a directory of the node.
    Unknown,
    /// Volumes of their own, never a directory of the node.
    Volumes,
}

/// Which cgroups the node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// Version 1; whether its swap controller is there.
    V1 {
        /// `memory.memsw.limit_in_bytes` exists.
        swap: bool,
    },
    /// Version 2; whether its swap controller is there.
    V2 {
        /// `memory.swap.max` exists.
        swap: bool,
    },
}

/// The node, its kubelet's configuration, and what that kubelet makes up. No rule of policy looks
/// at most of it; the default is a plain node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where pods come from.
    pub source: Source,
    /// `metadata.uid`, for every pod alike.
    pub uid: String,
    /// Annotation `kubernetes.io/config.seen`.
    pub config_seen: String,
    /// The kubelet's `--root-dir`.
    pub kubelet_root: String,
    /// `podLogsDir`.
    pub pod_logs: String,
    /// `cgroupRoot`, empty for the root; the driver is cgroupfs.
    pub cgroup_root: String,
    /// Which cgroups it has.
    pub cgroups: Cgroups,
    /// Bytes of memory.
    pub memory: i64,
    /// The page sizes of which the kernel has huge pages.
    pub huge_pages: Vec<String>,
    /// Paths that this machine masks beside the usual ones.
    pub masked_paths: Vec<String>,
    /// `seccompDefault`.
    pub seccomp_default: bool,
    /// Feature gate `ContainerStopSignals`, off by default.
    pub stop_signals: bool,
    /// Whether recursive read-only mounts work.
    pub recursive_read_only: bool,
    /// Name servers, search domains and options of the node's resolv.conf.
    pub resolver: Resolver,
    /// `clusterDNS`; with none, pods get the node's own resolver.
    pub cluster_dns: Vec<String>,
    /// `clusterDomain`.
    pub cluster_domain: String,
    /// First id on the host for pods with `hostUsers: false`.
    pub first_mapped_id: u32,
    /// The name of the volume with which the API server hands out a service account's token;
    /// `None` where it does not.
    pub token_volume: Option<String>,
    /// The name of each container's termination log.
    pub termination_log: String,
    /// The sandbox's ID.
    pub sandbox_id: String,
    /// IDs of running containers by name, for ephemeral containers with a target.
    pub container_ids: BTreeMap<String, String>,
    /// Whether claims and CSI volumes are taken for volumes, and no directories of the node.
    pub claims: Claims,
    /// Handlers of RuntimeClasses that are not named like their handler.
    pub handlers: BTreeMap<String, String>,
}

/// A resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// `nameserver`.
    pub servers: Vec<String>,
    /// `search`.
    pub searches: Vec<String>,
    /// `options`.
    pub options: Vec<String>,
}

impl Node {
    /// A plain node.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            source: Source::Api,
            uid: "00000000-0000-4000-8000-000000000000".to_owned(),
            config_seen: "2000-01-01T00:00:00.000000000Z".to_owned(),
            kubelet_root: "/var/lib/kubelet".to_owned(),
            pod_logs: "/var/log/pods".to_owned(),
            cgroup_root: String::new(),
            cgroups: Cgroups::V2 { swap: true },
            memory: 16 << 30,
            huge_pages: vec!["2MB".to_owned(), "1GB".to_owned()],
            masked_paths: Vec::new(),
            seccomp_default: false,
            stop_signals: false,
            recursive_read_only: true,
            resolver: Resolver::default(),
            cluster_dns: vec!["10.96.0.10".to_owned()],
            cluster_domain: "cluster.local".to_owned(),
            first_mapped_id: 131_072,
            token_volume: Some("kube-api-access-00000".to_owned()),
            termination_log: "00000000".to_owned(),
            sandbox_id: "0".repeat(64),
            container_ids: BTreeMap::new(),
            claims: Claims::Unknown,
            handlers: BTreeMap::new(),
        }
    }

    /// The directory of the pod's own files.
    pub(crate) fn pod_directory(&self) -> String {
        format!("{}/pods/{}", self.kubelet_root, self.uid)
    }
}

/// What is known of images: who pulls them learns it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// IDs by the pod's own string; others are made up.
    pub ids: BTreeMap<String, String>,
    /// `USER` by the pod's own string. A container whose user hangs on an image that is not here
    /// gets none in its request, which no kubelet sends.
    pub users: BTreeMap<String, String>,
}
