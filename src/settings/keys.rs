//! Which key of the document stands where. Pure.

use toml::de::{DeTable, DeValue};

/// The dotted keys of a document with their places; entries of lists are counted from 0:
/// `bootstrap[0].image`.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    found: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    key: String,
    from: usize,
    to: usize,
}

impl Keys {
    /// Reads as much of `text` as is TOML.
    pub(crate) fn of(text: &str) -> Self {
        let mut keys = Self::default();
        let (table, _problems) = DeTable::parse_recoverable(text);
        keys.table("", table.get_ref());
        keys
    }

    /// Where a key begins.
    pub(crate) fn offset(&self, key: &str) -> Option<usize> {
        self.found
            .iter()
            .find(|found| found.key == key)
            .map(|found| found.from)
    }

    /// The deepest key whose name or value covers an offset.
    pub(crate) fn key_at(&self, offset: usize) -> Option<String> {
        self.found
            .iter()
            .filter(|found| found.from <= offset && offset < found.to.max(found.from + 1))
            .max_by_key(|found| (found.from, found.key.len()))
            .map(|found| found.key.clone())
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            let span = value.span();
            self.found.push(Found {
                key: key.clone(),
                from: name.span().start,
                to: span.end.max(name.span().end),
            });
            self.value(&key, value.get_ref());
        }
    }

    fn value(&mut self, key: &str, value: &DeValue<'_>) {
        if let Some(table) = value.as_table() {
            self.table(key, table);
        }
        if let Some(list) = value.as_array() {
            for (at, entry) in list.iter().enumerate() {
                let key = format!("{key}[{at}]");
                let span = entry.span();
                self.found.push(Found {
                    key: key.clone(),
                    from: span.start,
                    to: span.end,
                });
                self.value(&key, entry.get_ref());
            }
        }
    }
}
