//! The classification of mounts against real bind mounts. Needs root, and says so.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a suite fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pullguard::host::{Classifier, KubeletRoot, RealHost};
use pullguard::policy::{HostPathSafety, KubeletMount, MountOrigin, Via};
use pullguard::request::{Flag, Mount, MountSource, Propagation};

const UID: &str = "11111111-2222-3333-4444-555555555555";

/// A kubelet's directory in a temporary place; its mounts go with it.
struct Node {
    directory: tempfile::TempDir,
    mounts: Vec<PathBuf>,
}

impl Node {
    fn new() -> Self {
        let node = Self {
            directory: tempfile::tempdir().unwrap(),
            mounts: Vec::new(),
        };
        fs::create_dir_all(node.pod()).unwrap();
        node
    }

    /// The directory without symbolic links, as mountinfo shows it.
    fn base(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    fn pod(&self) -> PathBuf {
        self.base().join("kubelet/pods").join(UID)
    }

    fn directory(&self, path: &str) -> PathBuf {
        let path = self.base().join(path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn in_pod(&self, path: &str) -> PathBuf {
        let path = self.pod().join(path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn mount(&mut self, arguments: &[&str], at: &Path) {
        let status = Command::new("mount")
            .args(arguments)
            .arg(at)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "this suite mounts: run it as root with CAP_SYS_ADMIN"
        );
        self.mounts.push(at.to_owned());
    }

    fn bind(&mut self, from: &Path, at: &Path) {
        self.mount(&["--bind", from.to_str().unwrap()], at);
    }

    fn tmpfs(&mut self, at: &Path) {
        self.mount(&["-t", "tmpfs", "tmpfs"], at);
    }

    fn origin(&self, path: &Path) -> MountOrigin {
        self.origin_beside(&[], path)
    }

    /// The same on a node that guards `own` beside the built-in members.
    fn origin_beside(&self, own: &[String], path: &Path) -> MountOrigin {
        let root = KubeletRoot::new(self.base().join("kubelet").to_str().unwrap());
        let mount = Mount {
            container_path: "/in".to_owned(),
            source: MountSource::HostPath(path.to_str().unwrap().to_owned()),
            readonly: Flag::Off,
            recursive_read_only: Flag::Off,
            propagation: Propagation::None,
        };
        Classifier::new(&RealHost, &root, own).classify(UID, "app", &mount)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for at in self.mounts.iter().rev() {
            let done = Command::new("umount").arg("-l").arg(at).status();
            if !done.is_ok_and(|status| status.success()) && !std::thread::panicking() {
                panic!("{} is still mounted", at.display());
            }
        }
    }
}

fn host(path: &Path, via: Via) -> MountOrigin {
    MountOrigin::Host {
        path: text(path),
        via,
        safe: safe(via),
        guarded: None,
    }
}

/// The same, and mounting it hands over `member`.
fn guarded(path: &Path, via: Via, member: &Path) -> MountOrigin {
    MountOrigin::Host {
        path: text(path),
        via,
        safe: safe(via),
        guarded: Some(text(member)),
    }
}

fn of_plugin(plugin: &str) -> MountOrigin {
    MountOrigin::Kubelet(KubeletMount::Volume(plugin.to_owned()))
}

/// Everything here is below `/tmp`, where anybody may write; what is mounted is mounted.
fn safe(via: Via) -> HostPathSafety {
    match via {
        Via::Spec => HostPathSafety::Writable,
        Via::SubPath | Via::LocalVolume | Via::Csi => HostPathSafety::Fixed,
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn origin_guarding(node: &Node, member: &Path, path: &Path) -> MountOrigin {
    node.origin_beside(&[text(member)], path)
}

#[test]
fn an_empty_dir_is_the_kubelets() {
    let node = Node::new();
    let volume = node.in_pod("volumes/kubernetes.io~empty-dir/cache");
    assert_eq!(node.origin(&volume), of_plugin("kubernetes.io~empty-dir"));
}

#[test]
fn a_secret_on_its_own_tmpfs_is_the_kubelets() {
    let mut node = Node::new();
    let volume = node.in_pod("volumes/kubernetes.io~secret/token");
    node.tmpfs(&volume);
    assert_eq!(node.origin(&volume), of_plugin("kubernetes.io~secret"));
}

#[test]
fn a_subpath_of_an_empty_dir_is_the_kubelets() {
    let mut node = Node::new();
    let volume = node.in_pod("volumes/kubernetes.io~empty-dir/cache/sub");
    let point = node.in_pod("volume-subpaths/cache/app/0");
    node.bind(&volume, &point);
    assert_eq!(node.origin(&point), of_plugin("kubernetes.io~empty-dir"));
}

#[test]
fn a_subpath_file_of_a_tmpfs_volume_is_the_kubelets() {
    let mut node = Node::new();
    let volume = node.in_pod("volumes/kubernetes.io~secret/token");
    node.tmpfs(&volume);
    fs::write(volume.join("key"), "x").unwrap();
    let point = node.in_pod("volume-subpaths/token/app").join("0");
    fs::write(&point, "").unwrap();
    node.bind(&volume.join("key"), &point);
    assert_eq!(node.origin(&point), of_plugin("kubernetes.io~secret"));
}

#[test]
fn a_subpath_of_a_host_path_is_the_path_that_is_mounted() {
    let mut node = Node::new();
    let source = node.directory("node/etc/ssh");
    let point = node.in_pod("volume-subpaths/etc/app/0");
    node.bind(&source, &point);
    assert_eq!(node.origin(&point), host(&source, Via::SubPath));
}

#[test]
fn a_subpath_of_another_pods_volume_is_a_host_path() {
    let mut node = Node::new();
    let source = node.directory("kubelet/pods/other/volumes/kubernetes.io~secret/token");
    node.tmpfs(&source);
    let point = node.in_pod("volume-subpaths/stolen/app/0");
    node.bind(&source, &point);
    assert_eq!(node.origin(&point), host(&source, Via::SubPath));
}

#[test]
fn a_csi_volume_that_binds_a_directory_of_the_node_is_a_host_path() {
    let mut node = Node::new();
    let source = node.directory("node/data");
    let point = node.in_pod("volumes/kubernetes.io~csi/pv/mount");
    node.bind(&source, &point);
    assert_eq!(node.origin(&point), host(&source, Via::Csi));
}

#[test]
fn a_csi_volume_that_binds_its_staged_filesystem_is_the_kubelets() {
    let mut node = Node::new();
    let staged = node.directory("kubelet/plugins/kubernetes.io/csi/driver/hash/globalmount");
    node.tmpfs(&staged);
    let point = node.in_pod("volumes/kubernetes.io~csi/pv/mount");
    node.bind(&staged, &point);
    assert_eq!(node.origin(&point), of_plugin("kubernetes.io~csi"));
}

#[test]
fn the_upper_one_of_two_stacked_mounts_counts() {
    let mut node = Node::new();
    let own = node.in_pod("volumes/kubernetes.io~empty-dir/cache/sub");
    let source = node.directory("node/etc");
    let point = node.in_pod("volume-subpaths/cache/app/0");
    node.bind(&own, &point);
    node.bind(&source, &point);
    assert_eq!(node.origin(&point), host(&source, Via::SubPath));
}

#[test]
fn a_mount_made_after_an_earlier_answer_is_seen() {
    let mut node = Node::new();
    let volume = node.in_pod("volumes/kubernetes.io~local-volume/pv");
    assert_eq!(
        node.origin(&volume),
        of_plugin("kubernetes.io~local-volume")
    );
    let source = node.directory("node/late");
    node.bind(&source, &volume);
    assert_eq!(node.origin(&volume), host(&source, Via::LocalVolume));
}

#[test]
fn a_symbolic_link_in_place_of_a_volume_cannot_be_told() {
    let node = Node::new();
    let source = node.directory("node/etc");
    let volume = node.in_pod("volumes/kubernetes.io~empty-dir").join("cache");
    std::os::unix::fs::symlink(&source, &volume).unwrap();
    assert_eq!(
        node.origin(&volume),
        MountOrigin::Unknown {
            why: "it goes through a symbolic link"
        }
    );
}

#[test]
fn what_a_guarded_link_leads_to_is_guarded() {
    let node = Node::new();
    let real = node.directory("data/containerd");
    node.directory("var/lib");
    let member = node.base().join("var/lib/containerd");
    std::os::unix::fs::symlink(&real, &member).unwrap();
    let inside = node.directory("data/containerd/sub");
    let above = node.base().join("data");
    let beside = node.directory("data/other");
    let origin = |path: &Path| origin_guarding(&node, &member, path);
    assert_eq!(origin(&real), guarded(&real, Via::Spec, &member));
    assert_eq!(origin(&inside), guarded(&inside, Via::Spec, &member));
    assert_eq!(origin(&above), guarded(&above, Via::Spec, &member));
    assert_eq!(origin(&beside), host(&beside, Via::Spec));
}

#[test]
fn what_is_bound_over_a_guarded_path_is_guarded_under_its_own_name() {
    let mut node = Node::new();
    let real = node.directory("data/kubelet");
    let token = node.directory("data/kubelet/pods/other/token");
    let member = node.directory("var/lib/kubelet");
    node.bind(&real, &member);
    assert_eq!(
        origin_guarding(&node, &member, &token),
        guarded(&token, Via::Spec, &member)
    );
}

#[test]
fn a_directory_with_a_guarded_one_bound_below_it_is_guarded() {
    let mut node = Node::new();
    let member = node.directory("var/lib/kubelet");
    let within = node.directory("var/lib/kubelet/pki");
    let srv = node.directory("srv");
    let point = node.directory("srv/deep/x");
    assert_eq!(origin_guarding(&node, &member, &srv), host(&srv, Via::Spec));
    node.bind(&within, &point);
    for path in [&srv, &point] {
        assert_eq!(
            origin_guarding(&node, &member, path),
            guarded(path, Via::Spec, &member)
        );
    }
}

#[test]
fn a_guarded_path_that_does_not_exist_yet_guards_where_it_would_be() {
    let node = Node::new();
    let data = node.directory("data");
    let member = data.join("later/containerd");
    let other = node.directory("other");
    assert_eq!(
        origin_guarding(&node, &member, &data),
        guarded(&data, Via::Spec, &member)
    );
    assert_eq!(
        origin_guarding(&node, &member, &other),
        host(&other, Via::Spec)
    );
}

#[test]
fn a_subpath_of_a_disk_that_holds_a_guarded_directory_is_guarded() {
    let mut node = Node::new();
    let disk = node.directory("mnt/disk");
    node.tmpfs(&disk);
    let kubelet = node.directory("mnt/disk/var/lib/kubelet");
    let pki = node.directory("mnt/disk/var/lib/kubelet/pki");
    let other = node.directory("mnt/disk/srv");
    let member = node.directory("var/lib/kubelet");
    node.bind(&kubelet, &member);
    for (source, index) in [(&pki, 0), (&other, 1)] {
        let point = node.in_pod(&format!("volume-subpaths/v/app/{index}"));
        node.bind(source, &point);
        let wanted = if index == 0 {
            guarded(source, Via::SubPath, &member)
        } else {
            host(source, Via::SubPath)
        };
        assert_eq!(origin_guarding(&node, &member, &point), wanted);
    }
}

#[test]
fn a_filesystem_that_a_driver_stages_elsewhere_is_the_kubelets() {
    let mut node = Node::new();
    let staged = node.directory("driver/stage/v1");
    node.tmpfs(&staged);
    let point = node.in_pod("volumes/kubernetes.io~csi/pv/mount");
    node.bind(&staged, &point);
    assert_eq!(node.origin(&point), of_plugin("kubernetes.io~csi"));
    let sub = node.in_pod("volume-subpaths/pv/app/0");
    node.bind(&node.directory("driver/stage/v1/sub"), &sub);
    assert_eq!(node.origin(&sub), of_plugin("kubernetes.io~csi"));
}

#[test]
fn a_csi_volume_on_a_guarded_disk_is_a_host_path() {
    let mut node = Node::new();
    let member = node.directory("data/containerd");
    node.tmpfs(&member);
    let inside = node.directory("data/containerd/sub");
    let point = node.in_pod("volumes/kubernetes.io~csi/pv/mount");
    node.bind(&inside, &point);
    assert_eq!(
        origin_guarding(&node, &member, &point),
        guarded(&inside, Via::Csi, &member)
    );
}
