//! A1, A7 as a property: whatever the evidence, an image that no judged digest leads to is never
//! permitted, and the one that it leads to is.
#![expect(clippy::unwrap_used, reason = "a test says why it failed by panicking")]

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::subsequence;
use pullguard::authoring::compile_dir;
use pullguard::image::{Digest, ImageId, Links, Reference, Repository};
use pullguard::limits::Limits;
use pullguard::policy::{Code, CreateEvidence, Denial, NodeFacts, Policy, Text};
use pullguard::request::CreateAsk;
use pullguard::time::Timestamp;
use pullguard::verify::{Depth, Evidence, NameEvidence, Preloaded, Requirement, prove};

/// Time plays no part here.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_780_272_000);

const NAME: &str = "registry.example.com/shop/app";
const OTHER: &str = "registry.example.com/other/app";

fn pinning() -> Policy {
    let yaml = "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: set}
spec: {audience: test, unmatched: {pods: Allow, images: Deny}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {name: p}
spec:
  rules:
  - {name: registries, registries: {allow: [\"registry.example.com/shop/**\"]}}
  - {name: pinned, digest: Pin}
";
    compile_dir(
        vec![("p.yaml".to_owned(), yaml.to_owned())],
        &Limits::default(),
        NOW,
    )
    .unwrap()
    .policy
}

/// The call that nothing denies, shared with the cases, for another image.
fn ask(id: &ImageId, reference: &Reference) -> CreateAsk {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/create.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut ask: CreateAsk = serde_json::from_value(value.get_mut("ask").unwrap().take()).unwrap();
    ask.container.image = id.to_string();
    ask.container.user_specified_image = reference.to_string();
    ask
}

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn id(image: &str) -> ImageId {
    ImageId::of_config(digest(image))
}

/// Index, manifest, ID of an image.
fn chain(image: &str) -> Links {
    let (index, manifest) = (format!("{image} index"), format!("{image} manifest"));
    Links::recorded(vec![digest(&index)], digest(&manifest), id(image), None)
}

/// Everything that may speak for `image` belonging to `repository`.
fn names(repository: &str, image: &str) -> Vec<NameEvidence> {
    let repository = Repository::parse(repository).unwrap();
    let judged = *chain(image).judged();
    vec![
        NameEvidence::CarriedPull {
            repository: repository.clone(),
            judged: Some(judged),
            id: id(image),
        },
        NameEvidence::CarriedPull {
            repository: repository.clone(),
            judged: None,
            id: id(image),
        },
        NameEvidence::RegistryAnswer {
            repository: repository.clone(),
            digest: judged,
        },
        NameEvidence::Adopted {
            repository: repository.clone(),
            digest: Some(judged),
            id: id(image),
        },
        NameEvidence::Bootstrap {
            repository,
            digest: judged,
        },
    ]
}

/// What the gate makes of a create of `image` under `reference`: prove, then conclude.
fn permitted(image: &str, reference: &str, evidence: &Evidence, preloaded: Preloaded) -> bool {
    let reference = Reference::parse(reference).unwrap();
    let wanted = Requirement {
        id: id(image),
        reference: reference.clone(),
        depth: Depth::Digests,
        asked: Vec::new(),
    };
    let proof = prove(&wanted, evidence, preloaded)
        .map_err(|why| Denial::say(Code::ImgUnproven, Text::new().raw(&why.to_string())));
    let policy = pinning();
    let ask = ask(&id(image), &reference);
    let node = NodeFacts::default();
    let plan = policy.plan_create(&ask.sandbox.pod, "", &ask, &node, &[], NOW);
    let found = CreateEvidence {
        images: vec![Some(proof)],
        ..CreateEvidence::default()
    };
    plan.conclude(&found).verdict.is_ok()
}

/// Evidence about the judged image under its own name, and about the other under another's, in
/// any selection and order; the chains of both are on the node.
fn evidence() -> impl Strategy<Value = Evidence> {
    let mut all = names(NAME, "one");
    all.extend(names(OTHER, "two"));
    all.extend(names(OTHER, "one"));
    let count = all.len();
    let links = vec![chain("one"), chain("two")];
    (
        subsequence(all, 0..=count).prop_shuffle(),
        subsequence(links, 0..=2).prop_shuffle(),
    )
        .prop_map(|(names, links)| Evidence {
            links,
            broken: Vec::new(),
            names,
            apart: Vec::new(),
        })
}

fn references() -> impl Strategy<Value = String> {
    let judged = *chain("one").judged();
    prop_oneof![
        Just(format!("{NAME}:1")),
        Just(format!("{NAME}@{judged}")),
        Just(format!("{NAME}:1@{judged}")),
    ]
}

fn preloaded() -> impl Strategy<Value = Preloaded> {
    prop_oneof![Just(Preloaded::Verify), Just(Preloaded::Adopt)]
}

proptest! {
    #[test]
    fn a1_an_image_that_no_judged_digest_leads_to_is_never_permitted(
        evidence in evidence(),
        reference in references(),
        preloaded in preloaded(),
    ) {
        prop_assert!(!permitted("two", &reference, &evidence, preloaded));
    }

    #[test]
    fn a1_the_image_that_the_judged_digest_leads_to_is_permitted_by_any_pull_that_says_so(
        evidence in evidence(),
        reference in references(),
        preloaded in preloaded(),
    ) {
        let mut evidence = evidence;
        evidence.names.extend(names(NAME, "one").into_iter().take(1));
        evidence.links.push(chain("one"));
        prop_assert!(permitted("one", &reference, &evidence, preloaded));
    }
}
