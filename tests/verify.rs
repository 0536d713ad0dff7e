//! `pullguard verify` against a real registry: what people and scripts read, and how it ends.
#![expect(
    clippy::unwrap_used,
    reason = "a suite: a broken assumption must end the test"
)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use support::registry::{PASSWORD, USER};
use support::{Lab, Registry};

/// A directory with a policy that allows `repositories` and pins, and settings that know it.
struct Desk {
    lab: Lab,
    config: PathBuf,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| Value::String(self.err.clone()))
    }
}

impl Desk {
    fn new(name: &str, allowed: &str, more: &str) -> Self {
        let lab = Lab::new(name);
        Self::on(lab, allowed, more)
    }

    fn on(lab: Lab, allowed: &str, more: &str) -> Self {
        let policy = format!(
            "apiVersion: pullguard.io/v1alpha1\nkind: PolicySet\nmetadata: {{name: node}}\n\
             spec: {{audience: node, unmatched: {{pods: Allow, images: Allow}}}}\n---\n\
             apiVersion: pullguard.io/v1alpha1\nkind: NodePolicy\nmetadata: {{name: lab}}\nspec:\n  \
             rules:\n  - {{name: registries, registries: {{allow: [\"{allowed}\"]}}}}\n  \
             - {{name: pinned, digest: Pin}}\n  - {{name: host, containers: {{privileged: Deny}}}}\n"
        );
        lab.dir("policy");
        lab.write("policy/lab.yaml", &policy);
        let config = lab.write(
            "verify.toml",
            &format!(
                "upstream = \"{}\"\ncerts_dir = \"{}\"\nnode_name = \"lab\"\n[policy]\nlocal = \"{}\"\n{more}",
                lab.path("no-containerd.sock").display(),
                lab.dir("certs.d").display(),
                lab.path("policy").display(),
            ),
        );
        Self { lab, config }
    }

    fn verify(&self, image: &str, more: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_pullguard"))
            .args(["verify", image, "--config"])
            .arg(&self.config)
            .args(more)
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn an_allowed_tag_is_found_pinned_and_followed_to_its_config() {
    let lab = Lab::new("verify-allowed");
    let registry = Registry::start_open(&lab);
    let pushed = registry.push("busybox-user", "team/app:1");
    let desk = Desk::on(lab, &format!("{}/team/**", registry.host()), "");
    let ran = desk.verify(&pushed.reference, &["-o", "json"]);
    let found = ran.json();
    assert_eq!(ran.code, 0, "{found:#}");
    assert_eq!(found["schema"], "pullguard.verify/v1");
    assert_eq!(found["verdict"], "allowed");
    assert_eq!(found["digest"], pushed.digest.as_str());
    assert_eq!(found["pinned"], pushed.pinned().as_str());
    assert_eq!(found["config"]["user"], "1000");
    assert_eq!(found["hosts"][0]["answer"], "found");
    assert_eq!(found["hosts"][0]["authenticated"], false);
    let answers: Vec<_> = found["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            (
                rule["rule"].as_str().unwrap(),
                rule["answer"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        answers,
        [
            ("registries", "holds"),
            ("pinned", "holds"),
            ("host", "at-create")
        ]
    );
    let chain = found["chain"].as_array().unwrap();
    let last = chain.last().unwrap();
    assert_eq!(
        (&last["kind"], &last["digest"]),
        (&"config".into(), &found["config"]["id"])
    );
    assert_eq!(found["containerd"]["answer"], "away");

    let text = desk.verify(&pushed.reference, &[]);
    assert_eq!((text.code, text.err.as_str()), (0, ""));
    for wanted in [
        "Verdict     allowed: no enforcing rule is broken by the image\n",
        "lab/registries (registries, Enforce): holds\n",
        "User        1000\n",
    ] {
        assert!(text.out.contains(wanted), "{wanted}\n{}", text.out);
    }
}

#[test]
fn an_image_that_policy_denies_gets_no_packet() {
    let lab = Lab::new("verify-denied");
    let registry = Registry::start_open(&lab);
    let pushed = registry.push("busybox", "other/app:1");
    let before = registry.requests().len();
    let desk = Desk::on(lab, &format!("{}/team/**", registry.host()), "");
    let ran = desk.verify(&pushed.reference, &["-o", "json"]);
    let found = ran.json();
    assert_eq!(ran.code, 1, "{found:#}");
    assert_eq!(found["verdict"], "denied");
    assert_eq!(found["code"], "REG-DENIED");
    assert!(
        found["why"]
            .as_str()
            .unwrap()
            .starts_with("REG-DENIED lab/registries: image ")
    );
    assert_eq!(found["hosts"][0]["answer"], "not-asked");
    assert_eq!(found["rules"][0]["answer"], "broken");
    assert_eq!(registry.requests().len(), before);
}

#[test]
fn an_image_that_the_registry_does_not_have_is_denied_with_its_code() {
    let lab = Lab::new("verify-absent");
    let registry = Registry::start_open(&lab);
    let desk = Desk::on(lab, &format!("{}/**", registry.host()), "");
    let ran = desk.verify(&format!("{}/team/none:1", registry.host()), &["-o", "json"]);
    let found = ran.json();
    assert_eq!(
        (ran.code, &found["code"]),
        (1, &"IMG-NOT-FOUND".into()),
        "{found:#}"
    );
    assert_eq!(found["hosts"][0]["answer"], "not-found");
}

#[test]
fn a_registry_that_is_away_leaves_it_undecided() {
    let lab = Lab::new("verify-away");
    let mut registry = Registry::start_open(&lab);
    let pushed = registry.push("busybox", "team/app:1");
    registry.stop();
    let desk = Desk::on(lab, &format!("{}/**", registry.host()), "");
    let ran = desk.verify(&pushed.reference, &["-o", "json"]);
    let found = ran.json();
    assert_eq!(
        (ran.code, &found["code"]),
        (2, &"IMG-UNREACHABLE".into()),
        "{found:#}"
    );
    assert_eq!(found["verdict"], "undecided");
    assert_eq!(found["hosts"][0]["answer"], "unreachable");
}

#[test]
fn a_private_registry_is_read_with_the_nodes_credentials_and_refuses_without_them() {
    use base64::Engine;
    let lab = Lab::new("verify-private");
    let registry = Registry::start_private(&lab);
    let pushed = registry.push("busybox", "team/app:1");
    let allowed = format!("{}/**", registry.host());
    let desk = Desk::on(lab, &allowed, "");
    let ran = desk.verify(&pushed.reference, &["-o", "json"]);
    let found = ran.json();
    assert_eq!(
        (ran.code, &found["code"]),
        (1, &"IMG-REFUSED".into()),
        "{found:#}"
    );
    assert_eq!(found["hosts"][0]["answer"], "refused");

    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let file = desk.lab.write(
        "config.json",
        &format!(
            "{{\"auths\":{{\"{}\":{{\"auth\":\"{auth}\"}}}}}}",
            registry.host()
        ),
    );
    let more = format!("[registry]\ncredentials = \"{}\"\n", file.display());
    let desk = Desk::on(desk.lab.clone(), &allowed, &more);
    let ran = desk.verify(&pushed.reference, &["-o", "json"]);
    let found = ran.json();
    assert_eq!(
        (ran.code, &found["verdict"]),
        (0, &"allowed".into()),
        "{found:#}"
    );
    assert_eq!(found["hosts"][0]["authenticated"], true);
}

#[test]
fn mirrors_are_asked_in_the_order_of_hosts_toml_and_each_answer_is_shown() {
    let lab = Lab::new("verify-mirrors");
    let empty = Registry::launch(&lab, "empty", false);
    let full = Registry::launch(&lab, "full", false);
    let pushed = full.push("busybox", "team/app:1");
    let desk = Desk::on(lab, "registry.example.com/**", "");
    let dir = desk.lab.dir("certs.d/registry.example.com");
    let host = |registry: &Registry| {
        format!(
            "[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
            registry.host()
        )
    };
    let gone = format!("http://127.0.0.1:{}", support::net::free_port());
    fs::write(
        dir.join("hosts.toml"),
        format!("server = \"{gone}\"\n{}{}", host(&empty), host(&full)),
    )
    .unwrap();
    let ran = desk.verify("registry.example.com/team/app:1", &["-o", "json"]);
    let found = ran.json();
    assert_eq!(ran.code, 0, "{found:#}");
    let answers: Vec<_> = found["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|host| host["answer"].as_str().unwrap())
        .collect();
    assert_eq!(answers, ["not-found", "found", "unreachable"]);
    assert_eq!(found["digest"], pushed.digest.as_str());
}

#[test]
fn without_a_policy_a_pod_waits_and_the_image_is_looked_at_all_the_same() {
    let lab = Lab::new("verify-bootstrap");
    let registry = Registry::start_open(&lab);
    let pushed = registry.push("busybox", "team/app:1");
    let desk = Desk::on(lab, "registry.example.com/**", "");
    fs::write(&desk.config, "node_name = \"lab\"\n").unwrap();
    let ran = desk.verify(&pushed.reference, &["-o", "json"]);
    let found = ran.json();
    assert_eq!(
        (ran.code, &found["code"]),
        (2, &"STATE-BOOTSTRAP".into()),
        "{found:#}"
    );
    assert_eq!(found["digest"], pushed.digest.as_str());
}

/// The policy of the desk, without the rule that pins.
fn only_registries(desk: &Desk, allowed: &str) {
    let policy = format!(
        "apiVersion: pullguard.io/v1alpha1\nkind: PolicySet\nmetadata: {{name: node}}\n\
         spec: {{audience: node, unmatched: {{pods: Allow, images: Allow}}}}\n---\n\
         apiVersion: pullguard.io/v1alpha1\nkind: NodePolicy\nmetadata: {{name: lab}}\nspec:\n  \
         rules:\n  - {{name: registries, registries: {{allow: [\"{allowed}\"]}}}}\n"
    );
    desk.lab.write("policy/lab.yaml", &policy);
}

#[test]
fn a_private_image_that_no_rule_asks_a_digest_of_is_allowed_as_the_daemon_allows_it() {
    let lab = Lab::new("verify-names-only");
    let registry = Registry::start_private(&lab);
    let pushed = registry.push("busybox", "team/app:1");
    let allowed = format!("{}/**", registry.host());
    let desk = Desk::on(lab, &allowed, "");
    only_registries(&desk, &allowed);
    let ran = desk.verify(&pushed.reference, &["-o", "json"]);
    let found = ran.json();
    assert_eq!(
        (ran.code, &found["verdict"]),
        (0, &"allowed".into()),
        "{found:#}"
    );
    assert_eq!(found["hosts"][0]["answer"], "refused");
    let why = found["registry"].as_str().unwrap();
    assert!(why.starts_with("IMG-REFUSED: "), "{why}");
}

#[test]
fn without_a_policy_and_a_registry_it_is_the_policy_that_is_missing() {
    let lab = Lab::new("verify-bootstrap-away");
    let mut registry = Registry::start_open(&lab);
    let pushed = registry.push("busybox", "team/app:1");
    registry.stop();
    let desk = Desk::on(lab, "registry.example.com/**", "");
    fs::write(&desk.config, "node_name = \"lab\"\n").unwrap();
    let ran = desk.verify(&pushed.reference, &["-o", "json"]);
    let found = ran.json();
    assert_eq!(
        (ran.code, &found["code"]),
        (2, &"STATE-BOOTSTRAP".into()),
        "{found:#}"
    );
    assert_eq!(found["hosts"][0]["answer"], "unreachable");
}

#[test]
fn what_is_no_reference_is_denied_before_anything_is_asked() {
    let desk = Desk::new("verify-typed", "registry.example.com/**", "");
    let ran = desk.verify("Busybox", &[]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out
            .contains("Verdict  denied: REF-INVALID: image `Busybox`"),
        "{}",
        ran.out
    );
}

#[test]
fn a_policy_with_an_error_is_said_with_its_place() {
    let desk = Desk::new("verify-broken-policy", "registry.example.com/**", "");
    desk.lab
        .write("policy/lab.yaml", "kind: PolicySet\nnonsense: 1\n");
    let ran = desk.verify("registry.example.com/a:1", &[]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err
            .starts_with("pullguard: the policy cannot be used: lab.yaml:"),
        "{}",
        ran.err
    );
}
