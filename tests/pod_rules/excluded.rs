//! `podSecurity.exclude` by value: which value of a control is waived, and that nothing which the tenant
//! chooses freely is taken for it.

use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::{
    Code, CreateEvidence, HostPathSafety, MountOrigin, NodeFacts, Policy, Via,
};
use pullguard::request::{CreateAsk, Flag, Mount, MountSource, Propagation};

use crate::{Change, NOW, ask, compile, evidence, judge, mount, policy, volume, yaml};

fn excluding(control: &str, value: &str) -> Policy {
    policy(&format!(
        "podSecurity: {{level: restricted, exclude: [{{control: {control}, values: [\"{value}\"]}}]}}"
    ))
}

fn mounts(path: &str, at: &str) -> CreateAsk {
    let mut ask = ask();
    let mut mount = mount(Propagation::None);
    mount.source = MountSource::HostPath(path.to_owned());
    at.clone_into(&mut mount.container_path);
    ask.container.mounts = vec![mount];
    ask
}

#[test]
fn a_host_path_is_waived_by_its_own_path_and_not_by_where_the_pod_mounts_it() {
    let policy = excluding("HostPath Volumes", "/srv/data");
    assert_eq!(judge(&policy, &mounts("/srv/data", "/m")), None);
    for (path, at) in [("/etc", "/srv/data"), ("/", "/srv/data"), ("/srv", "/m")] {
        let ask = mounts(path, at);
        assert_eq!(
            judge(&policy, &ask),
            Some(Code::PodHostpath),
            "{path} at {at}"
        );
    }
}

#[test]
fn a_host_path_that_can_become_another_is_waived_by_no_value() {
    let policy = excluding("HostPath Volumes", "/srv/data");
    let ask = mounts("/srv/data", "/m");
    for safe in [HostPathSafety::Symlink, HostPathSafety::Writable] {
        let mut evidence = evidence(&ask);
        evidence.mounts = vec![MountOrigin::Host {
            path: "/srv/data".to_owned(),
            via: Via::Spec,
            safe,
            guarded: None,
        }];
        let node = NodeFacts::default();
        let plan = policy.plan_create(&ask.sandbox.pod, "", &ask, &node, &[], NOW);
        let denial = plan.conclude(&evidence).verdict.expect_err("it is denied");
        assert_eq!(denial.code(), Code::PodHostpath, "{safe:?}");
    }
}

#[test]
fn a_control_that_is_broken_in_one_way_has_that_value_and_not_the_containers_name() {
    let rows: [(&str, &str, Change, Code); 2] = [
        (
            "Privilege Escalation",
            "true",
            |ask| ask.container.no_new_privs = Flag::Off,
            Code::PodEscalation,
        ),
        (
            "/proc Mount Type",
            "Unmasked",
            |ask| ask.container.masked_paths.clear(),
            Code::PodProcMount,
        ),
    ];
    for (control, value, change, code) in rows {
        let mut ask = ask();
        change(&mut ask);
        assert_eq!(
            judge(&policy("podSecurity: {level: restricted}"), &ask),
            Some(code)
        );
        assert_eq!(judge(&excluding(control, value), &ask), None, "{control}");
        let other = format!(
            "podSecurity: {{level: restricted, exclude: [{{control: {control}, values: [api]}}]}}"
        );
        let error = compile(&other).expect_err("no container has this value");
        assert!(error.contains(&format!("it has only `{value}`")), "{error}");
    }
}

#[test]
fn who_need_not_drop_all_may_not_add_all() {
    let mut keeps = ask();
    keeps.container.drop_capabilities.clear();
    let mut adds = keeps.clone();
    adds.container.add_capabilities = vec!["ALL".to_owned()];
    let policy = excluding("Capabilities", "drop ALL");
    assert_eq!(judge(&policy, &keeps), None);
    assert_eq!(judge(&policy, &adds), Some(Code::PodCapability));
    let policy = excluding("Capabilities", "ALL");
    assert_eq!(judge(&policy, &keeps), Some(Code::PodCapability));
}

#[test]
fn a_value_of_host_paths_is_a_clean_path_and_none_is_below_another() {
    for (values, part) in [
        ("[\"/srv/../etc\"]", "clean absolute paths"),
        ("[srv]", "clean absolute paths"),
        ("[/srv, /srv/data]", "is below `/srv`"),
    ] {
        let check = format!(
            "podSecurity: {{level: baseline, exclude: [{{control: HostPath Volumes, values: {values}}}]}}"
        );
        let error = compile(&check).expect_err(values);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn no_value_is_a_word_that_the_pod_chooses_for_something_else() {
    let mut ask = ask();
    ask.container.no_new_privs = Flag::Off;
    "true".clone_into(&mut ask.container.name);
    let waived = excluding("Privilege Escalation", "true");
    assert_eq!(judge(&waived, &ask), None);
    "main".clone_into(&mut ask.container.name);
    assert_eq!(judge(&waived, &ask), None);

    let mut ask = crate::ask();
    ask.container.mounts = vec![Mount {
        container_path: "gitRepo".to_owned(),
        ..volume("kubernetes.io~git-repo")
    }];
    assert_eq!(judge(&excluding("Volume Types", "gitRepo"), &ask), None);

    let mut ask = crate::ask();
    ask.container.masked_paths.clear();
    assert_eq!(
        judge(&excluding("/proc Mount Type", "Unmasked"), &ask),
        None
    );
}

#[test]
fn uid_0_is_one_value_however_an_image_writes_it() {
    let policy = policy(
        "podSecurity: {level: restricted, exclude: [{control: Running as Non-root, values: [\"0\"]}, {control: Running as Non-root user, values: [\"0\"]}]}",
    );
    let mut ask = ask();
    ask.container.run_as_user = None;
    let node = NodeFacts::default();
    for (user, code) in [
        ("", None),
        ("0", None),
        ("00:5", None),
        ("app", Some(Code::PodRoot)),
    ] {
        let plan = policy.plan_create(&ask.sandbox.pod, "", &ask, &node, &[], NOW);
        let evidence = CreateEvidence {
            image_user: Some(Ok(user.to_owned())),
            ..CreateEvidence::default()
        };
        let verdict = plan.conclude(&evidence).verdict;
        assert_eq!(verdict.err().map(|denial| denial.code()), code, "{user:?}");
    }
}

#[test]
fn a_value_that_a_control_never_has_is_refused() {
    for (control, value) in [
        ("HostPath Volumes", ""),
        ("HostPath Volumes", "/var/log/"),
        ("HostPath Volumes", "/var/log/*"),
        ("HostPath Volumes", "var/log"),
        ("Privilege Escalation", "main"),
        ("Privileged Containers", "yes"),
        ("Host Namespaces", "hostNetwork"),
        ("Host Ports", "80-90"),
        ("Capabilities", "CAP_NET_RAW"),
        ("/proc Mount Type", "/proc/acpi"),
        ("Seccomp", "Localhost"),
        ("AppArmor", ""),
        ("SELinux", ""),
        ("Sysctls", "net/ipv4/ip_forward"),
        ("Running as Non-root user", "root"),
        ("Volume Types", "configMap"),
        ("Host Probes / Lifecycle Hooks", "10.0.0.1"),
    ] {
        let check = format!(
            "podSecurity: {{level: restricted, exclude: [{{control: {control}, values: [\"{value}\"]}}]}}"
        );
        let error = compile(&check).expect_err(&check);
        assert!(error.contains("is no value of"), "{check}: {error}");
    }
}

#[test]
fn an_exclusion_that_waives_nothing_is_warned_of() {
    let warned = |level: &str, exclude: &str| {
        let check = format!("podSecurity: {{level: {level}, exclude: [{{{exclude}}}]}}");
        let files = vec![("p.yaml".to_owned(), yaml("p", "r", &check))];
        let compiled = compile_dir(files, &Limits::default(), NOW).unwrap();
        let lines = compiled.warnings.iter().map(ToString::to_string);
        lines.collect::<Vec<_>>().join("\n")
    };
    let no_use = "nothing is waived";
    assert!(warned("baseline", "control: Volume Types").contains(no_use));
    assert!(!warned("restricted", "control: Volume Types").contains(no_use));
}
