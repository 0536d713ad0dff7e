//! What a subPath shows.

use super::*;

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
fn what_a_host_path_hands_over_is_said_with_it() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    let fs = Fake::with(&[("/etc/ssh", &path, "8:1")]);
    assert_eq!(
        whole(&fs, &path, "/x"),
        guarded("/etc/ssh", Via::SubPath, "/etc/ssh")
    );
    assert_eq!(
        whole(&fs, "/etc/ssh/x", "/x"),
        guarded("/etc/ssh/x", Via::Spec, "/etc/ssh")
    );
    assert_eq!(whole(&fs, "/srv/x", "/x"), spec("/srv/x"));
}

#[test]
fn a_subpath_of_the_pods_own_volume_is_the_kubelets() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    let root = format!("{POD}/volumes/kubernetes.io~empty-dir/v/sub");
    let fs = Fake::with(&[(&root, &path, "8:1")]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        volume("kubernetes.io~empty-dir")
    );
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
    assert_eq!(classified(&fs, &path, "/x"), volume("kubernetes.io~secret"));
}

/// Two volumes of one export have one filesystem.
#[test]
fn a_subpath_of_a_filesystem_with_two_volumes_is_of_the_one_that_it_names() {
    let csi = format!("{POD}/volumes/kubernetes.io~csi/pv/mount");
    let nfs = format!("{POD}/volumes/kubernetes.io~nfs/v");
    // What a pod calls its own volume is its choice: also what a claim is bound to.
    let twin = format!("{POD}/volumes/kubernetes.io~nfs/twin");
    let of_claim = format!("{POD}/volumes/kubernetes.io~csi/twin/mount");
    let untold = || unknown("volumes of two types could be behind it");
    for (named, wanted) in [
        ("v", volume("kubernetes.io~nfs")),
        ("pv", volume("kubernetes.io~csi")),
        ("twin", untold()),
        ("other", untold()),
    ] {
        let path = format!("{POD}/volume-subpaths/{named}/app/0");
        let export = |root, point| (root, point, "0:77");
        let fs = Fake::with(&[
            export("/export", csi.as_str()),
            export("/export", nfs.as_str()),
            export("/export", of_claim.as_str()),
            export("/export", twin.as_str()),
            export("/export/x", path.as_str()),
        ]);
        assert_eq!(classified(&fs, &path, "/x"), wanted, "{named}");
    }
}

#[test]
fn a_kubelet_root_on_its_own_filesystem_changes_nothing() {
    let path = format!("{POD}/volume-subpaths/v/app/0");
    let own = "/pods/u1/volumes/kubernetes.io~empty-dir/v/sub";
    let kubelet = ("/", "/var/lib/kubelet", "8:2");
    let fs = Fake::with(&[kubelet, (own, &path, "8:2")]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        volume("kubernetes.io~empty-dir")
    );
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
fn a_subpath_of_a_local_volume_on_a_disk_of_the_node_is_a_host_path() {
    let volume = format!("{POD}/volumes/kubernetes.io~local-volume/pv");
    let path = format!("{POD}/volume-subpaths/pv/app/0");
    let fs = Fake::with(&[
        ("/", "/srv/disk", "8:9"),
        ("/", &volume, "8:9"),
        ("/sub", &path, "8:9"),
    ]);
    assert_eq!(
        classified(&fs, &path, "/x"),
        host("/srv/disk/sub", Via::SubPath, HostPathSafety::Fixed)
    );
}
