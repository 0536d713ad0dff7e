//! What runs already: would it be allowed to start under another policy (lockout guard), and did it
//! pass here (unguarded containers).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::create::Judged;
use super::facts::OwnSandbox;
use super::prove::Reach;
use super::{ASK, Guard, Inner};
use crate::containerd::{ContainerEntry, ContainerState, ContainerdError};
use crate::image::{Digest, ImageId, Reference};
use crate::policy::document::Pause;
use crate::policy::{Allowed, Basis, Denial, Judgement, Pin, Policy};
use crate::request::{CreateAsk, PodSource, recorded_create};

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
    /// Judges what must always be able to start again under `candidate`: running static pods,
    /// running containers whose image is on the bootstrap list, with their sandboxes, and the pause
    /// image where the policy says `pause: Deny`. "Could not tell" counts as denied.
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
                verdict: Ok(Allowed {
                    basis: Basis::Rules,
                    pin: Pin::No,
                }),
                findings: Vec::new(),
            };
            let judged = self.judge_pause(candidate, open).await;
            judged.verdict.map_err(|denial| node(&denial))?;
        }
        let containers = self.parts.containerd.list_containers(ASK).await;
        for container in containers.map_err(away)? {
            if container.state != ContainerState::Running {
                continue;
            }
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

    /// The sandbox of a container, in containerd's own words.
    async fn sandbox_around(&self, container: &ContainerEntry) -> Result<OwnSandbox, Denial> {
        let id = container.sandbox_id.as_deref().unwrap_or_default();
        let status = self.parts.containerd.sandbox(id, ASK).await;
        let status = status.map_err(|error| super::prove::runtime(&error))?;
        Ok(OwnSandbox {
            pod: status.pod,
            handler: status.runtime_handler,
            namespaces: Some(status.namespaces),
        })
    }

    /// The request of a container that must be able to start again; `None` for all others.
    async fn vital(
        &self,
        container: &ContainerEntry,
        own: &OwnSandbox,
        candidate: &Policy,
    ) -> Result<Option<CreateAsk>, Denial> {
        let fixed = match own.pod.source {
            PodSource::File | PodSource::Http => true,
            PodSource::Api | PodSource::Unstated => {
                self.is_listed(container, own, candidate).await?
            }
        };
        if !fixed {
            return Ok(None);
        }
        let fact = self.parts.ledger.container(&container.id);
        if let Some(ask) = fact.and_then(|fact| fact.ask.clone()) {
            return Ok(Some(ask));
        }
        let id = container.sandbox_id.as_deref().unwrap_or_default();
        let containerd = &self.parts.containerd;
        let asked = containerd.container_status(&container.id, true, ASK).await;
        let asked = asked.map_err(|error| super::prove::runtime(&error))?;
        let around = containerd.sandbox_info(id, ASK).await;
        let around = around.map_err(|error| super::prove::runtime(&error))?;
        let mut ask = recorded_create(
            id,
            asked.info.as_deref().unwrap_or_default(),
            around.as_deref().unwrap_or_default(),
        )
        .map_err(|_| super::internal("a container that containerd does not describe"))?;
        let named = &mut ask.container.user_specified_image;
        if named.is_empty() && Reference::parse(&asked.image).is_ok() {
            // containerd before 1.7 keeps no word of the pod's own: a name that it has for the image
            // stands in. It decides only whether a policy is taken, never whether something starts.
            named.clone_from(&asked.image);
        }
        Ok(Some(ask))
    }

    /// Whether the container's image is on the bootstrap list for its namespace.
    async fn is_listed(
        &self,
        container: &ContainerEntry,
        own: &OwnSandbox,
        candidate: &Policy,
    ) -> Result<bool, Denial> {
        let id = [&container.image_id, &container.image_ref, &container.image]
            .into_iter()
            .find_map(|text| Digest::parse(text).ok());
        let Some(id) = id else {
            return Ok(false);
        };
        for entry in self.bootstrap(Some(candidate)) {
            if !entry.namespaces.contains(&own.pod.namespace) {
                continue;
            }
            let end = ImageId::of_config(id);
            if self.chain_on_node(entry.digest, &end).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn could_start(
        &self,
        candidate: &Policy,
        ask: &CreateAsk,
        own: &OwnSandbox,
        until: Instant,
    ) -> Result<(), Denial> {
        let mut sandbox = ask.sandbox.clone();
        sandbox.runtime_handler = Some(own.handler.clone());
        let sandbox = candidate.judge_sandbox(&sandbox, &self.parts.node);
        sandbox.verdict.map(|_| ())?;
        let Judged { judgement, .. } = self
            .judge_create(Some(candidate), ask, own, Reach::Registry(until))
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
