//! Containerd's answers that are looked at before the client gets them.

use bytes::Bytes;
use h2::Reason;
use pullguard::relay::{BoxFuture, GrpcCode, Refusal, Settle, Settled, UpstreamReply, Verdict};
use tokio::sync::mpsc;

use crate::relay_support::*;

struct Script(Box<dyn FnOnce(UpstreamReply) -> BoxFuture<Settled> + Send>);

impl Settle for Script {
    fn settle(self: Box<Self>, reply: UpstreamReply) -> BoxFuture<Settled> {
        (self.0)(reply)
    }
}

/// A gate that forwards, hands each answer to the test, and settles as it says.
fn settling(
    settled: impl Fn() -> Settled + Send + Sync + Clone + 'static,
) -> (Rig, mpsc::UnboundedReceiver<UpstreamReply>) {
    let (tell, told) = mpsc::unbounded_channel();
    let rig = Rig::start(decide(move |call| {
        let (tell, settled) = (tell.clone(), settled.clone());
        async move {
            let script = Script(Box::new(move |reply| {
                Box::pin(async move {
                    tell.send(reply).unwrap();
                    settled()
                })
            }));
            Verdict::Forward {
                message: call.message,
                settle: Some(Box::new(script)),
            }
        }
    }));
    (rig, told)
}

#[tokio::test]
async fn a_settled_answer_is_relayed_untouched() {
    let (rig, mut told) = settling(|| Settled::Relay);
    let (_fake, _) = echo(&rig);
    let answer = rig.client().await.call(GUARD, b"id").await.unwrap();
    assert_eq!(
        soon(told.recv()).await,
        Some(UpstreamReply::Ok(Bytes::from_static(b"id")))
    );
    assert_eq!(answer.data, framed(b"id"));
    assert_eq!(
        answer.trailers.as_ref().map(lines),
        Some(lines(&trailers("0")))
    );
}

#[tokio::test]
async fn a_settled_error_is_relayed_untouched() {
    let (rig, mut told) = settling(|| Settled::Relay);
    let _fake = Fake::start(&rig.upstream(), |mut call| async move {
        call.read().await.unwrap();
        let mut map = trailers("5");
        map.insert("grpc-message", "no %C3%A4".parse().unwrap());
        call.head().send_trailers(map).unwrap();
    });
    let answer = rig.client().await.call(GUARD, b"id").await.unwrap();
    assert_eq!(
        soon(told.recv()).await,
        Some(UpstreamReply::Status {
            code: 5,
            message: "no ä".to_owned()
        })
    );
    assert_eq!(answer.status(), (5, "no %C3%A4".to_owned()));
}

#[tokio::test]
async fn a_settlement_can_refuse_or_answer_instead() {
    let refusal = || Refusal::new(GrpcCode::Unknown, "IMG-UNPROVEN: not what was judged");
    let (rig, _told) = settling(move || Settled::Refuse(refusal()));
    let (_fake, _seen) = echo(&rig);
    let said = rig.client().await.call(GUARD, b"id").await.unwrap();
    assert_eq!(said.status(), (2, refusal().text));
    assert_eq!(said.data, b"");

    let (rig, _told) = settling(|| Settled::Answer(Bytes::from_static(b"other")));
    let (_fake, _seen) = echo(&rig);
    let said = rig.client().await.call(GUARD, b"id").await.unwrap();
    assert_eq!((said.status().0, said.data), (0, framed(b"other")));
}

#[tokio::test]
async fn a_settlement_that_panics_refuses_the_call() {
    let (rig, _told) = settling(|| panic!("asked for"));
    let (_fake, _) = echo(&rig);
    assert_eq!(
        rig.client()
            .await
            .call(GUARD, b"id")
            .await
            .unwrap()
            .status()
            .0,
        2
    );
}

#[tokio::test]
async fn a_broken_answer_is_settled_as_broken_and_relayed_as_the_break() {
    let (rig, mut told) = settling(|| Settled::Relay);
    let _fake = Fake::start(&rig.upstream(), |mut call| async move {
        call.read().await.unwrap();
        let mut stream = call.head();
        stream.send_data(framed(b"half").into(), false).unwrap();
        stream.send_reset(Reason::NO_ERROR);
    });
    let client = rig.client().await;
    assert_eq!(
        reason(client.call(GUARD, b"id").await),
        Some(Reason::NO_ERROR)
    );
    let text = "RUNTIME-UNAVAILABLE: the container runtime's answer to `PullImage` was broken off \
                by it; look at containerd on the node; the kubelet tries again";
    let broken = UpstreamReply::Broken(Refusal::new(GrpcCode::Unavailable, text));
    assert_eq!(soon(told.recv()).await, Some(broken));
}

#[tokio::test]
async fn an_answer_that_is_not_one_plain_message_is_settled_as_unreadable() {
    let (rig, mut told) = settling(|| Settled::Relay);
    let _fake = Fake::start(&rig.upstream(), |mut call| async move {
        let (body, _) = call.read().await.unwrap();
        let mut stream = call.head();
        stream.send_data(body.slice_from(5), false).unwrap();
        stream.send_trailers(trailers("0")).unwrap();
    });
    let client = rig.client().await;
    for body in [
        &b"\x01\0\0\0\0"[..],
        b"",
        b"\0\0\0\0\x05abc",
        b"\0\0\0\0\0\0\0\0\0\0",
    ] {
        let answer = client.call(GUARD, body).await.unwrap();
        assert_eq!(
            soon(told.recv()).await,
            Some(UpstreamReply::Unreadable),
            "{body:?}"
        );
        assert_eq!(answer.data, body);
    }
}

const LIMIT: usize = 16 << 20;

#[tokio::test]
async fn e9_a_settled_answer_of_16_mib_arrives_whole_and_one_byte_more_is_refused() {
    let (rig, mut told) = settling(|| Settled::Relay);
    let _fake = Fake::start(&rig.upstream(), |mut call| async move {
        let (body, _) = call.read().await.unwrap();
        let more = body.len() - 5;
        call.ok(&vec![7; LIMIT + more]);
    });
    let client = rig.client().await;
    let exact = client.call(GUARD, b"").await.unwrap();
    assert_eq!((exact.status().0, exact.data.len()), (0, LIMIT + 5));
    let Some(UpstreamReply::Ok(message)) = soon(told.recv()).await else {
        panic!("it is a whole answer");
    };
    assert_eq!(message.len(), LIMIT);
    let over = client.call(GUARD, b"x").await.unwrap();
    let text = "LIMIT: answer to `PullImage`: it has more than 16777216 bytes; raise \
                limits.max_message_bytes in the settings";
    assert_eq!(over.status(), (8, text.to_owned()));
    let broken = UpstreamReply::Broken(Refusal::new(GrpcCode::ResourceExhausted, text));
    assert_eq!(soon(told.recv()).await, Some(broken));
    assert_eq!(
        rig.refused(),
        vec![],
        "a settlement is the gate's own to report"
    );
}

#[tokio::test]
async fn a_containerd_that_is_away_is_told_to_the_settlement_alone() {
    let (rig, mut told) = settling(|| Settled::Relay);
    let answer = rig.client().await.call(GUARD, b"id").await.unwrap();
    let Some(UpstreamReply::Broken(refusal)) = soon(told.recv()).await else {
        panic!("nothing came back");
    };
    assert_eq!(answer.status(), (14, refusal.text));
    assert_eq!(rig.refused(), vec![]);
}

trait SliceFrom {
    fn slice_from(self, start: usize) -> Bytes;
}

impl SliceFrom for Vec<u8> {
    fn slice_from(self, start: usize) -> Bytes {
        Bytes::from(self).slice(start..)
    }
}
