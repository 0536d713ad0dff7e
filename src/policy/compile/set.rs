//! The one PolicySet: that there is one, and what it may say. Pure.

use super::BootstrapEntry;
use super::check::check_name;
use super::notes::{At, Notes, shown};
use crate::policy::document::{OnStale, PolicySet, Unmatched};

type Placed<T> = (usize, Box<T>);

pub(super) fn one_set(
    mut sets: Vec<Placed<PolicySet>>,
    notes: &mut Notes,
) -> Option<Placed<PolicySet>> {
    if sets.len() > 1 {
        for (index, set) in sets.iter().skip(1) {
            notes.error(
                &At::document(*index).down(["kind"]),
                format!(
                    "a second PolicySet, `{}`; exactly one is needed",
                    shown(&set.metadata.name)
                ),
            );
        }
    }
    if sets.is_empty() {
        notes.error(
            &At::document(0),
            "no PolicySet; exactly one is needed, with `unmatched: {pods: Allow, images: Allow}` at least"
                .to_owned(),
        );
        return None;
    }
    Some(sets.swap_remove(0))
}

pub(super) fn compile_set(set: &PolicySet, notes: &mut Notes, at: &At) -> Vec<BootstrapEntry> {
    check_name(&set.metadata.name, notes, &at.down(["metadata", "name"]));
    let spec = at.down(["spec"]);
    if set.spec.audience.is_empty() {
        notes.error(
            &spec.down(["audience"]),
            "an empty audience; name the nodes that the policy is for, e.g. `prod-eu1`".to_owned(),
        );
    }
    for (key, list) in [
        ("toleratedFields", &set.spec.tolerated_fields),
        ("relayMethods", &set.spec.relay_methods),
    ] {
        if !list.is_empty() {
            notes.error(
                &spec.down([key]),
                format!(
                    "entries in `{key}` are not supported by this version; leave the list empty"
                ),
            );
        }
    }
    if set.spec.on_stale == OnStale::AdmittedOnly {
        notes.warn(
            &spec.down(["onStale"]),
            "`onStale: AdmittedOnly` acts only on a policy that can become stale, which this version does not have yet"
                .to_owned(),
        );
    }
    let mut entries = Vec::new();
    for (index, entry) in set.spec.bootstrap.iter().enumerate() {
        let at = spec.down(["bootstrap", &index.to_string()]);
        if entry.namespaces.is_empty() {
            notes.error(
                &at.down(["namespaces"]),
                "an empty list matches no pod; name the namespaces".to_owned(),
            );
        }
        for (position, name) in entry.namespaces.iter().enumerate() {
            if name.is_empty() || name.contains('*') {
                notes.error(
                    &at.down(["namespaces", &position.to_string()]),
                    format!(
                        "`{}` is no namespace; bootstrap entries name namespaces exactly",
                        shown(name)
                    ),
                );
            }
        }
        match BootstrapEntry::parse(entry.namespaces.clone(), &entry.image) {
            Ok(entry) => entries.push(entry),
            Err(text) => notes.error(&at.down(["image"]), text),
        }
    }
    if set.spec.unmatched.images == Unmatched::Deny && set.spec.bootstrap.is_empty() {
        notes.warn(
            &spec.down(["unmatched", "images"]),
            "with `images: Deny` and no bootstrap entry here, the node's own system images must be on the node's bootstrap list or be named by a rule"
                .to_owned(),
        );
    }
    entries
}
