//! What is remembered of containers that were created through the guard, and StartContainer, which
//! may ask for it.

use std::sync::Arc;

use super::create::shown_image;
use super::rootfs::Wanted;
use super::{Decision, Inner, refusal};
use crate::image::{Digest, ImageId, Reference};
use crate::policy::reply::Rpc;
use crate::policy::{Code, Denial, Permit, Text, unjudged};
use crate::relay::{BoxFuture, RawCall, Settle, Settled, UpstreamReply};
use crate::request::{CreateAsk, PodSource, Request, created_container};
use crate::store::{Admission, ContainerFact};

impl Inner {
    /// What is remembered of a call in observe mode: facts, never admissions.
    pub(super) fn remember(self: &Arc<Self>, request: &Request) -> Option<Box<dyn Settle>> {
        let ask = match request {
            Request::Create(ask) => ask,
            Request::Pull(ask, _) => return self.remember_pull(ask),
            Request::ImageStatus(_)
            | Request::RunSandbox(_)
            | Request::Start { .. }
            | Request::UpdateResources(_)
            | Request::Exec(_)
            | Request::ExecSync(_)
            | Request::Attach { .. }
            | Request::Checkpoint { .. }
            | Request::PortForward { .. } => return None,
        };
        let id = ImageId::parse(&ask.container.image).ok();
        Some(Box::new(CreateSettle {
            guard: Arc::clone(self),
            ask: (**ask).clone(),
            id: id.map(|id| *id.digest()),
            admission: None,
            rootfs: None,
        }))
    }
}

/// Remembers a container that was created through the guard, once it stands on what was proven.
pub(super) struct CreateSettle {
    pub(super) guard: Arc<Inner>,
    pub(super) ask: CreateAsk,
    pub(super) id: Option<Digest>,
    pub(super) admission: Option<Admission>,
    /// What it must stand on, where its image was proven.
    pub(super) rootfs: Option<Wanted>,
}

impl Settle for CreateSettle {
    fn settle(self: Box<Self>, reply: UpstreamReply) -> BoxFuture<Settled> {
        Box::pin(async move {
            let settled = match reply {
                UpstreamReply::Ok(message) => match created_container(&message) {
                    Ok(container) => self.named(container).await,
                    Err(_) => self.unnamed().await,
                },
                UpstreamReply::Unreadable => self.unnamed().await,
                // Nobody is told of a container.
                UpstreamReply::Status { .. } | UpstreamReply::Broken(_) => Ok(()),
            };
            match settled {
                Ok(()) => Settled::Relay,
                Err(denial) => Settled::Refuse(refusal(Rpc::CreateContainer, &denial)),
            }
        })
    }
}

impl CreateSettle {
    async fn named(self, container: String) -> Result<(), Denial> {
        if let Some(wanted) = &self.rootfs {
            self.guard.judge_rootfs(&container, wanted).await?;
        }
        self.created(container);
        Ok(())
    }

    /// A container of which nobody was told the name cannot be compared with what was proven.
    async fn unnamed(&self) -> Result<(), Denial> {
        if self.rootfs.is_none() {
            return Ok(());
        }
        self.guard.remove_unnamed(&self.ask).await;
        Err(unjudged::unusable("CreateContainer", "names no container"))
    }

    fn created(self, container: String) {
        let pod = &self.ask.sandbox.pod;
        let shown = shown_image(&self.ask);
        let reference = Reference::parse(shown).ok();
        let named = reference.is_some().then(|| shown.to_owned());
        let repository = reference.map(|reference| reference.repository().to_string());
        let parts = &self.guard.parts;
        let is_vital = match pod.source {
            PodSource::File | PodSource::Http => true,
            PodSource::Api | PodSource::Unstated => self
                .guard
                .may_be_listed(&pod.namespace, repository.as_deref()),
        };
        parts.ledger.record_container(ContainerFact {
            id: container,
            at: crate::clock::now(),
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            source: pod.source,
            ask: is_vital.then_some(self.ask),
            image: self.id,
            repository,
            named,
        });
        if let Some(admission) = self.admission {
            parts.admissions.admit(admission);
        }
    }
}

impl Inner {
    /// Whether the bootstrap list names the repository for the namespace: then the lockout guard
    /// will ask for what was asked for. It can ask containerd too, which knows less of it.
    fn may_be_listed(&self, namespace: &str, repository: Option<&str>) -> bool {
        let policy = self.in_force.policy();
        self.bootstrap(policy.as_deref()).iter().any(|entry| {
            entry.namespaces.iter().any(|listed| listed == namespace)
                && repository.is_some_and(|own| own == entry.repository.to_string())
        })
    }

    /// StartContainer under `start = "guarded"`.
    pub(super) fn start(&self, call: &RawCall, container: &str) -> Result<Decision, Denial> {
        let adopted = self
            .adoption
            .get()
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
