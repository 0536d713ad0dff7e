//! Any bytes as the body of a call that is decided, under a policy with every rule: a judgement or a
//! refusal, the same each time, in one printable line; and what is to be filled in can be.
//!
//! The first byte picks the call and what is known of the node.

use std::sync::LazyLock;

use pullguard::authoring::compile_dir;
use pullguard::image::Reference;
use pullguard::limits::Limits;
use pullguard::policy::document::Action;
use pullguard::policy::{
    Amounts, CreateEvidence, Effect, HostPathSafety, Judgement, KubeletMount, MountOrigin,
    NodeFacts, Policy, Running, Via,
};
use pullguard::request::{
    self, CreateAsk, GatedMethod, MountSource, Pod, PodSource, Request, ResourceChange, Tolerated,
    decode, fill_limits,
};
use pullguard::time::Timestamp;

/// The policy, as it is written.
pub(crate) const YAML: &str = include_str!("every_rule.yaml");

const NOW: Timestamp = Timestamp::from_unix_seconds(1_780_272_000);

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let files = vec![("every_rule.yaml".to_owned(), YAML.to_owned())];
    compile_dir(files, &Limits::default(), NOW)
        .unwrap_or_else(|error| panic!("{error}"))
        .policy
});

/// One input; what came of it, for the driver to tell inputs apart.
pub(crate) fn run(input: &[u8]) -> String {
    let Some((choice, message)) = input.split_first() else {
        return "empty".to_owned();
    };
    let method = match choice % 4 {
        0 => GatedMethod::CreateContainer,
        1 => GatedMethod::RunPodSandbox,
        2 => GatedMethod::UpdateContainerResources,
        _ => GatedMethod::PullImage,
    };
    let decoded = match decode(method, message, &Tolerated::none()) {
        Ok(decoded) => decoded,
        Err(error) => return format!("{method:?} {error}"),
    };
    let node = NodeFacts {
        guarded_paths: vec!["/var/lib/kubelet".to_owned()],
        cpu_quotas: choice & 4 == 0,
        ..NodeFacts::default()
    };
    let judge = || match &decoded.request {
        Request::Create(ask) => create(ask, message, *choice, &node),
        Request::RunSandbox(sandbox) => POLICY.judge_sandbox(sandbox, &node, NOW),
        Request::UpdateResources(ask) => update(ask.linux.as_ref(), &node),
        Request::Pull(ask, _) => pull(ask, &node),
        _ => panic!("another request came of {method:?}"),
    };
    let judged = judge();
    assert_eq!(judged, judge(), "two judgements of one call");
    sound(&judged);
    let codes: Vec<_> = judged
        .findings
        .iter()
        .map(|one| (&one.rule, one.code))
        .collect();
    format!("{method:?} {:?} {codes:?}", judged.verdict.is_ok())
}

/// What holds of every judgement.
fn sound(judged: &Judgement) {
    for finding in &judged.findings {
        let line = &finding.line;
        assert!(
            line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{line:?}"
        );
        assert!(line.len() <= 512, "{} bytes: {line}", line.len());
    }
    let mut enforced = judged
        .findings
        .iter()
        .filter(|finding| finding.action == Action::Enforce && finding.effect == Effect::Denied);
    match &judged.verdict {
        Ok(_) => assert_eq!(enforced.next(), None, "allowed, and denied by a rule"),
        Err(denial) => assert!(enforced.any(|one| one.line == denial.line()), "{denial:?}"),
    }
}

fn create(ask: &CreateAsk, message: &[u8], choice: u8, node: &NodeFacts) -> Judgement {
    let plan = POLICY.plan_create(&ask.sandbox.pod, "", ask, node, &[], NOW);
    let mut evidence = CreateEvidence::default();
    if choice & 8 == 0 {
        let user = ["", "0", "1000", "app"][usize::from(choice >> 6)];
        evidence.image_user = Some(Ok(user.to_owned()));
        let mounts = ask.container.mounts.iter();
        evidence.mounts = mounts.map(|mount| origin(&mount.source, choice)).collect();
    }
    let judged = plan.conclude(&evidence);
    if let Err(early) = plan.definite() {
        assert_eq!(judged.verdict, Err(early), "one text for one denial");
    }
    if let Ok(allowed) = &judged.verdict
        && allowed.defaults != Amounts::default()
    {
        let limits = request::Limits {
            memory: allowed.defaults.memory,
            cpu_quota: allowed.defaults.cpu,
        };
        let edited = fill_limits(message, limits).expect("what is allowed can be given limits");
        assert!(edited.message().starts_with(message));
    }
    judged
}

fn origin(source: &MountSource, choice: u8) -> MountOrigin {
    match (source, choice & 0x30) {
        (MountSource::Image { .. }, _) => MountOrigin::Image,
        (MountSource::HostPath(_), 0x10) => {
            MountOrigin::Kubelet(KubeletMount::Volume("kubernetes.io~configmap".to_owned()))
        }
        (MountSource::HostPath(_), 0x20) => MountOrigin::Unknown {
            why: "the mount table could not be read",
        },
        (MountSource::HostPath(path), _) => MountOrigin::Host {
            path: path.clone(),
            via: Via::Spec,
            safe: HostPathSafety::Fixed,
            guarded: None,
        },
    }
}

fn update(change: Option<&ResourceChange>, node: &NodeFacts) -> Judgement {
    let pod = Pod {
        namespace: "payments".to_owned(),
        name: "api".to_owned(),
        uid: "u".to_owned(),
        source: PodSource::Api,
        labels: [].into(),
        config_seen: String::new(),
    };
    let running = Running {
        pod: &pod,
        handler: "",
        container: "app",
        image: None,
    };
    let nothing = ResourceChange::default();
    POLICY.judge_update(&running, change.unwrap_or(&nothing), node, NOW)
}

fn pull(ask: &request::PullAsk, node: &NodeFacts) -> Judgement {
    let pod = ask.sandbox.as_ref().map(|sandbox| &sandbox.pod);
    let reference = Reference::parse(&ask.image);
    let reference = reference.unwrap_or_else(|_| Reference::parse("nginx").expect("a name"));
    let plan = POLICY.plan_pull(pod, None, &reference, node, &[], NOW);
    plan.conclude(None)
}
