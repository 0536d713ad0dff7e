//! Any bytes as a CreateContainerRequest: without a proof of every image, and of what else the
//! rules ask, the plan of an enforcing policy never allows; and what a policy of pod rules alone
//! allows has nothing that those rules deny.
use std::sync::LazyLock;

use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::{CreateEvidence, NoPolicy, NodeFacts, Policy};
use pullguard::request::{Flag, GatedMethod, NamespaceMode, PodSource, Request, Tolerated, decode};
use pullguard::time::Timestamp;

const HEAD: &str = "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: fuzz}
spec:
  audience: fuzz
  unmatched: {pods: Allow, images: Allow}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {name: everywhere}
spec:
  rules:
";

/// An exception by image, which a name alone never waives by.
const EXCEPTION: &str = "---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicyException
metadata: {name: some}
spec:
  policy: everywhere
  rules: [rule]
  match: {images: [\"registry.example.com/**\", \"docker.io/library/*\", \"docker.io/library/a:1\"]}
  expires: 2027-01-01T00:00:00Z
  reason: T-1
";

const NOW: Timestamp = Timestamp::from_unix_seconds(1_780_272_000);

static POLICIES: LazyLock<[Policy; 3]> = LazyLock::new(|| {
    [
        "  - {name: rule, registries: {allow: [\"registry.example.com/**\"]}}\n",
        "  - {name: rule, digest: Pin}\n",
        "  - name: rule\n    containers: {privileged: Deny, hostNamespaces: Deny}\n",
    ]
    .map(|rule| {
        let files = vec![("policy.yaml".to_owned(), format!("{HEAD}{rule}{EXCEPTION}"))];
        compile_dir(files, &Limits::default(), NOW)
            .unwrap_or_else(|error| panic!("{error}"))
            .policy
    })
});

/// One input; what came of it, for the driver to tell inputs apart.
pub(crate) fn run(message: &[u8]) -> String {
    let decoded = match decode(GatedMethod::CreateContainer, message, &Tolerated::none()) {
        Ok(decoded) => decoded,
        Err(error) => return error.to_string(),
    };
    let Request::Create(ask) = decoded.request else {
        panic!("another request came of CreateContainer");
    };
    let node = NodeFacts::default();
    let nothing = CreateEvidence::default();
    let pod = &ask.sandbox.pod;
    let handler = ask.sandbox.runtime_handler.as_deref().unwrap_or_default();
    let [registries, pinned, pods] = &*POLICIES;

    for policy in [registries, pinned] {
        let plan = policy.plan_create(pod, handler, &ask, &node, &[], NOW);
        let judgement = plan.conclude(&nothing);
        let denial = judgement.verdict.expect_err("allowed without a proof");
        assert!(!denial.line().contains('\n'));
        if let Err(early) = plan.definite() {
            assert_eq!(denial, early, "one text for one denial");
        }
    }
    let bootstrap = NoPolicy.plan_create(pod, &ask, &[]).conclude(&nothing);
    if bootstrap.verdict.is_ok() {
        // Without a policy and without a list, nothing but static pods starts.
        assert!(matches!(pod.source, PodSource::File | PodSource::Http));
    }

    let plan = pods.plan_create(pod, handler, &ask, &node, &[], NOW);
    let judged = plan.conclude(&nothing);
    let said = judged.verdict.as_ref().err().map(|denial| denial.line());
    if judged.verdict.is_ok() {
        assert_eq!(ask.container.privileged, Flag::Off);
        for namespaces in [&ask.container.namespaces, &ask.sandbox.namespaces] {
            assert_ne!(namespaces.network, NamespaceMode::Node);
            assert_ne!(namespaces.pid, NamespaceMode::Node);
            assert_ne!(namespaces.ipc, NamespaceMode::Node);
        }
    }
    format!("{:?} {said:?}", bootstrap.verdict.is_ok())
}
