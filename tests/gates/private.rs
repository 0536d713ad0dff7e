//! A registry with a password: whose credentials, which text, and where they must not appear.

use std::path::Path;

use base64::Engine as _;

use crate::node::{Bare, Node, pinned};
use crate::support::cri::{FOREVER, Refused, spec_for};
use crate::support::messages::{AuthConfig, PullImageRequest};
use crate::support::registry::{PASSWORD, USER};
use crate::support::{Pushed, Registry};

fn private(name: &str) -> (Node, Registry, Pushed) {
    let bare = Bare::new(name);
    let registry = Registry::start_private(&bare.lab);
    let app = registry.push("app-one", "shop/app:1");
    let node = bare.guarded(&pinned(&registry.host()));
    (node, registry, app)
}

fn pull(node: &Node, image: &str, auth: Option<AuthConfig>) -> Result<String, tonic::Status> {
    let sandbox = node.cri.sandbox("pod");
    node.cri.pull_with(PullImageRequest {
        image: Some(spec_for(image, &sandbox)),
        auth,
        sandbox_config: Some(sandbox),
    })
}

fn password(password: &str) -> AuthConfig {
    AuthConfig {
        username: USER.to_owned(),
        password: password.to_owned(),
        ..AuthConfig::default()
    }
}

#[test]
fn the_pulls_own_credentials_resolve_the_tag_and_pull_the_image() {
    let (node, _registry, app) = private("private");
    let id = pull(&node, &app.reference, Some(password(PASSWORD))).expect("pulled");
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let auth = AuthConfig {
        auth: encoded,
        ..AuthConfig::default()
    };
    assert_eq!(
        pull(&node, &app.reference, Some(auth)).expect("pulled"),
        id,
        "`auth` in place of the two"
    );
    let sandbox = node.sandbox(|_| {});
    let created = node
        .create(&sandbox, &id, &app.reference)
        .expect("created without credentials");
    node.cri.start(&created).expect("started");
    let output = node.cri.exec(&created, &["cat", "/build"]);
    assert_eq!(output.expect("exec").stdout, "one\n");
}

/// Asserts that a pull is refused, in these words whatever the credentials, and goes no further than
/// the guard's own question.
fn refused(node: &Node, registry: &Registry, app: &Pushed, auth: Option<AuthConfig>) {
    let by_containerd = || {
        let mut lines = registry.settled_requests();
        lines.retain(|line| line.contains("\"containerd/"));
        lines
    };
    let before = by_containerd();
    node.denied(
        |node| {
            pull(node, &app.reference, auth).map_err(|status| {
                assert_eq!(status.code(), tonic::Code::Unknown);
                Refused {
                    call: "PullImage",
                    status,
                }
            })
        },
        "PullImage",
        &format!(
            "IMG-REFUSED: image `{}`: the registry refused access; give the pod a pull secret for this registry, or correct the one that it has",
            app.reference
        ),
    );
    assert_eq!(by_containerd(), before);
}

#[test]
fn a13_the_credentials_of_one_pull_serve_no_other() {
    let (node, registry, app) = private("private-other");
    pull(&node, &app.reference, Some(password(PASSWORD))).expect("the first tenant's own");
    refused(&node, &registry, &app, None);
    refused(&node, &registry, &app, Some(password("a guess")));
    pull(&node, &app.reference, Some(password(PASSWORD))).expect("the right ones");
}

#[test]
fn wrong_or_absent_credentials_are_said_in_the_same_words() {
    let (node, registry, app) = private("private-wrong");
    for auth in [None, Some(password("wrong")), Some(password("wrong too"))] {
        refused(&node, &registry, &app, auth);
    }
    pull(&node, &app.reference, Some(password(PASSWORD))).expect("the right ones");
}

#[test]
fn a_missing_tag_and_a_registry_that_is_down_are_told_apart() {
    let (node, mut registry, app) = private("private-down");
    let missing = format!("{}/shop/none:1", registry.host());
    let absent = pull(&node, &missing, Some(password(PASSWORD))).expect_err("absent");
    assert!(absent.message().starts_with("IMG-NOT-FOUND"), "{absent:?}");
    registry.stop();
    let down = pull(&node, &app.reference, Some(password(PASSWORD))).expect_err("down");
    assert_eq!(down.code(), tonic::Code::Unknown);
    assert!(
        down.message()
            .starts_with("RegistryUnavailable: IMG-UNREACHABLE"),
        "{down:?}"
    );
    registry.start();
    pull(&node, &app.reference, Some(password(PASSWORD))).expect("back");
}

#[test]
fn credentials_are_found_in_no_file_of_the_guard() {
    let (mut node, _registry, app) = private("private-secret");
    let secrets = [PASSWORD.to_owned(), "not-the-password".to_owned(), {
        base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"))
    }];
    pull(&node, &app.reference, Some(password("not-the-password"))).expect_err("refused");
    let id = pull(&node, &app.reference, Some(password(PASSWORD))).expect("pulled");
    let sandbox = node.sandbox(|_| {});
    let command = FOREVER;
    let config = node.cri.container("main", &id, &app.reference, &command);
    node.cri
        .create(&sandbox.id, &config, &sandbox.config)
        .expect("created");
    // Everything on the disk.
    node.guard.stop();
    let state = node.lab.path("guard-state");
    let files = files_below(&state);
    assert!(
        files.iter().any(|file| file.ends_with("audit.jsonl")) && files.len() >= 3,
        "{files:?}"
    );
    let mut read: Vec<(String, Vec<u8>)> = files
        .into_iter()
        .map(|file| (file.clone(), std::fs::read(&file).expect("read")))
        .collect();
    read.push(("the log".to_owned(), node.guard.log().into_bytes()));
    for (file, bytes) in read {
        for secret in &secrets {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{file} holds {secret}");
        }
    }
}

fn files_below(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).expect("read a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}
