//! PullImage: the early gate. It has the pod's credentials and no deadline, so slow work happens
//! here. A tag that policy pins is resolved once, judged, pulled by its digest, and only then gets
//! its tag name back.

use std::sync::Arc;
use std::time::Instant;

use super::facts::Given;
use super::kin::Meaning;
use super::prove::runtime;
use super::record::Record;
use super::settled_pull::Carrying;
use super::{ASK, Decision, Inner, internal, refusal};
use crate::image::{Digest, ImageId, Reference, ReferenceError};
use crate::policy::reply::Rpc;
use crate::policy::{
    BootstrapEntry, Code, Denial, Judgement, Kind, NoPolicy, Permit, Policy, PullPlan, Text,
    refused_reference, unjudged,
};
use crate::relay::{BoxFuture, GrpcCode, RawCall, Refusal, Settle, Settled, UpstreamReply};
use crate::report::Mode;
use crate::request::{Pod, PullAsk, PullCredentials, Request, pin_pull, pulled_image};
use crate::store::CarriedPull;
use crate::time::Timestamp;

impl Inner {
    pub(super) async fn pull(
        self: &Arc<Self>,
        call: &RawCall,
        ask: &PullAsk,
        credentials: &PullCredentials,
        record: &mut Record,
    ) -> Result<Decision, Denial> {
        record.image(&ask.image);
        if let Some(sandbox) = &ask.sandbox {
            record.pod(&sandbox.pod);
        }
        let reference =
            Reference::parse(&ask.image).map_err(|error| refused_reference(&ask.image, &error))?;
        if self.is_truncated_id(&ask.image, &reference).await {
            return Err(refused_reference(&ask.image, &ReferenceError::TruncatedId));
        }
        let policy = self.in_force.policy();
        record.judged_by(policy.as_deref());
        let version = policy.as_ref().map(|policy| policy.version().to_string());
        let mut settle = PullSettle {
            guard: Arc::clone(self),
            namespace: ask.sandbox.as_ref().map(|s| s.pod.namespace.clone()),
            asked: reference.clone(),
            pulled: reference.clone(),
            place: self.facts.place(),
            apart: Vec::new(),
            ids: Vec::new(),
            version: version.clone().unwrap_or_default(),
            carrying: None,
        };
        let judged = self
            .judge_pull(policy.as_deref(), ask, &reference, credentials)
            .await;
        record.judged(&judged.judgement);
        let permit = judged.judgement.permit(call.message.clone());
        let permit = match &judged.found {
            Some(_) => permit?,
            None => permit.map_err(|denial| self.say_hidden(&settle, denial))?,
        };
        if let Some(found) = &judged.found {
            settle.apart.clone_from(&found.resolution.apart);
            settle.ids.clone_from(&found.ids);
        }
        let Some(digest) = permit.pin() else {
            return Ok(Decision::Forward(permit, Some(settle.carried())));
        };
        settle.pulled = reference.with_digest(digest);
        record.digest(&digest);
        record.pinned(&settle.pulled);
        let permit = self.pin(policy.as_deref(), call, &settle, &judged)?;
        Ok(Decision::Forward(permit, Some(settle.carried())))
    }

    /// What is remembered of a pull in observe mode: that it was carried, so that a later enforcing
    /// guard need not have every image pulled again.
    pub(super) fn remember_pull(self: &Arc<Self>, ask: &PullAsk) -> Option<Box<dyn Settle>> {
        let reference = Reference::parse(&ask.image).ok()?;
        let version = self.in_force.policy().map(|policy| policy.version());
        Some(Box::new(PullSettle {
            guard: Arc::clone(self),
            namespace: ask.sandbox.as_ref().map(|s| s.pod.namespace.clone()),
            asked: reference.clone(),
            pulled: reference,
            place: self.facts.place(),
            apart: Vec::new(),
            ids: Vec::new(),
            version: version
                .map(|version| version.to_string())
                .unwrap_or_default(),
            carrying: None,
        }))
    }

    /// Plans the pull, resolves what the plan asks for, and judges: all of it by the policy that was
    /// in force when the call came, though another may be activated meanwhile.
    pub(super) async fn judge_pull(
        &self,
        policy: Option<&Policy>,
        ask: &PullAsk,
        reference: &Reference,
        credentials: &PullCredentials,
    ) -> JudgedPull {
        let bootstrap = self.bootstrap(policy);
        let pod = ask.sandbox.as_ref().map(|sandbox| &sandbox.pod);
        let handler = self.handler_of(policy, pod).await;
        let now = crate::clock::now();
        let plan = self.plan_pull(policy, pod, handler.as_deref(), reference, &bootstrap, now);
        let must = plan.needs_digest() || plan.pins();
        let mut found = None;
        // A registry that is not allowed must not get a packet.
        if plan.definite().is_ok() && (must || plan.would_rather_pin()) {
            let until = Instant::now() + self.parts.limits.pull_budget;
            let resolved = self.resolve(reference, credentials, plan.asked(), until);
            match resolved.await {
                Ok(meaning) => found = Some(meaning),
                Err(denial) if must => {
                    return JudgedPull {
                        judgement: plan.unresolved(denial),
                        found,
                        handler,
                        now,
                    };
                }
                // What may not be asked at all stays a hint; containerd says what is wrong.
                Err(_) => {}
            }
        }
        JudgedPull {
            judgement: plan.conclude(found.as_ref().map(|found| &found.resolution)),
            found,
            handler,
            now,
        }
    }

    fn plan_pull<'p>(
        &self,
        policy: Option<&'p Policy>,
        pod: Option<&'p Pod>,
        handler: Option<&str>,
        reference: &'p Reference,
        bootstrap: &'p [BootstrapEntry],
        now: Timestamp,
    ) -> PullPlan<'p> {
        let node = &self.parts.node;
        match policy {
            Some(policy) => policy.plan_pull(pod, handler, reference, node, bootstrap, now),
            None => NoPolicy.plan_pull(pod, reference, bootstrap),
        }
    }

    /// The handler of the pod's sandbox, which exists before the kubelet pulls for it. Asked only
    /// where a policy depends on it.
    async fn handler_of(&self, policy: Option<&Policy>, pod: Option<&Pod>) -> Option<String> {
        let pod = pod.filter(|_| policy.is_some_and(Policy::asks_for_handlers))?;
        let pods = self.pods_seen(Some(&pod.config_seen)).await;
        let mut own = pods
            .iter()
            .filter(|own| (&own.pod.uid, &own.pod.namespace) == (&pod.uid, &pod.namespace))
            .map(|own| &own.handler);
        let first = own.next()?;
        own.all(|handler| handler == first).then(|| first.clone())
    }

    /// The message with the digest appended, judged again as containerd will read it: of the image's
    /// name, only that it is the one that was judged, by its digest (an edit changes nothing else).
    /// Rules speak of the tag that the pod wrote, and of every digest that it was resolved to.
    fn pin(
        &self,
        policy: Option<&Policy>,
        call: &RawCall,
        settle: &PullSettle,
        judged: &JudgedPull,
    ) -> Result<Permit, Denial> {
        let wanted = settle.pulled.to_string();
        let edited = pin_pull(&call.message, &wanted)
            .map_err(|_| internal("a pull that cannot be pinned"))?;
        let merged = match edited.request() {
            Ok(Request::Pull(merged, _)) if merged.image == wanted => merged,
            Ok(_) | Err(_) => return Err(internal("a pull that reads as something else")),
        };
        let bootstrap = self.bootstrap(policy);
        let pod = merged.sandbox.as_ref().map(|sandbox| &sandbox.pod);
        let handler = judged.handler.as_deref();
        let plan = self.plan_pull(policy, pod, handler, &settle.asked, &bootstrap, judged.now);
        let again = plan.conclude(judged.found.as_ref().map(|found| &found.resolution));
        again.permit(edited.message().to_vec().into())
    }

    /// The kubelet pulls because the guard answered "absent": say what to do about that.
    fn say_hidden(&self, settle: &PullSettle, denial: Denial) -> Denial {
        let hidden = self
            .in_force
            .is_hidden(&settle.version, &settle.asked.to_string());
        if hidden && denial.code() == Code::ImgUnreachable {
            return denial.with_advice(self.why_hidden(&settle.asked));
        }
        denial
    }

    /// Why the kubelet is made to pull an image that is there.
    fn why_hidden(&self, name: &Reference) -> &'static str {
        let before = self.adoption.get().is_some_and(|record| record.names(name));
        if before { FROM_BEFORE } else { NOT_PROVEN }
    }
}

/// What helps an image that was on the node before the guard and cannot be pulled again.
const FROM_BEFORE: &str = "it was on the node before the guard: bring the registry back, or set preloaded: Adopt in the PolicySet";

/// What helps an image that is there, is not proven, and cannot be pulled again.
const NOT_PROVEN: &str = "it is on the node, but nothing proves what it is, so it is pulled anew";

/// A later pull has given the name to another image.
pub(super) fn overtaken(asked: &Reference) -> Denial {
    let text = Text::new()
        .words("image ")
        .value(&asked.to_string())
        .words(" was pulled meanwhile as a later image of that name")
        .advice("nothing needs to be done; the kubelet tries again");
    Denial::say(Code::RuntimeUnavailable, text)
}

/// A pull as it was judged.
pub(super) struct JudgedPull {
    pub(super) judgement: Judgement,
    found: Option<Meaning>,
    handler: Option<String>,
    /// As of when: no exception ends in the middle of the call.
    now: Timestamp,
}

/// Waits for containerd's answer to a pull: remembers it, and gives a pinned image its tag.
struct PullSettle {
    guard: Arc<Inner>,
    namespace: Option<String>,
    /// What the pod asked for.
    asked: Reference,
    /// What was forwarded.
    pulled: Reference,
    /// Among all pulls: what the tag meant then is what it is worth.
    place: u64,
    /// Digests of rules that lead to none of `ids`.
    apart: Vec<Digest>,
    ids: Vec<ImageId>,
    version: String,
    /// From when it is forwarded.
    carrying: Option<Carrying>,
}

impl Settle for PullSettle {
    fn settle(mut self: Box<Self>, reply: UpstreamReply) -> BoxFuture<Settled> {
        Box::pin(async move {
            match reply {
                UpstreamReply::Ok(message) => match image_of(&message) {
                    Some(id) => self.named(&id).await,
                    None => self.unnamed().await,
                },
                UpstreamReply::Unreadable => self.unnamed().await,
                UpstreamReply::Status { code, message } => {
                    self.clear().await;
                    self.failed(code, &message)
                }
                // What it left is looked at later.
                UpstreamReply::Broken(_) => Settled::Relay,
            }
        })
    }
}

impl PullSettle {
    /// The pull is forwarded now.
    fn carried(mut self) -> Box<dyn Settle> {
        self.carrying = Some(Carrying::new(&self.guard, &self.pulled));
        Box::new(self)
    }

    async fn named(&mut self, id: &ImageId) -> Settled {
        let pulled = self.pulled(id).await;
        // What could not be told is looked at later.
        let told = !matches!(&pulled, Err(denial) if denial.code().kind() == Kind::Undecided);
        if let (true, Some(carrying)) = (told, &mut self.carrying) {
            carrying.judged();
        }
        match pulled {
            Ok(()) => Settled::Relay,
            Err(denial) => Settled::Refuse(refusal(Rpc::PullImage, &denial)),
        }
    }

    async fn pulled(&self, id: &ImageId) -> Result<(), Denial> {
        let parts = &self.guard.parts;
        // Held to the end: what is remembered last is what the name means.
        let turn = self.guard.facts.turn(&self.asked.to_string());
        let mut given = turn.lock().await;
        let digest = match self.guard.settled_pull(&self.pulled, id).await {
            Ok(digest) => digest,
            // Nothing is changed and nothing remembered: only an enforcing guard refuses.
            Err(_) if parts.mode == Mode::Observe => return Ok(()),
            Err(denial) => return Err(denial),
        };
        self.name(id, &mut given).await?;
        parts.ledger.record_pull(CarriedPull {
            namespace: self.namespace.clone(),
            repository: self.asked.repository().to_string(),
            asked: self.asked.to_string(),
            digest: self.pulled.digest().copied().or(digest),
            id: *id.digest(),
            apart: self.apart_from(id),
            policy_version: self.version.clone(),
            at: crate::clock::now(),
        });
        self.guard
            .in_force
            .carried(&self.version, &self.asked.to_string());
        Ok(())
    }

    /// Looks at what the pull left under its own name: no image was named.
    async fn clear(&mut self) {
        if let Some(carrying) = &mut self.carrying {
            carrying.failed().await;
        }
    }

    /// Nothing is remembered of an answer that names no image; create will not find proof. A pin
    /// without its tag is worse than no pull: the kubelet would take the image for present under a
    /// name that leads elsewhere, or to nothing that says which user it runs as.
    async fn unnamed(&mut self) -> Settled {
        self.clear().await;
        if self.asked == self.pulled {
            return Settled::Relay;
        }
        let denial = unjudged::unusable("PullImage", "names no image");
        Settled::Refuse(refusal(Rpc::PullImage, &denial))
    }

    /// What was found out counts for the images that it was found out of.
    fn apart_from(&self, id: &ImageId) -> Vec<Digest> {
        if self.ids.contains(id) {
            self.apart.clone()
        } else {
            Vec::new()
        }
    }

    /// Gives a pinned image the tag that the pod wrote.
    async fn name(&self, id: &ImageId, given: &mut Given) -> Result<(), Denial> {
        if self.asked == self.pulled {
            return Ok(());
        }
        if !given.take(self.place, self.pulled.digest().copied()) {
            return Err(overtaken(&self.asked));
        }
        let containerd = &self.guard.parts.containerd;
        let named = containerd.alias(&self.asked, &self.pulled, id.digest(), ASK);
        named.await.map_err(|error| runtime(&error))
    }

    /// containerd's own error goes through. Where the kubelet pulls only because the guard hid what
    /// is there, it is said.
    fn failed(&self, code: i32, message: &str) -> Settled {
        let name = self.asked.to_string();
        if !self.guard.in_force.is_hidden(&self.version, &name) {
            return Settled::Relay;
        }
        let advice = self.guard.why_hidden(&self.asked);
        let code = GrpcCode::of(code);
        Settled::Refuse(Refusal::new(code, format!("{message}; {advice}")))
    }
}

/// The image that an answer names.
fn image_of(message: &[u8]) -> Option<ImageId> {
    let id = pulled_image(message).ok()?;
    ImageId::parse(&id).ok()
}
