//! One report per guarded call. A record that is dropped unfinished says that the client went away.

use std::time::{Duration, Instant};

use super::Inner;
use super::enter::Entering;
use crate::image::{Digest, Reference};
use crate::policy::document::Action;
use crate::policy::reply::Rpc;
use crate::policy::{Amounts, Denial, Effect, Finding, Judgement, Kind, Policy};
use crate::relay::{BoxFuture, RawCall, RefusedCall};
use crate::report::{Ending, HitEffect, Mode, Outcome, Peer, Reporter, RuleHit, Verdict};
use crate::request::{Method, Pod};

/// The report of one call, while it is being filled in.
pub(super) struct Record {
    reporter: Reporter,
    method: &'static str,
    since: Instant,
    outcome: Outcome,
    /// What was judged, in the order in which denials are named.
    findings: Vec<Finding>,
    beside: Option<BoxFuture<Beside>>,
    took: Option<Duration>,
    open: bool,
    silent: bool,
    /// The call went on without this record.
    beside_the_call: bool,
    mode: Mode,
}

/// What was judged beside a call that went on.
pub(super) struct Beside {
    /// Everything that is known of the call now, in place of what was known when it went on.
    pub(super) findings: Vec<Finding>,
    /// Pod and container, where nobody asked whose it is before.
    pub(super) whose: Option<(Pod, String)>,
}

impl Record {
    pub(super) fn open(inner: &Inner, call: &RawCall) -> Self {
        let mut record = Self::begin(inner.parts.reporter.clone(), call.method, inner.parts.mode);
        let outcome = &mut record.outcome;
        outcome.policy_version = inner.in_force.policy().map(|policy| policy.short_version());
        outcome.peer = Some(Peer {
            uid: call.peer.uid,
            pid: call.peer.pid,
        });
        record
    }

    fn begin(reporter: Reporter, method: &'static str, mode: Mode) -> Self {
        Self {
            reporter,
            method,
            since: Instant::now(),
            outcome: Outcome::new(method, Verdict::Undecided, Duration::ZERO),
            findings: Vec::new(),
            beside: None,
            took: None,
            open: true,
            silent: false,
            beside_the_call: false,
            mode,
        }
    }

    pub(super) fn rpc(&self) -> Rpc {
        Rpc::of(self.method)
    }

    pub(super) fn pod(&mut self, pod: &Pod) {
        self.outcome.pod.namespace.clone_from(&pod.namespace);
        self.outcome.pod.name.clone_from(&pod.name);
        self.outcome.pod.uid.clone_from(&pod.uid);
    }

    pub(super) fn container(&mut self, name: &str) {
        self.outcome.container = Some(name.to_owned());
    }

    pub(super) fn image(&mut self, text: &str) {
        self.outcome.image.reference = Some(text.to_owned());
    }

    pub(super) fn id(&mut self, id: &Digest) {
        self.outcome.image.id = Some(id.to_string());
    }

    pub(super) fn digest(&mut self, digest: &Digest) {
        self.outcome.image.digest = Some(digest.to_string());
    }

    pub(super) fn pinned(&mut self, to: &Reference) {
        self.outcome.edit = Some(format!("pin {to}"));
    }

    pub(super) fn named(&mut self, id: &Digest) {
        self.outcome.edit = Some(format!("id {id}"));
    }

    /// Limits were filled in: bytes, and microseconds of quota.
    pub(super) fn filled(&mut self, amounts: &Amounts) {
        let mut edits: Vec<String> = self.outcome.edit.take().into_iter().collect();
        edits.extend(amounts.memory.map(|bytes| format!("memory {bytes}")));
        edits.extend(amounts.cpu.map(|quota| format!("cpu_quota {quota}")));
        self.outcome.edit = Some(edits.join(", "));
    }

    /// The policy that judges; another may have been activated since the call came.
    pub(super) fn judged_by(&mut self, policy: Option<&Policy>) {
        self.outcome.policy_version = policy.map(Policy::short_version);
    }

    /// Takes in what was judged. The verdict stays open until the call ends.
    pub(super) fn judged(&mut self, judgement: &Judgement) {
        self.findings.extend(judgement.findings.iter().cloned());
    }

    /// Takes in what was judged of a call about what exists, and whose that is.
    pub(super) fn entering(&mut self, judged: &Entering) {
        self.pod(&judged.pod);
        self.container(&judged.container);
        self.judged(&judged.judgement);
    }

    /// What Audit and Warn rules say of the call is told later: the report waits for it, the call
    /// does not.
    pub(super) fn beside(&mut self, judged: BoxFuture<Beside>) {
        self.beside = Some(judged);
    }

    /// The call went on and was answered. Needs the decision runtime.
    pub(super) fn answered(mut self) {
        self.took = Some(self.since.elapsed());
        self.beside_the_call = true;
        let Some(beside) = self.beside.take() else {
            return self.allowed();
        };
        tokio::spawn(async move {
            let Beside { findings, whose } = beside.await;
            self.findings = findings;
            if let Some((pod, container)) = whose {
                self.pod(&pod);
                self.container(&container);
            }
            self.allowed();
        });
    }

    fn allowed(mut self) {
        if self.outcome.verdict == Verdict::Undecided {
            self.went_on();
        }
        self.close(Ending::Answered);
    }

    /// The verdict on a call that no enforcing rule stops: `warned` goes before `would-deny`, so that
    /// a rule that only records silences none that speaks to people. Code and text are of the first
    /// rule behind the verdict.
    fn went_on(&mut self) {
        let first = |action| {
            let mut broken = self.findings.iter();
            broken.find(|one| one.effect == Effect::Denied && one.action == action)
        };
        let (verdict, finding) = match (first(Action::Warn), first(Action::Audit)) {
            (Some(warns), _) => (Verdict::Warned, warns),
            (None, Some(records)) => (Verdict::WouldDeny, records),
            (None, None) => {
                self.outcome.verdict = Verdict::Allowed;
                return;
            }
        };
        self.outcome.verdict = verdict;
        self.outcome.code = finding.code;
        self.outcome.rule = Some((finding.policy.clone(), finding.rule.clone()));
        self.outcome.text = Some(finding.line.clone());
    }

    /// The call goes on at once; what is judged is judged beside it.
    pub(super) fn goes_on(&mut self) {
        self.beside_the_call = true;
    }

    /// The image is there and was answered absent.
    pub(super) fn hidden(&mut self) {
        self.outcome.edit = Some("absent".to_owned());
    }

    /// The rule that made the image absent, and what is missing.
    pub(super) fn why_hidden(&mut self, denial: &Denial) {
        self.say(denial);
    }

    /// A question that nothing was decided about: carried like any relayed call, not reported.
    pub(super) fn forget(&mut self) {
        self.silent = true;
    }

    /// The call was refused.
    pub(super) fn denied(mut self, denial: &Denial) {
        self.outcome.verdict = match denial.code().kind() {
            Kind::Definite => Verdict::Denied,
            Kind::Undecided => Verdict::Undecided,
        };
        self.say(denial);
        self.close(Ending::Answered);
    }

    /// The call was carried, and its answer replaced by a refusal with this line.
    pub(super) fn refused_late(mut self, line: &str) {
        let code = crate::policy::Code::leading(line);
        self.outcome.verdict = match code.map(crate::policy::Code::kind) {
            Some(Kind::Definite) => Verdict::Denied,
            Some(Kind::Undecided) | None => Verdict::Undecided,
        };
        self.outcome.code = code;
        self.outcome.text = Some(line.to_owned());
        self.close(Ending::Answered);
    }

    /// The call was let through, and no answer came of it: with the line that the client got, or
    /// that says what it got instead of one.
    pub(super) fn broken(mut self, line: &str) {
        self.outcome.verdict = Verdict::Undecided;
        self.outcome.code = crate::policy::Code::leading(line);
        self.outcome.text = Some(line.to_owned());
        self.close(Ending::Answered);
    }

    /// The call went on although it would have been refused: observe mode.
    pub(super) fn observed(mut self, denial: Option<&Denial>) {
        if let Some(denial) = denial {
            self.outcome.verdict = Verdict::WouldDeny;
            self.say(denial);
        }
        self.answered();
    }

    fn say(&mut self, denial: &Denial) {
        self.outcome.code = Some(denial.code());
        self.outcome.rule = denial
            .rule()
            .map(|(policy, rule)| (policy.to_owned(), rule.to_owned()));
        self.outcome.text = Some(denial.line());
    }

    fn close(&mut self, ending: Ending) {
        self.open = false;
        if self.silent {
            return;
        }
        let acts = self.mode == Mode::Enforce;
        self.outcome.hits = hits(&self.findings, acts);
        self.outcome.ending = ending;
        self.outcome.duration = self.took.unwrap_or_else(|| self.since.elapsed());
        self.reporter.record(&self.outcome);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        self.outcome.verdict = Verdict::Undecided;
        match (std::thread::panicking(), self.beside_the_call) {
            // The relay refuses the call and tells the gate, in the same words for all panics.
            (true, false) => self.open = false,
            // Nobody else knows: the call has its answer already.
            (true, true) => {
                self.say(&crate::policy::unjudged::failed(self.method));
                self.close(Ending::Answered);
            }
            (false, _) => self.close(Ending::Cancelled),
        }
    }
}

/// The rules of these findings, each once for a code and an effect; what no rule says is in the verdict
/// alone. Enforcing rules act or would have, as `acts` says; the others never do.
pub(super) fn hits(findings: &[Finding], acts: bool) -> Vec<RuleHit> {
    let mut hits: Vec<RuleHit> = Vec::new();
    for finding in findings.iter().filter(|one| !one.rule.is_empty()) {
        let did = acts && finding.action == Action::Enforce;
        let effect = match (finding.effect, did) {
            (Effect::Denied, true) => HitEffect::Denied,
            (Effect::Denied, false) => HitEffect::WouldDeny,
            (Effect::Pinned, true) => HitEffect::Pinned,
            (Effect::Pinned, false) => HitEffect::WouldPin,
            (Effect::Filled, true) => HitEffect::Filled,
            (Effect::Filled, false) => HitEffect::WouldFill,
            (Effect::Waived, true | false) => HitEffect::Waived,
        };
        let hit = RuleHit {
            policy: finding.policy.clone(),
            rule: finding.rule.clone(),
            action: finding.action,
            effect,
            code: finding.code,
            exception: (finding.waived.as_ref()).map(|waived| waived.exception.clone()),
        };
        // A rule that a thousand mounts break is one.
        if !hits.contains(&hit) {
            hits.push(hit);
        }
    }
    hits
}

/// Reports what the relay refused by itself, if it belongs to a guarded method; unknown paths are
/// counted under one name, because a path is whatever a client writes.
pub(super) fn refused_by_relay(inner: &Inner, call: RefusedCall<'_>) {
    let method = Method::from_path(call.path).map_or("other", Method::name);
    let mut outcome = Outcome::new(method, Verdict::Denied, Duration::ZERO);
    outcome.text = Some(call.refusal.text.clone());
    outcome.code = crate::policy::Code::leading(&call.refusal.text);
    outcome.policy_version = inner.in_force.policy().map(|policy| policy.short_version());
    outcome.peer = Some(Peer {
        uid: call.peer.uid,
        pid: call.peer.pid,
    });
    inner.parts.reporter.record(&outcome);
}

#[cfg(test)]
mod tests;
