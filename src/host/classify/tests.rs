mod subpaths;

use super::*;
use crate::host::fake::{DIRECTORY, Fake};
use crate::host::{Node, NodeKind};
use crate::request::{Flag, MountSource, Propagation};

const POD: &str = "/var/lib/kubelet/pods/u1";
fn mount(host_path: &str, container_path: &str) -> request::Mount {
    request::Mount {
        container_path: container_path.to_owned(),
        source: MountSource::HostPath(host_path.to_owned()),
        readonly: Flag::Off,
        recursive_read_only: Flag::Off,
        propagation: Propagation::None,
    }
}

/// Where it comes from, and nothing of what it hands over: that has its own tests.
fn classified(fs: &Fake, host_path: &str, container_path: &str) -> MountOrigin {
    match whole(fs, host_path, container_path) {
        MountOrigin::Host {
            path, via, safe, ..
        } => host(&path, via, safe),
        other @ (MountOrigin::Kubelet(_) | MountOrigin::Image | MountOrigin::Unknown { .. }) => {
            other
        }
    }
}

fn whole(fs: &Fake, host_path: &str, container_path: &str) -> MountOrigin {
    let root = KubeletRoot::new("/var/lib/kubelet");
    Classifier::new(fs, &root, &[]).classify("u1", "app", &mount(host_path, container_path))
}

fn host(path: &str, via: Via, safe: HostPathSafety) -> MountOrigin {
    MountOrigin::Host {
        path: path.to_owned(),
        via,
        safe,
        guarded: None,
    }
}

/// The same, and mounting it hands over `member`.
fn guarded(path: &str, via: Via, member: &str) -> MountOrigin {
    MountOrigin::Host {
        path: path.to_owned(),
        via,
        safe: HostPathSafety::Fixed,
        guarded: Some(member.to_owned()),
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
    let file = || MountOrigin::Kubelet(KubeletMount::File);
    for (path, container_path, wanted) in [
        ("etc-hosts", "/etc/hosts", file()),
        ("containers/app/0a1b2c3d", "/dev/termination-log", file()),
        (
            "volumes/kubernetes.io~empty-dir/cache",
            "/cache",
            volume("kubernetes.io~empty-dir"),
        ),
        (
            "volumes/kubernetes.io~configmap/conf",
            "/conf",
            volume("kubernetes.io~configmap"),
        ),
        (
            "volumes/example.com~flex/v",
            "/v",
            volume("example.com~flex"),
        ),
        (
            "volumes/kubernetes.io~csi/pv-1/mount",
            "/data",
            volume("kubernetes.io~csi"),
        ),
    ] {
        assert_eq!(
            classified(&fs, &format!("{POD}/{path}"), container_path),
            wanted,
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
        host("/", Via::Csi, HostPathSafety::Fixed)
    );
}

#[test]
fn a_csi_volume_with_its_own_filesystem_is_the_kubelets() {
    let path = format!("{POD}/volumes/kubernetes.io~csi/pv/mount");
    let staged = "/var/lib/kubelet/plugins/kubernetes.io/csi/d/h/globalmount";
    let fs = Fake::with(&[("/", staged, "8:9"), ("/", &path, "8:9")]);
    assert_eq!(classified(&fs, &path, "/x"), volume("kubernetes.io~csi"));
    // Wherever the driver stages it, and wherever a sandboxed runtime shows it.
    for elsewhere in [
        "/srv/driver/v1",
        "/run/kata-containers/shared/sandboxes/s/rw",
    ] {
        let fs = Fake::with(&[("/", elsewhere, "8:9"), ("/", &path, "8:9")]);
        assert_eq!(classified(&fs, &path, "/x"), volume("kubernetes.io~csi"));
    }
}

#[test]
fn a_csi_volume_on_the_disk_of_something_guarded_is_a_host_path() {
    let path = format!("{POD}/volumes/kubernetes.io~csi/pv/mount");
    for disk in ["/var/lib/kubelet", "/var/lib/containerd"] {
        let fs = Fake::with(&[("/", disk, "8:9"), ("/x", &path, "8:9")]);
        assert_eq!(
            classified(&fs, &path, "/x"),
            host(&format!("{disk}/x"), Via::Csi, HostPathSafety::Fixed)
        );
    }
}

#[test]
fn a_local_volume_on_a_disk_of_the_node_is_a_host_path() {
    let path = format!("{POD}/volumes/kubernetes.io~local-volume/pv");
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
    let classifier = Classifier::new(&fs, &root, &[]);
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
        assert_eq!(
            classified(&fs, &path, "/x"),
            volume("kubernetes.io~empty-dir"),
            "{root}"
        );
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
        let MountOrigin::Host {
            path, via, safe, ..
        } = classified(&fs, "/srv/a/b/", "/x")
        else {
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
        Classifier::new(&fs, &root, &[]).classify("u1", "app", &volume),
        MountOrigin::Image
    );
}
