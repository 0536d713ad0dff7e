//! Stage: the policy language as types. Pure. Refuses: unknown keys, duplicate keys, wrong types.
//!
//! The same types are read from YAML by the operator's compiler and from strict JSON by the node.
//! What a document means is decided by [`super::compile`]; nothing here is judged.

mod containers;
mod exception;
mod node_policy;
mod pod_security;
mod read;
mod values;

use serde::{Deserialize, Serialize};

pub use containers::{
    AllowDeny, AnnotationsDoc, CapabilitiesDoc, ContainersDoc, DenyZero, DevicesAllowDoc,
    DevicesDoc, GroupsDoc, HandlersDoc, HostPortsDoc, LogDirectoryDoc, ProcMountDoc, ProfileKind,
    ProfilesDoc, PropagationsDoc, RequireOnly, SeLinuxDoc, SysctlsDoc, VolumeType, VolumesDoc,
};
pub use exception::{ExceptionBlock, ExceptionSpec};
pub use node_policy::{
    Action, DenyOnly, DigestMode, ExcludeBlock, HostNamespace, HostNamespacesDoc, HostPathDoc,
    HostPathEntryDoc, MatchBlock, NodePolicySpec, OnError, PropagationDoc, RegistriesDoc, RootMode,
    RuleDoc, SourceDoc,
};
pub use pod_security::{
    AmountsDoc, LevelDoc, PodSecurityDoc, PodSecurityExcludeDoc, PodSecurityExemptDoc, QuantityDoc,
    ResourceName, ResourcesDoc,
};
pub use values::{Labels, OneOrMany};

/// `apiVersion` of every document.
pub const API_VERSION: &str = "pullguard.io/v1alpha1";

/// Words of the language that a later version brings: refused by name, so that nobody believes
/// them to be enforced.
pub const LATER: &[&str] = &[
    "annotations",
    "attestations",
    "attestors",
    "imageConfig",
    "revoked",
    "signatures",
    "trustRoots",
];

/// One document of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// `kind: PolicySet`: what holds for the whole node.
    PolicySet(Box<PolicySet>),
    /// `kind: NodePolicy`: rules for the pods that it matches.
    NodePolicy(Box<NodePolicy>),
    /// `kind: NodePolicyException`: rules of a policy that are waived for a time.
    NodePolicyException(Box<NodePolicyException>),
}

/// `metadata` of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Lower-case letters, digits, `-` and `.`, at most 63 bytes; unique per kind.
    pub name: String,
}

/// The one PolicySet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySet {
    /// Name.
    pub metadata: Metadata,
    /// Content.
    pub spec: PolicySetSpec,
}

/// A NodePolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePolicy {
    /// Name.
    pub metadata: Metadata,
    /// Content.
    pub spec: NodePolicySpec,
}

/// A NodePolicyException.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePolicyException {
    /// Name.
    pub metadata: Metadata,
    /// Content.
    pub spec: ExceptionSpec,
}

/// `spec` of a PolicySet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicySetSpec {
    /// For whom the set is written.
    pub audience: String,
    /// What happens to images and pods that no rule speaks of. Required.
    pub unmatched: UnmatchedDoc,
    /// What happens when the policy is stale.
    #[serde(default)]
    pub on_stale: OnStale,
    /// Images that were on the node before the guard.
    #[serde(default)]
    pub preloaded: Preloaded,
    /// The pause image, where it matches no bootstrap entry.
    #[serde(default)]
    pub pause: Pause,
    /// Whether the lockout guard is overridden.
    #[serde(default, deserialize_with = "values::plain_bool")]
    pub allow_lockout: bool,
    /// New CRI fields that are let through, as `Message.number`.
    #[serde(default)]
    pub tolerated_fields: Vec<String>,
    /// New read-only CRI methods that are relayed.
    #[serde(default)]
    pub relay_methods: Vec<String>,
    /// Images that start whatever the image rules say.
    #[serde(default)]
    pub bootstrap: Vec<BootstrapDoc>,
}

/// `unmatched` of a PolicySet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnmatchedDoc {
    /// Pods that no enforcing policy with a pod rule matches.
    pub pods: Unmatched,
    /// Images that no enforcing rule covers.
    pub images: Unmatched,
}

/// What happens to what no rule covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unmatched {
    /// It starts.
    Allow,
    /// It starts and is recorded.
    Audit,
    /// It does not start.
    Deny,
}

/// `onStale`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnStale {
    /// The policy holds as before.
    #[default]
    KeepEnforcing,
    /// The policy holds, and only what was admitted before starts.
    AdmittedOnly,
}

/// `preloaded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preloaded {
    /// They are proven like any other image.
    #[default]
    Verify,
    /// The adoption record proves their name.
    Adopt,
}

impl From<Preloaded> for crate::verify::Preloaded {
    fn from(value: Preloaded) -> Self {
        match value {
            Preloaded::Verify => Self::Verify,
            Preloaded::Adopt => Self::Adopt,
        }
    }
}

/// `pause`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pause {
    /// Recorded, with an event.
    #[default]
    Warn,
    /// The sandbox does not start.
    Deny,
}

/// One entry of `bootstrap`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapDoc {
    /// Exact namespace names.
    pub namespaces: Vec<String>,
    /// `repository@sha256:…`.
    pub image: String,
}
