//! What the edges found out for a decision: values only. Pure.

use super::Denial;
use crate::verify::ImageProof;

/// What really stands behind an element of `ContainerConfig.mounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountOrigin {
    /// The kubelet made it, for this pod.
    Kubelet(KubeletMount),
    /// An image volume.
    Image,
    /// A path of the host.
    Host {
        /// The true path on the host: absolute, clean, symlinks resolved.
        path: String,
        /// How the pod came to it.
        via: Via,
        /// Whether the path can change its meaning after the look.
        safe: HostPathSafety,
        /// The guarded path that mounting the object hands over, told by the object itself (device
        /// and path in its filesystem): it is that path, is below it, or shows it. Links and bind
        /// mounts give an object more names than text can know.
        guarded: Option<String>,
    },
    /// It could not be told.
    Unknown {
        /// The cause's class, in words that do not differ between retries.
        why: &'static str,
    },
}

/// What the kubelet makes for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubeletMount {
    /// A file that is no volume: /etc/hosts, the termination log.
    File,
    /// A volume, with the directory of the plugin that made it below `volumes/`
    /// (`kubernetes.io~configmap`).
    Volume(String),
}

/// How a pod came to a path of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The mount's `host_path` names it.
    Spec,
    /// By `subPath` of a volume: the kubelet's bind mount points there.
    SubPath,
    /// By a local persistent volume.
    LocalVolume,
    /// By a volume of a CSI driver or another plugin, which is a directory of the node.
    Csi,
}

/// Whether a host path can change its meaning between the look and containerd's own (containerd
/// resolves symlinks again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPathSafety {
    /// No element is a symlink, and every parent is root's and writable by nobody else.
    Fixed,
    /// An element is a symlink; every parent, also of what it points to, is root's and writable by
    /// nobody else.
    Symlink,
    /// A parent belongs to, or is writable by, somebody other than root.
    Writable,
}

/// What was found out for one CreateContainer. What was not asked for stays `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateEvidence {
    /// Parallel to [`super::CreateNeeds::images`]: a proof, or why there is none.
    pub images: Vec<Option<Result<ImageProof, Denial>>>,
    /// `config.User` of the image, verbatim, of bytes that are proven to be the ID's.
    pub image_user: Option<Result<String, Denial>>,
    /// Parallel to `container.mounts`, or empty.
    pub mounts: Vec<MountOrigin>,
}
