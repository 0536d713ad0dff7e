//! Reading and writing one document by its `apiVersion` and `kind`. Pure.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use super::{
    API_VERSION, Document, Exception, ExceptionSpec, Metadata, NodePolicy, NodePolicySpec,
    PolicySet, PolicySetSpec,
};

const KINDS: &[&str] = &["PolicySet", "NodePolicy", "NodePolicyException"];
const DOCUMENT_KEYS: &[&str] = &["apiVersion", "kind", "metadata", "spec"];

#[derive(Clone, Copy)]
enum Kind {
    PolicySet,
    NodePolicy,
    Exception,
}

enum Spec {
    PolicySet(PolicySetSpec),
    NodePolicy(NodePolicySpec),
    Exception(ExceptionSpec),
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
                        Kind::Exception => Spec::Exception(map.next_value()?),
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
                Spec::Exception(spec) => {
                    Document::Exception(Box::new(Exception { metadata, spec }))
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
            "NodePolicyException" => Ok(Self::Exception),
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
            Self::Exception(exception) => {
                out.serialize_field("kind", "NodePolicyException")?;
                out.serialize_field("metadata", &exception.metadata)?;
                out.serialize_field("spec", &exception.spec)?;
            }
        }
        out.end()
    }
}
