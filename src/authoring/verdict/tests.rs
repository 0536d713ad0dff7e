//! Manifests under policies: what is denied, and the twin that differs in one place.

use super::*;
use crate::authoring::compile_dir;
use crate::authoring::kubelet::{Claims, Source, read};
use crate::limits::Limits;
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

/// A policy `p` with these rules.
fn policy(rules: &str) -> Policy {
    with_head("", rules)
}

fn with_head(head: &str, rules: &str) -> Policy {
    with_set("", head, rules)
}

fn with_set(set: &str, head: &str, rules: &str) -> Policy {
    let text = format!(
        "{SET}{set}---\napiVersion: pullguard.io/v1alpha1\nkind: NodePolicy\nmetadata: {{name: p}}\nspec:\n{head}  rules:\n{rules}"
    );
    let files = vec![("p.yaml".to_owned(), text)];
    let authored = compile_dir(files, &Limits::default(), NOW);
    authored.unwrap().policy
}

fn judged(policy: &Policy, manifest: &str, node: &Node, images: &Images) -> JudgedPod {
    let found = read(manifest, "shop");
    assert_eq!(found.errors, []);
    let [manifest] = found.manifests.as_slice() else {
        panic!("one pod: {found:?}");
    };
    let facts = NodeFacts::default();
    let by = Judge {
        policy,
        node: &facts,
        bootstrap: policy.bootstrap(),
        now: NOW,
    };
    judge(manifest, node, images, &by)
}

/// The only container of a pod with this spec, judged.
fn container(policy: &Policy, spec: &str) -> Judged {
    let manifest = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: pod}}, spec: {spec}}}");
    let mut pod = judged(policy, &manifest, &Node::new("n"), &Images::default());
    assert_eq!(pod.containers.len(), 1);
    pod.containers.remove(0).judged
}

fn line(judged: &Judged) -> String {
    match &judged.verdict {
        Verdict::Allowed => "allowed".to_owned(),
        Verdict::Denied(denial) => denial.line(),
        Verdict::Refused(text) => format!("refused: {text}"),
        Verdict::Undecided { rule, text } => match rule {
            Some((policy, rule)) => format!("? {policy}/{rule}: {text}"),
            None => format!("? {text}"),
        },
    }
}

const HOST: &str = "  - {name: host, containers: {privileged: Deny, root: Deny, hostPath: {allow: [{prefix: /srv/app}]}, hostNamespaces: Deny}}\n";

#[test]
fn an_image_outside_the_allowed_registries_is_denied_and_one_of_them_is_not() {
    let policy = policy("  - {name: r, registries: {allow: [\"r.example/a/**\"]}}\n");
    assert_eq!(
        line(&container(
            &policy,
            "{containers: [{name: c, image: r.example/b/x}]}"
        )),
        "REG-DENIED p/r: image `r.example/b/x:latest` is in no allowed repository; use an image from an allowed registry"
    );
    let allowed = container(&policy, "{containers: [{name: c, image: r.example/a/x}]}");
    assert_eq!(
        (line(&allowed), allowed.edits),
        ("allowed".to_owned(), vec![])
    );
}

#[test]
fn a_pinned_tag_is_an_edit_and_a_written_digest_is_none() {
    let policy = policy("  - {name: d, digest: Pin}\n");
    let tag = container(
        &policy,
        "{containers: [{name: c, image: \"r.example/a:1\"}]}",
    );
    assert_eq!(line(&tag), "allowed");
    assert_eq!(
        tag.edits,
        [PinEdit {
            image: "r.example/a:1".to_owned(),
            to: None
        }]
    );
    let digest = format!("r.example/a@{}", Digest::of(b"a"));
    let spec = format!("{{containers: [{{name: c, image: \"{digest}\"}}]}}");
    let written = container(&policy, &spec);
    assert_eq!(
        (line(&written), written.edits),
        ("allowed".to_owned(), vec![])
    );
}

#[test]
fn the_user_of_an_image_is_asked_for_where_it_decides() {
    let policy = policy(HOST);
    let spec = "{containers: [{name: c, image: r.example/a}]}";
    assert_eq!(
        line(&container(&policy, spec)),
        "? p/host: the USER of image `r.example/a` decides; say it with --image-user r.example/a=USER"
    );
    let manifest = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: pod}}, spec: {spec}}}");
    for (user, expected) in [
        ("1000", "allowed"),
        ("1000:0", "allowed"),
        (
            "app",
            "POD-ROOT p/host: container `c` runs as user `app`, and a name proves no uid; set securityContext.runAsUser to a number from 1 to 2147483647",
        ),
        (
            "",
            "POD-ROOT p/host: container `c` runs as uid `0`; set securityContext.runAsUser to a number from 1 to 2147483647",
        ),
    ] {
        let images = Images {
            users: [("r.example/a".to_owned(), user.to_owned())].into(),
            ..Images::default()
        };
        let pod = judged(&policy, &manifest, &Node::new("n"), &images);
        let told: Vec<String> = pod.containers.iter().map(|one| line(&one.judged)).collect();
        assert_eq!(told, [expected], "{user}");
    }
    let number = "{securityContext: {runAsUser: 7}, containers: [{name: c, image: r.example/a}]}";
    assert_eq!(line(&container(&policy, number)), "allowed");
}

/// A pod as uid 7 whose container mounts a volume.
fn mounting(volume: &str, mount: &str) -> String {
    format!(
        "{{securityContext: {{runAsUser: 7}}, volumes: [{{name: v, {volume}}}], containers: [{{name: c, image: r.example/a, volumeMounts: [{{name: v, mountPath: /m, {mount}}}]}}]}}"
    )
}

#[test]
fn host_paths_are_told_from_what_the_kubelet_makes() {
    let policy = policy(HOST);
    let mounted = |volume: &str, mount: &str| line(&container(&policy, &mounting(volume, mount)));
    assert_eq!(
        mounted("hostPath: {path: /etc}", ""),
        "POD-HOSTPATH p/host: container `c` mounts `/etc` at `/m`: it is a path of the host that is not allowed; remove the hostPath volume"
    );
    assert_eq!(
        mounted("hostPath: {path: /srv}", "subPath: other"),
        "POD-HOSTPATH p/host: container `c` mounts `/srv/other` at `/m`: it (by subPath) is a path of the host that is not allowed; remove the hostPath volume"
    );
    assert_eq!(
        mounted("hostPath: {path: /srv}", "subPath: app/data"),
        "allowed"
    );
    assert_eq!(mounted("hostPath: {path: /srv/app/}", ""), "allowed");
    for volume in [
        "emptyDir: {}",
        "secret: {secretName: s}",
        "projected: {sources: []}",
    ] {
        assert_eq!(mounted(volume, "subPath: etc"), "allowed", "{volume}");
    }
}

#[test]
fn what_a_claim_is_bound_to_decides_only_where_host_paths_are_judged() {
    let spec = mounting("persistentVolumeClaim: {claimName: x}", "");
    assert_eq!(
        line(&container(&policy(HOST), &spec)),
        "? p/host: what is mounted at `/m` decides: what the claim is bound to is known to the cluster only"
    );
    let other = policy("  - {name: host, containers: {privileged: Deny}}\n");
    assert_eq!(line(&container(&other, &spec)), "allowed");
    let manifest = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: pod}}, spec: {spec}}}");
    let mut node = Node::new("n");
    node.claims = Claims::Volumes;
    let told = judged(&policy(HOST), &manifest, &node, &Images::default());
    assert_eq!(line(&told.containers[0].judged), "allowed");
    assert_eq!(
        told.assumed,
        ["claims are bound to volumes of CSI drivers, and these are no directories of the node"]
    );
}

#[test]
fn a_sandbox_is_judged_by_what_its_containers_ask_for() {
    let policy = policy("  - {name: host, containers: {privileged: Deny, hostNamespaces: Deny}}\n");
    let pod = |spec: &str| {
        let manifest =
            format!("{{apiVersion: v1, kind: Pod, metadata: {{name: x}}, spec: {spec}}}");
        judged(&policy, &manifest, &Node::new("n"), &Images::default())
    };
    let init = pod(
        "{initContainers: [{name: i, image: a, securityContext: {privileged: true}}], containers: [{name: c, image: a}]}",
    );
    assert_eq!(
        line(&init.sandbox).split(':').next(),
        Some("POD-PRIVILEGED p/host")
    );
    let network = pod("{hostNetwork: true, containers: [{name: c, image: a}]}");
    assert_eq!(
        line(&network.sandbox),
        "POD-HOST-NAMESPACE p/host: pod `shop/x` uses the host's network namespace; remove hostNetwork"
    );
    let plain = pod("{initContainers: [{name: i, image: a}], containers: [{name: c, image: a}]}");
    let told: Vec<String> = plain
        .containers
        .iter()
        .map(|one| line(&one.judged))
        .collect();
    assert_eq!(
        (line(&plain.sandbox), told),
        ("allowed".to_owned(), vec!["allowed".to_owned(); 2])
    );
}

#[test]
fn an_image_volume_is_judged_like_an_image() {
    let policy = policy("  - {name: r, registries: {allow: [\"r.example/a/**\"]}}\n");
    let spec = |reference: &str| {
        format!(
            "{{volumes: [{{name: v, image: {{reference: {reference}}}}}], containers: [{{name: c, image: r.example/a/x, volumeMounts: [{{name: v, mountPath: /m}}]}}]}}"
        )
    };
    let denied = container(&policy, &spec("r.example/b/x"));
    assert!(line(&denied).starts_with("REG-DENIED p/r: "), "{denied:?}");
    assert_eq!(line(&container(&policy, &spec("r.example/a/y"))), "allowed");
}

#[test]
fn a_written_digest_is_taken_for_the_only_one_of_its_image() {
    let bad = Digest::of(b"bad");
    let rules = format!("  - {{name: r, registries: {{deny: [\"r.example/a@{bad}\"]}}}}\n");
    let policy = policy(&rules);
    let spec = |image: &str| format!("{{containers: [{{name: c, image: \"{image}\"}}]}}");
    let denied = line(&container(&policy, &spec(&format!("r.example/a@{bad}"))));
    assert!(denied.starts_with("REG-DENIED p/r: "), "{denied}");
    let other = format!("r.example/a@{}", Digest::of(b"other"));
    assert_eq!(line(&container(&policy, &spec(&other))), "allowed");
}

#[test]
fn a_digest_that_decides_and_is_not_written_is_said() {
    let good = Digest::of(b"good");
    let rules = format!("  - {{name: r, registries: {{allow: [\"r.example/a@{good}\"]}}}}\n");
    let policy = policy(&rules);
    let spec = |image: &str| format!("{{containers: [{{name: c, image: \"{image}\"}}]}}");
    assert_eq!(
        line(&container(&policy, &spec("r.example/a:1"))),
        "? the digest of `r.example/a:1` decides, and only its registry knows it; write the digest in the pod, or run pullguard verify"
    );
    assert_eq!(
        line(&container(&policy, &spec(&format!("r.example/a@{good}")))),
        "allowed"
    );
    let bad = Digest::of(b"bad");
    let denied = line(&container(&policy, &spec(&format!("r.example/a@{bad}"))));
    assert!(denied.starts_with("REG-DENIED p/r: "), "{denied}");
}

/// A privileged container of `r.example/a` by the digest that a rule hangs on, where its tag leaves that
/// open and another image is denied.
fn where_a_digest_decides(policy: &Policy, good: &Digest) -> Judged {
    let spec = |image: &str| {
        format!(
            "{{containers: [{{name: c, image: \"{image}\", securityContext: {{privileged: true}}}}]}}"
        )
    };
    let told = line(&container(policy, &spec("r.example/a:1")));
    assert!(
        told.starts_with("? the digest of `r.example/a:1` decides"),
        "{told}"
    );
    let other = line(&container(policy, &spec("r.example/b:1")));
    assert!(other.starts_with("POD-PRIVILEGED p/host: "), "{other}");
    container(policy, &spec(&format!("r.example/a@{good}")))
}

#[test]
fn a_rule_of_containers_that_a_digest_chooses_is_said() {
    let good = Digest::of(b"good");
    let rules = format!(
        "  - {{name: pin, digest: Pin}}\n  - {{name: host, skipImages: [\"r.example/a@{good}\"], containers: {{privileged: Deny}}}}\n"
    );
    let policy = policy(&rules);
    assert_eq!(line(&where_a_digest_decides(&policy, &good)), "allowed");
}

#[test]
fn a_rule_of_containers_that_an_exception_by_digest_could_waive_is_said() {
    let good = Digest::of(b"good");
    let rules = format!(
        "  - {{name: host, containers: {{privileged: Deny}}}}\n---\napiVersion: pullguard.io/v1alpha1\nkind: NodePolicyException\nmetadata: {{name: e}}\nspec: {{policy: p, rules: [host], match: {{images: [\"r.example/a@{good}\"]}}, expires: 2026-06-01T00:00:01Z, reason: T-1}}\n"
    );
    let policy = policy(&rules);
    let excepted = where_a_digest_decides(&policy, &good);
    assert_eq!(line(&excepted), "allowed");
    let waived = excepted
        .findings
        .iter()
        .filter_map(|one| one.waived.as_ref());
    assert_eq!(
        waived.map(|one| one.exception.as_str()).collect::<Vec<_>>(),
        ["e"]
    );
    // What breaks nothing hangs on nothing.
    let plain = "{containers: [{name: c, image: \"r.example/a:1\"}]}";
    assert_eq!(line(&container(&policy, plain)), "allowed");
}

#[test]
fn an_unknown_key_makes_an_allowed_pod_a_doubt_and_leaves_a_denial() {
    let policy = policy("  - {name: host, containers: {privileged: Deny}}\n");
    let spec = "{containers: [{name: c, image: a, securtyContext: {privileged: true}}]}";
    assert_eq!(
        line(&container(&policy, spec)),
        "? line 1: `spec.containers[0].securtyContext` is not translated, and may change the request; remove it, or check its spelling"
    );
    let spec = "{other: 1, containers: [{name: c, image: a, securityContext: {privileged: true}}]}";
    let told = line(&container(&policy, spec));
    assert!(told.starts_with("POD-PRIVILEGED p/host: "), "{told}");
}

#[test]
fn what_the_kubelet_itself_refuses_is_no_denial_of_the_guard() {
    let policy = policy("  - {name: host, containers: {privileged: Deny}}\n");
    let spec =
        "{containers: [{name: c, image: a, securityContext: {runAsNonRoot: true, runAsUser: 0}}]}";
    assert_eq!(
        line(&container(&policy, spec)),
        "refused: runAsNonRoot is set and runAsUser is 0"
    );
}

#[test]
fn a_static_pod_is_judged_by_its_source() {
    let policy = with_head(
        "  match: {sources: [file]}\n",
        "  - {name: host, containers: {privileged: Deny}}\n",
    );
    let manifest = "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: c, image: a, securityContext: {privileged: true}}]}}";
    let mut node = Node::new("n");
    let api = judged(&policy, manifest, &node, &Images::default());
    assert_eq!(line(&api.sandbox), "allowed");
    node.source = Source::File;
    let file = judged(&policy, manifest, &node, &Images::default());
    assert!(
        line(&file.sandbox).starts_with("POD-PRIVILEGED p/host: pod `shop/x-n`"),
        "{file:?}"
    );
}

#[test]
fn a_rule_that_only_reports_is_a_finding_and_no_denial() {
    let policy = policy("  - {name: host, action: Audit, containers: {privileged: Deny}}\n");
    let spec = "{containers: [{name: c, image: a, securityContext: {privileged: true}}]}";
    let told = container(&policy, spec);
    assert_eq!(line(&told), "allowed");
    let codes: Vec<_> = told.findings.iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&Some(Code::PodPrivileged)), "{codes:?}");
}

#[test]
fn the_bootstrap_list_is_asked_for_its_digest() {
    let listed = Digest::of(b"listed");
    let set = format!("  bootstrap: [{{namespaces: [shop], image: \"r.example/b@{listed}\"}}]\n");
    let rules = "  - {name: r, registries: {allow: [\"r.example/a/**\"]}}\n";
    let policy = with_set(&set, "", rules);
    let spec = |image: &str| format!("{{containers: [{{name: c, image: \"{image}\"}}]}}");
    let written = format!("r.example/b@{listed}");
    assert_eq!(line(&container(&policy, &spec(&written))), "allowed");
    let tag = line(&container(&policy, &spec("r.example/b:1")));
    assert!(
        tag.starts_with("? the digest of `r.example/b:1` decides"),
        "{tag}"
    );
    let other = line(&container(&policy, &spec("r.example/c:1")));
    assert!(other.starts_with("REG-DENIED p/r: "), "{other}");
}
