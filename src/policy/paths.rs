//! Host paths as text: cleaning, boundaries, and the set that no prefix covers. Pure.
//!
//! Lexical only: what a path really is (symlinks, mounts, owners) is told by the edge that looked,
//! which also finds the members of the set under their other names.

/// Members of the guarded set on every node. A mount of one of these, of anything below one, or of
/// an ancestor of one hands over the runtime, the kubelet, the guard or the host.
pub(crate) const GUARDED: &[&str] = &[
    // the kernel's own trees, devices, the boot loader, root's home
    "/proc",
    "/sys",
    "/dev",
    "/boot",
    "/root",
    // Kubernetes: credentials, manifests, kubelet state
    "/etc/kubernetes",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/etc/default/kubelet",
    "/etc/sysconfig/kubelet",
    // container runtimes: sockets, state, configuration
    "/run/containerd",
    "/var/run/containerd",
    "/var/lib/containerd",
    "/etc/containerd",
    "/opt/containerd",
    "/run/runc",
    "/run/crun",
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/docker",
    "/var/run/docker",
    "/var/lib/docker",
    "/etc/docker",
    "/run/cri-dockerd.sock",
    "/var/run/cri-dockerd.sock",
    "/run/dockershim.sock",
    "/var/run/dockershim.sock",
    "/run/crio",
    "/var/run/crio",
    "/var/lib/containers",
    "/etc/containers",
    "/etc/crio",
    "/run/podman",
    "/var/run/podman",
    "/run/buildkit",
    "/var/run/buildkit",
    "/run/k3s",
    "/var/run/k3s",
    // not the whole of /var/lib/rancher: k3s keeps its local volumes there
    "/var/lib/rancher/k3s/agent",
    "/var/lib/rancher/k3s/server",
    "/var/lib/rancher/k3s/data",
    "/var/lib/rancher/rke2/agent",
    "/var/lib/rancher/rke2/server",
    "/var/lib/rancher/rke2/data",
    "/etc/rancher",
    "/run/k0s",
    "/var/run/k0s",
    "/var/lib/k0s",
    "/etc/k0s",
    "/var/snap/microk8s",
    "/run/snapd.socket",
    "/var/run/snapd.socket",
    // logs of every pod on the node
    "/var/log/pods",
    "/var/log/containers",
    // plugins that run as root: NRI, CNI, CDI, kubelet credential providers
    "/run/nri",
    "/var/run/nri",
    "/var/run/cdi",
    "/run/cdi",
    "/etc/cdi",
    "/etc/nri",
    "/opt/nri",
    "/etc/cni",
    "/opt/cni",
    "/var/lib/cni",
    "/run/calico",
    "/var/run/calico",
    "/var/lib/calico",
    "/run/cilium",
    "/var/run/cilium",
    "/run/flannel",
    "/var/run/flannel",
    "/run/multus",
    "/var/run/multus",
    // the guard itself
    "/run/pullguard",
    "/var/run/pullguard",
    "/run/pullguard-admin",
    "/var/run/pullguard-admin",
    "/var/lib/pullguard",
    "/etc/pullguard",
    // what starts programs or admits people as root
    "/run/systemd",
    "/var/run/systemd",
    "/run/dbus",
    "/var/run/dbus",
    "/etc/systemd",
    "/usr/lib/systemd",
    "/lib/systemd",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/pam.d",
    "/etc/ssh",
    "/etc/cron.d",
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/init.d",
    "/etc/rc.local",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.cache",
    "/etc/environment",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/bash.bashrc",
    "/etc/logrotate.d",
    "/etc/udev",
    "/run/udev",
    "/var/run/udev",
    "/etc/modprobe.d",
    "/etc/fstab",
    "/etc/network",
    "/etc/NetworkManager",
    "/etc/apt",
    "/etc/yum.repos.d",
    "/var/lib/cloud",
    "/var/spool/cron",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/local/lib",
    "/usr/local/libexec",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    // whom the node believes: names, certificates
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/pki",
];

/// Trees that a prefix may name only below themselves.
const NEVER_THEMSELVES: &[&str] = &["/", "/etc"];

/// The built-in members, for the edge that finds out where they really are.
pub fn guarded_paths() -> impl Iterator<Item = &'static str> {
    GUARDED.iter().copied()
}

/// How a path relates to the guarded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guarded<'a> {
    No,
    /// It is a member, or below one.
    Inside(&'a str),
    /// A member is below it.
    Above(&'a str),
}

/// The clean form of an absolute path, or `None` for what is not told by its text alone: relative
/// paths, `.` and `..` elements, empty elements, control bytes. One trailing slash is dropped (the
/// API server lets it through).
pub(crate) fn clean(path: &str) -> Option<&str> {
    if path == "/" {
        return Some(path);
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let rest = path.strip_prefix('/')?;
    let bad = |element: &str| {
        element.is_empty()
            || element == "."
            || element == ".."
            || element.contains(char::is_control)
    };
    if rest.split('/').any(bad) {
        None
    } else {
        Some(path)
    }
}

/// Whether `path` is `prefix` or below it. Both are clean.
pub(crate) fn covers(prefix: &str, path: &str) -> bool {
    if prefix == "/" {
        return true;
    }
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// How `path` relates to the built-in set and to `own`, this node's.
pub(crate) fn guarded<'a>(path: &str, own: &'a [String]) -> Guarded<'a> {
    let members = || {
        GUARDED
            .iter()
            .copied()
            .chain(own.iter().map(String::as_str))
    };
    if let Some(member) = members().find(|member| covers(member, path)) {
        return Guarded::Inside(member);
    }
    if let Some(member) = NEVER_THEMSELVES.iter().find(|member| **member == path) {
        return Guarded::Above(member);
    }
    match members().find(|member| covers(path, member)) {
        Some(member) => Guarded::Above(member),
        None => Guarded::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_its_text_alone_does_not_tell_is_not_clean() {
        for path in [
            "",
            "run",
            "./run",
            "/run/../etc",
            "/run//x",
            "//run",
            "/run/.",
            "/run/..",
            "/a\nb",
            "//",
            "/run//",
        ] {
            assert_eq!(clean(path), None, "{path:?}");
        }
        assert_eq!(clean("/"), Some("/"));
        assert_eq!(clean("/var/log/app/"), Some("/var/log/app"));
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        assert!(covers("/var/log/app", "/var/log/app"));
        assert!(covers("/var/log/app", "/var/log/app/x"));
        assert!(!covers("/var/log/app", "/var/log/application"));
    }

    #[test]
    fn members_what_is_below_them_and_their_ancestors_are_guarded() {
        let own = vec!["/data/kubelet".to_owned()];
        for (path, wanted) in [
            ("/run/containerd", Guarded::Inside("/run/containerd")),
            (
                "/run/containerd/containerd.sock",
                Guarded::Inside("/run/containerd"),
            ),
            ("/run/containerdx", Guarded::No),
            ("/proc/1/root", Guarded::Inside("/proc")),
            ("/", Guarded::Above("/")),
            ("/etc", Guarded::Above("/etc")),
            ("/var/lib", Guarded::Above("/var/lib/kubelet")),
            ("/data/kubelet/pods", Guarded::Inside("/data/kubelet")),
            ("/data", Guarded::Above("/data/kubelet")),
            ("/etc/localtime", Guarded::No),
            ("/var/log/app", Guarded::No),
        ] {
            assert_eq!(guarded(path, &own), wanted, "{path}");
        }
    }
}
