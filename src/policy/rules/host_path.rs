//! `hostPath`: what a container may mount of the host. Pure.
//!
//! Told from what the kubelet made by the edge ([`MountOrigin`]); decided here on text: the true
//! path, the path as written, and the guarded set, which the edge has also compared as objects.

use super::{Broken, ContainerCase};
use crate::policy::compile::{At, Notes, not_empty, shown};
use crate::policy::document::{HostPathDoc, HostPathEntryDoc, PropagationDoc};
use crate::policy::evidence::{HostPathSafety, MountOrigin, Via};
use crate::policy::paths::{self, Guarded};
use crate::policy::words::Text;
use crate::policy::{Code, Denial};
use crate::request::{Flag, Mount, MountSource, Propagation};

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct HostPaths {
    allow: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    place: EntryPath,
    read_only: Flag,
    propagation: PropagationDoc,
}

#[derive(Clone, Debug)]
enum EntryPath {
    Prefix(String),
    Exact(String),
}

/// What is wrong with a mount that an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Miss {
    NotNamed,
    Writable,
    Symlink,
    GuardedPath,
    Propagation,
    NotReadOnly,
    /// An entry allows it, but another one lets containers write above it.
    InReach,
}

pub(super) fn compile(doc: &HostPathDoc, notes: &mut Notes, at: &At) -> HostPaths {
    let HostPathDoc::Allow(list) = doc else {
        return HostPaths { allow: Vec::new() };
    };
    let at = at.down(["allow"]);
    not_empty(list.len(), notes, &at);
    let entries = list
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| compile_entry(entry, notes, &at.down([&index.to_string()])));
    HostPaths {
        allow: entries.collect(),
    }
}

fn compile_entry(doc: &HostPathEntryDoc, notes: &mut Notes, at: &At) -> Option<Entry> {
    let (key, text) = match (&doc.prefix, &doc.path) {
        (Some(prefix), None) => ("prefix", prefix),
        (None, Some(path)) => ("path", path),
        (None, None) | (Some(_), Some(_)) => {
            notes.error(at, "an entry has exactly one of prefix and path".to_owned());
            return None;
        }
    };
    let at = at.down([key]);
    if paths::clean(text) != Some(text) {
        notes.error(
            &at,
            format!(
                "`{}` is no clean absolute path; write it without `.`, `..`, `//` and a slash at the end",
                shown(text)
            ),
        );
        return None;
    }
    let guarded = paths::guarded(text, &[]);
    let place = match (key, guarded) {
        ("prefix", Guarded::Inside(member)) => {
            notes.error(
                &at,
                format!("no prefix covers `{member}` or what is below it; name single paths with `path: {text}`"),
            );
            return None;
        }
        ("prefix", Guarded::Above("/")) => {
            notes.error(
                &at,
                "`/` is no prefix; name a directory below it".to_owned(),
            );
            return None;
        }
        ("prefix", guarded) => {
            warn_of_prefix(doc, text, guarded, notes, &at);
            EntryPath::Prefix(text.clone())
        }
        (_, Guarded::Inside(member) | Guarded::Above(member)) => {
            notes.warn(
                &at,
                format!(
                    "`{text}` hands over `{member}`: whoever may mount it can take over the node"
                ),
            );
            EntryPath::Exact(text.clone())
        }
        (_, Guarded::No) => EntryPath::Exact(text.clone()),
    };
    Some(Entry {
        place,
        read_only: if doc.read_only { Flag::On } else { Flag::Off },
        propagation: doc.propagation,
    })
}

/// What a prefix does not do, though its text looks as if it did.
fn warn_of_prefix(
    doc: &HostPathEntryDoc,
    text: &str,
    guarded: Guarded<'_>,
    notes: &mut Notes,
    at: &At,
) {
    if let Guarded::Above(member) = guarded {
        notes.warn(
            at,
            format!(
                "`{text}` is above `{member}`, and no prefix covers what belongs to the host; name the directories that are meant"
            ),
        );
    }
    if !doc.read_only {
        notes.warn(
            at,
            format!(
                "`{text}` may be mounted writable, so nothing below it can be mounted by itself; use `path: {text}`, or `readOnly: true`"
            ),
        );
    }
}

impl HostPaths {
    /// No host path at all.
    pub(super) fn none() -> Self {
        Self { allow: Vec::new() }
    }

    pub(super) fn judge(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        self.judge_each(case, |_, one| broken.push(one));
    }

    /// Hands over what each mount breaks, and the path of the host that the mount shows; no path
    /// where somebody else than root could lead it elsewhere, and where it could not be told.
    pub(super) fn judge_each(
        &self,
        case: &ContainerCase<'_>,
        mut found: impl FnMut(Option<&str>, Broken),
    ) {
        for (index, mount) in case.container.mounts.iter().enumerate() {
            let MountSource::HostPath(written) = &mount.source else {
                continue;
            };
            if let Some(broken) = self.judge_mount(case, index, mount, written) {
                found(shown_by(case.origin(index)), broken);
            }
        }
    }

    fn judge_mount(
        &self,
        case: &ContainerCase<'_>,
        index: usize,
        mount: &Mount,
        written: &str,
    ) -> Option<Broken> {
        let Some(clean) = paths::clean(written) else {
            let text = text(case, mount, written, " is not a clean absolute path")
                .advice("write it without `.`, `..` and `//`");
            return Some(Broken::Plain(Code::PodHostpath, text));
        };
        match (case.evidence, case.origin(index)) {
            (None, _) => Some(Broken::Wait),
            (Some(_), Some(MountOrigin::Kubelet(_))) => None,
            (
                Some(_),
                Some(MountOrigin::Host {
                    path,
                    via,
                    safe,
                    guarded,
                }),
            ) => {
                let look = Look::new(case, clean, path, *via, *safe, guarded.as_deref());
                self.judge_host(case, mount, &look)
            }
            (Some(_), Some(MountOrigin::Unknown { why })) => {
                Some(unknown(case, mount, written, why))
            }
            // Nobody looked at this mount.
            (Some(_), None) => Some(Broken::Wait),
            // Evidence of another kind of mount: not believed.
            (Some(_), Some(MountOrigin::Image)) => {
                Some(unknown(case, mount, written, "it was taken for an image"))
            }
        }
    }

    fn judge_host(
        &self,
        case: &ContainerCase<'_>,
        mount: &Mount,
        look: &Look<'_>,
    ) -> Option<Broken> {
        let best = self
            .allow
            .iter()
            .map(|entry| entry.judge(look, mount))
            .try_fold(Miss::NotNamed, |worst, verdict| {
                verdict.err().map(|miss| worst.max(miss))
            });
        let miss = match best {
            Some(miss) => miss,
            // An entry allows it.
            None if self.is_in_reach(look) => Miss::InReach,
            None => return None,
        };
        let (words, advice) = miss.words();
        let words_via = match look.via {
            Via::Spec => "",
            Via::SubPath => " (by subPath)",
            Via::LocalVolume => " (by a local volume)",
            Via::Csi => " (by a volume of a storage driver)",
        };
        let mut text = text(case, mount, look.real, words_via).words(words);
        if let (Miss::GuardedPath, Some(member)) = (miss, look.object) {
            text = text.words(": it is, is in, or holds ").value(member);
        }
        Some(Broken::Evidence(Code::PodHostpath, text.advice(advice)))
    }

    /// Whether a container that this check lets in can replace an element of the path while it is on
    /// its way to runc: it may write in a directory above, and root in a container makes symlinks
    /// there as it likes. What the kubelet has mounted already cannot be replaced any more.
    fn is_in_reach(&self, look: &Look<'_>) -> bool {
        let is_below = |path: &str| path != look.real && paths::covers(path, look.real);
        look.via == Via::Spec
            && self.allow.iter().any(|entry| {
                entry.read_only == Flag::Off
                    && match &entry.place {
                        EntryPath::Prefix(path) | EntryPath::Exact(path) => is_below(path),
                    }
            })
    }
}

fn shown_by(origin: Option<&MountOrigin>) -> Option<&str> {
    match origin? {
        MountOrigin::Host { path, safe, .. } => match safe {
            HostPathSafety::Fixed | HostPathSafety::Symlink => Some(path),
            HostPathSafety::Writable => None,
        },
        MountOrigin::Kubelet(_) | MountOrigin::Image | MountOrigin::Unknown { .. } => None,
    }
}

struct Look<'a> {
    /// The path as the pod wrote it, where the pod wrote it.
    written: Option<&'a str>,
    real: &'a str,
    via: Via,
    safe: HostPathSafety,
    /// The member that the object itself was told to be, be in, or hold.
    object: Option<&'a str>,
    guarded: Guarded<'a>,
}

impl<'a> Look<'a> {
    fn new(
        case: &ContainerCase<'a>,
        written: &'a str,
        real: &'a str,
        via: Via,
        safe: HostPathSafety,
        object: Option<&'a str>,
    ) -> Self {
        // A path that is said to hold no symlink and yet has another name is not believed.
        let safe = match (via, safe) {
            (Via::Spec, HostPathSafety::Fixed) if written != real => HostPathSafety::Symlink,
            (_, safe) => safe,
        };
        Self {
            written: match via {
                Via::Spec => Some(written),
                Via::SubPath | Via::LocalVolume | Via::Csi => None,
            },
            real,
            via,
            safe,
            object,
            guarded: match object {
                Some(member) => Guarded::Inside(member),
                None => paths::guarded(real, case.guarded),
            },
        }
    }
}

impl Entry {
    fn judge(&self, look: &Look<'_>, mount: &Mount) -> Result<(), Miss> {
        match &self.place {
            EntryPath::Prefix(prefix) => {
                let named = paths::covers(prefix, look.real)
                    || look.written.is_some_and(|path| paths::covers(prefix, path));
                if !named {
                    return Err(Miss::NotNamed);
                }
                match look.safe {
                    HostPathSafety::Fixed => {}
                    HostPathSafety::Symlink => return Err(Miss::Symlink),
                    HostPathSafety::Writable => return Err(Miss::Writable),
                }
                if look.guarded != Guarded::No {
                    return Err(Miss::GuardedPath);
                }
            }
            EntryPath::Exact(path) => {
                let is_real = path == look.real;
                if !is_real && look.written != Some(path.as_str()) {
                    return Err(Miss::NotNamed);
                }
                if look.safe == HostPathSafety::Writable {
                    return Err(Miss::Writable);
                }
                // By another name a guarded path is not named exactly.
                if !is_real && look.guarded != Guarded::No {
                    return Err(Miss::GuardedPath);
                }
            }
        }
        if propagation(mount.propagation) > self.propagation {
            return Err(Miss::Propagation);
        }
        if self.read_only == Flag::On && mount.readonly == Flag::Off {
            return Err(Miss::NotReadOnly);
        }
        Ok(())
    }
}

impl Miss {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NotNamed => (
                " is a path of the host that is not allowed",
                "remove the hostPath volume",
            ),
            Self::Writable => (
                " is below a directory that others than root can change",
                "use a path of which every parent is root's own",
            ),
            Self::Symlink => (
                " is reached by a symlink, which no allowed prefix covers",
                "name the real path",
            ),
            Self::GuardedPath => (
                " belongs to the host itself, which no allowed prefix covers",
                "remove the hostPath volume, or have the policy name this very path",
            ),
            Self::Propagation => (
                " has a wider mount propagation than is allowed",
                "remove mountPropagation",
            ),
            Self::NotReadOnly => (" may only be mounted read-only", "set readOnly: true"),
            Self::InReach => (
                " is below a directory that other containers may write, so it could be replaced before it is mounted",
                "mount that directory itself and use subPath",
            ),
        }
    }
}

fn propagation(value: Propagation) -> PropagationDoc {
    match value {
        Propagation::None => PropagationDoc::None,
        Propagation::HostToContainer => PropagationDoc::HostToContainer,
        Propagation::Bidirectional => PropagationDoc::Bidirectional,
    }
}

fn text(case: &ContainerCase<'_>, mount: &Mount, path: &str, words: &'static str) -> Text {
    case.container_text()
        .words(" mounts ")
        .value(path)
        .words(" at ")
        .value(&mount.container_path)
        .words(": it")
        .words(words)
}

/// A mount of which nobody can say what it shows.
pub(super) fn unknown(
    case: &ContainerCase<'_>,
    mount: &Mount,
    path: &str,
    why: &'static str,
) -> Broken {
    let text = case
        .container_text()
        .words(" mounts ")
        .value(path)
        .words(" at ")
        .value(&mount.container_path)
        .words(", and what stands behind it could not be told (")
        .words(why)
        .words(")")
        .advice("check kubelet_root in the settings of pullguard, or use another kind of volume");
    Broken::Missing(Denial::say(Code::PodMountUnknown, text))
}
