//! Reading one object of a manifest key by key: what nobody took at the end is said. Pure.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Node, Value};
use crate::policy::escape;

/// The longest text of a manifest that a note shows, in bytes.
const SHOWN_BYTES: usize = 120;

/// One thing said about a place in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// From 1; 0 where it cannot be told.
    pub line: u64,
    /// The key's path in the document, such as `spec.containers[0].image`.
    pub path: String,
    /// What of it.
    pub text: String,
}

/// Everything that was said while a document was read.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// The document cannot be used.
    pub(crate) errors: RefCell<Vec<Note>>,
    /// Keys that this translation does not know: the request may look different.
    pub(crate) unknown: RefCell<Vec<Note>>,
}

impl Notes {
    pub(crate) fn error(&self, line: u64, path: &str, text: impl Into<String>) {
        self.errors.borrow_mut().push(Note {
            line,
            path: path.to_owned(),
            text: text.into(),
        });
    }

    fn unknown(&self, line: u64, path: String) {
        self.unknown.borrow_mut().push(Note {
            line,
            path,
            text: "is not translated".to_owned(),
        });
    }
}

/// An object that is being read.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    path: String,
    line: u64,
    entries: &'n [(String, Node)],
    taken: BTreeSet<&'n str>,
    notes: &'n Notes,
}

impl<'n> Fields<'n> {
    /// The object at `node`; `None` for null, and with an error for anything else.
    pub(crate) fn open(node: &'n Node, path: &str, notes: &'n Notes) -> Option<Self> {
        let line = node.referenced.line();
        match &node.value {
            Value::Map(entries) => Some(Self {
                path: path.to_owned(),
                line,
                entries,
                taken: BTreeSet::new(),
                notes,
            }),
            Value::Null => None,
            Value::Flag(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                notes.error(line, path, "must be an object");
                None
            }
        }
    }

    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Says that the object cannot be used.
    pub(crate) fn refuse(&self, key: &str, text: impl Into<String>) {
        self.notes.error(self.line, &self.below(key), text);
    }

    fn below(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            (path, "") => path.to_owned(),
            ("", key) => key.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    fn wrong(&self, node: &Node, key: &str, text: &str) {
        let line = node.referenced.line();
        self.notes.error(line, &self.below(key), text);
    }

    /// The value of a key; null is absent.
    pub(crate) fn node(&mut self, key: &str) -> Option<&'n Node> {
        let (name, node) = self.entries.iter().find(|(name, _)| name == key)?;
        self.taken.insert(name);
        (node.value != Value::Null).then_some(node)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|(name, _)| name == key);
        entry.is_some_and(|(_, node)| node.value != Value::Null)
    }

    /// Takes keys that change no request.
    pub(crate) fn skip(&mut self, keys: &[&str]) {
        for key in keys {
            self.node(key);
        }
    }

    /// Takes every key that is left.
    pub(crate) fn skip_rest(&mut self) {
        self.taken
            .extend(self.entries.iter().map(|(name, _)| name.as_str()));
    }

    /// The keys that are there.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'n str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn maybe_text(&mut self, key: &str) -> Option<String> {
        let node = self.node(key)?;
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Flag(_) | Value::Number(_) => {
                self.wrong(node, key, "must be text; put the value in quotes");
                None
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.wrong(node, key, "must be text");
                None
            }
        }
    }

    pub(crate) fn text(&mut self, key: &str) -> String {
        self.maybe_text(key).unwrap_or_default()
    }

    /// A text that must be there.
    pub(crate) fn needed(&mut self, key: &str) -> String {
        let text = self.text(key);
        if text.is_empty() && !self.has(key) {
            self.refuse(key, "is missing");
        }
        text
    }

    pub(crate) fn maybe_flag(&mut self, key: &str) -> Option<bool> {
        let node = self.node(key)?;
        match &node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Null | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.wrong(node, key, "must be true or false, without quotes");
                None
            }
        }
    }

    pub(crate) fn flag(&mut self, key: &str) -> bool {
        self.maybe_flag(key).unwrap_or_default()
    }

    pub(crate) fn integer(&mut self, key: &str) -> Option<i64> {
        let node = self.node(key)?;
        let number = integer_of(node);
        if number.is_none() {
            self.wrong(node, key, "must be a whole number, without quotes");
        }
        number
    }

    /// A number or a text, as text: a quantity, a port.
    pub(crate) fn scalar(&mut self, key: &str) -> Option<String> {
        let node = self.node(key)?;
        let text = scalar_of(node);
        if text.is_none() {
            self.wrong(node, key, "must be a number or text");
        }
        text
    }

    fn list(&mut self, key: &str) -> &'n [Node] {
        match self.node(key).map(|node| (node, &node.value)) {
            None => &[],
            Some((_, Value::List(items))) => items,
            Some((node, _)) => {
                self.wrong(node, key, "must be a list");
                &[]
            }
        }
    }

    pub(crate) fn texts(&mut self, key: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for item in self.list(key) {
            match &item.value {
                Value::Text(text) => texts.push(text.clone()),
                Value::Null
                | Value::Flag(_)
                | Value::Number(_)
                | Value::List(_)
                | Value::Map(_) => {
                    self.wrong(item, key, "must be a list of texts; put each in quotes");
                }
            }
        }
        texts
    }

    pub(crate) fn integers(&mut self, key: &str) -> Vec<i64> {
        let mut numbers = Vec::new();
        for item in self.list(key) {
            match integer_of(item) {
                Some(number) => numbers.push(number),
                None => self.wrong(item, key, "must be a list of whole numbers"),
            }
        }
        numbers
    }

    /// An object of texts: labels, annotations.
    pub(crate) fn words(&mut self, key: &str) -> BTreeMap<String, String> {
        let Some(mut object) = self.object(key) else {
            return BTreeMap::new();
        };
        let keys: Vec<&str> = object.keys().collect();
        keys.into_iter()
            .map(|name| (name.to_owned(), object.text(name)))
            .collect()
    }

    /// An object of numbers or texts: quantities.
    pub(crate) fn scalars(&mut self, key: &str) -> Vec<(String, String, u64)> {
        let Some(mut object) = self.object(key) else {
            return Vec::new();
        };
        let keys: Vec<&str> = object.keys().collect();
        keys.into_iter()
            .filter_map(|name| {
                let line = object.node(name)?.referenced.line();
                Some((name.to_owned(), object.scalar(name)?, line))
            })
            .collect()
    }

    pub(crate) fn object(&mut self, key: &str) -> Option<Self> {
        let node = self.node(key)?;
        Self::open(node, &self.below(key), self.notes)
    }

    /// Reads each object of a list.
    pub(crate) fn each<T>(&mut self, key: &str, read: impl Fn(Self) -> T) -> Vec<T> {
        let path = self.below(key);
        let notes = self.notes;
        self.list(key)
            .iter()
            .enumerate()
            .filter_map(|(index, item)| {
                let at = format!("{path}[{index}]");
                match Self::open(item, &at, notes) {
                    Some(fields) => Some(read(fields)),
                    None => {
                        notes.error(item.referenced.line(), &at, "is empty");
                        None
                    }
                }
            })
            .collect()
    }

    /// Says every key that nobody took.
    pub(crate) fn close(self) {
        for (name, node) in self.entries {
            if !self.taken.contains(name.as_str()) && node.value != Value::Null {
                let path = self.below(&escape(name, SHOWN_BYTES));
                self.notes.unknown(node.referenced.line(), path);
            }
        }
    }

    /// Says that a key is known and yet not translated.
    pub(crate) fn not_translated(&mut self, key: &str) {
        if let Some(node) = self.node(key) {
            let empty = matches!(&node.value, Value::List(items) if items.is_empty());
            if !empty {
                self.notes.unknown(node.referenced.line(), self.below(key));
            }
        }
    }
}

fn integer_of(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Number(text) => text.parse().ok(),
        Value::Null | Value::Flag(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    }
}

pub(crate) fn scalar_of(node: &Node) -> Option<String> {
    match &node.value {
        Value::Number(text) | Value::Text(text) => Some(text.clone()),
        Value::Null | Value::Flag(_) | Value::List(_) | Value::Map(_) => None,
    }
}
