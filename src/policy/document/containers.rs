//! The check `containers`: its keys, and the values of those that are more than Deny. Pure.

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::node_policy::{DenyOnly, HostNamespacesDoc, HostPathDoc, PropagationDoc, RootMode};
use super::values::present;

/// The check `containers`: an absent key is not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ContainersDoc {
    /// Privileged, and what equals it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub privileged: Option<DenyOnly>,
    /// The effective user.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub root: Option<RootMode>,
    /// Paths of the host.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub host_path: Option<HostPathDoc>,
    /// Namespaces of the host.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub host_namespaces: Option<HostNamespacesDoc>,
    /// Ports of the host.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub host_ports: Option<HostPortsDoc>,
    /// Linux capabilities.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub capabilities: Option<CapabilitiesDoc>,
    /// Whether a process may gain privileges.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub no_new_privileges: Option<RequireOnly>,
    /// Seccomp profiles.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub seccomp: Option<ProfilesDoc>,
    /// AppArmor profiles.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub app_armor: Option<ProfilesDoc>,
    /// SELinux labels.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub se_linux: Option<SeLinuxDoc>,
    /// What of /proc and /sys is masked.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub proc_mount: Option<ProcMountDoc>,
    /// Mount propagation.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub propagation: Option<PropagationsDoc>,
    /// Kernel settings.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub sysctls: Option<SysctlsDoc>,
    /// Group 0.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub groups: Option<GroupsDoc>,
    /// Devices of the host.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub devices: Option<DevicesDoc>,
    /// Annotations that steer the runtime.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub annotations: Option<AnnotationsDoc>,
    /// Runtime handlers.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub runtime_handlers: Option<HandlersDoc>,
    /// Exec, Attach and PortForward.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub exec: Option<AllowDeny>,
    /// ExecSync: probes and lifecycle hooks.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub exec_sync: Option<AllowDeny>,
    /// CheckpointContainer.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub checkpoint: Option<AllowDeny>,
    /// Where logs are written.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub log_directory: Option<LogDirectoryDoc>,
    /// Types of volumes.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub volumes: Option<VolumesDoc>,
}

/// `volumes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumesDoc {
    /// The types that may be mounted.
    pub allow: Vec<VolumeType>,
}

/// A type of volume, in Kubernetes' words (the keys of `spec.volumes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeType {
    /// A ConfigMap's data.
    ConfigMap,
    /// A Secret's data.
    Secret,
    /// A directory that lives as long as the pod.
    EmptyDir,
    /// Several sources in one: service account tokens too.
    Projected,
    /// Fields of the pod.
    #[serde(rename = "downwardAPI")]
    DownwardApi,
    /// A CSI driver's, written in the pod or bound to a claim.
    Csi,
    /// A claim: on the node, a local volume.
    PersistentVolumeClaim,
    /// A claim from a template in the pod: on the node, a local volume.
    Ephemeral,
    /// A path of the host, also by a claim.
    HostPath,
    /// An image.
    Image,
    /// NFS, written in the pod or bound to a claim; so are the next ones.
    Nfs,
    /// iSCSI.
    Iscsi,
    /// Fibre Channel.
    Fc,
    /// CephFS.
    Cephfs,
    /// Ceph's block device.
    Rbd,
    /// GlusterFS.
    Glusterfs,
    /// A FlexVolume driver's.
    FlexVolume,
    /// A Git repository.
    GitRepo,
}

/// `hostPorts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPortsDoc {
    /// None.
    Deny,
    /// Only these: `8080`, or a range `30000-32767`.
    #[serde(rename = "allow")]
    Allow(Vec<String>),
}

/// `capabilities`: at least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CapabilitiesDoc {
    /// Only these may be added, spelled as Kubernetes does: upper case, without `CAP_`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub allow_add: Option<Vec<String>>,
    /// Each of these must be dropped; `ALL` drops every one.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub require_drop: Option<Vec<String>>,
}

/// A key with one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequireOnly {
    /// Required.
    Require,
}

/// The kind of a seccomp or AppArmor profile, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProfileKind {
    /// The runtime's own.
    RuntimeDefault,
    /// One that lies on the node.
    Localhost,
    /// None.
    Unconfined,
}

/// `seccomp`, `appArmor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfilesDoc {
    /// The kinds that may be used.
    pub allow: Vec<ProfileKind>,
}

/// `seLinux`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeLinuxDoc {
    /// The types that may be named. A container that names none has the runtime's.
    pub allow_types: Vec<String>,
}

/// `procMount`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcMountDoc {
    /// The paths that every kubelet masks and protects are masked and protected.
    Masked,
}

/// `propagation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PropagationsDoc {
    /// The kinds that may be used.
    pub allow: Vec<PropagationDoc>,
}

/// `sysctls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SysctlsDoc {
    /// None.
    Deny,
    /// Only these; a name may end in `*`.
    #[serde(rename = "allow")]
    Allow(Vec<String>),
}

/// `groups`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GroupsDoc {
    /// Where group 0 is denied.
    pub deny_zero: DenyZero,
}

/// `groups.denyZero`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DenyZero {
    /// Among the supplemental groups (`fsGroup` is one of them).
    Supplemental,
    /// And as the primary group: `runAsGroup` must be a number above 0.
    All,
}

/// `devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum DevicesDoc {
    /// None.
    Deny(DenyOnly),
    /// Only these.
    Allow(DevicesAllowDoc),
}

/// The devices that may be used: at least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevicesAllowDoc {
    /// Paths on the host; `*` is any run inside one element.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub allow: Option<Vec<String>>,
    /// Names of the Container Device Interface; `*` is any run.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub cdi: Option<Vec<String>>,
}

/// `annotations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnotationsDoc {
    /// Keys that neither pod nor container may carry; `*` is any run.
    pub deny: Vec<String>,
}

/// `runtimeHandlers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlersDoc {
    /// The handlers that may be used; "" is the default one.
    pub allow: Vec<String>,
}

/// `exec`, `execSync`, `checkpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllowDeny {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
}

/// `logDirectory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogDirectoryDoc {
    /// The pod's own.
    Pod,
}

impl<'de> Deserialize<'de> for DevicesDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DevicesVisitor;
        impl<'de> Visitor<'de> for DevicesVisitor {
            type Value = DevicesDoc;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("Deny, or a map with allow and cdi")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                match word {
                    "Deny" => Ok(DevicesDoc::Deny(DenyOnly::Deny)),
                    other => Err(de::Error::unknown_variant(other, &["Deny"])),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                DevicesAllowDoc::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(DevicesDoc::Allow)
            }
        }
        deserializer.deserialize_any(DevicesVisitor)
    }
}
