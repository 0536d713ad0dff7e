//! What the compiler has to say, and where. Pure.

use super::{Place, Remark};
use crate::policy::words;
use crate::time::Timestamp;

/// How long before its end an exception is warned of: 14 days, in seconds.
const SOON: u64 = 14 * 86_400;

/// A value from a document as an error shows it.
pub(crate) fn shown(value: &str) -> String {
    words::escape(value, words::VALUE_BYTES)
}

/// Errors and warnings, as they are found.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(super) errors: Vec<Remark>,
    pub(super) warnings: Vec<Remark>,
    /// Where an exception ends, when, and its name.
    pub(super) ends: Vec<(At, Timestamp, String)>,
}

impl Notes {
    pub(crate) fn error(&mut self, at: &At, text: String) {
        self.errors.push(Remark {
            place: at.0.clone(),
            text,
        });
    }

    pub(crate) fn warn(&mut self, at: &At, text: String) {
        self.warnings.push(Remark {
            place: at.0.clone(),
            text,
        });
    }

    /// Warns of exceptions that have ended, or end within 14 days of `now`.
    pub(super) fn warn_of_time(&mut self, now: Timestamp) {
        for (at, end, name) in std::mem::take(&mut self.ends) {
            let left = end.unix_seconds().saturating_sub(now.unix_seconds());
            if left == 0 {
                self.warn(
                    &at,
                    format!("exception `{name}` has expired and waives nothing; delete it"),
                );
            } else if left <= SOON {
                self.warn(
                    &at,
                    format!(
                        "exception `{name}` expires within 14 days: what it carries runs on, and does not start again"
                    ),
                );
            }
        }
    }
}

/// A place that can be narrowed.
#[derive(Clone, Debug)]
pub(crate) struct At(Place);

impl At {
    pub(super) fn document(index: usize) -> Self {
        Self(Place {
            document: index,
            path: Vec::new(),
        })
    }

    pub(crate) fn down<const N: usize>(&self, keys: [&str; N]) -> Self {
        let mut place = self.0.clone();
        place.path.extend(keys.iter().map(|key| (*key).to_owned()));
        Self(place)
    }
}
