//! What runs already: would it be allowed to start under another policy (lockout guard), and did it
//! pass here (unguarded containers).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::create::Judged;
use super::facts::OwnSandbox;
use super::prove::Reach;
use super::vital::to_ask;
use super::{ASK, Guard, Inner};
use crate::containerd::{ContainerEntry, ContainerdError};
use crate::policy::document::Pause;
use crate::policy::{Allowed, Basis, Denial, Judgement, Policy};
use crate::request::CreateAsk;

/// Between two looks at a container that nobody knows.
const SETTLE: Duration = Duration::from_secs(3);

/// Why a policy is not put in force: under it this could not start again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedOut {
    /// What runs: `kube-system/etcd-n1 container etcd`.
    pub what: String,
    /// The denial's line.
    pub line: String,
}

/// Running containers and sandboxes of containerd's namespace that neither passed here nor were
/// adopted, whoever started them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unguarded {
    /// Their IDs, sorted.
    pub ids: BTreeSet<String>,
}

impl Guard {
    /// Judges what must always be able to start again under `candidate`: static pods, running or
    /// about to be started anew, running containers whose image is on a bootstrap list, with their
    /// sandboxes, and the pause image where the policy says `pause: Deny`. "Could not tell" counts
    /// as denied.
    pub async fn would_lock_out(&self, candidate: &Policy) -> Option<LockedOut> {
        if candidate.set().allow_lockout {
            return None;
        }
        self.inner.lockout(candidate).await.err()
    }

    /// Compares what runs with what passed here, and forgets what is gone. What is unknown is looked
    /// at again after a moment: a sandbox runs before its ID is told.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn unguarded(&self) -> Result<Unguarded, ContainerdError> {
        self.inner.unguarded().await
    }
}

impl Inner {
    async fn lockout(&self, candidate: &Policy) -> Result<(), LockedOut> {
        let until = Instant::now() + self.parts.limits.pull_budget;
        let node = |denial: &Denial| LockedOut {
            what: "this node".to_owned(),
            line: denial.line(),
        };
        let away = |error: ContainerdError| node(&super::prove::runtime(&error));
        if candidate.set().pause == Pause::Deny {
            let open = Judgement {
                verdict: Ok(Allowed::by(Basis::Rules)),
                findings: Vec::new(),
            };
            let judged = self.judge_pause(candidate, open).await;
            judged.verdict.map_err(|denial| node(&denial))?;
        }
        let containerd = &self.parts.containerd;
        let containers = containerd.list_containers(ASK).await.map_err(away)?;
        let sandboxes = containerd.list_pod_sandbox(ASK).await.map_err(away)?;
        for container in to_ask(containers, &sandboxes) {
            let own = self.sandbox_around(&container).await;
            let own = own.map_err(|denial| LockedOut {
                what: format!("container {}", container.name),
                line: denial.line(),
            })?;
            let denied = |denial: Denial| LockedOut {
                what: what_runs(&own, &container),
                line: denial.line(),
            };
            let vital = self.vital(&container, &own, candidate).await;
            if let Some(ask) = vital.map_err(denied)? {
                self.could_start(candidate, &ask, &own, until)
                    .await
                    .map_err(denied)?;
            }
        }
        Ok(())
    }

    async fn could_start(
        &self,
        candidate: &Policy,
        ask: &CreateAsk,
        own: &OwnSandbox,
        until: Instant,
    ) -> Result<(), Denial> {
        let now = crate::clock::now();
        let mut sandbox = ask.sandbox.clone();
        sandbox.runtime_handler = Some(own.handler.clone());
        let sandbox = candidate.judge_sandbox(&sandbox, &self.parts.node, now);
        sandbox.verdict.map(|_| ())?;
        let Judged { judgement, .. } = self
            .judge_create(Some(candidate), ask, own, Reach::Registry(until), now)
            .await;
        judgement.verdict.map(|_| ())
    }

    /// Forgets sandboxes that are gone: what a pod brings along (labels, annotations) is the
    /// tenant's choice of size, and only what lives may hold memory.
    async fn forget_sandboxes(&self) -> Result<(), ContainerdError> {
        let ledger = &self.parts.ledger;
        let before = ledger.sandboxes();
        let now = self.parts.containerd.list_pod_sandbox(ASK).await?;
        let ids: BTreeSet<&str> = now.iter().map(|sandbox| sandbox.id.as_str()).collect();
        let pods: BTreeSet<String> = now
            .iter()
            .map(|sandbox| sandbox.pod().config_seen)
            .collect();
        for fact in before.iter().filter(|fact| !ids.contains(fact.id.as_str())) {
            ledger.forget_sandbox(&fact.id);
        }
        // These can be asked again, so one that was learnt since the list may go as well.
        self.facts
            .keep(|id| ids.contains(id), |seen| pods.contains(seen));
        Ok(())
    }

    async fn unguarded(&self) -> Result<Unguarded, ContainerdError> {
        self.forget_sandboxes().await?;
        let ledger = &self.parts.ledger;
        let before: Vec<String> = ledger
            .containers()
            .iter()
            .map(|fact| fact.id.clone())
            .collect();
        let now = self.parts.containerd.list_containers(ASK).await?;
        let known: BTreeSet<&str> = now.iter().map(|container| container.id.as_str()).collect();
        for id in before.iter().filter(|id| !known.contains(id.as_str())) {
            ledger.forget_container(id);
        }
        let mut ids = self.strangers().await?;
        if !ids.is_empty() {
            tokio::time::sleep(SETTLE).await;
            let still = self.strangers().await?;
            ids.retain(|id| still.contains(id));
        }
        Ok(Unguarded { ids })
    }

    /// What runs, and is not known.
    async fn strangers(&self) -> Result<BTreeSet<String>, ContainerdError> {
        let mut running = self.parts.containerd.running_tasks(ASK).await?;
        let ledger = &self.parts.ledger;
        let record = self.adoption.get();
        running.retain(|id| {
            ledger.container(id).is_none()
                && ledger.sandbox(id).is_none()
                && !record.is_some_and(|record| record.was_here(id))
        });
        Ok(running)
    }
}

/// A running container as people know it.
fn what_runs(own: &OwnSandbox, container: &ContainerEntry) -> String {
    format!(
        "{}/{} container {}",
        own.pod.namespace, own.pod.name, container.name
    )
}
