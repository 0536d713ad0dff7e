//! Gathers what proves an image: chains from containerd's content store or the registry, names from
//! the ledger, the bootstrap list, the adoption record or the registry. `verify` decides.

use std::time::Instant;

use bytes::Bytes;

use super::facts::OwnSandbox;
use super::{ASK, Inner};
use crate::image::manifest::{OCI_INDEX, OCI_MANIFEST};
use crate::image::{
    Chain, ChainError, Digest, DocumentError, Goal, ImageId, Links, Next, Reference,
};
use crate::policy::{BootstrapEntry, Denial, Needs};
use crate::registry::{PullAuth, RegistryError};
use crate::request::PullCredentials;
use crate::store::{CarriedPull, ChainFact};
use crate::verify::{
    BrokenChain, Depth, Evidence, ImageProof, NameEvidence, NameProof, NotProven, Preloaded,
    Requirement, prove,
};

pub(super) use super::unproven::runtime;
pub(crate) use super::unproven::{bad_document, registry};
use super::unproven::{not_asked, not_heard, not_proven};

/// How far gathering may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// What is on the node.
    Node,
    /// What is on the node, of what runs already: nothing is changed there, and what a registry
    /// could still tell is left open.
    Quiet,
    /// Registries too, until then.
    Registry(Instant),
}

/// What is asked of one image, and by whom.
pub(super) struct ImageAsk<'a> {
    pub(super) id: ImageId,
    pub(super) reference: &'a Reference,
    pub(super) needs: &'a Needs,
    pub(super) pod: &'a OwnSandbox,
    pub(super) bootstrap: &'a [BootstrapEntry],
    pub(super) preloaded: Preloaded,
}

impl Inner {
    /// A proof of the image, or why there is none. What it leaves open of the digests that rules
    /// ask about could not be told.
    pub(super) async fn prove_image(
        &self,
        ask: &ImageAsk<'_>,
        reach: Reach,
    ) -> Result<ImageProof, Denial> {
        let wanted = Requirement {
            id: ask.id,
            reference: ask.reference.clone(),
            depth: depth(ask),
            asked: ask.needs.asked.clone(),
        };
        let mut evidence = Evidence {
            names: self.local_names(ask),
            ..Evidence::default()
        };
        self.walk_local(ask, &mut evidence).await?;
        refused_content(ask, &evidence)?;
        self.kin_on_node(ask, &mut evidence).await?;
        let local = prove(&wanted, &evidence, ask.preloaded);
        let until = match reach {
            Reach::Node => return local.map_err(|why| not_proven(ask, &why)),
            Reach::Quiet => {
                return local.map_err(|why| {
                    if could_help(&why) {
                        not_asked(ask, &why)
                    } else {
                        not_proven(ask, &why)
                    }
                });
            }
            Reach::Registry(until) => until,
        };
        let heard = match &local {
            Ok(proof) if proof.open().is_empty() => return Ok(proof.clone()),
            Ok(_) => Ok(()),
            Err(why) if !could_help(why) => return Err(not_proven(ask, why)),
            Err(_) => self.ask_by_either(ask, &wanted, &mut evidence, until).await,
        };
        refused_content(ask, &evidence)?;
        self.kin_in_registry(ask, &mut evidence, until).await;
        match (prove(&wanted, &evidence, ask.preloaded), heard) {
            (Ok(proof), _) => {
                self.remember_answer(ask, &proof);
                Ok(proof)
            }
            (Err(why), Ok(())) => Err(not_proven(ask, &why)),
            (Err(why), Err(error)) => Err(not_heard(ask, &why, &error)),
        }
    }

    /// Asks by the digests that the node knows, and by the tag where the repository holds none of
    /// them: the same image may have come by another index.
    async fn ask_by_either(
        &self,
        ask: &ImageAsk<'_>,
        wanted: &Requirement,
        evidence: &mut Evidence,
        until: Instant,
    ) -> Result<(), RegistryError> {
        self.ask_registry(ask, evidence, until).await?;
        let proven = prove(wanted, evidence, ask.preloaded).is_ok();
        if proven || binds_tag(ask) || ask.reference.tag().is_none() {
            return Ok(());
        }
        let by_tag = Needs {
            tag: true,
            ..ask.needs.clone()
        };
        let again = ImageAsk {
            needs: &by_tag,
            ..*ask
        };
        self.ask_registry(&again, evidence, until).await
    }

    /// A registry's answer that proved a name is kept like a pull of that name: it says the same,
    /// that the repository holds a digest which leads to the image. So the next start of the
    /// container needs no registry. A tag is kept only where the answer was about the tag.
    fn remember_answer(&self, ask: &ImageAsk<'_>, proof: &ImageProof) {
        let (NameProof::Registry, Some(digest)) = (proof.name(), proof.digests().first()) else {
            return;
        };
        let asked = if binds_tag(ask) {
            ask.reference.clone()
        } else {
            ask.reference.with_digest(*digest)
        };
        let policy = self.in_force.policy();
        let version = policy.map(|policy| policy.version().to_string());
        self.parts.ledger.record_pull(CarriedPull {
            namespace: Some(ask.pod.pod.namespace.clone()),
            repository: asked.repository().to_string(),
            asked: asked.to_string(),
            digest: Some(*digest),
            id: *ask.id.digest(),
            apart: self.known_elsewhere(ask),
            policy_version: version.unwrap_or_default(),
            at: crate::clock::now(),
        });
    }

    fn local_names(&self, ask: &ImageAsk<'_>) -> Vec<NameEvidence> {
        let repository = ask.reference.repository();
        let mut names: Vec<NameEvidence> = self
            .parts
            .ledger
            .pulls_of(ask.id.digest())
            .iter()
            .filter(|pull| pull.repository == repository.to_string())
            .filter(|pull| !binds_tag(ask) || pull.asked == ask.reference.to_string())
            .map(|pull| NameEvidence::CarriedPull {
                repository: repository.clone(),
                judged: pull.digest,
                id: ask.id,
            })
            .collect();
        names.extend(
            ask.bootstrap
                .iter()
                .filter(|entry| entry.namespaces.contains(&ask.pod.pod.namespace))
                .map(|entry| NameEvidence::Bootstrap {
                    repository: entry.repository.clone(),
                    digest: entry.digest,
                }),
        );
        if let Some(record) = self.adoption.get()
            && (!binds_tag(ask) || record.has_name(ask.id.digest(), ask.reference))
            && let Some(digests) = record.adopted(ask.id.digest(), repository)
        {
            let adopted = |digest| NameEvidence::Adopted {
                repository: repository.clone(),
                digest,
                id: ask.id,
            };
            names.push(adopted(None));
            names.extend(digests.into_iter().map(|digest| adopted(Some(digest))));
        }
        names
    }

    /// Walks every chain that something on the node points to, with what is on the node.
    async fn walk_local(&self, ask: &ImageAsk<'_>, evidence: &mut Evidence) -> Result<(), Denial> {
        let mut starts: Vec<Digest> = ask.reference.digest().copied().into_iter().collect();
        starts.extend(evidence.names.iter().filter_map(|name| match name {
            NameEvidence::CarriedPull { judged, .. } => *judged,
            NameEvidence::Adopted { digest, .. } => *digest,
            NameEvidence::Bootstrap { repository, digest } => {
                (repository == ask.reference.repository()).then_some(*digest)
            }
            NameEvidence::RegistryAnswer { .. } => None,
        }));
        let known = |digest: &Digest| self.known_chain(digest, &ask.id).is_some();
        if starts.is_empty() || !starts.iter().all(known) {
            starts.extend(self.hinted(&ask.id).await?);
        }
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            match self.local_chain(start, &ask.id).await? {
                Ok(links) => evidence.links.push(links),
                Err(error) => evidence.broken.push(BrokenChain {
                    judged: start,
                    error,
                }),
            }
        }
        Ok(())
    }

    /// Digests that containerd's records connect with the image: hints, each to be proven.
    async fn hinted(&self, id: &ImageId) -> Result<Vec<Digest>, Denial> {
        let found = self.parts.containerd.candidates(id.digest(), ASK).await;
        Ok(found
            .map_err(|error| runtime(&error))?
            .into_iter()
            .map(|candidate| candidate.digest)
            .collect())
    }

    /// A chain that was walked before: by this process, or according to the ledger.
    fn known_chain(&self, start: &Digest, id: &ImageId) -> Option<Links> {
        let key = (*start, *id.digest());
        if let Some(links) = self.facts.chains.get(&key) {
            return Some(links);
        }
        let facts = self.parts.ledger.chains_of(id.digest());
        let mut recorded = facts.iter().map(ChainFact::links);
        let links = recorded.find(|links| links.judged() == start)?;
        self.facts.chains.put(key, links.clone());
        Some(links)
    }

    /// Whether the chain from `start` to the image can be walked with what is on the node.
    pub(super) async fn chain_on_node(
        &self,
        start: Digest,
        id: &ImageId,
    ) -> Result<Option<Links>, Denial> {
        Ok(self.local_chain(start, id).await?.ok())
    }

    pub(super) async fn local_chain(
        &self,
        start: Digest,
        id: &ImageId,
    ) -> Result<Result<Links, ChainError>, Denial> {
        if let Some(links) = self.known_chain(&start, id) {
            return Ok(Ok(links));
        }
        let mut end = Err(ChainError::Missing { digest: start });
        // A document may leave its media type to whoever hands it over, and the content store hands
        // over bytes alone. Each kind has fields that the other must not have, so at most one fits.
        for media_type in [None, Some(OCI_MANIFEST), Some(OCI_INDEX)] {
            end = self.walk(start, media_type, id).await?;
            match &end {
                Err(ChainError::Document {
                    digest,
                    error: DocumentError::NoMediaType | DocumentError::Ambiguous,
                }) if *digest == start => {}
                Ok(_) | Err(_) => break,
            }
        }
        Ok(end)
    }

    async fn walk(
        &self,
        start: Digest,
        media_type: Option<&str>,
        id: &ImageId,
    ) -> Result<Result<Links, ChainError>, Denial> {
        let limits = &self.parts.limits;
        let goal = Goal::Id(*id);
        let mut chain = Chain::start(start, media_type, goal, &self.parts.platform, limits);
        loop {
            match chain.next() {
                Next::Done(links) => {
                    self.learn_chain(&links);
                    return Ok(Ok(links));
                }
                Next::Broken(error) => return Ok(Err(error)),
                Next::Need {
                    digest, max_bytes, ..
                } => match self.blob(&digest, max_bytes).await? {
                    Some(bytes) => chain.supply(&bytes),
                    None => chain.missing(),
                },
            }
        }
    }

    /// A blob of containerd's content store; `None` if it is not there or cannot be right.
    async fn blob(&self, digest: &Digest, max: usize) -> Result<Option<Bytes>, Denial> {
        match self.parts.containerd.blob(digest, max, ASK).await {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.is_undecided() => Err(runtime(&error)),
            // Over the limit, or bytes that are not those of the digest: no use here.
            Err(_) => Ok(None),
        }
    }

    pub(super) fn learn_chain(&self, links: &Links) {
        let key = (*links.judged(), *links.id().digest());
        self.facts.chains.put(key, links.clone());
        self.parts.ledger.record_chain(ChainFact::of(links));
    }
}

/// A name is not enough for content that the guard refuses by itself: containerd may start a
/// checkpoint where the ID's record points at one.
fn refused_content(ask: &ImageAsk<'_>, evidence: &Evidence) -> Result<(), Denial> {
    let refused = evidence.broken.iter().find_map(|chain| match &chain.error {
        ChainError::Document { error, .. } if *error == DocumentError::Checkpoint => {
            Some(&chain.error)
        }
        ChainError::Document { .. }
        | ChainError::NotTheBytes { .. }
        | ChainError::Size { .. }
        | ChainError::NotAnImage { .. }
        | ChainError::OtherImage { .. }
        | ChainError::NoPlatform { .. }
        | ChainError::TooMany
        | ChainError::Missing { .. } => None,
    });
    match refused {
        Some(error) => Err(bad_document(ask.reference, &error.to_string())),
        None => Ok(()),
    }
}

fn depth(ask: &ImageAsk<'_>) -> Depth {
    if ask.needs.digest {
        Depth::Digests
    } else {
        Depth::Name
    }
}

/// Whether the image must be what the tag itself means, not only one of the repository's: a rule
/// asks for the digest behind a tag, or for the tag. Another image of the same repository, put
/// under the tag by `ctr`, is another image.
pub(super) fn binds_tag(ask: &ImageAsk<'_>) -> bool {
    (ask.needs.digest || ask.needs.tag) && ask.reference.tag().is_some()
}

pub(super) fn pull_auth(credentials: &PullCredentials) -> Option<PullAuth> {
    if credentials.is_empty() {
        return None;
    }
    Some(
        PullAuth::new()
            .with_password(credentials.username(), credentials.password())
            .with_auth(credentials.auth())
            .with_server_address(credentials.server_address())
            .with_identity_token(credentials.identity_token())
            .with_registry_token(credentials.registry_token()),
    )
}

/// Whether a registry's answer could turn "not proven" into a proof.
fn could_help(why: &NotProven) -> bool {
    match why {
        NotProven::Bytes { .. } | NotProven::Name { .. } | NotProven::OnlyAdopted { .. } => true,
        NotProven::OtherImage { .. } | NotProven::BadChain { .. } => false,
    }
}
