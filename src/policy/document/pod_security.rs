//! The values of `podSecurity` and `resources`. Pure.

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::values::present;

/// The check `podSecurity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodSecurityDoc {
    /// The level of the Pod Security Standards.
    pub level: LevelDoc,
    /// `latest`, or the minor version of Kubernetes whose checks count: `v1.36`.
    #[serde(default = "latest")]
    pub version: String,
    /// Controls that some images need not keep.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub exclude: Option<Vec<PodSecurityExcludeDoc>>,
    /// Pods of which the level is not asked.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub exempt: Option<PodSecurityExemptDoc>,
}

fn latest() -> String {
    "latest".to_owned()
}

/// A level of the Pod Security Standards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LevelDoc {
    /// What is known to hand over the host is denied.
    Baseline,
    /// And what good practice asks for is required.
    Restricted,
}

/// One control that is waived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodSecurityExcludeDoc {
    /// The control, by the name of the standards.
    pub control: String,
    /// For these images; absent: for all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub images: Option<Vec<String>>,
    /// Only these values; absent: the whole control, at every level.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub values: Option<Vec<String>>,
}

/// Pods that the level does not ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodSecurityExemptDoc {
    /// Exact names of namespaces.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub namespaces: Option<Vec<String>>,
    /// Runtime handlers.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub runtime_handlers: Option<Vec<String>>,
}

/// A resource that has a limit on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceName {
    /// `memory_limit_in_bytes`.
    Memory,
    /// `cpu_quota` in a `cpu_period`.
    Cpu,
}

/// The check `resources`: limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourcesDoc {
    /// A container must have these limits, its own or a default.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub require: Option<Vec<ResourceName>>,
    /// What a container without a limit gets, as a Kubernetes quantity.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub defaults: Option<AmountsDoc>,
    /// No limit is above these; a container without a limit is.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub maximum: Option<AmountsDoc>,
}

/// One amount per resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmountsDoc {
    /// Bytes.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub memory: Option<QuantityDoc>,
    /// CPUs.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub cpu: Option<QuantityDoc>,
}

/// A Kubernetes quantity as it is written: `512Mi`, `500m`, `2`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct QuantityDoc(pub String);

impl<'de> Deserialize<'de> for QuantityDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QuantityVisitor;
        impl Visitor<'_> for QuantityVisitor {
            type Value = QuantityDoc;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a quantity, e.g. 512Mi, 500m or 2")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(QuantityDoc(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(QuantityDoc(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(QuantityDoc(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(QuantityDoc(number.to_string()))
            }
        }
        deserializer.deserialize_any(QuantityVisitor)
    }
}
