//! What the policy in force says of something that runs already: one log event and one audit line.

use serde::Serialize;

use super::audit::{HitLine, ImageLine, PodLine, hit_lines, safe};
use super::outcome::{Image, Pod, RuleHit};
use super::text::{printable, rfc3339};
use crate::policy::Code;
use crate::time::Timestamp;

/// Name and version of the line format (docs/audit-log.md).
pub const RUNNING_SCHEMA: &str = "pullguard.running/v1";

/// How something that runs was judged again. What is allowed is not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunningVerdict {
    /// It would be denied if it were to start now.
    WouldDeny,
    /// It could not be told.
    Undecided,
}

impl RunningVerdict {
    /// The word in log and audit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WouldDeny => "would-deny",
            Self::Undecided => "undecided",
        }
    }

    /// The name of the event in log and audit.
    pub const fn event(self) -> &'static str {
        match self {
            Self::WouldDeny => "running_denied",
            Self::Undecided => "running_undecided",
        }
    }
}

/// A running container or sandbox that the policy in force does not allow to start, or of which that
/// cannot be told. It goes on running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningReport {
    /// How it was judged.
    pub verdict: RunningVerdict,
    /// The code of the denial that a start would get.
    pub code: Code,
    /// Policy and rule that speak in `code`, if a rule does.
    pub rule: Option<(String, String)>,
    /// The version of the policy that judged.
    pub policy_version: String,
    /// The line that the client would get.
    pub text: String,
    /// The pod.
    pub pod: Pod,
    /// The container's name; `None` for a sandbox.
    pub container: Option<String>,
    /// containerd's ID of the container or sandbox.
    pub id: String,
    /// The image; empty for a sandbox.
    pub image: Image,
    /// Every rule that is broken, once for each code.
    pub hits: Vec<RuleHit>,
}

#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    time: String,
    node: &'a str,
    event: &'static str,
    verdict: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    policy_version: &'a str,
    text: String,
    pod: PodLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    id: String,
    image: ImageLine,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hits: Vec<HitLine<'a>>,
}

/// The audit line of a report, without its end.
pub(crate) fn line(report: &RunningReport, node: &str, now: Timestamp) -> String {
    let line = Line {
        schema: RUNNING_SCHEMA,
        time: rfc3339(now),
        node,
        event: report.verdict.event(),
        verdict: report.verdict.as_str(),
        code: report.code.as_str(),
        policy: report.rule.as_ref().map(|(policy, _)| policy.as_str()),
        rule: report.rule.as_ref().map(|(_, rule)| rule.as_str()),
        policy_version: &report.policy_version,
        text: safe(&report.text),
        pod: PodLine::of(&report.pod),
        container: report.container.as_deref().map(safe),
        id: safe(&report.id),
        image: ImageLine::of(&report.image),
        hits: hit_lines(&report.hits),
    };
    // Strings and no maps: serialising this cannot fail.
    serde_json::to_string(&line).unwrap_or_default()
}

/// The one event of a report: it asks for somebody to look, but nothing has failed.
pub(crate) fn event(report: &RunningReport) {
    let (policy, rule) = report
        .rule
        .as_ref()
        .map_or(("", ""), |(policy, rule)| (policy.as_str(), rule.as_str()));
    let optional = |text: &Option<String>| printable(text.as_deref().unwrap_or("")).into_owned();
    let said = match report.verdict {
        RunningVerdict::WouldDeny => "what runs would not be let start again",
        RunningVerdict::Undecided => "whether what runs would be let start again cannot be told",
    };
    tracing::warn!(
        event = report.verdict.event(),
        verdict = report.verdict.as_str(),
        code = report.code.as_str(),
        policy,
        rule,
        policy.version = report.policy_version,
        pod.namespace = %printable(&report.pod.namespace),
        pod.name = %printable(&report.pod.name),
        pod.uid = %printable(&report.pod.uid),
        container = %optional(&report.container),
        id = %printable(&report.id),
        image.ref = %optional(&report.image.reference),
        image.id = %optional(&report.image.id),
        image.digest = %optional(&report.image.digest),
        hits = report.hits.len(),
        "{said}: {}",
        printable(&report.text)
    );
}
