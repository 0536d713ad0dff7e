//! CreateContainer: the gate of record.

use std::sync::Arc;
use std::time::Instant;

use super::facts::OwnSandbox;
use super::prove::{ImageAsk, Reach, preloaded, runtime};
use super::record::Record;
use super::{ASK, Decision, Inner, internal};
use crate::host::{self, Classifier, RealHost};
use crate::image::{Digest, ImageConfig, ImageId, ImageString, Reference};
use crate::policy::{
    Basis, BootstrapEntry, Code, CreateEvidence, CreateNeeds, CreatePlan, Denial, HostPathSafety,
    ImageNeed, Judgement, MountOrigin, NoPolicy, Permit, Policy, Text, Via, Which,
    refused_reference,
};
use crate::relay::{BoxFuture, RawCall, Settle, Settled, UpstreamReply};
use crate::request::{CreateAsk, MountSource, PodSource, Request, created_container, name_image};
use crate::store::{Admission, ContainerFact};
use crate::verify::{Depth, ImageProof};

/// A create as it was judged.
pub(super) struct Judged {
    pub(super) judgement: Judgement,
    /// The container's own image, where it was proven.
    pub(super) proof: Option<ImageProof>,
}

impl Inner {
    pub(super) async fn create(
        self: &Arc<Self>,
        call: &RawCall,
        ask: &CreateAsk,
        record: &mut Record,
    ) -> Result<Decision, Denial> {
        let container = &ask.container;
        record.pod(&ask.sandbox.pod);
        record.container(&container.name);
        record.image(shown_image(ask));
        let sandbox = self.sandbox_of(ask).await?;
        let policy = self.in_force.policy();
        let until = Instant::now() + self.parts.limits.create_budget;
        let (id, edited) = self.own_id(ask, policy.as_deref(), call).await?;
        let asked = edited.as_ref().map_or(ask, |(ask, _)| ask);
        let judged = self
            .judge_create(policy.as_deref(), asked, &sandbox, Reach::Registry(until))
            .await;
        record.judged(&judged.judgement);
        if let Some(id) = &id {
            record.id(id.digest());
        }
        if let Some(digest) = judged
            .proof
            .as_ref()
            .and_then(|proof| proof.digests().first())
        {
            record.digest(digest);
        }
        let message = match edited {
            Some((_, message)) => {
                if let Some(id) = &id {
                    record.named(id.digest());
                }
                message
            }
            None => call.message.clone(),
        };
        let permit = judged.judgement.permit(message)?;
        let settle = CreateSettle {
            guard: Arc::clone(self),
            ask: ask.clone(),
            id: id.map(|id| *id.digest()),
            admission: admission(policy.is_some(), ask, id.as_ref(), &judged),
        };
        Ok(Decision::Forward(permit, Some(Box::new(settle))))
    }

    /// The sandbox of the call in containerd's own words, and in agreement with the call's: the
    /// copy in the request is what containerd will believe in this call.
    pub(super) async fn sandbox_of(&self, ask: &CreateAsk) -> Result<Arc<OwnSandbox>, Denial> {
        let own = self.own_sandbox(&ask.sandbox_id).await?;
        let said = &ask.sandbox;
        let same = own.pod.namespace == said.pod.namespace
            && own.pod.name == said.pod.name
            && own.pod.uid == said.pod.uid
            && own.pod.source == said.pod.source
            && own
                .namespaces
                .as_ref()
                .is_none_or(|namespaces| *namespaces == said.namespaces);
        if same {
            return Ok(own);
        }
        let text = Text::new()
            .words("sandbox ")
            .value(&ask.sandbox_id)
            .words(" is not the pod ")
            .value(&format!("{}/{}", said.pod.namespace, said.pod.name))
            .words(" that the request describes");
        Err(Denial::say(
            Code::PodSandbox,
            text.advice("delete the pod, so that its sandbox is made anew"),
        ))
    }

    async fn own_sandbox(&self, id: &str) -> Result<Arc<OwnSandbox>, Denial> {
        if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let text = Text::new()
                .words("sandbox ")
                .value(id)
                .words(" is not named by its whole ID")
                .advice("send the 64 hexadecimal digits that RunPodSandbox returned");
            return Err(Denial::say(Code::RpcMalformed, text));
        }
        if let Some(own) = self.facts.sandboxes.get(&id.to_owned()) {
            return Ok(own);
        }
        let containerd = &self.parts.containerd;
        let status = containerd.pod_sandbox_status(id, false, ASK).await;
        let status = status.map_err(|error| runtime(&error))?;
        if status.id != id {
            return Err(internal("an answer about another sandbox"));
        }
        let own = Arc::new(OwnSandbox {
            pod: status.pod(),
            handler: status.runtime_handler.clone(),
            namespaces: status.namespaces.clone(),
        });
        self.facts.sandboxes.put(id.to_owned(), Arc::clone(&own));
        Ok(own)
    }

    /// The image ID that containerd will start. A name is replaced by the ID that it means now,
    /// where an enforcing rule speaks by image, so that it cannot mean another one a moment later.
    async fn own_id(
        &self,
        ask: &CreateAsk,
        policy: Option<&Policy>,
        call: &RawCall,
    ) -> Result<(Option<ImageId>, Option<(CreateAsk, bytes::Bytes)>), Denial> {
        let text = &ask.container.image;
        let named = ImageString::parse(text).map_err(|error| refused_reference(text, &error))?;
        if !ask.container.user_specified_image.is_empty() {
            let specified = &ask.container.user_specified_image;
            Reference::parse(specified).map_err(|error| refused_reference(specified, &error))?;
        }
        let (reference, could_be_id) = match named {
            ImageString::Id(id) => return Ok((Some(id), None)),
            ImageString::Name(reference) => (reference, false),
            ImageString::NameOrTruncatedId(reference) => (reference, true),
        };
        let speaks = self.image_rule_speaks(ask, policy).await?;
        if !speaks && !could_be_id {
            return Ok((None, None));
        }
        let containerd = &self.parts.containerd;
        let found = containerd.image_status(&reference.to_string(), ASK).await;
        let Some(image) = found.map_err(|error| runtime(&error))? else {
            let why = Text::new()
                .words("image ")
                .value(text)
                .words(" is not on the node under that name")
                .advice("pull it first, and name it in full");
            return Err(Denial::say(Code::RefInvalid, why));
        };
        let id = ImageId::of_config(image.id);
        let edited = name_image(&call.message, &id.to_string())
            .map_err(|_| internal("a create that cannot be given an ID"))?;
        let mut merged = match edited.request() {
            Ok(Request::Create(merged)) => *merged,
            Ok(_) | Err(_) => return Err(internal("a create that reads as something else")),
        };
        if merged.container.user_specified_image.is_empty() {
            // For judging only: the pod's own string is the name that it sent.
            merged.container.user_specified_image.clone_from(text);
        }
        let message = edited.message().to_vec().into();
        Ok((Some(id), Some((merged, message))))
    }

    async fn image_rule_speaks(
        &self,
        ask: &CreateAsk,
        policy: Option<&Policy>,
    ) -> Result<bool, Denial> {
        let own = self.own_sandbox(&ask.sandbox_id).await?;
        let bootstrap = self.bootstrap(policy);
        let plan = self.plan(policy, ask, &own, &bootstrap);
        Ok(plan.needs().images.iter().any(|need| need.needs_proof))
    }

    fn plan<'p>(
        &'p self,
        policy: Option<&'p Policy>,
        ask: &'p CreateAsk,
        own: &OwnSandbox,
        bootstrap: &'p [BootstrapEntry],
    ) -> CreatePlan<'p> {
        match policy {
            Some(policy) => {
                policy.plan_create(&own.pod, &own.handler, ask, &self.parts.node, bootstrap)
            }
            None => NoPolicy.plan_create(&own.pod, ask, bootstrap),
        }
    }

    /// Plans, gathers what the plan needs, and judges. Never fails: what could not be gathered is
    /// part of the judgement.
    pub(super) async fn judge_create(
        &self,
        policy: Option<&Policy>,
        ask: &CreateAsk,
        own: &OwnSandbox,
        reach: Reach,
    ) -> Judged {
        let bootstrap = self.bootstrap(policy);
        let plan = self.plan(policy, ask, own, &bootstrap);
        let needs = plan.needs();
        let mut evidence = CreateEvidence::default();
        if plan.definite().is_ok() {
            evidence = self
                .gather(&needs, policy, ask, own, &bootstrap, reach)
                .await;
        }
        let mut judgement = plan.conclude(&evidence);
        if judgement.verdict.is_ok()
            && needs.images.iter().any(|need| need.needs_proof)
            && let Err(denial) = self.chain_holds_for(&own.handler).await
        {
            judgement = judgement.denied_by(denial);
        }
        let proof = evidence.images.into_iter().next().flatten();
        Judged {
            judgement,
            proof: proof.and_then(Result::ok),
        }
    }

    async fn gather(
        &self,
        needs: &CreateNeeds,
        policy: Option<&Policy>,
        ask: &CreateAsk,
        own: &OwnSandbox,
        bootstrap: &[BootstrapEntry],
        reach: Reach,
    ) -> CreateEvidence {
        let mut evidence = CreateEvidence::default();
        for need in &needs.images {
            let proof = if need.needs_proof {
                Some(
                    self.prove_need(need, policy, ask, own, bootstrap, reach)
                        .await,
                )
            } else {
                None
            };
            evidence.images.push(proof);
        }
        if needs.effective_user_from_image {
            evidence.image_user = Some(self.image_user(&ask.container.image).await);
        }
        if needs.mount_origins {
            evidence.mounts = self.mount_origins(ask, own).await;
        }
        evidence
    }

    async fn prove_need(
        &self,
        need: &ImageNeed,
        policy: Option<&Policy>,
        ask: &CreateAsk,
        own: &OwnSandbox,
        bootstrap: &[BootstrapEntry],
        reach: Reach,
    ) -> Result<ImageProof, Denial> {
        let text = match need.which {
            Which::Container => &ask.container.image,
            Which::Mount(at) => match ask.container.mounts.get(at).map(|mount| &mount.source) {
                Some(MountSource::Image { image, .. }) => image,
                Some(MountSource::HostPath(_)) | None => {
                    return Err(internal("an image volume without an image"));
                }
            },
        };
        let Ok(id) = ImageId::parse(text) else {
            // `Mount.image` is a repeated element: a name there cannot be replaced by appending.
            let why = Text::new()
                .words("image ")
                .value(text)
                .words(" is a name where an ID is due")
                .advice("send the whole image ID, as a kubelet does");
            return Err(Denial::say(Code::ImgUnproven, why));
        };
        let reference = Reference::parse(&need.reference)
            .map_err(|error| refused_reference(&need.reference, &error))?;
        let asked = ImageAsk {
            id,
            reference: &reference,
            depth: if need.needs_digest {
                Depth::Digests
            } else {
                Depth::Name
            },
            pod: own,
            bootstrap,
            preloaded: preloaded(policy),
        };
        self.prove_image(&asked, reach).await
    }

    /// `config.User` of the image, of bytes that hash to its ID.
    async fn image_user(&self, text: &str) -> Result<String, Denial> {
        let id = ImageId::parse(text).map_err(|_| {
            let why = Text::new()
                .words("image ")
                .value(text)
                .words(" is a name where an ID is due, so its user cannot be told")
                .advice("set runAsUser to a number from 1 to 2147483647");
            Denial::say(Code::ImgUnproven, why)
        })?;
        if let Some(user) = self.facts.users.get(id.digest()) {
            return Ok(user);
        }
        let limits = &self.parts.limits;
        let blob = self
            .parts
            .containerd
            .blob(id.digest(), limits.max_manifest_bytes, ASK)
            .await
            .map_err(|error| runtime(&error))?;
        let config = blob.and_then(|bytes| ImageConfig::parse(&id, &bytes, limits).ok());
        let Some(config) = config else {
            let why = Text::new()
                .words("image ")
                .value(text)
                .words(" has no config that the guard can read, so its user cannot be told")
                .advice("set runAsUser to a number from 1 to 2147483647");
            return Err(Denial::say(Code::ImgConfig, why));
        };
        self.facts.users.put(*id.digest(), config.user().to_owned());
        Ok(config.user().to_owned())
    }

    /// Where each mount comes from. Looks at paths, so not on a thread that others wait for.
    async fn mount_origins(self: &Inner, ask: &CreateAsk, own: &OwnSandbox) -> Vec<MountOrigin> {
        let root = self.parts.kubelet_root.clone();
        let (uid, name) = (own.pod.uid.clone(), ask.container.name.clone());
        let mounts = ask.container.mounts.clone();
        let count = mounts.len();
        let look = tokio::task::spawn_blocking(move || {
            let classifier = Classifier::new(&RealHost, &root);
            let look = |mount| origin(classifier.classify(&uid, &name, mount));
            mounts.iter().map(look).collect::<Vec<_>>()
        });
        match tokio::time::timeout(ASK, look).await {
            Ok(Ok(origins)) => origins,
            Ok(Err(_)) | Err(_) => vec![
                MountOrigin::Unknown {
                    why: "the node's file systems do not answer"
                };
                count
            ],
        }
    }

    /// Whether what this handler runs is what containerd verified.
    async fn chain_holds_for(&self, handler: &str) -> Result<(), Denial> {
        let facts = match self.facts.runtime() {
            Some(facts) => facts,
            None => {
                let asked = self.parts.containerd.runtime_status(ASK).await;
                self.facts
                    .learn_runtime(asked.map_err(|error| runtime(&error))?)
            }
        };
        let guest = self
            .parts
            .guest_pull_handlers
            .iter()
            .any(|name| name == handler);
        if !guest && facts.verifies(handler) {
            return Ok(());
        }
        let text = Text::new()
            .words("runtime handler ")
            .value(handler)
            .words(" may run other bytes than those that were verified")
            .advice("use a handler with an ordinary snapshotter, or exclude these pods from image rules");
        Err(Denial::say(Code::PodRuntimeHandler, text))
    }
}

/// The string that people know the image by.
fn shown_image(ask: &CreateAsk) -> &str {
    let container = &ask.container;
    if container.user_specified_image.is_empty() {
        &container.image
    } else {
        &container.user_specified_image
    }
}

/// The host's word in policy's: its cause is only for the log, a denial must not change with it.
fn origin(found: host::MountOrigin) -> MountOrigin {
    match found {
        host::MountOrigin::Kubelet => MountOrigin::Kubelet,
        host::MountOrigin::Image => MountOrigin::Image,
        host::MountOrigin::Host { path, via, safe } => MountOrigin::Host {
            path,
            via: match via {
                host::Via::Spec => Via::Spec,
                host::Via::SubPath => Via::SubPath,
                host::Via::LocalVolume => Via::LocalVolume,
            },
            safe: match safe {
                host::HostPathSafety::Safe | host::HostPathSafety::Missing => HostPathSafety::Fixed,
                host::HostPathSafety::Symlink => HostPathSafety::Symlink,
                host::HostPathSafety::WritableParent | host::HostPathSafety::Unknown => {
                    HostPathSafety::Writable
                }
            },
        },
        host::MountOrigin::Unknown { .. } => MountOrigin::Unknown {
            why: "it cannot be told where the mount comes from",
        },
    }
}

/// What is remembered as admitted here: only what enforcing rules let start.
fn admission(
    has_policy: bool,
    ask: &CreateAsk,
    id: Option<&ImageId>,
    judged: &Judged,
) -> Option<Admission> {
    let by_rules =
        matches!(&judged.judgement.verdict, Ok(allowed) if allowed.basis == Basis::Rules);
    if !has_policy || !by_rules {
        return None;
    }
    let reference = Reference::parse(shown_image(ask)).ok()?;
    let digest = judged
        .proof
        .as_ref()
        .and_then(|proof| proof.digests().first());
    Some(Admission {
        namespace: ask.sandbox.pod.namespace.clone(),
        repository: reference.repository().to_string(),
        digest: *digest.or(id.map(ImageId::digest))?,
    })
}

impl Inner {
    /// What is remembered of a call in observe mode: facts, never admissions.
    pub(super) fn remember(self: &Arc<Self>, request: &Request) -> Option<Box<dyn Settle>> {
        let Request::Create(ask) = request else {
            return None;
        };
        let id = ImageId::parse(&ask.container.image).ok();
        Some(Box::new(CreateSettle {
            guard: Arc::clone(self),
            ask: (**ask).clone(),
            id: id.map(|id| *id.digest()),
            admission: None,
        }))
    }
}

/// Remembers a container that was created through the guard.
struct CreateSettle {
    guard: Arc<Inner>,
    ask: CreateAsk,
    id: Option<Digest>,
    admission: Option<Admission>,
}

impl Settle for CreateSettle {
    fn settle(self: Box<Self>, reply: UpstreamReply) -> BoxFuture<Settled> {
        Box::pin(async move {
            if let UpstreamReply::Ok(message) = reply
                && let Ok(container) = created_container(&message)
            {
                self.created(container);
            }
            Settled::Relay
        })
    }
}

impl CreateSettle {
    fn created(self, container: String) {
        let pod = self.ask.sandbox.pod.clone();
        let source: PodSource = pod.source;
        let repository = Reference::parse(shown_image(&self.ask))
            .ok()
            .map(|reference| reference.repository().to_string());
        let parts = &self.guard.parts;
        parts.ledger.record_container(ContainerFact {
            id: container,
            at: crate::clock::now(),
            namespace: pod.namespace,
            pod: pod.name,
            uid: pod.uid,
            source,
            ask: self.ask,
            image: self.id,
            repository,
        });
        if let Some(admission) = self.admission {
            parts.admissions.admit(admission);
        }
    }
}

impl Inner {
    /// StartContainer under `start = "guarded"`.
    pub(super) fn start(&self, call: &RawCall, container: &str) -> Result<Decision, Denial> {
        let adopted = self
            .parts
            .adoption
            .as_ref()
            .is_some_and(|record| record.has_container(container));
        if adopted || self.parts.ledger.container(container).is_some() {
            return Ok(Decision::Forward(
                Permit::unjudged(call.message.clone()),
                None,
            ));
        }
        let text = Text::new()
            .words("container ")
            .value(container)
            .words(" was not created through the guard")
            .advice("delete its pod, so that it is made anew");
        Err(Denial::say(Code::RpcRefused, text))
    }
}
