use super::*;
use crate::host::fake::Fake;

/// What mounting `path` hands over, on a node that guards `own` too.
fn met(fs: &Fake, own: &[&str], path: &str) -> Option<String> {
    let own: Vec<String> = own.iter().map(|path| (*path).to_owned()).collect();
    let mounts = MountTable::parse(&fs.mountinfo().unwrap()).unwrap();
    let set = GuardedSet::locate(fs, &mounts, &own).unwrap();
    let spot = place(fs, &mounts, path).unwrap();
    set.met(&mounts, &spot, path).map(str::to_owned)
}

fn some(member: &str) -> Option<String> {
    Some(member.to_owned())
}

#[test]
fn a_member_that_is_a_link_is_guarded_where_it_leads() {
    let fs = Fake::with(&[]).link("/var/lib/containerd", "/data/containerd");
    for path in ["/data/containerd/io", "/data/containerd", "/data"] {
        assert_eq!(met(&fs, &[], path), some("/var/lib/containerd"), "{path}");
    }
    for path in ["/data/containerd2", "/data/x", "/srv"] {
        assert_eq!(met(&fs, &[], path), None, "{path}");
    }
}

#[test]
fn a_member_that_is_a_bind_mount_is_guarded_where_it_comes_from() {
    let fs = Fake::with(&[("/data/kubelet", "/var/lib/kubelet", "8:1")]);
    for path in ["/data/kubelet/pods/u2", "/data/kubelet", "/data"] {
        assert_eq!(met(&fs, &[], path), some("/var/lib/kubelet"), "{path}");
    }
    assert_eq!(met(&fs, &[], "/data/other"), None);
}

#[test]
fn a_member_on_its_own_disk_is_guarded_at_every_other_mount_of_that_disk() {
    let fs = Fake::with(&[
        ("/", "/mnt/disk", "8:9"),
        ("/containerd", "/var/lib/containerd", "8:9"),
    ]);
    for path in ["/mnt/disk/containerd/x", "/mnt/disk", "/mnt"] {
        assert_eq!(met(&fs, &[], path), some("/var/lib/containerd"), "{path}");
    }
    assert_eq!(met(&fs, &[], "/mnt/disk/other"), None);
}

#[test]
fn a_mount_below_that_shows_a_member_or_a_part_of_one_is_handed_over_too() {
    for root in ["/var/lib/kubelet", "/var/lib/kubelet/pki", "/var/lib"] {
        let fs = Fake::with(&[(root, "/srv/a/x", "8:1")]);
        assert!(met(&fs, &[], "/srv").is_some(), "{root}");
        assert!(met(&fs, &[], "/srv/a/x").is_some(), "{root}");
        assert_eq!(met(&fs, &[], "/srv/b"), None, "{root}");
    }
    let fs = Fake::with(&[("/home/me", "/srv/a/x", "8:1")]);
    assert_eq!(met(&fs, &[], "/srv"), None);
}

#[test]
fn a_member_that_is_missing_is_guarded_where_it_would_be_made() {
    let fs = Fake::with(&[("/", "/opt2", "8:3")]).missing("/opt2/guard");
    assert_eq!(met(&fs, &["/opt2/guard/x"], "/opt2"), some("/opt2/guard/x"));
    assert_eq!(met(&fs, &["/opt2/guard/x"], "/opt2/other"), None);
}

#[test]
fn a_name_that_is_no_clean_path_and_the_root_itself_guard_nothing() {
    let fs = Fake::with(&[]);
    assert_eq!(met(&fs, &["relative", "", "/", "/a/../srv"], "/srv"), None);
}

#[test]
fn what_leads_nowhere_guards_nothing() {
    let fs = Fake::with(&[]).link("/round", "/round");
    assert_eq!(met(&fs, &["/round"], "/srv"), None);
}
