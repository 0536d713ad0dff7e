//! What else an image is called by: the digests that rules ask about, walked to the image, or to
//! where they lead instead. And what a reference means when it is pulled. Nothing here decides.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Inner;
use super::ask::OnNode;
use super::prove::{ImageAsk, bad_document, pull_auth, registry};
use crate::image::{Chain, Digest, Goal, ImageId, Links, Next, Platform, Reference, Repository};
use crate::limits::Limits;
use crate::policy::{Denial, Resolution};
use crate::registry::{RegistryError, Resolved, Session};
use crate::request::PullCredentials;
use crate::verify::{BrokenChain, Evidence};

/// How long "not in this repository" is believed: somebody may push it.
const NOT_THERE: Duration = Duration::from_secs(600);

/// Where a digest leads, seen from one image.
#[derive(Clone, Debug)]
pub(crate) enum Lead {
    /// To it.
    There(Links),
    /// Elsewhere: everything was read.
    Elsewhere,
    /// The repository does not hold it.
    NotHeld,
    /// It could not be told.
    Open,
}

/// What a pull's reference means, and the images that containerd may make of it.
pub(super) struct Meaning {
    pub(super) resolution: Resolution,
    pub(super) ids: Vec<ImageId>,
}

impl Inner {
    /// Settles what is asked about with what is on the node, or was found out before.
    pub(super) async fn kin_on_node(
        &self,
        ask: &ImageAsk<'_>,
        evidence: &mut Evidence,
    ) -> Result<(), Denial> {
        let repository = ask.reference.repository();
        for digest in &ask.needs.asked {
            if self.is_apart(repository, digest, &ask.id) {
                evidence.apart.push(*digest);
                continue;
            }
            match self.local_chain(*digest, &ask.id).await? {
                Ok(links) => evidence.links.push(links),
                Err(error) if error.leads_elsewhere() => evidence.broken.push(BrokenChain {
                    judged: *digest,
                    error,
                }),
                // A try: what is wrong with other content says nothing of this image.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Asks the registry about what is still open. An answer is about bytes alone: that the
    /// repository holds a digest proves no tag and no name that the pod wrote.
    pub(super) async fn kin_in_registry(
        &self,
        ask: &ImageAsk<'_>,
        evidence: &mut Evidence,
        until: Instant,
    ) {
        let repository = ask.reference.repository();
        let open: Vec<Digest> = still_open(ask, evidence);
        if open.is_empty() {
            return;
        }
        let Ok(mut session) = self.parts.registry.open(repository, None, until).await else {
            return;
        };
        for digest in open {
            let lead = self.lead(&mut session, digest, &ask.id).await;
            match lead {
                Lead::There(links) => {
                    self.learn_chain(&links);
                    evidence.links.push(links);
                }
                Lead::Elsewhere | Lead::NotHeld => evidence.apart.push(digest),
                Lead::Open => {}
            }
        }
    }

    /// What a reference means now, with the pull's own credentials: the chain to the image that
    /// containerd would run, and whether the digests that the plan asks about lead there too.
    pub(super) async fn resolve(
        &self,
        reference: &Reference,
        credentials: &PullCredentials,
        asked: &[Digest],
        until: Instant,
    ) -> Result<Meaning, Denial> {
        let auth = pull_auth(credentials);
        let denied = |error: &RegistryError| registry(reference, error);
        let node = OnNode(self);
        let mut session = self
            .parts
            .registry
            .open(reference.repository(), auth.as_ref(), until)
            .await
            .map_err(|error| denied(&error))?
            .knowing(&node);
        let answer: Resolved = match reference {
            Reference::Tagged { tag, .. } => session.resolve_tag(tag).await,
            Reference::Digested { digest, .. } => session.name_manifest(digest).await,
        }
        .map_err(|error| denied(&error))?;
        let mut fetched = vec![(answer.digest, answer.bytes.clone())];
        // Which containerd pulls is not asked here. What 1.x would run counts as well as what 2.x
        // would; create sees what runs.
        let mut chains = Vec::new();
        let mut first = None;
        for goal in [Goal::Pick, Goal::PickOfOlder] {
            let picked = self.picked(reference, &answer, goal, &mut session, &mut fetched);
            match picked.await {
                Ok(links) => chains.push(links),
                Err(denial) => drop(first.get_or_insert(denial)),
            }
        }
        if let (Some(denial), true) = (first, chains.is_empty()) {
            return Err(denial);
        }
        let mut resolution = Resolution::default();
        for digest in chains.iter().flat_map(Links::digests) {
            if !resolution.digests.contains(digest) {
                resolution.digests.push(*digest);
            }
        }
        let mut ids: Vec<ImageId> = chains.iter().map(|links| *links.id()).collect();
        ids.dedup();
        for digest in asked {
            if !resolution.digests.contains(digest) {
                self.settle_asked(&mut session, *digest, &ids, &mut resolution)
                    .await;
            }
        }
        Ok(Meaning { resolution, ids })
    }

    /// The chain to the image that a containerd would run.
    async fn picked(
        &self,
        reference: &Reference,
        first: &Resolved,
        goal: Goal,
        session: &mut Session<'_>,
        fetched: &mut Vec<(Digest, Bytes)>,
    ) -> Result<Links, Denial> {
        let (platform, limits) = (&self.parts.platform, &self.parts.limits);
        let media = Some(first.media_type.as_str()).filter(|text| !text.is_empty());
        let mut chain = Chain::start(first.digest, media, goal, platform, limits);
        loop {
            match chain.next() {
                Next::Done(links) => return Ok(links),
                Next::Broken(error) => return Err(bad_document(reference, &error.to_string())),
                Next::Need { digest, .. } => {
                    let here = fetched.iter().find(|(known, _)| *known == digest);
                    if let Some((_, bytes)) = here {
                        chain.supply(bytes);
                        continue;
                    }
                    let child = session.fetch_manifest(&digest).await;
                    let child = child.map_err(|error| registry(reference, &error))?;
                    chain.supply(&child.bytes);
                    fetched.push((digest, child.bytes));
                }
            }
        }
    }

    /// Whether the digest leads to any of the images that may be pulled.
    async fn settle_asked(
        &self,
        session: &mut Session<'_>,
        digest: Digest,
        ids: &[ImageId],
        resolution: &mut Resolution,
    ) {
        let mut apart = true;
        for id in ids {
            match self.lead(session, digest, id).await {
                Lead::There(found) => {
                    self.learn_chain(&found);
                    resolution.kin.extend(found.digests());
                    apart = false;
                }
                Lead::Elsewhere | Lead::NotHeld => {}
                Lead::Open => apart = false,
            }
        }
        if apart {
            resolution.apart.push(digest);
        }
    }

    async fn lead(&self, session: &mut Session<'_>, digest: Digest, id: &ImageId) -> Lead {
        let platform = &self.parts.platform;
        let lead = follow(session, digest, id, platform, &self.parts.limits).await;
        let until = match lead {
            Lead::There(_) | Lead::Open => return lead,
            Lead::Elsewhere => None,
            Lead::NotHeld => Some(Instant::now() + NOT_THERE),
        };
        let key = (session.repository().to_string(), digest, *id.digest());
        self.facts.apart.put(key, until);
        lead
    }

    /// Of what is asked about, the digests that were read to their end elsewhere: that stays so.
    pub(super) fn known_elsewhere(&self, ask: &ImageAsk<'_>) -> Vec<Digest> {
        let repository = ask.reference.repository().to_string();
        let found = |digest: &&Digest| {
            let key = (repository.clone(), **digest, *ask.id.digest());
            self.facts.apart.get(&key) == Some(None)
        };
        ask.needs.asked.iter().filter(found).copied().collect()
    }

    /// Whether the digest was found to lead elsewhere, or not to be in the repository: a moment ago,
    /// or when the image was pulled.
    fn is_apart(&self, repository: &Repository, digest: &Digest, id: &ImageId) -> bool {
        let name = repository.to_string();
        let pulls = self.parts.ledger.pulls_of(id.digest());
        let mut here = pulls.iter().filter(|pull| pull.repository == name);
        if here.any(|pull| pull.apart.contains(digest)) {
            return true;
        }
        match self.facts.apart.get(&(name, *digest, *id.digest())) {
            Some(None) => true,
            Some(Some(until)) => Instant::now() < until,
            None => false,
        }
    }
}

fn still_open(ask: &ImageAsk<'_>, evidence: &Evidence) -> Vec<Digest> {
    let asked = ask.needs.asked.iter().copied();
    asked
        .filter(|digest| {
            let leads = evidence
                .links
                .iter()
                .any(|links| *links.id() == ask.id && links.digests().contains(digest));
            let broken = evidence
                .broken
                .iter()
                .any(|chain| chain.judged == *digest && chain.error.leads_elsewhere());
            !leads && !broken && !evidence.apart.contains(digest)
        })
        .collect()
}

/// Follows a digest through the registry, to see whether it leads to the image.
pub(crate) async fn follow(
    session: &mut Session<'_>,
    start: Digest,
    id: &ImageId,
    platform: &Platform,
    limits: &Limits,
) -> Lead {
    let first = match session.fetch_manifest(&start).await {
        Ok(first) => first,
        Err(RegistryError::NotFound) => return Lead::NotHeld,
        Err(
            RegistryError::Refused
            | RegistryError::Unreachable { .. }
            | RegistryError::Bad { .. }
            | RegistryError::Unsupported { .. },
        ) => return Lead::Open,
    };
    let media = Some(first.media_type.as_str()).filter(|text| !text.is_empty());
    let mut chain = Chain::start(start, media, Goal::Id(*id), platform, limits);
    chain.supply(&first.bytes);
    loop {
        match chain.next() {
            Next::Done(links) => return Lead::There(links),
            Next::Broken(error) if error.leads_elsewhere() => return Lead::Elsewhere,
            Next::Broken(_) => return Lead::Open,
            Next::Need { digest, .. } => match session.fetch_manifest(&digest).await {
                Ok(child) => chain.supply(&child.bytes),
                Err(_) => chain.missing(),
            },
        }
    }
}
