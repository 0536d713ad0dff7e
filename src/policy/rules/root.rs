//! `root`: the effective user, as containerd will take it. Pure.
//!
//! containerd takes the name before the uid, the uid before the image's USER, and 0 where none of
//! them says anything (`WithUser` in its CRI server). A name is looked up in the image's own
//! /etc/passwd, so it proves no uid (CVE-2024-40635, CVE-2026-46680).

use super::{Broken, ContainerCase};
use crate::policy::Code;
use crate::policy::document::RootMode;
use crate::policy::words::Text;
use crate::request::{Container, IdRange, Sandbox, UserNamespace};

/// The highest uid that no version of containerd wraps around.
const HIGHEST_UID: i64 = 2_147_483_647;
/// Host ids below this belong to the host's own users; the kubelet maps pods above it.
const FIRST_MAPPED_ID: u32 = 65_536;

const ADVICE: &str = "set securityContext.runAsUser to a number from 1 to 2147483647";
const ADVICE_MAPPED: &str =
    "set securityContext.runAsUser to a number from 1 to 2147483647, or hostUsers: false";

enum User<'a> {
    Name(&'a str),
    Uid(i64),
    Image,
}

pub(super) fn needs_image_user(mode: RootMode, sandbox: &Sandbox, container: &Container) -> bool {
    !exempt(mode, sandbox, container) && matches!(effective(container), User::Image)
}

pub(super) fn judge(mode: RootMode, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
    if exempt(mode, case.sandbox, case.container) {
        return;
    }
    let advice = match mode {
        RootMode::Deny => ADVICE,
        RootMode::DenyUnlessUserNamespace => ADVICE_MAPPED,
    };
    let text = |words, value: &str, rest| {
        Text::new()
            .words("container ")
            .value(&case.container.name)
            .words(words)
            .value(value)
            .words(rest)
            .advice(advice)
    };
    match effective(case.container) {
        User::Uid(uid) if (1..=HIGHEST_UID).contains(&uid) => {}
        User::Uid(uid) => broken.push(Broken::Plain(
            Code::PodRoot,
            text(" runs as uid ", &uid.to_string(), uid_words(uid)),
        )),
        User::Name(name) => broken.push(Broken::Plain(
            Code::PodRoot,
            text(" runs as user ", name, ", and a name proves no uid"),
        )),
        User::Image => match case
            .evidence
            .and_then(|evidence| evidence.image_user.as_ref())
        {
            None => broken.push(Broken::Wait),
            Some(Err(denial)) => broken.push(Broken::Missing(denial.clone())),
            Some(Ok(user)) if is_proven_uid(user) => {}
            Some(Ok(user)) => broken.push(Broken::Evidence(
                Code::PodRoot,
                text(
                    " runs as the image's user ",
                    user,
                    ", which is not a uid above 0",
                ),
            )),
        },
    }
}

fn effective(container: &Container) -> User<'_> {
    if !container.run_as_username.is_empty() {
        return User::Name(&container.run_as_username);
    }
    container.run_as_user.map_or(User::Image, User::Uid)
}

fn uid_words(uid: i64) -> &'static str {
    if uid == 0 {
        ""
    } else {
        ", which is out of range"
    }
}

/// A canonical decimal from 1 to 2^31-1, nothing around it: every other spelling is read
/// differently by some version of containerd.
fn is_proven_uid(user: &str) -> bool {
    user.bytes().all(|byte| byte.is_ascii_digit())
        && !user.starts_with('0')
        && user
            .parse::<i64>()
            .is_ok_and(|uid| (1..=HIGHEST_UID).contains(&uid))
}

fn exempt(mode: RootMode, sandbox: &Sandbox, container: &Container) -> bool {
    match mode {
        RootMode::Deny => false,
        RootMode::DenyUnlessUserNamespace => is_apart(sandbox, container),
    }
}

/// Whether the container is in a user namespace that makes its root nobody on the host, and that is
/// its sandbox's: containerd makes no other.
pub(super) fn is_apart(sandbox: &Sandbox, container: &Container) -> bool {
    is_mapped_away(&container.namespaces.user)
        && container.namespaces.user == sandbox.namespaces.user
}

/// Whether every id of the container is an id of no host user.
pub(super) fn is_mapped_away(user: &UserNamespace) -> bool {
    let away = |ranges: &[IdRange]| {
        !ranges.is_empty()
            && ranges.iter().all(|range| {
                range.length > 0
                    && range.host_id >= FIRST_MAPPED_ID
                    && range.host_id.checked_add(range.length).is_some()
            })
    };
    match user {
        UserNamespace::None => false,
        UserNamespace::Pod { uids, gids } => away(uids) && away(gids),
    }
}
