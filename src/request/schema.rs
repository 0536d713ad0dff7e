//! What fields the messages of runtime.v1 have: a small table made once from the committed
//! descriptor. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::api::DESCRIPTOR_SET;

static RUNTIME_V1: LazyLock<Option<Schema>> = LazyLock::new(|| Schema::read(DESCRIPTOR_SET));

/// More fields than this in one message would not fit the scanner's bit set.
const MAX_FIELDS_PER_MESSAGE: usize = 128;

/// A number on the wire as a varint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Varint {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Enum(BTreeSet<i32>),
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Varint(Varint),
    Fixed32,
    Fixed64,
    Utf8,
    Bytes,
    /// Key of the message in the schema.
    Message(String),
    /// Key of the entry message in the schema.
    Map(String),
}

/// How often a field may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Once,
    /// At most one member of the oneof with this index.
    OneOf(i32),
    Many,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) count: Count,
    /// Place in the message's bit set.
    pub(crate) bit: u128,
}

/// One message: its shown name, its fields by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageSchema {
    pub(crate) name: String,
    pub(crate) fields: BTreeMap<u32, Field>,
}

/// Every message, by its name without package (`SecurityProfile`, `PodSandboxConfig.LabelsEntry`).
#[derive(Debug)]
pub(crate) struct Schema {
    messages: BTreeMap<String, MessageSchema>,
}

impl Schema {
    /// The schema of runtime.v1; `None` only if the build is broken.
    pub(crate) fn runtime_v1() -> Option<&'static Self> {
        RUNTIME_V1.as_ref()
    }

    pub(crate) fn message(&self, name: &str) -> Option<&MessageSchema> {
        self.messages.get(name)
    }

    /// Every message, for the drift check and the tests.
    #[cfg(test)]
    pub(crate) fn messages(&self) -> impl Iterator<Item = &MessageSchema> {
        self.messages.values()
    }

    /// The schema of a descriptor set; `None` for anything that this reader does not know.
    pub(crate) fn read(descriptor_set: &[u8]) -> Option<Self> {
        let set = FileDescriptorSet::decode(descriptor_set).ok()?;
        let mut found = Found::default();
        for file in &set.file {
            let package = format!(".{}", file.package());
            for one in &file.enum_type {
                found.add_enum(&package, one);
            }
            for message in &file.message_type {
                found.add_message(&package, message);
            }
        }
        let messages = found
            .messages
            .iter()
            .map(|(full, message)| Some((short(full).to_owned(), found.message(full, message)?)))
            .collect::<Option<_>>()?;
        Some(Self { messages })
    }
}

/// The descriptor's types by full name (`.runtime.v1.X`).
#[derive(Default)]
struct Found<'d> {
    messages: BTreeMap<String, &'d DescriptorProto>,
    enums: BTreeMap<String, BTreeSet<i32>>,
}

impl<'d> Found<'d> {
    fn add_enum(&mut self, scope: &str, one: &EnumDescriptorProto) {
        let numbers = one.value.iter().map(|value| value.number()).collect();
        self.enums
            .insert(format!("{scope}.{}", one.name()), numbers);
    }

    fn add_message(&mut self, scope: &str, message: &'d DescriptorProto) {
        let full = format!("{scope}.{}", message.name());
        for one in &message.enum_type {
            self.add_enum(&full, one);
        }
        for nested in &message.nested_type {
            self.add_message(&full, nested);
        }
        self.messages.insert(full, message);
    }

    fn message(&self, full: &str, message: &DescriptorProto) -> Option<MessageSchema> {
        if message.field.len() > MAX_FIELDS_PER_MESSAGE {
            return None;
        }
        let mut fields = BTreeMap::new();
        for (index, field) in message.field.iter().enumerate() {
            let bit = 1_u128.checked_shl(u32::try_from(index).ok()?)?;
            let number = u32::try_from(field.number()).ok()?;
            fields.insert(number, self.field(field, bit)?);
        }
        Some(MessageSchema {
            name: short(full).to_owned(),
            fields,
        })
    }

    fn field(&self, field: &FieldDescriptorProto, bit: u128) -> Option<Field> {
        let kind = self.kind(field)?;
        let count = match (&kind, field.label() == Label::Repeated, field.oneof_index) {
            (Kind::Map(_), _, _) | (_, true, _) => Count::Many,
            (_, false, Some(index)) => Count::OneOf(index),
            (_, false, None) => Count::Once,
        };
        Some(Field {
            name: field.name().to_owned(),
            kind,
            count,
            bit,
        })
    }

    fn kind(&self, field: &FieldDescriptorProto) -> Option<Kind> {
        let name = field.type_name();
        Some(match field.r#type() {
            Type::Bool => Kind::Varint(Varint::Bool),
            Type::Int32 => Kind::Varint(Varint::Int32),
            Type::Int64 => Kind::Varint(Varint::Int64),
            Type::Uint32 => Kind::Varint(Varint::Uint32),
            Type::Uint64 => Kind::Varint(Varint::Uint64),
            Type::Sint32 => Kind::Varint(Varint::Sint32),
            Type::Sint64 => Kind::Varint(Varint::Sint64),
            Type::Enum => Kind::Varint(Varint::Enum(self.enums.get(name)?.clone())),
            Type::Fixed32 | Type::Sfixed32 | Type::Float => Kind::Fixed32,
            Type::Fixed64 | Type::Sfixed64 | Type::Double => Kind::Fixed64,
            Type::String => Kind::Utf8,
            Type::Bytes => Kind::Bytes,
            Type::Message => {
                let message = self.messages.get(name)?;
                let map = message.options.as_ref().is_some_and(|o| o.map_entry());
                let key = short(name).to_owned();
                if map {
                    Kind::Map(key)
                } else {
                    Kind::Message(key)
                }
            }
            Type::Group => return None,
        })
    }
}

/// A full name without the package of the CRI.
fn short(full: &str) -> &str {
    full.strip_prefix(".runtime.v1.").unwrap_or(full)
}

#[cfg(test)]
mod tests {
    use super::{Count, Kind, Schema, Varint};

    #[test]
    fn the_committed_descriptor_is_read() {
        let schema = Schema::runtime_v1().unwrap();
        let mount = schema.message("Mount").unwrap();
        assert_eq!(mount.fields[&2].name, "host_path");
        assert_eq!(mount.fields[&2].kind, Kind::Utf8);
        assert_eq!(mount.fields[&9].kind, Kind::Message("ImageSpec".to_owned()));
        assert_eq!(mount.fields[&9].count, Count::Once);
        assert_eq!(
            mount.fields[&5].kind,
            Kind::Varint(Varint::Enum([0, 1, 2].into()))
        );
    }

    #[test]
    fn the_value_of_an_environment_variable_is_bytes() {
        let schema = Schema::runtime_v1().unwrap();
        assert_eq!(
            schema.message("KeyValue").unwrap().fields[&2].kind,
            Kind::Bytes
        );
    }

    #[test]
    fn a_map_is_known_as_a_map() {
        let schema = Schema::runtime_v1().unwrap();
        let config = schema.message("PodSandboxConfig").unwrap();
        let entry = "PodSandboxConfig.LabelsEntry".to_owned();
        assert_eq!(config.fields[&6].kind, Kind::Map(entry));
    }

    #[test]
    fn every_message_that_a_field_names_is_there() {
        let schema = Schema::runtime_v1().unwrap();
        for message in schema.messages() {
            for field in message.fields.values() {
                if let Kind::Message(name) | Kind::Map(name) = &field.kind {
                    assert!(schema.message(name).is_some(), "{name}");
                }
            }
        }
    }

    #[test]
    fn rubbish_is_no_schema() {
        assert!(Schema::read(b"\x0a\x05abc").is_none());
    }
}
