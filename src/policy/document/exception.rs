//! The types of a NodePolicyException. Pure.

use serde::{Deserialize, Serialize};

use super::node_policy::SourceDoc;
use super::values::{Labels, present};

/// `spec` of a NodePolicyException: rules of one policy, waived for some pods until a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionSpec {
    /// The policy, by name.
    pub policy: String,
    /// Its rules, by name; at least one.
    pub rules: Vec<String>,
    /// For which pods and images. Required.
    #[serde(rename = "match")]
    pub matches: ExceptionBlock,
    /// RFC 3339 in whole seconds: from then on it waives nothing. Required.
    pub expires: String,
    /// Why, for people: one line of printable ASCII without backticks, at most 200 bytes. Required.
    pub reason: String,
}

/// `match` of an exception: every key that is there must hold; of a key's values, any. Nothing that
/// a tenant chooses stands here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionBlock {
    /// Names, `*` is any run of characters.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub namespaces: Option<Vec<String>>,
    /// Image patterns.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub images: Option<Vec<String>>,
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
