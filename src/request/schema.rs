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
    /// Place of the message in the schema.
    Message(usize),
    /// Place of the entry message in the schema.
    Map(usize),
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

/// One message: its shown name without package (`SecurityProfile`, `PodSandboxConfig.LabelsEntry`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageSchema {
    pub(crate) name: String,
    /// By number, ascending.
    fields: Vec<(u32, Field)>,
}

impl MessageSchema {
    pub(crate) fn field(&self, number: u32) -> Option<&Field> {
        let place = self
            .fields
            .binary_search_by_key(&number, |(number, _)| *number);
        self.fields.get(place.ok()?).map(|(_, field)| field)
    }
}

/// Every message, by name, ascending.
#[derive(Debug)]
pub(crate) struct Schema {
    messages: Vec<MessageSchema>,
}

impl Schema {
    /// The schema of runtime.v1; `None` only if the build is broken.
    pub(crate) fn runtime_v1() -> Option<&'static Self> {
        RUNTIME_V1.as_ref()
    }

    /// The message of that name.
    pub(crate) fn named(&self, name: &str) -> Option<&MessageSchema> {
        let place = self
            .messages
            .binary_search_by(|message| message.name.as_str().cmp(name));
        self.messages.get(place.ok()?)
    }

    /// The message that a [`Kind`] leads to.
    pub(crate) fn at(&self, place: usize) -> Option<&MessageSchema> {
        self.messages.get(place)
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
            .map(|(name, message)| found.message(name, message))
            .collect::<Option<_>>()?;
        Some(Self { messages })
    }
}

/// The descriptor's types by name without package.
#[derive(Default)]
struct Found<'d> {
    messages: BTreeMap<String, &'d DescriptorProto>,
    enums: BTreeMap<String, BTreeSet<i32>>,
}

impl<'d> Found<'d> {
    fn add_enum(&mut self, scope: &str, one: &EnumDescriptorProto) {
        let numbers = one.value.iter().map(|value| value.number()).collect();
        let full = format!("{scope}.{}", one.name());
        self.enums.insert(short(&full).to_owned(), numbers);
    }

    fn add_message(&mut self, scope: &str, message: &'d DescriptorProto) {
        let full = format!("{scope}.{}", message.name());
        for one in &message.enum_type {
            self.add_enum(&full, one);
        }
        for nested in &message.nested_type {
            self.add_message(&full, nested);
        }
        self.messages.insert(short(&full).to_owned(), message);
    }

    fn message(&self, name: &str, message: &DescriptorProto) -> Option<MessageSchema> {
        if message.field.len() > MAX_FIELDS_PER_MESSAGE {
            return None;
        }
        let mut fields = Vec::with_capacity(message.field.len());
        for (index, field) in message.field.iter().enumerate() {
            let bit = 1_u128.checked_shl(u32::try_from(index).ok()?)?;
            let number = u32::try_from(field.number()).ok()?;
            fields.push((number, self.field(field, bit)?));
        }
        fields.sort_by_key(|(number, _)| *number);
        let name = name.to_owned();
        Some(MessageSchema { name, fields })
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
        let name = short(field.type_name());
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
                // The schema stands in the order of this map.
                let place = self.messages.keys().position(|key| key == name)?;
                if map {
                    Kind::Map(place)
                } else {
                    Kind::Message(place)
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
    use super::{Count, Field, Kind, Schema, Varint};

    fn field(message: &str, number: u32) -> &'static Field {
        let schema = Schema::runtime_v1().unwrap();
        schema.named(message).unwrap().field(number).unwrap()
    }

    /// The name of the message that a field leads to.
    fn target(field: &Field) -> &'static str {
        let (Kind::Message(place) | Kind::Map(place)) = &field.kind else {
            panic!("{} is no message", field.name)
        };
        &Schema::runtime_v1().unwrap().at(*place).unwrap().name
    }

    #[test]
    fn the_committed_descriptor_is_read() {
        assert_eq!(field("Mount", 2).name, "host_path");
        assert_eq!(field("Mount", 2).kind, Kind::Utf8);
        assert_eq!(field("Mount", 9).count, Count::Once);
        assert_eq!(target(field("Mount", 9)), "ImageSpec");
        let propagation = Varint::Enum([0, 1, 2].into());
        assert_eq!(field("Mount", 5).kind, Kind::Varint(propagation));
    }

    #[test]
    fn the_value_of_an_environment_variable_is_bytes() {
        assert_eq!(field("KeyValue", 2).kind, Kind::Bytes);
    }

    #[test]
    fn a_map_is_known_as_a_map() {
        let labels = field("PodSandboxConfig", 6);
        assert!(matches!(labels.kind, Kind::Map(_)));
        assert_eq!(target(labels), "PodSandboxConfig.LabelsEntry");
    }

    #[test]
    fn every_message_is_found_by_its_name() {
        let schema = Schema::runtime_v1().unwrap();
        for message in &schema.messages {
            assert_eq!(schema.named(&message.name), Some(message));
        }
        assert_eq!(schema.named("Nonsense"), None);
    }

    #[test]
    fn every_field_of_a_message_leads_to_a_message() {
        for message in &Schema::runtime_v1().unwrap().messages {
            for (_, field) in &message.fields {
                if matches!(field.kind, Kind::Message(_) | Kind::Map(_)) {
                    assert!(!target(field).is_empty());
                }
            }
        }
    }

    #[test]
    fn rubbish_is_no_schema() {
        assert!(Schema::read(b"\x0a\x05abc").is_none());
    }
}
