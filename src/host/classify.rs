//! Is a mount the kubelet's own work, or a path of the host? CRI mounts have no type, so the answer
//! needs both the string (is it where the kubelet puts such a thing for this pod and container?) and
//! the object (is what is mounted there really of this pod?). A hostPath with a subPath, a local
//! volume and some CSI volumes look like the kubelet's own by their string alone.

use std::sync::OnceLock;

use super::mountinfo::{Device, Mount, MountTable};
use super::spelled::{clean, look};
use super::{End, HostFs};
use crate::policy::{HostPathSafety, MountOrigin, Via};
use crate::request;

/// Why something could not be told: a cause's class, the same at every retry.
type Why = &'static str;

/// The kubelet's `--root-dir`: as it is configured, and without symbolic links.
#[derive(Clone, Debug)]
pub struct KubeletRoot {
    spelled: String,
    real: OnceLock<String>,
}

impl KubeletRoot {
    /// The root as configured (`/var/lib/kubelet`), a trailing slash ignored.
    pub fn new(spelled: &str) -> Self {
        let trimmed = spelled.trim_end_matches('/');
        Self {
            spelled: trimmed.to_owned(),
            real: OnceLock::new(),
        }
    }

    /// The root as configured.
    pub fn spelled(&self) -> &str {
        &self.spelled
    }

    /// The real path, resolved at the first success and then kept.
    fn real(&self, fs: &impl HostFs) -> Result<&str, Why> {
        if let Some(real) = self.real.get() {
            return Ok(real);
        }
        let real = fs
            .real_path(&self.spelled)
            .map_err(|_| "the kubelet's root cannot be resolved")?;
        Ok(self.real.get_or_init(|| real))
    }
}

/// Classifies the mounts of one request against one reading of mountinfo.
#[derive(Debug)]
pub struct Classifier<'a, F> {
    fs: &'a F,
    root: &'a KubeletRoot,
    mounts: Result<MountTable, Why>,
}

impl<'a, F: HostFs> Classifier<'a, F> {
    /// Reads mountinfo now: the kubelet makes its mounts before it asks for the container.
    pub fn new(fs: &'a F, root: &'a KubeletRoot) -> Self {
        let mounts = fs
            .mountinfo()
            .map_err(|_| "mountinfo cannot be read")
            .and_then(|text| MountTable::parse(&text).map_err(|_| "mountinfo cannot be read"));
        Self { fs, root, mounts }
    }

    /// Where `mount` comes from, in a container named `container` (`ContainerConfig.metadata.name`)
    /// of the pod `uid` (the sandbox's `metadata.uid`).
    pub fn classify(&self, uid: &str, container: &str, mount: &request::Mount) -> MountOrigin {
        match &mount.source {
            request::MountSource::Image { .. } => MountOrigin::Image,
            request::MountSource::HostPath(path) => {
                let found = self.row(uid, container, path, &mount.container_path);
                match found {
                    Ok(None) => look(self.fs, path),
                    Ok(Some(row)) => self
                        .kubelets(&row)
                        .unwrap_or_else(|why| MountOrigin::Unknown { why }),
                    Err(why) => MountOrigin::Unknown { why },
                }
            }
        }
    }

    /// The kubelet's place that the string names; `None` if it names none of this container's.
    fn row(
        &self,
        uid: &str,
        container: &str,
        path: &str,
        container_path: &str,
    ) -> Result<Option<Row>, Why> {
        if !is_name(uid) || !is_name(container) || !is_clean(path) {
            return Ok(None);
        }
        let below = |root: &str| {
            strip(path, root)
                .and_then(|rest| strip(rest, "/pods"))
                .and_then(|rest| strip(rest, &format!("/{uid}")))
                .and_then(|rest| rest.strip_prefix('/'))
        };
        let mut rest = below(self.root.spelled());
        if rest.is_none() {
            // A root that is away has no second spelling.
            rest = self.root.real(self.fs).ok().and_then(below);
        }
        let Some(place) = rest.and_then(|rest| place(rest, container, container_path)) else {
            return Ok(None);
        };
        let pod = format!("{}/pods/{uid}", self.root.real(self.fs)?);
        Ok(Some(Row {
            path: format!("{pod}/{}", rest.unwrap_or_default()),
            pod,
            inside: rest.unwrap_or_default().to_owned(),
            place,
        }))
    }

    /// The object behind a string that fits.
    fn kubelets(&self, row: &Row) -> Result<MountOrigin, Why> {
        let mounts = self.mounts.as_ref().map_err(|why| *why)?;
        let pod = self.locate(mounts, &row.pod)?;
        let object = self.locate(mounts, &row.path)?;
        if object.spot == pod.spot.join(&row.inside) {
            return match row.place {
                Place::File | Place::Volume => Ok(MountOrigin::Kubelet),
                Place::SubPath => Err("nothing is mounted there"),
            };
        }
        if object.mount.point != row.path.as_bytes() {
            return Err("it is not where the kubelet puts it");
        }
        let real = self.root.real(self.fs)?;
        let view = View { mounts, real };
        match row.place {
            Place::File => Err("it is a mount, not the kubelet's file"),
            Place::Volume if view.is_node_filesystem(object.mount.device) => {
                view.host(&object, Via::LocalVolume)
            }
            Place::Volume => Ok(MountOrigin::Kubelet),
            Place::SubPath if view.is_own_volume(row, &pod.spot, &object.spot) => {
                Ok(MountOrigin::Kubelet)
            }
            Place::SubPath => view.host(&object, Via::SubPath),
        }
    }

    fn locate<'m>(&self, mounts: &'m MountTable, path: &str) -> Result<Located<'m>, Why> {
        let trail = self.fs.trail(path).map_err(|_| "it cannot be looked at")?;
        let id = match (trail.end, trail.mount) {
            (End::Found, Some(id)) => id,
            (End::Symlink, _) => return Err("it goes through a symbolic link"),
            (End::Found | End::Missing | End::NotDirectory, _) => {
                return Err("it does not exist");
            }
        };
        let mount = mounts
            .by_id(id)
            .filter(|mount| !mount.is_deleted())
            .ok_or("its mount is not in mountinfo")?;
        let rest = below(path.as_bytes(), &mount.point).ok_or("its mount is not in mountinfo")?;
        Ok(Located {
            mount,
            spot: Spot {
                device: mount.device,
                path: joined(&mount.root, rest),
            },
        })
    }
}

/// Which of the kubelet's places for a pod a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// `etc-hosts`, or a termination log: a plain file in the pod's directory.
    File,
    /// `volumes/PLUGIN/VOLUME`, for CSI with `/mount`.
    Volume,
    /// `volume-subpaths/VOLUME/CONTAINER/INDEX`: a bind mount.
    SubPath,
}

/// A path that has the form of one of the kubelet's places, with symbolic links of the root
/// resolved.
struct Row {
    path: String,
    pod: String,
    inside: String,
    place: Place,
}

/// An object by its filesystem: two paths with the same spot are the same object.
#[derive(Debug, PartialEq, Eq)]
struct Spot {
    device: Device,
    path: Vec<u8>,
}

impl Spot {
    fn join(&self, inside: &str) -> Self {
        let mut rest = vec![b'/'];
        rest.extend_from_slice(inside.as_bytes());
        Self {
            device: self.device,
            path: joined(&self.path, &rest),
        }
    }
}

struct Located<'m> {
    mount: &'m Mount,
    spot: Spot,
}

/// All mounts, seen from the kubelet's root.
struct View<'m> {
    mounts: &'m MountTable,
    real: &'m str,
}

impl View<'_> {
    /// Whether the device is also mounted outside the directories where the kubelet and its plugins
    /// mount volumes: then what is on it is the node's, not a volume's alone.
    fn is_node_filesystem(&self, device: Device) -> bool {
        self.mounts
            .mounts()
            .iter()
            .any(|mount| mount.device == device && !self.is_volume_area(&mount.point))
    }

    fn is_volume_area(&self, point: &[u8]) -> bool {
        ["pods", "plugins"].iter().any(|area| {
            let area = format!("{}/{area}", self.real);
            below(point, area.as_bytes()).is_some_and(|rest| !rest.is_empty())
        })
    }

    /// Whether the spot lies in a volume of the same pod: on the filesystem of the pod's directory,
    /// or on a filesystem that is mounted as one of its volumes and nowhere on the node.
    fn is_own_volume(&self, row: &Row, pod: &Spot, spot: &Spot) -> bool {
        let volumes = pod.join("volumes");
        if spot.device == pod.device {
            let inside = below(&spot.path, &volumes.path).unwrap_or_default();
            return is_inside_volume(inside);
        }
        let area = format!("{}/volumes", row.pod);
        !self.is_node_filesystem(spot.device)
            && self.mounts.mounts().iter().any(|mount| {
                mount.device == spot.device
                    && !mount.is_deleted()
                    && below(&mount.point, area.as_bytes()).is_some_and(is_inside_volume)
                    && below(&spot.path, &mount.root).is_some()
            })
    }

    /// The spot as a path of the host.
    fn host(&self, object: &Located<'_>, via: Via) -> Result<MountOrigin, Why> {
        let path = self
            .host_path(object)
            .ok_or("what is mounted there has no other path on the host")?;
        Ok(MountOrigin::Host {
            path,
            via,
            // What is mounted already cannot become something else.
            safe: HostPathSafety::Fixed,
        })
    }

    /// By the mount that shows most of the filesystem; of several such, one outside the kubelet's
    /// directories, then the first.
    fn host_path(&self, object: &Located<'_>) -> Option<String> {
        let best = self
            .mounts
            .mounts()
            .iter()
            .filter(|mount| mount.id != object.mount.id && mount.device == object.spot.device)
            .filter(|mount| !mount.is_deleted())
            .filter_map(|mount| Some((mount, below(&object.spot.path, &mount.root)?)))
            .min_by_key(|(mount, _)| (mount.root.len(), self.is_volume_area(&mount.point)))?;
        let (mount, rest) = best;
        String::from_utf8(joined(&mount.point, rest)).ok()
    }
}

/// `/PLUGIN/VOLUME` and below, the plugin with the `~` that the kubelet writes for its slash.
fn is_inside_volume(rest: &[u8]) -> bool {
    let mut parts = rest.split(|byte| *byte == b'/').skip(1);
    let plugin = parts.next().unwrap_or_default();
    let volume = parts.next().unwrap_or_default();
    plugin.contains(&b'~') && !volume.is_empty()
}

fn place(rest: &str, container: &str, container_path: &str) -> Option<Place> {
    let parts: Vec<&str> = rest.split('/').collect();
    match parts.as_slice() {
        ["etc-hosts"] if container_path == "/etc/hosts" => Some(Place::File),
        ["containers", of, log] if *of == container && is_log_name(log) => Some(Place::File),
        ["volumes", "kubernetes.io~csi", _, "mount"] => Some(Place::Volume),
        ["volumes", plugin, _] if plugin.contains('~') && *plugin != "kubernetes.io~csi" => {
            Some(Place::Volume)
        }
        ["volume-subpaths", _, of, index]
            if *of == container && index.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            Some(Place::SubPath)
        }
        _ => None,
    }
}

/// A termination log is named by eight hexadecimal digits at random.
fn is_log_name(name: &str) -> bool {
    name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A single component of a path.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

fn is_clean(path: &str) -> bool {
    clean(path).is_some_and(|cleaned| cleaned == path)
}

/// What follows the prefix, if it ends at a component: empty, or with a leading slash.
fn strip<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The same for bytes; everything is below `/`.
fn below<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    if prefix == b"/" {
        return path
            .starts_with(b"/")
            .then(|| if path == b"/" { &[] } else { path });
    }
    path.strip_prefix(prefix)
        .filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// `base` and `rest` (empty, or with a leading slash) as one path.
fn joined(base: &[u8], rest: &[u8]) -> Vec<u8> {
    if base == b"/" && !rest.is_empty() {
        return rest.to_vec();
    }
    [base, rest].concat()
}

#[cfg(test)]
mod tests;
