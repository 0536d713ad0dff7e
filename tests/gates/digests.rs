//! The many digests of one image, and the many images of one name.

use std::io::{Read, Write};
use std::net::TcpStream;

use pullguard::image::Digest;

use crate::node::{Bare, Node, OPEN, STRICT, node_policy, policy, said};
use crate::support::cri::{PullPolicy, spec_for};
use crate::support::messages::{AuthConfig, PullImageRequest};
use crate::support::registry::{PASSWORD, USER};
use crate::support::{Pushed, Registry};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn talk(host: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(host).expect("connect");
    stream.write_all(request).expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    answer
}

/// Puts an index of one pushed image under a tag, with a note that makes it another index than
/// others of the same image, and gives its digest.
fn index(registry: &Registry, image: &Pushed, repository: &str, tag: &str, note: &str) -> Digest {
    index_of(registry, &[(image, None)], repository, tag, note)
}

/// The same of more images, each with the feature of the system that it asks for.
fn index_of(
    registry: &Registry,
    images: &[(&Pushed, Option<&str>)],
    repository: &str,
    tag: &str,
    note: &str,
) -> Digest {
    let host = registry.host();
    let entry = |(image, feature): &(&Pushed, Option<&str>)| {
        let get = format!(
            "GET /v2/{repository}/manifests/{} HTTP/1.1\r\nHost: r\r\nAccept: {MANIFEST}\r\nConnection: close\r\n\r\n",
            image.digest
        );
        let answer = talk(&host, get.as_bytes());
        let (_, manifest) = answer.split_once("\r\n\r\n").expect("a manifest");
        let features: Vec<&str> = feature.iter().copied().collect();
        serde_json::json!({
            "mediaType": MANIFEST,
            "digest": image.digest,
            "size": manifest.len(),
            "platform": {"os": "linux", "architecture": "amd64", "os.features": features},
        })
    };
    let body = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": images.iter().map(entry).collect::<Vec<_>>(),
        "annotations": {"note": note},
    })
    .to_string();
    let put = format!(
        "PUT /v2/{repository}/manifests/{tag} HTTP/1.1\r\nHost: r\r\nContent-Type: {INDEX}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = talk(&host, put.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    Digest::of(body.as_bytes())
}

fn registries(lists: &str) -> String {
    format!("  - name: registries\n    registries: {{{lists}}}\n")
}

const PIN: &str = "  - name: pinned\n    digest: Pin\n";

#[test]
fn b3_a_denied_image_does_not_come_in_by_another_of_its_digests() {
    let bare = Bare::new("b3-deny");
    let host = bare.host();
    let app = bare.registry.push("app-one", "shop/app:1");
    let other = bare.registry.push("app-two", "shop/app:2");
    let denied = index(&bare.registry, &app, "shop/app", "multi", "denied");
    let rules = registries(&format!("deny: [\"{host}/shop/app@{denied}\"]"));
    let node = bare.guarded(&policy(OPEN, &rules));
    for name in [
        app.pinned(),
        app.reference.clone(),
        format!("{host}/shop/app@{denied}"),
    ] {
        let run = node.run(&name, PullPolicy::Always);
        assert_eq!(said(&run), ("PullImage", "REG-DENIED".to_owned()), "{name}");
    }
    let id = node.smuggle(&app.pinned());
    let sandbox = node.sandbox(|_| {});
    for name in [app.pinned(), app.reference.clone()] {
        let created = node.create(&sandbox, &id, &name);
        assert_eq!(
            said(&created),
            ("CreateContainer", "REG-DENIED".to_owned()),
            "{name}: {created:?}"
        );
    }
    assert!(node.containers().is_empty(), "nothing was made");
    for name in [other.pinned(), other.reference] {
        node.run(&name, PullPolicy::Always)
            .expect("another image starts");
    }
}

#[test]
fn b3_whether_an_image_is_the_denied_one_is_remembered_from_its_pull() {
    let mut bare = Bare::new("b3-remembered");
    let host = bare.host();
    let app = bare.registry.push("app-one", "shop/app:1");
    let other = bare.registry.push("app-two", "shop/app:2");
    let denied = index(&bare.registry, &app, "shop/app", "multi", "denied");
    let rules = registries(&format!("deny: [\"{host}/shop/app@{denied}\"]"));
    let settings = policy(OPEN, &rules);
    bare.registry.start();
    let mut node = bare.guarded(&settings);
    node.run(&other.reference, PullPolicy::Always)
        .expect("starts");
    node.registry.stop();
    node.run(&other.reference, PullPolicy::IfNotPresent)
        .expect("starts without the registry");
}

#[test]
fn an_allowed_platform_manifest_starts_under_a_pinned_tag_of_its_index() {
    let bare = Bare::new("allow-child");
    let host = bare.host();
    let app = bare.registry.push("app-one", "shop/app:1");
    index(&bare.registry, &app, "shop/app", "multi", "one");
    let rules = format!(
        "{}{PIN}",
        registries(&format!("allow: [\"{}\"]", app.pinned()))
    );
    let node = bare.guarded(&policy(STRICT, &rules));
    let started = node
        .run(&format!("{host}/shop/app:multi"), PullPolicy::Always)
        .expect("starts");
    assert_eq!(node.build(&started), "one");
}

#[test]
fn a3_an_entry_that_only_an_older_containerd_runs_is_judged_too() {
    let bare = Bare::new("a3-features");
    let host = bare.host();
    let one = bare.registry.push("app-one", "shop/app:1");
    let two = bare.registry.push("app-two", "shop/app:2");
    let entries = [(&one, Some("sse4")), (&two, None)];
    index_of(&bare.registry, &entries, "shop/app", "multi", "features");
    let rules = |list: &str| {
        format!(
            "{}{PIN}",
            registries(&format!("{list}: [\"{}\"]", one.pinned()))
        )
    };
    let node = bare.guarded(&policy(OPEN, &rules("allow")));
    let multi = format!("{host}/shop/app:multi");
    let started = node.run(&multi, PullPolicy::Always).expect("starts");
    assert_eq!(node.build(&started), "one", "what containerd 1.6 runs");
    node.apply(&policy(OPEN, &rules("deny")));
    let run = node.run(&multi, PullPolicy::Always);
    assert_eq!(said(&run), ("PullImage", "REG-DENIED".to_owned()));
}

#[test]
fn a_tag_that_a_pattern_allows_starts_where_tags_are_pinned() {
    let bare = Bare::new("allow-tag-pin");
    let host = bare.host();
    let app = bare.registry.push("app-one", "shop/app:v1");
    let other = bare.registry.push("app-two", "shop/app:w1");
    let rules = format!(
        "{}{PIN}",
        registries(&format!("allow: [\"{host}/shop/**:v*\"]"))
    );
    let node = bare.guarded(&policy(STRICT, &rules));
    node.run(&app.reference, PullPolicy::Always)
        .expect("starts");
    let run = node.run(&other.reference, PullPolicy::Always);
    assert_eq!(said(&run), ("PullImage", "REG-DENIED".to_owned()));
}

#[test]
fn an_image_of_two_indexes_starts_by_either() {
    let bare = Bare::new("two-indexes");
    let host = bare.host();
    let app = bare.registry.push("app-one", "shop/app:1");
    let one = index(&bare.registry, &app, "shop/app", "one", "built");
    let two = index(&bare.registry, &app, "shop/app", "two", "rebuilt");
    let allowed = |digest: Digest| {
        let rules = registries(&format!("allow: [\"{host}/shop/app@{digest}\"]"));
        policy(STRICT, &rules)
    };
    let node = bare.guarded(&policy(
        STRICT,
        &registries(&format!("allow: [\"{host}/shop/**\"]")),
    ));
    for digest in [one, two] {
        node.run(&format!("{host}/shop/app@{digest}"), PullPolicy::Always)
            .expect("starts");
    }
    for digest in [one, two] {
        node.apply(&allowed(digest));
        node.run(
            &format!("{host}/shop/app@{digest}"),
            PullPolicy::IfNotPresent,
        )
        .expect("starts whichever is allowed");
    }
}

#[test]
fn a5_another_image_under_a_tag_that_a_rule_names_does_not_start() {
    let bare = Bare::new("a5-tag-pattern");
    let host = bare.host();
    let one = bare.registry.push("app-one", "shop/app:v1");
    let two = bare.registry.push("app-two", "shop/app:v2");
    let rules = registries(&format!("allow: [\"{host}/shop/app:v1\"]"));
    let node = bare.guarded(&policy(STRICT, &rules));
    let started = node
        .run(&one.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    assert_eq!(node.build(&started), "one");
    let id = node.smuggle(&two.reference);
    node.point(&two.reference, &one.reference, &id);
    let pointed = node.run(&one.reference, PullPolicy::IfNotPresent);
    assert_eq!(
        said(&pointed),
        ("CreateContainer", "IMG-UNPROVEN".to_owned())
    );
    let pulled = node
        .run(&one.reference, PullPolicy::Always)
        .expect("a pull mends the tag");
    assert_eq!(node.build(&pulled), "one");
}

#[test]
fn a_pod_that_writes_a_digest_below_a_listed_index_starts() {
    let bare = Bare::new("list-child");
    let host = bare.host();
    let app = bare.registry.push("app-one", "shop/app:1");
    let other = bare.registry.push("app-two", "shop/app:2");
    let listed = index(&bare.registry, &app, "shop/app", "multi", "listed");
    let set = format!(
        "{STRICT}  bootstrap:\n  - {{namespaces: [default], image: \"{host}/shop/app@{listed}\"}}\n"
    );
    let node = bare.guarded(&policy(
        &set,
        &registries("allow: [\"other.example.com/**\"]"),
    ));
    for name in [
        app.pinned(),
        format!("{host}/shop/app@{listed}"),
        format!("{host}/shop/app:multi"),
    ] {
        node.run(&name, PullPolicy::Always)
            .unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
    }
    let run = node.run(&other.pinned(), PullPolicy::Always);
    assert_eq!(said(&run), ("PullImage", "REG-DENIED".to_owned()));
}

#[test]
fn an_image_that_came_by_an_index_of_another_repository_is_found_by_its_tag() {
    let bare = Bare::new("by-tag");
    let host = bare.host();
    let app = bare.registry.push("app-one", "shop/app:1");
    let same = bare.registry.push("app-one", "other/app:1");
    let other = bare.registry.push("app-two", "shop/app:2");
    index(&bare.registry, &same, "other/app", "multi", "elsewhere");
    let rules = registries(&format!("allow: [\"{host}/shop/**\"]"));
    let node = bare.guarded(&policy(STRICT, &rules));
    let multi = format!("{host}/other/app:multi");
    let id = node.smuggle(&multi);
    node.point(&multi, &app.reference, &id);
    let sandbox = node.sandbox(|_| {});
    // Asked first: the answer about the other tag is kept, and shows whose image it is.
    let created = node.create(&sandbox, &id, &other.reference);
    assert_eq!(
        said(&created),
        ("CreateContainer", "IMG-UNPROVEN".to_owned())
    );
    node.create(&sandbox, &id, &app.reference).expect("created");
}

#[test]
fn that_a_denied_digest_is_another_image_is_known_after_a_restart_without_the_registry() {
    let bare = Bare::new("denied-kept");
    let app = bare.registry.push("app-one", "shop/app:1");
    let other = bare.registry.push("app-two", "shop/app:2");
    let lists = format!(
        "allow: [\"{}/shop/**\"], deny: [\"{}\"]",
        bare.host(),
        other.pinned()
    );
    let mut node = bare.guarded(&policy(STRICT, &registries(&lists)));
    let id = node.smuggle(&app.reference);
    let (first, second) = (node.sandbox(|_| {}), node.sandbox(|_| {}));
    node.create(&first, &id, &app.reference)
        .expect("the registry tells");
    node.registry.stop();
    node.guard.restart();
    node.cri = node.guard.cri();
    node.wait_active();
    node.create(&second, &id, &app.reference)
        .expect("it is known");
}

/// A pull with the password, and a create of what it brought.
fn private(node: &Node, image: &str) {
    let sandbox = node.sandbox(|_| {});
    let pulled = node.cri.pull_with(PullImageRequest {
        image: Some(spec_for(image, &sandbox.config)),
        auth: Some(AuthConfig {
            username: USER.to_owned(),
            password: PASSWORD.to_owned(),
            ..AuthConfig::default()
        }),
        sandbox_config: Some(sandbox.config.clone()),
    });
    let id = pulled.expect("pulled");
    node.create(&sandbox, &id, image)
        .expect("created without credentials");
}

#[test]
fn an_image_behind_a_pull_secret_that_a_rule_allows_by_digest_starts_by_its_tag() {
    let bare = Bare::new("private-digest");
    let registry = Registry::start_private(&bare.lab);
    let app = registry.push("app-one", "shop/app:1");
    let rules = registries(&format!("allow: [\"{}\"]", app.pinned()));
    let node = bare.guarded(&policy(STRICT, &rules));
    private(&node, &app.reference);
}

#[test]
fn an_image_behind_a_pull_secret_is_pinned_where_a_policy_asks_for_the_runtime_handler() {
    let bare = Bare::new("private-handler");
    let registry = Registry::start_private(&bare.lab);
    let app = registry.push("app-one", "shop/app:1");
    let base = policy(
        OPEN,
        &registries(&format!("allow: [\"{}/**\"]", registry.host())),
    );
    let kata = node_policy("kata", "  match: {runtimeHandlers: [\"\"]}\n", PIN);
    let node = bare.guarded(&format!("{base}---\n{kata}"));
    private(&node, &app.reference);
}
