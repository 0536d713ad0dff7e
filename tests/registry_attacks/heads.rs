//! A1, F10: what a tag means is asked without a download, and what is here is not downloaded.

use std::fmt;

use bytes::Bytes;
use pullguard::registry::{Known, KnownBytes};

use super::*;

/// Answers HEAD with what `claims` says, and GET by `manifests/NAME` with the manifest.
fn claims(claims: Option<String>) -> Server {
    Server::start_with_head(move |seen| {
        let mut headers = vec![("content-type", "application/vnd.oci.image.manifest.v1+json")];
        if let Some(claims) = &claims {
            headers.push(("docker-content-digest", claims));
        }
        match seen.method.as_str() {
            "HEAD" => Reply::raw(server::head(200, &headers)),
            _ => Reply::ok(MANIFEST),
        }
    })
}

fn methods(server: &Server) -> Vec<String> {
    let seen = server.seen();
    seen.into_iter()
        .map(|seen| format!("{} {}", seen.method, seen.target))
        .collect()
}

/// A node that has these bytes, whatever digest is asked for.
struct Has(&'static [u8]);

impl fmt::Debug for Has {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Has")
    }
}

impl KnownBytes for Has {
    fn bytes<'a>(&'a self, _: &'a Digest) -> Known<'a> {
        Box::pin(async { Some(Bytes::from_static(self.0)) })
    }
}

async fn resolve_knowing(server: &Server, known: &Has) -> Result<Resolved, RegistryError> {
    let (registry, reference) = (plain(), tagged(&server.host()));
    let session = registry.open(reference.repository(), None, soon()).await;
    session.unwrap().knowing(known).resolve_tag("v1").await
}

#[tokio::test]
async fn f10_a_tag_is_asked_for_its_digest_and_then_downloaded_by_it() {
    let digest = Digest::of(MANIFEST);
    let server = claims(Some(digest.to_string()));
    let found = resolve(&plain(), &server.host()).await.unwrap();
    assert_eq!(found.digest, digest);
    let expected = [
        "HEAD /v2/team/app/manifests/v1".to_owned(),
        format!("GET /v2/team/app/manifests/{digest}"),
    ];
    assert_eq!(methods(&server), expected);
}

#[tokio::test]
async fn f10_a_tag_whose_bytes_are_here_is_not_downloaded() {
    let server = claims(Some(Digest::of(MANIFEST).to_string()));
    let found = resolve_knowing(&server, &Has(MANIFEST)).await.unwrap();
    assert_eq!(&found.bytes[..], MANIFEST);
    assert_eq!(methods(&server), ["HEAD /v2/team/app/manifests/v1"]);
}

#[tokio::test]
async fn a1_bytes_of_the_node_that_are_not_those_of_the_tag_are_not_used() {
    let server = claims(Some(Digest::of(MANIFEST).to_string()));
    let found = resolve_knowing(&server, &Has(b"other")).await.unwrap();
    assert_eq!(&found.bytes[..], MANIFEST);
    assert_eq!(methods(&server).len(), 2);
}

#[tokio::test]
async fn f10_a_registry_that_tells_no_digest_is_downloaded_from_by_tag() {
    let server = claims(None);
    let found = resolve(&plain(), &server.host()).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
    let expected = [
        "HEAD /v2/team/app/manifests/v1",
        "GET /v2/team/app/manifests/v1",
    ];
    assert_eq!(methods(&server), expected);
}

#[tokio::test]
async fn a2_a_digest_that_is_told_for_a_tag_and_names_other_bytes_is_refused() {
    let server = claims(Some(Digest::of(b"other").to_string()));
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, bad(Fault::DigestMismatch));
}

#[tokio::test]
async fn a2_a_told_digest_that_is_no_sha256_is_refused() {
    let server = claims(Some("md5:x".to_owned()));
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, bad(Fault::DigestHeader));
}

#[tokio::test]
async fn f9_an_absent_tag_is_asked_for_once() {
    let server = Server::start_with_head(|_| Reply::status(404));
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, Err(RegistryError::NotFound));
    assert_eq!(methods(&server), ["HEAD /v2/team/app/manifests/v1"]);
}

async fn name_knowing(server: &Server, known: &Has) -> Result<Resolved, RegistryError> {
    let (registry, reference) = (plain(), tagged(&server.host()));
    let session = registry.open(reference.repository(), None, soon()).await;
    let digest = Digest::of(MANIFEST);
    session.unwrap().knowing(known).name_manifest(&digest).await
}

#[tokio::test]
async fn f10_a_digest_whose_bytes_are_here_is_named_without_a_download() {
    let digest = Digest::of(MANIFEST);
    let server = claims(Some(digest.to_string()));
    name_knowing(&server, &Has(MANIFEST)).await.unwrap();
    let expected = [format!("HEAD /v2/team/app/manifests/{digest}")];
    assert_eq!(methods(&server), expected);
}

#[tokio::test]
async fn a2_a_digest_is_not_named_by_an_answer_that_is_about_another_or_none() {
    for told in [None, Some(Digest::of(b"other").to_string())] {
        let server = claims(told);
        name_knowing(&server, &Has(MANIFEST)).await.unwrap();
        assert_eq!(
            methods(&server).len(),
            2,
            "the bytes themselves are asked for"
        );
    }
}

#[tokio::test]
async fn a2_a_digest_that_the_repository_does_not_hold_is_not_named_by_bytes_that_are_here() {
    let server = Server::start_with_head(|_| Reply::status(404));
    let result = name_knowing(&server, &Has(MANIFEST)).await;
    assert_eq!(result, Err(RegistryError::NotFound));
}
