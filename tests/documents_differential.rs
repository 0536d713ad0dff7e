//! Manifests, indexes and configs against the Go packages with which containerd reads them: which
//! entry of an index runs on a node (`containerd/platforms`), and what `encoding/json` finds in a
//! document. Needs `go`, and fails without it.
//!
//! Wherever this crate takes a document, Go must too and must find the same in it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::tests_outside_test_module,
    reason = "a test stops where its preconditions fail; integration tests have no test module"
)]

#[path = "differential/go.rs"]
mod go;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use pullguard::image::{Descriptor, Digest, Document, ImageConfig, ImageId, Platform};
use pullguard::limits::Limits;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const GENERATED: usize = 10_000;

#[derive(Serialize)]
struct Question {
    node: Value,
    document: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    index: bool,
    manifest: bool,
    config: bool,
    entries: Option<Vec<String>>,
    picked: String,
    media_type: String,
    config_digest: String,
    layers: Option<Vec<String>>,
    user: String,
    diff_ids: Option<Vec<String>>,
}

fn made<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    let one = |_| {
        let tree = strategy.new_tree(&mut runner);
        tree.expect("the strategy makes a value").current()
    };
    (0..count).map(one).collect()
}

fn digest(name: &str) -> String {
    Digest::of(name.as_bytes()).to_string()
}

fn texts(descriptors: &[Descriptor]) -> Vec<String> {
    descriptors
        .iter()
        .map(|one| one.digest.to_string())
        .collect()
}

fn platform() -> impl Strategy<Value = Option<Value>> {
    let os = select(vec!["linux", "linux", "linux", "", "Linux", "windows"]);
    let architecture = select(vec![
        "amd64", "amd64", "x86_64", "386", "i386", "arm64", "arm64", "aarch64", "arm", "armhf",
        "armel", "riscv64", "unknown", "",
    ]);
    let variant = select(vec![
        "", "", "v1", "v2", "v3", "v5", "v6", "7", "v7", "8", "v8", "v8.0", "v8.2", "v9", "9",
        "v9.0", "v9.1", "x",
    ]);
    let features = select(vec![json!(null), json!([]), json!(["sse4"])]);
    let whole = (os, architecture, variant, features).prop_map(|(os, architecture, variant, f)| {
        json!({"os": os, "architecture": architecture, "variant": variant, "os.features": f})
    });
    proptest::option::weighted(0.9, whole)
}

#[test]
fn a3_the_entry_of_an_index_that_containerd_runs_is_the_one_that_is_judged() {
    let nodes = select(vec![
        ("amd64", ""),
        ("amd64", "v2"),
        ("amd64", "v3"),
        ("arm64", ""),
        ("arm64", "v8"),
        ("arm64", "v8.2"),
        ("arm64", "v9"),
        ("arm64", "x"),
        ("arm", "v6"),
        ("arm", "v7"),
        ("386", ""),
        ("riscv64", ""),
    ]);
    let entries = proptest::collection::vec(platform(), 1..6);
    let made = made(&(nodes, entries), GENERATED);
    let questions: Vec<Question> = made
        .iter()
        .map(|((architecture, variant), entries)| {
            let manifests: Vec<Value> = entries
                .iter()
                .enumerate()
                .map(|(at, platform)| {
                    let mut entry = json!({
                        "mediaType": MANIFEST, "digest": digest(&at.to_string()), "size": 1,
                    });
                    if let (Some(platform), Some(fields)) = (platform, entry.as_object_mut()) {
                        fields.insert("platform".to_owned(), platform.clone());
                    }
                    entry
                })
                .collect();
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
            Question {
                node: json!({"os": "linux", "architecture": architecture, "variant": variant}),
                document: index.to_string(),
            }
        })
        .collect();
    let answers: Vec<Answer> = go::ask("documents", &questions);
    let mut picked = 0;
    for (((made, _), question), go) in made.iter().zip(&questions).zip(&answers) {
        let document = Document::parse(question.document.as_bytes(), None, &Limits::default());
        let Ok(Document::Index(index)) = document else {
            panic!("no index: {}", question.document);
        };
        let here = index.pick(&Platform::linux(made.0, made.1));
        let here = here.map(|entry| entry.digest.to_string());
        assert_eq!(
            here.unwrap_or_default(),
            go.picked,
            "on {made:?}: {}",
            question.document
        );
        picked += usize::from(!go.picked.is_empty());
    }
    assert!(picked > GENERATED / 4, "only {picked} were picked");
}

/// Whether this crate takes the document as anything, after it was held against Go's reading.
fn same_as_go(document: &str, go: &Answer) -> bool {
    let limits = Limits::default();
    let bytes = document.as_bytes();
    let mut taken = false;
    for announced in [None, Some(INDEX), Some(MANIFEST)] {
        match Document::parse(bytes, announced, &limits) {
            Ok(Document::Index(index)) => {
                assert!(go.index, "go reads no index: {document}");
                assert_eq!(
                    Some(texts(&index.manifests)),
                    go.entries.clone().or(Some(vec![])),
                    "{document}"
                );
                assert!(["", INDEX].contains(&go.media_type.as_str()), "{document}");
            }
            Ok(Document::Manifest(manifest)) => {
                assert!(go.manifest, "go reads no manifest: {document}");
                assert_eq!(
                    manifest.config.digest.to_string(),
                    go.config_digest,
                    "{document}"
                );
                assert_eq!(
                    Some(texts(&manifest.layers)),
                    go.layers.clone().or(Some(vec![])),
                    "{document}"
                );
            }
            Err(_) => continue,
        }
        taken = true;
    }
    let id = ImageId::of_config(Digest::of(bytes));
    if let Ok(config) = ImageConfig::parse(&id, bytes, &limits) {
        assert!(go.config, "go reads no config: {document}");
        assert_eq!(config.user(), go.user, "{document}");
        let here: Vec<String> = config.diff_ids().iter().map(Digest::to_string).collect();
        assert_eq!(
            Some(here),
            go.diff_ids.clone().or(Some(vec![])),
            "{document}"
        );
        taken = true;
    }
    taken
}

fn ask(documents: Vec<String>) -> Vec<(String, Answer)> {
    let node = json!({"os": "linux", "architecture": "amd64"});
    let questions: Vec<Question> = documents
        .into_iter()
        .map(|document| Question {
            node: node.clone(),
            document,
        })
        .collect();
    let answers: Vec<Answer> = go::ask("documents", &questions);
    let documents = questions.into_iter().map(|question| question.document);
    documents.zip(answers).collect()
}

#[test]
fn p2_a_document_that_go_could_read_otherwise_is_refused() {
    let head = r#""architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}"#;
    let rows = [
        // Who reads by exact key finds 1000; Go finds 0.
        (
            r#"{"config":{"User":"1000"},"Config":{"User":"0"},HEAD}"#,
            "0",
        ),
        (r#"{"config":{"User":"1000","user":"0"},HEAD}"#, "0"),
        (
            "{\"config\":{\"User\":\"1000\",\"u\u{17f}er\":\"0\"},HEAD}",
            "0",
        ),
        (
            r#"{"config":{"User":"1000"},"config":{"User":"0"},HEAD}"#,
            "0",
        ),
        (
            r#"{"config":{"User":"1000"},"config":{"Cmd":[]},HEAD}"#,
            "1000",
        ),
        (
            r#"{"config":{"User":"1000"},"\u0063onfig":{"User":"0"},HEAD}"#,
            "0",
        ),
    ];
    let documents = rows.map(|(row, _)| row.replace("HEAD", head));
    for ((document, go), (_, user)) in ask(documents.to_vec()).iter().zip(rows) {
        assert_eq!(go.user, user, "the row shows what it should: {document}");
        assert!(!same_as_go(document, go), "taken: {document}");
    }
    let plain = format!(r#"{{"config":{{"User":"1000"}},{head}}}"#);
    for (document, go) in ask(vec![plain]) {
        assert!(same_as_go(&document, &go), "{document}");
    }
}

#[test]
fn p2_what_is_taken_of_generated_documents_is_what_go_finds() {
    let descriptor = |name: &str, kind: &str| {
        format!(
            r#"{{"mediaType":"{kind}","digest":"{}","size":1}}"#,
            digest(name)
        )
    };
    let config = descriptor("c", "application/vnd.oci.image.config.v1+json");
    let layer = descriptor("l", "application/vnd.oci.image.layer.v1.tar");
    let entry = descriptor("m", MANIFEST);
    let fields: Vec<String> = vec![
        r#""schemaVersion":2"#.to_owned(),
        r#""schemaVersion":2"#.to_owned(),
        r#""SchemaVersion":2"#.to_owned(),
        format!(r#""mediaType":"{INDEX}""#),
        format!(r#""mediaType":"{MANIFEST}""#),
        format!(r#""MediaType":"{MANIFEST}""#),
        format!(r#""config":{config}"#),
        format!(r#""con\u0066ig":{config}"#),
        format!(r#""Config":{config}"#),
        format!(r#""layers":[{layer}]"#),
        format!(r#""layers":[{layer},{layer}]"#),
        format!("\"layer\u{17f}\":[{layer}]"),
        format!(r#""manifests":[{entry}]"#),
        format!(r#""Manifests":[{entry}]"#),
        r#""manifests":null"#.to_owned(),
        r#""layers":[]"#.to_owned(),
        r#""config":{"User":"7"}"#.to_owned(),
        r#""config":{"user":"0"}"#.to_owned(),
        format!(
            r#""rootfs":{{"type":"layers","diff_ids":["{}"]}}"#,
            digest("d")
        ),
        r#""architecture":"amd64""#.to_owned(),
        r#""os":"linux""#.to_owned(),
        r#""annotations":{"a":"1","A":"2"}"#.to_owned(),
        r#""new":{"a":1,"A":2}"#.to_owned(),
    ];
    let document = proptest::collection::vec(select(fields), 2..6)
        .prop_map(|fields| format!("{{{}}}", fields.join(",")));
    let mut taken = 0;
    for (document, go) in ask(made(&document, GENERATED)) {
        taken += usize::from(same_as_go(&document, &go));
    }
    assert!(taken > GENERATED / 100, "only {taken} documents are taken");
}
