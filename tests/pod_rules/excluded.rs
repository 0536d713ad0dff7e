//! `podSecurity.exclude` by value: which value of a control is waived, and that nothing which the tenant
//! chooses freely is taken for it.

use pullguard::policy::{Code, HostPathSafety, MountOrigin, NodeFacts, Policy, Via};
use pullguard::request::{CreateAsk, Flag, MountSource, Propagation};

use crate::{Change, NOW, ask, compile, evidence, judge, mount, policy};

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
        assert!(error.contains(&format!("it has {value}")), "{error}");
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
        ("[\"/srv/../etc\"]", "no clean absolute path"),
        ("[srv]", "no clean absolute path"),
        ("[/srv, /srv/data]", "is below `/srv`"),
    ] {
        let check = format!(
            "podSecurity: {{level: baseline, exclude: [{{control: HostPath Volumes, values: {values}}}]}}"
        );
        let error = compile(&check).expect_err(values);
        assert!(error.contains(part), "{error}");
    }
}
