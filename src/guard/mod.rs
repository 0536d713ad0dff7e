//! The path of a guarded call: bytes in, permit or denial out, one report each. Start reading here.
//!
//! ```text
//! RawCall ─decode→ Request ─plan→ needs ─gather→ evidence ─conclude→ Judgement ─→ Permit | Denial
//! ```
//! Every error of a stage converts into a [`Denial`]; `?` is the fail-closed path. What goes
//! upstream is the message that came, or that message with an edit appended.

mod again;
mod ask;
mod beside;
mod content;
mod create;
mod created;
mod enter;
mod facts;
mod fill;
mod flight;
mod gather;
mod handler;
mod kin;
mod made;
mod observe;
mod pause;
mod presence;
mod prove;
mod pull;
mod record;
mod rootfs;
mod running;
mod sandbox;
mod settle;
mod settled_pull;
mod state;
mod vital;

#[cfg(test)]
mod texts;
mod unproven;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::containerd::{Containerd, ContainerdError, Version};
use crate::host::KubeletRoot;
use crate::image::{Platform, Reference};
use crate::limits::Limits;
use crate::policy::reply::Rpc;
use crate::policy::{BootstrapEntry, Denial, NodeFacts, Permit, Policy, unjudged};
use crate::registry::Registry;
use crate::relay::{BoxFuture, Gate, Handling, RawCall, Refusal, RefusedCall, Settle, Verdict};
use crate::report::{Mode, Reporter};
use crate::request::{
    GatedMethod, Handling as Row, HygieneError, Method, Request, Shape, Tolerated,
};
use crate::store::{Admissions, AdoptionRecord, Ledger, Persistence};

use again::Told;
use facts::Facts;
use record::Record;

pub use again::Rejudged;
pub(crate) use kin::{Lead, follow};
pub(crate) use prove::{bad_document, registry as registry_denial};
pub use running::{LockedOut, Unguarded};
pub use state::{InForce, State};

/// How long the guard's own questions to containerd may take.
const ASK: Duration = Duration::from_secs(5);

/// Of a client's deadline, what is left for the answer.
const SPARE: Duration = Duration::from_secs(1);

/// Whether StartContainer is judged (setting `start`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    /// Carried like any other call.
    Relayed,
    /// Only containers whose create passed here, or that the adoption record holds.
    Guarded,
}

/// Everything that a guard is made of. All of it comes from the daemon.
#[derive(Debug)]
pub struct Parts {
    /// The node, as policy sees it.
    pub node: NodeFacts,
    /// The platform of images that run here.
    pub platform: Platform,
    /// Whether denials are enforced.
    pub mode: Mode,
    /// Whether StartContainer is judged.
    pub starts: Starts,
    /// The node's own bootstrap list.
    pub bootstrap: Vec<BootstrapEntry>,
    /// The kubelet's root directory.
    pub kubelet_root: Arc<KubeletRoot>,
    /// The pause image, where containerd does not say it itself.
    pub pause_image: Option<Reference>,
    /// Handlers that pull images inside the guest.
    pub guest_pull_handlers: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// The guard's own way to containerd.
    pub containerd: Containerd,
    /// The guard's own way to registries.
    pub registry: Registry,
    /// Facts that survive a restart.
    pub ledger: Ledger,
    /// What was here before the guard; `None` if that was never recorded.
    pub adoption: Option<AdoptionRecord>,
    /// What was admitted here.
    pub admissions: Admissions,
    /// Log, metrics, audit.
    pub reporter: Reporter,
}

/// Decides guarded calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    in_force: InForce,
    facts: Facts,
    /// What was said of what runs.
    told: Told,
    /// Set once: at the start, or as soon as containerd answers for the first time.
    adoption: OnceLock<AdoptionRecord>,
}

/// What was decided for a call that may go on.
enum Decision {
    /// Forward it, then look at the answer.
    Forward(Permit, Option<Box<dyn Settle>>),
    /// Answer OK with this message; containerd sees nothing.
    Answer(Bytes),
}

impl Guard {
    /// A guard without a policy: state Bootstrap.
    pub fn new(mut parts: Parts, why: &str) -> Self {
        let adoption = parts
            .adoption
            .take()
            .map(OnceLock::from)
            .unwrap_or_default();
        Self {
            inner: Arc::new(Inner {
                parts,
                in_force: InForce::bootstrap(crate::clock::now(), why),
                facts: Facts::default(),
                told: Told::default(),
                adoption,
            }),
        }
    }

    /// The policy in force, and since when.
    pub fn in_force(&self) -> &InForce {
        &self.inner.in_force
    }

    /// Log, metrics and audit of this guard.
    pub fn reporter(&self) -> &Reporter {
        &self.inner.parts.reporter
    }

    /// What was on the node before the guard, if that was recorded.
    pub fn adoption(&self) -> Option<&AdoptionRecord> {
        self.inner.adoption.get()
    }

    /// Takes in the record of what was on the node before the guard, where containerd did not
    /// answer in time at the start. The first record stays.
    pub fn adopt(&self, record: AdoptionRecord) {
        self.inner.adoption.get_or_init(|| record);
    }

    /// The facts that survive a restart.
    pub fn ledger(&self) -> &Ledger {
        &self.inner.parts.ledger
    }

    /// Whether admissions reach the disk.
    pub fn admissions(&self) -> Persistence {
        self.inner.parts.admissions.persistence()
    }

    /// containerd's version, by the guard's own connection.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn runtime_version(&self) -> Result<Version, ContainerdError> {
        self.inner.parts.containerd.version(ASK).await
    }

    /// Waits until facts and audit lines are on the disk, at most `within` each.
    pub fn flush(&self, within: Duration) {
        let parts = &self.inner.parts;
        if !(parts.ledger.flush(within) && parts.admissions.flush(within)) {
            tracing::warn!("not every fact reached the disk in time");
        }
        parts.reporter.flush(within);
    }

    /// Puts a policy in force: later decisions see it, those under way keep the one they began
    /// with.
    pub fn activate(&self, policy: Policy) {
        self.inner
            .in_force
            .activate(Arc::new(policy), crate::clock::now());
    }
}

impl Gate for Guard {
    fn handling(&self, path: &str) -> Handling {
        match Method::from_path(path) {
            None => Handling::Refuse(refusal(Rpc::Unlisted, &unjudged::unlisted(path))),
            Some(method) => self.inner.handling(method),
        }
    }

    fn decide(&self, call: RawCall) -> BoxFuture<Verdict> {
        let inner = Arc::clone(&self.inner);
        Box::pin(inner.carry(call))
    }

    fn refused(&self, call: RefusedCall<'_>) {
        record::refused_by_relay(&self.inner, call);
    }
}

impl Inner {
    fn handling(&self, method: Method) -> Handling {
        match method.handling() {
            Row::Gate(gated) => Handling::Guard(gated.method().name()),
            Row::FilterImageStatus => Handling::Guard(Method::ImageStatus.name()),
            Row::GateIfAsked(gated) | Row::RefuseUnlessAsked(gated) if self.looks_at(gated) => {
                Handling::Guard(gated.method().name())
            }
            Row::GateIfAsked(_) | Row::Relay => match method.shape() {
                Shape::Unary => Handling::Pass,
                Shape::ServerStream => Handling::Stream,
            },
            Row::RefuseUnlessAsked(_) => Handling::Refuse(refusal(
                Rpc::Gated,
                &unjudged::refused_method(method.name()),
            )),
            Row::Unimplemented => {
                Handling::Refuse(refusal(Rpc::Unlisted, &unjudged::unlisted(method.path())))
            }
        }
    }

    /// Carries one guarded call to its verdict and reports it exactly once, also when the client
    /// goes away first.
    async fn carry(self: Arc<Self>, call: RawCall) -> Verdict {
        let mut record = Record::open(&self, &call);
        let outcome = match self.parts.mode {
            Mode::Enforce => self.decide(&call, &mut record).await,
            Mode::Observe => return self.observe(call, record),
        };
        match outcome {
            Ok(Decision::Forward(permit, settle)) => Verdict::Forward {
                message: permit.into_message(),
                settle: Some(Box::new(settle::Reported::new(record, settle))),
            },
            Ok(Decision::Answer(message)) => {
                record.answered();
                Verdict::Answer(message)
            }
            Err(denial) => {
                let rpc = record.rpc();
                record.denied(&denial);
                Verdict::Refuse(refusal(rpc, &denial))
            }
        }
    }

    /// The whole path of one call.
    async fn decide(
        self: &Arc<Self>,
        call: &RawCall,
        record: &mut Record,
    ) -> Result<Decision, Denial> {
        match self.read(call)? {
            Request::Pull(ask, credentials) => self.pull(call, &ask, &credentials, record).await,
            Request::ImageStatus(ask) => self.presence(call, &ask, record).await,
            Request::RunSandbox(ask) => self.sandbox(call, &ask, record).await,
            Request::Create(ask) => self.create(call, &ask, record).await,
            Request::Start { container_id } => self.start(call, &container_id),
            request @ (Request::UpdateResources(_)
            | Request::Exec(_)
            | Request::ExecSync(_)
            | Request::Attach { .. }
            | Request::PortForward { .. }
            | Request::Checkpoint { .. }) => match enter::asked(&request) {
                Some((about, asked)) => self.enter(call, about, asked, record).await,
                // Nothing is changed.
                None => Ok(self.pass(call)),
            },
        }
    }

    /// Bytes → request, or why they are none.
    fn read(&self, call: &RawCall) -> Result<Request, Denial> {
        let method = gated(call.method).ok_or_else(|| internal("a method without a gate"))?;
        let decoded = crate::request::decode(method, &call.message, &Tolerated::default())
            .map_err(|error| self.hygiene(method, &error))?;
        Ok(decoded.request)
    }

    fn hygiene(&self, method: GatedMethod, error: &HygieneError) -> Denial {
        for field in error.unknown_fields() {
            self.parts
                .reporter
                .unknown_field(&field.message, field.number);
        }
        unjudged::hygiene(method.method().name(), error)
    }

    /// Forwards a call that no rule speaks of.
    fn pass(&self, call: &RawCall) -> Decision {
        Decision::Forward(Permit::unjudged(call.message.clone()), None)
    }

    /// The node's bootstrap list and the policy's together.
    fn bootstrap(&self, policy: Option<&Policy>) -> Vec<BootstrapEntry> {
        let own = self.parts.bootstrap.iter();
        let signed = policy.map(Policy::bootstrap).unwrap_or_default();
        own.chain(signed).cloned().collect()
    }
}

/// When the guard's own gathering for a call must be over: its budget, and before the client stops
/// waiting, so that "could not tell" still reaches it.
fn over_by(now: Instant, budget: Duration, deadline: Option<Instant>) -> Instant {
    let until = now + budget;
    let Some(deadline) = deadline else {
        return until;
    };
    let left = deadline.saturating_duration_since(now);
    until.min(now + left.saturating_sub(SPARE.min(left / 2)))
}

/// The gated method of a label that [`Inner::handling`] gave out.
fn gated(label: &str) -> Option<GatedMethod> {
    GatedMethod::ALL
        .iter()
        .copied()
        .find(|gated| gated.method().name() == label)
}

/// A denial as the relay says it.
fn refusal(rpc: Rpc, denial: &Denial) -> Refusal {
    Refusal::of(rpc, denial)
}

/// The guard's own failure: refused, said, nothing let through.
fn internal(what: &'static str) -> Denial {
    unjudged::internal(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathering_ends_before_its_budget_and_before_the_client_gives_up() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        for (budget, client, wanted) in [
            (10, None, seconds(10)),
            (10, Some(120), seconds(10)),
            (10, Some(4), seconds(3)),
            (10, Some(1), seconds(1) / 2),
            (10, Some(0), seconds(0)),
        ] {
            let deadline = client.map(|client| now + seconds(client));
            assert_eq!(
                over_by(now, seconds(budget), deadline) - now,
                wanted,
                "{client:?}"
            );
        }
    }
}
