//! What `pullguard verify` found: the JSON that it prints. Fields may be added under the same
//! `schema`; what does not apply is left out. docs/verify.md lists them.

use serde::Serialize;

use super::super::output::ExceptionFound;

/// The name and version of this form.
pub(super) const SCHEMA: &str = "pullguard.verify/v1";

#[derive(Clone, Debug, Serialize)]
pub(super) struct Findings {
    pub(super) schema: &'static str,
    /// As it was written.
    pub(super) image: String,
    /// With every default filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<String>,
    pub(super) namespace: String,
    pub(super) verdict: Verdict,
    /// Of the denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    /// Why: the line of the denial, or on what ground it is allowed.
    pub(super) why: String,
    /// What the pull would be forwarded as, where a rule pins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pinned: Option<String>,
    pub(super) policy: PolicyFound,
    pub(super) rules: Vec<RuleFound>,
    pub(super) hosts: Vec<HostFound>,
    /// Why the registry gave no image, where policy does not hang on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registry: Option<String>,
    /// What the reference means now, by the first host that gave a good answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    /// Outermost first; the last one is the image config, whose digest is the image ID.
    pub(super) chain: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<ConfigFound>,
    pub(super) node_platform: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) containerd: Option<ContainerdFound>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Allowed,
    Denied,
    Undecided,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PolicyFound {
    pub(super) from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RuleFound {
    pub(super) policy: String,
    pub(super) rule: String,
    pub(super) action: &'static str,
    pub(super) asks: &'static str,
    /// `always`, or `some-handlers`: only under some runtime handlers.
    pub(super) when: &'static str,
    /// `holds`, `broken`, `waived` (broken, and an exception waives it), `open` (needs the digest),
    /// `at-create` (speaks of the container).
    pub(super) answer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// The exception that waives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exception: Option<ExceptionFound>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct HostFound {
    pub(super) url: String,
    /// `registry` or `mirror`.
    pub(super) role: &'static str,
    pub(super) answer: HostAnswered,
    pub(super) authenticated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HostAnswered {
    Found,
    NotFound,
    Refused,
    Unreachable,
    Bad,
    Unsupported,
    NotAsked,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Link {
    /// `index`, `manifest` or `config`.
    pub(super) kind: &'static str,
    pub(super) digest: String,
    pub(super) bytes: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ConfigFound {
    /// The image ID.
    pub(super) id: String,
    pub(super) platform: String,
    /// `USER`, verbatim; empty: root.
    pub(super) user: String,
    pub(super) layers: usize,
    pub(super) labels: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ContainerdFound {
    pub(super) socket: String,
    /// `has`, `absent` or `away`.
    pub(super) answer: &'static str,
    /// The image ID that it has under this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// What the name points at in its image store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    /// Whether that is the image that was found above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) same_image: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
}
