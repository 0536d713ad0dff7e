//! The types of a NodePolicy and its rules. Pure.

use serde::{Deserialize, Serialize};

use super::containers::ContainersDoc;
use super::pod_security::{PodSecurityDoc, ResourcesDoc};
use super::values::{Labels, OneOrMany, plain_bool, present};

/// `spec` of a NodePolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodePolicySpec {
    /// What a broken rule does, where the rule itself says nothing.
    #[serde(default)]
    pub action: Action,
    /// What "could not tell" does for evidence rules.
    #[serde(default)]
    pub on_error: OnError,
    /// Which pods; absent: all.
    #[serde(
        default,
        rename = "match",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub matches: Option<OneOrMany<MatchBlock>>,
    /// Which pods not.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub exclude: Option<OneOrMany<ExcludeBlock>>,
    /// At least one.
    pub rules: Vec<RuleDoc>,
}

/// What a broken rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// The call is denied.
    #[default]
    Enforce,
    /// It is recorded.
    Audit,
    /// It is recorded, with an event for people.
    Warn,
}

impl Action {
    /// The word of the language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "Enforce",
            Self::Audit => "Audit",
            Self::Warn => "Warn",
        }
    }
}

/// `onError`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnError {
    /// "Could not tell" is a denial.
    #[default]
    Deny,
    /// "Could not tell" lets the call go on, recorded.
    Allow,
}

/// One block of `match`: every key that is there must hold; of a key's values, any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MatchBlock {
    /// Names, `*` is any run of characters.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub namespaces: Option<Vec<String>>,
    /// Labels of the node's own settings.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub nodes: Option<Labels>,
    /// Where the kubelet read the pod from.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub sources: Option<Vec<SourceDoc>>,
    /// Runtime handlers, "" is the default one.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub runtime_handlers: Option<Vec<String>>,
    /// Labels of the pod: the tenant's choice.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub pod_labels: Option<Labels>,
}

/// One block of `exclude`. Nothing that a tenant chooses stands here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExcludeBlock {
    /// Names, `*` is any run of characters.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub namespaces: Option<Vec<String>>,
    /// Labels of the node's own settings.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub nodes: Option<Labels>,
    /// Where the kubelet read the pod from.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub sources: Option<Vec<SourceDoc>>,
}

/// A pod source, as the kubelet writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceDoc {
    /// The API server.
    Api,
    /// A manifest file: a static pod.
    File,
    /// A manifest URL: a static pod.
    Http,
}

/// One rule: a name and exactly one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RuleDoc {
    /// Unique in its policy; letters, digits, `-`, `.`; at most 63 bytes.
    pub name: String,
    /// Image patterns that the rule speaks of; absent: all images.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub images: Option<Vec<String>>,
    /// Image patterns that the rule does not speak of.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub skip_images: Option<Vec<String>>,
    /// Replaces the policy's action.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub action: Option<Action>,
    /// Replaces the policy's `onError`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub on_error: Option<OnError>,
    /// What to change, in the author's own words: printable ASCII, one line, at most 200 bytes, no
    /// backtick.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub message: Option<String>,
    /// Check: which repositories.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub registries: Option<RegistriesDoc>,
    /// Check: a digest.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub digest: Option<DigestMode>,
    /// Check: what containers may be.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub containers: Option<ContainersDoc>,
    /// Check: a level of the Pod Security Standards.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub pod_security: Option<PodSecurityDoc>,
    /// Check: limits.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub resources: Option<ResourcesDoc>,
}

/// The check `registries`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistriesDoc {
    /// The image must match one of these.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub allow: Option<Vec<String>>,
    /// The image must match none of these.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub deny: Option<Vec<String>>,
}

/// The check `digest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DigestMode {
    /// The pod's own string must carry a digest.
    InSpec,
    /// The guard pins what the tag meant when it was pulled.
    Pin,
}

/// A key with one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DenyOnly {
    /// Denied.
    Deny,
}

/// `root`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootMode {
    /// Denied.
    Deny,
    /// Denied, unless ids are mapped away from the host's.
    DenyUnlessUserNamespace,
}

/// `hostPath`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPathDoc {
    /// None.
    Deny,
    /// Only these.
    #[serde(rename = "allow")]
    Allow(Vec<HostPathEntryDoc>),
}

/// One allowed host path: exactly one of `prefix` and `path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HostPathEntryDoc {
    /// This directory and everything below it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub prefix: Option<String>,
    /// Exactly this path.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub path: Option<String>,
    /// Whether the mount must be read-only.
    #[serde(default, deserialize_with = "plain_bool")]
    pub read_only: bool,
    /// The widest propagation that is allowed.
    #[serde(default)]
    pub propagation: PropagationDoc,
}

/// Mount propagation, in Kubernetes' words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PropagationDoc {
    /// Private.
    #[default]
    None,
    /// The container sees the host's later mounts.
    HostToContainer,
    /// And the host sees the container's.
    Bidirectional,
}

/// `hostNamespaces`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostNamespacesDoc {
    /// None.
    Deny,
    /// Only these.
    #[serde(rename = "allow")]
    Allow(Vec<HostNamespace>),
}

/// A namespace that a pod can share with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostNamespace {
    /// `hostNetwork`.
    Network,
    /// `hostPID`.
    Pid,
    /// `hostIPC`.
    Ipc,
}

impl HostNamespace {
    /// The field of a pod that asks for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "hostNetwork",
            Self::Pid => "hostPID",
            Self::Ipc => "hostIPC",
        }
    }
}
