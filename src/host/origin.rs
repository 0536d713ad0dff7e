//! Where a mount of a container comes from.

/// Where a mount of a container comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountOrigin {
    /// The kubelet made it for this pod: a volume of the pod, its hosts file, its termination log.
    Kubelet,
    /// An image volume: the CRI mount names an image and no path.
    Image,
    /// A path of the host.
    Host {
        /// The path: as the pod wrote it (without doubled and trailing slashes), or for the other
        /// two ways the place that is really mounted.
        path: String,
        /// How the pod reaches it.
        via: Via,
        /// Whether the path can become another one after the check.
        safe: HostPathSafety,
    },
    /// It could not be told. Treat as a host path that nothing allows.
    Unknown {
        /// What stood in the way, for the text of a denial: no final period, one line.
        why: String,
    },
}

/// How a pod reaches a path of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The path stands in the request.
    Spec,
    /// A subPath of a hostPath (or of another pod's volume): the request names a bind mount below
    /// the kubelet's `volume-subpaths`.
    SubPath,
    /// A local volume, or a CSI volume that is a directory of the node.
    LocalVolume,
}

/// Whether a host path still means the same when containerd resolves it, after the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPathSafety {
    /// No symlink in it, and only root can change its parents.
    Safe,
    /// A component is a symbolic link: containerd follows it.
    Symlink,
    /// A parent belongs to somebody else, or its group or everybody may write there.
    WritableParent,
    /// It does not exist yet, below parents that only root can change: containerd creates it.
    Missing,
    /// It could not be looked at, or is no absolute path without `..`.
    Unknown,
}
