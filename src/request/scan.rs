//! Hygiene: one walk over the received bytes before anybody decodes them. Pure. Refuses: all that
//! two protobuf readers might read differently (protobuf merges duplicates, truncates numbers, keeps
//! wrong wire types as unknown), and fields that the guard does not know.

use std::collections::{BTreeMap, BTreeSet};

use super::hygiene::{Fault, HygieneError, UnknownField};
use super::schema::{Count, Field, Kind, MessageSchema, Schema, Varint};
use super::wire::{Reader, Value};

/// Unknown fields named in one refusal: their text stays below 512 bytes.
pub const MAX_REPORTED: usize = 8;

/// Submessages and map entries in one request. A pod's whole spec is at most 1.5 MiB in etcd, and
/// the kernel's bound on an environment is reached far below this.
pub const MAX_SUBMESSAGES: usize = 200_000;

/// Fields of all levels in one request, packed numbers counted singly.
pub const MAX_VALUES: usize = 1_000_000;

/// No message of the CRI nests deeper than 7.
const MAX_DEPTH: usize = 16;

/// Unknown fields that the signed policy tolerates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tolerated(BTreeSet<UnknownField>);

impl Tolerated {
    /// Tolerate none.
    pub const fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Whether `field` is tolerated.
    pub fn contains(&self, field: &UnknownField) -> bool {
        self.0.contains(field)
    }
}

impl FromIterator<UnknownField> for Tolerated {
    fn from_iter<I: IntoIterator<Item = UnknownField>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

/// Proof that a message passed hygiene.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned<'b> {
    message: &'b [u8],
    tolerated: BTreeSet<UnknownField>,
}

impl<'b> Scanned<'b> {
    /// The bytes that passed.
    pub(crate) fn message(&self) -> &'b [u8] {
        self.message
    }

    /// The unknown fields that are there and tolerated.
    pub fn tolerated(&self) -> &BTreeSet<UnknownField> {
        &self.tolerated
    }
}

/// Walks `message`, a runtime.v1 message named `name` without package.
///
/// # Errors
/// The first fault of the bytes; else the unknown fields that are not tolerated.
pub fn scan<'b>(
    name: &'static str,
    message: &'b [u8],
    tolerated: &Tolerated,
) -> Result<Scanned<'b>, HygieneError> {
    let broken = HygieneError::Schema { message: name };
    let schema = Schema::runtime_v1().ok_or(broken.clone())?;
    let root = schema.named(name).ok_or(broken)?;
    let mut walk = Walk {
        schema,
        tolerated,
        passed: BTreeSet::new(),
        denied: BTreeSet::new(),
        submessages: 0,
        values: 0,
    };
    walk.message(root, message, 0)?;
    if walk.denied.is_empty() {
        let tolerated = walk.passed;
        Ok(Scanned { message, tolerated })
    } else {
        let fields = walk.denied.into_iter().collect();
        Err(HygieneError::UnknownFields { fields })
    }
}

struct Walk<'s> {
    schema: &'s Schema,
    tolerated: &'s Tolerated,
    /// Unknown and tolerated: no more than policy names.
    passed: BTreeSet<UnknownField>,
    /// Unknown and not tolerated: no more than are reported.
    denied: BTreeSet<UnknownField>,
    submessages: usize,
    values: usize,
}

/// What one message has shown so far.
#[derive(Default)]
struct Seen<'b> {
    fields: u128,
    oneofs: BTreeSet<i32>,
    /// Keys of each map, by field number. Empty for a message without maps: allocates nothing.
    keys: BTreeMap<u32, BTreeSet<&'b [u8]>>,
}

impl<'s> Walk<'s> {
    fn message(
        &mut self,
        schema: &'s MessageSchema,
        message: &[u8],
        depth: usize,
    ) -> Result<(), HygieneError> {
        let whole = |fault| HygieneError::field(&schema.name, fault);
        if depth > MAX_DEPTH {
            return Err(whole(Fault::Depth));
        }
        let mut reader = Reader::new(message);
        let mut seen = Seen::default();
        while !reader.is_empty() {
            let (number, wire_type) = reader.key().map_err(whole)?;
            self.values = counted(self.values, MAX_VALUES)?;
            let Some(field) = schema.field(number) else {
                reader.value(wire_type).map_err(whole)?;
                self.note_unknown(schema, number);
                continue;
            };
            let at = |fault| HygieneError::field(format!("{}.{}", schema.name, field.name), fault);
            let value = reader.value(wire_type).map_err(at)?;
            seen.count(field).map_err(at)?;
            match (&field.kind, value) {
                (Kind::Message(place), Value::Length(bytes)) => {
                    self.submessage(*place, bytes, depth)?;
                }
                (Kind::Map(place), Value::Length(bytes)) => {
                    if let Err(error) = self.submessage(*place, bytes, depth) {
                        return Err(match error.fault() {
                            Some(fault) => at(fault),
                            None => error,
                        });
                    }
                    seen.map_key(number, bytes).map_err(at)?;
                }
                (kind, value) => {
                    self.values = self.scalar(kind, field.count, value, at)?;
                }
            }
        }
        Ok(())
    }

    fn submessage(&mut self, place: usize, bytes: &[u8], depth: usize) -> Result<(), HygieneError> {
        self.submessages = counted(self.submessages, MAX_SUBMESSAGES)?;
        let schema = self.schema;
        // Never absent: a test walks every place. If it were, the request is refused.
        let message = schema.at(place).ok_or(HygieneError::Schema {
            message: "runtime.v1",
        })?;
        self.message(message, bytes, depth.saturating_add(1))
    }

    /// Checks one number, string or packed run; gives the new count of values.
    fn scalar(
        &self,
        kind: &Kind,
        count: Count,
        value: Value<'_>,
        at: impl Fn(Fault) -> HygieneError,
    ) -> Result<usize, HygieneError> {
        match (kind, value) {
            (Kind::Utf8, Value::Length(bytes)) => match std::str::from_utf8(bytes) {
                Ok(_) => Ok(self.values),
                Err(_) => Err(at(Fault::Utf8)),
            },
            (Kind::Bytes, Value::Length(_))
            | (Kind::Fixed32, Value::Fixed32)
            | (Kind::Fixed64, Value::Fixed64) => Ok(self.values),
            (Kind::Varint(varint), Value::Varint(number)) => {
                check_number(varint, number).map_err(at)?;
                Ok(self.values)
            }
            // A repeated number may come packed, singly, or both: every reader takes both.
            (_, Value::Length(bytes)) if count == Count::Many => {
                packed(kind, bytes, self.values, at)
            }
            (_, _) => Err(at(Fault::WireType)),
        }
    }

    fn note_unknown(&mut self, schema: &MessageSchema, number: u32) {
        let field = UnknownField {
            message: schema.name.clone(),
            number,
        };
        if self.tolerated.contains(&field) {
            self.passed.insert(field);
        } else if self.denied.len() < MAX_REPORTED {
            self.denied.insert(field);
        }
    }
}

impl<'b> Seen<'b> {
    fn count(&mut self, field: &Field) -> Result<(), Fault> {
        match field.count {
            Count::Many => return Ok(()),
            Count::Once => {}
            Count::OneOf(index) => {
                if self.fields & field.bit == 0 && !self.oneofs.insert(index) {
                    return Err(Fault::Oneof);
                }
            }
        }
        if self.fields & field.bit != 0 {
            return Err(Fault::Twice);
        }
        self.fields |= field.bit;
        Ok(())
    }

    /// Notes the key of a map entry that passed the walk; an absent key is the empty one. Every
    /// map of the CRI has string keys; of any other kind a second entry would be refused.
    fn map_key(&mut self, number: u32, entry: &'b [u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(entry);
        let mut key: &[u8] = &[];
        while !reader.is_empty() {
            let (field, wire_type) = reader.key()?;
            let value = reader.value(wire_type)?;
            if let (1, Value::Length(bytes)) = (field, value) {
                key = bytes;
            }
        }
        if self.keys.entry(number).or_default().insert(key) {
            Ok(())
        } else {
            Err(Fault::MapKey)
        }
    }
}

fn packed(
    kind: &Kind,
    bytes: &[u8],
    mut values: usize,
    at: impl Fn(Fault) -> HygieneError,
) -> Result<usize, HygieneError> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        values = counted(values, MAX_VALUES)?;
        match kind {
            Kind::Varint(varint) => {
                let number = reader.varint().map_err(&at)?;
                check_number(varint, number).map_err(&at)?;
            }
            Kind::Fixed32 => {
                reader.take(4).map_err(&at)?;
            }
            Kind::Fixed64 => {
                reader.take(8).map_err(&at)?;
            }
            Kind::Utf8 | Kind::Bytes | Kind::Message(_) | Kind::Map(_) => {
                return Err(at(Fault::WireType));
            }
        }
    }
    Ok(values)
}

fn counted(count: usize, limit: usize) -> Result<usize, HygieneError> {
    if count < limit {
        Ok(count.saturating_add(1))
    } else {
        Err(HygieneError::TooMany { limit })
    }
}

/// A varint against its type: nothing that a reader would truncate.
fn check_number(varint: &Varint, number: u64) -> Result<(), Fault> {
    let fits = match varint {
        Varint::Bool => {
            return if number <= 1 {
                Ok(())
            } else {
                Err(Fault::Bool)
            };
        }
        Varint::Enum(known) => {
            let named = i32::try_from(number.cast_signed()).is_ok_and(|n| known.contains(&n));
            return if named {
                Ok(())
            } else {
                Err(Fault::Enum(number))
            };
        }
        Varint::Int64 | Varint::Uint64 | Varint::Sint64 => true,
        Varint::Int32 => i32::try_from(number.cast_signed()).is_ok(),
        Varint::Uint32 | Varint::Sint32 => u32::try_from(number).is_ok(),
    };
    if fits { Ok(()) } else { Err(Fault::Range) }
}

#[cfg(test)]
mod tests;
