//! YAML policies with one mistake each.

use super::*;
use crate::time::Timestamp;

/// Time plays no part here.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_780_272_000);

const SET: &str = "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: test}
spec:
  audience: test
  unmatched: {pods: Allow, images: Allow}
";

fn errors(policy: &str) -> Vec<String> {
    let files = vec![
        ("0.yaml".to_owned(), SET.to_owned()),
        ("p.yaml".to_owned(), policy.to_owned()),
    ];
    match compile_dir(files, &Limits::default(), NOW) {
        Ok(_) => Vec::new(),
        Err(error) => error.diagnostics.iter().map(ToString::to_string).collect(),
    }
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: pullguard.io/v1alpha1\nkind: NodePolicy\nmetadata: {{name: p}}\nspec:\n{spec}"
    )
}

#[test]
fn every_mistake_is_told_with_file_line_column_and_what_works() {
    let cases = [
        (
            "  rules:\n  - name: a\n    digset: Pin\n",
            "p.yaml:7:5: unknown key `digset`; did you mean `digest`?",
        ),
        (
            "  action: enforce\n  rules: []\n",
            "p.yaml:5:11: unknown value `enforce`; did you mean `Enforce`?",
        ),
        (
            "  rules:\n  - name: a\n    signatures: {}\n",
            "p.yaml:7:5: `signatures` is not supported by this version",
        ),
        (
            "  rules:\n  - name: a\n    digest: Pin\n    digest: InSpec\n",
            "p.yaml:8:5: duplicate key `digest`; keep one",
        ),
        (
            "  rules:\n  - name: a\n    registries: {allow: ['*.com/**']}\n",
            "p.yaml:7:26: the host must be an address, a single-label name, or have a registrable domain in it: this pattern also matches `stranger.com/x`",
        ),
    ];
    for (spec, wanted) in cases {
        assert_eq!(errors(&policy(spec)), vec![wanted.to_owned()], "{spec}");
    }
}

#[test]
fn a_value_of_another_type_is_told_with_what_is_due_there() {
    let rule = |text: &str| format!("  rules:\n  - name: a\n    {text}\n");
    let entry = |value: &str| {
        rule(&format!(
            "containers: {{hostPath: {{allow: [{{prefix: /a, readOnly: {value}}}]}}}}"
        ))
    };
    let cases = [
        (
            rule("containers: {privileged: true}"),
            "7:30: unknown value `true`; known are Deny",
        ),
        (
            rule("digest: 1"),
            "7:13: unknown value `1`; known are InSpec, Pin",
        ),
        (
            rule("7: x"),
            "7:5: unknown key `7`; known are name, images, skipImages, action, onError, message, registries, digest, containers, podSecurity, resources",
        ),
        (
            "  match: {namespaces: [no]}\n  rules: [{name: a, digest: Pin}]\n".to_owned(),
            "5:24: `no` is no text; write \"no\" if the text is meant",
        ),
        (
            "  action:\n  rules: [{name: a, digest: Pin}]\n".to_owned(),
            "5:9: a value is missing here; write one, or leave the key out",
        ),
        (
            rule("registries: {allow: cgr.dev/a}"),
            "7:25: a list is due here; write `[...]`, or lines that begin with `- `",
        ),
        (
            rule("containers: [privileged]"),
            "7:17: keys with values are due here; write `{key: value}`, or lines of them",
        ),
        (
            "  rules: [{name: [a], digest: Pin}]\n".to_owned(),
            "5:18: a single value is due here, not a list and not keys with values",
        ),
        (
            rule("containers: {hostPath: [/a]}"),
            "7:28: a single word or one key with its value is due here, not a list",
        ),
        (
            entry("\"yes\""),
            "7:50: invalid type: string \"yes\", expected true or false",
        ),
        (
            entry("1"),
            "7:50: invalid type: integer `1`, expected true or false",
        ),
    ];
    for (spec, wanted) in cases {
        assert_eq!(
            errors(&policy(&spec)),
            [format!("p.yaml:{wanted}")],
            "{spec}"
        );
    }
    for value in ["true", "false"] {
        assert_eq!(errors(&policy(&entry(value))), [""; 0], "{value}");
    }
}

#[test]
fn a_file_without_a_document_is_an_error_with_its_place_and_never_a_policy_without_rules() {
    for text in [
        "",
        "\n",
        "# every rule is commented out\n",
        "---\n",
        "---\n---\n",
        "~\n",
    ] {
        let told = errors(text);
        let [only] = told.as_slice() else {
            panic!("{text:?}: {told:?}");
        };
        assert!(only.starts_with("p.yaml:1:1: "), "{text:?}: {only}");
    }
    assert_eq!(
        errors("# every rule is commented out\n"),
        ["p.yaml:1:1: the file holds no document; write one, or delete the file"]
    );
    assert_eq!(
        errors(&policy("  rules: [{name: a, digest: Pin}]\n")),
        [""; 0]
    );
}

#[test]
fn a_policy_that_is_over_the_limit_as_json_is_refused_before_a_restart_would_refuse_it() {
    let text = format!(
        "{SET}---\n{}",
        policy("  rules: [{name: a, digest: Pin}]\n")
    );
    let compiled = |limit| {
        let limits = Limits {
            max_policy_bytes: limit,
            ..Limits::default()
        };
        compile_dir(vec![("p.yaml".to_owned(), text.clone())], &limits, NOW)
    };
    let json = compiled(10_000).unwrap().json;
    assert!(json.len() > text.len(), "the JSON is the longer form here");
    let error = compiled(json.len() - 1).unwrap_err().to_string();
    let wanted = format!(
        "policy: as strict JSON the policy is larger than {} bytes",
        json.len() - 1
    );
    assert_eq!(error, wanted);
    assert!(compiled(json.len()).is_ok());
}

#[test]
fn a_mistake_in_the_head_of_a_document_is_told_at_its_own_place() {
    let good = policy("  rules: [{name: a, digest: Pin}]\n");
    let cases = [
        (
            good.replace("kind: NodePolicy", "kind: NodePolcy"),
            "p.yaml:2:7: unknown value `NodePolcy`; did you mean `NodePolicy`?",
        ),
        (
            good.replace("v1alpha1", "v2"),
            "p.yaml:1:13: unknown value `pullguard.io/v2`; known are pullguard.io/v1alpha1",
        ),
        (
            good.replace("metadata:", "metdata:"),
            "p.yaml:3:1: unknown key `metdata`; did you mean `metadata`?",
        ),
        (
            good.replace(
                "metadata: {name: p}",
                "metadata: {name: p}\nkind: NodePolicy",
            ),
            "p.yaml:4:1: duplicate key `kind`; keep one",
        ),
        (
            good.replace("{name: p}", "{nam: p}"),
            "p.yaml:3:12: unknown key `nam`; did you mean `name`?",
        ),
        (
            good.replace("metadata: {name: p}\n", ""),
            "p.yaml:3:1: key `metadata` is missing",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(errors(&text), vec![wanted.to_owned()], "{text}");
    }
}

fn warnings(policy: &str) -> Vec<String> {
    let files = vec![
        ("0.yaml".to_owned(), SET.to_owned()),
        ("p.yaml".to_owned(), policy.to_owned()),
    ];
    let authored = compile_dir(files, &Limits::default(), NOW).unwrap();
    authored.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_can_never_act_or_acts_otherwise_than_it_seems_is_warned_of_with_its_place() {
    let cases = [
        (
            "  match: {podLabels: {a: b}}\n  rules: [{name: a, digest: Pin}]\n",
            "p.yaml:5:22: pod labels are the tenant's choice: a pod without them escapes this policy",
        ),
        (
            "  match: {runtimeHandlers: [kata]}\n  rules: [{name: a, digest: Pin}]\n",
            "p.yaml:5:28: the runtime class is the tenant's choice: a pod with another one escapes this policy",
        ),
        (
            "  match: {namespaces: [a-1]}\n  exclude: {namespaces: ['a-*']}\n  rules: [{name: a, digest: Pin}]\n",
            "p.yaml:6:12: `exclude` takes out every namespace that `match` names: the policy speaks of no pod",
        ),
        (
            "  rules:\n  - name: a\n    action: Audit\n    digest: Pin\n",
            "p.yaml:7:13: rule `a` is Audit in a policy that is Enforce",
        ),
        (
            "  rules:\n  - name: a\n    digest: Pin\n    images: ['cgr.dev/**']\n    skipImages: ['cgr.dev/**']\n",
            "p.yaml:9:17: every pattern of `images` is skipped: the rule speaks of no image",
        ),
        (
            "  rules:\n  - name: a\n    registries: {allow: ['cgr.dev/**'], deny: ['cgr.dev/**']}\n",
            "p.yaml:7:26: `cgr.dev/**` is denied by the same rule, so it allows nothing",
        ),
        (
            "  rules:\n  - name: a\n    digest: InSpec\n  - name: b\n    registries: {deny: ['**/**:latest']}\n",
            "p.yaml:9:25: `**/**:latest` names a tag, and rule `a` lets only images with a digest pass, of which no tag is matched",
        ),
        (
            "  onError: Allow\n  rules: [{name: a, digest: Pin}]\n",
            "p.yaml:5:12: `onError: Allow` acts only on `signatures` and `attestations` rules, which this version does not have yet",
        ),
    ];
    for (spec, wanted) in cases {
        assert_eq!(warnings(&policy(spec)), vec![wanted.to_owned()], "{spec}");
    }
    let digest = "4f".repeat(32);
    let by_digest = format!(
        "  rules:\n  - name: a\n    digest: InSpec\n    images: ['cgr.dev/a@sha256:{digest}']\n"
    );
    let [only] = &*warnings(&policy(&by_digest)) else {
        panic!("one warning");
    };
    assert!(
        only.starts_with("p.yaml:8:14: `cgr.dev/a@sha256:"),
        "{only}"
    );
}

#[test]
fn what_acts_as_it_says_is_not_warned_of() {
    for spec in [
        "  match: {namespaces: [a-1, b]}\n  exclude: {namespaces: ['a-*']}\n  rules: [{name: a, digest: Pin}]\n",
        "  match: {namespaces: [a]}\n  exclude: {namespaces: ['*'], sources: [file]}\n  rules: [{name: a, digest: Pin}]\n",
        "  action: Audit\n  rules: [{name: a, action: Audit, digest: Pin}]\n",
        "  rules:\n  - {name: a, digest: InSpec, images: ['cgr.dev/**']}\n  - name: b\n    registries: {deny: ['**/**:latest']}\n",
        "  rules:\n  - name: a\n    registries: {allow: ['127.0.0.1:5000/**'], deny: ['127.0.0.1:5000/old']}\n  - {name: b, digest: InSpec}\n",
    ] {
        assert_eq!(warnings(&policy(spec)), [""; 0], "{spec}");
    }
}

#[test]
fn a_key_of_the_set_that_does_nothing_yet_is_warned_of() {
    let text = format!("{SET}  onStale: AdmittedOnly\n");
    let files = vec![("0.yaml".to_owned(), text)];
    let authored = compile_dir(files, &Limits::default(), NOW).unwrap();
    let said: Vec<String> = authored.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "0.yaml:7:12: `onStale: AdmittedOnly` acts only on a policy that can become stale, which this version does not have yet"
        ]
    );
}

/// A policy `p` with an enforcing rule `a` and an auditing one `b`, and an exception from it.
fn excepted(rules: &str, matches: &str, expires: &str) -> String {
    let policy = policy(
        "  rules:\n  - {name: a, digest: Pin}\n  - {name: b, action: Audit, digest: InSpec}\n  - {name: c, containers: {exec: Deny}}\n",
    );
    format!(
        "{policy}---\napiVersion: pullguard.io/v1alpha1\nkind: NodePolicyException\nmetadata: {{name: e}}\nspec:\n  policy: p\n  rules: {rules}\n  match: {matches}\n  expires: {expires}\n  reason: T-1\n"
    )
}

/// The warnings but those about the rules themselves.
fn of_exception(rules: &str, matches: &str, expires: &str) -> Vec<String> {
    let mut all = warnings(&excepted(rules, matches, expires));
    all.retain(|text| !text.contains("in a policy that is"));
    all
}

#[test]
fn an_exception_that_waives_nothing_everything_or_not_much_longer_is_warned_of() {
    let ours = "{namespaces: [x]}";
    for (rules, matches, expires, wanted) in [
        // The moment is 2026-06-01T00:00:00Z.
        (
            "[a]",
            ours,
            "2026-06-01T00:00:00Z",
            "p.yaml:17:12: exception `e` has expired and waives nothing; delete it",
        ),
        (
            "[a]",
            ours,
            "2026-06-15T00:00:00Z",
            "p.yaml:17:12: exception `e` expires within 14 days: what it carries runs on, and does not start again",
        ),
        (
            "[b]",
            ours,
            "2027-01-01T00:00:00Z",
            "p.yaml:15:10: none of these rules enforces, so there is nothing to be excepted from",
        ),
        (
            "[a]",
            "{sources: [api]}",
            "2027-01-01T00:00:00Z",
            "p.yaml:16:10: names neither namespaces nor images, so it waives for everybody on these nodes",
        ),
        (
            "[c]",
            "{images: [cgr.dev/a]}",
            "2027-01-01T00:00:00Z",
            "p.yaml:15:11: calls about a container that runs do not prove its image: there `c` is waived only by an exception without images",
        ),
    ] {
        let said = of_exception(rules, matches, expires);
        assert_eq!(said, [wanted], "{rules} {matches} {expires}");
    }
}

#[test]
fn an_exception_that_says_whom_and_lasts_longer_is_not_warned_of() {
    for (rules, matches, expires) in [
        ("[a]", "{namespaces: [x]}", "2026-06-15T00:00:01Z"),
        ("[a, b]", "{images: [cgr.dev/a]}", "2027-01-01T00:00:00Z"),
        ("[c]", "{namespaces: [x]}", "2027-01-01T00:00:00Z"),
    ] {
        let said = of_exception(rules, matches, expires);
        assert_eq!(said, [""; 0], "{rules} {matches} {expires}");
    }
}

#[test]
fn an_exception_for_namespaces_of_which_its_policy_does_not_speak_is_warned_of() {
    let said = |scope: &str, namespaces: &str| {
        let text = excepted(
            "[a]",
            &format!("{{namespaces: [{namespaces}]}}"),
            "2027-01-01T00:00:00Z",
        );
        let all = warnings(&text.replacen("  rules:\n", &format!("  {scope}\n  rules:\n"), 1));
        all.iter().any(|text| text.contains("of none of these"))
    };
    for (scope, namespaces, wanted) in [
        ("match: {namespaces: [pay, 'pay-*']}", "payy", true),
        ("match: {namespaces: [pay, 'pay-*']}", "payy, pay-1", false),
        ("match: {namespaces: [pay]}", "'p*'", false),
        ("match: {namespaces: ['*-eu']}", "'pay-*'", false),
        ("match: {sources: [api]}", "pay", false),
        ("exclude: {namespaces: ['dev*']}", "dev-1", true),
        ("exclude: {namespaces: [dev]}", "'dev*'", false),
        (
            "exclude: {namespaces: [dev], sources: [file]}",
            "dev",
            false,
        ),
    ] {
        assert_eq!(said(scope, namespaces), wanted, "{scope} {namespaces}");
    }
}

#[test]
fn more_exceptions_than_the_limit_are_refused() {
    let one = excepted("[a]", "{namespaces: [x]}", "2027-01-01T00:00:00Z");
    let files = vec![("p.yaml".to_owned(), format!("{SET}---\n{one}"))];
    let limits = |max_policy_exceptions| Limits {
        max_policy_exceptions,
        ..Limits::default()
    };
    let error = compile_dir(files.clone(), &limits(0), NOW).unwrap_err();
    assert_eq!(
        error.to_string(),
        "p.yaml:1:1: 1 exceptions; at most 0 are allowed"
    );
    compile_dir(files, &limits(1), NOW).unwrap();
}

#[test]
fn an_exception_from_who_may_use_an_exempt_handler_is_warned_of() {
    let rules = "  rules:\n  - {name: who, containers: {runtimeHandlers: {allow: ['']}}}\n  - {name: level, podSecurity: {level: baseline, exempt: {runtimeHandlers: [kata]}}}\n";
    let text = |waived: &str| {
        format!(
            "{}---\napiVersion: pullguard.io/v1alpha1\nkind: NodePolicyException\nmetadata: {{name: e}}\nspec:\n  policy: p\n  rules: [{waived}]\n  match: {{namespaces: [x]}}\n  expires: 2027-01-01T00:00:00Z\n  reason: T-1\n",
            policy(rules)
        )
    };
    let about = |waived: &str| {
        let mut said = warnings(&text(waived));
        said.retain(|line| line.contains("escapes the level"));
        said
    };
    assert_eq!(
        about("who"),
        [
            "p.yaml:14:11: rule `who` says who may use the runtime handlers that `podSecurity` exempts: a pod that it is waived for can choose one, and with it escapes the level"
        ]
    );
    assert_eq!(about("level"), [""; 0]);
}
