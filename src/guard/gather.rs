//! Gathers what a create's judgement needs: proofs of images, the image's USER, where mounts come
//! from. Nothing here decides.

use std::sync::Arc;

use super::create::shown_image;
use super::facts::OwnSandbox;
use super::prove::{ImageAsk, Reach, runtime};
use super::{ASK, Inner, internal};
use crate::containerd::RuntimeFacts;
use crate::host::{self, Classifier, RealHost};
use crate::image::{ImageId, Reference};
use crate::policy::{
    BootstrapEntry, Code, CreateEvidence, CreateNeeds, Denial, ImageNeed, MountOrigin, Policy,
    Text, Which, refused_reference,
};
use crate::request::{CreateAsk, MountSource};
use crate::verify::{ImageProof, Preloaded};

impl Inner {
    pub(super) async fn gather(
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
            let proof = if need.needs.proof {
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
            evidence.image_user = Some(
                self.image_user(&ask.container.image, shown_image(ask))
                    .await,
            );
        }
        if needs.mount_origins {
            evidence.mounts = self.mount_origins(ask, own, reach).await;
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
            needs: &need.needs,
            pod: own,
            bootstrap,
            preloaded: policy.map_or(Preloaded::Verify, |policy| policy.set().preloaded.into()),
        };
        self.prove_image(&asked, reach).await
    }

    /// `config.User` of the image, of bytes that hash to its ID.
    async fn image_user(&self, text: &str, shown: &str) -> Result<String, Denial> {
        let id = ImageId::parse(text).map_err(|_| {
            let why = Text::new()
                .words("image ")
                .value(text)
                .words(" is a name where an ID is due, so its user cannot be told")
                .advice("set runAsUser to a number from 1 to 2147483647");
            Denial::say(Code::ImgUnproven, why)
        })?;
        let config = self.config(&id, shown).await?;
        Ok(config.user.clone())
    }

    /// Where each mount comes from. Looks at paths, so not on a thread that others wait for.
    async fn mount_origins(
        &self,
        ask: &CreateAsk,
        own: &OwnSandbox,
        reach: Reach,
    ) -> Vec<MountOrigin> {
        let root = Arc::clone(&self.parts.kubelet_root);
        let (uid, name) = (own.pod.uid.clone(), ask.container.name.clone());
        let mounts = ask.container.mounts.clone();
        let count = mounts.len();
        let turns = match reach {
            Reach::Node | Reach::Registry(_) => self.facts.turns(&own.pod.namespace),
            Reach::Quiet => self.facts.quiet_turns(&own.pod.namespace),
        };
        let facts = self.runtime_facts().await.ok();
        let mut guarded = self.parts.node.guarded_paths.clone();
        guarded.extend(facts.iter().flat_map(|facts| facts.directories.clone()));
        let look = move || {
            let classifier = Classifier::new(&RealHost, &root, &guarded);
            let look = |mount| classifier.classify(&uid, &name, mount);
            mounts.iter().map(look).collect::<Vec<_>>()
        };
        let until = tokio::time::Instant::now() + ASK;
        match (host::look(turns, until, look).await, facts) {
            (Some(origins), Some(_)) => origins,
            (Some(origins), None) => origins.into_iter().map(without_facts).collect(),
            (None, _) => vec![
                MountOrigin::Unknown {
                    why: "the node's file systems do not answer"
                };
                count
            ],
        }
    }

    /// containerd's settings, as it said them lately.
    pub(super) async fn runtime_facts(&self) -> Result<Arc<RuntimeFacts>, Denial> {
        if let Some(facts) = self.facts.runtime() {
            return Ok(facts);
        }
        let asked = self.parts.containerd.runtime_status(ASK).await;
        let asked = asked.map_err(|error| runtime(&error))?;
        let certs_dirs = self.parts.registry.certs_dirs();
        Ok(self.facts.learn_runtime(asked, certs_dirs))
    }

    /// Whether what this handler runs is what containerd verified.
    pub(super) async fn chain_holds_for(&self, handler: &str) -> Result<(), Denial> {
        let facts = self.runtime_facts().await?;
        if may_run(&facts, &self.parts.guest_pull_handlers, handler) {
            return Ok(());
        }
        Err(breaks_chain(
            facts.effective_name(handler).unwrap_or(handler),
        ))
    }
}

/// Image rules stand on what containerd verified, and this handler may run something else.
pub(super) fn breaks_chain(handler: &str) -> Denial {
    let text = Text::new()
        .words("runtime handler ")
        .value(handler)
        .words(" may run other bytes than those that were verified")
        .advice(
            "use a handler with an ordinary snapshotter, or exclude these pods from image rules",
        );
    Denial::say(Code::PodRuntimeHandler, text)
}

/// Whether a handler runs the bytes that containerd verified: its snapshotter compares them, and the
/// handler does not pull inside the guest.
fn may_run(facts: &RuntimeFacts, guest_pull: &[String], handler: &str) -> bool {
    let name = facts.effective_name(handler);
    let in_guest = name.is_some_and(|name| guest_pull.iter().any(|guest| guest == name));
    !in_guest && facts.verifies(handler)
}

/// What can be said of a mount without knowing where containerd keeps its own things.
fn without_facts(origin: MountOrigin) -> MountOrigin {
    match origin {
        MountOrigin::Host { .. } => MountOrigin::Unknown {
            why: "containerd does not tell its own directories",
        },
        MountOrigin::Kubelet(_) | MountOrigin::Image | MountOrigin::Unknown { .. } => origin,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::containerd::RuntimeHandler;

    fn facts(default: &str) -> RuntimeFacts {
        let handler = |snapshotter: Option<&str>| RuntimeHandler {
            runtime_type: "io.containerd.runc.v2".to_owned(),
            snapshotter: snapshotter.map(str::to_owned),
        };
        RuntimeFacts {
            pause_image: None,
            default_runtime: Some(default.to_owned()),
            handlers: BTreeMap::from([
                ("runc".to_owned(), handler(None)),
                ("coco".to_owned(), handler(None)),
                ("lazy".to_owned(), handler(Some("stargz"))),
            ]),
            snapshotter: Some("overlayfs".to_owned()),
            registry: crate::containerd::RegistryFacts::default(),
            directories: Vec::new(),
        }
    }

    #[test]
    fn a_handler_that_pulls_in_the_guest_is_seen_also_where_it_is_the_default() {
        let guest = vec!["coco".to_owned()];
        assert!(!may_run(&facts("coco"), &guest, ""));
        assert!(!may_run(&facts("runc"), &guest, "coco"));
        assert!(may_run(&facts("runc"), &guest, ""));
        assert!(may_run(&facts("coco"), &guest, "runc"));
    }

    #[test]
    fn a_handler_with_a_lazy_snapshotter_or_without_settings_runs_nothing_that_was_verified() {
        assert!(!may_run(&facts("runc"), &[], "lazy"));
        assert!(!may_run(&facts("runc"), &[], "unknown"));
        assert!(!may_run(&facts("lazy"), &[], ""));
        assert!(may_run(&facts("runc"), &[], "runc"));
    }
}
