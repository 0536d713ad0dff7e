//! What the compiler has to say, and where. Pure.

use super::{Place, Remark};
use crate::policy::words;

/// A value from a document as an error shows it.
pub(crate) fn shown(value: &str) -> String {
    words::escape(value, words::VALUE_BYTES)
}

/// Errors and warnings, as they are found.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(super) errors: Vec<Remark>,
    pub(super) warnings: Vec<Remark>,
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
