//! `podSecurity.exclude.values`: what a control is kept from, and by whose word.

use super::*;

fn excluding(control: &str, value: &str) -> Policy {
    policy(&format!(
        "podSecurity: {{level: restricted, exclude: [{{control: {control}, values: [\"{value}\"]}}]}}"
    ))
}

fn shows(path: &str, at: &str) -> Mount {
    Mount {
        container_path: at.to_owned(),
        source: MountSource::HostPath(path.to_owned()),
        ..mount(Propagation::None)
    }
}

#[test]
fn a_host_path_is_waived_by_what_it_shows_and_not_by_where_it_is_mounted() {
    let policy = excluding("HostPath Volumes", "/srv/data");
    let mut ask = ask();
    for (path, at, code) in [
        ("/srv/data", "/m", None),
        ("/", "/srv/data", Some(Code::PodHostpath)),
        ("/srv/data/in", "/srv/data", Some(Code::PodHostpath)),
        ("/srv/../etc", "/srv/data", Some(Code::PodHostpath)),
    ] {
        ask.container.mounts = vec![shows(path, at)];
        assert_eq!(judge(&policy, &ask), code, "{path} at {at}");
    }
    // One that can lead elsewhere by the time of the mount is no value at all.
    ask.container.mounts = vec![shows("/srv/data", "/m")];
    for (safe, code) in [
        (HostPathSafety::Symlink, None),
        (HostPathSafety::Writable, Some(Code::PodHostpath)),
    ] {
        let mut evidence = evidence(&ask);
        evidence.mounts = vec![MountOrigin::Host {
            path: "/srv/data".to_owned(),
            via: Via::Spec,
            safe,
            guarded: None,
        }];
        let node = NodeFacts::default();
        let plan = policy.plan_create(&ask.sandbox.pod, "", &ask, &node, &[], NOW);
        let verdict = plan.conclude(&evidence).verdict;
        assert_eq!(verdict.err().map(|denial| denial.code()), code, "{safe:?}");
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

    let mut ask = super::ask();
    ask.container.mounts = vec![Mount {
        container_path: "gitRepo".to_owned(),
        ..volume("kubernetes.io~git-repo")
    }];
    assert_eq!(judge(&excluding("Volume Types", "gitRepo"), &ask), None);

    let mut ask = super::ask();
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
fn an_exclusion_that_waives_nothing_or_more_than_it_seems_is_warned_of() {
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
    let both = "adding every capability";
    let all = "control: Capabilities, values: [ALL]";
    assert!(warned("restricted", all).contains(both));
    assert!(!warned("baseline", all).contains(both));
}
