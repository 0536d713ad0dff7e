//! D5 and D6: bodies and headers over their limits, and bodies that would have to be inflated.

use std::time::Duration;

use super::server::{Step, head};
use super::*;

const MANIFEST_LIMIT: usize = 4 * 1024 * 1024;
const TOKEN_LIMIT: usize = 64 * 1024;
const HEADER_LIMIT: usize = 64 * 1024;

fn too_large<T>(limit: usize) -> Result<T, RegistryError> {
    bad(Fault::TooLarge { limit })
}

#[tokio::test]
async fn d5_a_manifest_one_byte_over_the_limit_is_refused() {
    let server = Server::start(|_| Reply::ok(&vec![b' '; MANIFEST_LIMIT + 1]));
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, too_large(MANIFEST_LIMIT));
}

#[tokio::test]
async fn d5_a_manifest_of_the_limit_is_read() {
    let server = Server::start(|_| Reply::ok(&vec![b' '; MANIFEST_LIMIT]));
    let found = resolve(&plain(), &server.host()).await.unwrap();
    assert_eq!(found.bytes.len(), MANIFEST_LIMIT);
}

#[tokio::test]
async fn d5_a_body_without_a_length_is_read_to_the_limit_only() {
    let server = Server::start(|_| {
        Reply(vec![
            Step::Send(head(200, &[])),
            Step::Endless(vec![b' '; 64 * 1024], Duration::ZERO),
        ])
    });
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, too_large(MANIFEST_LIMIT));
}

#[tokio::test]
async fn d5_a_body_without_a_length_is_read_to_its_end() {
    let server = Server::start(|_| {
        Reply(vec![
            Step::Send(head(200, &[])),
            Step::Send(MANIFEST.to_vec()),
        ])
    });
    let found = resolve(&plain(), &server.host()).await.unwrap();
    assert_eq!(&found.bytes[..], MANIFEST);
}

#[tokio::test]
async fn d5_a_chunked_body_is_read_to_the_limit_only() {
    let server = Server::start(|_| {
        let mut chunk = b"10000\r\n".to_vec();
        chunk.extend_from_slice(&[b' '; 0x10000]);
        chunk.extend_from_slice(b"\r\n");
        Reply(vec![
            Step::Send(head(200, &[("transfer-encoding", "chunked")])),
            Step::Endless(chunk, Duration::ZERO),
        ])
    });
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, too_large(MANIFEST_LIMIT));
}

#[tokio::test]
async fn d5_a_declared_length_over_the_limit_is_refused_before_the_body() {
    let server = Server::start(|_| {
        let length = (MANIFEST_LIMIT + 1).to_string();
        Reply(vec![
            Step::Send(head(200, &[("content-length", &length)])),
            Step::Hang,
        ])
    });
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, too_large(MANIFEST_LIMIT));
}

#[tokio::test]
async fn d5_a_body_shorter_than_declared_is_not_taken_for_whole() {
    let server = Server::start(|_| {
        let mut bytes = head(200, &[("content-length", "100")]);
        bytes.extend_from_slice(MANIFEST);
        Reply::raw(bytes)
    });
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, unreachable(Cause::Interrupted));
}

#[tokio::test]
async fn d5_bytes_after_the_declared_length_are_no_part_of_the_body() {
    let server = Server::start(|_| {
        let length = MANIFEST.len().to_string();
        let mut bytes = head(200, &[("content-length", &length)]);
        bytes.extend_from_slice(MANIFEST);
        bytes.extend_from_slice(b"HTTP/1.1 200 X\r\ncontent-length: 1\r\n\r\nx");
        Reply::raw(bytes)
    });
    let found = resolve(&plain(), &server.host()).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
}

#[tokio::test]
async fn d5_two_different_lengths_are_refused() {
    let server = Server::start(|_| {
        let mut bytes = head(200, &[("content-length", "1"), ("content-length", "19")]);
        bytes.extend_from_slice(MANIFEST);
        Reply::raw(bytes)
    });
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, bad(Fault::Malformed));
}

#[tokio::test]
async fn d5_a_blob_is_held_to_the_limit_that_was_asked_for() {
    let server = Server::start(serves_manifest);
    let reference = tagged(&server.host());
    let digest = Digest::of(MANIFEST);
    let registry = plain();
    let fetch = |max| registry.fetch_blob(reference.repository(), &digest, max, None, soon());
    assert_eq!(fetch(MANIFEST.len()).await.unwrap(), MANIFEST);
    let limit = MANIFEST.len() - 1;
    assert_eq!(fetch(limit).await, too_large(limit));
}

fn token_of(size: usize) -> Server {
    Server::start(
        move |seen| match (seen.is_for("/token"), seen.authorization()) {
            (true, _) => {
                let mut body = br#"{"token":"t0"}"#.to_vec();
                body.resize(size, b' ');
                Reply::new(200, &[], &body)
            }
            (false, Some("Bearer t0")) => Reply::ok(MANIFEST),
            (false, _) => Reply::bearer(&format!("http://{}/token", seen.host())),
        },
    )
}

#[tokio::test]
async fn d5_a_token_answer_over_the_limit_is_refused() {
    let server = token_of(TOKEN_LIMIT + 1);
    assert_eq!(
        resolve(&plain(), &server.host()).await,
        too_large(TOKEN_LIMIT)
    );
}

#[tokio::test]
async fn d5_a_token_answer_of_the_limit_is_read() {
    let server = token_of(TOKEN_LIMIT);
    assert!(resolve(&plain(), &server.host()).await.is_ok());
}

fn headers_of(size: usize) -> Server {
    Server::start(move |_| {
        let value = "x".repeat(size);
        let length = MANIFEST.len().to_string();
        let mut bytes = head(200, &[("content-length", &length), ("x-pad", &value)]);
        bytes.extend_from_slice(MANIFEST);
        Reply::raw(bytes)
    })
}

#[tokio::test]
async fn d5_headers_over_the_limit_are_refused() {
    for size in [HEADER_LIMIT, 1024 * 1024] {
        let server = headers_of(size);
        let result = resolve(&plain(), &server.host()).await;
        assert_eq!(
            result,
            bad(Fault::HeadersTooLarge {
                limit: HEADER_LIMIT
            })
        );
    }
}

#[tokio::test]
async fn d5_headers_below_the_limit_are_read() {
    let server = headers_of(HEADER_LIMIT - 256);
    assert!(resolve(&plain(), &server.host()).await.is_ok());
}

#[tokio::test]
async fn d5_more_header_lines_than_a_registry_sends_are_refused() {
    let server = Server::start(|_| Reply::new(200, &[("x-many", "1"); 200], MANIFEST));
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(
        result,
        bad(Fault::HeadersTooLarge {
            limit: HEADER_LIMIT
        })
    );
}

#[tokio::test]
async fn d6_an_encoded_body_is_refused_not_inflated() {
    for encoding in ["gzip", "zstd", "br", "deflate", "identity, gzip"] {
        let server =
            Server::start(move |_| Reply::new(200, &[("content-encoding", encoding)], MANIFEST));
        let result = resolve(&plain(), &server.host()).await;
        assert_eq!(result, bad(Fault::Encoded), "{encoding}");
        assert_eq!(server.seen()[0].header("accept-encoding"), Some("identity"));
    }
}

#[tokio::test]
async fn d6_the_identity_encoding_is_no_encoding() {
    let server = Server::start(|_| Reply::new(200, &[("content-encoding", "identity")], MANIFEST));
    assert!(resolve(&plain(), &server.host()).await.is_ok());
}

#[tokio::test]
async fn what_is_not_http_is_malformed() {
    let server = Server::start(|_| Reply::raw("SSH-2.0-x\r\n\r\n"));
    assert_eq!(
        resolve(&plain(), &server.host()).await,
        bad(Fault::Malformed)
    );
}
