//! Policy cases as data: `tests/cases/<rule>/<sentence>/{policy.yaml, request.json, expected.txt}`.
//!
//! `request.json` is laid over `tests/cases/<rpc>.json`, a call that nothing denies (JSON merge
//! patch), so that each case shows only what it changes. `expected.txt` is the verdict, and one line
//! for each further finding, need and pin.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says why it failed by panicking"
)]

mod exceptions;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pullguard::authoring::compile_dir;
use pullguard::image::{Digest, ImageId, Links, Reference};
use pullguard::limits::Limits;
use pullguard::policy::document::Action;
use pullguard::policy::{
    Basis, BootstrapEntry, Code, CreateEvidence, Denial, Effect, HostPathSafety, ImageNeed,
    Judgement, KubeletMount, MountOrigin, Needs, NodeFacts, Pin, Policy, Resolution, Via,
};
use pullguard::request::{CreateAsk, Pod, Sandbox};
use pullguard::time::Timestamp;
use pullguard::verify::{self, Depth, Evidence, NameEvidence, Requirement};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pull {
    pod: Option<Pod>,
    image: String,
    resolved: Option<Vec<Digest>>,
    /// Of what the plan asks about: what leads to the same image, and what does not.
    #[serde(default)]
    kin: Vec<Digest>,
    #[serde(default)]
    apart: Vec<Digest>,
    /// The sandbox's, where it is known.
    #[serde(default)]
    handler: Option<String>,
    #[serde(default)]
    bootstrap: Vec<Entry>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// When it is judged.
    #[serde(default = "default_now")]
    now: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    sandbox: Sandbox,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// When it is judged.
    #[serde(default = "default_now")]
    now: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    ask: CreateAsk,
    #[serde(default)]
    handler: String,
    /// Parallel to the images that the plan asks for.
    images: Vec<Option<Found>>,
    image_user: Option<String>,
    /// Why the image's user could not be had: code and text.
    #[serde(default)]
    image_user_denied: Option<(String, String)>,
    mounts: Vec<Origin>,
    #[serde(default)]
    bootstrap: Vec<Entry>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// When it is judged.
    #[serde(default = "default_now")]
    now: String,
}

fn default_now() -> String {
    "2026-06-01T00:00:00Z".to_owned()
}

fn moment(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("a moment")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    namespaces: Vec<String>,
    image: String,
}

/// What the edges found for one image.
#[derive(Deserialize)]
enum Found {
    /// A pull was carried and containerd returned the ID.
    CarriedId,
    /// The registry answered this digest, and its chain leads to the ID.
    Digest(Digest),
    /// The registry answered the last of these digests; each of them leads to the ID. Then: what
    /// does not.
    Chain(Vec<Digest>, Vec<Digest>),
    /// It could not be had.
    Denied(String, String),
}

#[derive(Deserialize)]
enum Origin {
    /// A file of the kubelet's own.
    File,
    /// A volume of the kubelet's, by the directory of its plugin.
    Volume(String),
    Image,
    Unknown,
    Host(String, OriginVia, OriginSafety),
    /// The path, and the guarded path that its object hands over.
    Guarded(String, OriginVia, String),
}

#[derive(Clone, Copy, Deserialize)]
enum OriginVia {
    Spec,
    SubPath,
    LocalVolume,
    Csi,
}

#[derive(Clone, Copy, Deserialize)]
enum OriginSafety {
    Fixed,
    Symlink,
    Writable,
}

#[test]
fn every_case_is_judged_as_its_name_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut judged = 0;
    let mut wrong = Vec::new();
    for rule in folders(&root) {
        for case in folders(&rule) {
            judged += 1;
            let expected = fs::read_to_string(case.join("expected.txt")).expect("expected.txt");
            let got = judge(&root, &case);
            if got != expected {
                let name = case.strip_prefix(&root).unwrap().display().to_string();
                wrong.push(format!("== {name}\nexpected:\n{expected}got:\n{got}"));
            }
        }
    }
    assert!(judged > 40, "only {judged} cases were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    all.sort();
    all
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn judge(root: &Path, case: &Path) -> String {
    let files = vec![("policy.yaml".to_owned(), read(case.join("policy.yaml")))];
    let policy = match compile_dir(files, &Limits::default(), moment(&default_now())) {
        Ok(authored) => authored.policy,
        Err(error) => return format!("{error}\n"),
    };
    judge_by(&policy, root, case)
}

fn judge_by(policy: &Policy, root: &Path, case: &Path) -> String {
    let mut patch: Value = serde_json::from_str(&read(case.join("request.json"))).expect("JSON");
    let rpc = patch.as_object_mut().unwrap().remove("rpc").expect("rpc");
    let base = read(root.join(format!("{}.json", rpc.as_str().unwrap())));
    let mut request: Value = serde_json::from_str(&base).expect("the base request");
    merge(&mut request, patch);
    match rpc.as_str().unwrap() {
        "pull" => pull(policy, &serde_json::from_value(request).unwrap()),
        "sandbox" => sandbox(policy, &serde_json::from_value(request).unwrap()),
        "create" => create(policy, serde_json::from_value(request).unwrap()),
        other => panic!("no such call: {other}"),
    }
}

/// JSON merge patch (RFC 7396), except that null is a value.
fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                match into.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (into, patch) => *into = patch,
    }
}

fn node(labels: &BTreeMap<String, String>) -> NodeFacts {
    NodeFacts {
        cpu_quotas: true,
        name: "node-1".to_owned(),
        labels: labels.clone(),
        guarded_paths: vec!["/data/kubelet".to_owned()],
    }
}

fn entries(policy: &Policy, entries: &[Entry]) -> Vec<BootstrapEntry> {
    entries
        .iter()
        .map(|entry| BootstrapEntry::parse(entry.namespaces.clone(), &entry.image).unwrap())
        .chain(policy.bootstrap().iter().cloned())
        .collect()
}

fn pull(policy: &Policy, ask: &Pull) -> String {
    let reference = Reference::parse(&ask.image).expect("a reference");
    let node = node(&ask.labels);
    let list = entries(policy, &ask.bootstrap);
    let handler = ask.handler.as_deref();
    let plan = policy.plan_pull(
        ask.pod.as_ref(),
        handler,
        &reference,
        &node,
        &list,
        moment(&ask.now),
    );
    let resolved = ask.resolved.as_ref().map(|digests| Resolution {
        digests: digests.clone(),
        kin: ask.kin.clone(),
        apart: ask.apart.clone(),
    });
    let mut out = render(&plan.conclude(resolved.as_ref()));
    for (needed, words) in [
        (plan.needs_digest(), "needs the digest\n"),
        (plan.pins(), "pins\n"),
        (plan.would_rather_pin(), "would rather pin\n"),
    ] {
        if needed {
            out.push_str(words);
        }
    }
    for digest in plan.asked() {
        out.push_str(&format!("asks about {digest}\n"));
    }
    if plan.at_create().proof {
        out.push_str("names the image\n");
    }
    if plan.at_create().digest {
        out.push_str("create needs a proof of its digest\n");
    }
    if plan.at_create().tag {
        out.push_str("create needs a proof of its tag\n");
    }
    out
}

fn sandbox(policy: &Policy, ask: &Run) -> String {
    render(&policy.judge_sandbox(&ask.sandbox, &node(&ask.labels), moment(&ask.now)))
}

fn create(policy: &Policy, case: Create) -> String {
    let node = node(&case.labels);
    let list = entries(policy, &case.bootstrap);
    let pod = &case.ask.sandbox.pod;
    let plan = policy.plan_create(
        pod,
        &case.handler,
        &case.ask,
        &node,
        &list,
        moment(&case.now),
    );
    let needs = plan.needs();
    let images = needs.images.iter().enumerate().map(|(index, need)| {
        let found = case.images.get(index).and_then(Option::as_ref)?;
        Some(find(found, need))
    });
    let user_denied = case
        .image_user_denied
        .map(|(code, text)| Err(Denial::new(Code::parse(&code).unwrap(), text)));
    let evidence = CreateEvidence {
        images: images.collect(),
        image_user: case.image_user.map(Ok).or(user_denied),
        mounts: case.mounts.iter().map(origin).collect(),
    };
    let mut out = render(&plan.conclude(&evidence));
    for (index, need) in needs.images.iter().enumerate() {
        out.push_str(&needs_of(&need.needs, &format!("image {index}")));
    }
    if needs.effective_user_from_image {
        out.push_str("needs the image's user\n");
    }
    if needs.mount_origins {
        out.push_str("needs the mounts\n");
    }
    // What the request alone tells is told with evidence too.
    let refused = plan
        .refused()
        .map(|judgement| judgement.verdict.map(|_| ()));
    assert_eq!(refused, plan.definite().err().map(Err));
    if let Err(early) = plan.definite() {
        assert_eq!(
            plan.conclude(&evidence).verdict,
            Err(early),
            "one text for one denial"
        );
    }
    out
}

fn needs_of(needs: &Needs, image: &str) -> String {
    let mut out = match (needs.proof, needs.digest) {
        (true, true) => format!("{image} needs a proof of its digest\n"),
        (true, false) => format!("{image} needs a proof\n"),
        (false, false) => String::new(),
        (false, true) => panic!("a digest without a proof"),
    };
    if needs.tag {
        out.push_str(&format!("{image} needs a proof of its tag\n"));
    }
    for digest in &needs.asked {
        out.push_str(&format!("{image}: is it {digest}?\n"));
    }
    out
}

fn find(found: &Found, need: &ImageNeed) -> Result<verify::ImageProof, Denial> {
    let id = ImageId::of_config(Digest::of(b"config"));
    let reference = Reference::parse(&need.reference).expect("a reference");
    let repository = reference.repository().clone();
    let (depth, evidence) = match found {
        Found::Denied(code, text) => return Err(Denial::new(Code::parse(code).unwrap(), text)),
        Found::CarriedId => (
            Depth::Name,
            Evidence {
                names: vec![NameEvidence::CarriedPull {
                    repository,
                    judged: None,
                    id,
                }],
                ..Evidence::default()
            },
        ),
        Found::Digest(digest) => (
            Depth::Digests,
            Evidence {
                links: vec![Links::recorded(Vec::new(), *digest, id, None)],
                names: vec![NameEvidence::RegistryAnswer {
                    repository,
                    digest: *digest,
                }],
                ..Evidence::default()
            },
        ),
        Found::Chain(chain, apart) => {
            let (manifest, indexes) = chain.split_last().expect("a manifest");
            let links = Links::recorded(indexes.to_vec(), *manifest, id, None);
            let names = vec![NameEvidence::RegistryAnswer {
                repository,
                digest: *manifest,
            }];
            let evidence = Evidence {
                links: vec![links],
                names,
                apart: apart.clone(),
                ..Evidence::default()
            };
            (Depth::Digests, evidence)
        }
    };
    let ask = Requirement {
        id,
        reference,
        depth,
        asked: need.needs.asked.clone(),
    };
    Ok(verify::prove(&ask, &evidence, verify::Preloaded::Verify).expect("a proof"))
}

fn origin(origin: &Origin) -> MountOrigin {
    match origin {
        Origin::File => MountOrigin::Kubelet(KubeletMount::File),
        Origin::Volume(plugin) => MountOrigin::Kubelet(KubeletMount::Volume(plugin.clone())),
        Origin::Image => MountOrigin::Image,
        Origin::Unknown => MountOrigin::Unknown {
            why: "the mount table could not be read",
        },
        Origin::Host(path, via, safe) => MountOrigin::Host {
            path: path.clone(),
            via: via_of(*via),
            safe: match safe {
                OriginSafety::Fixed => HostPathSafety::Fixed,
                OriginSafety::Symlink => HostPathSafety::Symlink,
                OriginSafety::Writable => HostPathSafety::Writable,
            },
            guarded: None,
        },
        Origin::Guarded(path, via, member) => MountOrigin::Host {
            path: path.clone(),
            via: via_of(*via),
            safe: HostPathSafety::Fixed,
            guarded: Some(member.clone()),
        },
    }
}

fn via_of(via: OriginVia) -> Via {
    match via {
        OriginVia::Spec => Via::Spec,
        OriginVia::SubPath => Via::SubPath,
        OriginVia::LocalVolume => Via::LocalVolume,
        OriginVia::Csi => Via::Csi,
    }
}

fn render(judgement: &Judgement) -> String {
    let mut out = match &judgement.verdict {
        Ok(allowed) => {
            let basis = match allowed.basis {
                Basis::Rules => "allowed",
                Basis::Bootstrap => "allowed by the bootstrap list",
                Basis::NoPolicy => "allowed without a policy",
            };
            match allowed.pin {
                Pin::No => format!("{basis}\n"),
                Pin::Digest(digest) => format!("{basis}, pinned to {digest}\n"),
            }
        }
        Err(denial) => format!("{}\n", denial.line()),
    };
    let named = judgement.verdict.as_ref().err().map(Denial::line);
    for finding in &judgement.findings {
        if finding.action == Action::Enforce && Some(&finding.line) == named.as_ref() {
            continue;
        }
        if let Some(waived) = &finding.waived {
            let (policy, rule) = (&finding.policy, &finding.rule);
            let said = if finding.line.is_empty() {
                format!("{policy}/{rule} edits nothing")
            } else {
                finding.line.clone()
            };
            out.push_str(&format!("waived by {}: {said}\n", waived.exception));
            continue;
        }
        // The verdict itself shows it.
        if finding.action == Action::Enforce && finding.effect != Effect::Denied {
            continue;
        }
        let who = match finding.action {
            Action::Enforce => "also",
            Action::Audit => "audit",
            Action::Warn => "warn",
        };
        match finding.effect {
            Effect::Denied | Effect::Waived => {
                out.push_str(&format!("{who}: {}\n", finding.line));
            }
            Effect::Pinned | Effect::Filled => {
                let verb = if finding.effect == Effect::Pinned {
                    "pin"
                } else {
                    "fill"
                };
                let (policy, rule) = (&finding.policy, &finding.rule);
                out.push_str(&format!("{who}: would {verb} by {policy}/{rule}\n"));
            }
        }
    }
    out
}
