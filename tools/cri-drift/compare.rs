//! Compares two descriptors of runtime.v1: ours (from proto/) and theirs (what a version of the Go
//! module k8s.io/cri-api registers). Every difference is one line of text; a line that the list of
//! expected differences names, with a reason, is no failure, and a listed line that does not occur is.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::field_descriptor_proto::Label;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// What a descriptor says, flattened: a subject ("field Mount.2") and its facts ("host_path string").
pub(crate) type Facts = BTreeMap<String, String>;

/// The result of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Drift {
    /// Differences that are expected, with their reasons.
    pub(crate) expected: Vec<(String, String)>,
    /// Differences that are not.
    pub(crate) unexpected: Vec<String>,
    /// Expected differences that do not occur.
    pub(crate) stale: Vec<String>,
}

/// Reads a `FileDescriptorSet`.
pub(crate) fn descriptor(bytes: &[u8]) -> Result<FileDescriptorSet, String> {
    FileDescriptorSet::decode(bytes).map_err(|error| format!("no descriptor set: {error}"))
}

/// The messages and enums of a descriptor, as far as `wanted` names them; all if `None`.
pub(crate) fn types(set: &FileDescriptorSet, wanted: Option<&BTreeSet<String>>) -> Facts {
    let mut facts = Facts::new();
    for file in &set.file {
        for one in &file.enum_type {
            add_enum(&mut facts, "", one, wanted);
        }
        for message in &file.message_type {
            add_message(&mut facts, "", message, wanted);
        }
    }
    facts
}

/// The methods of a descriptor's services.
pub(crate) fn methods(set: &FileDescriptorSet) -> Facts {
    let services = set.file.iter().flat_map(|file| &file.service);
    services
        .flat_map(|service| {
            service.method.iter().map(|method| {
                let shape = if method.server_streaming() {
                    "stream"
                } else {
                    "unary"
                };
                let subject = format!("method {}/{}", service.name(), method.name());
                (subject, shape.to_owned())
            })
        })
        .collect()
}

/// The names of a descriptor's messages and enums.
pub(crate) fn names(set: &FileDescriptorSet) -> BTreeSet<String> {
    types(set, None)
        .into_keys()
        .filter_map(|subject| subject.strip_prefix("type ").map(str::to_owned))
        .collect()
}

/// The differences between ours and theirs against the list of expected ones: lines
/// `difference | reason`; empty lines and lines that begin with `#` do not count.
pub(crate) fn compare(ours: &Facts, theirs: &Facts, expected: &str) -> Drift {
    let mut reasons: BTreeMap<&str, &str> = expected
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" | ").unwrap_or((line, "")))
        .collect();
    let mut drift = Drift::default();
    for difference in differences(ours, theirs) {
        match reasons.remove(difference.as_str()) {
            Some(reason) if !reason.trim().is_empty() => {
                drift.expected.push((difference, reason.to_owned()));
            }
            Some(_) | None => drift.unexpected.push(difference),
        }
    }
    drift.stale = reasons.into_keys().map(str::to_owned).collect();
    drift
}

fn differences(ours: &Facts, theirs: &Facts) -> Vec<String> {
    let subjects: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    subjects
        .into_iter()
        .filter(|subject| !belongs_to_a_missing_type(subject, ours, theirs))
        .filter_map(|subject| match (ours.get(subject), theirs.get(subject)) {
            (Some(here), Some(there)) if here == there => None,
            (Some(here), Some(there)) => Some(format!(
                "differs: {subject}: here `{here}`, there `{there}`"
            )),
            (Some(here), None) => Some(format!("here only: {subject} `{here}`")),
            (None, Some(there)) => Some(format!("there only: {subject} `{there}`")),
            (None, None) => None,
        })
        .collect()
}

/// A type that one side lacks is one difference, not one for each of its fields.
fn belongs_to_a_missing_type(subject: &str, ours: &Facts, theirs: &Facts) -> bool {
    let member = subject
        .strip_prefix("field ")
        .or_else(|| subject.strip_prefix("value "))
        .and_then(|member| member.rsplit_once('.'));
    member.is_some_and(|(name, _)| {
        let name = format!("type {name}");
        !(ours.contains_key(&name) && theirs.contains_key(&name))
    })
}

fn add_enum(
    facts: &mut Facts,
    scope: &str,
    one: &EnumDescriptorProto,
    wanted: Option<&BTreeSet<String>>,
) {
    let name = format!("{scope}{}", one.name());
    if wanted.is_some_and(|wanted| !wanted.contains(&name)) {
        return;
    }
    facts.insert(format!("type {name}"), "enum".to_owned());
    for value in &one.value {
        let subject = format!("value {name}.{}", value.number());
        facts.insert(subject, value.name().to_owned());
    }
}

fn add_message(
    facts: &mut Facts,
    scope: &str,
    message: &DescriptorProto,
    wanted: Option<&BTreeSet<String>>,
) {
    let name = format!("{scope}{}", message.name());
    if wanted.is_some_and(|wanted| !wanted.contains(&name)) {
        return;
    }
    facts.insert(format!("type {name}"), "message".to_owned());
    for field in &message.field {
        let subject = format!("field {name}.{}", field.number());
        facts.insert(subject, described(field));
    }
    let scope = format!("{name}.");
    for one in &message.enum_type {
        add_enum(facts, &scope, one, wanted);
    }
    for nested in &message.nested_type {
        add_message(facts, &scope, nested, wanted);
    }
}

/// Name, label, type and oneof of a field: all that changes how its bytes are read.
fn described(field: &FieldDescriptorProto) -> String {
    let mut words = vec![field.name().to_owned()];
    if field.label() == Label::Repeated {
        words.push("repeated".to_owned());
    }
    let scalar = field.r#type().as_str_name().trim_start_matches("TYPE_");
    words.push(if field.type_name().is_empty() {
        scalar.to_lowercase()
    } else {
        field
            .type_name()
            .trim_start_matches(".runtime.v1.")
            .to_owned()
    });
    if let Some(index) = field.oneof_index {
        words.push(format!("oneof {index}"));
    }
    words.join(" ")
}
