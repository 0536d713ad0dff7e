//! The request that made a container which is there already: from the guard's own record, else from
//! what containerd keeps of it. For judging only; nothing starts by it.

use super::facts::OwnSandbox;
use super::handler::effective_handler;
use super::prove::runtime;
use super::{ASK, Inner, internal};
use crate::containerd::{ContainerEntry, SandboxEntry};
use crate::image::{Digest, ImageId, Reference};
use crate::policy::Denial;
use crate::request::{CreateAsk, Sandbox, recorded_create, recorded_sandbox};

/// Whose word the name of the container's image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The pod's own.
    ByThePod,
    /// One of those that containerd has for the image.
    ByContainerd,
}

/// The request that made a container.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) ask: CreateAsk,
    pub(super) named: Named,
}

impl Inner {
    /// The request that made this container, an entry of containerd's list.
    pub(super) async fn made_by(&self, container: &ContainerEntry) -> Result<Made, Denial> {
        let fact = self.parts.ledger.container(&container.id);
        let recorded = fact.as_ref().and_then(|fact| fact.ask.clone());
        let (mut ask, of_containerd) = match recorded {
            Some(ask) => (ask, None),
            None => {
                let (ask, name) = self.kept_by_containerd(container).await?;
                (ask, Some(name))
            }
        };
        let made = &mut ask.container;
        if ImageId::parse(&made.image).is_err() {
            // A client that sends names; containerd knows what the name meant then.
            if made.user_specified_image.is_empty() {
                made.user_specified_image.clone_from(&made.image);
            }
            if let Some(id) = image_id(container) {
                made.image = id.to_string();
            }
        }
        let named = &mut made.user_specified_image;
        let mut by = Named::ByThePod;
        if let (true, Some(known)) = (named.is_empty(), of_containerd) {
            // containerd before 1.7 keeps no word of the pod's own. A name that it has for the image
            // stands in.
            if let Some(own) = fact.as_ref().and_then(|fact| fact.named.as_ref()) {
                named.clone_from(own);
            } else {
                by = Named::ByContainerd;
                if Reference::parse(&known).is_ok() {
                    *named = known;
                }
            }
        }
        Ok(Made { ask, named: by })
    }

    /// What containerd keeps of a create, and the name that it has for the image.
    async fn kept_by_containerd(
        &self,
        container: &ContainerEntry,
    ) -> Result<(CreateAsk, String), Denial> {
        let id = container.sandbox_id.as_deref().unwrap_or_default();
        let containerd = &self.parts.containerd;
        let asked = containerd.container_status(&container.id, true, ASK).await;
        let asked = asked.map_err(|error| runtime(&error))?;
        let around = containerd.sandbox_info(id, ASK).await;
        let around = around.map_err(|error| runtime(&error))?;
        let ask = recorded_create(
            id,
            asked.info.as_deref().unwrap_or_default(),
            around.as_deref().unwrap_or_default(),
        )
        .map_err(|_| internal("a container that containerd does not describe"))?;
        Ok((ask, asked.image))
    }

    /// The request that made this sandbox, with the handler that runs it.
    pub(super) async fn sandbox_made_by(&self, sandbox: &SandboxEntry) -> Result<Sandbox, Denial> {
        let info = self.parts.containerd.sandbox_info(&sandbox.id, ASK).await;
        let info = info.map_err(|error| runtime(&error))?;
        let handler = effective_handler(&sandbox.runtime_handler, &sandbox.annotations);
        recorded_sandbox(info.as_deref().unwrap_or_default(), &handler)
            .map_err(|_| internal("a sandbox that containerd does not describe"))
    }

    /// The sandbox of a container, in containerd's own words.
    pub(super) async fn sandbox_around(
        &self,
        container: &ContainerEntry,
    ) -> Result<OwnSandbox, Denial> {
        let id = container.sandbox_id.as_deref().unwrap_or_default();
        let status = self.parts.containerd.sandbox(id, ASK).await;
        let status = status.map_err(|error| runtime(&error))?;
        Ok(OwnSandbox {
            pod: status.pod,
            handler: effective_handler(&status.runtime_handler, &status.annotations),
            namespaces: Some(status.namespaces),
        })
    }
}

/// The image ID of an entry of containerd's list: which field holds it depends on the version.
pub(super) fn image_id(container: &ContainerEntry) -> Option<Digest> {
    [&container.image_id, &container.image_ref, &container.image]
        .into_iter()
        .find_map(|text| Digest::parse(text).ok())
}
