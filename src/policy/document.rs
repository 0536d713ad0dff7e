//! Stage: the policy language as types. Pure. Refuses: unknown keys, duplicate keys, wrong types.
//!
//! The same types are read from YAML by the operator's compiler and from strict JSON by the node.
//! What a document means is decided by [`super::compile`]; nothing here is judged.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

/// `apiVersion` of every document.
pub const API_VERSION: &str = "pullguard.io/v1alpha1";

/// Words of the language that a later version brings: refused by name, so that nobody believes
/// them to be enforced.
pub const LATER: &[&str] = &[
    "NodePolicyException",
    "annotations",
    "appArmor",
    "attestations",
    "attestors",
    "capabilities",
    "checkpoint",
    "devices",
    "exec",
    "execSync",
    "groups",
    "hostPorts",
    "imageConfig",
    "logDirectory",
    "noNewPrivileges",
    "podSecurity",
    "procMount",
    "propagation",
    "resources",
    "revoked",
    "runtimeHandlers",
    "seLinux",
    "seccomp",
    "signatures",
    "sysctls",
    "trustRoots",
    "volumes",
];

/// One document of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// `kind: PolicySet`: what holds for the whole node.
    PolicySet(Box<PolicySet>),
    /// `kind: NodePolicy`: rules for the pods that it matches.
    NodePolicy(Box<NodePolicy>),
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
    #[serde(default)]
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
    #[serde(default)]
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

/// Labels: a map of which no key stands twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

/// A key that is written must have a value: `null` is an error, not an absent key.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;
        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of label names to values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if labels.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("duplicate key `{name}`")));
                    }
                    labels.insert(name, value);
                }
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_map(LabelsVisitor)
    }
}

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlocksVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for BlocksVisitor<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one block, or a list of blocks")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|block| OneOrMany(vec![block]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = seq.next_element()? {
                    blocks.push(block);
                }
                Ok(OneOrMany(blocks))
            }
        }
        deserializer.deserialize_any(BlocksVisitor(std::marker::PhantomData))
    }
}

const KINDS: &[&str] = &["PolicySet", "NodePolicy"];
const DOCUMENT_KEYS: &[&str] = &["apiVersion", "kind", "metadata", "spec"];

#[derive(Clone, Copy)]
enum Kind {
    PolicySet,
    NodePolicy,
}

enum Spec {
    PolicySet(PolicySetSpec),
    NodePolicy(NodePolicySpec),
}

/// Reads one document in one pass: `apiVersion` and `kind` say what `spec` is, so they stand before
/// it. (Reading `spec` twice would lose places, and buffering it would lose duplicate keys.)
struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document with apiVersion, kind, metadata and spec")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let (mut version, mut kind, mut metadata, mut spec) = (None, None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "apiVersion" if version.is_none() => {
                    version = Some(map.next_value::<ApiVersion>()?)
                }
                "kind" if kind.is_none() => kind = Some(map.next_value::<Kind>()?),
                "metadata" if metadata.is_none() => metadata = Some(map.next_value::<Metadata>()?),
                "spec" if spec.is_none() => {
                    let (Some(_), Some(kind)) = (&version, kind) else {
                        return Err(de::Error::custom(
                            "`apiVersion` and `kind` must stand before `spec`",
                        ));
                    };
                    spec = Some(match kind {
                        Kind::PolicySet => Spec::PolicySet(map.next_value()?),
                        Kind::NodePolicy => Spec::NodePolicy(map.next_value()?),
                    });
                }
                known if DOCUMENT_KEYS.contains(&known) => {
                    return Err(de::Error::custom(format_args!("duplicate key `{known}`")));
                }
                unknown => return Err(de::Error::unknown_field(unknown, DOCUMENT_KEYS)),
            }
        }
        version.ok_or_else(|| de::Error::missing_field("apiVersion"))?;
        kind.ok_or_else(|| de::Error::missing_field("kind"))?;
        let metadata = metadata.ok_or_else(|| de::Error::missing_field("metadata"))?;
        Ok(
            match spec.ok_or_else(|| de::Error::missing_field("spec"))? {
                Spec::PolicySet(spec) => {
                    Document::PolicySet(Box::new(PolicySet { metadata, spec }))
                }
                Spec::NodePolicy(spec) => {
                    Document::NodePolicy(Box::new(NodePolicy { metadata, spec }))
                }
            },
        )
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DocumentVisitor)
    }
}

struct ApiVersion;

impl<'de> Deserialize<'de> for ApiVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == API_VERSION {
            Ok(Self)
        } else {
            Err(de::Error::unknown_variant(&text, &[API_VERSION]))
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "PolicySet" => Ok(Self::PolicySet),
            "NodePolicy" => Ok(Self::NodePolicy),
            other => Err(de::Error::unknown_variant(other, KINDS)),
        }
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Document", DOCUMENT_KEYS.len())?;
        out.serialize_field("apiVersion", API_VERSION)?;
        match self {
            Self::PolicySet(set) => {
                out.serialize_field("kind", "PolicySet")?;
                out.serialize_field("metadata", &set.metadata)?;
                out.serialize_field("spec", &set.spec)?;
            }
            Self::NodePolicy(policy) => {
                out.serialize_field("kind", "NodePolicy")?;
                out.serialize_field("metadata", &policy.metadata)?;
                out.serialize_field("spec", &policy.spec)?;
            }
        }
        out.end()
    }
}
