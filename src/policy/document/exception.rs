//! The type of a NodePolicyException. Pure.

use serde::{Deserialize, Serialize};

use super::values::present;

/// `spec` of a NodePolicyException: one policy's rules, waived for some pods, for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionSpec {
    /// The policy, by name.
    pub policy: String,
    /// Its rules, by name.
    pub rules: Vec<String>,
    /// For which pods; at least one key.
    #[serde(rename = "match")]
    pub matches: ExceptionMatch,
    /// RFC 3339, in UTC: `2026-12-31T00:00:00Z`. From then on it waives nothing.
    pub expires: String,
    /// Why, for people: a ticket.
    pub reason: String,
}

/// Nothing that a tenant chooses stands here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionMatch {
    /// Names, `*` is any run of characters.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub namespaces: Option<Vec<String>>,
    /// Image patterns; a host that is somebody's.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub images: Option<Vec<String>>,
}
