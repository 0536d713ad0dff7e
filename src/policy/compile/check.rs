//! What a name, a message, a list and a block may be. Pure.

use super::CompiledPolicy;
use super::notes::{At, Notes, shown};
use crate::image::PatternUse;
use crate::policy::document::{ExcludeBlock, Labels, MatchBlock};
use crate::policy::pattern::ImagePattern;
use crate::policy::rules::Check;
use crate::policy::words;

/// The longest name of a document or a rule, in bytes.
const NAME_BYTES: usize = words::NAME_BYTES;
/// The longest `message` and `reason`, in bytes.
const MESSAGE_BYTES: usize = 200;
/// Lists in one rule or block are at most this long.
const LIST_ENTRIES: usize = 1_000;

/// Compiles a list of image patterns; an empty list is an error.
pub(crate) fn patterns(
    list: &[String],
    purpose: PatternUse,
    notes: &mut Notes,
    at: &At,
) -> Vec<ImagePattern> {
    not_empty(list.len(), notes, at);
    let mut out = Vec::new();
    for (index, text) in list.iter().enumerate() {
        match ImagePattern::parse(text, purpose) {
            Ok(pattern) => out.push(pattern),
            Err(error) => notes.error(&at.down([&index.to_string()]), error.to_string()),
        }
    }
    out
}

/// An empty list is a mistake: it would match nothing, or everything.
pub(crate) fn not_empty(length: usize, notes: &mut Notes, at: &At) {
    if length == 0 {
        notes.error(
            at,
            "an empty list; name at least one value, or leave the key out".to_owned(),
        );
    } else if length > LIST_ENTRIES {
        notes.error(
            at,
            format!("{length} values; at most {LIST_ENTRIES} are allowed"),
        );
    }
}

pub(super) fn check_match(blocks: &[MatchBlock], notes: &mut Notes, at: &At) {
    not_empty(blocks.len(), notes, at);
    for (index, block) in blocks.iter().enumerate() {
        let at = block_at(blocks.len(), index, at);
        if *block == MatchBlock::default() {
            notes.error(
                &at,
                "an empty block matches every pod; leave `match` out for that".to_owned(),
            );
        }
        check_common(
            block.namespaces.as_deref(),
            block.nodes.as_ref(),
            block.sources.as_deref().map(<[_]>::len),
            notes,
            &at,
        );
        if let Some(handlers) = &block.runtime_handlers {
            not_empty(handlers.len(), notes, &at.down(["runtimeHandlers"]));
            notes.warn(
                &at.down(["runtimeHandlers"]),
                "the runtime class is the tenant's choice: a pod with another one escapes this policy"
                    .to_owned(),
            );
        }
        if let Some(labels) = &block.pod_labels {
            not_empty(labels.0.len(), notes, &at.down(["podLabels"]));
            notes.warn(
                &at.down(["podLabels"]),
                "pod labels are the tenant's choice: a pod without them escapes this policy"
                    .to_owned(),
            );
        }
    }
}

pub(super) fn check_exclude(blocks: &[ExcludeBlock], notes: &mut Notes, at: &At) {
    not_empty(blocks.len(), notes, at);
    for (index, block) in blocks.iter().enumerate() {
        let at = block_at(blocks.len(), index, at);
        if *block == ExcludeBlock::default() {
            notes.error(
                &at,
                "an empty block excludes every pod; delete the policy for that".to_owned(),
            );
        }
        check_common(
            block.namespaces.as_deref(),
            block.nodes.as_ref(),
            block.sources.as_deref().map(<[_]>::len),
            notes,
            &at,
        );
    }
}

/// A single block may stand without a list; its place then has no position.
fn block_at(length: usize, index: usize, at: &At) -> At {
    if length == 1 {
        at.clone()
    } else {
        at.down([&index.to_string()])
    }
}

pub(super) fn check_common(
    namespaces: Option<&[String]>,
    nodes: Option<&Labels>,
    sources: Option<usize>,
    notes: &mut Notes,
    at: &At,
) {
    if let Some(namespaces) = namespaces {
        not_empty(namespaces.len(), notes, &at.down(["namespaces"]));
        for (index, glob) in namespaces.iter().enumerate() {
            let known = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-*".contains(&byte)
            };
            if glob.is_empty() || !glob.bytes().all(known) {
                notes.error(
                    &at.down(["namespaces", &index.to_string()]),
                    format!(
                        "`{}` can match no namespace; names have lower-case letters, digits and `-`, and `*` stands for any run of them",
                        shown(glob)
                    ),
                );
            }
        }
    }
    if let Some(nodes) = nodes {
        not_empty(nodes.0.len(), notes, &at.down(["nodes"]));
    }
    if let Some(count) = sources {
        not_empty(count, notes, &at.down(["sources"]));
    }
}

pub(crate) fn check_name(name: &str, notes: &mut Notes, at: &At) {
    let known =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(known) {
        notes.error(
            at,
            format!(
                "`{}` is no name; use lower-case letters, digits, `-` and `.`, at most {NAME_BYTES} of them",
                shown(name)
            ),
        );
    }
}

pub(super) fn check_message(message: &str, notes: &mut Notes, at: &At) {
    check_line("a message", message, notes, at);
}

/// `what` an author wrote for people.
pub(super) fn check_line(what: &str, line: &str, notes: &mut Notes, at: &At) {
    let plain = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && byte != b'`';
    if line.trim().is_empty() || line.len() > MESSAGE_BYTES || !line.bytes().all(plain) {
        notes.error(
            at,
            format!(
                "{what} is one line of printable ASCII without backticks, 1 to {MESSAGE_BYTES} bytes; this one has {}",
                line.len()
            ),
        );
    }
}

/// The runtime class is the tenant's choice: a level that it takes away must be held by a rule that
/// says who may choose it, in the same policy or in one that speaks of every pod.
pub(super) fn check_exempt_handlers(policies: &[CompiledPolicy], places: &[At], notes: &mut Notes) {
    let says = |policy: &CompiledPolicy| {
        policy.rules.iter().any(|rule| {
            rule.enforces()
                && !rule.is_by_image()
                && matches!(&rule.check, Check::Containers(containers) if containers.judges_handlers())
        })
    };
    let everywhere = (policies.iter())
        .any(|policy| policy.matches.is_none() && policy.excludes.is_empty() && says(policy));
    for (policy, place) in policies.iter().zip(places) {
        if everywhere || says(policy) {
            continue;
        }
        for rule in &policy.rules {
            let exempts = matches!(&rule.check, Check::PodSecurity(standards) if !standards.exempt_handlers().is_empty());
            if exempts {
                notes.error(
                    place,
                    format!(
                        "rule `{}` exempts runtime handlers, which any pod can choose; add an enforcing rule with `containers: {{runtimeHandlers: …}}` that says who may, here or in a policy without match and exclude",
                        shown(&rule.name)
                    ),
                );
            }
        }
    }
}
