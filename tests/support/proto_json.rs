//! Protobuf messages as proto3 JSON, by the guard's own descriptors: 64-bit numbers are texts, enums
//! are names, values that are the default are left out. A field that no descriptor knows shows as
//! `unknown:NUMBER`.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde_json::{Map, Value, json};

struct Known {
    messages: HashMap<String, DescriptorProto>,
    enums: HashMap<String, EnumDescriptorProto>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(pullguard::api::DESCRIPTOR_SET).expect("descriptors");
    let mut known = Known {
        messages: HashMap::new(),
        enums: HashMap::new(),
    };
    for file in set.file {
        let package = format!(".{}", file.package());
        for one in file.enum_type {
            known.enums.insert(format!("{package}.{}", one.name()), one);
        }
        let mut open: Vec<(String, DescriptorProto)> = file
            .message_type
            .into_iter()
            .map(|one| (format!("{package}.{}", one.name()), one))
            .collect();
        while let Some((name, message)) = open.pop() {
            for one in &message.enum_type {
                known
                    .enums
                    .insert(format!("{name}.{}", one.name()), one.clone());
            }
            for one in &message.nested_type {
                open.push((format!("{name}.{}", one.name()), one.clone()));
            }
            known.messages.insert(name, message);
        }
    }
    known
});

/// A message of package `runtime.v1` in JSON.
pub fn proto_json(message: &str, bytes: &[u8]) -> Value {
    object(&format!(".runtime.v1.{message}"), bytes)
}

fn object(name: &str, bytes: &[u8]) -> Value {
    let descriptor = KNOWN
        .messages
        .get(name)
        .unwrap_or_else(|| panic!("{name} is not known"));
    let mut out = Map::new();
    for (number, raw) in raw_fields(bytes) {
        let Some(field) = descriptor.field.iter().find(|one| one.number() == number) else {
            out.insert(format!("unknown:{number}"), json!(format!("{raw:?}")));
            continue;
        };
        let key = camel(field.name());
        let entry = (field.r#type() == Type::Message)
            .then(|| KNOWN.messages.get(field.type_name()))
            .flatten()
            .filter(|message| message.options.as_ref().is_some_and(|one| one.map_entry()));
        if entry.is_some() {
            let pair = object(field.type_name(), raw.bytes());
            let word = |key: &str| pair.get(key).and_then(Value::as_str).unwrap_or_default();
            let map = out.entry(key).or_insert_with(|| json!({}));
            map[word("key")] = json!(word("value"));
        } else if field.label() == Label::Repeated {
            let values = match &raw {
                Raw::Bytes(packed) if is_number(field.r#type()) => unpack(field, packed),
                Raw::Bytes(_) | Raw::Number(_) => vec![value(field, &raw)],
            };
            let list = out.entry(key).or_insert_with(|| json!([]));
            list.as_array_mut().expect("a list").extend(values);
        } else {
            let value = value(field, &raw);
            if is_default(field, &value) {
                continue;
            }
            out.insert(key, value);
        }
    }
    Value::Object(out)
}

#[derive(Debug)]
enum Raw {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Raw {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) => panic!("a number where bytes are due"),
        }
    }

    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(_) => panic!("bytes where a number is due"),
        }
    }
}

fn raw_fields(mut bytes: &[u8]) -> Vec<(i32, Raw)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let raw = match tag & 7 {
            0 => Raw::Number(varint(&mut bytes)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("a length");
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Raw::Bytes(value.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((i32::try_from(tag >> 3).expect("a field number"), raw));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    prost::encoding::decode_varint(bytes).expect("a varint")
}

fn is_number(kind: Type) -> bool {
    !matches!(kind, Type::String | Type::Bytes | Type::Message)
}

fn unpack(field: &FieldDescriptorProto, mut packed: &[u8]) -> Vec<Value> {
    let mut values = Vec::new();
    while !packed.is_empty() {
        values.push(value(field, &Raw::Number(varint(&mut packed))));
    }
    values
}

fn value(field: &FieldDescriptorProto, raw: &Raw) -> Value {
    let kind = field.r#type();
    match kind {
        Type::String => json!(String::from_utf8_lossy(raw.bytes())),
        Type::Bytes => json!(base64::engine::general_purpose::STANDARD.encode(raw.bytes())),
        Type::Message => object(field.type_name(), raw.bytes()),
        Type::Bool => json!(raw.number() != 0),
        Type::Enum => {
            let number = raw.number().cast_signed();
            let known = &KNOWN.enums[field.type_name()];
            let named = known
                .value
                .iter()
                .find(|one| i64::from(one.number()) == number);
            named.map_or(json!(number), |one| json!(one.name()))
        }
        Type::Int64 => json!(raw.number().cast_signed().to_string()),
        Type::Uint64 => json!(raw.number().to_string()),
        Type::Int32 | Type::Uint32 => json!(raw.number().cast_signed()),
        Type::Double
        | Type::Float
        | Type::Fixed32
        | Type::Fixed64
        | Type::Group
        | Type::Sfixed32
        | Type::Sfixed64
        | Type::Sint32
        | Type::Sint64 => panic!("{kind:?} is in no message of the CRI"),
    }
}

/// proto3 leaves default values out of the wire; a sender that does not says the same.
fn is_default(field: &FieldDescriptorProto, value: &Value) -> bool {
    let kind = field.r#type();
    if kind == Type::Message {
        false
    } else if kind == Type::Enum {
        let known = &KNOWN.enums[field.type_name()];
        let mut all = known.value.iter();
        all.any(|one| one.number() == 0 && value == one.name())
    } else if kind == Type::Int64 || kind == Type::Uint64 {
        *value == json!("0")
    } else {
        *value == json!("") || *value == json!(0) || *value == json!(false)
    }
}

fn camel(name: &str) -> String {
    let mut out = String::new();
    let mut up = false;
    for letter in name.chars() {
        match letter {
            '_' => up = true,
            letter if up => {
                out.push(letter.to_ascii_uppercase());
                up = false;
            }
            letter => out.push(letter),
        }
    }
    out
}
