//! What the product says of a request: the bytes are decoded and judged as the daemon does.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use pullguard::api::runtime_v1::{RunPodSandboxRequest, UpdateContainerResourcesRequest};
use pullguard::authoring::compile_dir;
use pullguard::image::{Digest, ImageId, Reference};
use pullguard::limits::Limits;
use pullguard::policy::document::Action;
use pullguard::policy::{
    Amounts, Code, CreateEvidence, Effect, ImageNeed, Intrusion, Judgement, NodeFacts, Policy,
    Running,
};
use pullguard::request::{self, CreateAsk, GatedMethod, Request, Tolerated, decode};
use pullguard::time::Timestamp;
use pullguard::verify::{self, Depth, Evidence, NameEvidence, Requirement};

use crate::oracle::Broken;
use crate::rule::Rule;
use crate::spec::Spec;

/// Time plays no part here.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_780_272_000);

/// One judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// The rule that the denial names, and its code.
    pub(crate) denied: Option<(usize, Code)>,
    /// Every rule that is not satisfied, whatever its action.
    pub(crate) broken: Broken,
    /// Bytes, and thousandths of a CPU.
    pub(crate) filled: (Option<i64>, Option<i64>),
}

/// All that the product says.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) sandbox: Said,
    pub(crate) create: Said,
    pub(crate) update: Said,
    /// Exec, ExecSync and checkpoint.
    pub(crate) calls: [Option<Code>; 3],
}

pub(crate) fn yaml(rules: &[Rule]) -> String {
    let mut text = "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: set}
spec: {audience: test, unmatched: {pods: Allow, images: Allow}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {name: p}
spec:
  rules:
"
    .to_owned();
    for (index, rule) in rules.iter().enumerate() {
        text.push_str(&format!("  - {}\n", rule.yaml(&format!("r{index}"))));
    }
    text
}

pub(crate) fn compile(rules: &[Rule]) -> Policy {
    let text = yaml(rules);
    let files = vec![("p.yaml".to_owned(), text.clone())];
    match compile_dir(files, &Limits::default(), NOW) {
        Ok(authored) => authored.policy,
        Err(error) => panic!("{error}\n{text}"),
    }
}

pub(crate) fn answers(policy: &Policy, spec: &Spec) -> Answers {
    let node = NodeFacts {
        cpu_quotas: spec.quotas,
        guarded_paths: vec!["/var/lib/kubelet".to_owned()],
        ..NodeFacts::default()
    };
    let ask = ask(spec);
    let running = Running {
        pod: &ask.sandbox.pod,
        handler: &spec.handler,
        container: "app",
        image: None,
    };
    let calls = [Intrusion::Exec, Intrusion::ExecSync, Intrusion::Checkpoint];
    Answers {
        sandbox: sandbox(policy, spec, &node),
        create: create(policy, spec, &ask, &node),
        update: update(policy, spec, &running, &node),
        calls: calls.map(|call| {
            let judged = policy.judge_intrusion(call, &running, &node, NOW);
            judged.verdict.err().map(|denial| denial.code())
        }),
    }
}

fn ask(spec: &Spec) -> CreateAsk {
    let bytes = spec.request.encode_to_vec();
    match decode(GatedMethod::CreateContainer, &bytes, &Tolerated::none()).map(|one| one.request) {
        Ok(Request::Create(ask)) => *ask,
        other => panic!("{other:?}: {spec:?}"),
    }
}

fn sandbox(policy: &Policy, spec: &Spec, node: &NodeFacts) -> Said {
    let request = RunPodSandboxRequest {
        config: Some(spec.sandbox().clone()),
        runtime_handler: spec.handler.clone(),
    };
    let bytes = request.encode_to_vec();
    match decode(GatedMethod::RunPodSandbox, &bytes, &Tolerated::none()).map(|one| one.request) {
        Ok(Request::RunSandbox(ask)) => said(&policy.judge_sandbox(&ask, node, NOW)),
        other => panic!("{other:?}: {spec:?}"),
    }
}

fn update(policy: &Policy, spec: &Spec, running: &Running<'_>, node: &NodeFacts) -> Said {
    let request = UpdateContainerResourcesRequest {
        container_id: "c".to_owned(),
        linux: Some(spec.update.clone()),
        ..UpdateContainerResourcesRequest::default()
    };
    let bytes = request.encode_to_vec();
    let method = GatedMethod::UpdateContainerResources;
    match decode(method, &bytes, &Tolerated::none()).map(|one| one.request) {
        Ok(Request::UpdateResources(ask)) => {
            let change = ask.linux.unwrap();
            said(&policy.judge_update(running, &change, node, NOW))
        }
        other => panic!("{other:?}: {spec:?}"),
    }
}

fn create(policy: &Policy, spec: &Spec, ask: &CreateAsk, node: &NodeFacts) -> Said {
    let plan = policy.plan_create(&ask.sandbox.pod, &spec.handler, ask, node, &[], NOW);
    let needs = plan.needs();
    let images = needs.images.iter();
    let evidence = CreateEvidence {
        images: images
            .map(|need| need.needs.proof.then(|| Ok(proof(need))))
            .collect(),
        image_user: Some(Ok(spec.image_user.clone())),
        mounts: spec.origins.clone(),
    };
    let judged = plan.conclude(&evidence);
    if let Ok(allowed) = &judged.verdict
        && allowed.defaults != Amounts::default()
    {
        // What is to be filled in can be.
        let limits = request::Limits {
            memory: allowed.defaults.memory,
            cpu_quota: allowed.defaults.cpu,
        };
        request::fill_limits(&spec.request.encode_to_vec(), limits).unwrap();
    }
    said(&judged)
}

/// A pull of the image was carried, so its name is proven.
fn proof(need: &ImageNeed) -> verify::ImageProof {
    let id = ImageId::of_config(Digest::of(b"config"));
    let reference = Reference::parse(&need.reference).unwrap();
    let evidence = Evidence {
        names: vec![NameEvidence::CarriedPull {
            repository: reference.repository().clone(),
            judged: None,
            id,
        }],
        ..Evidence::default()
    };
    let ask = Requirement {
        id,
        reference,
        depth: Depth::Name,
        asked: need.needs.asked.clone(),
    };
    verify::prove(&ask, &evidence, verify::Preloaded::Verify).unwrap()
}

fn said(judgement: &Judgement) -> Said {
    let place = |rule: &str| rule.trim_start_matches('r').parse::<usize>().unwrap();
    let mut broken = BTreeMap::new();
    for finding in &judgement.findings {
        if finding.effect == Effect::Denied {
            let codes: &mut BTreeSet<Code> = broken.entry(place(&finding.rule)).or_default();
            codes.insert(finding.code.unwrap());
        }
    }
    let named = judgement.verdict.as_ref().err().map(|denial| {
        let (_, rule) = denial.rule().unwrap();
        let line = denial.line();
        let finding = judgement.findings.iter().find(|one| one.line == line);
        // What is named is among what was found, of a rule that enforces.
        assert_eq!(finding.unwrap().action, Action::Enforce);
        (place(rule), denial.code())
    });
    let filled = judgement
        .verdict
        .as_ref()
        .ok()
        .map(|allowed| allowed.defaults);
    Said {
        denied: named,
        broken,
        filled: filled.map_or((None, None), |amounts| (amounts.memory, amounts.cpu)),
    }
}
