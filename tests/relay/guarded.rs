//! What is guarded waits for its verdict, and only for that.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use pullguard::relay::{GrpcCode, Refusal, Verdict};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::relay_support::*;

/// Tells when it is dropped.
struct Dropped(Option<oneshot::Sender<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell.send(()).unwrap();
        }
    }
}

#[tokio::test]
async fn the_gate_sees_the_message_the_label_and_the_peer() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let rig = Rig::start(decide(move |call| {
        let tell = tell.clone();
        async move {
            tell.send(call.clone()).unwrap();
            Verdict::Forward {
                message: call.message,
                settle: None,
            }
        }
    }));
    let _fake = echo(&rig);
    rig.client().await.call(GUARD, b"pull me").await.unwrap();
    let call = soon(told.recv()).await.unwrap();
    assert_eq!(call.method, "PullImage");
    assert_eq!(call.message, "pull me");
    assert_eq!(call.deadline, None);
    assert_eq!(call.peer.pid, i32::try_from(std::process::id()).ok());
    assert_eq!(call.peer.uid, nix::unistd::geteuid().as_raw());
    assert_eq!(call.peer.gid, nix::unistd::getegid().as_raw());
}

#[tokio::test]
async fn an_appended_edit_is_forwarded_with_its_own_prefix() {
    let rig = Rig::start(decide(|call| async move {
        let message = [call.message.as_ref(), b" edited"].concat().into();
        Verdict::Forward {
            message,
            settle: None,
        }
    }));
    let (_fake, mut told) = echo(&rig);
    let answer = rig.client().await.call(GUARD, b"original").await.unwrap();
    assert_eq!(
        soon(told.recv()).await.unwrap().0,
        framed(b"original edited")
    );
    assert_eq!(answer.data, framed(b"original edited"));
}

#[tokio::test]
async fn an_answer_of_the_gate_is_ok_and_containerd_sees_nothing() {
    let rig = Rig::start(decide(|_| async {
        Verdict::Answer(Bytes::from_static(b"absent"))
    }));
    let (fake, _) = echo(&rig);
    let answer = rig.client().await.call(GUARD, b"x").await.unwrap();
    assert_eq!(answer.data, framed(b"absent"));
    assert_eq!(answer.status(), (0, String::new()));
    assert_eq!(answer.head.headers["content-type"], "application/grpc");
    assert_eq!(answer.head.headers.len(), 1);
    assert_eq!(fake.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn a_refusal_of_the_gate_is_trailers_only_and_containerd_sees_nothing() {
    let text = "IMG-UNSIGNED a/b: image `ä` is 100 % unsigned";
    let rig = Rig::start(decide(move |_| async move {
        Verdict::Refuse(Refusal::new(GrpcCode::PermissionDenied, text))
    }));
    let (fake, _) = echo(&rig);
    let client = rig.client().await;
    let (response, mut stream) = client.open(Client::request(GUARD).body(()).unwrap()).await;
    stream.send_data(framed(b"x").into(), true).unwrap();
    let response = soon(response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "7");
    assert_eq!(
        response.headers()["grpc-message"],
        "IMG-UNSIGNED a/b: image `%C3%A4` is 100 %25 unsigned"
    );
    assert!(response.body().is_end_stream());
    assert_eq!(fake.paths(), Vec::<String>::new());
    assert_eq!(
        rig.refused(),
        vec![],
        "a verdict is the gate's own to report"
    );
}

#[tokio::test]
async fn a_panic_in_the_gate_refuses_that_call_and_no_other() {
    let rig = Rig::start(decide(|call| async move {
        assert!(call.message != "boom", "asked for");
        Verdict::Forward {
            message: call.message,
            settle: None,
        }
    }));
    let (fake, _told) = echo(&rig);
    let client = rig.client().await;
    let said = client.call(GUARD, b"boom").await.unwrap().status();
    let text =
        "INTERNAL: request `PullImage`: the guard failed on it; report this, with the node's log";
    assert_eq!(said, (2, text.to_owned()));
    assert_eq!(
        rig.refused(),
        [(GUARD.to_owned(), Refusal::new(GrpcCode::Unknown, text))]
    );
    assert_eq!(fake.paths(), Vec::<String>::new());
    assert_eq!(
        client.call(GUARD, b"fine").await.unwrap().data,
        framed(b"fine")
    );
}

#[tokio::test]
async fn a_panic_on_the_relays_own_thread_resets_that_stream_and_no_other() {
    let rig = Rig::start(forward());
    let (fake, _told) = echo(&rig);
    let client = rig.client().await;
    assert!(reason(client.call(PANIC, b"x").await).is_some(), "a reset");
    for path in [PASS, GUARD] {
        assert_eq!(client.call(path, b"on").await.unwrap().data, framed(b"on"));
    }
    assert_eq!(fake.paths(), [PASS, GUARD]);
    let stats = rig.relay.as_ref().unwrap().stats();
    assert_eq!(stats.read().connections, 1);
}

#[tokio::test]
async fn a_hundred_pending_verdicts_and_a_busy_one_hold_up_nothing_else() {
    let release = Arc::new(Semaphore::new(0));
    let (busy, spinning) = oneshot::channel();
    let busy = Arc::new(Mutex::new(Some(busy)));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (gate_release, gate_stop) = (release.clone(), stop.clone());
    let rig = Rig::start(decide(move |call| {
        let (release, busy, stop) = (gate_release.clone(), busy.clone(), gate_stop.clone());
        async move {
            if call.message == "spin" {
                busy.lock().unwrap().take().unwrap().send(()).unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            } else {
                drop(release.acquire().await);
            }
            Verdict::Forward {
                message: call.message,
                settle: None,
            }
        }
    }));
    let (_fake, _told) = echo(&rig);
    let client = rig.client().await;
    let mut pending = Vec::new();
    for _ in 0..100 {
        let client = client.clone();
        pending.push(tokio::spawn(async move {
            client.call(GUARD, b"wait").await.unwrap()
        }));
    }
    let spin = tokio::spawn({
        let client = client.clone();
        async move { client.call(GUARD, b"spin").await.unwrap() }
    });
    soon(spinning).await.unwrap();
    for _ in 0..100 {
        assert_eq!(
            client.call(PASS, b"free").await.unwrap().data,
            framed(b"free")
        );
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    release.close();
    soon(spin).await.unwrap();
    for call in pending {
        assert_eq!(soon(call).await.unwrap().data, framed(b"wait"));
    }
}

// ---- deadlines

fn with_timeout(value: &str) -> Request<()> {
    Client::request(GUARD)
        .header("grpc-timeout", value)
        .body(())
        .unwrap()
}

#[tokio::test]
async fn the_forwarded_deadline_is_what_the_decision_left() {
    let (tell, mut deadline) = mpsc::unbounded_channel();
    let rig = Rig::start(decide(move |call| {
        let tell = tell.clone();
        async move {
            tell.send(call.deadline).unwrap();
            Verdict::Forward {
                message: call.message,
                settle: None,
            }
        }
    }));
    let (_fake, mut told) = echo(&rig);
    let before = Instant::now();
    rig.client()
        .await
        .send(with_timeout("120S"), &framed(b""))
        .await
        .unwrap();
    let deadline = soon(deadline.recv()).await.unwrap().unwrap();
    assert!(deadline >= before + Duration::from_secs(120));
    let passed_on = soon(told.recv()).await.unwrap().1["grpc-timeout"].clone();
    let value = passed_on
        .to_str()
        .unwrap()
        .strip_suffix('m')
        .expect("milliseconds");
    let left: u64 = value.parse().unwrap();
    assert!((60_000..=120_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_carried_call_keeps_its_deadline_as_it_came() {
    let rig = Rig::start(forward());
    let (_fake, mut told) = echo(&rig);
    let client = rig.client().await;
    for value in ["120S", "99999999H", "0n", "nonsense", "999999999S"] {
        let request = Client::request(PASS)
            .header("grpc-timeout", value)
            .body(())
            .unwrap();
        client.send(request, &framed(b"")).await.unwrap();
        assert_eq!(soon(told.recv()).await.unwrap().1["grpc-timeout"], value);
    }
}

#[tokio::test]
async fn e8_an_absurd_deadline_of_a_guarded_call_does_no_harm() {
    let rig = Rig::start(forward());
    let (_fake, mut told) = echo(&rig);
    let client = rig.client().await;
    for value in ["nonsense", "", "-1S", "999999999S", "1"] {
        client
            .send(with_timeout(value), &framed(b""))
            .await
            .unwrap();
        assert_eq!(soon(told.recv()).await.unwrap().1["grpc-timeout"], value);
    }
    client
        .send(with_timeout("99999999H"), &framed(b""))
        .await
        .unwrap();
    assert_eq!(
        soon(told.recv()).await.unwrap().1["grpc-timeout"],
        "99999999H"
    );
}

#[tokio::test]
async fn a_deadline_that_passes_while_deciding_resets_the_stream_and_sends_nothing() {
    let rig = Rig::start(decide(|call| async move {
        tokio::time::sleep_until(call.deadline.unwrap()).await;
        Verdict::Forward {
            message: call.message,
            settle: None,
        }
    }));
    let (fake, _) = echo(&rig);
    let client = rig.client().await;
    for value in ["0n", "20m"] {
        assert_eq!(
            reason(client.send(with_timeout(value), &framed(b"")).await),
            Some(Reason::CANCEL)
        );
    }
    assert_eq!(fake.paths(), Vec::<String>::new());
}

// ---- cancellation

#[tokio::test]
async fn a_call_cancelled_while_deciding_drops_the_decision() {
    let (started, mut start) = mpsc::unbounded_channel();
    let (dropped, drop_seen) = oneshot::channel();
    let dropped = Arc::new(Mutex::new(Some(dropped)));
    let rig = Rig::start(decide(move |_| {
        let (started, guard) = (started.clone(), Dropped(dropped.lock().unwrap().take()));
        async move {
            started.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(guard);
            Verdict::Answer(Bytes::new())
        }
    }));
    let (fake, _) = echo(&rig);
    let client = rig.client().await;
    let (response, mut stream) = client.open(Client::request(GUARD).body(()).unwrap()).await;
    stream.send_data(framed(b"").into(), true).unwrap();
    soon(start.recv()).await.unwrap();
    stream.send_reset(Reason::CANCEL);
    drop(response);
    soon(drop_seen).await.unwrap();
    assert_eq!(
        client.call(PASS, b"alive").await.unwrap().data,
        framed(b"alive")
    );
    assert_eq!(fake.paths(), [PASS]);
}

/// Answers nothing; tells when a call came and when it was reset.
fn deaf(
    rig: &Rig,
) -> (
    Fake,
    mpsc::UnboundedReceiver<()>,
    mpsc::UnboundedReceiver<Reason>,
) {
    let (came, come) = mpsc::unbounded_channel();
    let (reset, resets) = mpsc::unbounded_channel();
    let fake = Fake::start(&rig.upstream(), move |mut call| {
        let (came, reset) = (came.clone(), reset.clone());
        async move {
            call.read().await.unwrap();
            if call.request.headers.contains_key("x-answer") {
                return call.ok(b"");
            }
            came.send(()).unwrap();
            let reason = std::future::poll_fn(|cx| call.respond.poll_reset(cx))
                .await
                .unwrap();
            reset.send(reason).unwrap();
        }
    });
    (fake, come, resets)
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_containerd() {
    let rig = Rig::start(forward());
    let (_fake, mut come, mut resets) = deaf(&rig);
    let client = rig.client().await;
    for path in [PASS, STREAM, GUARD] {
        let (response, mut stream) = client.open(Client::request(path).body(()).unwrap()).await;
        stream.send_data(framed(b"").into(), true).unwrap();
        soon(come.recv()).await.unwrap();
        stream.send_reset(Reason::CANCEL);
        drop(response);
        assert_eq!(soon(resets.recv()).await, Some(Reason::CANCEL), "{path}");
    }
}

#[tokio::test]
async fn a_stream_cancelled_in_its_middle_is_cancelled_at_containerd() {
    let rig = Rig::start(forward());
    let (reset, mut resets) = mpsc::unbounded_channel();
    let _fake = Fake::start(&rig.upstream(), move |mut call| {
        let reset = reset.clone();
        async move {
            call.read().await.unwrap();
            let mut stream = call.head();
            stream.send_data(framed(b"event").into(), false).unwrap();
            reset
                .send(
                    std::future::poll_fn(|cx| stream.poll_reset(cx))
                        .await
                        .unwrap(),
                )
                .unwrap();
        }
    });
    let client = rig.client().await;
    let (response, mut stream) = client.open(Client::request(STREAM).body(()).unwrap()).await;
    stream.send_data(framed(b"").into(), true).unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap(), framed(b"event"));
    stream.send_reset(Reason::CANCEL);
    drop(body);
    assert_eq!(soon(resets.recv()).await, Some(Reason::CANCEL));
}

#[tokio::test]
async fn three_hundred_calls_cancelled_at_once_leave_the_connection_alive() {
    let rig = Rig::start(forward());
    let (_fake, mut come, mut resets) = deaf(&rig);
    let client = rig.client().await;
    let mut open = Vec::new();
    for number in 0..300 {
        let path = if number % 2 == 0 { PASS } else { GUARD };
        let (response, mut stream) = client.open(Client::request(path).body(()).unwrap()).await;
        stream.send_data(framed(b"").into(), true).unwrap();
        open.push((response, stream));
    }
    for _ in 0..300 {
        soon(come.recv()).await.unwrap();
    }
    for (response, mut stream) in open {
        stream.send_reset(Reason::CANCEL);
        drop(response);
    }
    for _ in 0..300 {
        assert_eq!(soon(resets.recv()).await, Some(Reason::CANCEL));
    }
    let request = Client::request(PASS)
        .header("x-answer", "1")
        .body(())
        .unwrap();
    assert_eq!(
        client.send(request, &framed(b"")).await.unwrap().status().0,
        0
    );
    assert_eq!(
        rig.relay.as_ref().unwrap().stats().read().upstream_connects,
        1
    );
}
