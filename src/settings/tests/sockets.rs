//! Sockets that must not be one, or share a directory.

use super::{Disk, parse};

#[test]
fn the_admin_socket_shares_its_directory_with_no_cri_socket() {
    assert_eq!(
        parse("admin_listen = \"/run/pullguard/admin.sock\"\n").unwrap_err(),
        "p.toml:1:1: `admin_listen`: shares its directory with `listen`; the admin socket must be \
         alone in one"
    );
}

#[test]
fn the_admin_socket_lies_in_no_directory_that_holds_a_cri_socket_deeper_down() {
    assert_eq!(
        parse("admin_listen = \"/run/admin.sock\"\n").unwrap_err(),
        "p.toml:1:1: `admin_listen`: shares its directory with `listen`; the admin socket must be \
         alone in one"
    );
    assert!(parse("admin_listen = \"/run/pullguard-status/admin.sock\"\n").is_ok());
}

#[test]
fn sockets_are_compared_by_where_their_paths_lead() {
    let disk = Disk::new();
    let root = disk.directory.path();
    std::fs::create_dir(root.join("run")).unwrap();
    std::os::unix::fs::symlink("run", root.join("var-run")).unwrap();
    let shown = root.display();
    disk.write(&format!(
        "listen = \"{shown}/run/cri.sock\"\nupstream = \"{shown}/var-run/cri.sock\"\n"
    ));
    let problem = disk.load().problem.unwrap();
    assert!(
        problem.ends_with(
            ":1:1: `listen`: the same socket as `upstream`: the guard would talk to itself"
        ),
        "{problem}"
    );
    disk.write(&format!(
        "listen = \"{shown}/run/cri.sock\"\nadmin_listen = \"{shown}/var-run/admin.sock\"\n"
    ));
    let problem = disk.load().problem.unwrap();
    assert!(
        problem.contains("`admin_listen`: shares its directory with `listen`"),
        "{problem}"
    );
    disk.write(&format!(
        "listen = \"{shown}/run/cri.sock\"\nupstream = \"{shown}/var-run/containerd.sock\"\n"
    ));
    assert_eq!(disk.load().problem, None);
}

#[test]
fn the_guard_never_talks_to_itself() {
    assert_eq!(
        parse("listen = \"/run/containerd/containerd.sock\"\n").unwrap_err(),
        "p.toml:1:1: `listen`: the same socket as `upstream`: the guard would talk to itself"
    );
}
