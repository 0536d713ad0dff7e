//! The pause image: containerd starts it in every sandbox without asking anyone. It is the node's
//! configuration, so policy rules do not apply to it; it must lead to an entry of the bootstrap
//! list, or `pause` of the PolicySet speaks.

use super::prove::runtime;
use super::{ASK, Inner};
use crate::containerd::{ContainerdError, ImageEntry};
use crate::image::{Digest, ImageId, Reference};
use crate::policy::document::{Action, Pause};
use crate::policy::{
    BootstrapEntry, Code, Denial, Effect, Finding, Judgement, Policy, Text, refused_reference,
};
use crate::report::Mode;

/// The rule name under which the PolicySet's `pause` speaks.
const RULE: &str = "pause";

/// What is known of one image that containerd may start in a sandbox.
struct Chain {
    image: Reference,
    /// The listed digests that lead to it.
    listed: Vec<Digest>,
}

impl Inner {
    /// Judges the pause image: every one that it may be, where containerd does not say which.
    pub(super) async fn judge_pause(&self, policy: &Policy, mut judgement: Judgement) -> Judgement {
        let bootstrap = self.bootstrap(Some(policy));
        let denial = match self.pause_chains(policy, &bootstrap).await {
            Ok(chains) => {
                for chain in chains {
                    let judged = policy.judge_pause(&chain.image, &chain.listed, &bootstrap);
                    judgement = judgement.and(judged);
                }
                return judgement;
            }
            Err(denial) => denial.with_rule(policy.name(), RULE),
        };
        match policy.set().pause {
            Pause::Deny => judgement.denied_by(denial),
            Pause::Warn => {
                judgement.findings.push(Finding {
                    policy: policy.name().to_owned(),
                    rule: RULE.to_owned(),
                    action: Action::Warn,
                    effect: Effect::Denied,
                    code: Some(denial.code()),
                    line: denial.line(),
                    waived: None,
                });
                judgement
            }
        }
    }

    async fn pause_chains(
        &self,
        policy: &Policy,
        bootstrap: &[BootstrapEntry],
    ) -> Result<Vec<Chain>, Denial> {
        let mut chains = Vec::new();
        for name in self.pause_names().await? {
            let image =
                Reference::parse(&name).map_err(|error| refused_reference(&name, &error))?;
            let listed = self.pause_chain(policy, &image, bootstrap).await?;
            chains.push(Chain { image, listed });
        }
        Ok(chains)
    }

    /// The listed digests that lead to what the name means now.
    async fn pause_chain(
        &self,
        policy: &Policy,
        name: &Reference,
        bootstrap: &[BootstrapEntry],
    ) -> Result<Vec<Digest>, Denial> {
        let entries: Vec<&BootstrapEntry> = bootstrap
            .iter()
            .filter(|entry| entry.repository == *name.repository())
            .collect();
        let containerd = &self.parts.containerd;
        let present = containerd.image_status(&name.to_string(), ASK).await;
        let id = match (
            present.map_err(|error| runtime(&error))?,
            to_fetch(name, &entries),
        ) {
            (Some(image), _) => image.id,
            (None, Some(entry)) => match (policy.set().pause, self.parts.mode) {
                (Pause::Deny, Mode::Enforce) => self.fetch_pause(name, entry).await?,
                // Nothing is brought to the node; under enforcement it would be this one.
                (Pause::Deny, Mode::Observe) => return Ok(vec![entry.digest]),
                (Pause::Warn, Mode::Enforce | Mode::Observe) => return Ok(Vec::new()),
            },
            (None, None) => return Ok(Vec::new()),
        };
        let key = (id, policy.version().to_string());
        if let Some(chain) = self.facts.pause.get(&key) {
            return Ok(chain);
        }
        let mut chain = Vec::new();
        for entry in entries {
            let end = ImageId::of_config(id);
            if self.chain_on_node(entry.digest, &end).await?.is_some() {
                chain.push(entry.digest);
            }
        }
        // That nothing leads there now may change with the next pull; that something does, may not.
        if !chain.is_empty() {
            self.facts.pause.put(key, chain.clone());
        }
        Ok(chain)
    }

    /// Pulls the listed pause image before containerd would pull whatever the name means.
    async fn fetch_pause(
        &self,
        name: &Reference,
        entry: &BootstrapEntry,
    ) -> Result<Digest, Denial> {
        let pinned = name.with_digest(entry.digest);
        let containerd = &self.parts.containerd;
        let failed = |error: ContainerdError| runtime(&error);
        let budget = self.parts.limits.pull_budget;
        let id = containerd
            .pull_image(&pinned, budget)
            .await
            .map_err(failed)?;
        if *name != pinned {
            containerd
                .alias(name, &pinned, &id, ASK)
                .await
                .map_err(failed)?;
        }
        Ok(id)
    }

    /// 1.x says the name in its status, 2.x pins the image; a setting says it where neither does.
    /// Where several images are pinned, any of them may be the one.
    async fn pause_names(&self) -> Result<Vec<String>, Denial> {
        if let Some(reference) = &self.parts.pause_image {
            return Ok(vec![reference.to_string()]);
        }
        if let Some(name) = &self.runtime_facts().await?.pause_image {
            return Ok(vec![name.clone()]);
        }
        let images = self.parts.containerd.list_images(ASK).await;
        let names = pinned_names(images.map_err(|error| runtime(&error))?);
        if names.is_empty() {
            let text = Text::new()
                .words("the pause image's name cannot be told")
                .advice("set `pause_image` in the guard's settings");
            return Err(Denial::say(Code::ImgUnproven, text));
        }
        Ok(names)
    }
}

/// The entry to fetch for a name that is not on the node: the one with the name's digest, or the
/// first where it has none. A name with another digest must not come to mean a listed one.
fn to_fetch<'a>(name: &Reference, entries: &[&'a BootstrapEntry]) -> Option<&'a BootstrapEntry> {
    entries
        .iter()
        .find(|entry| name.digest().is_none_or(|digest| *digest == entry.digest))
        .copied()
}

/// A name of every pinned image.
fn pinned_names(images: Vec<ImageEntry>) -> Vec<String> {
    images
        .into_iter()
        .filter(|image| image.pinned)
        .filter_map(|image| {
            let mut names = image.repo_tags.into_iter().chain(image.repo_digests);
            names.next()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> Digest {
        Digest::parse(&format!("sha256:{}", letter.to_string().repeat(64))).unwrap()
    }

    fn image(letter: char, pinned: bool, names: &[&str]) -> ImageEntry {
        ImageEntry {
            id: digest(letter),
            repo_tags: names.iter().map(|&name| name.to_owned()).collect(),
            repo_digests: vec![format!("r.example/x@{}", digest(letter))],
            uid: None,
            username: String::new(),
            pinned,
        }
    }

    #[test]
    fn every_pinned_image_may_be_the_pause_image() {
        let images = vec![
            image('a', true, &["r.example/pause:1", "r.example/pause:2"]),
            image('b', false, &["r.example/app:1"]),
            image('c', true, &[]),
        ];
        let names = pinned_names(images);
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(names[0], "r.example/pause:1");
        assert!(names[1].starts_with("r.example/x@sha256:c"), "{names:?}");
    }

    #[test]
    fn a_pause_image_named_by_digest_is_fetched_only_as_that_digest() {
        let entry = |letter| BootstrapEntry {
            namespaces: Vec::new(),
            repository: Reference::parse("r.example/pause:1")
                .unwrap()
                .repository()
                .clone(),
            digest: digest(letter),
        };
        let (a, b) = (entry('a'), entry('b'));
        let entries = [&a, &b];
        let tag = Reference::parse("r.example/pause:1").unwrap();
        assert_eq!(to_fetch(&tag, &entries).unwrap().digest, digest('a'));
        assert_eq!(
            to_fetch(&tag.with_digest(digest('b')), &entries)
                .unwrap()
                .digest,
            digest('b')
        );
        assert!(to_fetch(&tag.with_digest(digest('c')), &entries).is_none());
        assert!(to_fetch(&tag, &[]).is_none());
    }
}
