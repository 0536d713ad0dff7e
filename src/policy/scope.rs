//! Stage: which pods a policy speaks of (`match` and `exclude`). Pure.

use std::collections::BTreeMap;

use super::document::{ExcludeBlock, MatchBlock, SourceDoc};
use crate::request::{Pod, PodSource};

/// What the guard knows of its own node, from its settings; never from the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's name.
    pub name: String,
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// Absolute, clean host paths that this node guards beside the built-in ones: the kubelet's
    /// root, the guard's and containerd's own sockets, state and configuration.
    pub guarded_paths: Vec<String>,
    /// Whether the kubelet enforces CPU quotas (setting `cpu_cfs_quota`).
    pub cpu_quotas: bool,
}

/// Whether a policy speaks of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    In,
    Out,
    /// It depends on the runtime handler, which PullImage does not say reliably.
    Handler,
}

/// A runtime handler, or that it is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handler<'a> {
    Unknown,
    Known(&'a str),
}

/// Whether a policy with these blocks speaks of `pod` on this node. `None` for `matches` is every
/// pod, for `excludes` no pod.
pub(crate) fn scope(
    matches: Option<&[MatchBlock]>,
    excludes: &[ExcludeBlock],
    pod: &Pod,
    handler: Handler<'_>,
    node: &NodeFacts,
) -> Scope {
    if excludes.iter().any(|block| excluded(block, pod, node)) {
        return Scope::Out;
    }
    let Some(blocks) = matches else {
        return Scope::In;
    };
    let mut result = Scope::Out;
    for block in blocks {
        match matched(block, pod, handler, node) {
            Scope::In => return Scope::In,
            Scope::Handler => result = Scope::Handler,
            Scope::Out => {}
        }
    }
    result
}

/// What is not known counts as matching: doubt brings a pod under policy.
fn matched(block: &MatchBlock, pod: &Pod, handler: Handler<'_>, node: &NodeFacts) -> Scope {
    let namespaces = block
        .namespaces
        .as_deref()
        .is_none_or(|globs| globs.iter().any(|glob| glob_matches(glob, &pod.namespace)));
    let nodes = block.nodes.as_ref().is_none_or(|wanted| {
        wanted
            .0
            .iter()
            .all(|(key, value)| node.labels.get(key).is_none_or(|set| set == value))
    });
    let sources = block
        .sources
        .as_deref()
        .is_none_or(|sources| source(pod.source).is_none_or(|source| sources.contains(&source)));
    let labels = block.pod_labels.as_ref().is_none_or(|wanted| {
        wanted
            .0
            .iter()
            .all(|(key, value)| pod.labels.get(key) == Some(value))
    });
    if !(namespaces && nodes && sources && labels) {
        return Scope::Out;
    }
    match (block.runtime_handlers.as_deref(), handler) {
        (None, _) => Scope::In,
        (Some(_), Handler::Unknown) => Scope::Handler,
        (Some(handlers), Handler::Known(handler)) => {
            if handlers.iter().any(|wanted| wanted == handler) {
                Scope::In
            } else {
                Scope::Out
            }
        }
    }
}

/// What is not known counts as not matching: doubt takes no pod out of a policy.
pub(crate) fn excluded(block: &ExcludeBlock, pod: &Pod, node: &NodeFacts) -> bool {
    block
        .namespaces
        .as_deref()
        .is_none_or(|globs| globs.iter().any(|glob| glob_matches(glob, &pod.namespace)))
        && excludes_on(block, node)
        && block.sources.as_deref().is_none_or(|sources| {
            source(pod.source).is_some_and(|source| sources.contains(&source))
        })
}

/// Whether it can exclude any pod of this node.
pub(crate) fn excludes_on(block: &ExcludeBlock, node: &NodeFacts) -> bool {
    block.nodes.as_ref().is_none_or(|wanted| {
        wanted
            .0
            .iter()
            .all(|(key, value)| node.labels.get(key) == Some(value))
    })
}

fn source(source: PodSource) -> Option<SourceDoc> {
    match source {
        PodSource::Api => Some(SourceDoc::Api),
        PodSource::File => Some(SourceDoc::File),
        PodSource::Http => Some(SourceDoc::Http),
        PodSource::Unstated => None,
    }
}

/// Whole-string matching where `*` is any run of characters.
pub(crate) fn glob_matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_glob_matches_the_whole_name() {
        for (glob, name, wanted) in [
            ("payments", "payments", true),
            ("payments", "payments-2", false),
            ("payments-*", "payments-", true),
            ("payments-*", "payments", false),
            ("*-prod", "a-prod", true),
            ("*-prod", "a-prod-b", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(glob_matches(glob, name), wanted, "{glob} {name}");
        }
    }
}
