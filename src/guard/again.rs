//! What runs, judged again by the policy in force: what would not be let start any more is said, and
//! goes on running. Beside all calls: one question at a time, no registry, nothing changed, no turn
//! that a gate waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::create::{Judged, shown_image};
use super::facts::OwnSandbox;
use super::made::{Made, Named};
use super::prove::Reach;
use super::record::hits;
use super::{ASK, Guard, Inner};
use crate::containerd::{
    ContainerEntry, ContainerState, ContainerdError, SandboxEntry, SandboxState,
};
use crate::image::{Digest, ImageId};
use crate::policy::{Code, Denial, Finding, Kind, Policy, Text};
use crate::report::{Image, Pod, RunningReport, RunningVerdict};
use crate::request::CreateAsk;
use crate::time::Timestamp;

/// Running containers and sandboxes that one pass looks at. A kubelet runs a few hundred.
const MAX_RUNNING: usize = 4_096;
/// Before each of them, so that a pass over a full node takes seconds of time and little of the
/// machine.
const PAUSE: Duration = Duration::from_millis(20);
/// Things said that are remembered, so that none is said twice.
const MAX_TOLD: usize = 4 * MAX_RUNNING;

/// What a pass over what runs found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejudged {
    /// The policy that judged, as [`Policy::short_version`] writes it.
    pub policy_version: String,
    /// Running containers and sandboxes that were judged, whatever came out.
    pub judged: u64,
    /// Of these, how many would not be let start again, by code.
    pub denied: BTreeMap<Code, u64>,
    /// Of these, how many could not be told, by code.
    pub undecided: BTreeMap<Code, u64>,
    /// Those that were not looked at: more run than one pass takes.
    pub left_out: u64,
}

/// Of what something was said already: by ID, policy version and code.
#[derive(Debug, Default)]
pub(super) struct Told {
    said: Mutex<BTreeSet<(String, Digest, Code)>>,
}

/// Something that runs.
enum Runs {
    Sandbox(SandboxEntry),
    Container(ContainerEntry),
}

/// What became of one of them, and what it is called.
struct Again {
    verdict: Result<(), Denial>,
    findings: Vec<Finding>,
    pod: Pod,
    image: Image,
}

impl Guard {
    /// Judges every running sandbox and container by `policy`, as if it were to start now: from the
    /// guard's record of the request or containerd's, with what the ledger and the content store
    /// hold. What would be denied, and what could not be told, is reported once for each ID, policy
    /// version and code. Takes a moment for each; to be dropped when it is not wanted any more.
    ///
    /// # Errors
    /// What containerd said when it was asked what runs, or when it went away meanwhile: the pass ends.
    pub async fn judge_running(&self, policy: &Policy) -> Result<Rejudged, ContainerdError> {
        self.inner.judge_running(policy).await
    }
}

impl Inner {
    async fn judge_running(&self, policy: &Policy) -> Result<Rejudged, ContainerdError> {
        let mut running = self.what_runs_now().await?;
        let left_out = running.len().saturating_sub(MAX_RUNNING);
        running.truncate(MAX_RUNNING);
        self.told.keep(&running);
        let mut found = Rejudged {
            policy_version: policy.short_version(),
            left_out: u64::try_from(left_out).unwrap_or(u64::MAX),
            ..Rejudged::default()
        };
        for one in &running {
            sleep(PAUSE).await;
            let again = self.judge_again(policy, one).await;
            let doubt = match &again.verdict {
                Ok(()) => {
                    found.judged += 1;
                    continue;
                }
                Err(denial) => denial.code().kind() == Kind::Undecided,
            };
            // What ended meanwhile leaves no doubt.
            if doubt && self.is_gone(one).await? {
                continue;
            }
            found.judged += 1;
            self.say(policy, one, again, &mut found);
        }
        Ok(found)
    }

    async fn what_runs_now(&self) -> Result<Vec<Runs>, ContainerdError> {
        let containerd = &self.parts.containerd;
        let sandboxes = containerd.list_pod_sandbox(ASK).await?.into_iter();
        let containers = containerd.list_containers(ASK).await?.into_iter();
        let sandboxes = sandboxes.filter(|one| one.state == SandboxState::Ready);
        let containers = containers.filter(|one| one.state == ContainerState::Running);
        let sandboxes = sandboxes.map(Runs::Sandbox);
        Ok(sandboxes.chain(containers.map(Runs::Container)).collect())
    }

    /// Judges one, within the budget of a create.
    async fn judge_again(&self, policy: &Policy, one: &Runs) -> Again {
        let within = self.parts.limits.create_budget;
        let mut again = Again::of(one);
        let judged = async {
            match one {
                Runs::Sandbox(sandbox) => self.sandbox_again(policy, sandbox, &mut again).await,
                Runs::Container(container) => {
                    self.container_again(policy, container, &mut again).await
                }
            }
        };
        let judged = timeout(within, judged).await;
        again.verdict = judged.unwrap_or_else(|_| Err(late(one.id(), within)));
        again
    }

    async fn sandbox_again(
        &self,
        policy: &Policy,
        sandbox: &SandboxEntry,
        again: &mut Again,
    ) -> Result<(), Denial> {
        let made = self.sandbox_made_by(sandbox).await?;
        let judged = policy.judge_sandbox(&made, &self.parts.node, crate::clock::now());
        again.findings = judged.findings;
        judged.verdict.map(|_| ())
    }

    async fn container_again(
        &self,
        policy: &Policy,
        container: &ContainerEntry,
        again: &mut Again,
    ) -> Result<(), Denial> {
        let own = self.sandbox_around(container).await?;
        again.pod = Pod {
            namespace: own.pod.namespace.clone(),
            name: own.pod.name.clone(),
            uid: own.pod.uid.clone(),
        };
        let Made { ask, named } = self.made_by(container).await?;
        again.image.reference = Some(shown_image(&ask).to_owned());
        if let Ok(id) = ImageId::parse(&ask.container.image) {
            again.image.id = Some(id.to_string());
            self.is_kept(&id, shown_image(&ask)).await?;
        }
        let now = crate::clock::now();
        let Judged { judgement, proof } = self
            .judge_create(Some(policy), &ask, &own, Reach::Quiet, now)
            .await;
        let digest = proof.as_ref().and_then(|proof| proof.digests().first());
        again.image.digest = digest.map(ToString::to_string);
        if named == Named::ByContainerd && self.hangs_on_the_name(policy, &ask, &own, now) {
            return Err(nameless(&container.name));
        }
        again.findings = judgement.findings;
        judgement.verdict.map(|_| ())
    }

    /// An image that was taken off the node while its container runs would be pulled first.
    async fn is_kept(&self, id: &ImageId, shown: &str) -> Result<(), Denial> {
        match self.config(id, shown).await {
            Err(denial) if denial.code() == Code::ImgUnproven => Err(taken_away(shown)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether an enforcing rule speaks by what an image of the container is called.
    fn hangs_on_the_name(
        &self,
        policy: &Policy,
        ask: &CreateAsk,
        own: &OwnSandbox,
        now: Timestamp,
    ) -> bool {
        let bootstrap = self.bootstrap(Some(policy));
        let plan = self.plan(Some(policy), ask, own, &bootstrap, now);
        plan.hangs_on_name()
    }

    /// Whether it is there no more.
    ///
    /// # Errors
    /// Where containerd tells nothing any more: then the doubt is about the pass, not about this one.
    async fn is_gone(&self, one: &Runs) -> Result<bool, ContainerdError> {
        let containerd = &self.parts.containerd;
        let still = match one {
            Runs::Sandbox(sandbox) => containerd.sandbox(&sandbox.id, ASK).await.map(|_| ()),
            Runs::Container(container) => {
                containerd.container(&container.id, ASK).await.map(|_| ())
            }
        };
        match still {
            Ok(()) => Ok(false),
            Err(ContainerdError::NotFound { .. }) => Ok(true),
            Err(_) => containerd.list_pod_sandbox(ASK).await.map(|_| false),
        }
    }

    /// Counts what is not allowed, and reports what was not said before.
    fn say(&self, policy: &Policy, one: &Runs, again: Again, found: &mut Rejudged) {
        let Err(denial) = again.verdict else {
            return;
        };
        let (verdict, counts) = match denial.code().kind() {
            Kind::Definite => (RunningVerdict::WouldDeny, &mut found.denied),
            Kind::Undecided => (RunningVerdict::Undecided, &mut found.undecided),
        };
        *counts.entry(denial.code()).or_default() += 1;
        if !self.told.is_new(one.id(), policy.version(), denial.code()) {
            return;
        }
        let rule = denial.rule();
        self.parts.reporter.running(&RunningReport {
            verdict,
            code: denial.code(),
            rule: rule.map(|(policy, rule)| (policy.to_owned(), rule.to_owned())),
            policy_version: policy.short_version(),
            text: denial.line(),
            pod: again.pod,
            container: one.container().map(str::to_owned),
            id: one.id().to_owned(),
            image: again.image,
            hits: hits(&again.findings, false),
        });
    }
}

impl Again {
    /// Nothing is judged yet.
    fn of(one: &Runs) -> Self {
        let pod = match one {
            Runs::Sandbox(sandbox) => Pod {
                namespace: sandbox.namespace.clone(),
                name: sandbox.name.clone(),
                uid: sandbox.uid.clone(),
            },
            Runs::Container(_) => Pod::default(),
        };
        Self {
            verdict: Ok(()),
            findings: Vec::new(),
            pod,
            image: Image::default(),
        }
    }
}

impl Runs {
    fn id(&self) -> &str {
        match self {
            Self::Sandbox(sandbox) => &sandbox.id,
            Self::Container(container) => &container.id,
        }
    }

    /// The container's name; `None` for a sandbox.
    fn container(&self) -> Option<&str> {
        match self {
            Self::Sandbox(_) => None,
            Self::Container(container) => Some(&container.name),
        }
    }
}

impl Told {
    /// Forgets what runs no more.
    fn keep(&self, running: &[Runs]) {
        let ids: BTreeSet<&str> = running.iter().map(Runs::id).collect();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|(id, _, _)| ids.contains(id.as_str()));
    }

    /// Whether this was not said before; from now on it was.
    fn is_new(&self, id: &str, version: Digest, code: Code) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= MAX_TOLD {
            said.retain(|(_, of, _)| *of == version);
        }
        said.insert((id.to_owned(), version, code))
    }
}

/// Nothing of the image is left to judge.
pub(super) fn taken_away(shown: &str) -> Denial {
    let text = Text::new()
        .words("image ")
        .value(shown)
        .words(" runs and is not on the node any more, and no registry is asked about what runs")
        .advice("nothing needs to be done: the next start of the container pulls it");
    Denial::say(Code::ImgUnreachable, text)
}

/// Judging took longer than a create may.
pub(super) fn late(id: &str, within: Duration) -> Denial {
    let text = Text::new()
        .words("what runs as ")
        .value(id)
        .raw(&format!(" was not judged within {} s", within.as_secs()))
        .advice("look at containerd and the file systems of the node; it is tried again");
    Denial::say(Code::RuntimeUnavailable, text)
}

/// Rules speak by the image's name, and the pod's own word for it is not known.
pub(super) fn nameless(container: &str) -> Denial {
    let text = Text::new()
        .words("container ")
        .value(container)
        .words(
            " was made before the guard, and containerd does not tell how its pod names the image",
        )
        .advice("nothing needs to be done: the next start of the container tells");
    Denial::say(Code::RuntimeUnavailable, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: &str) -> Runs {
        Runs::Container(ContainerEntry::named(id, "main", ContainerState::Running))
    }

    #[test]
    fn the_same_is_said_once_while_it_runs() {
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let told = Told::default();
        assert!(told.is_new("a", one, Code::PodRoot));
        assert!(!told.is_new("a", one, Code::PodRoot), "an hour later");
        assert!(told.is_new("a", one, Code::PodHostpath), "another code");
        assert!(told.is_new("b", one, Code::PodRoot), "another container");
        assert!(told.is_new("a", other, Code::PodRoot), "another policy");
        told.keep(&[container("a")]);
        assert!(!told.is_new("a", one, Code::PodRoot), "it runs still");
        assert!(told.is_new("b", one, Code::PodRoot), "it had ended");
    }

    #[test]
    fn what_was_said_is_remembered_within_bounds() {
        let (old, now) = (Digest::of(b"1"), Digest::of(b"2"));
        let told = Told::default();
        for at in 0..MAX_TOLD {
            assert!(told.is_new(&at.to_string(), old, Code::PodRoot));
        }
        assert!(told.is_new("0", now, Code::PodRoot));
        assert!(!told.is_new("0", now, Code::PodRoot));
        assert_eq!(told.said.lock().unwrap().len(), 1);
    }
}
