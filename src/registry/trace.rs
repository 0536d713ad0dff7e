//! Every host asked for one reference, for people who want to know why: the guard itself stops at
//! the first good answer.

use super::endpoint::Need;
use super::error::{Failures, RegistryError};
use super::lane::{Ask, Lane};
use super::{MANIFESTS, Resolved, Session, ask_one, ask_tag};
use crate::image::Reference;

/// What a host is to the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRole {
    /// The registry's own host.
    Own,
    /// A host of hosts.toml that answers for it.
    Mirror,
}

/// What came of asking one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostOutcome {
    /// Content that hashes to what it should.
    Answered(Resolved),
    /// No usable answer.
    Failed(RegistryError),
    /// hosts.toml does not give it the capability that this needs.
    NotAsked,
}

/// One host, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAnswer {
    /// Scheme, host, port if it is not the scheme's own, and API root.
    pub url: String,
    /// The registry itself, or a mirror.
    pub role: HostRole,
    /// Whether a credential was accepted for making a request with; not whether it was enough.
    pub authenticated: bool,
    /// What it said.
    pub outcome: HostOutcome,
}

/// All hosts in the order in which the guard and containerd ask them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// One entry for each host.
    pub hosts: Vec<HostAnswer>,
    /// What the guard would go by: the first good answer, or the failure that speaks by the rule of
    /// [`Session`].
    pub result: Result<Resolved, RegistryError>,
}

impl Session<'_> {
    /// Asks every host which manifest or index `reference` is now; `before` hears the URL of each
    /// host before it is asked.
    pub async fn trace(&mut self, reference: &Reference, mut before: impl FnMut(&str)) -> Trace {
        let (need, object, digest) = match reference {
            Reference::Tagged { tag, .. } => (Need::Resolve, tag.as_str().to_owned(), None),
            Reference::Digested { digest, .. } => (Need::Name, digest.to_string(), Some(digest)),
        };
        let mut hosts = Vec::new();
        let mut failures = Failures::default();
        let mut first = None;
        let last = self.lanes.iter().rposition(|lane| lane.endpoint.can(need));
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let ask = Ask {
                registry: self.registry,
                repository: self.repository,
                auth: self.auth,
                deadline: self.deadline,
                kind: "manifests",
                object: &object,
                accept: MANIFESTS,
                max_body: self.registry.limits.max_manifest_bytes,
                last: last == Some(index),
                head: false,
            };
            let outcome = if lane.endpoint.can(need) {
                before(lane.endpoint.base.as_str());
                let answer = match digest {
                    None => ask_tag(lane, ask, self.known).await,
                    Some(_) => ask_one(lane, ask, digest).await,
                };
                match answer {
                    Ok(resolved) => {
                        first.get_or_insert_with(|| resolved.clone());
                        HostOutcome::Answered(resolved)
                    }
                    Err(error) => {
                        failures.add(lane.endpoint.own, error.clone());
                        HostOutcome::Failed(error)
                    }
                }
            } else {
                HostOutcome::NotAsked
            };
            hosts.push(HostAnswer {
                url: lane.endpoint.base.to_string(),
                role: role(lane),
                authenticated: lane.authenticated(),
                outcome,
            });
        }
        let result = first.ok_or_else(|| failures.speaks());
        Trace { hosts, result }
    }

    /// The hosts in their order, without asking any.
    pub fn hosts(&self) -> Vec<HostAnswer> {
        let lanes = self.lanes.iter();
        lanes
            .map(|lane| HostAnswer {
                url: lane.endpoint.base.to_string(),
                role: role(lane),
                authenticated: false,
                outcome: HostOutcome::NotAsked,
            })
            .collect()
    }
}

fn role(lane: &Lane) -> HostRole {
    if lane.endpoint.own {
        HostRole::Own
    } else {
        HostRole::Mirror
    }
}
