//! A strict reading of JSON, for documents that containerd reads with Go's `encoding/json`. Pure.
//! Refuses every document of which Go and this crate could read different things.
//!
//! Go takes a key for a field if the two are equal after Unicode case folding, lets the last
//! duplicate win or merges it, replaces broken UTF-8, and drops lone surrogates. So
//! `{"config":{"User":"1000"},"Config":{"User":"0"}}` is user 1000 for a reader by exact key and
//! root for containerd (image-spec leaves both open). The scan goes first; only a document that
//! passes is read into types.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::DeserializeOwned;

/// No limit reaches further: the scan uses the stack.
const DEEPEST: usize = 128;
/// Keys of objects and elements of arrays in one document, all together: what reading it costs in
/// memory grows with these, not with its bytes. An index of 1,024 entries has about 10,000.
const MOST: usize = 16_384;

/// What a reader in Go makes of a value: decides which keys are the same key.
#[derive(Debug)]
pub enum Shape {
    /// Not read by anyone who matters: keys must only differ.
    Any,
    /// A Go map (annotations, labels): keys are compared exactly and may be any string.
    Map,
    /// A Go struct with these fields: keys are compared folded, must be ASCII, and must not differ
    /// from a field only by case.
    Object(&'static [(&'static str, &'static Shape)]),
    /// An array of such values.
    List(&'static Shape),
}

/// Why a document is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Not UTF-8, or with a byte order mark.
    Encoding,
    /// Not JSON (RFC 8259), at this byte.
    Syntax {
        /// Offset in bytes.
        offset: usize,
    },
    /// Something after the document, at this byte.
    Trailing {
        /// Offset in bytes.
        offset: usize,
    },
    /// Nested deeper than the limit.
    Depth {
        /// The limit.
        limit: usize,
    },
    /// More keys and elements than the limit.
    Count {
        /// The limit.
        limit: usize,
    },
    /// Two keys of one object are the same for a reader in Go.
    DuplicateKey {
        /// The second one, as far as it can be printed.
        key: String,
    },
    /// A key that differs from a known one only by case.
    KeyCase {
        /// The known key.
        known: String,
    },
    /// A key outside ASCII where fields have names.
    KeyCharacter {
        /// Offset in bytes.
        offset: usize,
    },
    /// Half of a surrogate pair.
    Surrogate {
        /// Offset in bytes.
        offset: usize,
    },
    /// A number that no reader can hold.
    Number {
        /// Offset in bytes.
        offset: usize,
    },
    /// JSON, but a field is missing or has another type.
    Type {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoding => f.write_str("the document is not utf-8 or has a byte order mark"),
            Self::Syntax { offset } => write!(f, "the document is not json at byte {offset}"),
            Self::Trailing { offset } => {
                write!(f, "something follows the json document at byte {offset}")
            }
            Self::Depth { limit } => write!(f, "the document is nested deeper than {limit}"),
            Self::Count { limit } => {
                write!(f, "the document has more than {limit} keys and elements")
            }
            Self::DuplicateKey { key } => {
                write!(
                    f,
                    "the document has the key `{key}` twice, or in two spellings"
                )
            }
            Self::KeyCase { known } => {
                write!(
                    f,
                    "the document has a key that differs from `{known}` only by case"
                )
            }
            Self::KeyCharacter { offset } => {
                write!(f, "the document has a key outside ascii at byte {offset}")
            }
            Self::Surrogate { offset } => {
                write!(
                    f,
                    "the document has half of a surrogate pair at byte {offset}"
                )
            }
            Self::Number { offset } => {
                write!(f, "the document has a number out of range at byte {offset}")
            }
            Self::Type { line, column } => write!(
                f,
                "a field of the document is missing or has the wrong type, line {line} column {column}"
            ),
        }
    }
}

impl std::error::Error for JsonError {}

/// Scans `bytes` by `shape`, then reads them into `T`.
///
/// # Errors
/// [`JsonError`]; [`JsonError::Type`] where only the types do not fit.
pub fn parse<T: DeserializeOwned>(
    bytes: &[u8],
    shape: &Shape,
    max_depth: usize,
) -> Result<T, JsonError> {
    scan(bytes, shape, max_depth)?;
    serde_json::from_slice(bytes).map_err(|error| JsonError::Type {
        line: error.line(),
        column: error.column(),
    })
}

/// Reads the whole of `bytes` as one JSON document and refuses what two readers could read
/// differently.
///
/// # Errors
/// [`JsonError`] of the first thing found.
pub fn scan(bytes: &[u8], shape: &Shape, max_depth: usize) -> Result<(), JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::Encoding)?;
    if text.starts_with('\u{feff}') {
        return Err(JsonError::Encoding);
    }
    let max_depth = max_depth.min(DEEPEST);
    let mut scanner = Scanner {
        bytes,
        at: 0,
        room: MOST,
        depth_left: max_depth,
        max_depth,
    };
    scanner.space();
    scanner.value(shape)?;
    scanner.space();
    if scanner.at < bytes.len() {
        return Err(JsonError::Trailing { offset: scanner.at });
    }
    Ok(())
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    room: usize,
    depth_left: usize,
    max_depth: usize,
}

impl Scanner<'_> {
    fn value(&mut self, shape: &Shape) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => self.nested(|scanner| scanner.object(shape)),
            Some(b'[') => self.nested(|scanner| scanner.array(shape)),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(_) | None => Err(self.syntax()),
        }
    }

    fn nested(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(JsonError::Depth {
            limit: self.max_depth,
        })?;
        self.at += 1;
        self.space();
        inside(self)?;
        self.depth_left += 1;
        Ok(())
    }

    fn count(&mut self) -> Result<(), JsonError> {
        let left = self.room.checked_sub(1);
        self.room = left.ok_or(JsonError::Count { limit: MOST })?;
        Ok(())
    }

    fn object(&mut self, shape: &Shape) -> Result<(), JsonError> {
        let mut seen = BTreeSet::new();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            self.count()?;
            let offset = self.at;
            let key = self.string()?;
            check_key(&key, offset, shape)?;
            let same = match shape {
                Shape::Object(_) => fold(&key),
                Shape::Any | Shape::Map | Shape::List(_) => key.clone(),
            };
            if !seen.insert(same) {
                return Err(JsonError::DuplicateKey {
                    key: printable(&key),
                });
            }
            self.space();
            self.expect(b':')?;
            self.space();
            self.value(field(shape, &key))?;
            self.space();
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
            self.space();
        }
    }

    fn array(&mut self, shape: &Shape) -> Result<(), JsonError> {
        let element = match shape {
            Shape::List(element) => element,
            Shape::Any | Shape::Map | Shape::Object(_) => &Shape::Any,
        };
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            self.count()?;
            self.value(element)?;
            self.space();
            if self.eat(b']') {
                return Ok(());
            }
            self.expect(b',')?;
            self.space();
        }
    }

    /// A string with its escapes resolved.
    fn string(&mut self) -> Result<String, JsonError> {
        self.expect(b'"')?;
        let mut out = Vec::new();
        loop {
            match self.next().ok_or_else(|| self.syntax())? {
                b'"' => break,
                b'\\' => {
                    let mut buffer = [0_u8; 4];
                    let escaped = self.escape()?;
                    out.extend_from_slice(escaped.encode_utf8(&mut buffer).as_bytes());
                }
                0..=0x1f => {
                    return Err(JsonError::Syntax {
                        offset: self.at - 1,
                    });
                }
                byte => out.push(byte),
            }
        }
        String::from_utf8(out).map_err(|_| JsonError::Encoding)
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let offset = self.at;
        Ok(match self.next() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex4()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    if !(self.eat(b'\\') && self.eat(b'u')) {
                        return Err(JsonError::Surrogate { offset });
                    }
                    let second = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err(JsonError::Surrogate { offset });
                    }
                    0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).ok_or(JsonError::Surrogate { offset })?
            }
            Some(_) | None => return Err(JsonError::Syntax { offset }),
        })
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.syntax())?;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let offset = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        let text = self.bytes.get(offset..self.at).unwrap_or_default();
        let value = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<f64>().ok());
        match value {
            Some(value) if value.is_finite() => Ok(()),
            Some(_) | None => Err(JsonError::Number { offset }),
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == from {
            return Err(self.syntax());
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), JsonError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.syntax());
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    fn syntax(&self) -> JsonError {
        JsonError::Syntax { offset: self.at }
    }
}

fn check_key(key: &str, offset: usize, shape: &Shape) -> Result<(), JsonError> {
    let Shape::Object(fields) = shape else {
        return Ok(());
    };
    let folded = fold(key);
    if let Some((known, _)) = fields.iter().find(|(known, _)| fold(known) == folded)
        && *known != key
    {
        return Err(JsonError::KeyCase {
            known: (*known).to_owned(),
        });
    }
    if !key.is_ascii() {
        return Err(JsonError::KeyCharacter { offset });
    }
    Ok(())
}

fn field(shape: &Shape, key: &str) -> &'static Shape {
    match shape {
        Shape::Object(fields) => fields
            .iter()
            .find(|(known, _)| *known == key)
            .map_or(&Shape::Any, |(_, shape)| shape),
        Shape::Any | Shape::Map | Shape::List(_) => &Shape::Any,
    }
}

/// Go's folding, as far as it can reach ASCII: letters by case, the long s and the Kelvin sign.
/// Keys with other letters are refused where this is used.
fn fold(key: &str) -> String {
    key.chars()
        .map(|letter| match letter {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

/// The beginning of `key` in one line of printable text.
pub(super) fn printable(key: &str) -> String {
    key.chars()
        .take(64)
        .map(|letter| match letter {
            ' '..='~' if letter != '`' => letter,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests;
