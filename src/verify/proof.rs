//! Proving an image: that the bytes which run, and the name which the pod gives them, belong
//! together. Pure. Refuses what evidence does not show.
//!
//! Bytes: a chain of hashes from a digest D to the ID. Name: D belongs to the repository that the
//! pod named. If the pod wrote a digest, D is that digest or an index that leads there by hash.
//! Where the rules need no digest and the pod wrote none, the ID that a carried pull returned for
//! the repository is enough.
//!
//! One image has many digests: every index that lists it, and each may be the one that a rule
//! names. What allows must be proven, hash and name; what denies must only be possible.

use std::fmt;

use super::evidence::{Evidence, NameEvidence};
use super::requirement::{Depth, Preloaded, Requirement};
use crate::image::{ChainError, Digest, ImageId, Links, Repository};

/// By what it is proven that an image belongs to the repository that the pod named
/// (docs/decisions: proof of the name).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameProof {
    /// A pull that this guard carried returned this image for this repository.
    CarriedPull,
    /// The registry (or its mirror) answered this digest for this repository.
    Registry,
    /// The adoption record: on the node before the guard, under `preloaded: Adopt`.
    Adopted,
    /// An entry of the bootstrap list.
    Bootstrap,
}

/// An image of which bytes and name are proven. Only [`crate::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageProof {
    pub(crate) repository: Repository,
    pub(crate) config: Digest,
    pub(crate) digests: Vec<Digest>,
    pub(crate) kin: Vec<Digest>,
    pub(crate) open: Vec<Digest>,
    pub(crate) name: NameProof,
}

impl ImageProof {
    /// The repository that the pod named, proven to hold this image.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The image ID: digest of the image config.
    pub fn config(&self) -> &Digest {
        &self.config
    }

    /// Every digest that is proven for this image in this repository, over all chains whose start
    /// has a name there: the strongest chain first, index before platform manifest. Empty where only
    /// the ID was asked for (a carried pull under rules that need no digest).
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Digests that lead to this image by hash, and of which nothing shows that they belong to the
    /// repository. They allow nothing; a rule that denies them speaks of this image.
    pub fn kin(&self) -> &[Digest] {
        &self.kin
    }

    /// Digests that were asked about and of which it could not be told whether they lead here.
    pub fn open(&self) -> &[Digest] {
        &self.open
    }

    /// What proved the name.
    pub fn name(&self) -> &NameProof {
        &self.name
    }
}

/// Why an image is not proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotProven {
    /// The pod names a digest, and it provably does not lead to the image that is to run.
    OtherImage {
        /// The digest that the pod wrote.
        digest: Digest,
        /// What is to run.
        id: ImageId,
    },
    /// A chain was read that does not hold: forged, malformed or refused content.
    BadChain {
        /// Where it started.
        judged: Digest,
        /// Why it does not hold.
        error: ChainError,
    },
    /// No chain to the image could be read from any digest that counts.
    Bytes {
        /// What is to run.
        id: ImageId,
        /// The digest that the pod wrote, if it wrote one.
        digest: Option<Digest>,
    },
    /// The bytes may be right, but nothing shows that they belong to the repository.
    Name {
        /// What is to run.
        id: ImageId,
        /// The repository that the pod named.
        repository: Repository,
    },
    /// Only the adoption record shows the name, and the policy does not let it count.
    OnlyAdopted {
        /// What is to run.
        id: ImageId,
        /// The repository that the pod named.
        repository: Repository,
    },
}

/// Whether an image that is not proven is known to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// More evidence could prove it: a pull, or a registry that answers.
    CouldNotTell,
    /// No evidence can.
    Bad,
}

impl NotProven {
    /// Whether more evidence could help.
    pub fn certainty(&self) -> Certainty {
        match self {
            Self::OtherImage { .. } | Self::BadChain { .. } => Certainty::Bad,
            Self::Bytes { .. } | Self::Name { .. } | Self::OnlyAdopted { .. } => {
                Certainty::CouldNotTell
            }
        }
    }
}

impl fmt::Display for NotProven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherImage { digest, id } => {
                write!(
                    f,
                    "the pod names `{digest}`, and image `{id}` is not from there"
                )
            }
            Self::BadChain { judged, error } => {
                write!(f, "`{judged}` does not lead to the image: {error}")
            }
            Self::Bytes { id, digest: None } => {
                write!(f, "nothing shows from which manifest image `{id}` comes")
            }
            Self::Bytes {
                id,
                digest: Some(digest),
            } => write!(f, "nothing shows that `{digest}` leads to image `{id}`"),
            Self::Name { id, repository } => {
                write!(
                    f,
                    "nothing shows that image `{id}` belongs to `{repository}`"
                )
            }
            Self::OnlyAdopted { id, repository } => write!(
                f,
                "image `{id}` was on the node as `{repository}` before the guard, and the policy does not adopt such images (`preloaded`)"
            ),
        }
    }
}

impl std::error::Error for NotProven {}

/// Turns evidence into a proof.
///
/// The strongest name that fits wins: bootstrap entry, carried pull, registry, adoption record.
/// A proof with digests is preferred to one by ID alone, also where the rules need none.
///
/// # Errors
/// [`NotProven`], naming what is missing or wrong. What is provably wrong is named first.
pub fn prove(
    ask: &Requirement,
    evidence: &Evidence,
    preloaded: Preloaded,
) -> Result<ImageProof, NotProven> {
    let chains = chains_to(ask, evidence);
    if let Some((name, digests)) = by_digest(ask, &chains, evidence, preloaded)
        .or_else(|| by_id_alone(ask, evidence, preloaded).map(|name| (name, Vec::new())))
    {
        return Ok(ImageProof {
            repository: ask.reference.repository().clone(),
            config: *ask.id.digest(),
            kin: kin(&chains, &digests),
            open: open(ask, &chains, evidence),
            digests,
            name,
        });
    }
    Err(what_is_missing(ask, &chains, evidence, preloaded))
}

/// The chains that end at the image, in the order of their digests, so that the same evidence gives
/// the same proof.
fn chains_to<'a>(ask: &Requirement, evidence: &'a Evidence) -> Vec<&'a Links> {
    let ending = evidence.links.iter().filter(|links| *links.id() == ask.id);
    let mut chains: Vec<&Links> = ending.collect();
    chains.sort();
    chains.dedup();
    chains
}

/// Whether the chain passes the digest that the pod wrote, if it wrote one.
fn passes(links: &Links, ask: &Requirement) -> bool {
    let written = ask.reference.digest();
    written.is_none_or(|digest| links.digests().contains(digest))
}

/// Every part of a chain that has a name, and the strongest of the names. One of the parts must
/// hold the digest that the pod wrote; then the others are digests of the same image in the same
/// repository, and count too.
fn by_digest(
    ask: &Requirement,
    chains: &[&Links],
    evidence: &Evidence,
    preloaded: Preloaded,
) -> Option<(NameProof, Vec<Digest>)> {
    let mut parts: Vec<(NameProof, Links)> = chains
        .iter()
        .flat_map(|links| named_parts(ask, links, evidence, preloaded))
        .collect();
    parts.sort_by_key(|(name, part)| (!passes(part, ask), strength(*name)));
    let (name, first) = parts.first()?;
    if !passes(first, ask) {
        return None;
    }
    let mut digests: Vec<Digest> = Vec::new();
    for digest in parts.iter().flat_map(|(_, part)| part.digests()) {
        if !digests.contains(digest) {
            digests.push(*digest);
        }
    }
    Some((*name, digests))
}

/// What of a chain lies below a digest with a name, once for each name. A name goes down, because
/// an index says what it consists of, and never up.
fn named_parts(
    ask: &Requirement,
    links: &Links,
    evidence: &Evidence,
    preloaded: Preloaded,
) -> Vec<(NameProof, Links)> {
    let below = |digest: &Digest| links.starting_at(digest);
    let parts = links.digests().iter().filter_map(below);
    parts
        .flat_map(|part| {
            named(evidence, ask.reference.repository(), preloaded)
                .filter(|(_, name)| covers_digest(name, &part))
                .map(|(kind, _)| (kind, part.clone()))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A name for the ID, where neither the rules nor the pod ask for a digest.
fn by_id_alone(ask: &Requirement, evidence: &Evidence, preloaded: Preloaded) -> Option<NameProof> {
    if ask.depth == Depth::Digests || ask.reference.digest().is_some() {
        return None;
    }
    named(evidence, ask.reference.repository(), preloaded)
        .filter(|(_, name)| covers_id(name, &ask.id))
        .map(|(kind, _)| kind)
        .min_by_key(|kind| strength(*kind))
}

/// What leads to the image by hash, without a name.
fn kin(chains: &[&Links], named: &[Digest]) -> Vec<Digest> {
    let mut kin: Vec<Digest> = chains
        .iter()
        .flat_map(|links| links.digests())
        .filter(|digest| !named.contains(digest))
        .copied()
        .collect();
    kin.sort_unstable();
    kin.dedup();
    kin
}

/// What was asked about, and neither leads to the image nor was read to an end elsewhere.
fn open(ask: &Requirement, chains: &[&Links], evidence: &Evidence) -> Vec<Digest> {
    let settled = |digest: &Digest| {
        chains.iter().any(|links| links.digests().contains(digest))
            || evidence.apart.contains(digest)
            || evidence
                .broken
                .iter()
                .any(|chain| chain.judged == *digest && chain.error.leads_elsewhere())
    };
    let mut open: Vec<Digest> = ask.asked.iter().filter(|d| !settled(d)).copied().collect();
    open.sort_unstable();
    open.dedup();
    open
}

/// The evidence about this repository that counts, with what it proves.
fn named<'a>(
    evidence: &'a Evidence,
    repository: &'a Repository,
    preloaded: Preloaded,
) -> impl Iterator<Item = (NameProof, &'a NameEvidence)> {
    evidence
        .names
        .iter()
        .filter(move |name| name.repository() == repository)
        .map(|name| (kind(name), name))
        .filter(move |(kind, _)| match kind {
            NameProof::Adopted => preloaded == Preloaded::Adopt,
            NameProof::CarriedPull | NameProof::Registry | NameProof::Bootstrap => true,
        })
}

fn kind(name: &NameEvidence) -> NameProof {
    match name {
        NameEvidence::CarriedPull { .. } => NameProof::CarriedPull,
        NameEvidence::RegistryAnswer { .. } => NameProof::Registry,
        NameEvidence::Adopted { .. } => NameProof::Adopted,
        NameEvidence::Bootstrap { .. } => NameProof::Bootstrap,
    }
}

/// Less is stronger.
fn strength(name: NameProof) -> u8 {
    match name {
        NameProof::Bootstrap => 0,
        NameProof::CarriedPull => 1,
        NameProof::Registry => 2,
        NameProof::Adopted => 3,
    }
}

/// Whether the evidence names the digest at which the chain starts, and no other image.
fn covers_digest(name: &NameEvidence, links: &Links) -> bool {
    match name {
        NameEvidence::CarriedPull { judged, id, .. } => {
            judged.as_ref() == Some(links.judged()) && id == links.id()
        }
        NameEvidence::Adopted { digest, id, .. } => {
            digest.as_ref() == Some(links.judged()) && id == links.id()
        }
        NameEvidence::RegistryAnswer { digest, .. } | NameEvidence::Bootstrap { digest, .. } => {
            digest == links.judged()
        }
    }
}

/// Whether the evidence names the ID itself.
fn covers_id(name: &NameEvidence, wanted: &ImageId) -> bool {
    match name {
        NameEvidence::CarriedPull { id, .. } | NameEvidence::Adopted { id, .. } => id == wanted,
        NameEvidence::RegistryAnswer { .. } | NameEvidence::Bootstrap { .. } => false,
    }
}

fn what_is_missing(
    ask: &Requirement,
    chains: &[&Links],
    evidence: &Evidence,
    preloaded: Preloaded,
) -> NotProven {
    let written = ask.reference.digest();
    let nowhere = !chains.iter().any(|links| passes(links, ask));
    if nowhere && let Some(bad) = bad_chain(ask, evidence) {
        return bad;
    }
    if nowhere && (ask.depth == Depth::Digests || written.is_some()) {
        return NotProven::Bytes {
            id: ask.id,
            digest: written.copied(),
        };
    }
    let id = ask.id;
    let repository = ask.reference.repository().clone();
    let would_be_adopted = preloaded == Preloaded::Verify
        && (by_digest(ask, chains, evidence, Preloaded::Adopt).is_some()
            || by_id_alone(ask, evidence, Preloaded::Adopt).is_some());
    if would_be_adopted {
        NotProven::OnlyAdopted { id, repository }
    } else {
        NotProven::Name { id, repository }
    }
}

/// What is provably wrong: the written digest leads elsewhere, or to refused content. A chain from
/// a digest that nobody wrote was only a try, and says nothing.
fn bad_chain(ask: &Requirement, evidence: &Evidence) -> Option<NotProven> {
    let digest = ask.reference.digest()?;
    let broken = evidence
        .broken
        .iter()
        .filter(|chain| chain.judged == *digest && !chain.error.is_doubt())
        .min_by_key(|chain| matches!(chain.error, ChainError::OtherImage { .. }))?;
    Some(match &broken.error {
        ChainError::OtherImage { .. } => NotProven::OtherImage {
            digest: *digest,
            id: ask.id,
        },
        ChainError::NotTheBytes { .. }
        | ChainError::Size { .. }
        | ChainError::Document { .. }
        | ChainError::NotAnImage { .. }
        | ChainError::NoPlatform { .. }
        | ChainError::TooMany
        | ChainError::Missing { .. } => NotProven::BadChain {
            judged: *digest,
            error: broken.error.clone(),
        },
    })
}

#[cfg(test)]
mod tests;
