//! D1 and D4: a credential goes to the host that it was given for.

use std::collections::BTreeMap;
use std::fs;

use pullguard::registry::Setup;

use super::*;

const TOKEN: &[u8] = br#"{"token":"t0"}"#;

/// Wants a bearer token from `realm`.
fn wants_token_from(realm: String) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| match seen.authorization() {
        Some("Bearer t0") => Reply::ok(MANIFEST),
        Some(_) | None => Reply::bearer(&realm),
    }
}

fn gives_token(_: &Seen) -> Reply {
    Reply::new(200, &[], TOKEN)
}

/// A registry and token server in one.
fn own_token(seen: &Seen) -> Reply {
    if seen.is_for("/token") {
        return Reply::new(200, &[], TOKEN);
    }
    wants_token_from(format!("http://{}/token", seen.host()))(seen)
}

pub(super) fn wants_basic(seen: &Seen) -> Reply {
    match seen.authorization() {
        Some(ALICE) => Reply::ok(MANIFEST),
        Some(_) | None => Reply::basic(),
    }
}

#[tokio::test]
async fn d1_a_realm_at_another_host_never_sees_the_credential() {
    let thief = Server::start(gives_token);
    let server = Server::start(wants_token_from(format!("http://{}/t", thief.host())));
    let result = resolve_as(&plain(), &server.host(), &alice()).await;
    assert_eq!(result, bad(Fault::RealmHost { host: thief.host() }));
    assert!(thief.seen().is_empty());
}

#[tokio::test]
async fn d1_a_realm_at_a_host_of_token_hosts_is_used() {
    let tokens = Server::start(gives_token);
    let server = Server::start(wants_token_from(format!("http://{}/t", tokens.host())));
    let registry = with(RegistrySettings {
        token_hosts: BTreeMap::from([(server.host(), vec![tokens.host()])]),
        ..RegistrySettings::default()
    });
    let found = resolve_as(&registry, &server.host(), &alice())
        .await
        .unwrap();
    assert!(found.authenticated);
    let seen = tokens.seen();
    assert_eq!(seen[0].authorization(), Some(ALICE));
    assert_eq!(
        seen[0].target,
        "/t?service=s&scope=repository%3Ateam%2Fapp%3Apull"
    );
}

#[tokio::test]
async fn d1_token_hosts_of_one_registry_do_not_hold_for_another() {
    let tokens = Server::start(gives_token);
    let server = Server::start(wants_token_from(format!("http://{}/t", tokens.host())));
    let registry = with(RegistrySettings {
        token_hosts: BTreeMap::from([("other.example".to_owned(), vec![tokens.host()])]),
        ..RegistrySettings::default()
    });
    let result = resolve_as(&registry, &server.host(), &alice()).await;
    assert_eq!(
        result,
        bad(Fault::RealmHost {
            host: tokens.host()
        })
    );
    assert!(tokens.seen().is_empty());
}

#[tokio::test]
async fn d1_a_realm_at_the_registry_itself_is_used() {
    let server = Server::start(own_token);
    let found = resolve_as(&plain(), &server.host(), &alice())
        .await
        .unwrap();
    assert!(found.authenticated);
    assert_eq!(server.seen()[1].authorization(), Some(ALICE));
}

#[tokio::test]
async fn d1_an_anonymous_token_is_no_authentication() {
    let server = Server::start(own_token);
    let found = resolve(&plain(), &server.host()).await.unwrap();
    assert!(!found.authenticated);
    assert_eq!(server.seen()[1].authorization(), None);
}

#[tokio::test]
async fn d1_a_redirect_to_another_host_carries_no_authorization() {
    let other = Server::start(serves_manifest);
    let to = format!("http://{}/elsewhere", other.host());
    let server = Server::start(move |seen| match seen.authorization() {
        Some(_) => Reply::redirect(&to),
        None => Reply::basic(),
    });
    let found = resolve_as(&plain(), &server.host(), &alice())
        .await
        .unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
    assert_eq!(other.seen().len(), 1);
    assert_eq!(other.seen()[0].authorization(), None);
}

#[tokio::test]
async fn d1_a_redirect_on_the_same_host_keeps_the_authorization() {
    let server = Server::start(|seen| match (seen.authorization(), seen.is_for("/moved")) {
        (Some(ALICE), true) => Reply::ok(MANIFEST),
        (Some(_), _) => Reply::redirect("/moved"),
        (None, _) => Reply::basic(),
    });
    let found = resolve_as(&plain(), &server.host(), &alice())
        .await
        .unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
}

#[tokio::test]
async fn d1_a_challenge_at_a_redirect_target_gets_no_credential() {
    let other = Server::start(|_| Reply::basic());
    let to = format!("http://{}/elsewhere", other.host());
    let server = Server::start(move |_| Reply::redirect(&to));
    let result = resolve_as(&plain(), &server.host(), &alice()).await;
    assert_eq!(result, Err(RegistryError::Refused));
    assert_eq!(other.seen().len(), 1);
    assert_eq!(other.seen()[0].authorization(), None);
}

#[tokio::test]
async fn d1_a_token_server_that_redirects_is_not_followed() {
    let thief = Server::start(gives_token);
    let to = format!("http://{}/t", thief.host());
    let server = Server::start(move |seen| {
        if seen.is_for("/token") {
            return Reply::redirect(&to);
        }
        Reply::bearer(&format!("http://{}/token", seen.host()))
    });
    let result = resolve_as(&plain(), &server.host(), &alice()).await;
    assert_eq!(result, bad(Fault::Status { code: 307 }));
    assert!(thief.seen().is_empty());
}

#[tokio::test]
async fn d1_a_refresh_token_goes_to_the_registrys_own_realm_by_post() {
    let server = Server::start(own_token);
    let auth = PullAuth::new().with_identity_token("refresh");
    let found = resolve_as(&plain(), &server.host(), &auth).await.unwrap();
    assert!(found.authenticated);
    let asked = &server.seen()[1];
    assert_eq!(asked.method, "POST");
    assert_eq!(
        asked.body,
        "grant_type=refresh_token&client_id=pullguard&service=s\
         &scope=repository%3Ateam%2Fapp%3Apull&refresh_token=refresh"
    );
}

#[tokio::test]
async fn d1_a_refresh_token_never_goes_to_another_realm() {
    let thief = Server::start(gives_token);
    let server = Server::start(wants_token_from(format!("http://{}/t", thief.host())));
    let auth = PullAuth::new().with_identity_token("refresh");
    let result = resolve_as(&plain(), &server.host(), &auth).await;
    assert_eq!(result, bad(Fault::RealmHost { host: thief.host() }));
    assert!(thief.seen().is_empty());
}

#[tokio::test]
async fn d1_a_challenge_that_is_not_understood_gets_no_credential() {
    for value in [
        "Digest realm=\"r\"",
        "Bearer service=\"s\"",
        "Bearer realm=\"http://h/t\",realm=\"http://i/t\"",
        "Bearer realm=\"unterminated",
        "Bearer realm=\"http://user@127.0.0.1/t\"",
        "Negotiate",
    ] {
        let server = Server::start(move |_| Reply::new(401, &[("www-authenticate", value)], b""));
        let result = resolve_as(&plain(), &server.host(), &alice()).await;
        assert_eq!(result, bad(Fault::Challenge), "{value}");
        assert_eq!(server.seen().len(), 1, "{value}");
    }
}

#[tokio::test]
async fn d4_credentials_for_another_server_are_not_used() {
    let server = Server::start(wants_basic);
    let auth = alice().with_server_address("https://other.example");
    let result = resolve_as(&plain(), &server.host(), &auth).await;
    assert_eq!(result, Err(RegistryError::Refused));
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.authorization().is_none())
    );
}

#[tokio::test]
async fn d4_credentials_for_another_port_of_the_server_are_not_used() {
    let server = Server::start(wants_basic);
    let auth = alice().with_server_address("http://127.0.0.1:1");
    let result = resolve_as(&plain(), &server.host(), &auth).await;
    assert_eq!(result, Err(RegistryError::Refused));
}

#[tokio::test]
async fn d4_credentials_for_this_server_are_used() {
    let server = Server::start(wants_basic);
    let auth = alice().with_server_address(&format!("http://{}", server.host()));
    let found = resolve_as(&plain(), &server.host(), &auth).await.unwrap();
    assert!(found.authenticated);
}

#[tokio::test]
async fn d4_credentials_of_one_pull_are_not_there_for_the_next() {
    let server = Server::start(wants_basic);
    let registry = plain();
    resolve_as(&registry, &server.host(), &alice())
        .await
        .unwrap();
    let next = resolve(&registry, &server.host()).await;
    assert_eq!(next, Err(RegistryError::Refused));
    let last = server.seen().pop().unwrap();
    assert_eq!(last.authorization(), None);
}

#[tokio::test]
async fn d4_a_token_of_one_pull_is_not_there_for_the_next() {
    let server = Server::start(|seen| match (seen.is_for("/token"), seen.authorization()) {
        (true, Some(ALICE)) => Reply::new(200, &[], TOKEN),
        (true, _) => Reply::status(401),
        (false, Some("Bearer t0")) => Reply::ok(MANIFEST),
        (false, _) => Reply::bearer(&format!("http://{}/token", seen.host())),
    });
    let registry = plain();
    resolve_as(&registry, &server.host(), &alice())
        .await
        .unwrap();
    let next = resolve(&registry, &server.host()).await;
    assert_eq!(next, Err(RegistryError::Refused));
}

#[test]
fn d4_debug_shows_no_secret() {
    let auth = alice()
        .with_auth("YWxpY2U6c2VjcmV0")
        .with_identity_token("refresh")
        .with_registry_token("token");
    assert_eq!(format!("{auth:?}"), "PullAuth { .. }");
}

#[tokio::test]
async fn d4_the_auth_field_is_user_and_password_in_base64() {
    let server = Server::start(wants_basic);
    let auth = PullAuth::new().with_auth("YWxpY2U6c2VjcmV0");
    let found = resolve_as(&plain(), &server.host(), &auth).await.unwrap();
    assert!(found.authenticated);
}

#[tokio::test]
async fn d4_an_auth_field_that_is_no_base64_is_named() {
    let server = Server::start(wants_basic);
    let auth = PullAuth::new().with_auth("%%%");
    let result = resolve_as(&plain(), &server.host(), &auth).await;
    let setup = Setup::PullAuth;
    assert_eq!(result, Err(RegistryError::Unsupported { setup }));
}

/// A node with this config.json.
fn node(config: &str) -> (tempfile::TempDir, Registry) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    fs::write(&file, config).unwrap();
    let registry = with(RegistrySettings {
        credentials: Some(file),
        ..RegistrySettings::default()
    });
    (dir, registry)
}

#[tokio::test]
async fn d4_the_nodes_credential_is_used_for_its_host() {
    let server = Server::start(wants_basic);
    let host = server.host();
    let config = format!(r#"{{"auths":{{"http://{host}/v2/":{{"auth":"YWxpY2U6c2VjcmV0"}}}}}}"#);
    let (_dir, registry) = node(&config);
    let found = resolve(&registry, &host).await.unwrap();
    assert!(found.authenticated);
}

#[tokio::test]
async fn d4_the_nodes_credential_is_not_used_for_another_host() {
    let server = Server::start(wants_basic);
    let (_dir, registry) = node(r#"{"auths":{"127.0.0.1:1":{"auth":"YWxpY2U6c2VjcmV0"}}}"#);
    let result = resolve(&registry, &server.host()).await;
    assert_eq!(result, Err(RegistryError::Refused));
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.authorization().is_none())
    );
}

#[tokio::test]
async fn d4_the_nodes_credential_for_a_path_is_not_used_for_a_longer_name() {
    let server = Server::start(wants_basic);
    let host = server.host();
    let auth = r#"{"auth":"YWxpY2U6c2VjcmV0"}"#;
    let (_dir, registry) = node(&format!(r#"{{"auths":{{"{host}/tea":{auth}}}}}"#));
    assert_eq!(resolve(&registry, &host).await, Err(RegistryError::Refused));
    let (_dir, registry) = node(&format!(r#"{{"auths":{{"{host}/team":{auth}}}}}"#));
    assert!(resolve(&registry, &host).await.unwrap().authenticated);
}

#[tokio::test]
async fn d4_a_pull_for_this_host_goes_before_the_nodes_credential() {
    let server = Server::start(wants_basic);
    let host = server.host();
    let (_dir, registry) = node(&format!(r#"{{"auths":{{"{host}":{{"auth":"eDp5"}}}}}}"#));
    let found = resolve_as(&registry, &host, &alice()).await.unwrap();
    assert!(found.authenticated);
    assert_eq!(server.seen()[1].authorization(), Some(ALICE));
}

#[tokio::test]
async fn d4_a_credential_helper_is_named_not_executed() {
    let server = Server::start(wants_basic);
    let host = server.host();
    let (_dir, registry) = node(&format!(r#"{{"credHelpers":{{"{host}":"touch"}}}}"#));
    let result = resolve(&registry, &host).await;
    let setup = Setup::CredentialHelper { host };
    assert_eq!(result, Err(RegistryError::Unsupported { setup }));
}

#[tokio::test]
async fn d4_a_token_serves_the_whole_operation_that_it_was_made_for() {
    let server = Server::start(own_token);
    let (registry, auth, reference) = (plain(), alice(), tagged(&server.host()));
    let repository = reference.repository();
    let mut session = registry
        .open(repository, Some(&auth), soon())
        .await
        .unwrap();
    let found = session.resolve_tag("v1").await.unwrap();
    session.fetch_manifest(&found.digest).await.unwrap();
    let tokens = |seen: &&Seen| seen.is_for("/token");
    assert_eq!(server.seen().iter().filter(tokens).count(), 1);
}

#[tokio::test]
async fn d4_a_registry_token_is_sent_to_nobody_as_containerd_does_not_use_it() {
    let server = Server::start(own_token);
    let auth = PullAuth::new().with_registry_token("t1");
    let found = resolve_as(&plain(), &server.host(), &auth).await.unwrap();
    assert!(!found.authenticated);
    let seen = server.seen();
    assert!(
        seen.iter()
            .all(|seen| seen.authorization() != Some("Bearer t1"))
    );
}

#[tokio::test]
async fn d4_a_credential_helper_does_not_keep_a_public_image_away() {
    let server = Server::start(own_token);
    let host = server.host();
    let (_dir, registry) = node(&format!(r#"{{"credHelpers":{{"{host}":"touch"}}}}"#));
    let found = resolve(&registry, &host).await.unwrap();
    assert!(!found.authenticated);
}

#[tokio::test]
async fn d1_a_refresh_token_that_no_post_is_known_for_is_sent_by_get_to_the_same_realm() {
    for status in [400, 401, 404, 405] {
        let server = Server::start(move |seen| match (seen.is_for("/token"), &*seen.method) {
            (true, "POST") => Reply::status(status),
            // base64 of `:refresh`
            (true, _) if seen.authorization() == Some("Basic OnJlZnJlc2g=") => gives_token(seen),
            (true, _) => Reply::status(401),
            (false, _) => own_token(seen),
        });
        let auth = PullAuth::new().with_identity_token("refresh");
        let found = resolve_as(&plain(), &server.host(), &auth).await.unwrap();
        assert!(found.authenticated, "{status}");
    }
}

#[tokio::test]
async fn d1_a_refresh_token_whose_server_fails_is_not_sent_again() {
    let server = Server::start(|seen| match seen.is_for("/token") {
        true => Reply::status(502),
        false => own_token(seen),
    });
    let auth = PullAuth::new().with_identity_token("refresh");
    let result = resolve_as(&plain(), &server.host(), &auth).await;
    assert_eq!(result, unreachable(Cause::ServerError));
    let tokens = |seen: &&Seen| seen.is_for("/token");
    assert_eq!(server.seen().iter().filter(tokens).count(), 1);
}

#[tokio::test]
async fn d4_the_nodes_key_for_docker_hub_is_the_one_that_docker_writes() {
    let proxy = Server::start(|seen| match seen.authorization() {
        Some(ALICE) => Reply::ok(MANIFEST),
        Some(_) | None => Reply::basic(),
    });
    let dir = tempfile::tempdir().unwrap();
    for (key, known) in [("https://index.docker.io/v1/", true), ("ghcr.io", false)] {
        let file = dir.path().join("config.json");
        let text = format!(r#"{{"auths":{{"{key}":{{"auth":"YWxpY2U6c2VjcmV0"}}}}}}"#);
        fs::write(&file, text).unwrap();
        let hosts = dir.path().join("docker.io");
        fs::create_dir_all(&hosts).unwrap();
        let server = "server = \"http://registry-1.docker.io\"";
        fs::write(hosts.join("hosts.toml"), server).unwrap();
        let registry = with(RegistrySettings {
            credentials: Some(file),
            certs_dirs: vec![dir.path().to_owned()],
            proxy: Some(format!("http://{}", proxy.host())),
            ..RegistrySettings::default()
        });
        let found = resolve(&registry, "docker.io").await;
        assert_eq!(found.is_ok(), known, "{key}");
    }
}
