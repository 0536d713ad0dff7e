//! Stage: documents → the policy in force. Pure. Refuses: what cannot be enforced as written.
//!
//! Every error is collected with its place (document and path), so that the author sees all of them
//! at once; a policy with one error is no policy.

mod check;
mod exceptions;
mod lint;
mod notes;
mod set;

use std::collections::BTreeSet;
use std::fmt;

use super::document::{
    Action, Document, ExcludeBlock, MatchBlock, NodePolicy, OneOrMany, PolicySet, RuleDoc,
};
use super::exceptions::Exception;
use super::rules::{self, Check};
use super::words;
use crate::image::{Digest, PatternUse, Reference, Repository};
use crate::limits::Limits;
use crate::time::Timestamp;

use self::check::{check_exclude, check_exempt_handlers, check_match, check_message};
use self::set::{compile_set, one_set};
use super::pattern::ImagePattern;

pub(crate) use self::check::{check_name, not_empty, patterns};
pub(crate) use self::notes::{At, Notes, shown};

/// Where in a set of documents something stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which document, from 0.
    pub document: usize,
    /// Keys and list positions (from 0) from the document's root.
    pub path: Vec<String>,
}

/// One thing that is wrong with a policy, or worth saying about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Where.
    pub place: Place,
    /// What, and the nearest thing that works.
    pub text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "document {}, {}: {}",
            self.place.document + 1,
            self.place.path.join("."),
            self.text
        )
    }
}

/// Why documents are no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// The bytes are more than [`Limits::max_policy_bytes`].
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The bytes are not a JSON list of documents.
    Json {
        /// What the parser says, with line and column.
        text: String,
    },
    /// The documents are read, and mean nothing that can be enforced.
    Meaning {
        /// Every error, in the order of the documents. Never empty.
        remarks: Vec<Remark>,
    },
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the policy is larger than {limit} bytes"),
            Self::Json { text } => f.write_str(text),
            Self::Meaning { remarks } => {
                for (index, remark) in remarks.iter().enumerate() {
                    if index > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{remark}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for CompileError {}

/// A policy, and what its author should know about it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The policy.
    pub policy: Policy,
    /// Not wrong, but worth saying.
    pub warnings: Vec<Remark>,
}

/// One image that starts whatever the image rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapEntry {
    /// Exact namespace names.
    pub namespaces: Vec<String>,
    /// The repository that a pod must name.
    pub repository: Repository,
    /// The digest that the image's chain must lead to.
    pub digest: Digest,
}

impl BootstrapEntry {
    /// Reads `repository@sha256:…` for these namespaces.
    ///
    /// # Errors
    /// What is wrong with `image`, in the author's words.
    pub fn parse(namespaces: Vec<String>, image: &str) -> Result<Self, String> {
        let shown = words::escape(image, words::VALUE_BYTES);
        match Reference::parse(image) {
            Ok(Reference::Digested { repository, digest }) => Ok(Self {
                namespaces,
                repository,
                digest,
            }),
            Ok(Reference::Tagged { repository, .. }) => Err(format!(
                "a bootstrap image needs a digest; write `{repository}@sha256:...` instead of `{shown}`"
            )),
            Err(error) => Err(format!("`{shown}`: {error}")),
        }
    }
}

/// The policy in force: immutable.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) version: Digest,
    pub(crate) set: PolicySet,
    pub(crate) bootstrap: Vec<BootstrapEntry>,
    /// Sorted by name.
    pub(crate) policies: Vec<CompiledPolicy>,
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledPolicy {
    pub(crate) name: String,
    pub(crate) matches: Option<Vec<MatchBlock>>,
    pub(crate) excludes: Vec<ExcludeBlock>,
    /// In document order.
    pub(crate) rules: Vec<Rule>,
    /// Exceptions from its rules, by name.
    pub(crate) exceptions: Vec<Exception>,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) action: Action,
    pub(crate) message: Option<String>,
    pub(crate) images: Option<Vec<ImagePattern>>,
    pub(crate) skip_images: Vec<ImagePattern>,
    pub(crate) check: Check,
}

impl Rule {
    /// Whether the rule is chosen by image: then it is judged per container.
    pub(crate) fn is_by_image(&self) -> bool {
        self.images.is_some() || !self.skip_images.is_empty()
    }

    pub(crate) fn enforces(&self) -> bool {
        self.action == Action::Enforce
    }
}

/// How much a policy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// NodePolicies.
    pub policies: usize,
    /// Rules in them.
    pub rules: usize,
    /// Rules of which the action is Enforce.
    pub enforcing: usize,
    /// Exceptions, expired ones too.
    pub exceptions: usize,
}

impl Policy {
    /// sha256 over the canonical JSON of the documents: the same content has the same version,
    /// whatever the files, their order and their comments.
    pub fn version(&self) -> Digest {
        self.version
    }

    /// The first 12 digits of [`Policy::version`], for people.
    pub fn short_version(&self) -> String {
        self.version.hex().chars().take(12).collect()
    }

    /// Whether a policy speaks of some runtime handlers only.
    pub fn asks_for_handlers(&self) -> bool {
        let asks = |block: &MatchBlock| block.runtime_handlers.is_some();
        self.policies
            .iter()
            .any(|policy| policy.matches.iter().flatten().any(asks))
    }

    /// The name of the PolicySet.
    pub fn name(&self) -> &str {
        &self.set.metadata.name
    }

    /// The PolicySet's own settings.
    pub fn set(&self) -> &super::document::PolicySetSpec {
        &self.set.spec
    }

    /// The bootstrap entries that the policy adds to the node's.
    pub fn bootstrap(&self) -> &[BootstrapEntry] {
        &self.bootstrap
    }

    /// How much it holds.
    pub fn counts(&self) -> Counts {
        let rules = || self.policies.iter().flat_map(|policy| &policy.rules);
        Counts {
            policies: self.policies.len(),
            rules: rules().count(),
            enforcing: rules().filter(|rule| rule.enforces()).count(),
            exceptions: (self.policies.iter())
                .map(|policy| policy.exceptions.len())
                .sum(),
        }
    }
}

/// Reads a policy from strict JSON: a list of documents.
///
/// # Errors
/// [`CompileError`]: too large, not JSON, unknown or duplicate keys, wrong types, or
/// [`compile`]'s errors.
pub fn from_json(bytes: &[u8], limits: &Limits) -> Result<Policy, CompileError> {
    if bytes.len() > limits.max_policy_bytes {
        return Err(CompileError::TooLarge {
            limit: limits.max_policy_bytes,
        });
    }
    let documents: Vec<Document> =
        serde_json::from_slice(bytes).map_err(|error| CompileError::Json {
            text: words::one_line(&error.to_string(), 1_000),
        })?;
    let (policy, _) = build(documents, limits)?;
    Ok(policy)
}

/// The canonical JSON of a policy's documents: what [`from_json`] reads.
///
/// # Errors
/// [`CompileError::Json`] if the serializer fails; the types give it no reason to.
pub fn to_json(documents: &[Document]) -> Result<Vec<u8>, CompileError> {
    serde_json::to_vec(&canonical(documents)).map_err(|error| CompileError::Json {
        text: error.to_string(),
    })
}

fn canonical(documents: &[Document]) -> Vec<&Document> {
    let mut sorted: Vec<&Document> = documents.iter().collect();
    sorted.sort_by_key(|document| match document {
        Document::PolicySet(set) => (0, set.metadata.name.clone()),
        Document::NodePolicy(policy) => (1, policy.metadata.name.clone()),
        Document::NodePolicyException(exception) => (2, exception.metadata.name.clone()),
    });
    sorted
}

/// Makes the policy in force of documents. `now` is the moment that the warnings about exceptions
/// speak of; what they waive is judged call by call.
///
/// # Errors
/// [`CompileError::Meaning`] with everything that is wrong.
pub fn compile(
    documents: Vec<Document>,
    limits: &Limits,
    now: Timestamp,
) -> Result<Compiled, CompileError> {
    let (policy, mut notes) = build(documents, limits)?;
    notes.warn_of_time(now);
    Ok(Compiled {
        policy,
        warnings: notes.warnings,
    })
}

fn build(documents: Vec<Document>, limits: &Limits) -> Result<(Policy, Notes), CompileError> {
    let version = Digest::of(&to_json(&documents)?);
    let mut notes = Notes::default();
    let mut sets = Vec::new();
    let mut names = BTreeSet::new();
    let mut policies = Vec::new();
    let mut places = Vec::new();
    let mut exceptions = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        let mut at = At::document(index);
        match document {
            Document::PolicySet(set) => sets.push((index, set)),
            Document::NodePolicy(policy) => {
                check_name(
                    &policy.metadata.name,
                    &mut notes,
                    &at.down(["metadata", "name"]),
                );
                if !names.insert(policy.metadata.name.clone()) {
                    notes.error(
                        &at.down(["metadata", "name"]),
                        format!("two policies are called `{}`", shown(&policy.metadata.name)),
                    );
                }
                places.push(at.down(["spec", "rules"]));
                policies.push(compile_policy(*policy, &mut notes, &mut at));
            }
            Document::NodePolicyException(exception) => exceptions.push((at, *exception)),
        }
    }
    check_exempt_handlers(&policies, &places, &mut notes);
    policies.sort_by(|left, right| left.name.cmp(&right.name));
    let count: usize = policies.iter().map(|policy| policy.rules.len()).sum();
    if count > limits.max_policy_rules {
        notes.error(
            &At::document(0),
            format!(
                "{count} rules; at most {} are allowed",
                limits.max_policy_rules
            ),
        );
    }
    exceptions::compile(exceptions, &mut policies, limits, &mut notes);
    let set = one_set(sets, &mut notes);
    let bootstrap = set
        .as_ref()
        .map(|(index, set)| compile_set(set, &mut notes, &At::document(*index)));
    match (set, bootstrap) {
        (Some((_, set)), Some(bootstrap)) if notes.errors.is_empty() => {
            let policy = Policy {
                version,
                set: *set,
                bootstrap,
                policies,
            };
            Ok((policy, notes))
        }
        _ => Err(CompileError::Meaning {
            remarks: notes.errors,
        }),
    }
}

fn compile_policy(policy: NodePolicy, notes: &mut Notes, at: &mut At) -> CompiledPolicy {
    let spec = at.down(["spec"]);
    lint::lint(&policy.spec, notes, &spec);
    let matches = policy.spec.matches.map(|OneOrMany(blocks)| blocks);
    if let Some(blocks) = &matches {
        check_match(blocks, notes, &spec.down(["match"]));
    }
    let excludes = policy.spec.exclude.map(|OneOrMany(blocks)| blocks);
    if let Some(blocks) = &excludes {
        check_exclude(blocks, notes, &spec.down(["exclude"]));
    }
    if policy.spec.rules.is_empty() {
        notes.error(
            &spec.down(["rules"]),
            "a policy needs at least one rule".to_owned(),
        );
    }
    if policy.spec.on_error == super::document::OnError::Allow {
        notes.warn(&spec.down(["onError"]), ON_ERROR_IDLE.to_owned());
    }
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for (index, rule) in policy.spec.rules.into_iter().enumerate() {
        let at = spec.down(["rules", &index.to_string()]);
        if !names.insert(rule.name.clone()) {
            notes.error(
                &at.down(["name"]),
                format!("two rules are called `{}`", shown(&rule.name)),
            );
        }
        rules.extend(compile_rule(rule, policy.spec.action, notes, &at));
    }
    CompiledPolicy {
        name: policy.metadata.name,
        matches,
        excludes: excludes.unwrap_or_default(),
        rules,
        exceptions: Vec::new(),
    }
}

const ON_ERROR_IDLE: &str = "`onError: Allow` acts only on `signatures` and `attestations` rules, which this version does not have yet";

fn compile_rule(rule: RuleDoc, action: Action, notes: &mut Notes, at: &At) -> Option<Rule> {
    check_name(&rule.name, notes, &at.down(["name"]));
    if let Some(message) = &rule.message {
        check_message(message, notes, &at.down(["message"]));
    }
    if rule.on_error == Some(super::document::OnError::Allow) {
        notes.warn(&at.down(["onError"]), ON_ERROR_IDLE.to_owned());
    }
    let check = rules::compile(&rule, notes, at)?;
    // What a rule asks of images may be asked of every image; what it skips must be named narrowly.
    let images = rule
        .images
        .map(|list| patterns(&list, PatternUse::Verify, notes, &at.down(["images"])));
    let skip_images = rule
        .skip_images
        .map(|list| patterns(&list, PatternUse::Skip, notes, &at.down(["skipImages"])))
        .unwrap_or_default();
    Some(Rule {
        name: rule.name,
        action: rule.action.unwrap_or(action),
        message: rule.message,
        images,
        skip_images,
        check,
    })
}
