//! What is carried is carried unchanged.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Response};
use tokio::sync::{mpsc, oneshot};

use crate::hostile::raw_answer;
use crate::relay_support::*;

/// Unknown fields 900 and 901, in an order and an encoding that no encoder would choose.
const ODD: &[u8] = &[
    0xa2, 0x38, 0x02, 0xff, 0x00, 0xa8, 0x38, 0x81, 0x80, 0x00, 0x0a, 0x00,
];

#[tokio::test]
async fn a_request_reaches_containerd_with_the_headers_and_bytes_that_came() {
    let rig = Rig::start(forward());
    let (tell, mut told) = mpsc::unbounded_channel();
    let _fake = Fake::start(&rig.upstream(), move |mut call| {
        let tell = tell.clone();
        async move {
            let body = call.read().await.unwrap();
            call.ok(b"");
            tell.send((
                call.request.uri.to_string(),
                lines(&call.request.headers),
                body,
            ))
            .unwrap();
        }
    });
    let client = rig.client().await;
    for path in [PASS, GUARD, STREAM] {
        let request = Client::request(path)
            .header("user-agent", "grpc-go/1.72.2")
            .header(
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            )
            .header("baggage", "a=1")
            .header("baggage", "b=2")
            .header("x-unknown-bin", "AAEC")
            .header("grpc-accept-encoding", "gzip")
            .body(())
            .unwrap();
        let sent = lines(request.headers());
        client.send(request, &framed(ODD)).await.unwrap();
        let (uri, headers, (body, trailers)) = soon(told.recv()).await.unwrap();
        assert_eq!(uri, format!("http://localhost{path}"));
        assert_eq!(headers, sent, "{path}");
        assert_eq!(body, framed(ODD), "{path}");
        assert_eq!(trailers, None, "{path}");
    }
}

#[tokio::test]
async fn an_answer_reaches_the_client_with_the_headers_bytes_and_trailers_that_came() {
    let rig = Rig::start(forward());
    let head = || {
        Response::builder()
            .header("content-type", "application/grpc")
            .header("x-containerd", "one")
            .header("x-containerd", "two")
    };
    let tail = || {
        let mut map = trailers("5");
        map.insert(
            "grpc-message",
            HeaderValue::from_static("no such container %C3%A4"),
        );
        map.insert(
            "grpc-status-details-bin",
            HeaderValue::from_static("CAUSAA"),
        );
        map
    };
    let _fake = Fake::start(&rig.upstream(), move |mut call| async move {
        call.read().await.unwrap();
        let mut stream = call
            .respond
            .send_response(head().body(()).unwrap(), false)
            .unwrap();
        stream.send_data(framed(ODD).into(), false).unwrap();
        stream.send_trailers(tail()).unwrap();
    });
    let client = rig.client().await;
    for path in [PASS, GUARD, STREAM] {
        let answer = client.call(path, b"").await.unwrap();
        assert_eq!(
            lines(&answer.head.headers),
            lines(head().headers_ref().unwrap()),
            "{path}"
        );
        assert_eq!(answer.data, framed(ODD), "{path}");
        assert_eq!(
            answer.trailers.as_ref().map(lines),
            Some(lines(&tail())),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_trailers_only_answer_before_the_request_was_read_stays_one_headers_frame() {
    let rig = Rig::start(forward());
    // h2 resets a stream with NO_ERROR whose answer is complete and whose request nobody reads.
    let _fake = Fake::start(&rig.upstream(), |mut call| async move {
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "12")
            .body(())
            .unwrap();
        call.respond.send_response(head, true).unwrap();
    });
    for path in [PASS, STREAM] {
        let (kind, flags, _) = raw_answer(&rig.socket(), Some("localhost"), path, &[]).await;
        // HEADERS with END_STREAM and END_HEADERS (RFC 9113, section 6.2).
        assert_eq!((kind, flags), (1, 0x1 | 0x4), "{path}");
    }
}

#[tokio::test]
async fn a_trailers_only_answer_stays_one_headers_frame() {
    let rig = Rig::start(forward());
    let _fake = Fake::start(&rig.upstream(), |mut call| async move {
        call.read().await.unwrap();
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "12")
            .header("grpc-message", "unknown service");
        call.respond
            .send_response(head.body(()).unwrap(), true)
            .unwrap();
    });
    let client = rig.client().await;
    for path in [PASS, GUARD] {
        let (response, mut stream) = client.open(Client::request(path).body(()).unwrap()).await;
        stream.send_data(framed(b"").into(), true).unwrap();
        let response = soon(response).await.unwrap();
        assert!(response.body().is_end_stream(), "{path}");
        assert_eq!(response.headers()["grpc-status"], "12");
        assert_eq!(response.headers()["grpc-message"], "unknown service");
        assert_eq!(response.headers().len(), 3);
    }
}

#[tokio::test]
async fn an_error_text_of_100_kb_arrives_whole() {
    let rig = Rig::start(forward());
    let text: String = ('a'..='z').cycle().take(100 * 1024).collect();
    let said = text.clone();
    let _fake = Fake::start(&rig.upstream(), move |mut call| {
        let said = said.clone();
        async move {
            call.read().await.unwrap();
            let mut map = trailers("2");
            map.insert("grpc-message", said.parse().unwrap());
            call.head().send_trailers(map).unwrap();
        }
    });
    let client = rig.client().await;
    for path in [PASS, GUARD] {
        assert_eq!(
            client.call(path, b"").await.unwrap().status(),
            (2, text.clone())
        );
    }
}

#[tokio::test]
async fn a_request_header_of_100_kb_arrives_whole() {
    let rig = Rig::start(forward());
    let _fake = Fake::start(&rig.upstream(), move |mut call| async move {
        call.read().await.unwrap();
        let size = call.request.headers["baggage"].len();
        call.ok(size.to_string().as_bytes());
    });
    let request = Client::request(PASS)
        .header("baggage", "x".repeat(100_000))
        .body(())
        .unwrap();
    let answer = rig
        .client()
        .await
        .send(request, &framed(b""))
        .await
        .unwrap();
    assert_eq!(answer.data, framed(b"100000"));
}

/// Bytes that repeat only after a long while, so that a shift or a swap shows.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let step = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step)
        .flatten()
        .take(length)
        .collect()
}

#[tokio::test]
async fn lists_of_12_mb_arrive_whole_in_parallel() {
    let rig = Rig::start(forward());
    let list = noise(12 << 20);
    let sent = list.clone();
    let _fake = Fake::start(&rig.upstream(), move |mut call| {
        let sent = sent.clone();
        async move {
            call.read().await.unwrap();
            call.ok(&sent);
        }
    });
    let client = rig.client().await;
    let calls = (0..4).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.call(PASS, b"").await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        let answer = soon(call).await.unwrap();
        assert!(answer.data == framed(&list));
        assert_eq!(answer.status(), (0, String::new()));
    }
}

#[tokio::test]
async fn requests_of_12_mb_arrive_whole() {
    let rig = Rig::start(forward());
    let (tell, mut told) = mpsc::unbounded_channel();
    let _fake = Fake::start(&rig.upstream(), move |mut call| {
        let tell = tell.clone();
        async move {
            tell.send(call.read().await.unwrap().0).unwrap();
            call.ok(b"");
        }
    });
    let message = noise(12 << 20);
    let client = rig.client().await;
    for path in [PASS, GUARD] {
        assert_eq!(client.call(path, &message).await.unwrap().status().0, 0);
        assert!(
            soon(told.recv()).await.unwrap() == framed(&message),
            "{path}"
        );
    }
}

#[tokio::test]
async fn each_of_500_stream_messages_arrives_before_the_next_is_sent() {
    let rig = Rig::start(forward());
    let (next, wanted) = mpsc::unbounded_channel::<()>();
    let wanted = Arc::new(tokio::sync::Mutex::new(wanted));
    let _fake = Fake::start(&rig.upstream(), move |mut call| {
        let wanted = wanted.clone();
        async move {
            call.read().await.unwrap();
            let mut stream = call.head();
            for number in 0_u32..500 {
                wanted.lock().await.recv().await.unwrap();
                let message = [number.to_be_bytes().as_slice(), &[7; 1020]].concat();
                stream.send_data(framed(&message).into(), false).unwrap();
            }
            stream.send_trailers(trailers("0")).unwrap();
        }
    });
    let client = rig.client().await;
    let (response, mut stream) = client.open(Client::request(STREAM).body(()).unwrap()).await;
    stream.send_data(framed(b"").into(), true).unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    for number in 0_u32..500 {
        next.send(()).unwrap();
        let mut message = Vec::new();
        while message.len() < 5 + 1024 {
            let data = soon(body.data()).await.unwrap().unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            message.extend_from_slice(&data);
        }
        assert_eq!(message[5..9], number.to_be_bytes());
        assert_eq!(message.len(), 5 + 1024);
    }
    assert!(soon(body.data()).await.is_none());
    assert_eq!(
        soon(body.trailers()).await.unwrap().as_ref().map(lines),
        Some(lines(&trailers("0")))
    );
}

#[tokio::test]
async fn frames_of_any_size_that_come_at_once_arrive_in_order_and_with_their_end() {
    let rig = Rig::start(forward());
    let messages: Vec<Vec<u8>> = (0..300).map(|n| framed(&noise(n * 37 % 6000))).collect();
    let sent = messages.clone();
    let _fake = Fake::start(&rig.upstream(), move |mut call| {
        let sent = sent.clone();
        async move {
            let with_trailers = call.read().await.unwrap().0.len() == 5;
            let mut stream = call.head();
            for message in sent {
                stream.send_data(message.into(), false).unwrap();
            }
            if with_trailers {
                stream.send_trailers(trailers("0")).unwrap();
            } else {
                stream.send_data(framed(b"end").into(), true).unwrap();
            }
        }
    });
    let client = rig.client().await;
    for (asked, end, wanted) in [
        (&b""[..], Vec::new(), Some(lines(&trailers("0")))),
        (b"without", framed(b"end"), None),
    ] {
        let answer = client.call(STREAM, asked).await.unwrap();
        assert!(answer.data == [messages.concat(), end].concat(), "bytes");
        assert_eq!(answer.trailers.as_ref().map(lines), wanted);
    }
}

#[tokio::test]
async fn each_request_frame_arrives_before_the_next_is_sent() {
    let rig = Rig::start(forward());
    let (tell, mut told) = mpsc::unbounded_channel();
    let _fake = Fake::start(&rig.upstream(), move |mut call| {
        let tell = tell.clone();
        async move {
            while let Some(data) = call.body.data().await {
                tell.send(data.unwrap()).unwrap();
            }
            tell.send(Bytes::from(format!(
                "{:?}",
                call.body.trailers().await.unwrap()
            )))
            .unwrap();
            call.ok(b"");
        }
    });
    let client = rig.client().await;
    let (response, mut stream) = client.open(Client::request(PASS).body(()).unwrap()).await;
    for part in [
        "\0\0\0\0\x03",
        "a",
        "bc",
        "trailing garbage, which is containerd's to judge",
    ] {
        stream.send_data(part.into(), false).unwrap();
        assert_eq!(soon(told.recv()).await.unwrap(), part);
    }
    let mut tail = HeaderMap::new();
    tail.insert("x-tail", HeaderValue::from_static("1"));
    stream.send_trailers(tail.clone()).unwrap();
    assert_eq!(
        soon(told.recv()).await.unwrap(),
        format!("{:?}", Some(tail))
    );
    assert_eq!(finish(response).await.unwrap().status().0, 0);
}

#[tokio::test]
async fn an_answer_without_trailers_gets_none() {
    let rig = Rig::start(forward());
    let _fake = Fake::start(&rig.upstream(), |mut call| async move {
        call.read().await.unwrap();
        call.head().send_data(framed(b"x").into(), true).unwrap();
    });
    let answer = rig.client().await.call(PASS, b"").await.unwrap();
    assert_eq!((answer.data, answer.trailers), (framed(b"x"), None));
}

#[tokio::test]
async fn a_reset_before_the_answer_stays_that_reset() {
    for wanted in [
        Reason::CANCEL,
        Reason::REFUSED_STREAM,
        Reason::INTERNAL_ERROR,
    ] {
        let rig = Rig::start(forward());
        let _fake = Fake::start(&rig.upstream(), move |mut call| async move {
            call.read().await.unwrap();
            call.respond.send_reset(wanted);
        });
        let client = rig.client().await;
        for path in [PASS, STREAM, GUARD] {
            assert_eq!(reason(client.call(path, b"").await), Some(wanted), "{path}");
        }
    }
}

#[tokio::test]
async fn a_reset_within_the_answer_stays_that_reset_and_never_looks_complete() {
    for wanted in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let rig = Rig::start(forward());
        let (go, gone) = oneshot::channel::<()>();
        let gone = Arc::new(std::sync::Mutex::new(Some(gone)));
        let _fake = Fake::start(&rig.upstream(), move |mut call| {
            let gone = gone.lock().unwrap().take().unwrap();
            async move {
                call.read().await.unwrap();
                let mut stream = call.head();
                stream.send_data(framed(b"half").into(), false).unwrap();
                gone.await.unwrap();
                stream.send_reset(wanted);
            }
        });
        let client = rig.client().await;
        let (response, mut stream) = client.open(Client::request(PASS).body(()).unwrap()).await;
        stream.send_data(framed(b"").into(), true).unwrap();
        let mut body = soon(response).await.unwrap().into_body();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), framed(b"half"));
        go.send(()).unwrap();
        let end = soon(body.data())
            .await
            .expect("no clean end")
            .expect_err("a reset");
        assert_eq!(end.reason(), Some(wanted));
    }
}

#[tokio::test]
async fn streams_that_nobody_reads_do_not_hold_up_other_calls() {
    let rig = Rig::start(forward());
    let _fake = Fake::start(&rig.upstream(), |mut call| async move {
        call.read().await.unwrap();
        let size = if call.request.uri.path() == STREAM {
            4 << 20
        } else {
            4
        };
        call.ok(&vec![1; size]);
    });
    let client = rig.client().await;
    let mut unread = Vec::new();
    for _ in 0..8 {
        let (response, mut stream) = client.open(Client::request(STREAM).body(()).unwrap()).await;
        stream.send_data(framed(b"").into(), true).unwrap();
        unread.push(soon(response).await.unwrap());
    }
    for _ in 0..50 {
        assert_eq!(client.call(PASS, b"").await.unwrap().data, framed(&[1; 4]));
    }
}

#[tokio::test]
async fn e9_a_stream_that_nobody_reads_is_not_gathered() {
    let rig = Rig::start(forward());
    let granted = Arc::new(AtomicUsize::new(0));
    let count = granted.clone();
    let _fake = Fake::start(&rig.upstream(), move |mut call| {
        let granted = count.clone();
        async move {
            call.read().await.unwrap();
            if call.request.uri.path() != STREAM {
                return call.ok(b"");
            }
            let mut stream = call.head();
            let mut left = framed(&vec![1; 64 << 20]);
            while !left.is_empty() {
                stream.reserve_capacity(left.len());
                let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                let Some(Ok(room)) = room else {
                    return;
                };
                let rest = left.split_off(room.min(left.len()));
                granted.fetch_add(left.len(), Relaxed);
                stream.send_data(left.into(), false).unwrap();
                left = rest;
            }
        }
    });
    let client = rig.client().await;
    let (response, mut stream) = client.open(Client::request(STREAM).body(()).unwrap()).await;
    stream.send_data(framed(b"").into(), true).unwrap();
    let _unread = soon(response).await.unwrap();
    soon(async {
        while granted.load(Relaxed) < 1 << 16 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..500 {
        client.call(PASS, b"").await.unwrap();
    }
    let granted = granted.load(Relaxed);
    assert!(granted <= 8 << 20, "{granted} bytes");
}
