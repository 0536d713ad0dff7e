//! `groups`: group 0, which owns what root owns. Pure.

use super::{Broken, ContainerCase};
use crate::policy::Code;
use crate::policy::document::{DenyZero, GroupsDoc};

/// The highest gid that no version of containerd wraps around.
const HIGHEST_GID: i64 = 2_147_483_647;

pub(super) fn judge(doc: GroupsDoc, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
    let container = case.container;
    for group in &container.supplemental_groups {
        if !(1..=HIGHEST_GID).contains(group) {
            broken.push(Broken::Plain(
                Code::PodGroup,
                case.container_text()
                    .words(" has supplemental group ")
                    .value(&group.to_string())
                    .advice("use numbers from 1 to 2147483647 for fsGroup and supplementalGroups"),
            ));
        }
    }
    if doc.deny_zero == DenyZero::Supplemental {
        return;
    }
    let advice = "set securityContext.runAsGroup to a number from 1 to 2147483647";
    let text = match container.run_as_group {
        Some(group) if (1..=HIGHEST_GID).contains(&group) => return,
        Some(group) => case
            .container_text()
            .words(" runs as group ")
            .value(&group.to_string()),
        // A uid alone gets group 0; a user of the image gets whatever its /etc/passwd says.
        None => case
            .container_text()
            .words(" names no group, and may run as group 0"),
    };
    broken.push(Broken::Plain(Code::PodGroup, text.advice(advice)));
}
