//! PullImage: the early gate. It has the pod's credentials and no deadline, so slow work happens
//! here. A tag that policy pins is resolved once, judged, pulled by its digest, and only then gets
//! its tag name back.

use std::sync::Arc;
use std::time::Instant;

use super::prove::runtime;
use super::record::Record;
use super::settled_pull::Carrying;
use super::{ASK, Decision, Inner, internal, refusal};
use crate::image::{ImageId, Reference, ReferenceError};
use crate::policy::reply::Rpc;
use crate::policy::{
    Code, Denial, Judgement, Kind, NoPolicy, Permit, Policy, Text, refused_reference, unjudged,
};
use crate::relay::{BoxFuture, RawCall, Settle, Settled, UpstreamReply};
use crate::report::Mode;
use crate::request::{PullAsk, PullCredentials, pin_pull, pulled_image};
use crate::store::CarriedPull;

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
            version: version.clone().unwrap_or_default(),
            carrying: None,
        };
        let judgement = self
            .judge_pull(policy.as_deref(), ask, &reference, credentials)
            .await;
        let judgement = judgement.map_err(|denial| self.say_hidden(&settle, denial))?;
        record.judged(&judgement);
        let permit = judgement.permit(call.message.clone())?;
        let Some(digest) = permit.pin() else {
            return Ok(Decision::Forward(permit, Some(settle.carried())));
        };
        settle.pulled = reference.with_digest(digest);
        record.digest(&digest);
        record.pinned(&settle.pulled);
        let policy = policy.ok_or_else(|| internal("a pin without a policy"))?;
        let permit = self.pin(&policy, call, ask, &settle.pulled)?;
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
    ) -> Result<Judgement, Denial> {
        let bootstrap = self.bootstrap(policy);
        let pod = ask.sandbox.as_ref().map(|sandbox| &sandbox.pod);
        let plan = match policy {
            Some(policy) => policy.plan_pull(pod, reference, &self.parts.node, &bootstrap),
            None => NoPolicy.plan_pull(pod, reference, &bootstrap),
        };
        // A registry that is not allowed must not get a packet.
        if plan.definite().is_err() || !(plan.needs_digest() || plan.pins()) {
            return Ok(plan.conclude(None));
        }
        let until = Instant::now() + self.parts.limits.pull_budget;
        let digests = self.resolve(reference, credentials, until).await?;
        Ok(plan.conclude(Some(&digests)))
    }

    /// The message with the digest appended, judged again as containerd will read it.
    fn pin(
        &self,
        policy: &Policy,
        call: &RawCall,
        ask: &PullAsk,
        pulled: &Reference,
    ) -> Result<Permit, Denial> {
        let edited = pin_pull(&call.message, &pulled.to_string())
            .map_err(|_| internal("a pull that cannot be pinned"))?;
        let bootstrap = self.bootstrap(Some(policy));
        let pod = ask.sandbox.as_ref().map(|sandbox| &sandbox.pod);
        let plan = policy.plan_pull(pod, pulled, &self.parts.node, &bootstrap);
        let digests: Vec<_> = pulled.digest().copied().into_iter().collect();
        let judged = plan.conclude(Some(&digests));
        judged.permit(edited.message().to_vec().into())
    }

    /// The kubelet pulls because the guard answered "absent": say what to do about that.
    fn say_hidden(&self, settle: &PullSettle, denial: Denial) -> Denial {
        let hidden = self
            .in_force
            .is_hidden(&settle.version, &settle.asked.to_string());
        if hidden && denial.code() == Code::ImgUnreachable {
            return denial.with_advice(FROM_BEFORE);
        }
        denial
    }
}

/// What helps an image that was on the node before the guard and cannot be pulled again.
const FROM_BEFORE: &str = "it was on the node before the guard: bring the registry back, or set preloaded: Adopt in the PolicySet";

/// Waits for containerd's answer to a pull: remembers it, and gives a pinned image its tag.
struct PullSettle {
    guard: Arc<Inner>,
    namespace: Option<String>,
    /// What the pod asked for.
    asked: Reference,
    /// What was forwarded.
    pulled: Reference,
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
                UpstreamReply::Status { .. } => {
                    self.clear().await;
                    self.failed()
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
        let digest = match self.guard.settled_pull(&self.pulled, id).await {
            Ok(digest) => digest,
            // Nothing is changed and nothing remembered: only an enforcing guard refuses.
            Err(_) if parts.mode == Mode::Observe => return Ok(()),
            Err(denial) => return Err(denial),
        };
        if self.asked != self.pulled {
            parts
                .containerd
                .alias(&self.asked, &self.pulled, id.digest(), ASK)
                .await
                .map_err(|error| runtime(&error))?;
        }
        parts.ledger.record_pull(CarriedPull {
            namespace: self.namespace.clone(),
            repository: self.asked.repository().to_string(),
            asked: self.asked.to_string(),
            digest: self.pulled.digest().copied().or(digest),
            id: *id.digest(),
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

    /// containerd's own error goes through, unless the kubelet pulls only because the guard hid
    /// what is there.
    fn failed(&self) -> Settled {
        let name = self.asked.to_string();
        if !self.guard.in_force.is_hidden(&self.version, &name) {
            return Settled::Relay;
        }
        let text = Text::new()
            .words("image ")
            .value(&name)
            .words(" could not be pulled anew")
            .advice(FROM_BEFORE);
        let denial = Denial::say(Code::ImgUnproven, text);
        Settled::Refuse(refusal(Rpc::PullImage, &denial))
    }
}

/// The image that an answer names.
fn image_of(message: &[u8]) -> Option<ImageId> {
    let id = pulled_image(message).ok()?;
    ImageId::parse(&id).ok()
}
