//! A1, A2, F9, F12: what an answer, or none, is taken for.

use super::*;

#[tokio::test]
async fn a1_a_moving_tag_gives_each_time_the_digest_of_its_own_bytes() {
    let count = Mutex::new(0);
    let server = Server::start(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        Reply::ok(format!("{{\"n\":{count}}}").as_bytes())
    });
    let registry = plain();
    let first = resolve(&registry, &server.host()).await.unwrap();
    let second = resolve(&registry, &server.host()).await.unwrap();
    assert_eq!(first.digest, Digest::of(b"{\"n\":1}"));
    assert_eq!(second.digest, Digest::of(b"{\"n\":2}"));
    assert_eq!(server.seen().len(), 2);
}

fn claims(digest: String) -> Server {
    Server::start(move |_| Reply::new(200, &[("docker-content-digest", &digest)], MANIFEST))
}

#[tokio::test]
async fn a2_a_digest_header_for_other_bytes_is_refused() {
    for claimed in [
        Digest::of(b"other").to_string(),
        "sha256:00".into(),
        "md5:x".into(),
    ] {
        let server = claims(claimed);
        let result = resolve(&plain(), &server.host()).await;
        assert_eq!(result, bad(Fault::DigestHeader));
    }
}

#[tokio::test]
async fn a2_a_digest_header_for_these_bytes_is_accepted() {
    let server = claims(Digest::of(MANIFEST).to_string());
    let found = resolve(&plain(), &server.host()).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
}

#[tokio::test]
async fn a2_other_bytes_for_a_digest_are_refused() {
    let server = Server::start(serves_manifest);
    let reference = tagged(&server.host());
    let other = Digest::of(b"other");
    let registry = plain();
    let repository = reference.repository();
    let manifest = registry
        .fetch_manifest(repository, &other, None, soon())
        .await;
    assert_eq!(manifest, bad(Fault::DigestMismatch));
    let blob = registry
        .fetch_blob(repository, &other, 100, None, soon())
        .await;
    assert_eq!(blob, bad(Fault::DigestMismatch));
}

#[tokio::test]
async fn a2_the_bytes_of_a_digest_are_accepted() {
    let server = Server::start(serves_manifest);
    let reference = tagged(&server.host());
    let digest = Digest::of(MANIFEST);
    let registry = plain();
    let found = registry
        .fetch_manifest(reference.repository(), &digest, None, soon())
        .await
        .unwrap();
    assert_eq!(found.digest, digest);
    let target = format!("/v2/team/app/manifests/{digest}");
    assert_eq!(server.seen()[0].target, target);
}

#[tokio::test]
async fn f9_absent_refused_and_unreachable_are_three_results() {
    let rows = [
        (404, RegistryError::NotFound),
        (403, RegistryError::Refused),
        (500, silent(Cause::ServerError)),
        (502, silent(Cause::ServerError)),
        (503, silent(Cause::ServerError)),
        (429, silent(Cause::RateLimited)),
        (
            204,
            RegistryError::Bad {
                fault: Fault::Status { code: 204 },
            },
        ),
        (
            206,
            RegistryError::Bad {
                fault: Fault::Status { code: 206 },
            },
        ),
        (
            400,
            RegistryError::Bad {
                fault: Fault::Status { code: 400 },
            },
        ),
    ];
    for (status, expected) in rows {
        let server = Server::start(move |_| Reply::status(status));
        let result = resolve(&plain(), &server.host()).await;
        assert_eq!(result, Err(expected), "{status}");
        // What containerd asks again where no other host comes after.
        let asked = if matches!(status, 500 | 503) { 2 } else { 1 };
        assert_eq!(server.seen().len(), asked, "{status}");
    }
}

/// Gives `first` to the first request, the manifest to the next.
fn fails_once(first: fn() -> Reply) -> Server {
    let once = Mutex::new(true);
    Server::start(move |_| match std::mem::take(&mut *once.lock().unwrap()) {
        true => first(),
        false => Reply::ok(MANIFEST),
    })
}

#[tokio::test]
async fn f9_a_passing_fault_of_the_last_host_is_asked_again_once() {
    let faults: [fn() -> Reply; 4] = [
        || Reply::status(500),
        || Reply::status(503),
        || Reply::status(504),
        || Reply::raw(""),
    ];
    for first in faults {
        let server = fails_once(first);
        let found = resolve(&plain(), &server.host()).await.unwrap();
        assert_eq!(found.digest, Digest::of(MANIFEST));
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn f9_a_fault_that_does_not_pass_is_not_asked_again() {
    let faults: [fn() -> Reply; 3] = [
        || Reply::status(404),
        || Reply::status(502),
        || Reply::status(418),
    ];
    for first in faults {
        let server = fails_once(first);
        assert!(resolve(&plain(), &server.host()).await.is_err());
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn f9_a_registry_that_is_not_there_is_unreachable() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let result = resolve(&plain(), &gone).await;
    assert_eq!(result, unreachable(Cause::NoConnection));
}

#[tokio::test]
async fn f9_a_connection_that_is_cut_before_the_answer_is_unreachable() {
    let server = Server::start(|_| Reply::raw(""));
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, unreachable(Cause::Interrupted));
}

#[tokio::test]
async fn f12_a_name_without_an_address_is_unreachable() {
    let server = Server::start(serves_manifest);
    let names = Table::of(&[]);
    let (registry, name) = public(&server, &names);
    let result = resolve(&registry, &name).await;
    assert_eq!(result, unreachable(Cause::NoAddress));
}

#[tokio::test]
async fn f12_a_name_with_an_address_is_reached() {
    let server = Server::start(serves_manifest);
    let names = Table::of(&[("registry.test", &["203.0.113.7"])]);
    let (registry, name) = public(&server, &names);
    assert!(resolve(&registry, &name).await.is_ok());
}
