//! Why settings could not be read: file, line, key, and what works. Pure.

use std::fmt;

use super::keys::Keys;

/// Why a settings file was refused. The text is for the operator and stays on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The file could not be read at all.
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// Other people than root can write the file, so it cannot say who may start what.
    Writable {
        /// The file.
        file: String,
        /// What to run.
        fix: String,
    },
    /// Larger than 1 MiB.
    TooLarge {
        /// The file.
        file: String,
    },
    /// Something in the document.
    Document {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The dotted key, if the place has one.
        key: Option<String>,
        /// What is wrong and what works.
        problem: String,
    },
}

impl SettingsError {
    /// An error of the TOML reader, placed by its span.
    pub(crate) fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        Self::at_offset(file, text, offset, error.message())
    }

    /// A problem with the value of `key`, wherever that stands.
    pub(crate) fn at_key(file: &str, text: &str, key: &str, problem: &str) -> Self {
        let offset = Keys::of(text).offset(key).unwrap_or(0);
        let (line, column) = position(text, offset);
        Self::Document {
            file: file.to_owned(),
            line,
            column,
            key: Some(key.to_owned()),
            problem: one_line(problem),
        }
    }

    fn at_offset(file: &str, text: &str, offset: usize, problem: &str) -> Self {
        let (line, column) = position(text, offset);
        Self::Document {
            file: file.to_owned(),
            line,
            column,
            key: Keys::of(text).key_at(offset),
            problem: one_line(problem),
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, reason } => write!(f, "{file}: cannot be read: {reason}"),
            Self::Writable { file, fix } => write!(
                f,
                "{file}: others than root can change it, so it is not used; run `{fix}`"
            ),
            Self::TooLarge { file } => write!(f, "{file}: larger than 1 MiB"),
            Self::Document {
                file,
                line,
                column,
                key,
                problem,
            } => {
                write!(f, "{file}:{line}:{column}: ")?;
                if let Some(key) = key {
                    write!(f, "`{key}`: ")?;
                }
                f.write_str(problem)
            }
        }
    }
}

impl std::error::Error for SettingsError {}

/// Line and column, both from 1, of a byte offset.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before
        .get(start..)
        .map_or(1, |rest| rest.chars().count() + 1);
    (line, column)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
