//! Objects by their filesystem: two paths with the same spot are the same object, whatever they are
//! called. Refuses what no mount of the table holds.

use super::mountinfo::{Device, Mount, MountTable};
use super::{End, HostFs};

/// Why something could not be told: a cause's class, the same at every retry.
pub(super) type Why = &'static str;

const NOT_MOUNTED: Why = "its mount is not in mountinfo";

/// A device, and a path within its filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) device: Device,
    pub(super) path: Vec<u8>,
}

/// An object that exists, and the mount by which it was reached.
pub(super) struct Located<'m> {
    pub(super) mount: &'m Mount,
    pub(super) spot: Spot,
}

impl Spot {
    /// The spot of `inside`, a relative path from here.
    pub(super) fn join(&self, inside: &str) -> Self {
        if inside.is_empty() {
            return self.clone();
        }
        let mut rest = vec![b'/'];
        rest.extend_from_slice(inside.as_bytes());
        Self {
            device: self.device,
            path: joined(&self.path, &rest),
        }
    }

    /// Whether one of both is, or is below, the other.
    pub(super) fn meets(&self, device: Device, path: &[u8]) -> bool {
        self.device == device
            && (below(&self.path, path).is_some() || below(path, &self.path).is_some())
    }
}

/// The object at a path that exists and holds no symbolic link.
pub(super) fn locate<'m>(
    fs: &impl HostFs,
    mounts: &'m MountTable,
    path: &str,
) -> Result<Located<'m>, Why> {
    let reached = fs.reach(path).map_err(|_| "it cannot be looked at")?;
    let id = match reached {
        (End::Found, Some(id)) => id,
        (End::Symlink, _) => return Err("it goes through a symbolic link"),
        (End::Found | End::Missing | End::NotDirectory, _) => {
            return Err("it does not exist");
        }
    };
    let mount = mounts
        .by_id(id)
        .filter(|mount| !mount.is_deleted())
        .ok_or(NOT_MOUNTED)?;
    let rest = below(path.as_bytes(), &mount.point).ok_or(NOT_MOUNTED)?;
    Ok(Located {
        mount,
        spot: Spot {
            device: mount.device,
            path: joined(&mount.root, rest),
        },
    })
}

/// Where a path without symbolic links is, or will be once somebody makes it: what is missing comes
/// below what exists.
pub(super) fn place(fs: &impl HostFs, mounts: &MountTable, path: &str) -> Result<Spot, Why> {
    let trail = fs.trail(path).map_err(|_| "it cannot be looked at")?;
    if trail.end != End::Missing {
        return locate(fs, mounts, path).map(|located| located.spot);
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // The first node is `/`.
    let (there, missing) = parts
        .split_at_checked(trail.nodes.len().saturating_sub(1))
        .ok_or("it cannot be looked at")?;
    let parent = locate(fs, mounts, &format!("/{}", there.join("/")))?;
    Ok(parent.spot.join(&missing.join("/")))
}

/// What follows the prefix, if it ends at a component: empty, or with a leading slash. Everything is
/// below `/`.
pub(super) fn below<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    if prefix == b"/" {
        return path
            .starts_with(b"/")
            .then(|| if path == b"/" { &[] } else { path });
    }
    path.strip_prefix(prefix)
        .filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// `base` and `rest` (empty, or with a leading slash) as one path.
pub(super) fn joined(base: &[u8], rest: &[u8]) -> Vec<u8> {
    if base == b"/" && !rest.is_empty() {
        return rest.to_vec();
    }
    [base, rest].concat()
}
