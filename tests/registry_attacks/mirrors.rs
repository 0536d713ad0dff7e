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
async fn the_registry_itself_decides_whether_there_was_an_answer() {
    let code = |code| RegistryError::Bad {
        fault: Fault::Status { code },
    };
    let rows = [
        (404, 404, RegistryError::NotFound),
        (404, 403, RegistryError::Refused),
        (403, 404, RegistryError::Refused),
        (418, 403, code(418)),
        (500, 404, RegistryError::NotFound),
        (429, 401, RegistryError::Refused),
        (500, 418, code(418)),
        (404, 500, own_silent(Cause::ServerError)),
        (403, 429, own_silent(Cause::RateLimited)),
        (429, 500, silent(Cause::ServerError)),
    ];
    for (first, last, expected) in rows {
        let mirror = Server::start(move |_| Reply::status(first));
        let origin = Server::start(move |_| Reply::status(last));
        let result = resolve(&registry_of(&mirror, &origin).1, &origin.host()).await;
        assert_eq!(result, Err(expected), "{first} {last}");
    }
}

#[tokio::test]
async fn where_the_registry_itself_is_not_asked_any_silence_speaks() {
    let mirror = Server::start(|_| Reply::status(500));
    let origin = Server::start(|_| Reply::status(404));
    // The server of hosts.toml is another host, so none of both is the registry's own.
    let (_root, registry) = mirrored(&mirror, &origin, "");
    let result = resolve(&registry, "registry.test").await;
    assert_eq!(result, Err(own_silent(Cause::ServerError)));
}

/// `origin` itself, with `mirror` before it.
fn registry_of(mirror: &Server, origin: &Server) -> (tempfile::TempDir, Registry) {
    limited_mirror(mirror, origin, "")
}

fn limited_mirror(mirror: &Server, origin: &Server, more: &str) -> (tempfile::TempDir, Registry) {
    let hosts = format!("[host.\"http://{}\"]\n{more}\n", mirror.host());
    node_for(&origin.host(), &hosts)
}

/// What a session finds if it asks `registry` whether `origin` holds the manifest.
async fn named(registry: &Registry, origin: &Server) -> Result<Resolved, RegistryError> {
    let reference = tagged(&origin.host());
    let digest = Digest::of(MANIFEST);
    let repository = reference.repository();
    let mut session = registry.open(repository, None, soon()).await.unwrap();
    session.name_manifest(&digest).await
}

#[tokio::test]
async fn e_a_mirror_without_resolve_names_no_digest() {
    let mirror = Server::start(serves_manifest);
    let origin = Server::start(|_| Reply::status(404));
    let (_root, registry) = limited_mirror(&mirror, &origin, "capabilities = [\"pull\"]");
    let result = named(&registry, &origin).await;
    assert_eq!(result, Err(RegistryError::NotFound));
    assert!(mirror.seen().is_empty());
}

#[tokio::test]
async fn e_a_mirror_with_resolve_names_a_digest() {
    let mirror = Server::start(serves_manifest);
    let origin = Server::start(|_| Reply::status(404));
    let more = "capabilities = [\"pull\", \"resolve\"]";
    let (_root, registry) = limited_mirror(&mirror, &origin, more);
    let found = named(&registry, &origin).await.unwrap();
    assert_eq!(found.endpoint, mirror.host());
}

#[tokio::test]
async fn e_the_registry_itself_names_a_digest_without_resolve() {
    let origin = Server::start(serves_manifest);
    let host = origin.host();
    let hosts = format!("server = \"http://{host}\"\ncapabilities = [\"pull\"]\n");
    let (_root, registry) = node_for(&host, &hosts);
    let found = named(&registry, &origin).await.unwrap();
    assert_eq!(found.endpoint, host);
}

#[tokio::test]
async fn a_written_default_port_does_not_make_the_registry_a_mirror() {
    let proxy = Server::start(serves_manifest);
    let registry = with(RegistrySettings {
        proxy: Some(format!("http://{}", proxy.host())),
        insecure: vec!["registry.test:80".to_owned()],
        ..RegistrySettings::default()
    });
    let found = resolve(&registry, "registry.test:80").await.unwrap();
    assert_eq!(found.endpoint, "registry.test:80");
    let target = "http://registry.test/v2/team/app/manifests/v1";
    assert_eq!(proxy.seen()[0].target, target);
}

#[tokio::test]
async fn a_host_that_no_proxy_is_for_is_asked_directly() {
    let proxy = Server::start(serves_manifest);
    let origin = Server::start(serves_manifest);
    let names = Table::of(&[("registry.test", &["203.0.113.7"])]);
    for (no_proxy, direct) in [("registry.test", true), ("other.test", false)] {
        let host = format!("registry.test:{}", origin.port());
        let settings = RegistrySettings {
            proxy: Some(format!("http://{}", proxy.host())),
            no_proxy: vec![no_proxy.to_owned()],
            ..RegistrySettings::default()
        };
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join(&host);
        fs::create_dir(&dir).unwrap();
        fs::write(
            dir.join("hosts.toml"),
            format!("server = \"http://{host}\""),
        )
        .unwrap();
        let settings = RegistrySettings {
            certs_dirs: vec![root.path().to_owned()],
            ..settings
        };
        let registry = Registry::with_names(settings, Limits::default(), names.clone());
        resolve(&registry, &host).await.unwrap();
        assert_eq!(proxy.seen().is_empty(), direct, "{no_proxy}");
    }
}

#[tokio::test]
async fn a_plain_host_with_tls_settings_is_asked_in_plain_text_if_nothing_there_speaks_tls() {
    let mirror = Server::start(serves_manifest);
    let origin = Server::start(|_| Reply::status(404));
    let (_root, registry) = mirrored(&mirror, &origin, "skip_verify = true");
    let found = resolve(&registry, "registry.test").await.unwrap();
    assert_eq!(found.endpoint, mirror.host());
}

#[tokio::test]
async fn the_first_root_that_has_a_directory_is_used() {
    let (first, second) = (
        Server::start(serves_manifest),
        Server::start(serves_manifest),
    );
    let hosts = |server: &Server| format!("[host.\"http://{}\"]\n", server.host());
    let roots = [&first, &second].map(|server| node_for("registry.test", &hosts(server)).0);
    let empty = tempfile::tempdir().unwrap();
    let registry = with(RegistrySettings {
        certs_dirs: vec![
            empty.path().to_owned(),
            roots[1].path().to_owned(),
            roots[0].path().to_owned(),
        ],
        ..RegistrySettings::default()
    });
    let found = resolve(&registry, "registry.test").await.unwrap();
    assert_eq!(found.endpoint, second.host());
    assert!(first.seen().is_empty());
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

/// A mirror that wants alice.
fn wants_alice() -> Server {
    Server::start(|seen| match seen.authorization() {
        Some(ALICE) => Reply::ok(MANIFEST),
        Some(_) | None => Reply::basic(),
    })
}

#[tokio::test]
async fn d1_credentials_of_a_pull_do_not_go_to_a_mirror() {
    let mirror = wants_alice();
    let origin = Server::start(|_| Reply::status(404));
    let (_root, registry) = mirrored(&mirror, &origin, "");
    let named = alice().with_server_address("https://registry.test");
    for auth in [alice(), named] {
        let result = resolve_as(&registry, "registry.test", &auth).await;
        assert_eq!(result, Err(RegistryError::Refused));
    }
    let told = |seen: &Seen| seen.authorization().is_some();
    assert!(!mirror.seen().iter().any(told));
}

#[tokio::test]
async fn d1_credentials_of_a_pull_for_the_mirror_itself_go_there() {
    let mirror = wants_alice();
    let origin = Server::start(|_| Reply::status(404));
    let (_root, registry) = mirrored(&mirror, &origin, "");
    let named = alice().with_server_address(&format!("http://{}", mirror.host()));
    let found = resolve_as(&registry, "registry.test", &named)
        .await
        .unwrap();
    assert!(found.authenticated);
}

#[tokio::test]
async fn d4_the_nodes_credential_for_a_mirror_goes_there_whatever_the_pull_carries() {
    let mirror = wants_alice();
    let (root, _) = node(&format!("[host.\"http://{}\"]\n", mirror.host()));
    let config = root.path().join("config.json");
    let host = mirror.host();
    let text = format!(r#"{{"auths":{{"{host}":{{"auth":"YWxpY2U6c2VjcmV0"}}}}}}"#);
    fs::write(&config, text).unwrap();
    let registry = with(RegistrySettings {
        certs_dirs: vec![root.path().to_owned()],
        credentials: Some(config),
        ..RegistrySettings::default()
    });
    let other = PullAuth::new().with_password("bob", "other");
    let found = resolve_as(&registry, "registry.test", &other)
        .await
        .unwrap();
    assert!(found.authenticated);
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
            "[host.\"http://127.0.0.1:1\"]\nSkip_Verify = true",
            "`Skip_Verify` is written `skip_verify`",
        ),
        (
            "Server = \"http://127.0.0.1:1\"",
            "`Server` is written `server`",
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
async fn a_key_that_is_not_known_is_passed_over() {
    let mirror = Server::start(serves_manifest);
    let (_root, registry) = node(&format!(
        "[host.\"http://{}\"]\nSomething = true\n",
        mirror.host()
    ));
    let found = resolve(&registry, "registry.test").await.unwrap();
    assert_eq!(found.endpoint, mirror.host());
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
