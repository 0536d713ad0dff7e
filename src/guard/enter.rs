//! Calls about what exists already: Exec, Attach, PortForward, ExecSync, CheckpointContainer,
//! UpdateContainerResources. Asked only where a rule speaks of them; whose the container is says
//! containerd.

use std::sync::Arc;

use super::facts::OwnSandbox;
use super::prove::runtime;
use super::record::{Beside, Record};
use super::{ASK, Decision, Inner};
use crate::policy::{Code, Text, unjudged};
use crate::policy::{Denial, Intrusion, Judgement, Permit, Policy, Running, Voice};
use crate::relay::RawCall;
use crate::report::Mode;
use crate::request::{GatedMethod, Pod, Request, ResourceChange};

/// What a call is about, verbatim from the request.
#[derive(Clone, Debug)]
pub(super) enum About {
    Container(String),
    Sandbox(String),
}

/// What it asks.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Enter(Intrusion),
    Update(ResourceChange),
}

/// Such a call as it was judged, and whose the container is.
pub(super) struct Entering {
    pub(super) judgement: Judgement,
    pub(super) pod: Pod,
    /// Empty for a sandbox.
    pub(super) container: String,
}

impl Inner {
    /// Whether the policy in force, or a setting, makes the guard look at such calls.
    pub(super) fn looks_at(&self, method: GatedMethod) -> bool {
        let call = match method {
            GatedMethod::StartContainer => return self.parts.starts == super::Starts::Guarded,
            GatedMethod::Exec | GatedMethod::Attach | GatedMethod::PortForward => Intrusion::Exec,
            GatedMethod::ExecSync => Intrusion::ExecSync,
            // The table refuses it, also under observe, until an enforcing rule allows it.
            GatedMethod::CheckpointContainer if self.parts.mode == Mode::Observe => {
                let policy = self.in_force.policy();
                return policy.is_some_and(|policy| policy.allows_some(Intrusion::Checkpoint));
            }
            GatedMethod::CheckpointContainer => Intrusion::Checkpoint,
            GatedMethod::PullImage
            | GatedMethod::ImageStatus
            | GatedMethod::RunPodSandbox
            | GatedMethod::CreateContainer
            | GatedMethod::UpdateContainerResources => return true,
        };
        let policy = self.in_force.policy();
        policy.is_some_and(|policy| policy.speaks_of(call) != Voice::Silent)
    }

    pub(super) async fn enter(
        self: &Arc<Self>,
        call: &RawCall,
        about: About,
        asked: Asked,
        record: &mut Record,
    ) -> Result<Decision, Denial> {
        let policy = self.in_force.policy();
        record.judged_by(policy.as_deref());
        let Some(policy) = policy else {
            // The policy may have gone since the call was taken.
            return match asked {
                Asked::Enter(Intrusion::Checkpoint) => Err(unjudged::refused_method(call.method)),
                Asked::Enter(Intrusion::Exec | Intrusion::ExecSync) | Asked::Update(_) => {
                    Ok(self.pass(call))
                }
            };
        };
        match asked.voice(&policy) {
            Voice::Silent => Ok(self.pass(call)),
            Voice::Records => {
                let guard = Arc::clone(self);
                record.beside(Box::pin(async move {
                    let judged = guard.judge_entering(&policy, &about, &asked).await;
                    // Such rules fail nothing: what could not be told is not judged.
                    let (findings, whose) = match judged {
                        Ok(Entering {
                            judgement,
                            pod,
                            container,
                        }) => (judgement.findings, Some((pod, container))),
                        Err(_) => (Vec::new(), None),
                    };
                    Beside { findings, whose }
                }));
                Ok(self.pass(call))
            }
            Voice::Decides => {
                let judged = self.judge_entering(&policy, &about, &asked).await?;
                record.entering(&judged);
                let permit: Permit = judged.judgement.permit(call.message.clone())?;
                Ok(Decision::Forward(permit, None))
            }
        }
    }

    /// The same judgement, where the call goes on whatever it says.
    pub(super) async fn observe_entering(
        &self,
        request: &Request,
        policy: Option<Arc<Policy>>,
        record: &mut Record,
    ) -> Result<(), Denial> {
        let (Some(policy), Some((about, asked))) = (policy, asked(request)) else {
            return Ok(());
        };
        if asked.voice(&policy) == Voice::Silent {
            return Ok(());
        }
        let judged = self.judge_entering(&policy, &about, &asked).await?;
        record.entering(&judged);
        judged.judgement.verdict.map(|_| ())
    }

    /// The judgement, in containerd's own words about whose the container is.
    pub(super) async fn judge_entering(
        &self,
        policy: &Policy,
        about: &About,
        asked: &Asked,
    ) -> Result<Entering, Denial> {
        let (own, container) = self.whose(about).await?;
        let running = Running {
            pod: &own.pod,
            handler: &own.handler,
            container: &container,
            image: None,
        };
        let (node, now) = (&self.parts.node, crate::clock::now());
        let judgement = match asked {
            Asked::Enter(call) => policy.judge_intrusion(*call, &running, node, now),
            Asked::Update(change) => policy.judge_update(&running, change, node, now),
        };
        Ok(Entering {
            judgement,
            pod: own.pod.clone(),
            container,
        })
    }

    /// The pod, and the container's name; empty for a sandbox.
    async fn whose(&self, about: &About) -> Result<(Arc<OwnSandbox>, String), Denial> {
        let id = match about {
            About::Sandbox(id) => return Ok((self.own_sandbox(id).await?, String::new())),
            About::Container(id) => id,
        };
        if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let text = Text::new()
                .words("container ")
                .value(id)
                .words(" is not named by its whole ID")
                .advice("send the 64 hexadecimal digits that CreateContainer returned");
            return Err(Denial::say(Code::RpcMalformed, text));
        }
        let found = self.parts.containerd.container(id, ASK).await;
        let found = found.map_err(|error| runtime(&error))?;
        let sandbox = found.sandbox_id.unwrap_or_default();
        Ok((self.own_sandbox(&sandbox).await?, found.name))
    }
}

impl Asked {
    fn voice(&self, policy: &Policy) -> Voice {
        match self {
            // Denied by default: a rule that only records, or one that has gone, allows nothing.
            Self::Enter(Intrusion::Checkpoint) => Voice::Decides,
            Self::Enter(call @ (Intrusion::Exec | Intrusion::ExecSync)) => policy.speaks_of(*call),
            Self::Update(_) => policy.speaks_of_resources(),
        }
    }
}

/// What a request is about, and what it asks; `None` where it asks for nothing.
pub(super) fn asked(request: &Request) -> Option<(About, Asked)> {
    let enter = |id: &str, call| Some((About::Container(id.to_owned()), Asked::Enter(call)));
    match request {
        Request::Exec(ask) => enter(&ask.container_id, Intrusion::Exec),
        Request::ExecSync(ask) => enter(&ask.container_id, Intrusion::ExecSync),
        Request::Attach { container_id } => enter(container_id, Intrusion::Exec),
        Request::Checkpoint { container_id } => enter(container_id, Intrusion::Checkpoint),
        Request::PortForward { sandbox_id, .. } => {
            let about = About::Sandbox(sandbox_id.clone());
            Some((about, Asked::Enter(Intrusion::Exec)))
        }
        Request::UpdateResources(ask) => {
            let change = ask.linux.clone()?;
            let about = About::Container(ask.container_id.clone());
            Some((about, Asked::Update(change)))
        }
        Request::Pull(..)
        | Request::ImageStatus(_)
        | Request::RunSandbox(_)
        | Request::Create(_)
        | Request::Start { .. } => None,
    }
}
