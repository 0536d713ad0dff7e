//! The values under the keys of `containers`, beyond those that are only Deny. Pure.

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::node_policy::PropagationDoc;
use super::values::present;

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
    Deny(super::DenyOnly),
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
                    "Deny" => Ok(DevicesDoc::Deny(super::DenyOnly::Deny)),
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
