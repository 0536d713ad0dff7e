//! What the policy says of a manifest: the requests of a kubelet, judged by the daemon's own code.
//! Pure.
//!
//! Each request is encoded and decoded as the daemon decodes it. What only a node finds out is
//! assumed and said: name and bytes of an image are what the pull proves, a host path is where it is
//! written. What decides and cannot be known is [`Verdict::Undecided`].

use prost::Message;

use super::kubelet::{
    ContainerCalls, Images, Kind, Manifest, Node, Origin, Refused, Translation, made_up,
};
use crate::api::runtime_v1 as api;
use crate::image::{Digest, ImageId, Links, Reference};
use crate::policy::{
    Amounts, BootstrapEntry, Code, CreateEvidence, CreatePlan, Denial, Finding, HostPathSafety,
    ImageNeed, Judgement, KubeletMount, MountOrigin, NodeFacts, Pin, Policy, Resolution, Via,
    escape, refused_reference,
};
use crate::request::{CreateAsk, GatedMethod, PullAsk, Request, Sandbox, Tolerated, decode};
use crate::time::Timestamp;
use crate::verify::{Depth, Evidence, ImageProof, NameEvidence, Preloaded, Requirement, prove};

/// Denials that only say that nobody looked.
const NOT_KNOWN_HERE: [Code; 2] = [Code::RuntimeUnavailable, Code::PodMountUnknown];

/// The longest value that a text shows, in bytes.
const SHOWN_BYTES: usize = 120;

/// Who judges.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'p> {
    /// The policy.
    pub policy: &'p Policy,
    /// The node's own facts.
    pub node: &'p NodeFacts,
    /// The node's list and the policy's together.
    pub bootstrap: &'p [BootstrapEntry],
    /// As of when: exceptions end.
    pub now: Timestamp,
}

/// What comes of one sandbox or container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The guard lets it start.
    Allowed,
    /// The guard denies it.
    Denied(Denial),
    /// The kubelet itself does not send the request.
    Refused(String),
    /// It hangs on what cannot be known here.
    Undecided {
        /// The rule that hangs, if one does: policy and rule.
        rule: Option<(String, String)>,
        /// On what, and what to do.
        text: String,
    },
}

/// A change that the guard makes to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinEdit {
    /// The image as the pod writes it.
    pub image: String,
    /// What is pulled instead; `None` for the digest that its tag means then.
    pub to: Option<String>,
}

/// One sandbox or container, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// What the guard changes.
    pub edits: Vec<PinEdit>,
    /// Limits that the guard fills in, as they stand in the request.
    pub fills: Amounts,
    /// Every rule that is not satisfied, those that only report too.
    pub findings: Vec<Finding>,
}

/// One container and its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedContainer {
    /// Its name.
    pub name: String,
    /// Its image, as the pod writes it.
    pub image: String,
    /// Which kind.
    pub kind: Kind,
    /// Where it stands in the file; 0 where it cannot be told.
    pub line: u64,
    /// What comes of it.
    pub judged: Judged,
}

/// One pod, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedPod {
    /// RunPodSandbox.
    pub sandbox: Judged,
    /// Its containers, in the kubelet's order.
    pub containers: Vec<JudgedContainer>,
    /// What was assumed of the cluster and the node.
    pub assumed: Vec<String>,
}

/// Judges the pod of a manifest as `node` would send it.
pub fn judge(manifest: &Manifest, node: &Node, images: &Images, judge: &Judge<'_>) -> JudgedPod {
    let translation = match manifest.translate(node, images) {
        Ok(translation) => translation,
        Err(refused) => {
            return JudgedPod {
                sandbox: Judged::refused(&refused),
                containers: Vec::new(),
                assumed: Vec::new(),
            };
        }
    };
    let mut pod = JudgedPod {
        sandbox: judge.sandbox(&translation),
        containers: translation
            .containers
            .iter()
            .map(|calls| JudgedContainer {
                name: calls.name.clone(),
                image: calls.image.clone(),
                kind: calls.kind,
                line: calls.line,
                judged: judge.container(calls, &translation.sandbox.runtime_handler),
            })
            .collect(),
        assumed: translation.assumed,
    };
    if let Some(first) = manifest.untranslated.first() {
        let text = format!(
            "line {}: `{}` is not translated, and may change the request; remove it, or check its spelling",
            first.line, first.path
        );
        let containers = pod.containers.iter_mut().map(|one| &mut one.judged);
        for judged in std::iter::once(&mut pod.sandbox).chain(containers) {
            judged.doubt(&text);
        }
    }
    pod
}

impl Judged {
    fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            edits: Vec::new(),
            fills: Amounts::default(),
            findings: Vec::new(),
        }
    }

    fn refused(refused: &Refused) -> Self {
        Self::new(Verdict::Refused(refused.text().to_owned()))
    }

    fn undecided(text: String) -> Self {
        Self::new(Verdict::Undecided { rule: None, text })
    }

    fn of(judgement: Judgement) -> Self {
        let (verdict, fills) = match judgement.verdict {
            Ok(allowed) => (Verdict::Allowed, allowed.defaults),
            Err(denial) => (Verdict::Denied(denial), Amounts::default()),
        };
        Self {
            verdict,
            edits: Vec::new(),
            fills,
            findings: judgement.findings,
        }
    }

    fn doubt(&mut self, text: &str) {
        if self.verdict == Verdict::Allowed {
            self.verdict = Verdict::Undecided {
                rule: None,
                text: text.to_owned(),
            };
        }
    }

    /// Both, the one that is worse: a denial before a refusal, that before a doubt.
    fn and(mut self, other: Self) -> Self {
        if other.rank() < self.rank() {
            self.verdict = other.verdict;
        }
        self.edits.extend(other.edits);
        self.fills = self.fills.least(other.fills);
        for finding in other.findings {
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        self
    }

    fn rank(&self) -> u8 {
        match self.verdict {
            Verdict::Denied(_) => 0,
            Verdict::Refused(_) => 1,
            Verdict::Undecided { .. } => 2,
            Verdict::Allowed => 3,
        }
    }
}

impl Judge<'_> {
    fn sandbox(&self, translation: &Translation) -> Judged {
        match run_view(&translation.sandbox) {
            Ok(view) => Judged::of(self.policy.judge_sandbox(&view, self.node, self.now)),
            Err(text) => Judged::undecided(text),
        }
    }

    fn container(&self, calls: &ContainerCalls, handler: &str) -> Judged {
        let mut judged = Judged::new(Verdict::Allowed);
        for pull in &calls.pulls {
            judged = judged.and(self.pull(pull, handler));
        }
        let created = match &calls.create {
            Err(refused) => Judged::refused(refused),
            Ok(request) => match create_view(request) {
                Ok(ask) => self.create(&ask, &calls.origins, handler),
                Err(text) => Judged::undecided(text),
            },
        };
        let mut judged = judged.and(created);
        if matches!(judged.verdict, Verdict::Denied(_) | Verdict::Refused(_)) {
            // What does not start was not changed either.
            judged.edits.clear();
            judged.fills = Amounts::default();
        }
        judged
    }

    fn pull(&self, request: &api::PullImageRequest, handler: &str) -> Judged {
        let ask = match pull_view(request) {
            Ok(ask) => ask,
            Err(text) => return Judged::undecided(text),
        };
        let reference = match Reference::parse(&ask.image) {
            Ok(reference) => reference,
            Err(error) => {
                let denial = refused_reference(&ask.image, &error);
                return Judged::new(Verdict::Denied(denial));
            }
        };
        let pod = ask.sandbox.as_ref().map(|sandbox| &sandbox.pod);
        let handler = Some(handler);
        let plan = self.policy.plan_pull(
            pod,
            handler,
            &reference,
            self.node,
            self.bootstrap,
            self.now,
        );
        let digest = digest_of(&reference);
        let judgement = plan.conclude(Some(&Resolution {
            digests: vec![digest],
            kin: Vec::new(),
            apart: others(plan.asked(), digest),
        }));
        if plan.definite().is_ok() && plan.needs_digest() && reference.digest().is_none() {
            return Judged::undecided(hangs(&reference));
        }
        let pin = match &judgement.verdict {
            Ok(allowed) => allowed.pin,
            Err(_) => Pin::No,
        };
        let mut judged = Judged::of(judgement);
        if let Pin::Digest(digest) = pin {
            judged.edits.push(PinEdit {
                image: ask.image,
                to: reference
                    .digest()
                    .map(|_| reference.with_digest(digest).to_string()),
            });
        }
        judged
    }

    fn create(&self, ask: &CreateAsk, origins: &[Origin], handler: &str) -> Judged {
        let pod = &ask.sandbox.pod;
        let plan = self
            .policy
            .plan_create(pod, handler, ask, self.node, self.bootstrap, self.now);
        if plan.definite().is_ok()
            && let Some(text) = hanging_image(&plan)
        {
            return Judged::undecided(text);
        }
        let needs = plan.needs();
        let user = needs.effective_user_from_image.then(|| {
            // Never shown: its code tells it from the daemon's own denials below.
            Err(Denial::new(Code::RuntimeUnavailable, "the image's user"))
        });
        let evidence = CreateEvidence {
            images: needs
                .images
                .iter()
                .map(|need| proof(need).map(Ok))
                .collect(),
            image_user: user,
            mounts: origins.iter().map(mount_origin).collect(),
        };
        let mut judged = Judged::of(plan.conclude(&evidence));
        if let Verdict::Denied(denial) = &judged.verdict
            && let Some(text) = doubt(denial, ask, origins)
        {
            let rule = denial.rule();
            judged.verdict = Verdict::Undecided {
                rule: rule.map(|(policy, rule)| (policy.to_owned(), rule.to_owned())),
                text,
            };
        }
        judged.findings.retain(|finding| {
            !finding
                .code
                .is_some_and(|code| NOT_KNOWN_HERE.contains(&code))
        });
        judged
    }
}

/// The first image whose digest decides and is not written.
fn hanging_image(plan: &CreatePlan<'_>) -> Option<String> {
    let needs = plan.needs();
    let hanging = plan.hangs_on_digest();
    needs
        .images
        .iter()
        .zip(hanging)
        .filter(|(_, hangs)| *hangs)
        .filter_map(|(need, _)| Reference::parse(&need.reference).ok())
        .find(|reference| reference.digest().is_none())
        .map(|reference| hangs(&reference))
}

fn hangs(reference: &Reference) -> String {
    format!(
        "the digest of `{reference}` decides, and only its registry knows it; write the digest in the pod, or run pullguard verify"
    )
}

/// The text of a denial that only says that something is not known here.
fn doubt(denial: &Denial, ask: &CreateAsk, origins: &[Origin]) -> Option<String> {
    if denial.code() == Code::RuntimeUnavailable {
        let image = escape(&ask.container.user_specified_image, SHOWN_BYTES);
        return Some(format!(
            "the USER of image `{image}` decides; say it with --image-user {image}=USER"
        ));
    }
    if denial.code() != Code::PodMountUnknown {
        return None;
    }
    let mounts = ask.container.mounts.iter().zip(origins);
    let mut unknown = mounts.filter_map(|(mount, origin)| match origin {
        Origin::Unknown(why) => Some((mount, why)),
        Origin::File | Origin::Volume(_) | Origin::Image | Origin::Host { .. } => None,
    });
    unknown.next().map(|(mount, why)| {
        let path = escape(&mount.container_path, SHOWN_BYTES);
        format!("what is mounted at `{path}` decides: {why}")
    })
}

/// The digest that is written, or one that stands for the tag's.
fn digest_of(reference: &Reference) -> Digest {
    let written = reference.digest().copied();
    written.unwrap_or_else(|| made_up(&reference.to_string()))
}

/// What the guard finds of the digests that rules ask about: a written digest is taken for the only
/// one of its image.
fn others(asked: &[Digest], own: Digest) -> Vec<Digest> {
    asked.iter().copied().filter(|one| *one != own).collect()
}

/// The proof that the guard has once it carried the pull.
fn proof(need: &ImageNeed) -> Option<ImageProof> {
    let text = &need.reference;
    let reference = Reference::parse(text).ok()?;
    let digest = digest_of(&reference);
    let id = ImageId::of_config(made_up(text));
    let evidence = Evidence {
        links: vec![Links::recorded(Vec::new(), digest, id, None)],
        names: vec![NameEvidence::CarriedPull {
            repository: reference.repository().clone(),
            judged: Some(digest),
            id,
        }],
        apart: others(&need.needs.asked, digest),
        ..Evidence::default()
    };
    let ask = Requirement {
        id,
        reference,
        depth: Depth::Digests,
        asked: need.needs.asked.clone(),
    };
    prove(&ask, &evidence, Preloaded::Verify).ok()
}

fn mount_origin(origin: &Origin) -> MountOrigin {
    match origin {
        Origin::File => MountOrigin::Kubelet(KubeletMount::File),
        Origin::Volume(plugin) => MountOrigin::Kubelet(KubeletMount::Volume((*plugin).to_owned())),
        Origin::Image => MountOrigin::Image,
        Origin::Host { path, sub_path } => MountOrigin::Host {
            path: clean(path),
            via: if *sub_path { Via::SubPath } else { Via::Spec },
            safe: HostPathSafety::Fixed,
            guarded: None,
        },
        Origin::Unknown(why) => MountOrigin::Unknown { why },
    }
}

/// A path as the node's own look gives it: without `.`, `//` and a slash at the end.
fn clean(path: &str) -> String {
    let steps = path
        .split('/')
        .filter(|step| !step.is_empty() && *step != ".");
    let steps: Vec<&str> = steps.collect();
    format!("/{}", steps.join("/"))
}

fn run_view(request: &api::RunPodSandboxRequest) -> Result<Sandbox, String> {
    if let Request::RunSandbox(view) = request_of(GatedMethod::RunPodSandbox, request)? {
        Ok(*view)
    } else {
        Err(other_request())
    }
}

fn create_view(request: &api::CreateContainerRequest) -> Result<CreateAsk, String> {
    if let Request::Create(ask) = request_of(GatedMethod::CreateContainer, request)? {
        Ok(*ask)
    } else {
        Err(other_request())
    }
}

fn pull_view(request: &api::PullImageRequest) -> Result<PullAsk, String> {
    if let Request::Pull(ask, _) = request_of(GatedMethod::PullImage, request)? {
        Ok(*ask)
    } else {
        Err(other_request())
    }
}

fn other_request() -> String {
    "the request was read as another one; please report it".to_owned()
}

fn request_of(method: GatedMethod, message: &impl Message) -> Result<Request, String> {
    decode(method, &message.encode_to_vec(), &Tolerated::default())
        .map(|decoded| decoded.request)
        .map_err(|error| format!("the guard refuses the request: {error}"))
}

#[cfg(test)]
mod tests;
