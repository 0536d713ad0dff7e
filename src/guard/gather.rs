//! Gathers what a create's judgement needs: proofs of images, the image's USER, where mounts come
//! from. Nothing here decides.

use super::facts::OwnSandbox;
use super::prove::{ImageAsk, Reach, runtime};
use super::{ASK, Inner, internal};
use crate::host::{Classifier, RealHost};
use crate::image::{ImageConfig, ImageId, Reference};
use crate::policy::{
    BootstrapEntry, Code, CreateEvidence, CreateNeeds, Denial, ImageNeed, MountOrigin, Policy,
    Text, Which, refused_reference,
};
use crate::request::{CreateAsk, MountSource};
use crate::verify::{Depth, ImageProof, Preloaded};

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
            preloaded: policy.map_or(Preloaded::Verify, |policy| policy.set().preloaded.into()),
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
        let turns = self.facts.turns(&own.pod.namespace);
        let look = async move {
            let turn = turns.acquire_owned().await.ok()?;
            let look = tokio::task::spawn_blocking(move || {
                // Held until the look ends, also when nobody waits for it any more.
                let _turn = turn;
                let classifier = Classifier::new(&RealHost, &root);
                let look = |mount| classifier.classify(&uid, &name, mount);
                mounts.iter().map(look).collect::<Vec<_>>()
            });
            look.await.ok()
        };
        match tokio::time::timeout(ASK, look).await {
            Ok(Some(origins)) => origins,
            Ok(None) | Err(_) => vec![
                MountOrigin::Unknown {
                    why: "the node's file systems do not answer"
                };
                count
            ],
        }
    }

    /// Whether what this handler runs is what containerd verified.
    pub(super) async fn chain_holds_for(&self, handler: &str) -> Result<(), Denial> {
        let facts = match self.facts.runtime() {
            Some(facts) => facts,
            None => {
                let asked = self.parts.containerd.runtime_status(ASK).await;
                let asked = asked.map_err(|error| runtime(&error))?;
                self.facts
                    .learn_runtime(asked, self.parts.registry.certs_dirs())
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
