//! The policy: what is asked of an image and a pod, and the words in which a denial is said. Pure.
//!
//! `document` is the language, `compile` makes the policy in force of it, `pull`, `sandbox` and
//! `create` plan and judge one call each, `judgement` says which denial is named, `reply` how the
//! kubelet is told.

pub mod document;
pub mod compile;
mod bootstrap;
mod create;
mod denial;
mod due;
mod evidence;
mod exceptions;
mod explain;
mod images;
mod judgement;
pub(crate) mod nearest;
mod needs;
mod paths;
mod pattern;
mod placed;
mod pull;
pub(crate) mod quantity;
pub mod reply;
mod rules;
mod running;
mod sandbox;
mod scope;
mod spoken;
pub mod unjudged;
mod words;

pub use bootstrap::NoPolicy;
pub use compile::{BootstrapEntry, CompileError, Compiled, Counts, Place, Policy, Remark};
pub use create::{CreateNeeds, CreatePlan, ImageNeed, Which};
pub use denial::{Code, Denial, Kind, Subject};
pub use evidence::{CreateEvidence, HostPathSafety, KubeletMount, MountOrigin, Via};
pub use exceptions::Waived;
pub use explain::explain;
pub use judgement::{Allowed, Basis, Effect, Finding, Judgement, Permit, Pin};
pub use needs::Needs;
pub use paths::guarded_paths;
pub use pull::{PullPlan, Resolution};
pub use rules::Amounts;
pub use running::{Intrusion, Running, Voice};
pub use scope::NodeFacts;
pub use spoken::{RuleAnswer, SpokenRule, SpokenWhen};
pub use words::{Text, escape};

use crate::image::ReferenceError;

/// The denial of an image string that is no reference.
pub fn refused_reference(text: &str, error: &ReferenceError) -> Denial {
    let words = Text::new()
        .words("image ")
        .value(text)
        .raw(&format!(": {error}"));
    Denial::say(
        Code::RefInvalid,
        words.advice("write it as repository:tag or repository@sha256:..."),
    )
}
