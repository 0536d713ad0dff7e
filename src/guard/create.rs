//! CreateContainer: the gate of record.

use std::sync::Arc;
use std::time::Instant;

use super::created::CreateSettle;
use super::facts::OwnSandbox;
use super::handler::effective_handler;
use super::prove::{Reach, runtime};
use super::record::Record;
use super::rootfs::Wanted;
use super::{ASK, Decision, Inner, internal, over_by};
use crate::image::{ImageId, ImageString, Reference};
use crate::policy::{
    Allowed, Amounts, Basis, BootstrapEntry, Code, CreatePlan, Denial, Judgement, NoPolicy, Policy,
    Text, refused_reference,
};
use crate::relay::RawCall;
use crate::request::{CreateAsk, Request, name_image};
use crate::store::Admission;
use crate::time::Timestamp;
use crate::verify::ImageProof;

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
        record.judged_by(policy.as_deref());
        // One moment for the whole call, so that no exception ends in the middle of it.
        let now = crate::clock::now();
        let deadline = call.deadline.map(tokio::time::Instant::into_std);
        let until = over_by(Instant::now(), self.parts.limits.create_budget, deadline);
        let (id, edited) = self.own_id(ask, policy.as_deref(), call, now).await?;
        let asked = edited.as_ref().map_or(ask, |(ask, _)| ask);
        let judged = self
            .judge_create(
                policy.as_deref(),
                asked,
                &sandbox,
                Reach::Registry(until),
                now,
            )
            .await;
        record.judged(&judged.judgement);
        if judged.judgement.verdict.is_ok()
            && let Some(beside) =
                self.beside(policy.as_ref(), asked, &sandbox, (&judged.judgement, now))
        {
            record.beside(beside);
        }
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
        let message = match (&edited, &id) {
            (Some((_, message)), Some(id)) => {
                record.named(id.digest());
                message.clone()
            }
            (Some((_, message)), None) => message.clone(),
            (None, _) => call.message.clone(),
        };
        let fills = |allowed: &Allowed| allowed.defaults != Amounts::default();
        let permit = match &judged.judgement.verdict {
            Ok(allowed) if fills(allowed) => {
                let under = (policy.as_deref(), &*sandbox, Reach::Registry(until), now);
                let amounts = allowed.defaults;
                self.filled(under, (&message, asked), amounts, record)
                    .await?
            }
            Ok(_) | Err(_) => judged.judgement.permit(message)?,
        };
        let rootfs = match (&id, &judged.proof) {
            (Some(id), Some(_)) => Some(self.wanted_rootfs(id, asked, &sandbox).await?),
            (Some(_) | None, None) | (None, Some(_)) => None,
        };
        let settle = CreateSettle {
            guard: Arc::clone(self),
            ask: asked.clone(),
            id: id.map(|id| *id.digest()),
            admission: admission(policy.is_some(), ask, id.as_ref(), &judged),
            rootfs,
        };
        Ok(Decision::Forward(permit, Some(Box::new(settle))))
    }

    /// What the container must stand on, where its image was proven.
    async fn wanted_rootfs(
        &self,
        id: &ImageId,
        ask: &CreateAsk,
        own: &OwnSandbox,
    ) -> Result<Wanted, Denial> {
        let shown = shown_image(ask);
        let config = self.config(id, shown).await?;
        let facts = self.runtime_facts().await?;
        Ok(Wanted {
            layers: config.layers,
            user: ask.container.namespaces.user.clone(),
            snapshotter: facts.snapshotter_of(&own.handler).map(str::to_owned),
            shown: shown.to_owned(),
        })
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
        let (namespace, name) = (&said.pod.namespace, &said.pod.name);
        Err(another_pod(&ask.sandbox_id, namespace, name))
    }

    pub(super) async fn own_sandbox(&self, id: &str) -> Result<Arc<OwnSandbox>, Denial> {
        if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let text = Text::new()
                .words("sandbox ")
                .value(id)
                .words(" is not named by its whole ID")
                .advice("send the 64 hexadecimal digits that RunPodSandbox returned");
            return Err(Denial::say(Code::RpcMalformed, text));
        }
        if let Some(own) = self.facts.sandbox(id) {
            return Ok(own);
        }
        let containerd = &self.parts.containerd;
        let status = containerd.sandbox(id, ASK).await;
        let status = status.map_err(|error| runtime(&error))?;
        let own = Arc::new(OwnSandbox {
            pod: status.pod,
            handler: effective_handler(&status.runtime_handler, &status.annotations),
            namespaces: Some(status.namespaces),
        });
        self.facts.learn_sandbox(id, &own);
        Ok(own)
    }

    /// The image ID that containerd will start. A name is replaced by the ID that it means now,
    /// where an enforcing rule speaks by image, so that it cannot mean another one a moment later.
    pub(super) async fn own_id(
        &self,
        ask: &CreateAsk,
        policy: Option<&Policy>,
        call: &RawCall,
        now: Timestamp,
    ) -> Result<(Option<ImageId>, Option<(CreateAsk, bytes::Bytes)>), Denial> {
        let text = &ask.container.image;
        let named = ImageString::parse(text).map_err(|error| refused_reference(text, &error))?;
        if !ask.container.user_specified_image.is_empty() {
            let specified = &ask.container.user_specified_image;
            Reference::parse(specified).map_err(|error| refused_reference(specified, &error))?;
        }
        let (reference, is_only_a_name) = match named {
            ImageString::Id(id) => return Ok((Some(id), None)),
            ImageString::Name(reference) => {
                let only = names_its_host(text, &reference);
                (reference, only)
            }
            ImageString::NameOrTruncatedId(reference) => (reference, false),
        };
        let speaks = self.image_matters(ask, policy, now).await?;
        if !speaks && is_only_a_name {
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

    /// Whether an enforcing rule speaks by image, or judges the image's own USER.
    async fn image_matters(
        &self,
        ask: &CreateAsk,
        policy: Option<&Policy>,
        now: Timestamp,
    ) -> Result<bool, Denial> {
        let own = self.own_sandbox(&ask.sandbox_id).await?;
        let bootstrap = self.bootstrap(policy);
        let plan = self.plan(policy, ask, &own, &bootstrap, now);
        let needs = plan.needs();
        let proof = needs.images.iter().any(|need| need.needs.proof);
        Ok(proof || needs.effective_user_from_image)
    }

    pub(super) fn plan<'p>(
        &'p self,
        policy: Option<&'p Policy>,
        ask: &'p CreateAsk,
        own: &OwnSandbox,
        bootstrap: &'p [BootstrapEntry],
        now: Timestamp,
    ) -> CreatePlan<'p> {
        let node = &self.parts.node;
        match policy {
            Some(policy) => policy.plan_create(&own.pod, &own.handler, ask, node, bootstrap, now),
            None => NoPolicy.plan_create(&own.pod, ask, bootstrap),
        }
    }

    /// Plans, gathers what the plan needs, and judges as of `now`. Never fails: what could not be
    /// gathered is part of the judgement.
    pub(super) async fn judge_create(
        &self,
        policy: Option<&Policy>,
        ask: &CreateAsk,
        own: &OwnSandbox,
        reach: Reach,
        now: Timestamp,
    ) -> Judged {
        let bootstrap = self.bootstrap(policy);
        let plan = self.plan(policy, ask, own, &bootstrap, now);
        if let Some(judgement) = plan.refused() {
            let proof = None;
            return Judged { judgement, proof };
        }
        let needs = plan.needs();
        let evidence = self
            .gather(&needs, policy, ask, own, &bootstrap, reach)
            .await;
        let mut judgement = plan.conclude(&evidence);
        if judgement.verdict.is_ok()
            && needs.images.iter().any(|need| need.needs.proof)
            && let Err(denial) = self.chain_holds_for(&own.handler).await
        {
            judgement = judgement.denied_by(denial);
        }
        if judgement.verdict.is_ok()
            && let Err(denial) = self.judge_content(ask, reach).await
        {
            judgement = judgement.denied_by(denial);
        }
        let proof = evidence.images.into_iter().next().flatten();
        Judged {
            judgement,
            proof: proof.and_then(Result::ok),
        }
    }
}

/// The request's copy of the pod is not containerd's.
pub(super) fn another_pod(sandbox: &str, namespace: &str, name: &str) -> Denial {
    let text = Text::new()
        .words("sandbox ")
        .value(sandbox)
        .words(" is not the pod ")
        .value(&format!("{namespace}/{name}"))
        .words(" that the request describes");
    Denial::say(
        Code::PodSandbox,
        text.advice("delete the pod, so that its sandbox is made anew"),
    )
}

/// Whether the text itself says which host it means. Without one (`tmp/cp.tar`) containerd 2.1 and
/// newer first look for a file of that name, and restore it as a checkpoint; so such a name goes on
/// only as the ID that it means.
fn names_its_host(text: &str, reference: &Reference) -> bool {
    text.strip_prefix(reference.repository().host())
        .is_some_and(|rest| rest.starts_with('/'))
}

/// The string that people know the image by.
pub(super) fn shown_image(ask: &CreateAsk) -> &str {
    let container = &ask.container;
    if container.user_specified_image.is_empty() {
        &container.image
    } else {
        &container.user_specified_image
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_its_host_could_be_a_file() {
        for (text, wanted) in [
            ("tmp/cp.tar", false),
            ("busybox", false),
            ("docker.iox/a", true),
            ("docker.io/tmp/cp.tar", true),
            ("localhost/a:1", true),
            ("127.0.0.1:5000/a:1", true),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(names_its_host(text, &reference), wanted, "{text}");
        }
    }
}
