//! ImageStatus: the kubelet's presence check is answered "absent" for an image that a rule speaks
//! of and nothing on the node proves, so that the kubelet pulls it, with credentials, through the
//! guard. All of it is a hint: it costs a pull, or a refusal at create, never a start.

use std::sync::Arc;

use bytes::Bytes;

use super::facts::OwnSandbox;
use super::handler::effective_handler;
use super::prove::{ImageAsk, Reach};
use super::record::Record;
use super::{ASK, Decision, Inner};
use crate::image::{ImageId, Reference};
use crate::policy::{Code, Denial, Permit, Policy};
use crate::relay::RawCall;
use crate::request::{EMPTY_IMAGE_STATUS, ImageStatusAsk};

/// The annotation by which a presence check and its pod's sandbox know each other.
const SEEN: &str = "kubernetes.io/config.seen";

impl Inner {
    pub(super) async fn presence(
        &self,
        call: &RawCall,
        ask: &ImageStatusAsk,
        record: &mut Record,
    ) -> Result<Decision, Denial> {
        record.image(&ask.image);
        // The kubelet's look for the image's USER carries no annotation; an absent answer there
        // would make the container run as root.
        if ask.config_source.is_some() && self.hides(ask, record).await {
            return Ok(Decision::Answer(Bytes::from_static(EMPTY_IMAGE_STATUS)));
        }
        record.forget();
        Ok(Decision::Forward(
            Permit::unjudged(call.message.clone()),
            None,
        ))
    }

    async fn hides(&self, ask: &ImageStatusAsk, record: &mut Record) -> bool {
        // Said of the answer if it is "absent".
        record.hidden();
        // Typed and truncated IDs, host paths: absent, so that PullImage tells the reason.
        let Ok(reference) = Reference::parse(&ask.image) else {
            return true;
        };
        if self.is_truncated_id(&ask.image, &reference).await {
            return true;
        }
        let Some(policy) = self.in_force.policy() else {
            return false;
        };
        let (version, name) = (policy.version().to_string(), reference.to_string());
        if self.was_carried(&version, &name) {
            return false;
        }
        for pod in self.pods_seen(ask.config_seen.as_deref()).await {
            if let Err(denial) = self.settled(&policy, &pod, &reference, &ask.image).await {
                self.in_force.hid(&version, &name);
                record.pod(&pod.pod);
                record.why_hidden(&denial);
                return true;
            }
        }
        false
    }

    /// Whether containerd would take the text for the beginning of an image ID: it does where no
    /// image of that name is on the node. A containerd that does not answer starts nothing either.
    pub(super) async fn is_truncated_id(&self, text: &str, reference: &Reference) -> bool {
        if !Reference::could_be_truncated_id(text) {
            return false;
        }
        let present = self.parts.containerd.image_status(text, ASK).await;
        let Ok(Some(image)) = present else {
            return false;
        };
        let name = reference.to_string();
        image.id.hex().starts_with(text) && !image.repo_tags.contains(&name)
    }

    /// Whether a pull of the name was carried under this version, before a restart perhaps, and the
    /// ledger can still tell what it brought.
    fn was_carried(&self, version: &str, name: &str) -> bool {
        let ledger = &self.parts.ledger;
        let Some(last) = ledger.last_pull(name) else {
            return false;
        };
        let here = self.in_force.was_carried(version, name) || last.policy_version == version;
        here && ledger
            .pulls_of(&last.id)
            .iter()
            .any(|pull| pull.asked == name)
    }

    /// Nothing, or why the node alone does not settle what create will ask of the image. A
    /// containerd that does not answer settles nothing, and is no reason to hide.
    async fn settled(
        &self,
        policy: &Policy,
        pod: &OwnSandbox,
        reference: &Reference,
        image: &str,
    ) -> Result<(), Denial> {
        let bootstrap = self.bootstrap(Some(policy));
        let handler = Some(pod.handler.as_str());
        let node = &self.parts.node;
        let now = crate::clock::now();
        let plan = policy.plan_pull(Some(&pod.pod), handler, reference, node, &bootstrap, now);
        let needs = plan.at_create();
        if !needs.proof || plan.definite().is_err() {
            return Ok(());
        }
        let present = self.parts.containerd.image_status(image, ASK).await;
        let Ok(Some(present)) = present else {
            return Ok(());
        };
        let wanted = ImageAsk {
            id: ImageId::of_config(present.id),
            reference,
            needs,
            pod,
            bootstrap: &bootstrap,
            preloaded: policy.set().preloaded.into(),
        };
        let proof = self.prove_image(&wanted, Reach::Node).await;
        let denial = match proof {
            Ok(proof) if proof.open().is_empty() => return Ok(()),
            Ok(_) => plan.not_told(),
            Err(denial) if denial.code() == Code::RuntimeUnavailable => return Ok(()),
            Err(denial) => denial,
        };
        Err(plan.says(denial))
    }

    /// The pods of a presence check: those whose sandbox has the same `config.seen`.
    pub(super) async fn pods_seen(&self, seen: Option<&str>) -> Vec<Arc<OwnSandbox>> {
        let Some(seen) = seen.filter(|seen| !seen.is_empty()) else {
            return Vec::new();
        };
        if let Some(pods) = self.facts.seen(seen) {
            return pods;
        }
        let Ok(sandboxes) = self.parts.containerd.list_pod_sandbox(ASK).await else {
            return Vec::new();
        };
        let pods: Vec<Arc<OwnSandbox>> = sandboxes
            .into_iter()
            .filter(|sandbox| sandbox.annotations.get(SEEN).is_some_and(|own| own == seen))
            .map(|sandbox| {
                Arc::new(OwnSandbox {
                    pod: sandbox.pod(),
                    handler: effective_handler(&sandbox.runtime_handler, &sandbox.annotations),
                    namespaces: None,
                })
            })
            .collect();
        if !pods.is_empty() {
            self.facts.learn_seen(seen, pods.clone());
        }
        pods
    }
}
