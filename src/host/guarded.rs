//! The guarded set as objects: a member that a link or a bind mount also shows elsewhere is guarded
//! there too. The text of a path is compared by policy; this is the other half.

use super::mountinfo::{Device, MountTable};
use super::spelled::{Lost, clean, resolve};
use super::spot::{Spot, Why, below, place};
use super::{End, HostFs};
use crate::policy::guarded_paths;

/// Where the members of the guarded set really are.
#[derive(Debug)]
pub(super) struct GuardedSet {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    spot: Spot,
}

impl GuardedSet {
    /// Locates the built-in members and `own`, this node's. A member that does not exist yet is
    /// where it would be made; one that cannot exist is none. One that exists and cannot be looked
    /// at leaves the set unknown: it could be anywhere.
    pub(super) fn locate(
        fs: &impl HostFs,
        mounts: &MountTable,
        own: &[String],
    ) -> Result<Self, Why> {
        let mut members = Vec::new();
        let names = guarded_paths()
            .map(str::to_owned)
            .chain(own.iter().cloned());
        for name in names {
            // What is no clean path was refused by the settings; containerd's own words may be
            // anything, a relative path included, which names nothing.
            let Some(cleaned) = clean(&name).filter(|cleaned| cleaned != "/") else {
                continue;
            };
            let real = match resolve(fs, &cleaned) {
                Ok((real, _)) => real,
                Err(Lost::Nowhere(_)) => continue,
                Err(Lost::Unseen) => return Err("a guarded path cannot be looked at"),
            };
            let spot = match place(fs, mounts, &real) {
                Ok(spot) => spot,
                // Gone since it was resolved.
                Err(_)
                    if fs
                        .trail(&real)
                        .is_ok_and(|trail| trail.end == End::NotDirectory) =>
                {
                    continue;
                }
                Err(_) => return Err("a guarded path cannot be looked at"),
            };
            members.push(Member { name, spot });
        }
        Ok(Self { members })
    }

    /// The member that mounting the object at `seen` hands over: the object is a member, below one
    /// or above one, or a mount below `seen` is. containerd binds with everything mounted below.
    pub(super) fn met(&self, mounts: &MountTable, spot: &Spot, seen: &str) -> Option<&str> {
        let meets = |device: Device, path: &[u8]| {
            self.members
                .iter()
                .find(|member| member.spot.meets(device, path))
                .map(|member| member.name.as_str())
        };
        meets(spot.device, &spot.path).or_else(|| {
            mounts
                .mounts()
                .iter()
                .filter(|mount| !mount.is_deleted())
                .filter(|mount| {
                    below(&mount.point, seen.as_bytes()).is_some_and(|rest| !rest.is_empty())
                })
                .find_map(|mount| meets(mount.device, &mount.root))
        })
    }

    /// Whether a member is on this device.
    pub(super) fn is_on(&self, device: Device) -> bool {
        self.members
            .iter()
            .any(|member| member.spot.device == device)
    }
}

#[cfg(test)]
mod tests;
