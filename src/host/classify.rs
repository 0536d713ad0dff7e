//! Is a mount the kubelet's own work, or a path of the host? CRI mounts have no type, so the answer
//! needs both the string (is it where the kubelet puts such a thing for this pod and container?) and
//! the object (is what is mounted there really of this pod?). A hostPath with a subPath, a local
//! volume and some CSI volumes look like the kubelet's own by their string alone.

use std::cell::OnceCell;
use std::sync::OnceLock;

use super::HostFs;
use super::guarded::GuardedSet;
use super::mountinfo::{Device, MountTable};
use super::spelled::{Lost, clean, resolve};
use super::spot::{Located, Spot, Why, below, joined, locate, place};
use crate::policy::{HostPathSafety, KubeletMount, MountOrigin, Via};
use crate::request;

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
    own: &'a [String],
    mounts: Result<MountTable, Why>,
    /// The pod's own directory, which is the same for all its mounts.
    pod: OnceCell<(String, Spot)>,
    /// Found at the first mount that needs it: most containers have none.
    guarded: OnceCell<Result<GuardedSet, Why>>,
}

impl<'a, F: HostFs> Classifier<'a, F> {
    /// Reads mountinfo now: the kubelet makes its mounts before it asks for the container. `own` are
    /// this node's own members of the guarded set, beside the built-in ones.
    pub fn new(fs: &'a F, root: &'a KubeletRoot, own: &'a [String]) -> Self {
        let mounts = fs
            .mountinfo()
            .map_err(|_| "mountinfo cannot be read")
            .and_then(|text| MountTable::parse(&text).map_err(|_| "mountinfo cannot be read"));
        Self {
            fs,
            root,
            own,
            mounts,
            pod: OnceCell::new(),
            guarded: OnceCell::new(),
        }
    }

    /// Where `mount` comes from, in a container named `container` (`ContainerConfig.metadata.name`)
    /// of the pod `uid` (the sandbox's `metadata.uid`).
    pub fn classify(&self, uid: &str, container: &str, mount: &request::Mount) -> MountOrigin {
        match &mount.source {
            request::MountSource::Image { .. } => MountOrigin::Image,
            request::MountSource::HostPath(path) => {
                let found = self.row(uid, container, path, &mount.container_path);
                let origin = found.and_then(|row| match row {
                    None => self.spelled(path),
                    Some(row) => self.kubelets(&row),
                });
                origin.unwrap_or_else(|why| MountOrigin::Unknown { why })
            }
        }
    }

    /// A path that stands in the pod's spec.
    fn spelled(&self, written: &str) -> Result<MountOrigin, Why> {
        let cleaned = clean(written).ok_or("it is not a clean absolute path")?;
        let (path, safe) = resolve(self.fs, &cleaned).map_err(Lost::why)?;
        let mounts = self.mounts.as_ref().map_err(|why| *why)?;
        let spot = place(self.fs, mounts, &path)?;
        let guarded = self.guarded(mounts)?.met(mounts, &spot, &path);
        Ok(MountOrigin::Host {
            guarded: guarded.map(str::to_owned),
            path,
            via: Via::Spec,
            safe,
        })
    }

    fn guarded(&self, mounts: &MountTable) -> Result<&GuardedSet, Why> {
        let set = self
            .guarded
            .get_or_init(|| GuardedSet::locate(self.fs, mounts, self.own));
        set.as_ref().map_err(|why| *why)
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
        let Some(place) = rest.and_then(|rest| named(rest, container, container_path)) else {
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
        let pod = self.pod_directory(mounts, &row.pod)?;
        let object = locate(self.fs, mounts, &row.path)?;
        if object.spot == pod.join(&row.inside) {
            return match row.place {
                Place::File => Ok(MountOrigin::Kubelet(KubeletMount::File)),
                Place::Volume(_) => Ok(volume(plugin_in(&row.inside))),
                Place::SubPath => Err("nothing is mounted there"),
            };
        }
        if object.mount.point != row.path.as_bytes() {
            return Err("it is not where the kubelet puts it");
        }
        self.mounted(row, mounts, &pod, &object)
    }

    fn pod_directory(&self, mounts: &MountTable, path: &str) -> Result<Spot, Why> {
        match self.pod.get() {
            Some((known, spot)) if known == path => Ok(spot.clone()),
            Some(_) | None => {
                let spot = locate(self.fs, mounts, path)?.spot;
                self.pod.get_or_init(|| (path.to_owned(), spot.clone()));
                Ok(spot)
            }
        }
    }

    /// What is mounted in one of the kubelet's places.
    fn mounted(
        &self,
        row: &Row,
        mounts: &MountTable,
        pod: &Spot,
        object: &Located<'_>,
    ) -> Result<MountOrigin, Why> {
        let real = self.root.real(self.fs)?;
        let view = View {
            mounts,
            real,
            guarded: self.guarded(mounts)?,
            nodes: [
                locate(self.fs, mounts, "/")?.spot.device,
                locate(self.fs, mounts, real)?.spot.device,
            ],
        };
        let device = object.spot.device;
        match row.place {
            Place::File => Err("it is a mount, not the kubelet's file"),
            Place::Volume(Plugin::Local) if view.is_shown_on_node(device) => {
                view.host(row, object, Via::LocalVolume)
            }
            Place::Volume(Plugin::Other) if view.is_node_filesystem(device) => {
                view.host(row, object, Via::Csi)
            }
            Place::Volume(Plugin::Local | Plugin::Other) => Ok(volume(plugin_in(&row.inside))),
            Place::SubPath => match view.own_volume(row, pod, &object.spot)? {
                Some(plugin) => Ok(volume(&plugin)),
                None => view.host(row, object, Via::SubPath),
            },
        }
    }
}

/// Which of the kubelet's places for a pod a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// `etc-hosts`, or a termination log: a plain file in the pod's directory.
    File,
    /// `volumes/PLUGIN/VOLUME`, for CSI with `/mount`.
    Volume(Plugin),
    /// `volume-subpaths/VOLUME/CONTAINER/INDEX`: a bind mount.
    SubPath,
}

/// Whose volume it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plugin {
    /// A local persistent volume: a directory or a filesystem of the node by its nature.
    Local,
    /// A CSI driver's, or another plugin's: it stages its filesystems wherever it likes.
    Other,
}

impl Plugin {
    fn of(name: &[u8]) -> Self {
        if name == b"kubernetes.io~local-volume" {
            Self::Local
        } else {
            Self::Other
        }
    }
}

/// A path that has the form of one of the kubelet's places, with symbolic links of the root
/// resolved.
struct Row {
    path: String,
    pod: String,
    inside: String,
    place: Place,
}

/// All mounts, seen from the kubelet's root.
struct View<'m> {
    mounts: &'m MountTable,
    real: &'m str,
    guarded: &'m GuardedSet,
    /// The devices of `/` and of the kubelet's root.
    nodes: [Device; 2],
}

impl View<'_> {
    /// Whether the device is also mounted outside the directories where the kubelet and its plugins
    /// mount volumes.
    fn is_shown_on_node(&self, device: Device) -> bool {
        self.mounts
            .mounts()
            .iter()
            .any(|mount| mount.device == device && !self.is_volume_area(&mount.point))
    }

    /// Whether the filesystem is the node's own: that of `/`, of the kubelet's root, or of something
    /// guarded. Drivers stage their filesystems, and sandboxed runtimes show them, in many places of
    /// the node, which makes them nobody else's.
    fn is_node_filesystem(&self, device: Device) -> bool {
        self.nodes.contains(&device) || self.guarded.is_on(device)
    }

    fn is_the_nodes(&self, plugin: Plugin, device: Device) -> bool {
        match plugin {
            Plugin::Local => self.is_shown_on_node(device),
            Plugin::Other => self.is_node_filesystem(device),
        }
    }

    fn is_volume_area(&self, point: &[u8]) -> bool {
        ["pods", "plugins"].iter().any(|area| {
            let area = format!("{}/{area}", self.real);
            below(point, area.as_bytes()).is_some_and(|rest| !rest.is_empty())
        })
    }

    /// The plugin of the volume of the same pod in which the spot lies: on the filesystem of the pod's
    /// directory, or on a filesystem that is mounted as one of its volumes and is not the node's. Two
    /// volumes can be of one filesystem (two of one NFS export); then it is the one that the kubelet
    /// names in the path of the subPath (kubernetes pkg/volume/util/subpath, `VolumeName`).
    fn own_volume(&self, row: &Row, pod: &Spot, spot: &Spot) -> Result<Option<String>, Why> {
        let volumes = pod.join("volumes");
        if spot.device == pod.device {
            let inside = below(&spot.path, &volumes.path).unwrap_or_default();
            return Ok(is_inside_volume(inside).then(|| text(plugin_of(inside))));
        }
        let area = format!("{}/volumes", row.pod);
        let shown = self.mounts.mounts().iter().filter(|mount| {
            mount.device == spot.device
                && !mount.is_deleted()
                && below(&spot.path, &mount.root).is_some()
        });
        let inside = shown.filter_map(|mount| below(&mount.point, area.as_bytes()));
        let mut own: Vec<&[u8]> = inside
            .filter(|inside| is_inside_volume(inside))
            .filter(|inside| !self.is_the_nodes(Plugin::of(plugin_of(inside)), spot.device))
            .collect();
        let named = |inside: &&[u8]| element(inside, 2) == element(row.inside.as_bytes(), 1);
        if own.iter().any(named) {
            own.retain(named);
        }
        own.dedup_by_key(|inside| plugin_of(inside));
        match own.as_slice() {
            [] => Ok(None),
            [inside] => Ok(Some(text(plugin_of(inside)))),
            [_, _, ..] => Err("volumes of two types could be behind it"),
        }
    }

    /// The spot as a path of the host.
    fn host(&self, row: &Row, object: &Located<'_>, via: Via) -> Result<MountOrigin, Why> {
        let path = self
            .host_path(object)
            .ok_or("what is mounted there has no other path on the host")?;
        // The kubelet's bind mount shows what is mounted below itself, not below its source.
        let guarded = self.guarded.met(self.mounts, &object.spot, &row.path);
        Ok(MountOrigin::Host {
            path,
            via,
            // What is mounted already cannot become something else.
            safe: HostPathSafety::Fixed,
            guarded: guarded.map(str::to_owned),
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
    plugin_of(rest).contains(&b'~') && !element(rest, 2).is_empty()
}

fn plugin_of(rest: &[u8]) -> &[u8] {
    element(rest, 1)
}

/// What stands between the slashes, from 0; empty if there are not that many.
fn element(path: &[u8], at: usize) -> &[u8] {
    path.split(|byte| *byte == b'/').nth(at).unwrap_or_default()
}

/// The plugin of a volume, of its path in the pod's directory.
fn plugin_in(inside: &str) -> &str {
    inside.split('/').nth(1).unwrap_or_default()
}

fn volume(plugin: &str) -> MountOrigin {
    MountOrigin::Kubelet(KubeletMount::Volume(plugin.to_owned()))
}

fn text(plugin: &[u8]) -> String {
    String::from_utf8_lossy(plugin).into_owned()
}

fn named(rest: &str, container: &str, container_path: &str) -> Option<Place> {
    let parts: Vec<&str> = rest.split('/').collect();
    match parts.as_slice() {
        ["etc-hosts"] if container_path == "/etc/hosts" => Some(Place::File),
        ["containers", of, log] if *of == container && is_log_name(log) => Some(Place::File),
        ["volumes", "kubernetes.io~csi", _, "mount"] => Some(Place::Volume(Plugin::Other)),
        ["volumes", plugin, _] if plugin.contains('~') && *plugin != "kubernetes.io~csi" => {
            Some(Place::Volume(Plugin::of(plugin.as_bytes())))
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

#[cfg(test)]
mod tests;
