//! What the guard asks of registries for a gate: whether a repository holds what leads
//! to an image.

use std::fmt;
use std::time::Instant;

use tokio::time::timeout_at;

use super::flight::{Heard, Question};
use super::prove::{ImageAsk, binds_tag};
use super::{ASK, Inner};
use crate::image::{Chain, Digest, Goal, Next, Reference};
use crate::registry::{Cause, Known, KnownBytes, RegistryError, Resolved, Session};
use crate::verify::{BrokenChain, Evidence, NameEvidence};

/// The bytes that containerd has: a tag whose digest is here costs no download, and so nothing of
/// the quota that registries count downloads by.
pub(super) struct OnNode<'a>(pub(super) &'a Inner);

impl fmt::Debug for OnNode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnNode")
    }
}

impl KnownBytes for OnNode<'_> {
    fn bytes<'a>(&'a self, digest: &'a Digest) -> Known<'a> {
        Box::pin(async move {
            let Inner { parts, .. } = self.0;
            let max = parts.limits.max_manifest_bytes;
            let found = parts.containerd.blob(digest, max, ASK).await;
            found.unwrap_or_default()
        })
    }
}

impl Inner {
    /// Asks the registry whether the repository holds a digest that leads to the image. Who asks
    /// the same at the same time shares one answer: after a lost ledger every pod of a node does.
    pub(super) async fn ask_registry(
        &self,
        ask: &ImageAsk<'_>,
        evidence: &mut Evidence,
        until: Instant,
    ) -> Result<(), RegistryError> {
        let mut question = Question {
            repository: ask.reference.repository().clone(),
            tag: None,
            digests: match ask.reference.digest() {
                Some(digest) => vec![*digest],
                None => evidence.links.iter().map(|links| *links.judged()).collect(),
            },
            id: ask.id,
        };
        if let Reference::Tagged { tag, .. } = ask.reference
            && (question.digests.is_empty() || binds_tag(ask))
        {
            question.tag = Some(tag.as_str().to_owned());
            question.digests.clear();
        }
        let shared = self.facts.asked.join(&question);
        let heard = shared.get_or_init(|| self.hear(&question, until));
        let Ok(heard) = timeout_at(until.into(), heard).await else {
            return Err(RegistryError::Unreachable {
                cause: Cause::TimedOut,
                every_host: true,
            });
        };
        let Heard {
            evidence: found,
            failure,
        } = heard.clone();
        evidence.names.extend(found.names);
        evidence.links.extend(found.links);
        evidence.broken.extend(found.broken);
        failure.map_or(Ok(()), Err)
    }

    async fn hear(&self, question: &Question, until: Instant) -> Heard {
        let mut heard = Heard::default();
        if let Err(error) = self.hear_into(question, until, &mut heard).await {
            heard.failure = Some(error);
        }
        heard
    }

    async fn hear_into(
        &self,
        question: &Question,
        until: Instant,
        heard: &mut Heard,
    ) -> Result<(), RegistryError> {
        let repository = &question.repository;
        let node = OnNode(self);
        let session = self.parts.registry.open(repository, None, until).await?;
        let mut session = session.knowing(&node);
        if let Some(tag) = &question.tag {
            let answer = session.resolve_tag(tag).await?;
            self.follow(&mut session, question, answer, heard).await;
        }
        for digest in &question.digests {
            match session.name_manifest(digest).await {
                Ok(answer) => self.follow(&mut session, question, answer, heard).await,
                Err(RegistryError::NotFound) => {}
                Err(error) => {
                    heard.failure.get_or_insert(error);
                }
            }
        }
        heard.failure.take().map_or(Ok(()), Err)
    }

    /// Notes that the repository holds what was answered, and walks from there to the image.
    async fn follow(
        &self,
        session: &mut Session<'_>,
        question: &Question,
        answer: Resolved,
        heard: &mut Heard,
    ) {
        heard.evidence.names.push(NameEvidence::RegistryAnswer {
            repository: question.repository.clone(),
            digest: answer.digest,
        });
        let limits = &self.parts.limits;
        let goal = Goal::Id(question.id);
        let media = Some(answer.media_type.as_str()).filter(|text| !text.is_empty());
        let mut chain = Chain::start(answer.digest, media, goal, &self.parts.platform, limits);
        let mut first = Some(answer.bytes);
        loop {
            match chain.next() {
                Next::Done(links) => {
                    self.learn_chain(&links);
                    heard.evidence.links.push(links);
                    return;
                }
                Next::Broken(error) => {
                    let judged = answer.digest;
                    heard.evidence.broken.push(BrokenChain { judged, error });
                    return;
                }
                Next::Need { digest, .. } => match first.take() {
                    Some(bytes) => chain.supply(&bytes),
                    None => match session.fetch_manifest(&digest).await {
                        Ok(child) => chain.supply(&child.bytes),
                        Err(RegistryError::NotFound) => chain.missing(),
                        Err(error) => {
                            heard.failure.get_or_insert(error);
                            chain.missing();
                        }
                    },
                },
            }
        }
    }
}
