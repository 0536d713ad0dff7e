//! The pause image: containerd starts it in every sandbox without asking anyone. It is the node's
//! configuration, so policy rules do not apply to it; it must lead to an entry of the bootstrap
//! list, or `pause` of the PolicySet speaks.

use super::prove::runtime;
use super::{ASK, Inner};
use crate::containerd::ContainerdError;
use crate::image::{Digest, ImageId, Reference};
use crate::policy::document::{Action, Pause};
use crate::policy::{
    BootstrapEntry, Code, Denial, Effect, Finding, Judgement, Policy, Text, refused_reference,
};

/// The rule name under which the PolicySet's `pause` speaks.
const RULE: &str = "pause";

impl Inner {
    pub(super) async fn judge_pause(&self, policy: &Policy, mut judgement: Judgement) -> Judgement {
        let bootstrap = self.bootstrap(Some(policy));
        let denial = match self.pause_chain(policy, &bootstrap).await {
            Ok((image, chain)) => {
                return judgement.and(policy.judge_pause(&image, &chain, &bootstrap));
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
                });
                judgement
            }
        }
    }

    /// The pause image's name, and the listed digests that lead to what the name means now.
    async fn pause_chain(
        &self,
        policy: &Policy,
        bootstrap: &[BootstrapEntry],
    ) -> Result<(Reference, Vec<Digest>), Denial> {
        let name = self.pause_name().await?;
        let reference =
            Reference::parse(&name).map_err(|error| refused_reference(&name, &error))?;
        let entries: Vec<&BootstrapEntry> = bootstrap
            .iter()
            .filter(|entry| entry.repository == *reference.repository())
            .collect();
        let containerd = &self.parts.containerd;
        let present = containerd.image_status(&name, ASK).await;
        let id = match (present.map_err(|error| runtime(&error))?, entries.first()) {
            (Some(image), _) => image.id,
            (None, Some(entry)) => self.fetch_pause(&reference, entry).await?,
            (None, None) => return Ok((reference, Vec::new())),
        };
        let key = (id, policy.version().to_string());
        if let Some(chain) = self.facts.pause.get(&key) {
            return Ok((reference, chain));
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
        Ok((reference, chain))
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
    async fn pause_name(&self) -> Result<String, Denial> {
        if let Some(reference) = &self.parts.pause_image {
            return Ok(reference.to_string());
        }
        if let Some(facts) = self.facts.runtime()
            && let Some(name) = &facts.pause_image
        {
            return Ok(name.clone());
        }
        let containerd = &self.parts.containerd;
        let asked = containerd.runtime_status(ASK).await;
        let mut facts = asked.map_err(|error| runtime(&error))?;
        if facts.pause_image.is_none() {
            let images = containerd.list_images(ASK).await;
            facts.pause_image = images
                .map_err(|error| runtime(&error))?
                .into_iter()
                .filter(|image| image.pinned)
                .flat_map(|image| image.repo_tags.into_iter().chain(image.repo_digests))
                .next();
        }
        let certs_dirs = self.parts.registry.certs_dirs();
        let facts = self.facts.learn_runtime(facts, certs_dirs);
        facts.pause_image.clone().ok_or_else(|| {
            let text = Text::new()
                .words("the pause image's name cannot be told")
                .advice("set `pause_image` in the guard's settings");
            Denial::say(Code::ImgUnproven, text)
        })
    }
}
