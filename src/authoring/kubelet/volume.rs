//! Volumes and mounts as a manifest writes them, and how they are read. Pure.

use super::fields::Fields;

/// One volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) source: VolumeSource,
}

/// Where a volume comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VolumeSource {
    /// A directory or file of the node.
    HostPath(String),
    /// Made by the kubelet below the pod's own directory, by the plugin of this name.
    Plugin {
        directory: &'static str,
        read_only: bool,
    },
    /// A CSI driver mounts it below the pod's own directory.
    Csi { read_only: bool },
    /// A claim: what it is bound to is the cluster's knowledge.
    Claim { read_only: bool },
    /// An image.
    Image {
        reference: String,
        pull_policy: String,
    },
    /// No source, or more than one, or one that this translation does not know.
    Unknown,
}

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeMount {
    pub(crate) volume: String,
    pub(crate) mount_path: String,
    pub(crate) read_only: bool,
    pub(crate) recursive_read_only: String,
    pub(crate) sub_path: String,
    pub(crate) sub_path_expr: String,
    pub(crate) propagation: String,
}

/// The kubelet's own plugins, by the key of the API: the directory below `volumes/`, and whether
/// such a volume is read-only whatever the mount says.
const PLUGINS: &[(&str, &str, bool)] = &[
    ("emptyDir", "kubernetes.io~empty-dir", false),
    ("configMap", "kubernetes.io~configmap", true),
    ("secret", "kubernetes.io~secret", true),
    ("projected", "kubernetes.io~projected", true),
    ("downwardAPI", "kubernetes.io~downward-api", true),
    ("gitRepo", "kubernetes.io~git-repo", false),
];

/// Remote storage that the kubelet mounts itself, with a `readOnly` of its own.
const REMOTE: &[(&str, &str)] = &[
    ("nfs", "kubernetes.io~nfs"),
    ("iscsi", "kubernetes.io~iscsi"),
    ("fc", "kubernetes.io~fc"),
    ("cephfs", "kubernetes.io~cephfs"),
    ("glusterfs", "kubernetes.io~glusterfs"),
    ("rbd", "kubernetes.io~rbd"),
];

/// What the kubelet hands over to a CSI driver.
const MIGRATED: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cinder",
    "csi",
    "gcePersistentDisk",
    "portworxVolume",
    "vsphereVolume",
];

pub(crate) fn read_volume(mut fields: Fields<'_>) -> Volume {
    let name = fields.needed("name");
    let sources: Vec<&str> = fields
        .keys()
        .filter(|key| *key != "name" && fields.has(key))
        .collect();
    let source = match sources.as_slice() {
        // The API server's default.
        [] => VolumeSource::Plugin {
            directory: "kubernetes.io~empty-dir",
            read_only: false,
        },
        [key] => read_source(&mut fields, key),
        [_, _, ..] => {
            fields.refuse("", "has more than one source");
            fields.skip_rest();
            VolumeSource::Unknown
        }
    };
    fields.close();
    Volume { name, source }
}

fn read_source(fields: &mut Fields<'_>, key: &str) -> VolumeSource {
    let plugin = PLUGINS.iter().find(|(name, _, _)| *name == key);
    let remote = REMOTE.iter().find(|(name, _)| *name == key);
    match (key, plugin, remote) {
        (_, Some((_, directory, read_only)), _) => {
            // What stands in the volume is no field of a request.
            fields.skip(&[key]);
            VolumeSource::Plugin {
                directory,
                read_only: *read_only,
            }
        }
        (_, _, Some((_, directory))) => VolumeSource::Plugin {
            directory,
            read_only: read_only(fields, key),
        },
        ("hostPath", ..) => read_host_path(fields),
        ("image", ..) => read_image(fields),
        ("persistentVolumeClaim", ..) => VolumeSource::Claim {
            read_only: read_only(fields, key),
        },
        ("ephemeral", ..) => {
            fields.skip(&[key]);
            VolumeSource::Claim { read_only: false }
        }
        _ if MIGRATED.contains(&key) => VolumeSource::Csi {
            read_only: read_only(fields, key),
        },
        // `close` says it.
        _ => VolumeSource::Unknown,
    }
}

fn read_only(fields: &mut Fields<'_>, key: &str) -> bool {
    let Some(mut source) = fields.object(key) else {
        return false;
    };
    let read_only = source.flag("readOnly");
    source.skip_rest();
    read_only
}

fn read_host_path(fields: &mut Fields<'_>) -> VolumeSource {
    let Some(mut source) = fields.object("hostPath") else {
        return VolumeSource::Unknown;
    };
    let path = source.needed("path");
    // The kubelet checks or makes it; the request is the same.
    source.skip(&["type"]);
    source.close();
    VolumeSource::HostPath(path)
}

fn read_image(fields: &mut Fields<'_>) -> VolumeSource {
    let Some(mut source) = fields.object("image") else {
        return VolumeSource::Unknown;
    };
    let read = VolumeSource::Image {
        reference: source.needed("reference"),
        pull_policy: source.text("pullPolicy"),
    };
    source.close();
    read
}

pub(crate) fn read_mount(mut fields: Fields<'_>) -> VolumeMount {
    let mount = VolumeMount {
        volume: fields.needed("name"),
        mount_path: fields.needed("mountPath"),
        read_only: fields.flag("readOnly"),
        recursive_read_only: fields.text("recursiveReadOnly"),
        sub_path: fields.text("subPath"),
        sub_path_expr: fields.text("subPathExpr"),
        propagation: fields.text("mountPropagation"),
    };
    let known = ["", "None", "HostToContainer", "Bidirectional"];
    if !known.contains(&mount.propagation.as_str()) {
        fields.refuse(
            "mountPropagation",
            "must be None, HostToContainer or Bidirectional",
        );
    }
    let known = ["", "Disabled", "IfPossible", "Enabled"];
    if !known.contains(&mount.recursive_read_only.as_str()) {
        fields.refuse(
            "recursiveReadOnly",
            "must be Disabled, IfPossible or Enabled",
        );
    }
    fields.close();
    mount
}
