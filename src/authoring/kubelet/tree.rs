//! YAML or JSON → values with their lines, as `kubectl` reads them: YAML 1.1 booleans and octal
//! numbers, merge keys, several documents. Pure. Refuses: duplicate keys and alias bombs.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Options, Spanned};

/// A value and where it stands.
pub(crate) type Node = Spanned<Value>;

/// One YAML value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    /// In decimal.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Why a text is no YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// From 1; 0 where it cannot be told.
    pub(crate) line: u64,
    pub(crate) text: String,
}

/// Every document of a text, without the empty ones.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let read = serde_saphyr::from_multiple_with_options::<Node>(text, options());
    let documents = match read {
        Ok(documents) => documents,
        // JSON is YAML but for tabs and some escapes.
        Err(error) if text.trim_start().starts_with('{') => match serde_json::from_str(text) {
            Ok(Json(value)) => vec![Spanned::new(value, Location::UNKNOWN, Location::UNKNOWN)],
            Err(_) => return Err(syntax(&error)),
        },
        Err(error) => return Err(syntax(&error)),
    };
    let filled = documents
        .into_iter()
        .filter(|document| document.value != Value::Null);
    Ok(filled.collect())
}

fn syntax(error: &serde_saphyr::Error) -> SyntaxError {
    let line = error.location().map_or(0, |location| location.line());
    let text = error.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    SyntaxError {
        line,
        text: words.join(" ").chars().take(400).collect(),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 100_000,
            max_depth: 256,
            max_nodes: 5_000_000,
            max_events: 10_000_000,
            max_total_scalar_bytes: 256 * 1024 * 1024,
            max_anchors: 10_000,
            max_aliases: 10_000,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Merge,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 1_000_000,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: 10_000,
        },
        strict_booleans: false,
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

/// The same values from JSON, which says no lines.
struct Json(Value);

/// Where the children of a value come from.
trait Child<'de>: Deserialize<'de> {
    fn node(self) -> Node;
}

impl Child<'_> for Node {
    fn node(self) -> Node {
        self
    }
}

impl Child<'_> for Json {
    fn node(self) -> Node {
        Spanned::new(self.0, Location::UNKNOWN, Location::UNKNOWN)
    }
}

struct ValueVisitor<C>(std::marker::PhantomData<C>);

impl<'de, C: Child<'de>> Visitor<'de> for ValueVisitor<C> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<C>()? {
            items.push(item.node());
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, C>()? {
            if entries.iter().any(|(before, _)| *before == key) {
                return Err(de::Error::custom(format!(
                    "duplicate key `{key}`; keep one"
                )));
            }
            entries.push((key, value.node()));
        }
        Ok(Value::Map(entries))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor::<Node>(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = ValueVisitor::<Json>(std::marker::PhantomData);
        deserializer.deserialize_any(visitor).map(Self)
    }
}
