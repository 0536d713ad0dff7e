//! Stage: YAML files → the policy in force. Refuses: unknown and duplicate keys, wrong types,
//! merge keys, alias bombs, and what the compiler refuses; each with file, line and column.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Options, Spanned};

use crate::limits::Limits;
use crate::policy::compile::{self, CompileError, Remark};
use crate::policy::document::{Document, LATER};
use crate::policy::nearest::nearest;
use crate::policy::{Policy, escape};
use crate::time::Timestamp;

/// The longest text that is repeated in an error, in bytes.
const SHOWN_BYTES: usize = 400;

/// The keys of an `exclude` block, those of an exception's `match`, and what a tenant chooses, which is
/// not among them.
const EXCLUDE_KEYS: &[&str] = &["namespaces", "nodes", "sources"];
const EXCEPTION_KEYS: &[&str] = &["namespaces", "images", "nodes", "sources"];
const TENANT_KEYS: &[&str] = &["annotations", "podLabels", "runtimeHandlers"];

/// A policy that was read from YAML.
#[derive(Clone, Debug)]
pub struct Authored {
    /// The policy.
    pub policy: Policy,
    /// The same in the strict JSON that [`compile::from_json`] reads.
    pub json: Vec<u8>,
    /// Not wrong, but worth saying.
    pub warnings: Vec<Diagnostic>,
}

/// One thing said about a place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name as it was handed in.
    pub file: String,
    /// From 1; 0 where the whole file is meant.
    pub line: u64,
    /// From 1; 0 where the whole file is meant.
    pub column: u64,
    /// What, and the nearest thing that works. One line.
    pub text: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.text),
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.text),
        }
    }
}

/// Why files are no policy: everything that is wrong, in the order of the files. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoringError {
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for AuthoringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for AuthoringError {}

/// Compiles the YAML files of one directory, each `(file name, text)`, in the order of their names.
/// Whether the files may be trusted (owner, mode) is for the caller to tell. `now` is the moment that
/// warnings about exceptions speak of.
///
/// # Errors
/// [`AuthoringError`] with everything that is wrong.
pub fn compile_dir(
    mut files: Vec<(String, String)>,
    limits: &Limits,
    now: Timestamp,
) -> Result<Authored, AuthoringError> {
    files.sort();
    let size: usize = files.iter().map(|(_, text)| text.len()).sum();
    if size > limits.max_policy_bytes {
        let text = format!(
            "the policy is larger than {} bytes",
            limits.max_policy_bytes
        );
        return Err(whole("policy", text));
    }
    if files.is_empty() {
        return Err(whole("policy", "no file ends in .yaml or .yml".to_owned()));
    }
    let mut sources = Sources::default();
    for (file, text) in &files {
        sources.read(file, text);
    }
    if !sources.errors.is_empty() {
        return Err(AuthoringError {
            diagnostics: sources.errors,
        });
    }
    let documents = std::mem::take(&mut sources.documents);
    let json = compile::to_json(&documents).map_err(|error| sources.explain(&error))?;
    // A restart reads the JSON back under the same limit.
    if json.len() > limits.max_policy_bytes {
        let text = format!(
            "as strict JSON the policy is larger than {} bytes",
            limits.max_policy_bytes
        );
        return Err(whole("policy", text));
    }
    let compiled =
        compile::compile(documents, limits, now).map_err(|error| sources.explain(&error))?;
    Ok(Authored {
        policy: compiled.policy,
        json,
        warnings: compiled
            .warnings
            .iter()
            .map(|remark| sources.locate(remark))
            .collect(),
    })
}

fn whole(file: &str, text: String) -> AuthoringError {
    AuthoringError {
        diagnostics: vec![Diagnostic {
            file: file.to_owned(),
            line: 0,
            column: 0,
            text,
        }],
    }
}

/// What was read so far.
#[derive(Debug, Default)]
struct Sources {
    documents: Vec<Document>,
    /// Parallel to `documents`: the file, and the places in it.
    places: Vec<(String, Spanned<Node>)>,
    errors: Vec<Diagnostic>,
}

impl Sources {
    fn read(&mut self, file: &str, text: &str) {
        let read = serde_saphyr::from_multiple_with_options::<Document>(text, options());
        let places = serde_saphyr::from_multiple_with_options::<Spanned<Node>>(text, options());
        match (read, places) {
            // A file that was emptied, or is about to be written, must not drop its rules.
            (Ok(documents), _) if documents.is_empty() => self.errors.push(Diagnostic {
                file: file.to_owned(),
                line: 1,
                column: 1,
                text: "the file holds no document; write one, or delete the file".to_owned(),
            }),
            (Ok(documents), Ok(places)) if documents.len() == places.len() => {
                self.documents.extend(documents);
                let named = places.into_iter().map(|place| (file.to_owned(), place));
                self.places.extend(named);
            }
            (Ok(_), Ok(_)) => self.errors.push(Diagnostic {
                file: file.to_owned(),
                line: 0,
                column: 0,
                text: "documents without content; remove the empty ones".to_owned(),
            }),
            (Err(error), _) | (_, Err(error)) => {
                let error = plainer(text, error);
                self.errors.push(diagnose(file, &error));
            }
        }
    }

    fn explain(&self, error: &CompileError) -> AuthoringError {
        match error {
            CompileError::Meaning { remarks } => AuthoringError {
                diagnostics: remarks.iter().map(|remark| self.locate(remark)).collect(),
            },
            CompileError::TooLarge { .. } | CompileError::Json { .. } => {
                whole("policy", error.to_string())
            }
        }
    }

    fn locate(&self, remark: &Remark) -> Diagnostic {
        let place = self.places.get(remark.place.document);
        let location = place.map(|(_, root)| find(root, &remark.place.path));
        Diagnostic {
            file: place.map_or_else(|| "policy".to_owned(), |(file, _)| file.clone()),
            line: location.map_or(0, |location| location.line()),
            column: location.map_or(0, |location| location.column()),
            text: remark.text.clone(),
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 10_000,
            max_depth: 32,
            max_anchors: 100,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 4,
            max_alias_expansions_per_anchor: 100,
        },
        // With `no_schema`, an unquoted `no` where text is due is an error, as it is for Kubernetes.
        strict_booleans: false,
        no_schema: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Where a number or a boolean stands in place of a word: what words are due there, if they are a known
/// few. Without `no_schema` the parser takes it for the word that it is not.
fn plainer(text: &str, error: Error) -> Error {
    if !matches!(&error, Error::QuotingRequired { value, .. } if !is_null(value)) {
        return error;
    }
    let mut options = options();
    options.no_schema = false;
    match serde_saphyr::from_multiple_with_options::<Document>(text, options) {
        Err(plain @ (Error::SerdeUnknownVariant { .. } | Error::SerdeUnknownField { .. }))
            if plain.location() == error.location() =>
        {
            plain
        }
        Ok(_) | Err(_) => error,
    }
}

/// The parser's error in our words.
fn diagnose(file: &str, error: &Error) -> Diagnostic {
    let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
    let text = if let Error::SerdeUnknownField {
        field, expected, ..
    } = error
    {
        unknown("key", field, expected)
    } else if let Error::SerdeUnknownVariant {
        variant, expected, ..
    } = error
    {
        unknown("value", variant, expected)
    } else if let Error::SerdeMissingField { field, .. } = error {
        format!("key `{field}` is missing")
    } else if let Error::DuplicateMappingKey { key, .. } = error {
        let key = key.as_deref().unwrap_or_default();
        format!("duplicate key `{}`; keep one", escape(key, SHOWN_BYTES))
    } else if let Error::MergeKeyNotAllowed { .. } = error {
        "merge keys (`<<`) are not part of the language; write the keys out".to_owned()
    } else if let Error::QuotingRequired { value, .. } = error {
        quoting(value)
    } else if let Error::Unexpected { expected, .. } = error {
        due(expected)
    } else if let Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. } = error {
        "a single word or one key with its value is due here, not a list".to_owned()
    } else {
        let text = error.to_string();
        let place = format!(" at line {}, column {}", location.line(), location.column());
        one_line(text.strip_suffix(&place).unwrap_or(&text))
    };
    Diagnostic {
        file: file.to_owned(),
        line: location.line(),
        column: location.column(),
        text,
    }
}

/// A word that YAML takes for something else than a text.
fn quoting(value: &str) -> String {
    if is_null(value) {
        return "a value is missing here; write one, or leave the key out".to_owned();
    }
    let value = escape(value, SHOWN_BYTES);
    format!("`{value}` is no text; write \"{value}\" if the text is meant")
}

fn is_null(value: &str) -> bool {
    ["", "~"].contains(&value) || value.eq_ignore_ascii_case("null")
}

/// What must stand at a place where something of another kind stands, by the parser's word for it.
fn due(expected: &str) -> String {
    match expected {
        "sequence start" => "a list is due here; write `[...]`, or lines that begin with `- `",
        "mapping start" => "keys with values are due here; write `{key: value}`, or lines of them",
        "string scalar" => "a single value is due here, not a list and not keys with values",
        _ => return format!("expected {expected}"),
    }
    .to_owned()
}

fn unknown(what: &str, word: &str, expected: &[&str]) -> String {
    let shown = escape(word, SHOWN_BYTES);
    if EXCLUDE_KEYS == expected && TENANT_KEYS.contains(&word) {
        return format!(
            "`{shown}` is the tenant's choice, so it excludes nothing; exclude namespaces"
        );
    }
    if EXCEPTION_KEYS == expected && TENANT_KEYS.contains(&word) {
        return format!(
            "`{shown}` is the tenant's choice, so no exception hangs on it; name namespaces or images"
        );
    }
    if LATER.contains(&word) {
        return format!("`{shown}` is not supported by this version");
    }
    match nearest(word, expected) {
        Some(near) => format!("unknown {what} `{shown}`; did you mean `{near}`?"),
        None => format!(
            "unknown {what} `{shown}`; known are {}",
            expected.join(", ")
        ),
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(SHOWN_BYTES).collect()
}

/// A YAML node with the places of everything in it; values do not matter here.
#[derive(Clone, Debug)]
enum Node {
    Scalar,
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

/// The place of `path`, or of as much of it as is there.
fn find(root: &Spanned<Node>, path: &[String]) -> serde_saphyr::Location {
    let mut node = root;
    for step in path {
        // A single block may be written with or without a list around it.
        if let (Node::List(items), Err(_)) = (&node.value, step.parse::<usize>())
            && let [only] = items.as_slice()
        {
            node = only;
        }
        let next = match &node.value {
            Node::Scalar => None,
            Node::List(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
            Node::Map(entries) => entries
                .iter()
                .find(|(key, _)| key == step)
                .map(|(_, value)| value),
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node.referenced
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML node")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

#[cfg(test)]
mod tests;
