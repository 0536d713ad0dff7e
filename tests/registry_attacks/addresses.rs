//! D2 and D7: where a registry may send the guard, and what may stand in a URL.

use super::*;

const PUBLIC: &str = "203.0.113.7";

#[tokio::test]
async fn d2_a_public_registry_may_not_redirect_to_a_local_address() {
    let target = Server::start(serves_manifest);
    let port = target.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "2130706433",
        "0.0.0.0",
        "x.localhost",
    ] {
        let to = format!("http://{host}:{port}/v2/x");
        let server = Server::start(move |_| Reply::redirect(&to));
        let names = Table::of(&[("registry.test", &[PUBLIC])]);
        let (registry, name) = public(&server, &names);
        let result = resolve(&registry, &name).await;
        assert_eq!(result, bad(Fault::LocalAddress), "{host}");
    }
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn d2_the_metadata_address_is_refused_before_it_is_dialled() {
    let server = Server::start(|_| Reply::redirect("http://169.254.169.254/latest/meta-data"));
    let names = Table::of(&[("registry.test", &[PUBLIC])]);
    let (registry, name) = public(&server, &names);
    assert_eq!(resolve(&registry, &name).await, bad(Fault::LocalAddress));
}

#[tokio::test]
async fn d2_a_public_registry_may_not_redirect_to_a_name_of_a_local_address() {
    let target = Server::start(serves_manifest);
    let to = format!("http://other.test:{}/v2/x", target.port());
    let server = Server::start(move |_| Reply::redirect(&to));
    for claimed in [
        "127.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::1",
    ] {
        let names = Table::of(&[("registry.test", &[PUBLIC]), ("other.test", &[claimed])]);
        let (registry, name) = public(&server, &names);
        let result = resolve(&registry, &name).await;
        assert_eq!(result, bad(Fault::LocalAddress), "{claimed}");
    }
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn d2_a_public_registry_may_redirect_to_a_name_of_a_public_address() {
    let target = Server::start(serves_manifest);
    let to = format!("http://other.test:{}/v2/x", target.port());
    let server = Server::start(move |_| Reply::redirect(&to));
    let names = Table::of(&[
        ("registry.test", &[PUBLIC]),
        ("other.test", &["203.0.113.8"]),
    ]);
    let (registry, name) = public(&server, &names);
    let found = resolve(&registry, &name).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
}

#[tokio::test]
async fn d2_a_registry_on_loopback_may_redirect_to_loopback() {
    let target = Server::start(serves_manifest);
    let to = format!("http://{}/v2/x", target.host());
    let server = Server::start(move |_| Reply::redirect(&to));
    let found = resolve(&plain(), &server.host()).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
}

#[tokio::test]
async fn d2_a_registry_on_loopback_may_not_redirect_to_link_local() {
    let server = Server::start(|_| Reply::redirect("http://169.254.169.254/latest/meta-data"));
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, bad(Fault::LocalAddress));
}

#[tokio::test]
async fn d2_a_registry_on_loopback_may_not_redirect_to_a_name_of_link_local() {
    let target = Server::start(serves_manifest);
    let to = format!("http://other.test:{}/v2/x", target.port());
    let server = Server::start(move |_| Reply::redirect(&to));
    for (claimed, free) in [("169.254.169.254", false), ("127.0.0.1", true)] {
        let names = Table::of(&[("other.test", &[claimed])]);
        let settings = RegistrySettings::default();
        let registry = Registry::with_names(settings, Limits::default(), names);
        let result = resolve(&registry, &server.host()).await;
        assert_eq!(result.is_ok(), free, "{claimed}");
    }
    assert_eq!(target.seen().len(), 1);
}

#[tokio::test]
async fn d2_a_realm_of_token_hosts_may_not_resolve_to_link_local() {
    let tokens = Server::start(|_| Reply::new(200, &[], br#"{"token":"t0"}"#));
    let token_host = format!("tokens.test:{}", tokens.port());
    let realm = format!("http://{token_host}/t");
    let server = Server::start(move |seen| match seen.authorization() {
        Some(_) => Reply::ok(MANIFEST),
        None => Reply::bearer(&realm),
    });
    for (claimed, free) in [("169.254.169.254", false), ("203.0.113.9", true)] {
        let names = Table::of(&[("registry.test", &[PUBLIC]), ("tokens.test", &[claimed])]);
        let host = format!("registry.test:{}", server.port());
        let settings = RegistrySettings {
            insecure: vec![host.clone()],
            token_hosts: [(host.clone(), vec![token_host.clone()])].into(),
            ..RegistrySettings::default()
        };
        let registry = Registry::with_names(settings, Limits::default(), names);
        let result = resolve_as(&registry, &host, &alice()).await;
        assert_eq!(result.is_ok(), free, "{claimed}");
    }
    assert_eq!(tokens.seen().len(), 1);
}

#[tokio::test]
async fn d2_a_public_registry_may_not_name_a_realm_at_a_local_address() {
    let target = Server::start(|_| Reply::new(200, &[], br#"{"token":"t0"}"#));
    for host in ["127.0.0.1", "localhost", "169.254.169.254"] {
        let realm = format!("http://{host}:{}/t", target.port());
        let server = Server::start(move |_| Reply::bearer(&realm));
        let names = Table::of(&[("registry.test", &[PUBLIC])]);
        let (registry, name) = public(&server, &names);
        let result = resolve_as(&registry, &name, &alice()).await;
        assert_eq!(result, bad(Fault::LocalAddress), "{host}");
    }
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn d2_a_realm_of_no_web_scheme_is_refused() {
    for realm in [
        "unix:///run/x.sock",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ] {
        let server = Server::start(move |_| Reply::bearer(realm));
        let result = resolve_as(&plain(), &server.host(), &alice()).await;
        assert_eq!(result, bad(Fault::RealmScheme), "{realm}");
    }
}

#[tokio::test]
async fn d2_a_redirect_to_no_web_scheme_is_refused() {
    for target in [
        "unix:///run/x.sock",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
    ] {
        let server = Server::start(move |_| Reply::redirect(target));
        let result = resolve(&plain(), &server.host()).await;
        assert_eq!(result, bad(Fault::RedirectScheme), "{target}");
    }
}

#[tokio::test]
async fn d2_a_name_is_looked_up_once_so_that_it_cannot_be_rebound() {
    let server = Server::start(|seen| match seen.is_for("/again") {
        true => Reply::ok(MANIFEST),
        false => Reply::redirect(&format!("http://{}/again", seen.host())),
    });
    let names = Table::of(&[("registry.test", &[PUBLIC, "127.0.0.1"])]);
    let (registry, name) = public(&server, &names);
    resolve(&registry, &name).await.unwrap();
    assert_eq!(server.seen().len(), 2);
    assert_eq!(names.asked(), ["registry.test"]);
}

#[tokio::test]
async fn d2_five_redirects_are_followed_and_a_sixth_is_not() {
    let hops = |count: usize| {
        move |seen: &Seen| {
            let at = seen
                .target
                .strip_prefix("/hop/")
                .and_then(|n| n.parse::<usize>().ok());
            match at.unwrap_or(0) {
                n if n == count => Reply::ok(MANIFEST),
                n => Reply::redirect(&format!("/hop/{}", n + 1)),
            }
        }
    };
    let server = Server::start(hops(5));
    assert!(resolve(&plain(), &server.host()).await.is_ok());
    let server = Server::start(hops(6));
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, bad(Fault::RedirectCount { limit: 5 }));
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test]
async fn d2_a_redirect_without_a_target_is_refused() {
    let server = Server::start(|_| Reply::status(307));
    assert_eq!(
        resolve(&plain(), &server.host()).await,
        bad(Fault::RedirectTarget)
    );
}

#[tokio::test]
async fn d7_a_name_that_would_walk_through_a_url_is_never_sent() {
    let server = Server::start(serves_manifest);
    let host = server.host();
    for name in [
        "a/../b:v1",
        "a//b:v1",
        "a/%2e%2e/b:v1",
        "a:v1?x",
        "a:v1#x",
        "a/.:v1",
        "A/b:v1",
    ] {
        match Reference::parse(&format!("{host}/{name}")) {
            Err(_) => {}
            Ok(reference) => {
                let result = plain().resolve(&reference, None, soon()).await;
                assert_eq!(result, bad(Fault::Name), "{name}");
            }
        }
    }
    assert!(server.seen().is_empty());
}

#[test]
fn d7_a_digest_that_would_walk_through_a_path_is_no_digest() {
    for text in ["sha256:../../x", "sha256:%2e%2e", "../sha256:00", "sha256:"] {
        assert!(Digest::parse(text).is_err(), "{text}");
    }
}
