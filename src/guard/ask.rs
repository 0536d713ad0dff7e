//! What the guard asks of registries for a gate: whether a repository holds what leads to an image,
//! and what a reference means now.

use std::time::Instant;

use super::Inner;
use super::prove::{ImageAsk, bad_document, binds_tag, pull_auth, registry};
use crate::image::{Chain, Digest, Goal, Next, Reference};
use crate::policy::Denial;
use crate::registry::{RegistryError, Resolved};
use crate::request::PullCredentials;
use crate::verify::{BrokenChain, Evidence, NameEvidence};

impl Inner {
    /// Asks the registry whether the repository holds a digest that leads to the image.
    pub(super) async fn ask_registry(
        &self,
        ask: &ImageAsk<'_>,
        evidence: &mut Evidence,
        until: Instant,
    ) -> Result<(), RegistryError> {
        let repository = ask.reference.repository();
        let mut session = self.parts.registry.open(repository, None, until)?;
        let written = ask.reference.digest().copied();
        let mut starts: Vec<Digest> = match written {
            Some(digest) => vec![digest],
            None => evidence.links.iter().map(|links| *links.judged()).collect(),
        };
        if let Reference::Tagged { tag, .. } = ask.reference
            && (starts.is_empty() || binds_tag(ask))
        {
            starts = vec![session.resolve_tag(tag).await?.digest];
        }
        let mut silence = None;
        for start in starts {
            let answer = match session.name_manifest(&start).await {
                Ok(answer) => answer,
                Err(RegistryError::NotFound) => continue,
                Err(error) => {
                    silence.get_or_insert(error);
                    continue;
                }
            };
            evidence.names.push(NameEvidence::RegistryAnswer {
                repository: repository.clone(),
                digest: answer.digest,
            });
            let limits = &self.parts.limits;
            let goal = Goal::Id(ask.id);
            let media = Some(answer.media_type.as_str()).filter(|text| !text.is_empty());
            let mut chain = Chain::start(answer.digest, media, goal, &self.parts.platform, limits);
            let mut first = Some(answer.bytes);
            loop {
                match chain.next() {
                    Next::Done(links) => {
                        self.learn_chain(&links);
                        evidence.links.push(links);
                        break;
                    }
                    Next::Broken(error) => {
                        let judged = answer.digest;
                        evidence.broken.push(BrokenChain { judged, error });
                        break;
                    }
                    Next::Need { digest, .. } => match first.take() {
                        Some(bytes) => chain.supply(&bytes),
                        None => match session.fetch_manifest(&digest).await {
                            Ok(child) => chain.supply(&child.bytes),
                            Err(RegistryError::NotFound) => chain.missing(),
                            Err(error) => {
                                silence.get_or_insert(error);
                                chain.missing();
                            }
                        },
                    },
                }
            }
        }
        silence.map_or(Ok(()), Err)
    }

    /// What a reference means now, with the pull's own credentials: the digest to judge first,
    /// then the platform manifest where that is an index.
    pub(super) async fn resolve(
        &self,
        reference: &Reference,
        credentials: &PullCredentials,
        until: Instant,
    ) -> Result<Vec<Digest>, Denial> {
        let auth = pull_auth(credentials);
        let limits = &self.parts.limits;
        let denied = |error: &RegistryError| registry(reference, error);
        let mut session = self
            .parts
            .registry
            .open(reference.repository(), auth.as_ref(), until)
            .map_err(|error| denied(&error))?;
        let answer: Resolved = match reference {
            Reference::Tagged { tag, .. } => session.resolve_tag(tag).await,
            Reference::Digested { digest, .. } => session.name_manifest(digest).await,
        }
        .map_err(|error| denied(&error))?;
        let platform = &self.parts.platform;
        let media = Some(answer.media_type.as_str()).filter(|text| !text.is_empty());
        let mut chain = Chain::start(answer.digest, media, Goal::Pick, platform, limits);
        chain.supply(&answer.bytes);
        loop {
            match chain.next() {
                Next::Done(links) => return Ok(links.digests().to_vec()),
                Next::Broken(error) => return Err(bad_document(reference, &error.to_string())),
                Next::Need { digest, .. } => {
                    let child = session.fetch_manifest(&digest).await;
                    chain.supply(&child.map_err(|error| denied(&error))?.bytes);
                }
            }
        }
    }
}
