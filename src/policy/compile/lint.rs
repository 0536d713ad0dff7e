//! What a policy says and probably does not mean: worth a warning, never an error. Pure.

use super::notes::{At, Notes, shown};
use crate::policy::document::{
    Action, DigestMode, ExcludeBlock, NodePolicySpec, OneOrMany, RegistriesDoc, RuleDoc,
};
use crate::policy::scope::glob_matches;

/// Warns of what can never act, and of what acts otherwise than its surroundings say.
pub(super) fn lint(spec: &NodePolicySpec, notes: &mut Notes, at: &At) {
    if let Some(OneOrMany(excludes)) = &spec.exclude
        && excludes.iter().any(|block| takes_out_all(spec, block))
    {
        notes.warn(
            &at.down(["exclude"]),
            "`exclude` takes out every namespace that `match` names: the policy speaks of no pod"
                .to_owned(),
        );
    }
    let wants_digests = spec.rules.iter().find(|rule| {
        rule.digest == Some(DigestMode::InSpec)
            && rule.action.unwrap_or(spec.action) == Action::Enforce
            && rule.images.is_none()
            && rule.skip_images.is_none()
    });
    for (index, rule) in spec.rules.iter().enumerate() {
        let at = at.down(["rules", &index.to_string()]);
        lint_rule(spec, rule, notes, &at);
        if let Some(pinned) = wants_digests {
            for (at, list) in lists(rule, &at) {
                never_by_tag(list, &pinned.name, notes, &at);
            }
        }
    }
}

fn lint_rule(spec: &NodePolicySpec, rule: &RuleDoc, notes: &mut Notes, at: &At) {
    if let Some(action) = rule.action
        && action != spec.action
    {
        notes.warn(
            &at.down(["action"]),
            format!(
                "rule `{}` is {} in a policy that is {}",
                shown(&rule.name),
                action.as_str(),
                spec.action.as_str()
            ),
        );
    }
    if let (Some(images), Some(skipped)) = (&rule.images, &rule.skip_images)
        && images.iter().all(|image| skipped.contains(image))
    {
        notes.warn(
            &at.down(["skipImages"]),
            "every pattern of `images` is skipped: the rule speaks of no image".to_owned(),
        );
    }
    if let Some(RegistriesDoc {
        allow: Some(allow),
        deny: Some(deny),
    }) = &rule.registries
    {
        let at = at.down(["registries", "allow"]);
        for (index, pattern) in allow.iter().enumerate().filter(|(_, p)| deny.contains(p)) {
            notes.warn(
                &at.down([&index.to_string()]),
                format!(
                    "`{}` is denied by the same rule, so it allows nothing",
                    shown(pattern)
                ),
            );
        }
    }
    if rule.digest.is_some() {
        for (index, pattern) in rule.images.iter().flatten().enumerate() {
            if pattern.contains('@') {
                notes.warn(
                    &at.down(["images", &index.to_string()]),
                    format!(
                        "`{}` chooses an image by the digest that a `digest` rule is to demand; name its repository",
                        shown(pattern)
                    ),
                );
            }
        }
    }
}

fn takes_out_all(spec: &NodePolicySpec, exclude: &ExcludeBlock) -> bool {
    let (Some(OneOrMany(blocks)), Some(out)) = (&spec.matches, &exclude.namespaces) else {
        return false;
    };
    let only = ExcludeBlock {
        namespaces: exclude.namespaces.clone(),
        ..ExcludeBlock::default()
    };
    let is_out = |name: &String| out.iter().any(|glob| glob_matches(glob, name));
    *exclude == only
        && blocks.iter().all(|block| {
            let names = block.namespaces.as_ref();
            names.is_some_and(|names| names.iter().all(is_out))
        })
}

/// The lists of patterns of a rule, with their places.
fn lists<'a>(rule: &'a RuleDoc, at: &At) -> Vec<(At, &'a [String])> {
    let registries = rule.registries.as_ref();
    let of = |list: Option<&'a Vec<String>>, at: At| list.map(|list| (at, list.as_slice()));
    [
        of(rule.images.as_ref(), at.down(["images"])),
        of(rule.skip_images.as_ref(), at.down(["skipImages"])),
        of(
            registries.and_then(|doc| doc.allow.as_ref()),
            at.down(["registries", "allow"]),
        ),
        of(
            registries.and_then(|doc| doc.deny.as_ref()),
            at.down(["registries", "deny"]),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn never_by_tag(list: &[String], pinned: &str, notes: &mut Notes, at: &At) {
    for (index, pattern) in list.iter().enumerate() {
        let last = pattern.rsplit('/').next().unwrap_or_default();
        if last.contains(':') && !last.contains('@') {
            notes.warn(
                &at.down([&index.to_string()]),
                format!(
                    "`{}` names a tag, and rule `{}` lets only images with a digest pass, of which no tag is matched",
                    shown(pattern),
                    shown(pinned)
                ),
            );
        }
    }
}
