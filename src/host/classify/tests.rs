use std::collections::BTreeMap;
use std::io;

use super::*;
use crate::host::{Node, NodeKind, Trail};
use crate::request::{Flag, MountSource, Propagation};

const POD: &str = "/var/lib/kubelet/pods/u1";
const DIRECTORY: Node = Node {
    kind: NodeKind::Directory,
    uid: 0,
    mode: 0o755,
};

/// A host of directories: the mount of a path is the longest mount point above it.
struct Fake {
    mounts: String,
    odd: BTreeMap<String, Node>,
    missing: Vec<String>,
    real: BTreeMap<String, String>,
    links: BTreeMap<String, String>,
}

impl Fake {
    /// `/` on device 8:1, and more lines `(root, point, device)`.
    fn with(mounts: &[(&str, &str, &str)]) -> Self {
        let mut text = "1 0 8:1 / / rw - ext4 /dev/sda rw\n".to_owned();
        for (at, (root, point, device)) in mounts.iter().enumerate() {
            let id = at + 2;
            text.push_str(&format!("{id} 1 {device} {root} {point} rw - x x rw\n"));
        }
        Self {
            mounts: text,
            odd: BTreeMap::new(),
            missing: Vec::new(),
            real: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    fn odd(mut self, path: &str, node: Node) -> Self {
        self.odd.insert(path.to_owned(), node);
        self
    }

    fn link(mut self, path: &str, target: &str) -> Self {
        self.links.insert(path.to_owned(), target.to_owned());
        let link = Node {
            kind: NodeKind::Symlink,
            ..DIRECTORY
        };
        self.odd(path, link)
    }

    fn missing(mut self, path: &str) -> Self {
        self.missing.push(path.to_owned());
        self
    }
}

impl HostFs for Fake {
    fn trail(&self, path: &str) -> io::Result<Trail> {
        let mut nodes = vec![DIRECTORY];
        let mut at = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = format!("{at}/{part}");
            if self.missing.contains(&at) {
                return Ok(Trail {
                    nodes,
                    end: End::Missing,
                    mount: None,
                });
            }
            let node = self.odd.get(&at).copied().unwrap_or(DIRECTORY);
            nodes.push(node);
            if node.kind == NodeKind::Symlink {
                return Ok(Trail {
                    nodes,
                    end: End::Symlink,
                    mount: None,
                });
            }
        }
        let table = MountTable::parse(self.mounts.as_bytes()).unwrap();
        let mount = table
            .mounts()
            .iter()
            .filter(|mount| below(path.as_bytes(), &mount.point).is_some())
            .max_by_key(|mount| mount.point.len())
            .map(|mount| mount.id);
        Ok(Trail {
            nodes,
            end: End::Found,
            mount,
        })
    }

    fn mountinfo(&self) -> io::Result<Vec<u8>> {
        Ok(self.mounts.clone().into_bytes())
    }

    fn real_path(&self, path: &str) -> io::Result<String> {
        Ok(self
            .real
            .get(path)
            .cloned()
            .unwrap_or_else(|| path.to_owned()))
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        Ok(self.links[path].clone())
    }
}

fn mount(host_path: &str, container_path: &str) -> request::Mount {
    request::Mount {
        container_path: container_path.to_owned(),
        source: MountSource::HostPath(host_path.to_owned()),
        readonly: Flag::Off,
        recursive_read_only: Flag::Off,
        propagation: Propagation::None,
    }
}

fn classified(fs: &Fake, host_path: &str, container_path: &str) -> MountOrigin {
    let root = KubeletRoot::new("/var/lib/kubelet");
    Classifier::new(fs, &root).classify("u1", "app", &mount(host_path, container_path))
}

fn host(path: &str, via: Via, safe: HostPathSafety) -> MountOrigin {
    MountOrigin::Host {
        path: path.to_owned(),
        via,
        safe,
    }
}

fn unknown(why: &'static str) -> MountOrigin {
    MountOrigin::Unknown { why }
}

fn spec(path: &str) -> MountOrigin {
    host(path, Via::Spec, HostPathSafety::Fixed)
}

#[test]
fn the_kubelets_own_places_are_the_kubelets() {
    let fs = Fake::with(&[]);
    for (path, container_path) in [
        ("etc-hosts", "/etc/hosts"),
        ("containers/app/0a1b2c3d", "/dev/termination-log"),
        ("volumes/kubernetes.io~empty-dir/cache", "/cache"),
        ("volumes/kubernetes.io~configmap/conf", "/conf"),
        ("volumes/example.com~flex/v", "/v"),
        ("volumes/kubernetes.io~csi/pv-1/mount", "/data"),
    ] {
        assert_eq!(
            classified(&fs, &format!("{POD}/{path}"), container_path),
            MountOrigin::Kubelet,
            "{path}"
        );
    }
}

#[test]
fn a_path_that_only_resembles_one_of_them_is_a_host_path() {
    let fs = Fake::with(&[]);
    for path in [
        "etc-hosts",
        "containers/other/0a1b2c3d",
        "containers/app/0a1b2c3",
        "volumes",
        "volumes/kubernetes.io~secret",
        "volumes/secret/x",
        "volumes/kubernetes.io~secret/x/y",
        "volumes/kubernetes.io~csi/pv-1",
        "volume-subpaths/v/other/0",
        "volume-subpaths/v/app/x",
    ] {
        let path = format!("{POD}/{path}");
        assert_eq!(classified(&fs, &path, "/x"), spec(&path), "{path}");
    }
}

#[test]
fn another_pods_directory_is_a_host_path() {
    let fs = Fake::with(&[]);
    let path = "/var/lib/kubelet/pods/u2/volumes/kubernetes.io~secret/s";
    assert_eq!(classified(&fs, path, "/s"), spec(path));
}

#[test]
fn a_pods_uid_that_is_a_prefix_of_anothers_opens_nothing() {
    let fs = Fake::with(&[]);
    let path = "/var/lib/kubelet/pods/u12/volumes/kubernetes.io~secret/s";
    assert_eq!(classified(&fs, path, "/s"), spec(path));
}

#[test]
fn an_unclean_spelling_of_the_kubelets_place_is_a_host_path() {
    let fs = Fake::with(&[]);
    let path = format!("{POD}//etc-hosts");
    assert_eq!(
        classified(&fs, &path, "/etc/hosts"),
        spec(&format!("{POD}/etc-hosts"))
    );
    let path = format!("{POD}/volumes/../etc-hosts");
    assert_eq!(
        classified(&fs, &path, "/etc/hosts"),
        unknown("it is not a clean absolute path")
    );
}

#[test]
fn a_host_path_with_a_subpath_is_told_by_what_is_mounted() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    let fs = Fake::with(&[("/etc/ssh", &path, "8:1")]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        host("/etc/ssh", Via::SubPath, HostPathSafety::Fixed)
    );
}

#[test]
fn a_subpath_of_the_pods_own_volume_is_the_kubelets() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    let root = format!("{POD}/volumes/kubernetes.io~empty-dir/v/sub");
    let fs = Fake::with(&[(&root, &path, "8:1")]);
    assert_eq!(classified(&fs, &path, "/x"), MountOrigin::Kubelet);
}

#[test]
fn a_subpath_of_another_pods_volume_is_a_host_path() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    let root = "/var/lib/kubelet/pods/u2/volumes/kubernetes.io~empty-dir/v/sub";
    let fs = Fake::with(&[(root, &path, "8:1")]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        host(root, Via::SubPath, HostPathSafety::Fixed)
    );
}

#[test]
fn a_subpath_of_another_pods_tmpfs_is_a_host_path() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    let theirs = "/var/lib/kubelet/pods/u2/volumes/kubernetes.io~secret/s";
    let fs = Fake::with(&[("/", theirs, "0:50"), ("/token", &path, "0:50")]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        host(
            &format!("{theirs}/token"),
            Via::SubPath,
            HostPathSafety::Fixed
        )
    );
}

#[test]
fn a_subpath_of_the_pods_own_tmpfs_is_the_kubelets() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    let own = format!("{POD}/volumes/kubernetes.io~secret/s");
    let fs = Fake::with(&[("/", &own, "0:50"), ("/token", &path, "0:50")]);
    assert_eq!(classified(&fs, &path, "/x"), MountOrigin::Kubelet);
}

#[test]
fn a_kubelet_root_on_its_own_filesystem_changes_nothing() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    let own = "/pods/u1/volumes/kubernetes.io~empty-dir/v/sub";
    let kubelet = ("/", "/var/lib/kubelet", "8:2");
    let fs = Fake::with(&[kubelet, (own, &path, "8:2")]);
    assert_eq!(classified(&fs, &path, "/x"), MountOrigin::Kubelet);
    let fs = Fake::with(&[kubelet, ("/pki", &path, "8:2")]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        host("/var/lib/kubelet/pki", Via::SubPath, HostPathSafety::Fixed)
    );
}

#[test]
fn a_subpath_without_a_mount_cannot_be_told() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    assert_eq!(
        classified(&Fake::with(&[]), &path, "/x"),
        unknown("nothing is mounted there")
    );
}

#[test]
fn a_subpath_whose_source_was_removed_cannot_be_told() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    let fs = Fake::with(&[("/etc/ssh//deleted", &path, "8:1")]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        unknown("its mount is not in mountinfo")
    );
}

#[test]
fn a_local_volume_that_is_a_directory_of_the_node_is_a_host_path() {
    let path = format!("{POD}/volumes/kubernetes.io~local-volume/pv");
    let fs = Fake::with(&[("/srv/data", &path, "8:1")]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        host("/srv/data", Via::LocalVolume, HostPathSafety::Fixed)
    );
}

#[test]
fn a_csi_volume_that_is_the_nodes_root_is_a_host_path() {
    let path = format!("{POD}/volumes/kubernetes.io~csi/pv/mount");
    let fs = Fake::with(&[("/", &path, "8:1")]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        host("/", Via::LocalVolume, HostPathSafety::Fixed)
    );
}

#[test]
fn a_csi_volume_with_its_own_filesystem_is_the_kubelets() {
    let path = format!("{POD}/volumes/kubernetes.io~csi/pv/mount");
    let staged = "/var/lib/kubelet/plugins/kubernetes.io/csi/d/h/globalmount";
    let fs = Fake::with(&[("/", staged, "8:9"), ("/", &path, "8:9")]);
    assert_eq!(classified(&fs, &path, "/x"), MountOrigin::Kubelet);
    let fs = Fake::with(&[("/", "/srv/disk", "8:9"), ("/", &path, "8:9")]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        host("/srv/disk", Via::LocalVolume, HostPathSafety::Fixed)
    );
}

#[test]
fn a_mount_over_the_hosts_file_cannot_be_told() {
    let path = format!("{POD}/etc-hosts");
    let fs = Fake::with(&[("/etc/shadow", &path, "8:1")]);
    assert_eq!(
        classified(&fs, &path, "/etc/hosts"),
        unknown("it is a mount, not the kubelet's file")
    );
}

#[test]
fn a_symbolic_link_in_the_kubelets_place_cannot_be_told() {
    let path = format!("{POD}/volumes/kubernetes.io~empty-dir/v");
    let link = Node {
        kind: NodeKind::Symlink,
        ..DIRECTORY
    };
    let fs = Fake::with(&[]).odd(&path, link);
    assert_eq!(
        classified(&fs, &path, "/x"),
        unknown("it goes through a symbolic link")
    );
}

#[test]
fn an_unreadable_mountinfo_leaves_only_host_paths_told() {
    let mut fs = Fake::with(&[]);
    fs.mounts = "garbage\n".to_owned();
    let root = KubeletRoot::new("/var/lib/kubelet");
    let classifier = Classifier::new(&fs, &root);
    let path = format!("{POD}/etc-hosts");
    assert_eq!(
        classifier.classify("u1", "app", &mount(&path, "/etc/hosts")),
        unknown("mountinfo cannot be read")
    );
}

#[test]
fn a_root_that_is_a_symbolic_link_is_known_by_both_spellings() {
    let mut fs = Fake::with(&[]);
    fs.real
        .insert("/var/lib/kubelet".to_owned(), "/data/kubelet".to_owned());
    for root in ["/var/lib/kubelet", "/data/kubelet"] {
        let path = format!("{root}/pods/u1/volumes/kubernetes.io~empty-dir/v");
        assert_eq!(classified(&fs, &path, "/x"), MountOrigin::Kubelet, "{root}");
    }
}

fn directory(uid: u32, mode: u32) -> Node {
    Node {
        kind: NodeKind::Directory,
        uid,
        mode,
    }
}

#[test]
fn a_host_path_is_fixed_only_below_roots_own_directories() {
    let safe_of = |fs: Fake| {
        let MountOrigin::Host { path, via, safe } = classified(&fs, "/srv/a/b/", "/x") else {
            panic!("not a host path");
        };
        assert_eq!((path.as_str(), via), ("/srv/a/b", Via::Spec));
        safe
    };
    let none = || Fake::with(&[]);
    use HostPathSafety::{Fixed, Writable};
    assert_eq!(safe_of(none()), Fixed);
    assert_eq!(safe_of(none().odd("/srv/a", directory(0, 0o775))), Writable);
    assert_eq!(
        safe_of(none().odd("/srv/a", directory(0, 0o1777))),
        Writable
    );
    assert_eq!(
        safe_of(none().odd("/srv", directory(1000, 0o755))),
        Writable
    );
    // The object itself may be written: that changes nothing about the path.
    assert_eq!(
        safe_of(none().odd("/srv/a/b", directory(1000, 0o777))),
        Fixed
    );
    assert_eq!(safe_of(none().missing("/srv/a/b")), Fixed);
    assert_eq!(safe_of(none().missing("/srv/a")), Fixed);
    let both = none()
        .odd("/srv/a", directory(0, 0o777))
        .missing("/srv/a/b");
    assert_eq!(safe_of(both), Writable);
}

#[test]
fn a_symlink_is_followed_to_the_real_path() {
    for (target, real) in [
        ("/etc", "/etc/b"),
        ("../etc", "/etc/b"),
        ("./x/../y/", "/srv/y/b"),
        ("/", "/b"),
    ] {
        let fs = Fake::with(&[]).link("/srv/a", target);
        assert_eq!(
            classified(&fs, "/srv/a/b", "/x"),
            host(real, Via::Spec, HostPathSafety::Symlink),
            "{target}"
        );
    }
}

#[test]
fn a_symlink_into_a_directory_of_others_is_writable() {
    let fs = Fake::with(&[])
        .link("/srv/a", "/home/me/x")
        .odd("/home/me", directory(1000, 0o700));
    assert_eq!(
        classified(&fs, "/srv/a", "/x"),
        host("/home/me/x", Via::Spec, HostPathSafety::Writable)
    );
}

#[test]
fn a_circle_of_symlinks_cannot_be_told() {
    let fs = Fake::with(&[]).link("/srv/a", "/srv/a");
    assert_eq!(
        classified(&fs, "/srv/a", "/x"),
        unknown("it goes through too many symbolic links")
    );
}

#[test]
fn a_link_up_from_what_does_not_exist_cannot_be_told() {
    let fs = Fake::with(&[])
        .link("/srv/a", "none/../etc")
        .missing("/srv/none");
    assert_eq!(
        classified(&fs, "/srv/a", "/x"),
        unknown("it goes up from what does not exist")
    );
}

#[test]
fn a_path_that_is_relative_or_goes_up_is_unknown() {
    let fs = Fake::with(&[]);
    for path in ["", "etc", "/srv/../etc", "/.."] {
        assert_eq!(
            classified(&fs, path, "/x"),
            unknown("it is not a clean absolute path"),
            "{path}"
        );
    }
}

#[test]
fn an_image_volume_is_an_image() {
    let fs = Fake::with(&[]);
    let root = KubeletRoot::new("/var/lib/kubelet");
    let volume = request::Mount {
        source: MountSource::Image {
            image: "sha256:x".to_owned(),
            user_specified_image: "r/i".to_owned(),
            sub_path: String::new(),
        },
        ..mount("", "/v")
    };
    assert_eq!(
        Classifier::new(&fs, &root).classify("u1", "app", &volume),
        MountOrigin::Image
    );
}
