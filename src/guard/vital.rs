//! What must always be able to start again, whatever the policy: static pods, and containers whose
//! image is on a bootstrap list. In doubt a container is vital: that costs a refused policy, never a
//! node.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::OwnSandbox;
use super::made::image_id;
use super::prove::runtime;
use super::{ASK, Inner};
use crate::containerd::{ContainerEntry, ContainerState, SandboxEntry};
use crate::image::{Digest, ImageId, Reference};
use crate::policy::{BootstrapEntry, Denial, Policy};
use crate::request::{CreateAsk, PodSource};

/// The containers to ask about: those that run, and of static pods of which nothing runs (the
/// machine was just started, or a container is about to be started anew) the newest of each name.
pub(super) fn to_ask(
    containers: Vec<ContainerEntry>,
    sandboxes: &[SandboxEntry],
) -> Vec<ContainerEntry> {
    let resting = resting_sandboxes(&containers, sandboxes);
    let mut newest: BTreeMap<(String, String), ContainerEntry> = BTreeMap::new();
    let mut asked = Vec::new();
    for container in containers {
        if container.state == ContainerState::Running {
            asked.push(container);
            continue;
        }
        let Some(sandbox) = container.sandbox_id.clone() else {
            continue;
        };
        if !resting.contains(&sandbox) {
            continue;
        }
        let key = (sandbox, container.name.clone());
        let age = |one: &ContainerEntry| (one.created_at, one.attempt);
        match newest.get(&key) {
            Some(known) if age(known) >= age(&container) => {}
            Some(_) | None => {
                newest.insert(key, container);
            }
        }
    }
    asked.extend(newest.into_values());
    asked
}

/// Of each static pod of which nothing runs: the newest sandbox that holds a container. An older one
/// may be of a manifest that was corrected since.
fn resting_sandboxes(
    containers: &[ContainerEntry],
    sandboxes: &[SandboxEntry],
) -> BTreeSet<String> {
    let holding = |running: bool| -> BTreeSet<&str> {
        containers
            .iter()
            .filter(|one| !running || one.state == ContainerState::Running)
            .filter_map(|one| one.sandbox_id.as_deref())
            .collect()
    };
    let (all, running) = (holding(false), holding(true));
    let mut pods: BTreeMap<(&str, &str), Vec<&SandboxEntry>> = BTreeMap::new();
    for sandbox in sandboxes.iter().filter(|one| is_static(one.pod().source)) {
        let pod = (sandbox.namespace.as_str(), sandbox.name.as_str());
        pods.entry(pod).or_default().push(sandbox);
    }
    pods.into_values()
        .filter(|of_pod| !of_pod.iter().any(|one| running.contains(one.id.as_str())))
        .filter_map(|of_pod| {
            of_pod
                .into_iter()
                .filter(|one| all.contains(one.id.as_str()))
                .max_by_key(|one| (one.created_at, one.attempt))
        })
        .map(|sandbox| sandbox.id.clone())
        .collect()
}

fn is_static(source: PodSource) -> bool {
    match source {
        PodSource::File | PodSource::Http => true,
        PodSource::Api | PodSource::Unstated => false,
    }
}

impl Inner {
    /// The request of a container that must be able to start again; `None` for all others.
    pub(super) async fn vital(
        &self,
        container: &ContainerEntry,
        own: &OwnSandbox,
        candidate: &Policy,
    ) -> Result<Option<CreateAsk>, Denial> {
        let fixed = is_static(own.pod.source) || self.is_listed(container, own, candidate).await?;
        if !fixed {
            return Ok(None);
        }
        Ok(Some(self.made_by(container).await?.ask))
    }

    /// Whether the container's image is on a bootstrap list for its namespace, or may be: the
    /// node's list, the candidate's, and that of the policy in force, which the candidate may drop.
    async fn is_listed(
        &self,
        container: &ContainerEntry,
        own: &OwnSandbox,
        candidate: &Policy,
    ) -> Result<bool, Denial> {
        let in_force = self.in_force.policy();
        let dropped = in_force.as_deref().map(Policy::bootstrap);
        let mut entries: Vec<BootstrapEntry> = self.bootstrap(Some(candidate));
        entries.extend(dropped.unwrap_or_default().iter().cloned());
        entries.retain(|entry| entry.namespaces.contains(&own.pod.namespace));
        if entries.is_empty() {
            return Ok(false);
        }
        let id = image_id(container);
        let named = self.repositories(container, id).await?;
        for entry in entries {
            let repository = entry.repository.to_string();
            let may_be = named.as_ref().is_none_or(|all| all.contains(&repository));
            let Some(id) = id else {
                if may_be {
                    return Ok(true);
                }
                continue;
            };
            let end = ImageId::of_config(id);
            match self.local_chain(entry.digest, &end).await? {
                Ok(_) => return Ok(true),
                Err(error) if may_be && error.is_doubt() => return Ok(true),
                Err(_) => {}
            }
        }
        Ok(false)
    }

    /// The repositories by which a container's image is known; `None` if none can be told.
    async fn repositories(
        &self,
        container: &ContainerEntry,
        id: Option<Digest>,
    ) -> Result<Option<BTreeSet<String>>, Denial> {
        let fact = self.parts.ledger.container(&container.id);
        if let Some(repository) = fact.and_then(|fact| fact.repository.clone()) {
            return Ok(Some(BTreeSet::from([repository])));
        }
        let mut names = vec![container.image.clone(), container.image_ref.clone()];
        if let Some(id) = id {
            let id = id.to_string();
            let asked = self.parts.containerd.image_status(&id, ASK).await;
            if let Some(image) = asked.map_err(|error| runtime(&error))? {
                names.extend(image.repo_tags);
                names.extend(image.repo_digests);
            }
        }
        let found: BTreeSet<String> = names
            .iter()
            .filter_map(|name| Reference::parse(name).ok())
            .map(|reference| reference.repository().to_string())
            .collect();
        Ok((!found.is_empty()).then_some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::SandboxState;

    fn sandbox(id: &str, pod: &str, source: &str, created_at: i64) -> SandboxEntry {
        let key = "kubernetes.io/config.source".to_owned();
        SandboxEntry {
            id: id.to_owned(),
            name: pod.to_owned(),
            namespace: "kube-system".to_owned(),
            uid: id.to_owned(),
            attempt: 0,
            state: SandboxState::NotReady,
            created_at,
            labels: BTreeMap::new(),
            annotations: BTreeMap::from([(key, source.to_owned())]),
            runtime_handler: String::new(),
        }
    }

    fn container(id: &str, sandbox: &str, state: ContainerState, attempt: u32) -> ContainerEntry {
        ContainerEntry {
            sandbox_id: Some(sandbox.to_owned()),
            attempt,
            created_at: i64::from(attempt),
            ..ContainerEntry::named(id, "main", state)
        }
    }

    fn asked(containers: Vec<ContainerEntry>, sandboxes: &[SandboxEntry]) -> Vec<String> {
        let asked = to_ask(containers, sandboxes);
        asked.into_iter().map(|one| one.id).collect()
    }

    use ContainerState::{Exited, Running};

    #[test]
    fn after_a_start_of_the_machine_the_newest_container_of_a_static_pod_stands_for_it() {
        let sandboxes = [sandbox("s", "etcd", "file", 1)];
        let containers = vec![
            container("old", "s", Exited, 1),
            container("new", "s", Exited, 2),
        ];
        assert_eq!(asked(containers, &sandboxes), ["new"]);
    }

    #[test]
    fn what_ended_is_not_asked_about_where_the_pod_runs() {
        let sandboxes = [
            sandbox("before", "etcd", "file", 1),
            sandbox("now", "etcd", "file", 2),
        ];
        let containers = vec![
            container("old", "before", Exited, 1),
            container("new", "now", Running, 0),
        ];
        assert_eq!(asked(containers, &sandboxes), ["new"]);
    }

    #[test]
    fn a_sandbox_that_was_replaced_does_not_stand_for_its_pod() {
        let sandboxes = [
            sandbox("before", "etcd", "file", 1),
            sandbox("now", "etcd", "file", 2),
            sandbox("empty", "etcd", "file", 3),
        ];
        let containers = vec![
            container("old", "before", Exited, 5),
            container("new", "now", Exited, 0),
        ];
        assert_eq!(asked(containers, &sandboxes), ["new"]);
    }

    #[test]
    fn what_ended_of_a_pod_of_the_api_is_not_asked_about() {
        let sandboxes = [sandbox("s", "job", "api", 1)];
        let containers = vec![container("done", "s", Exited, 0)];
        assert_eq!(asked(containers, &sandboxes), [""; 0]);
    }
}
