//! What holds of exceptions whatever the policy: each of the other cases, with exceptions added to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::Policy;
use pullguard::policy::compile::from_json;
use serde_json::{Value, json};

use crate::{default_now, folders, judge_by, moment};

/// After the moment of every case.
const LATER: &str = "2030-01-01T00:00:00Z";
/// The moment of every case.
const ENDED: &str = "2026-06-01T00:00:00Z";
const DIGEST: &str = "sha256:4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f";

/// A case that compiles: its folder, the documents, and what comes of it without exceptions.
struct Case {
    folder: PathBuf,
    documents: Vec<Value>,
    base: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn cases() -> Vec<Case> {
    let mut found = Vec::new();
    for group in folders(&root()) {
        if group.ends_with("exceptions") {
            continue;
        }
        for folder in folders(&group) {
            let text = fs::read_to_string(folder.join("policy.yaml")).unwrap();
            let files = vec![("policy.yaml".to_owned(), text)];
            let now = moment(&default_now());
            if let Ok(authored) = compile_dir(files, &Limits::default(), now) {
                found.push(Case {
                    base: judge_by(&authored.policy, &root(), &folder),
                    documents: serde_json::from_slice(&authored.json).unwrap(),
                    folder,
                });
            }
        }
    }
    assert!(found.len() > 150, "only {} cases", found.len());
    found
}

impl Case {
    /// Policies and their rules by name, without those that `out` leaves out.
    fn rules(&self, out: fn(&Value) -> bool) -> Vec<(String, Vec<String>)> {
        let policies = self
            .documents
            .iter()
            .filter(|one| one.get("kind") == Some(&json!("NodePolicy")));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        policies
            .map(|policy| {
                let rules = policy
                    .pointer("/spec/rules")
                    .and_then(Value::as_array)
                    .unwrap()
                    .iter();
                let names = rules
                    .filter(|rule| !out(rule))
                    .map(|rule| text(rule.get("name").unwrap()));
                (
                    text(policy.pointer("/metadata/name").unwrap()),
                    names.collect(),
                )
            })
            .filter(|(_, rules): &(String, Vec<String>)| !rules.is_empty())
            .collect()
    }

    fn request(&self) -> Value {
        let text = fs::read_to_string(self.folder.join("request.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn has_no_pod(&self) -> bool {
        self.request().get("pod").is_some_and(Value::is_null)
    }

    /// What comes of it with these exceptions: policy, rules, match and end of each.
    fn with(&self, exceptions: &[(&str, &[String], &Value, &str)]) -> String {
        judge_by(&self.policy(exceptions), &root(), &self.folder)
    }

    fn policy(&self, exceptions: &[(&str, &[String], &Value, &str)]) -> Policy {
        let mut documents = self.documents.clone();
        for (index, (policy, rules, matches, expires)) in exceptions.iter().enumerate() {
            documents.push(json!({
                "apiVersion": "pullguard.io/v1alpha1",
                "kind": "NodePolicyException",
                "metadata": {"name": format!("e{index}")},
                "spec": {"policy": policy, "rules": rules, "match": matches,
                         "expires": expires, "reason": "a test"},
            }));
        }
        let text = serde_json::to_vec(&documents).unwrap();
        from_json(&text, &Limits::default()).unwrap()
    }
}

fn matches() -> Vec<Value> {
    vec![
        json!({"namespaces": ["*"]}),
        json!({"sources": ["api"]}),
        json!({"images": ["registry.example.com/**"]}),
        json!({"namespaces": ["payments"], "images": ["registry.example.com/pay/api:1.2", "quay.io/**"]}),
        json!({"images": [format!("registry.example.com/pay/api@{DIGEST}")]}),
    ]
}

fn is_left(case: &Case, matches: &Value) -> bool {
    case.request().get("rpc") == Some(&json!("sandbox")) && matches.get("images").is_some()
}

fn is_allowed(told: &str) -> bool {
    told.starts_with("allowed")
}

#[test]
fn an_exception_never_denies_more_and_lets_through_only_what_it_names() {
    // What a waived rule would have filled in, another may demand.
    let fills = |rule: &Value| rule.pointer("/resources/defaults").is_some();
    let (mut loosened, mut kept) = (0, 0);
    for case in cases() {
        let name = case.folder.display();
        for (policy, rules) in case.rules(fills) {
            for matches in matches() {
                let told = case.with(&[(&policy, &rules, &matches, LATER)]);
                assert!(
                    is_allowed(&told) || !is_allowed(&case.base),
                    "{name} with {matches}\nwithout:\n{}with:\n{told}",
                    case.base
                );
                if is_allowed(&told) == is_allowed(&case.base) {
                    kept += 1;
                } else {
                    loosened += 1;
                    // For a rule that is waived whatever the image nothing is gathered, so nothing that
                    // evidence would have told is recorded; one that an image could waive is left to
                    // the containers.
                    let is_recorded = told.contains("waived by e0");
                    assert!(
                        is_recorded
                            || case.base.contains("needs")
                            || is_left(&case, &matches)
                            || case.has_no_pod(),
                        "{name} with {matches}\n{told}"
                    );
                }
            }
        }
    }
    assert!(
        loosened > 50 && kept > 200,
        "{loosened} loosened, {kept} kept"
    );
}

#[test]
fn what_has_ended_or_matches_another_pod_node_or_image_changes_nothing() {
    let foreign = [
        json!({"namespaces": ["nobody"]}),
        json!({"nodes": {"no-such-label": "x"}}),
        json!({"namespaces": ["nobody"], "images": ["registry.example.com/**"]}),
    ];
    for case in cases() {
        // Without a pod, what lets any pod's image run counts.
        if case.has_no_pod() {
            continue;
        }
        for (policy, rules) in case.rules(|_| false) {
            let ended = matches();
            let ended = ended.iter().map(|matches| (matches, ENDED));
            let foreign = foreign.iter().map(|matches| (matches, LATER));
            for (matches, expires) in ended.chain(foreign) {
                let told = case.with(&[(&policy, &rules, matches, expires)]);
                let name = case.folder.display();
                assert_eq!(told, case.base, "{name} with {matches} until {expires}");
            }
        }
    }
}

#[test]
fn exceptions_for_the_pod_and_for_the_image_never_add_up() {
    let pod = json!({"namespaces": ["*"], "images": ["nobody.example.com/**"]});
    let image = json!({"namespaces": ["nobody"], "images": ["registry.example.com/**"]});
    for case in cases() {
        for (policy, rules) in case.rules(|_| false) {
            let both = [
                (policy.as_str(), rules.as_slice(), &pod, LATER),
                (policy.as_str(), rules.as_slice(), &image, LATER),
            ];
            let (one, two) = (case.with(&both[..1]), case.with(&both));
            assert_eq!(one, two, "{}", case.folder.display());
        }
    }
}

#[test]
fn a_policy_with_exceptions_is_the_same_one_after_a_restart() {
    let file = |name: &str| {
        let text = fs::read_to_string(root().join(name).join("policy.yaml")).unwrap();
        vec![("p.yaml".to_owned(), text)]
    };
    for name in [
        "exceptions/a_node_label_that_is_set_matches",
        "exceptions/one_exception_for_pod_and_image_waives",
        "exceptions/an_end_with_an_offset_is_that_moment_in_utc",
        "exceptions/a_pod_of_the_api_server_matches_by_its_source",
    ] {
        let limits = Limits::default();
        let authored = compile_dir(file(name), &limits, moment(&default_now())).unwrap();
        let read = from_json(&authored.json, &limits).unwrap();
        assert_eq!(read.version(), authored.policy.version());
        assert_eq!(read.counts(), authored.policy.counts());
        assert_eq!(read.counts().exceptions, 1);
        let folder = root().join(name);
        let told = judge_by(&authored.policy, &root(), &folder);
        assert_eq!(judge_by(&read, &root(), &folder), told, "{name}");
    }
}

#[test]
fn a_policy_as_large_as_the_limits_allow_is_judged_in_a_moment() {
    let limits = Limits::default();
    let name = |at: usize| format!("r{}", at % limits.max_policy_rules);
    let rules: Vec<Value> = (0..limits.max_policy_rules)
        .map(|at| json!({"name": name(at), "containers": {"privileged": "Deny"}}))
        .collect();
    let head = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "pullguard.io/v1alpha1", "kind": kind,
               "metadata": {"name": name}, "spec": spec})
    };
    let unmatched = json!({"pods": "Allow", "images": "Allow"});
    let mut documents = vec![
        head(
            "PolicySet",
            "set",
            json!({"audience": "a", "unmatched": unmatched}),
        ),
        head("NodePolicy", "large", json!({"rules": rules})),
    ];
    for at in 0..limits.max_policy_exceptions {
        let waived: Vec<String> = (0..50).map(|next| name(at * 5 + next)).collect();
        let matches = json!({"namespaces": ["*"], "images": ["registry.example.com/other/**"]});
        let spec = json!({"policy": "large", "rules": waived, "match": matches,
                          "expires": LATER, "reason": "a test"});
        documents.push(head("NodePolicyException", &format!("e{at}"), spec));
    }
    let policy = from_json(&serde_json::to_vec(&documents).unwrap(), &limits).unwrap();
    let begun = Instant::now();
    let folder = root().join("privileged/g4_net_bind_service_passes");
    let told = judge_by(&policy, &root(), &folder);
    assert!(is_allowed(&told), "{told}");
    // Without optimisation, on a machine with other things to do; a moment where it runs.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}
