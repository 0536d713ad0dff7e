//! What became of one gated call. Pure.

use std::time::Duration;

use crate::policy::Code;
use crate::policy::document::Action;

/// How a gated call was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Forwarded; every enforcing rule is satisfied.
    Allowed,
    /// Forwarded under `onError: Allow`, although evidence could not be had.
    AllowedUnverified,
    /// Forwarded; an Audit rule, or observe mode, would have denied.
    WouldDeny,
    /// Forwarded; a Warn rule is broken.
    Warned,
    /// Refused: a rule is broken.
    Denied,
    /// Refused, or given up by the client, before it could be told.
    Undecided,
}

impl Verdict {
    /// Every verdict, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Allowed,
        Self::AllowedUnverified,
        Self::WouldDeny,
        Self::Warned,
        Self::Denied,
        Self::Undecided,
    ];

    /// The word in log, metrics and audit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::AllowedUnverified => "allowed-unverified",
            Self::WouldDeny => "would-deny",
            Self::Warned => "warned",
            Self::Denied => "denied",
            Self::Undecided => "undecided",
        }
    }
}

/// How the call ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client has its answer.
    Answered,
    /// The client went away first.
    Cancelled,
}

impl Ending {
    /// The word in log and audit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The pod of a call; empty strings where the call names none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// The image of a call, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// What the pod wrote.
    pub reference: Option<String>,
    /// The image ID: digest of its config.
    pub id: Option<String>,
    /// The digest that was judged.
    pub digest: Option<String>,
}

/// What a rule did to a call, or would have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HitEffect {
    /// It denied.
    Denied,
    /// It would have denied: Audit, Warn, observe mode.
    WouldDeny,
    /// It pinned a tag to the digest that it meant.
    Pinned,
    /// It would have pinned.
    WouldPin,
    /// It filled in limits.
    Filled,
    /// It would have filled them in.
    WouldFill,
    /// Nothing: an exception waives the rule.
    Waived,
}

impl HitEffect {
    /// The word in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::WouldDeny => "would-deny",
            Self::Pinned => "pinned",
            Self::WouldPin => "would-pin",
            Self::Filled => "filled",
            Self::WouldFill => "would-fill",
            Self::Waived => "waived",
        }
    }
}

/// A rule that is broken, or that edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleHit {
    /// The policy.
    pub policy: String,
    /// The rule.
    pub rule: String,
    /// The rule's action.
    pub action: Action,
    /// What it did.
    pub effect: HitEffect,
    /// What it said, or would have said; `None` for an edit.
    pub code: Option<Code>,
    /// The exception of [`HitEffect::Waived`], by name.
    pub exception: Option<String>,
}

/// The process on the other end of the guard's socket (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User.
    pub uid: u32,
    /// Process, if the system tells.
    pub pid: Option<i32>,
}

/// What became of one gated call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The method's name in the CRI: `CreateContainer`.
    pub rpc: &'static str,
    /// How it was judged.
    pub verdict: Verdict,
    /// How it ended for the client.
    pub ending: Ending,
    /// The code of a denial, or of what would have been one.
    pub code: Option<Code>,
    /// Policy and rule that speak in `code`, if a rule does.
    pub rule: Option<(String, String)>,
    /// The version of the policy that judged; `None` in Bootstrap.
    pub policy_version: Option<String>,
    /// The line that the client got, or would have got.
    pub text: Option<String>,
    /// The pod.
    pub pod: Pod,
    /// The container's name; `None` where the call has none.
    pub container: Option<String>,
    /// The image.
    pub image: Image,
    /// What was appended to the request: `pin registry.example.com/a@sha256:…`.
    pub edit: Option<String>,
    /// Every rule that is broken or pins, once for each code.
    pub hits: Vec<RuleHit>,
    /// From the first byte to the verdict.
    pub duration: Duration,
    /// Who called.
    pub peer: Option<Peer>,
}

impl Outcome {
    /// An answered call of this method and verdict, of which nothing else is known yet.
    pub fn new(rpc: &'static str, verdict: Verdict, duration: Duration) -> Self {
        Self {
            rpc,
            verdict,
            ending: Ending::Answered,
            code: None,
            rule: None,
            policy_version: None,
            text: None,
            pod: Pod::default(),
            container: None,
            image: Image::default(),
            edit: None,
            hits: Vec::new(),
            duration,
            peer: None,
        }
    }
}
