//! The rules of containers against tables of known evasions, and against a naive reading of the
//! same sentences on random containers.
#![expect(clippy::unwrap_used, reason = "a test says why it failed by panicking")]

use std::path::Path;

use proptest::prelude::*;
use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::{
    Code, CreateEvidence, HostPathSafety, MountOrigin, NodeFacts, Policy, Via,
};
use pullguard::request::{CreateAsk, Flag, Mount, MountSource, Profile, Propagation, SeLinux};
use pullguard::time::Timestamp;

/// Time plays no part here.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_780_272_000);

fn policy(check: &str) -> Policy {
    let yaml = format!(
        "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {{name: set}}
spec: {{audience: test, unmatched: {{pods: Allow, images: Allow}}}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {{name: p}}
spec: {{rules: [{{name: r, containers: {{{check}}}}}]}}
"
    );
    compile_dir(vec![("p.yaml".to_owned(), yaml)], &Limits::default(), NOW)
        .unwrap()
        .policy
}

/// The call that nothing denies, shared with the cases.
fn ask() -> CreateAsk {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/create.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(value.get_mut("ask").unwrap().take()).unwrap()
}

/// The code of the denial, if it is denied.
fn judge(policy: &Policy, ask: &CreateAsk, evidence: &CreateEvidence) -> Option<Code> {
    let node = NodeFacts {
        guarded_paths: vec!["/k".to_owned()],
        ..NodeFacts::default()
    };
    let plan = policy.plan_create(&ask.sandbox.pod, "", ask, &node, &[], NOW);
    let verdict = plan.conclude(evidence).verdict;
    verdict.err().map(|denial| denial.code())
}

fn with_image_user(user: &str) -> CreateEvidence {
    CreateEvidence {
        image_user: Some(Ok(user.to_owned())),
        ..CreateEvidence::default()
    }
}

#[test]
fn g1_of_an_images_user_only_a_canonical_number_from_1_to_2147483647_starts() {
    let policy = policy("root: Deny");
    let mut ask = ask();
    ask.container.run_as_user = None;
    for user in [
        "",
        "0",
        "00",
        "+0",
        "-0",
        "root",
        "0:0",
        "1000:0",
        "4294967296",
        "2147483648",
        "99999999999999999999999",
        "-1000",
        " 0",
        "0x0",
        "app",
        "\u{660}",
        "01000",
        "+1000",
        "1000 ",
        "1_000",
        "1e3",
        ":0",
        ":",
        "1000:",
        "\u{661}\u{660}",
    ] {
        let got = judge(&policy, &ask, &with_image_user(user));
        assert_eq!(got, Some(Code::PodRoot), "USER {user:?}");
    }
    for user in ["1", "1000", "65532", "2147483647"] {
        assert_eq!(
            judge(&policy, &ask, &with_image_user(user)),
            None,
            "USER {user}"
        );
    }
}

#[test]
fn g1_an_images_user_that_nobody_read_is_denied() {
    let mut ask = ask();
    ask.container.run_as_user = None;
    let got = judge(&policy("root: Deny"), &ask, &CreateEvidence::default());
    assert_eq!(got, Some(Code::Internal));
}

#[test]
fn g2_a_name_wins_over_a_uid_and_a_uid_out_of_range_is_denied() {
    let policy = policy("root: Deny");
    let table: [(Option<i64>, &str, Option<Code>); 11] = [
        (Some(1000), "", None),
        (Some(1), "", None),
        (Some(2_147_483_647), "", None),
        (Some(1000), "root", Some(Code::PodRoot)),
        (Some(1000), "app", Some(Code::PodRoot)),
        (Some(1000), "1000", Some(Code::PodRoot)),
        (Some(0), "", Some(Code::PodRoot)),
        (Some(-1), "", Some(Code::PodRoot)),
        (Some(2_147_483_648), "", Some(Code::PodRoot)),
        (Some(4_294_967_296), "", Some(Code::PodRoot)),
        (Some(i64::MIN), "", Some(Code::PodRoot)),
    ];
    for (uid, name, wanted) in table {
        let mut ask = ask();
        ask.container.run_as_user = uid;
        name.clone_into(&mut ask.container.run_as_username);
        let got = judge(&policy, &ask, &with_image_user("1000"));
        assert_eq!(got, wanted, "{uid:?} {name:?}");
    }
}

#[test]
fn g3_a_capability_is_denied_in_every_spelling_that_containerd_folds() {
    let policy = policy("privileged: Deny");
    for name in [
        "SYS_ADMIN",
        "sys_admin",
        "CAP_SYS_ADMIN",
        "cap_sys_admin",
        "CAP_CAP_SYS_ADMIN",
        "\u{17f}YS_ADMIN",
        "all",
        "All",
        "ALL",
        "CAP_ALL",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_PTRACE",
        "SYS_BOOT",
        "BPF",
        "PERFMON",
        "DAC_READ_SEARCH",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "SYS ADMIN",
        "SYS_ADMIN ",
        "\u{212a}ILL",
    ] {
        for ambient in [false, true] {
            let mut ask = ask();
            let list = if ambient {
                &mut ask.container.add_ambient_capabilities
            } else {
                &mut ask.container.add_capabilities
            };
            list.push("CHOWN".to_owned());
            list.push(name.to_owned());
            let got = judge(&policy, &ask, &CreateEvidence::default());
            assert_eq!(got, Some(Code::PodPrivileged), "{name:?} ambient {ambient}");
        }
    }
    for name in [
        "NET_BIND_SERVICE",
        "chown",
        "CAP_SYS_CHROOT",
        "KILL",
        "SYS_TIME",
    ] {
        let mut ask = ask();
        ask.container.add_capabilities.push(name.to_owned());
        assert_eq!(
            judge(&policy, &ask, &CreateEvidence::default()),
            None,
            "{name}"
        );
    }
}

#[test]
fn g4_what_privileged_does_not_judge_passes() {
    let mut ask = ask();
    ask.container.seccomp = Some(Profile::Unconfined);
    ask.container.no_new_privs = Flag::Off;
    ask.container.drop_capabilities = vec!["ALL".to_owned()];
    let got = judge(
        &policy("privileged: Deny"),
        &ask,
        &CreateEvidence::default(),
    );
    assert_eq!(got, None);
}

fn host(path: &str, written: &str) -> (CreateAsk, CreateEvidence) {
    let mut ask = ask();
    ask.container.mounts = vec![Mount {
        container_path: "/x".to_owned(),
        source: MountSource::HostPath(written.to_owned()),
        readonly: Flag::On,
        recursive_read_only: Flag::Off,
        propagation: Propagation::None,
    }];
    let evidence = CreateEvidence {
        mounts: vec![MountOrigin::Host {
            path: path.to_owned(),
            via: Via::Spec,
            safe: HostPathSafety::Fixed,
            guarded: None,
        }],
        ..CreateEvidence::default()
    };
    (ask, evidence)
}

#[test]
fn g6_no_prefix_covers_the_guarded_set_its_ancestors_or_an_unclean_spelling() {
    // Every prefix that the compiler takes, and together everything below the root.
    let prefixes: Vec<String> = [
        "/etc", "/run", "/var", "/host", "/srv", "/opt", "/usr", "/var/lib", "/var/run", "/home",
    ]
    .iter()
    .map(|prefix| format!("{{prefix: {prefix}, readOnly: true}}"))
    .collect();
    let policy = policy(&format!("hostPath: {{allow: [{}]}}", prefixes.join(", ")));
    for path in [
        "/",
        "/etc",
        "/run",
        "/var",
        "/var/lib",
        "/opt",
        "/usr",
        "/proc/1/root",
        "/proc",
        "/sys",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/sda",
        "/boot",
        "/root",
        "/root/.ssh",
        "/run/containerd",
        "/run/containerd/containerd.sock",
        "/var/run",
        "/var/run/containerd/containerd.sock",
        "/var/lib/containerd",
        "/var/lib/kubelet",
        "/var/lib/kubelet/pods/other",
        "/k",
        "/k/pki",
        "/etc/kubernetes",
        "/etc/kubernetes/pki",
        "/etc/cni/net.d",
        "/opt/cni/bin",
        "/run/nri",
        "/run/pullguard/cri.sock",
        "/var/lib/pullguard",
        "/etc/pullguard",
        "/etc/containerd",
        "/usr/bin",
        "/etc/shadow",
        "/run/systemd/private",
        "/run/docker.sock",
    ] {
        let (ask, evidence) = host(path, path);
        let got = judge(&policy, &ask, &evidence);
        assert_eq!(got, Some(Code::PodHostpath), "{path}");
    }
    for written in [
        "/run/../run/containerd",
        "//run//x",
        "/srv/./x",
        "srv/x",
        "",
        "/srv/x/..",
        "/srv\n/x",
    ] {
        let (ask, evidence) = host("/srv/x", written);
        let got = judge(&policy, &ask, &evidence);
        assert_eq!(got, Some(Code::PodHostpath), "{written:?}");
    }
    for path in [
        "/srv/x",
        "/home/me",
        "/etc/localtime",
        "/run/app",
        "/var/log/app",
    ] {
        let (ask, evidence) = host(path, path);
        assert_eq!(judge(&policy, &ask, &evidence), None, "{path}");
    }
}

fn capability() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("SYS_ADMIN".to_owned()),
        Just("cap_bpf".to_owned()),
        Just("All".to_owned()),
        Just("CHOWN".to_owned()),
        Just("NET_RAW".to_owned()),
        Just("cap_kill".to_owned()),
        "[A-Za-z_]{1,8}",
        "\\PC{1,6}",
    ]
}

/// The sentence of the language, read word by word.
fn naive_capability(name: &str) -> bool {
    const LISTED: [&str; 11] = [
        "all",
        "sys_admin",
        "sys_module",
        "sys_rawio",
        "sys_ptrace",
        "sys_boot",
        "bpf",
        "perfmon",
        "dac_read_search",
        "mac_admin",
        "mac_override",
    ];
    let plain = name
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let mut name = name.to_lowercase();
    while name.starts_with("cap_") {
        name = name.split_off(4);
    }
    !plain || LISTED.contains(&name.as_str())
}

proptest! {
    #[test]
    fn privileged_is_denied_exactly_where_a_naive_reading_denies(
        flag in any::<bool>(),
        sandbox in any::<bool>(),
        added in prop::collection::vec(capability(), 0..3),
        ambient in prop::collection::vec(capability(), 0..2),
        masked in any::<bool>(),
        readonly in any::<bool>(),
        bidirectional in any::<bool>(),
        apparmor in prop::option::of(prop_oneof![
            Just(Profile::RuntimeDefault),
            Just(Profile::Unconfined),
            Just(Profile::Localhost("mine".to_owned())),
        ]),
        kind in prop::option::of(prop_oneof![Just(""), Just("container_t"), Just("spc_t")]),
    ) {
        let policy = policy("privileged: Deny");
        let mut ask = ask();
        let on = |on| if on { Flag::On } else { Flag::Off };
        ask.container.privileged = on(flag);
        ask.sandbox.privileged = on(sandbox);
        ask.container.add_capabilities.clone_from(&added);
        ask.container.add_ambient_capabilities.clone_from(&ambient);
        if !masked {
            ask.container.masked_paths.clear();
        }
        if !readonly {
            ask.container.readonly_paths.clear();
        }
        if bidirectional {
            let (with, _) = host("/srv", "/srv");
            ask.container.mounts = with.container.mounts;
            for mount in &mut ask.container.mounts {
                mount.propagation = Propagation::Bidirectional;
            }
        }
        ask.container.apparmor.clone_from(&apparmor);
        ask.container.selinux = kind.map(|kind| SeLinux {
            kind: kind.to_owned(),
            ..SeLinux::default()
        });
        let naive = flag
            || added.iter().chain(&ambient).any(|name| naive_capability(name))
            || !masked
            || !readonly
            || bidirectional
            || apparmor == Some(Profile::Unconfined)
            || kind == Some("spc_t");
        let got = judge(&policy, &ask, &CreateEvidence::default());
        prop_assert_eq!(got, naive.then_some(Code::PodPrivileged));
    }

    #[test]
    fn root_is_denied_exactly_where_a_naive_reading_denies(
        uid in prop::option::of(prop_oneof![-2_i64..3, any::<i64>(), 2_147_483_646_i64..2_147_483_650]),
        name in prop_oneof![Just(String::new()), "[a-z0-9]{1,6}"],
        image in prop_oneof!["[0-9]{0,11}", "[+ -]?[0-9]{1,4}(:[0-9]{1,2})?", "\\PC{0,5}"],
    ) {
        let policy = policy("root: Deny");
        let mut ask = ask();
        ask.container.run_as_user = uid;
        ask.container.run_as_username.clone_from(&name);
        let naive_uid = match (name.is_empty(), uid) {
            (false, _) => None,
            (true, Some(uid)) => Some(uid),
            // Canonical: the number written again is the same text.
            (true, None) => image.parse::<i64>().ok().filter(|uid| uid.to_string() == image),
        };
        let naive = !naive_uid.is_some_and(|uid| uid > 0 && uid < 1 << 31);
        let got = judge(&policy, &ask, &with_image_user(&image));
        prop_assert_eq!(got, naive.then_some(Code::PodRoot));
    }

    #[test]
    fn a_host_path_is_denied_exactly_where_a_naive_reading_denies(
        path in prop::collection::vec(prop_oneof![
            Just("srv"), Just("a"), Just("ab"), Just("etc"), Just("k"), Just("kubernetes"), Just("run"),
        ], 0..4),
        entry in prop_oneof![Just("/srv"), Just("/srv/a"), Just("/etc"), Just("/run/a")],
    ) {
        let policy = policy(&format!("hostPath: {{allow: [{{prefix: {entry}, readOnly: true}}]}}"));
        let written = format!("/{}", path.join("/"));
        let guarded = match path.as_slice() {
            // The root and /etc themselves, this node's own /k, and the ancestors of members.
            [] | ["etc" | "run" | "k"] | ["k", ..] | ["etc", "kubernetes", ..] => true,
            _ => false,
        };
        let parts: Vec<&str> = entry.split('/').skip(1).collect();
        let named = path.len() >= parts.len() && path.iter().zip(&parts).all(|(a, b)| a == b);
        let (ask, evidence) = host(&written, &written);
        let got = judge(&policy, &ask, &evidence);
        prop_assert_eq!(got, (!named || guarded).then_some(Code::PodHostpath));
    }
}
