//! The two spellings of a policy, YAML for people and strict JSON for the node, and the state
//! without any policy.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says why it failed by panicking"
)]

use std::path::Path;

use bytes::Bytes;
use pullguard::authoring::{Authored, compile_dir};
use pullguard::image::{Digest, Reference};
use pullguard::limits::Limits;
use pullguard::policy::compile::from_json;
use pullguard::policy::{
    Basis, BootstrapEntry, Code, CreateEvidence, Denial, Judgement, NoPolicy, NodeFacts, Permit,
};
use pullguard::request::{CreateAsk, PodSource};
use pullguard::time::Timestamp;

/// Time plays no part here.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_780_272_000);

const SET: &str = r#"{"apiVersion":"pullguard.io/v1alpha1","kind":"PolicySet","metadata":{"name":"s"},"spec":{"audience":"a","unmatched":{"pods":"Allow","images":"Allow"}}}"#;

fn documented() -> Authored {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.md");
    let text = std::fs::read_to_string(path).unwrap();
    let yaml = text.split("```yaml\n").nth(1).unwrap();
    let yaml = yaml.split("```").next().unwrap();
    compile_dir(
        vec![("policy.md".to_owned(), yaml.to_owned())],
        &Limits::default(),
        NOW,
    )
    .unwrap()
}

fn json_error(text: &str) -> String {
    match from_json(text.as_bytes(), &Limits::default()) {
        Ok(_) => panic!("{text} is a policy"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_policy_of_the_documentation_compiles_without_a_warning() {
    let authored = documented();
    assert_eq!(authored.warnings, []);
    assert_eq!(authored.policy.counts().rules, 4);
    assert_eq!(authored.policy.counts().enforcing, 3);
}

#[test]
fn the_json_of_a_policy_is_the_same_policy() {
    let authored = documented();
    let read = from_json(&authored.json, &Limits::default()).unwrap();
    assert_eq!(read.version(), authored.policy.version());
    assert_eq!(read.counts(), authored.policy.counts());
    assert_eq!(read.short_version().len(), 12);
}

#[test]
fn files_and_comments_do_not_change_the_version_and_a_rule_does() {
    let set = "apiVersion: pullguard.io/v1alpha1\nkind: PolicySet\nmetadata: {name: s}\nspec: {audience: a, unmatched: {pods: Allow, images: Allow}}\n";
    let rule = |check: &str| {
        format!(
            "apiVersion: pullguard.io/v1alpha1\nkind: NodePolicy\nmetadata: {{name: p}}\nspec: {{rules: [{{name: r, {check}}}]}}\n"
        )
    };
    let version = |files: Vec<(&str, String)>| {
        let files = files
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text));
        compile_dir(files.collect(), &Limits::default(), NOW)
            .unwrap()
            .policy
            .version()
    };
    let one = version(vec![(
        "a.yaml",
        format!("{set}---\n{}", rule("digest: Pin")),
    )]);
    let two = version(vec![
        ("b.yaml", format!("# a comment\n{set}")),
        ("a.yaml", rule("digest: Pin")),
    ]);
    let three = version(vec![(
        "a.yaml",
        format!("{set}---\n{}", rule("digest: InSpec")),
    )]);
    assert_eq!(one, two);
    assert_ne!(one, three);
}

#[test]
fn h6_json_that_is_not_strict_is_refused() {
    let with = |spec: &str| SET.replace(r#""spec":{"#, &format!(r#""spec":{{{spec},"#));
    let table = [
        (format!("[{SET}] x"), "trailing characters"),
        (format!("[{SET},]"), "trailing comma"),
        (format!("/* c */[{SET}]"), "expected value"),
        (
            format!("[{}]", with(r#""audience":"b""#)),
            "duplicate field",
        ),
        (format!("[{}]", with(r#""unknown":1"#)), "unknown field"),
        (format!("[{}]", with(r#""pause":null"#)), "expected"),
        (
            format!("[{}]", with(r#""allowLockout":"true""#)),
            "invalid type",
        ),
        (
            format!("[{}]", SET.replace("v1alpha1", "v2")),
            "unknown variant",
        ),
        (
            format!(
                "[{}]",
                SET.replace(r#""kind""#, r#""kind":"PolicySet","kind""#)
            ),
            "duplicate key",
        ),
        (SET.to_owned(), "invalid type: map, expected a sequence"),
        (format!("[{SET},{SET}]"), "a second PolicySet"),
        ("[]".to_owned(), "no PolicySet"),
    ];
    for (text, wanted) in table {
        let error = json_error(&text);
        assert!(error.contains(wanted), "{text}\n{error}");
    }
    assert!(from_json(format!("[{SET}]").as_bytes(), &Limits::default()).is_ok());
}

#[test]
fn h6_labels_of_one_name_are_refused_in_json() {
    let policy = r#"{"apiVersion":"pullguard.io/v1alpha1","kind":"NodePolicy","metadata":{"name":"p"},"spec":{"match":{"nodes":{"a":"1","a":"2"}},"rules":[{"name":"r","digest":"Pin"}]}}"#;
    let error = json_error(&format!("[{SET},{policy}]"));
    assert!(error.contains("duplicate key `a`"), "{error}");
}

#[test]
fn h6_a_policy_over_its_limit_is_refused() {
    let limits = Limits {
        max_policy_bytes: 100,
        ..Limits::default()
    };
    let error = from_json(format!("[{SET}]").as_bytes(), &limits).unwrap_err();
    assert_eq!(error.to_string(), "the policy is larger than 100 bytes");
    let error =
        compile_dir(vec![("a.yaml".to_owned(), " ".repeat(101))], &limits, NOW).unwrap_err();
    assert_eq!(
        error.to_string(),
        "policy: the policy is larger than 100 bytes"
    );
}

#[test]
fn what_a_policy_hardly_means_is_warned_about_with_its_place() {
    let text = "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: s}
spec: {audience: a, unmatched: {pods: Allow, images: Allow}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {name: p}
spec:
  rules:
  - name: r
    containers:
      hostPath:
        allow:
        - path: /var/lib/kubelet
        - path: /etc/hosts
        - prefix: /run
          readOnly: true
        - prefix: /srv/app
        - prefix: /srv/read
          readOnly: true
      volumes: {allow: [persistentVolumeClaim, secret]}
";
    let files = vec![("a.yaml".to_owned(), text.to_owned())];
    let authored = compile_dir(files, &Limits::default(), NOW).unwrap();
    let warnings: Vec<String> = authored.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "a.yaml:15:17: `/var/lib/kubelet` hands over `/var/lib/kubelet`: whoever may mount it can take over the node",
            "a.yaml:16:17: `/etc/hosts` hands over `/etc/hosts`: whoever may mount it can take over the node",
            "a.yaml:17:19: `/run` is above `/run/containerd`, and no prefix covers what belongs to the host; name the directories that are meant",
            "a.yaml:19:19: `/srv/app` may be mounted writable, so nothing below it can be mounted by itself; use `path: /srv/app`, or `readOnly: true`",
            "a.yaml:22:24: the node sees a claim as what it is bound to, so claims of storage drivers are denied here; name csi (or nfs, iscsi, fc) beside it",
        ]
    );
}

fn ask() -> CreateAsk {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/create.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(value.get_mut("ask").unwrap().take()).unwrap()
}

fn list() -> Vec<BootstrapEntry> {
    let image = format!("registry.example.com/pay/api@{}", Digest::of(b"d"));
    vec![BootstrapEntry::parse(vec!["payments".to_owned()], &image).unwrap()]
}

fn code(judgement: &Judgement) -> Result<Basis, Code> {
    match &judgement.verdict {
        Ok(allowed) => Ok(allowed.basis),
        Err(denial) => Err(denial.code()),
    }
}

#[test]
fn without_a_policy_a_static_pod_is_pulled_run_and_created() {
    let mut ask = ask();
    for source in [PodSource::File, PodSource::Http] {
        ask.sandbox.pod.source = source;
        let pod = &ask.sandbox.pod;
        let image = Reference::parse("nginx").unwrap();
        let pull = NoPolicy.plan_pull(Some(pod), &image, &[]);
        assert!(!pull.needs_digest());
        assert_eq!(code(&pull.conclude(None)), Ok(Basis::NoPolicy));
        assert_eq!(
            code(&NoPolicy.judge_sandbox(&ask.sandbox, &[])),
            Ok(Basis::NoPolicy)
        );
        let create = NoPolicy.plan_create(pod, &ask, &[]);
        assert!(create.needs().images.iter().all(|need| !need.needs.proof));
        let judged = create.conclude(&CreateEvidence::default());
        assert_eq!(code(&judged), Ok(Basis::NoPolicy));
    }
}

#[test]
fn without_a_policy_a_pod_of_the_api_waits_at_every_gate() {
    let mut ask = ask();
    for source in [PodSource::Api, PodSource::Unstated] {
        ask.sandbox.pod.source = source;
        let pod = &ask.sandbox.pod;
        let image = Reference::parse("nginx").unwrap();
        let pull = NoPolicy.plan_pull(Some(pod), &image, &[]);
        assert_eq!(code(&pull.conclude(None)), Err(Code::StateBootstrap));
        assert_eq!(pull.definite().unwrap_err().code(), Code::StateBootstrap);
        let run = NoPolicy.judge_sandbox(&ask.sandbox, &[]);
        assert_eq!(code(&run), Err(Code::StateBootstrap));
        let create = NoPolicy.plan_create(pod, &ask, &[]);
        assert_eq!(create.definite().unwrap_err().code(), Code::StateBootstrap);
        let judged = create.conclude(&CreateEvidence::default());
        assert_eq!(code(&judged), Err(Code::StateBootstrap));
    }
}

#[test]
fn without_a_policy_a_listed_image_is_pulled_by_its_digest_only() {
    let ask = ask();
    let list = list();
    let image = Reference::parse("registry.example.com/pay/api:1").unwrap();
    let pull = NoPolicy.plan_pull(Some(&ask.sandbox.pod), &image, &list);
    assert!(pull.needs_digest());
    assert_eq!(pull.definite(), Ok(()));
    let right = pull.conclude(Some(&[Digest::of(b"d")].as_slice().into()));
    assert_eq!(code(&right), Ok(Basis::Bootstrap));
    let wrong = pull.conclude(Some(&[Digest::of(b"e")].as_slice().into()));
    assert_eq!(code(&wrong), Err(Code::StateBootstrap));
}

#[test]
fn without_a_policy_a_listed_namespace_has_sandboxes_and_a_listed_image_needs_its_proof() {
    let ask = ask();
    let list = list();
    let run = NoPolicy.judge_sandbox(&ask.sandbox, &list);
    assert_eq!(code(&run), Ok(Basis::Bootstrap));
    let create = NoPolicy.plan_create(&ask.sandbox.pod, &ask, &list);
    assert_eq!(create.definite(), Ok(()));
    assert!(create.needs().images.iter().all(|need| need.needs.digest));
    let judged = create.conclude(&CreateEvidence::default());
    assert_eq!(code(&judged), Err(Code::StateBootstrap));
}

#[test]
fn without_a_policy_a_pull_without_a_pod_passes() {
    let image = Reference::parse("nginx").unwrap();
    let pull = NoPolicy.plan_pull(None, &image, &[]);
    assert_eq!(code(&pull.conclude(None)), Ok(Basis::NoPolicy));
}

#[test]
fn only_a_judgement_that_allows_gives_a_permit() {
    let allowed = NoPolicy
        .plan_pull(None, &Reference::parse("nginx").unwrap(), &[])
        .conclude(None);
    let permit: Permit = allowed.permit(Bytes::from_static(b"m")).unwrap();
    assert_eq!(permit.message().as_ref(), b"m");
    assert_eq!(permit.pin(), None);
    let denial = Denial::new(Code::PodSandbox, "sandbox `x` is another pod's");
    let denied = allowed.denied_by(denial.clone());
    assert_eq!(denied.permit(Bytes::new()).unwrap_err(), denial);
    assert_eq!(denied.findings.len(), 1);
}

#[test]
fn a_pause_image_that_no_entry_proves_is_warned_about_or_denied_as_the_set_says() {
    let image = Reference::parse("registry.example.com/pay/api:3.9").unwrap();
    let ask = ask();
    for (pause, wanted) in [("Warn", Ok(Basis::Rules)), ("Deny", Err(Code::ImgUnproven))] {
        let set = SET.replace(r#""spec":{"#, &format!(r#""spec":{{"pause":"{pause}","#));
        let policy = from_json(format!("[{set}]").as_bytes(), &Limits::default()).unwrap();
        let run = policy.judge_sandbox(&ask.sandbox, &NodeFacts::default(), NOW);
        let unproven = policy.judge_pause(&image, &[Digest::of(b"e")], &list());
        let both = run.clone().and(unproven);
        assert_eq!(code(&both), wanted);
        assert_eq!(both.findings.len(), 1);
        let proven = policy.judge_pause(&image, &[Digest::of(b"d")], &list());
        assert_eq!(code(&run.and(proven)), Ok(Basis::Rules));
    }
}

#[test]
fn what_runs_is_due_again_when_an_exception_ends() {
    let text = "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: s}
spec: {audience: a, unmatched: {pods: Allow, images: Allow}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {name: p}
spec:
  rules:
  - {name: r, containers: {privileged: Deny}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicyException
metadata: {name: e}
spec: {policy: p, rules: [r], match: {namespaces: [team]}, expires: 2026-12-31T00:00:00Z, reason: T-1}
";
    let end = Timestamp::parse_rfc3339("2026-12-31T00:00:00Z").unwrap();
    let before = |seconds| Timestamp::from_unix_seconds(end.unix_seconds() - seconds);
    let files = vec![("a.yaml".to_owned(), text.to_owned())];
    let policy = compile_dir(files, &Limits::default(), before(600))
        .unwrap()
        .policy;
    assert_eq!(policy.next_due(before(600)), end);
    assert_eq!(policy.next_due(before(6_000)), before(2_400));
    assert_eq!(
        policy.next_due(end).unix_seconds(),
        end.unix_seconds() + 3_600
    );
}
