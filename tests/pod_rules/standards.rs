//! The Pod Security Standards, control by control, by level and by version.

use super::*;

pub(crate) fn user_namespace(ask: &mut CreateAsk) {
    map_from(ask, 65_536);
}

/// A user namespace of container and sandbox, of which the first id is this one of the host.
pub(crate) fn map_from(ask: &mut CreateAsk, host_id: u32) {
    let range = IdRange {
        host_id,
        container_id: 0,
        length: 65_536,
    };
    let user = UserNamespace::Pod {
        uids: vec![range],
        gids: vec![range],
    };
    ask.container.namespaces.user = user.clone();
    ask.sandbox.namespaces.user = user;
}

/// Level, version, change, and what is said.
pub(crate) type Standard = (&'static str, &'static str, Change, Option<Code>);

pub(crate) fn standards() -> Vec<Standard> {
    let none: Change = |_| {};
    let root: Change = |ask| ask.container.run_as_user = Some(0);
    let kept: Change = |ask| ask.container.drop_capabilities.clear();
    vec![
        ("restricted", "latest", none, None),
        ("baseline", "latest", none, None),
        (
            "baseline",
            "latest",
            |ask| ask.container.privileged = Flag::On,
            Some(Code::PodPrivileged),
        ),
        (
            "baseline",
            "v1.0",
            |ask| ask.container.privileged = Flag::On,
            Some(Code::PodPrivileged),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.sandbox.namespaces.pid = NamespaceMode::Node,
            Some(Code::PodHostNamespace),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.namespaces.ipc = NamespaceMode::Node,
            Some(Code::PodHostNamespace),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.namespaces.ipc = NamespaceMode::Container,
            None,
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.mounts = vec![mount(Propagation::None)],
            Some(Code::PodHostpath),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.sandbox.host_ports = vec![80],
            Some(Code::PodHostPort),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.add_capabilities = words(&["NET_RAW"]),
            Some(Code::PodCapability),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.add_capabilities = words(&["CHOWN", "SYS_CHROOT"]),
            None,
        ),
        (
            "restricted",
            "v1.22",
            |ask| ask.container.add_capabilities = words(&["CHOWN"]),
            Some(Code::PodCapability),
        ),
        (
            "restricted",
            "v1.21",
            |ask| ask.container.add_capabilities = words(&["CHOWN"]),
            None,
        ),
        ("restricted", "latest", kept, Some(Code::PodCapability)),
        ("restricted", "v1.21", kept, None),
        ("baseline", "latest", kept, None),
        (
            "baseline",
            "latest",
            |ask| ask.container.masked_paths.clear(),
            Some(Code::PodProcMount),
        ),
        (
            "baseline",
            "v1.35",
            |ask| {
                ask.container.masked_paths.clear();
                user_namespace(ask);
            },
            None,
        ),
        (
            "baseline",
            "v1.34",
            |ask| {
                ask.container.masked_paths.clear();
                user_namespace(ask);
            },
            Some(Code::PodProcMount),
        ),
        (
            "restricted",
            "v1.35",
            |ask| {
                ask.container.masked_paths.clear();
                user_namespace(ask);
            },
            Some(Code::PodProcMount),
        ),
        (
            "baseline",
            "v1.30",
            |ask| ask.container.selinux = selinux("", "container_engine_t"),
            Some(Code::PodSelinux),
        ),
        (
            "baseline",
            "v1.31",
            |ask| ask.container.selinux = selinux("", "container_engine_t"),
            None,
        ),
        (
            "baseline",
            "v1.28",
            |ask| sysctl(&mut ask.sandbox, "net.ipv4.tcp_keepalive_time", "1"),
            Some(Code::PodSysctl),
        ),
        (
            "baseline",
            "v1.29",
            |ask| sysctl(&mut ask.sandbox, "net.ipv4.tcp_keepalive_time", "1"),
            None,
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.apparmor = Some(Profile::Unconfined),
            Some(Code::PodApparmor),
        ),
        (
            "baseline",
            "latest",
            |ask| ask.container.seccomp = Some(Profile::Unconfined),
            None,
        ),
        (
            "restricted",
            "latest",
            |ask| ask.container.seccomp = Some(Profile::Unconfined),
            Some(Code::PodSeccomp),
        ),
        (
            "restricted",
            "latest",
            |ask| "unconfined".clone_into(&mut ask.container.seccomp_profile_path),
            Some(Code::PodSeccomp),
        ),
        (
            "restricted",
            "latest",
            |ask| "runtime/default".clone_into(&mut ask.container.seccomp_profile_path),
            None,
        ),
        (
            "restricted",
            "v1.18",
            |ask| ask.container.seccomp = None,
            None,
        ),
        (
            "restricted",
            "v1.8",
            |ask| ask.container.no_new_privs = Flag::Off,
            Some(Code::PodEscalation),
        ),
        (
            "restricted",
            "v1.7",
            |ask| ask.container.no_new_privs = Flag::Off,
            None,
        ),
        ("restricted", "latest", root, Some(Code::PodRoot)),
        ("restricted", "v1.0", root, Some(Code::PodRoot)),
        ("baseline", "latest", root, None),
        (
            "restricted",
            "v1.35",
            |ask| {
                ask.container.run_as_user = Some(0);
                user_namespace(ask);
            },
            None,
        ),
        (
            "restricted",
            "v1.34",
            |ask| {
                ask.container.run_as_user = Some(0);
                user_namespace(ask);
            },
            Some(Code::PodRoot),
        ),
        // A namespace of which root is the host's root frees nothing.
        (
            "restricted",
            "v1.35",
            |ask| {
                ask.container.run_as_user = Some(0);
                map_from(ask, 0);
            },
            Some(Code::PodRoot),
        ),
        (
            "restricted",
            "v1.35",
            |ask| {
                ask.container.run_as_user = Some(0);
                user_namespace(ask);
                ask.sandbox.namespaces.user = UserNamespace::None;
            },
            Some(Code::PodRoot),
        ),
        (
            "baseline",
            "v1.35",
            |ask| {
                ask.container.masked_paths.clear();
                map_from(ask, 0);
            },
            Some(Code::PodProcMount),
        ),
        (
            "restricted",
            "latest",
            |ask| ask.container.run_as_user = None,
            Some(Code::PodRoot),
        ),
    ]
}

#[test]
fn the_standards_are_kept_level_by_level_and_version_by_version() {
    for (index, (level, version, change, code)) in standards().into_iter().enumerate() {
        let policy = policy(&format!(
            "podSecurity: {{level: {level}, version: {version}}}"
        ));
        let mut ask = ask();
        change(&mut ask);
        assert_eq!(judge(&policy, &ask), code, "row {index}: {level} {version}");
    }
}

#[test]
fn a_user_namespace_that_is_none_frees_nothing() {
    let not_its_sandboxs = |ask: &mut CreateAsk| {
        user_namespace(ask);
        ask.sandbox.namespaces.user = UserNamespace::None;
    };
    let changes: [(&str, Change); 2] = [
        ("ids of the host", |ask| map_from(ask, 0)),
        ("not its sandbox's", not_its_sandboxs),
    ];
    for (name, change) in changes {
        let mut ask = ask();
        change(&mut ask);
        ask.container.run_as_user = Some(0);
        let restricted = policy("podSecurity: {level: restricted}");
        assert_eq!(judge(&restricted, &ask), Some(Code::PodRoot), "{name}");
        ask.container.masked_paths.clear();
        let baseline = policy("podSecurity: {level: baseline}");
        assert_eq!(judge(&baseline, &ask), Some(Code::PodProcMount), "{name}");
    }
}
