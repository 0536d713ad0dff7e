//! What `pullguard explain -f` found: the JSON that it prints. Fields may be added under the same
//! `schema`; what does not apply is left out. docs/explain.md lists them.

use std::fmt;

use serde::Serialize;

use super::super::output::{ExceptionFound, Exit};
use crate::authoring::kubelet::{Kind, Manifest, Note};
use crate::authoring::verdict::{Judged, JudgedContainer, JudgedPod, Verdict};
use crate::policy::document::Action;
use crate::policy::{Effect, Finding};
use crate::report::printable;

/// The name and version of this form.
pub(super) const SCHEMA: &str = "pullguard.explain/v1";

#[derive(Clone, Debug, Serialize)]
pub(super) struct Findings {
    pub(super) schema: &'static str,
    pub(super) policy: PolicyFound,
    pub(super) pods: Vec<PodFound>,
    pub(super) errors: Vec<ErrorFound>,
    /// Objects that make no pods.
    pub(super) others: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PolicyFound {
    pub(super) from: String,
    pub(super) version: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PodFound {
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) sandbox: JudgedFound,
    pub(super) containers: Vec<ContainerFound>,
    /// Keys that are not known here.
    pub(super) untranslated: Vec<NoteFound>,
    /// What was taken for granted.
    pub(super) assumed: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ContainerFound {
    pub(super) name: String,
    /// `container`, `init`, `sidecar` or `ephemeral`.
    pub(super) kind: &'static str,
    pub(super) line: u64,
    pub(super) image: String,
    #[serde(flatten)]
    pub(super) judged: JudgedFound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum VerdictFound {
    Allowed,
    Denied,
    Refused,
    Undecided,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct JudgedFound {
    pub(super) verdict: VerdictFound,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<String>,
    /// The line that the kubelet would show, or what cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) edits: Vec<EditFound>,
    /// Every rule that is not satisfied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rules: Vec<RuleFound>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct EditFound {
    /// `pin`; `fill`, of which `from` is the limit and `to` its amount in the request.
    pub(super) kind: &'static str,
    pub(super) from: String,
    /// Left out where it is the digest that the tag means when it is pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RuleFound {
    pub(super) policy: String,
    pub(super) rule: String,
    pub(super) action: &'static str,
    /// `deny`, `pin`, `fill`, or `waive` where an exception keeps it from that.
    pub(super) effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) text: String,
    /// The exception that waives it, and its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exception: Option<ExceptionFound>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct NoteFound {
    pub(super) line: u64,
    pub(super) path: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ErrorFound {
    pub(super) file: String,
    /// 0 where it cannot be told.
    pub(super) line: u64,
    pub(super) path: String,
    pub(super) text: String,
}

impl ErrorFound {
    pub(super) fn new(file: &str, note: &Note) -> Self {
        Self {
            file: file.to_owned(),
            line: note.line,
            path: note.path.clone(),
            text: note.text.clone(),
        }
    }

    pub(super) fn whole(file: &str, text: String) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            path: String::new(),
            text,
        }
    }
}

impl fmt::Display for ErrorFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "`{}` ", self.path)?;
        }
        f.write_str(&self.text)
    }
}

impl PodFound {
    pub(super) fn new(file: &str, manifest: &Manifest, pod: &JudgedPod) -> Self {
        let shown = |text: &str| printable(text).into_owned();
        Self {
            file: shown(file),
            line: manifest.line,
            kind: shown(&manifest.kind),
            namespace: shown(manifest.namespace()),
            name: shown(manifest.name()),
            sandbox: JudgedFound::new(&pod.sandbox),
            containers: pod.containers.iter().map(container).collect(),
            untranslated: manifest
                .untranslated
                .iter()
                .map(|note| NoteFound {
                    line: note.line,
                    path: note.path.clone(),
                })
                .collect(),
            assumed: pod.assumed.iter().map(|text| shown(text)).collect(),
        }
    }

    /// The sandbox's verdict and its containers'.
    fn verdicts(&self) -> impl Iterator<Item = VerdictFound> {
        let containers = self.containers.iter().map(|one| one.judged.verdict);
        std::iter::once(self.sandbox.verdict).chain(containers)
    }
}

fn container(one: &JudgedContainer) -> ContainerFound {
    ContainerFound {
        name: printable(&one.name).into_owned(),
        kind: match one.kind {
            Kind::Init => "init",
            Kind::Sidecar => "sidecar",
            Kind::Normal => "container",
            Kind::Ephemeral => "ephemeral",
        },
        line: one.line,
        image: printable(&one.image).into_owned(),
        judged: JudgedFound::new(&one.judged),
    }
}

impl JudgedFound {
    fn new(judged: &Judged) -> Self {
        let mut found = Self {
            verdict: VerdictFound::Allowed,
            code: None,
            policy: None,
            rule: None,
            text: None,
            edits: edits(judged),
            rules: judged.findings.iter().map(rule).collect(),
        };
        let shown = |text: &str| Some(printable(text).into_owned());
        match &judged.verdict {
            Verdict::Allowed => {}
            Verdict::Denied(denial) => {
                found.verdict = VerdictFound::Denied;
                found.code = Some(denial.code().as_str());
                found.text = Some(denial.line());
                if let Some((policy, rule)) = denial.rule() {
                    found.policy = Some(policy.to_owned());
                    found.rule = Some(rule.to_owned());
                }
            }
            Verdict::Refused(text) => {
                found.verdict = VerdictFound::Refused;
                found.text = shown(text);
            }
            Verdict::Undecided { rule, text } => {
                found.verdict = VerdictFound::Undecided;
                found.text = shown(text);
                if let Some((policy, rule)) = rule {
                    found.policy = Some(policy.clone());
                    found.rule = Some(rule.clone());
                }
            }
        }
        found
    }
}

fn edits(judged: &Judged) -> Vec<EditFound> {
    let pins = judged.edits.iter().map(|edit| EditFound {
        kind: "pin",
        from: printable(&edit.image).into_owned(),
        to: edit.to.clone(),
    });
    let fills = [
        ("memory", judged.fills.memory),
        ("cpu_quota", judged.fills.cpu),
    ];
    let fills = fills.into_iter().filter_map(|(limit, amount)| {
        Some(EditFound {
            kind: "fill",
            from: limit.to_owned(),
            to: Some(amount?.to_string()),
        })
    });
    pins.chain(fills).collect()
}

fn rule(finding: &Finding) -> RuleFound {
    RuleFound {
        policy: finding.policy.clone(),
        rule: finding.rule.clone(),
        action: match finding.action {
            Action::Enforce => "Enforce",
            Action::Audit => "Audit",
            Action::Warn => "Warn",
        },
        effect: match finding.effect {
            Effect::Denied => "deny",
            Effect::Pinned => "pin",
            Effect::Filled => "fill",
            Effect::Waived => "waive",
        },
        code: finding.code.map(crate::policy::Code::as_str),
        text: finding.line.clone(),
        exception: finding.waived.as_ref().map(ExceptionFound::from),
    }
}

impl Findings {
    pub(super) fn count(&self, verdict: VerdictFound) -> usize {
        let all = self.pods.iter().flat_map(PodFound::verdicts);
        all.filter(|one| *one == verdict).count()
    }

    /// A denial outweighs what could not be told.
    pub(super) fn exit(&self) -> Exit {
        if self.count(VerdictFound::Denied) + self.count(VerdictFound::Refused) > 0 {
            Exit::No
        } else if self.count(VerdictFound::Undecided) + self.errors.len() > 0
            || self.pods.is_empty()
        {
            Exit::Unknown
        } else {
            Exit::Ok
        }
    }
}
