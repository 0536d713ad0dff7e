//! hosts.toml, as containerd reads it.

use std::fs;

use pullguard::registry::Setup;

use super::*;

/// A certs.d with this hosts.toml for `registry.test`, whose server is `origin`.
fn node(hosts: &str) -> (tempfile::TempDir, Registry) {
    node_for("registry.test", hosts)
}

fn node_for(dir: &str, hosts: &str) -> (tempfile::TempDir, Registry) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join(dir);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("hosts.toml"), hosts).unwrap();
    let registry = with(RegistrySettings {
        certs_dirs: vec![root.path().to_owned()],
        ..RegistrySettings::default()
    });
    (root, registry)
}

fn mirrored(mirror: &Server, origin: &Server, more: &str) -> (tempfile::TempDir, Registry) {
    node(&format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n{more}\n",
        origin.host(),
        mirror.host()
    ))
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_told_whose_image_it_is() {
    let (mirror, origin) = (
        Server::start(serves_manifest),
        Server::start(serves_manifest),
    );
    let (_root, registry) = mirrored(&mirror, &origin, "");
    let found = resolve(&registry, "registry.test").await.unwrap();
    assert_eq!(found.endpoint, mirror.host());
    assert_eq!(
        mirror.seen()[0].target,
        "/v2/team/app/manifests/v1?ns=registry.test"
    );
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn mirrors_are_asked_in_the_order_of_the_file() {
    let absent = |_: &Seen| Reply::status(404);
    let (first, second) = (Server::start(absent), Server::start(serves_manifest));
    // By name the second sorts before the first in one of these two files.
    for flip in [false, true] {
        let hosts = if flip {
            [&second, &first]
        } else {
            [&first, &second]
        };
        let (_root, registry) = node(&format!(
            "[host.\"http://{}\"]\n[host.\"http://{}\"]\n",
            hosts[0].host(),
            hosts[1].host()
        ));
        let before = first.seen().len();
        let found = resolve(&registry, "registry.test").await.unwrap();
        assert_eq!(found.endpoint, second.host());
        assert_eq!(first.seen().len() - before, usize::from(!flip));
    }
}

#[tokio::test]
async fn a_mirror_without_resolve_is_not_asked_for_a_tag() {
    let (mirror, origin) = (
        Server::start(serves_manifest),
        Server::start(serves_manifest),
    );
    let (_root, registry) = mirrored(&mirror, &origin, "capabilities = [\"pull\"]");
    let found = resolve(&registry, "registry.test").await.unwrap();
    assert_eq!(found.endpoint, origin.host());
    assert!(mirror.seen().is_empty());
}

#[tokio::test]
async fn a_mirror_without_resolve_is_asked_for_a_digest() {
    let (mirror, origin) = (
        Server::start(serves_manifest),
        Server::start(serves_manifest),
    );
    let (_root, registry) = mirrored(&mirror, &origin, "capabilities = [\"pull\"]");
    let reference = tagged("registry.test");
    let digest = Digest::of(MANIFEST);
    let found = registry
        .fetch_manifest(reference.repository(), &digest, None, soon())
        .await
        .unwrap();
    assert_eq!(found.endpoint, mirror.host());
}

#[tokio::test]
async fn a_host_that_fails_leaves_the_next_one_to_answer() {
    for status in [404, 403, 401, 500, 429, 418] {
        let mirror = Server::start(move |_| Reply::status(status));
        let origin = Server::start(serves_manifest);
        let (_root, registry) = mirrored(&mirror, &origin, "");
        let found = resolve(&registry, "registry.test").await.unwrap();
        assert_eq!(found.endpoint, origin.host(), "{status}");
        assert_eq!(mirror.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a2_a_mirror_that_lies_about_a_digest_is_passed_over() {
    let mirror = Server::start(|_| Reply::ok(b"evil"));
    let origin = Server::start(serves_manifest);
    let (_root, registry) = mirrored(&mirror, &origin, "");
    let reference = tagged("registry.test");
    let digest = Digest::of(MANIFEST);
    let found = registry
        .fetch_manifest(reference.repository(), &digest, None, soon())
        .await
        .unwrap();
    assert_eq!(found.endpoint, origin.host());
    assert_eq!(&found.bytes[..], MANIFEST);
}

#[tokio::test]
async fn an_image_is_absent_only_if_every_host_says_so() {
    let rows = [
        (404, 404, RegistryError::NotFound),
        (404, 403, RegistryError::Refused),
        (403, 404, RegistryError::Refused),
        (
            500,
            404,
            RegistryError::Unreachable {
                cause: Cause::ServerError,
            },
        ),
        (
            404,
            500,
            RegistryError::Unreachable {
                cause: Cause::ServerError,
            },
        ),
        (
            429,
            500,
            RegistryError::Unreachable {
                cause: Cause::RateLimited,
            },
        ),
        (
            418,
            403,
            RegistryError::Bad {
                fault: Fault::Status { code: 418 },
            },
        ),
    ];
    for (first, last, expected) in rows {
        let mirror = Server::start(move |_| Reply::status(first));
        let origin = Server::start(move |_| Reply::status(last));
        let (_root, registry) = mirrored(&mirror, &origin, "");
        let result = resolve(&registry, "registry.test").await;
        assert_eq!(result, Err(expected), "{first} {last}");
    }
}

#[tokio::test]
async fn a_header_of_a_host_goes_to_that_host_only() {
    let origin = Server::start(serves_manifest);
    let to = format!("http://{}/x", origin.host());
    let mirror = Server::start(move |_| Reply::redirect(&to));
    let (_root, registry) = mirrored(&mirror, &origin, "header = { x-key = [\"k1\", \"k2\"] }");
    resolve(&registry, "registry.test").await.unwrap();
    assert_eq!(mirror.seen()[0].header("x-key"), Some("k1"));
    assert_eq!(origin.seen()[0].header("x-key"), None);
}

#[tokio::test]
async fn an_overridden_path_is_taken_as_it_is() {
    let mirror = Server::start(serves_manifest);
    let host = mirror.host();
    let rows = [
        (
            format!("[host.\"http://{host}/cache\"]"),
            "/cache/v2/team/app",
        ),
        (
            format!("[host.\"http://{host}/cache/v2\"]"),
            "/cache/v2/team/app",
        ),
        (
            format!("[host.\"http://{host}/v2/cache\"]\noverride_path = true"),
            "/v2/cache/team/app",
        ),
    ];
    for (hosts, expected) in rows {
        let (_root, registry) = node(&hosts);
        resolve(&registry, "registry.test").await.unwrap();
        let target = mirror.seen().pop().unwrap().target;
        assert_eq!(target, format!("{expected}/manifests/v1?ns=registry.test"));
    }
}

#[tokio::test]
async fn the_directory_is_found_as_containerd_finds_it() {
    let mirror = Server::start(serves_manifest);
    let hosts = format!("[host.\"http://{}\"]\n", mirror.host());
    for dir in ["registry.test_5000_", "registry.test:5000", "_default"] {
        let (_root, registry) = node_for(dir, &hosts);
        let found = resolve(&registry, "registry.test:5000").await.unwrap();
        assert_eq!(found.endpoint, mirror.host(), "{dir}");
        let target = mirror.seen().pop().unwrap().target;
        assert!(target.ends_with("?ns=registry.test%3A5000"), "{target}");
    }
}

#[tokio::test]
async fn credentials_of_a_pull_go_to_the_mirror_of_its_host_as_containerd_sends_them() {
    let mirror = Server::start(|seen| match seen.authorization() {
        Some(ALICE) => Reply::ok(MANIFEST),
        Some(_) | None => Reply::basic(),
    });
    let origin = Server::start(|_| Reply::status(404));
    let (_root, registry) = mirrored(&mirror, &origin, "");
    let found = resolve_as(&registry, "registry.test", &alice())
        .await
        .unwrap();
    assert!(found.authenticated);
    let named = alice().with_server_address("https://registry.test");
    let result = resolve_as(&registry, "registry.test", &named).await;
    assert_eq!(result, Err(RegistryError::Refused));
}

#[tokio::test]
async fn a_hosts_file_that_cannot_be_followed_is_an_error_not_another_answer() {
    let rows = [
        ("[host", "is not valid"),
        ("server = 5", "is not valid"),
        ("[host.\"ftp://x\"]", "`ftp://x` is no host URL"),
        (
            "[host.\"http://127.0.0.1:1\"]\ncapabilities = [\"fly\"]",
            "`fly` is no capability",
        ),
        (
            "[host.\"http://127.0.0.1:1\"]\ndial_timeout = \"soon\"",
            "`soon` is no dial_timeout",
        ),
        (
            "[host.\"http://127.0.0.1:1\"]\nclient = [[\"a\"]]",
            "a client pair is not a certificate and a key",
        ),
        (
            "host = { \"http://127.0.0.1:1\" = {} }",
            "a host is not written as a [host.\"URL\"] table",
        ),
    ];
    for (hosts, reason) in rows {
        let (root, registry) = node(hosts);
        let path = root
            .path()
            .join("registry.test/hosts.toml")
            .display()
            .to_string();
        let reason = reason.to_owned();
        let setup = Setup::Hosts { path, reason };
        let result = resolve(&registry, "registry.test").await;
        assert_eq!(result, Err(RegistryError::Unsupported { setup }), "{hosts}");
    }
}

#[tokio::test]
async fn a_certificate_file_that_is_not_there_is_named() {
    let origin = Server::start(|_| Reply::status(404));
    let (root, registry) = node(&format!(
        "server = \"http://{}\"\n[host.\"https://127.0.0.1:1\"]\nca = \"ca.pem\"",
        origin.host()
    ));
    let path = root.path().join("registry.test/ca.pem");
    let path = path.display().to_string();
    let setup = Setup::Certificate { path };
    let result = resolve(&registry, "registry.test").await;
    assert_eq!(result, Err(RegistryError::Unsupported { setup }));
}

#[tokio::test]
async fn no_host_with_the_capability_is_said() {
    let (_root, registry) = node("server = \"http://127.0.0.1:1\"\ncapabilities = [\"push\"]");
    let setup = Setup::NoHost;
    let result = resolve(&registry, "registry.test").await;
    assert_eq!(result, Err(RegistryError::Unsupported { setup }));
}

#[tokio::test]
async fn a_proxy_is_used_for_a_public_host_and_not_for_loopback() {
    let proxy = Server::start(serves_manifest);
    let origin = Server::start(serves_manifest);
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("registry.test");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("hosts.toml"), "server = \"http://registry.test\"").unwrap();
    let registry = with(RegistrySettings {
        certs_dirs: vec![root.path().to_owned()],
        proxy: Some(format!("http://{}", proxy.host())),
        ..RegistrySettings::default()
    });
    resolve(&registry, &origin.host()).await.unwrap();
    assert!(proxy.seen().is_empty());
    resolve(&registry, "registry.test").await.unwrap();
    let target = "http://registry.test/v2/team/app/manifests/v1";
    assert_eq!(proxy.seen()[0].target, target);
}

#[tokio::test]
async fn a_proxy_that_is_no_url_is_named() {
    let registry = with(RegistrySettings {
        proxy: Some("not a proxy".to_owned()),
        ..RegistrySettings::default()
    });
    let setup = Setup::Proxy;
    let result = resolve(&registry, "127.0.0.1:1").await;
    assert_eq!(result, Err(RegistryError::Unsupported { setup }));
}
