//! A2, D1, D5, D6, D8, P1, P2 with the guard itself: whatever a registry says, it is told plainly,
//! containerd pulls nothing, and nobody else gets a packet.

use std::path::PathBuf;
use std::time::Duration;

use pullguard::image::Digest;

use crate::node::{Bare, STRICT, policy};
use crate::server::{Reply, Seen, Server, Step, head};
use crate::support::parts::Parts;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// This machine, as an index says it.
const MACHINE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// A test image as the offline layout holds it.
#[derive(Clone)]
struct Layout(PathBuf);

impl Layout {
    fn app() -> Self {
        Self(Parts::require().image("app-one"))
    }

    fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        let hex = digest.strip_prefix("sha256:")?;
        std::fs::read(self.0.join("blobs/sha256").join(hex)).ok()
    }

    /// The manifest that the layout names.
    fn manifest(&self) -> Vec<u8> {
        let index = std::fs::read(self.0.join("index.json")).expect("the layout's index");
        let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
        let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
        self.blob(digest).expect("the manifest's blob")
    }

    /// What an honest registry answers for `team/app`, whose only tag is `1`.
    fn honest(&self, seen: &Seen) -> Reply {
        let Some((_, object)) = seen.target.rsplit_once('/') else {
            return Reply::status(200);
        };
        let body = match object {
            "" => return Reply::status(200),
            "1" => Some(self.manifest()),
            digest => self.blob(digest),
        };
        match body {
            None => Reply::status(404),
            Some(body) => answer(seen, OCI, &[], &body),
        }
    }
}

/// An answer with a body, or to HEAD without it. No digest header: the content says its digest.
fn answer(seen: &Seen, media_type: &str, more: &[(&str, &str)], body: &[u8]) -> Reply {
    let length = body.len().to_string();
    let mut headers = vec![
        ("content-length", length.as_str()),
        ("content-type", media_type),
    ];
    headers.extend_from_slice(more);
    let mut bytes = head(200, &headers);
    if seen.method != "HEAD" {
        bytes.extend_from_slice(body);
    }
    Reply::raw(bytes)
}

/// What a hostile registry answers for the tag; all else is honest.
type Lie = fn(&Layout, &Seen, thief: &str) -> Option<Reply>;

struct Row {
    name: &'static str,
    lie: Lie,
    /// The status text; words in capitals stand for what they name.
    text: &'static str,
}

const fn row(name: &'static str, lie: Lie, text: &'static str) -> Row {
    Row { name, lie, text }
}

/// Whether it asks what the tag means.
fn by_tag(seen: &Seen) -> bool {
    seen.target.ends_with("/manifests/1")
}

/// An index of one manifest, of which the registry then gives other bytes.
fn index_of(layout: &Layout) -> Vec<u8> {
    let manifest = layout.manifest();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{OCI}","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"{}"}}}}]}}"#,
        Digest::of(&manifest),
        manifest.len(),
        MACHINE,
    )
    .into_bytes()
}

/// The honest manifest with one more member, written first.
fn with_member(layout: &Layout, member: &str) -> Vec<u8> {
    let manifest = String::from_utf8(layout.manifest()).expect("text");
    manifest
        .replacen('{', &format!("{{{member},"), 1)
        .into_bytes()
}

/// What makes the manifest an index too.
const BOTH: &str = r#""manifests":[]"#;
/// A field again, by another spelling of its key that Go takes for the same.
const TWICE: &str = r#""Layers":[]"#;

fn rows() -> Vec<Row> {
    vec![
        row(
            "A2: a digest header for other bytes",
            |layout, seen, _| {
                let other = Digest::of(b"other").to_string();
                let claim = [("docker-content-digest", other.as_str())];
                (seen.method != "HEAD" && by_tag(seen))
                    .then(|| answer(seen, OCI, &claim, &layout.manifest()))
            },
            "IMG-UNPROVEN: image `IMAGE`: the registry's answer is not acceptable; mend the registry or push the image anew; `pullguard verify` shows what it answered",
        ),
        row(
            "A2: other bytes for the digest of an index's entry",
            |layout, seen, _| {
                if by_tag(seen) {
                    return Some(answer(seen, INDEX, &[], &index_of(layout)));
                }
                seen.is_for("/manifests/sha256:").then(|| {
                    let mut other = layout.manifest();
                    other.push(b' ');
                    answer(seen, OCI, &[], &other)
                })
            },
            "IMG-UNPROVEN: image `IMAGE`: the registry's answer is not acceptable; mend the registry or push the image anew; `pullguard verify` shows what it answered",
        ),
        row(
            "D6: an encoding that would have to be undone",
            |layout, seen, _| {
                let encoded = [("content-encoding", "br")];
                by_tag(seen).then(|| answer(seen, OCI, &encoded, &layout.manifest()))
            },
            "IMG-UNPROVEN: image `IMAGE`: the registry's answer is not acceptable; mend the registry or push the image anew; `pullguard verify` shows what it answered",
        ),
        row(
            "D1: a token realm at another host",
            |_, seen, thief| by_tag(seen).then(|| Reply::bearer(&format!("http://{thief}/token"))),
            "IMG-UNPROVEN: image `IMAGE`: the registry's answer is not acceptable; mend the registry or push the image anew; `pullguard verify` shows what it answered",
        ),
        row(
            "D5: a manifest one byte over the limit",
            |layout, seen, _| {
                let mut long = layout.manifest();
                long.resize(4 * 1024 * 1024 + 1, b' ');
                by_tag(seen).then(|| answer(seen, OCI, &[], &long))
            },
            "LIMIT: image `IMAGE`: the registry's answer is over its limit; mend the registry or push the image anew; `pullguard verify` shows what it answered",
        ),
        row(
            "D5: headers over the limit",
            |layout, seen, _| {
                let long = "x".repeat(65 * 1024);
                by_tag(seen).then(|| answer(seen, OCI, &[("x-long", &long)], &layout.manifest()))
            },
            "LIMIT: image `IMAGE`: the registry's answer is over its limit; mend the registry or push the image anew; `pullguard verify` shows what it answered",
        ),
        row(
            "D8: a body that trickles",
            |_, seen, _| {
                let start = head(200, &[("content-length", "1000"), ("content-type", OCI)]);
                by_tag(seen).then(|| {
                    Reply(vec![
                        Step::Send(start),
                        Step::Endless(b" ".to_vec(), Duration::from_millis(50)),
                    ])
                })
            },
            "RegistryUnavailable: IMG-UNREACHABLE: image `IMAGE`: the registry could not be asked: no answer; bring the registry or its mirror back; the kubelet tries again",
        ),
        row(
            "A3: an index without this machine's platform",
            |layout, seen, _| {
                let index = String::from_utf8(index_of(layout)).expect("text");
                let foreign = index.replace(MACHINE, "s390x");
                by_tag(seen).then(|| answer(seen, INDEX, &[], foreign.as_bytes()))
            },
            "IMG-CONFIG: image `IMAGE`: the image has nothing for platform `linux/MACHINE`; build and push the image anew",
        ),
        row(
            "P1: an index and a manifest in one document",
            |layout, seen, _| {
                let both = with_member(layout, BOTH);
                by_tag(seen).then(|| answer(seen, OCI, &[], &both))
            },
            "IMG-CONFIG: image `IMAGE`: `BOTH` is refused: the document must have the fields of a manifest or those of an index, and only those; build and push the image anew",
        ),
        row(
            "P2: a key twice, once in another case",
            |layout, seen, _| {
                let twice = with_member(layout, TWICE);
                by_tag(seen).then(|| answer(seen, OCI, &[], &twice))
            },
            "IMG-CONFIG: image `IMAGE`: `TWICE` is refused: the document has a key that differs from `layers` only by case; build and push the image anew",
        ),
    ]
}

#[test]
fn whatever_a_registry_says_containerd_pulls_only_what_was_judged() {
    let thief = Server::start(|_| Reply::new(200, &[], br#"{"token":"t0"}"#));
    let honest = Server::start(|seen| Layout::app().honest(seen));
    let hostile: Vec<(Row, Server)> = rows()
        .into_iter()
        .map(|row| {
            let (lie, layout, thief) = (row.lie, Layout::app(), thief.host());
            let server = Server::start(move |seen| {
                lie(&layout, seen, &thief).unwrap_or_else(|| layout.honest(seen))
            });
            (row, server)
        })
        .collect();
    let bare = Bare::new("hostile");
    let mut allowed: Vec<String> = hostile
        .iter()
        .map(|(_, server)| format!("\"{}/team/**\"", server.host()))
        .collect();
    allowed.push(format!("\"{}/team/**\"", honest.host()));
    let rules = format!(
        "  - name: registries\n    registries: {{allow: [{}]}}\n  - name: pinned\n    digest: Pin\n",
        allowed.join(", ")
    );
    let node = bare.guarded(&policy(STRICT, &rules));
    let image = |server: &Server| format!("{}/team/app:1", server.host());
    for (row, server) in &hostile {
        let name = image(server);
        let digest = |member| Digest::of(&with_member(&Layout::app(), member)).to_string();
        let text = row
            .text
            .replace("IMAGE", &name)
            .replace("MACHINE", MACHINE)
            .replace("THIEF", &thief.host())
            .replace("BOTH", &digest(BOTH))
            .replace("TWICE", &digest(TWICE));
        node.denied(|node| node.pull(&name), "PullImage", &text);
        let seen = server.seen();
        assert!(!seen.is_empty(), "{}: it was asked", row.name);
        let foreign: Vec<&Seen> = seen
            .iter()
            .filter(|seen| {
                !seen
                    .header("user-agent")
                    .is_some_and(|agent| agent.starts_with("pullguard/"))
            })
            .collect();
        assert!(foreign.is_empty(), "{}: {foreign:#?}", row.name);
    }
    assert!(thief.seen().is_empty(), "{:#?}", thief.seen());
    // The twin: the same bytes, said honestly.
    let id = node.pull(&image(&honest)).expect("pulled");
    let sandbox = node.sandbox(|_| {});
    node.create(&sandbox, &id, &image(&honest))
        .expect("and created");
    let by_containerd: Vec<Seen> = honest
        .seen()
        .into_iter()
        .filter(|seen| {
            seen.header("user-agent")
                .is_some_and(|agent| agent.starts_with("containerd/"))
        })
        .collect();
    assert!(!by_containerd.is_empty(), "containerd pulled it");
    assert!(
        !by_containerd.iter().any(by_tag),
        "by digest only: {by_containerd:#?}"
    );
}
