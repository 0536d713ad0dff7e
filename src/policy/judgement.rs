//! Stage: verdicts. Which denial is named, what is recorded beside it, and the permit. Pure.

use bytes::Bytes;

use super::document::Action;
use super::exceptions::{Exception, Waived};
use super::placed::Placed;
use super::rules::Amounts;
use super::{Code, Denial, Kind};
use crate::image::Digest;

/// Why a call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Every enforcing rule that speaks of it holds.
    Rules,
    /// Its image is on the bootstrap list, which takes it out of the image rules.
    Bootstrap,
    /// There is no policy yet, and the call starts a static pod or nothing at all.
    NoPolicy,
}

/// Whether a pull is to be forwarded as `repository@digest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// As it came.
    No,
    /// By the digest that was judged.
    Digest(Digest),
}

/// A call that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Why.
    pub basis: Basis,
    /// PullImage only: whether an enforcing rule pins the digest.
    pub pin: Pin,
    /// CreateContainer only: limits that enforcing rules fill in.
    pub defaults: Amounts,
}

impl Allowed {
    /// Nothing is pinned, nothing filled in.
    pub const fn by(basis: Basis) -> Self {
        Self {
            basis,
            pin: Pin::No,
            defaults: Amounts {
                memory: None,
                cpu: None,
            },
        }
    }
}

/// What a rule would have done, or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A denial.
    Denied,
    /// A tag pinned to the digest that it meant.
    Pinned,
    /// Limits filled in.
    Filled,
    /// Nothing: an exception waives the rule, which would have denied, pinned or filled in.
    Waived,
}

/// One rule that was not satisfied, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The policy; the PolicySet's name for `unmatched`. Empty where no rule speaks.
    pub policy: String,
    /// The rule; `unmatched` for the PolicySet's defaults. Empty where no rule speaks.
    pub rule: String,
    /// Enforce: it counted. Audit, Warn: it was only recorded.
    pub action: Action,
    /// What it did, or would have done.
    pub effect: Effect,
    /// The denial's code; `None` for an edit.
    pub code: Option<Code>,
    /// The denial's whole line; empty for an edit.
    pub line: String,
    /// The exception of [`Effect::Waived`].
    pub waived: Option<Waived>,
}

/// The result of judging a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Judgement {
    /// Whether the call may go on.
    pub verdict: Result<Allowed, Denial>,
    /// Every rule that was not satisfied, in the order in which denials are named.
    pub findings: Vec<Finding>,
}

/// Leave to forward one message. Only a judgement makes one, so a guarded call cannot be forwarded
/// without having been judged.
#[derive(Clone, Debug)]
pub struct Permit {
    message: Bytes,
    pin: Option<Digest>,
}

impl Permit {
    /// Leave to forward a message of a method that no rule speaks of: it was read, it passed
    /// hygiene, and there is nothing to judge.
    pub fn unjudged(message: Bytes) -> Self {
        Self { message, pin: None }
    }

    /// The message to forward.
    pub fn message(&self) -> &Bytes {
        &self.message
    }

    /// The digest that was pinned, if one was.
    pub fn pin(&self) -> Option<Digest> {
        self.pin
    }

    /// Gives up the permit for its message.
    pub fn into_message(self) -> Bytes {
        self.message
    }
}

impl Judgement {
    /// Leave to forward `message` if the verdict allows it.
    ///
    /// # Errors
    /// The denial.
    pub fn permit(&self, message: Bytes) -> Result<Permit, Denial> {
        match &self.verdict {
            Ok(allowed) => Ok(Permit {
                message,
                pin: match allowed.pin {
                    Pin::No => None,
                    Pin::Digest(digest) => Some(digest),
                },
            }),
            Err(denial) => Err(denial.clone()),
        }
    }

    /// Leave to forward `message` unchanged whatever the verdict: `mode = "observe"`, the node
    /// root's own choice. The findings still say what would have happened.
    pub fn settle_observed(message: Bytes) -> Permit {
        Permit { message, pin: None }
    }

    /// Both judgements of one call: what this one says comes first.
    pub fn and(mut self, other: Self) -> Self {
        self.findings.extend(other.findings);
        if self.verdict.is_ok() && other.verdict.is_err() {
            self.verdict = other.verdict;
        }
        self
    }

    /// The same judgement where another denial stands in the way (containerd's own record says
    /// otherwise, the pause image is not proven).
    pub fn denied_by(mut self, denial: Denial) -> Self {
        self.findings.push(finding(Action::Enforce, &denial, None));
        if self.verdict.is_ok() {
            self.verdict = Err(denial);
        }
        self
    }
}

/// One rule that is not satisfied.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) action: Action,
    pub(crate) stage: Stage,
    pub(crate) order: Order,
    pub(crate) denial: Denial,
    /// It does not count.
    pub(crate) waived: Option<Waived>,
}

impl Failure {
    fn denies(&self) -> bool {
        self.action == Action::Enforce && self.waived.is_none()
    }

    /// What is named first: what is definite, what needs no evidence, what stands first.
    fn rank(&self) -> (u8, Stage, Order) {
        let told = match self.denial.code().kind() {
            Kind::Definite => 0,
            Kind::Undecided => 1,
        };
        (told, self.stage, self.order)
    }
}

/// Where a failure stands among those of its kind and stage: what no rule says first, then policies
/// by name and rules in document order, then what the PolicySet says of what no rule covers. The
/// image is the container's own, or the image volume by the order of the mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// The call itself is refused, whatever the rules say.
    Call { image: usize },
    /// A rule speaks.
    Rule {
        policy: usize,
        rule: usize,
        image: usize,
    },
    /// `unmatched.images` and `pause`.
    Image { image: usize },
    /// `unmatched.pods`.
    Pod,
}

/// When a failure is known. Those of the request alone are named first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Request,
    Evidence,
}

/// Every failure of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures {
    list: Vec<Failure>,
    edits: Vec<Finding>,
}

impl Failures {
    pub(crate) fn push(&mut self, action: Action, stage: Stage, order: Order, denial: Denial) {
        self.list.push(Failure {
            action,
            stage,
            order,
            denial,
            waived: None,
        });
    }

    /// What a rule that is waived would have said.
    pub(crate) fn waive(
        &mut self,
        action: Action,
        stage: Stage,
        order: Order,
        denial: Denial,
        exception: &Exception,
    ) {
        self.list.push(Failure {
            action,
            stage,
            order,
            denial,
            waived: Some(exception.as_waived()),
        });
    }

    /// An edit of a rule that is waived.
    pub(crate) fn waive_edit(&mut self, placed: Placed<'_>, exception: &Exception) {
        self.edit(placed, Effect::Waived);
        if let Some(edit) = self.edits.last_mut() {
            edit.waived = Some(exception.as_waived());
        }
    }

    /// A pin: what an enforcing rule does, what another would have done.
    pub(crate) fn would_pin(&mut self, placed: Placed<'_>) {
        self.edit(placed, Effect::Pinned);
    }

    /// Limits: what an enforcing rule fills in, what another would have.
    pub(crate) fn would_fill(&mut self, placed: Placed<'_>) {
        self.edit(placed, Effect::Filled);
    }

    fn edit(&mut self, placed: Placed<'_>, effect: Effect) {
        self.edits.push(Finding {
            policy: placed.policy.name.clone(),
            rule: placed.rule.name.clone(),
            action: placed.action(),
            effect,
            code: None,
            line: String::new(),
            waived: None,
        });
    }

    /// Adds what evidence told; what the request told is here already.
    pub(crate) fn append_late(&mut self, other: Self) {
        let late = |failure: &Failure| failure.stage == Stage::Evidence;
        self.list.extend(other.list.into_iter().filter(late));
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.list.extend(other.list);
        self.edits.extend(other.edits);
    }

    /// Drops the failures of one code.
    pub(crate) fn forgive(&mut self, code: Code) {
        self.list.retain(|failure| failure.denial.code() != code);
    }

    /// Drops every failure.
    pub(crate) fn forgive_all(&mut self) {
        self.list.clear();
        self.edits.clear();
    }

    /// The same failures, said of an image volume.
    pub(crate) fn of_image_volume(mut self) -> Self {
        for failure in &mut self.list {
            failure.denial = failure.denial.clone().of_image_volume();
        }
        self
    }

    /// Whether an enforcing rule is broken.
    pub(crate) fn denies(&self) -> bool {
        self.list.iter().any(Failure::denies)
    }

    /// The denial that the request alone tells.
    pub(crate) fn definite(&self) -> Result<(), Denial> {
        let enforcing = self
            .list
            .iter()
            .filter(|failure| failure.denies() && failure.stage == Stage::Request);
        match enforcing.min_by_key(|failure| failure.rank()) {
            Some(failure) => Err(failure.denial.clone()),
            None => Ok(()),
        }
    }

    /// The verdict. A definite denial is named before one that could not be told, rules that need no
    /// evidence first; within each the order of [`Order`], so that every retry says the same.
    pub(crate) fn settle(mut self, allowed: Allowed) -> Judgement {
        self.list.sort_by_key(Failure::rank);
        let verdict = self
            .list
            .iter()
            .find(|failure| failure.denies())
            .map_or(Ok(allowed), |failure| Err(failure.denial.clone()));
        let mut findings: Vec<Finding> = self
            .list
            .iter()
            .map(|failure| finding(failure.action, &failure.denial, failure.waived.clone()))
            .collect();
        // Nothing is filled into a call that does not go on.
        let acts = |edit: &Finding| {
            verdict.is_ok() || edit.effect != Effect::Filled || edit.action != Action::Enforce
        };
        findings.extend(self.edits.into_iter().filter(acts));
        Judgement { verdict, findings }
    }
}

fn finding(action: Action, denial: &Denial, waived: Option<Waived>) -> Finding {
    let (policy, rule) = denial.rule().unwrap_or_default();
    Finding {
        policy: policy.to_owned(),
        rule: rule.to_owned(),
        action,
        effect: if waived.is_some() {
            Effect::Waived
        } else {
            Effect::Denied
        },
        code: Some(denial.code()),
        line: denial.line(),
        waived,
    }
}
