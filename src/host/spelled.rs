//! A path that stands in a pod's spec: what it really names, and whether it can name something else
//! when containerd resolves it, after the look.

use super::spot::Why;
use super::{End, HostFs, NodeKind, Trail};
use crate::policy::HostPathSafety;

/// Symbolic links followed in one path, as the kernel's own bound.
const MAX_LINKS: usize = 40;

/// Why a path leads to nothing that can be told.
pub(super) enum Lost {
    /// There can be nothing under this name as things are.
    Nowhere(Why),
    /// The system refused the look.
    Unseen,
}

impl Lost {
    pub(super) fn why(self) -> Why {
        match self {
            Self::Nowhere(why) => why,
            Self::Unseen => "it cannot be looked at",
        }
    }
}

/// The real path, and how safe the way to it is. A path that does not exist yet is as safe as its
/// parents: containerd makes the rest.
pub(super) fn resolve(fs: &impl HostFs, cleaned: &str) -> Result<(String, HostPathSafety), Lost> {
    let mut open: Vec<String> = parts(cleaned);
    let mut real = String::new();
    let mut links = 0;
    let mut writable = false;
    while let Some(part) = open.pop() {
        if part == ".." {
            real.truncate(real.rfind('/').unwrap_or(0));
            continue;
        }
        let next = format!("{real}/{part}");
        let trail = fs.trail(&next).map_err(|_| Lost::Unseen)?;
        writable |= has_open_parent(&trail);
        match trail.end {
            End::Found => real = next,
            End::NotDirectory => return Err(Lost::Nowhere("a part of it is no directory")),
            End::Missing if open.iter().any(|part| part == "..") => {
                return Err(Lost::Nowhere("it goes up from what does not exist"));
            }
            End::Missing => real = next,
            End::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Lost::Nowhere("it goes through too many symbolic links"));
                }
                let target = fs.read_link(&next).map_err(|_| Lost::Unseen)?;
                if target.starts_with('/') {
                    real.clear();
                }
                open.extend(parts(&target));
            }
        }
    }
    if real.is_empty() {
        real.push('/');
    }
    let safe = match (writable, links) {
        (true, _) => HostPathSafety::Writable,
        (false, 0) => HostPathSafety::Fixed,
        (false, _) => HostPathSafety::Symlink,
    };
    Ok((real, safe))
}

/// Whether somebody else than root can change a directory on the way. The object itself does not
/// count: what is in it changes nothing about the path.
fn has_open_parent(trail: &Trail) -> bool {
    let parents = match trail.end {
        End::Found | End::Symlink => trail.nodes.split_last().map_or(&[][..], |(_, rest)| rest),
        End::Missing | End::NotDirectory => trail.nodes.as_slice(),
    };
    parents
        .iter()
        .any(|node| node.kind == NodeKind::Directory && (node.uid != 0 || node.mode & 0o022 != 0))
}

/// The components, the last one first.
fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .rev()
        .map(str::to_owned)
        .collect()
}

/// The absolute path without doubled and trailing slashes and `.`; `None` if it is relative or goes
/// up.
pub(super) fn clean(path: &str) -> Option<String> {
    let rest = path.strip_prefix('/')?;
    let mut out = String::with_capacity(path.len());
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => {
                out.push('/');
                out.push_str(part);
            }
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    Some(out)
}
