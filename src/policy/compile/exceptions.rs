//! NodePolicyException → exceptions of the policies that they name. Pure. Refuses: a policy or rule that
//! there is not, no end, no reason, and what a tenant could choose.

use std::collections::BTreeSet;

use super::CompiledPolicy;
use super::check::{check_common, check_line, check_name, not_empty, patterns};
use super::notes::{At, Notes, shown};
use crate::image::PatternUse;
use crate::limits::Limits;
use crate::policy::document::{ExceptionBlock, ExceptionSpec, ExcludeBlock, NodePolicyException};
use crate::policy::exceptions::Exception;
use crate::policy::nearest::nearest;
use crate::policy::rules::Check;
use crate::policy::scope::glob_matches;
use crate::time::Timestamp;

/// Hands each exception to the policy that it names.
pub(super) fn compile(
    documents: Vec<(At, NodePolicyException)>,
    policies: &mut [CompiledPolicy],
    limits: &Limits,
    notes: &mut Notes,
) {
    if documents.len() > limits.max_policy_exceptions {
        notes.error(
            &At::document(0),
            format!(
                "{} exceptions; at most {} are allowed",
                documents.len(),
                limits.max_policy_exceptions
            ),
        );
        return;
    }
    let exempts = policies.iter().flat_map(|policy| &policy.rules).any(
        |rule| matches!(&rule.check, Check::PodSecurity(level) if !level.exempt_handlers().is_empty()),
    );
    let mut names = BTreeSet::new();
    for (at, NodePolicyException { metadata, spec }) in documents {
        let name_at = at.down(["metadata", "name"]);
        check_name(&metadata.name, notes, &name_at);
        if !names.insert(metadata.name.clone()) {
            let text = format!("two exceptions are called `{}`", shown(&metadata.name));
            notes.error(&name_at, text);
        }
        let at = at.down(["spec"]);
        let exception = exception(metadata.name, &spec, notes, &at);
        if let Some(policy) = named(&spec.policy, policies, notes, &at.down(["policy"])) {
            let rules = check_rules(&spec, policy, exempts, notes, &at);
            check_namespaces(&spec, policy, notes, &at.down(["match", "namespaces"]));
            let exception = exception.map(|one| Exception { rules, ..one });
            policy.exceptions.extend(exception);
        }
    }
    for policy in policies {
        policy
            .exceptions
            .sort_by(|left, right| left.name.cmp(&right.name));
    }
}

fn exception(name: String, spec: &ExceptionSpec, notes: &mut Notes, at: &At) -> Option<Exception> {
    let block = &spec.matches;
    let match_at = at.down(["match"]);
    check_block(block, notes, &match_at);
    check_line("a reason", &spec.reason, notes, &at.down(["reason"]));
    let images = block.images.as_ref().map(|list| {
        patterns(
            list,
            PatternUse::Exception,
            notes,
            &match_at.down(["images"]),
        )
    });
    let end_at = at.down(["expires"]);
    let Some(expires) = Timestamp::parse_rfc3339(&spec.expires) else {
        notes.error(
            &end_at,
            format!(
                "`{}` is no moment of the calendar; write it like 2026-12-31T00:00:00Z",
                shown(&spec.expires)
            ),
        );
        return None;
    };
    notes.ends.push((end_at, expires, shown(&name)));
    Some(Exception {
        name,
        rules: Vec::new(),
        pods: ExcludeBlock {
            namespaces: block.namespaces.clone(),
            nodes: block.nodes.clone(),
            sources: block.sources.clone(),
        },
        images,
        expires,
    })
}

fn check_block(block: &ExceptionBlock, notes: &mut Notes, at: &At) {
    if *block == ExceptionBlock::default() {
        notes.error(
            at,
            "an empty block would waive for every pod; name namespaces or images".to_owned(),
        );
    } else if block.namespaces.is_none() && block.images.is_none() {
        notes.warn(
            at,
            "names neither namespaces nor images, so it waives for everybody on these nodes"
                .to_owned(),
        );
    }
    check_common(
        block.namespaces.as_deref(),
        block.nodes.as_ref(),
        block.sources.as_deref().map(<[_]>::len),
        notes,
        at,
    );
}

fn named<'p>(
    name: &str,
    policies: &'p mut [CompiledPolicy],
    notes: &mut Notes,
    at: &At,
) -> Option<&'p mut CompiledPolicy> {
    let known: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
    if !known.contains(&name) {
        notes.error(at, unknown("policy", name, &known));
    }
    policies.iter_mut().find(|policy| policy.name == name)
}

/// Where the rules that are named stand in the policy. `exempts`: whether a level is taken away from
/// some runtime handlers.
fn check_rules(
    spec: &ExceptionSpec,
    policy: &CompiledPolicy,
    exempts: bool,
    notes: &mut Notes,
    at: &At,
) -> Vec<usize> {
    not_empty(spec.rules.len(), notes, &at.down(["rules"]));
    let known: Vec<&str> = policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    let (mut places, mut enforces) = (Vec::new(), false);
    for (index, name) in spec.rules.iter().enumerate() {
        let at = at.down(["rules", &index.to_string()]);
        if !seen.insert(name) {
            notes.error(&at, format!("rule `{}` stands twice", shown(name)));
        }
        let mut rules = policy.rules.iter().enumerate();
        let Some((place, rule)) = rules.find(|(_, rule)| rule.name == *name) else {
            notes.error(&at, unknown("rule", name, &known));
            continue;
        };
        places.push(place);
        enforces |= rule.enforces();
        if exempts && judges_handlers(&rule.check) {
            notes.warn(
                &at,
                format!(
                    "rule `{}` says who may use the runtime handlers that `podSecurity` exempts: a pod that it is waived for can choose one, and with it escapes the level",
                    shown(name)
                ),
            );
        }
        if spec.matches.images.is_some() && judges_calls(&rule.check) {
            notes.warn(
                &at,
                format!(
                    "calls about a container that runs do not prove its image: there `{}` is waived only by an exception without images",
                    shown(name)
                ),
            );
        }
    }
    if !enforces && !spec.rules.is_empty() && seen.iter().all(|name| known.contains(&name.as_str()))
    {
        notes.warn(
            &at.down(["rules"]),
            "none of these rules enforces, so there is nothing to be excepted from".to_owned(),
        );
    }
    places
}

/// Warns where the policy speaks of none of the namespaces.
fn check_namespaces(spec: &ExceptionSpec, policy: &CompiledPolicy, notes: &mut Notes, at: &At) {
    let Some(names) = spec
        .matches
        .namespaces
        .as_deref()
        .filter(|all| !all.is_empty())
    else {
        return;
    };
    let matched = |name: &String| {
        policy.matches.as_ref().is_none_or(|blocks| {
            blocks.iter().any(|block| {
                let globs = block.namespaces.as_deref();
                globs.is_none_or(|globs| globs.iter().any(|glob| can_meet(glob, name)))
            })
        })
    };
    let excluded = |name: &String| {
        policy.excludes.iter().any(|block| {
            let globs = block.namespaces.as_deref().unwrap_or_default();
            let by_name_alone = block.nodes.is_none() && block.sources.is_none();
            by_name_alone && globs.iter().any(|glob| glob_matches(glob, name))
        })
    };
    if !names.iter().any(|name| matched(name) && !excluded(name)) {
        notes.warn(
            at,
            format!(
                "policy `{}` speaks of none of these namespaces, so nothing is waived",
                shown(&policy.name)
            ),
        );
    }
}

/// Whether a name may match both; of two with a `*` that is not told.
fn can_meet(one: &str, other: &str) -> bool {
    (one.contains('*') && other.contains('*'))
        || glob_matches(one, other)
        || glob_matches(other, one)
}

/// Whether a rule speaks of calls into a container that runs, or of updates of it.
fn judges_calls(check: &Check) -> bool {
    match check {
        Check::Containers(containers) => {
            containers.exec.is_some() || containers.exec_sync.is_some()
        }
        Check::Resources(_) => true,
        Check::Registries(_) | Check::Digest(_) | Check::PodSecurity(_) => false,
    }
}

fn judges_handlers(check: &Check) -> bool {
    match check {
        Check::Containers(containers) => containers.judges_handlers(),
        Check::Registries(_) | Check::Digest(_) | Check::PodSecurity(_) | Check::Resources(_) => {
            false
        }
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let shown = shown(name);
    match nearest(name, known) {
        Some(near) => format!("there is no {what} `{shown}`; did you mean `{near}`?"),
        None => format!("there is no {what} `{shown}`; there are {}", listed(known)),
    }
}

/// The first names, so that a line stays one.
fn listed(known: &[&str]) -> String {
    const SHOWN: usize = 10;
    let names: Vec<&str> = known.iter().take(SHOWN).copied().collect();
    match known.len().saturating_sub(SHOWN) {
        0 if names.is_empty() => "none".to_owned(),
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
