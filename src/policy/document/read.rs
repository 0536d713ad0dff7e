//! Reading and writing one document by its `apiVersion` and `kind`. Pure.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use super::{
    API_VERSION, Document, ExceptionSpec, Metadata, NodePolicy, NodePolicyException,
    NodePolicySpec, PolicySet, PolicySetSpec,
};

/// Keys of a document. Read as an enum, so that the parser knows the place of one that is unknown.
#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    ApiVersion,
    Kind,
    Metadata,
    Spec,
}

impl Key {
    const COUNT: usize = 4;

    const fn as_str(self) -> &'static str {
        match self {
            Self::ApiVersion => "apiVersion",
            Self::Kind => "kind",
            Self::Metadata => "metadata",
            Self::Spec => "spec",
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
enum Kind {
    PolicySet,
    NodePolicy,
    NodePolicyException,
}

#[derive(Clone, Copy, Deserialize)]
enum ApiVersion {
    #[serde(rename = "pullguard.io/v1alpha1")]
    V1Alpha1,
}

enum Spec {
    PolicySet(PolicySetSpec),
    NodePolicy(NodePolicySpec),
    NodePolicyException(ExceptionSpec),
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
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::ApiVersion if version.is_none() => {
                    version = Some(map.next_value::<ApiVersion>()?);
                }
                Key::Kind if kind.is_none() => kind = Some(map.next_value::<Kind>()?),
                Key::Metadata if metadata.is_none() => {
                    metadata = Some(map.next_value::<Metadata>()?);
                }
                Key::Spec if spec.is_none() => {
                    let (Some(_), Some(kind)) = (&version, kind) else {
                        return Err(de::Error::custom(
                            "`apiVersion` and `kind` must stand before `spec`",
                        ));
                    };
                    spec = Some(match kind {
                        Kind::PolicySet => Spec::PolicySet(map.next_value()?),
                        Kind::NodePolicy => Spec::NodePolicy(map.next_value()?),
                        Kind::NodePolicyException => Spec::NodePolicyException(map.next_value()?),
                    });
                }
                Key::ApiVersion | Key::Kind | Key::Metadata | Key::Spec => {
                    let key = key.as_str();
                    return Err(de::Error::custom(format_args!("duplicate key `{key}`")));
                }
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
                Spec::NodePolicyException(spec) => {
                    Document::NodePolicyException(Box::new(NodePolicyException { metadata, spec }))
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

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Document", Key::COUNT)?;
        out.serialize_field(Key::ApiVersion.as_str(), API_VERSION)?;
        match self {
            Self::PolicySet(set) => {
                out.serialize_field(Key::Kind.as_str(), "PolicySet")?;
                out.serialize_field(Key::Metadata.as_str(), &set.metadata)?;
                out.serialize_field(Key::Spec.as_str(), &set.spec)?;
            }
            Self::NodePolicy(policy) => {
                out.serialize_field(Key::Kind.as_str(), "NodePolicy")?;
                out.serialize_field(Key::Metadata.as_str(), &policy.metadata)?;
                out.serialize_field(Key::Spec.as_str(), &policy.spec)?;
            }
            Self::NodePolicyException(exception) => {
                out.serialize_field(Key::Kind.as_str(), "NodePolicyException")?;
                out.serialize_field(Key::Metadata.as_str(), &exception.metadata)?;
                out.serialize_field(Key::Spec.as_str(), &exception.spec)?;
            }
        }
        out.end()
    }
}
