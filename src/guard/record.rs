//! One report per guarded call. A record that is dropped unfinished says that the client went away.

use std::time::{Duration, Instant};

use super::Inner;
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
    beside: Option<BoxFuture<Vec<Finding>>>,
    took: Option<Duration>,
    open: bool,
    silent: bool,
    /// The call went on without this record.
    beside_the_call: bool,
    mode: Mode,
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
        for finding in &judgement.findings {
            self.hit(finding);
        }
    }

    /// Takes in what enforcing rules did to a call that goes on; what others say is told later.
    pub(super) fn judged_enforcing(&mut self, judgement: &Judgement) {
        let findings = judgement.findings.iter();
        for finding in findings.filter(|finding| finding.action == Action::Enforce) {
            self.hit(finding);
        }
    }

    /// Takes in one finding. What an enforcing rule does to the call is the verdict's to say.
    pub(super) fn hit(&mut self, finding: &Finding) {
        let acts = finding.action == Action::Enforce && self.mode == Mode::Enforce;
        let effect = match (finding.effect, acts) {
            (Effect::Denied, true) => HitEffect::Denied,
            (Effect::Denied, false) => HitEffect::WouldDeny,
            (Effect::Pinned, true) => HitEffect::Pinned,
            (Effect::Pinned, false) => HitEffect::WouldPin,
            (Effect::Filled, true) => HitEffect::Filled,
            (Effect::Filled, false) => HitEffect::WouldFill,
            (Effect::Waived, true | false) => HitEffect::Waived,
        };
        if effect == HitEffect::WouldDeny && finding.action != Action::Enforce {
            self.would_deny(finding);
        }
        let hit = RuleHit {
            policy: finding.policy.clone(),
            rule: finding.rule.clone(),
            action: finding.action,
            effect,
            code: finding.code,
            exception: (finding.waived.as_ref()).map(|waived| waived.exception.clone()),
        };
        // What no rule says is in the verdict alone, and a rule that a thousand mounts break is one.
        if !hit.rule.is_empty() && !self.outcome.hits.contains(&hit) {
            self.outcome.hits.push(hit);
        }
    }

    /// What an Audit or Warn rule would have said is the call's text, until a denial is.
    fn would_deny(&mut self, finding: &Finding) {
        if self.outcome.code.is_none() {
            self.outcome.code = finding.code;
            self.outcome.rule = Some((finding.policy.clone(), finding.rule.clone()));
            self.outcome.text = Some(finding.line.clone());
        }
        self.outcome.verdict = match (finding.action, self.outcome.verdict) {
            (Action::Audit, _) | (_, Verdict::WouldDeny) => Verdict::WouldDeny,
            (Action::Warn | Action::Enforce, _) => Verdict::Warned,
        };
    }

    /// What Audit and Warn rules say of the call is told later: the report waits for it, the call
    /// does not.
    pub(super) fn beside(&mut self, findings: BoxFuture<Vec<Finding>>) {
        self.beside = Some(findings);
    }

    /// The call went on and was answered. Needs the decision runtime.
    pub(super) fn answered(mut self) {
        self.took = Some(self.since.elapsed());
        self.beside_the_call = true;
        let Some(beside) = self.beside.take() else {
            return self.allowed();
        };
        tokio::spawn(async move {
            for finding in beside.await {
                self.hit(&finding);
            }
            self.allowed();
        });
    }

    fn allowed(mut self) {
        if self.outcome.verdict == Verdict::Undecided {
            self.outcome.verdict = Verdict::Allowed;
        }
        self.close(Ending::Answered);
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
mod tests {
    use super::*;

    /// Calls reported when `end` has its way with a record.
    fn reported(end: impl FnOnce(Record) + std::panic::UnwindSafe) -> (u64, u64) {
        let directory = tempfile::tempdir().unwrap();
        let reporter = Reporter::new("node-1", directory.path());
        let record = Record::begin(reporter.clone(), "PullImage", Mode::Enforce);
        let record = std::panic::AssertUnwindSafe(record);
        let ended = std::panic::catch_unwind(move || {
            let record = record;
            end(record.0);
        });
        drop(ended);
        let calls = reporter.calls();
        (calls.undecided, calls.allowed + calls.denied)
    }

    #[test]
    fn a_call_that_the_client_gave_up_is_reported_once() {
        assert_eq!(reported(drop), (1, 0));
    }

    #[test]
    fn a_panic_while_deciding_is_left_for_the_relay_to_report() {
        let boom = |_record: Record| panic!("asked for");
        assert_eq!(reported(boom), (0, 0));
    }

    #[test]
    fn a_panic_beside_a_call_that_went_on_is_reported_here() {
        let boom = |mut record: Record| {
            record.goes_on();
            panic!("asked for");
        };
        assert_eq!(reported(boom), (1, 0));
    }

    #[test]
    fn a_break_after_a_verdict_is_one_undecided_call() {
        let broken = |record: Record| record.broken("RUNTIME-UNAVAILABLE: it went away; wait");
        assert_eq!(reported(broken), (1, 0));
    }
}
