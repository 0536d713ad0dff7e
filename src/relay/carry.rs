//! One call, from its head to the head of its answer: carried unseen, or handed on to be judged.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use http::header::HeaderMap;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, request};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::body::{AnswerBody, BoxError, RequestBody, stream_ends};
use super::guarded::Stop;
use super::stats::{self, Gauge, RelayStats};
use super::upstream::{CallError, Upstream};
use super::{BoxFuture, Gate, GrpcCode, Handling, Peer, Refusal, RefusedCall, RelayConfig};
use crate::policy::unjudged;

/// What all connections share.
pub(super) struct Shared {
    pub(super) config: RelayConfig,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) decisions: Handle,
    pub(super) stats: Arc<RelayStats>,
    /// The relay stops: nothing new, streams end, calls in flight go on.
    pub(super) draining: watch::Receiver<bool>,
    /// The time to drain is up: what has no answer yet is answered now.
    pub(super) ending: watch::Receiver<bool>,
    /// It was said that a client speaks to nobody.
    pub(super) said_unheard: AtomicBool,
}

/// One client connection, as its calls see it.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Peer,
    pub(super) upstream: Upstream,
    /// A call came on it.
    pub(super) called: AtomicBool,
}

impl Connection {
    /// Says once a process why a client that asked for something got nowhere: its calls were reset
    /// by the HTTP/2 library before they were calls.
    pub(super) fn say_if_unheard(&self, asked: &AtomicBool) {
        let unheard = asked.load(Relaxed) && !self.called.load(Relaxed);
        if unheard && !self.shared.said_unheard.swap(true, Relaxed) {
            tracing::warn!(
                pid = self.peer.pid,
                "a client asked for something that HTTP/2 does not allow, and got no answer; a \
                 kubelet before 1.31 does, which sends its socket's path as :authority; kubelets \
                 are served from 1.31 on"
            );
        }
    }
}

pub(super) type Answer = Response<AnswerBody>;

/// Resolves once `signal` is on. An error means that the relay is gone, which is the same.
pub(super) async fn told(mut signal: watch::Receiver<bool>) {
    drop(signal.wait_for(|on| *on).await);
}

impl Connection {
    /// Answers one call. An error resets the client's stream; dropping the future cancels the call
    /// on the other side.
    pub(super) async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Answer, BoxError> {
        self.called.store(true, Relaxed);
        let in_flight = Gauge::new(&self.shared.stats, |stats| &stats.in_flight, 1);
        let (mut head, body) = request.into_parts();
        if head.method == Method::CONNECT {
            // A 200 would open a tunnel.
            let mut answer = Response::new(AnswerBody::empty());
            *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return Ok(answer);
        }
        complete_target(&mut head);
        let path = head
            .uri
            .path_and_query()
            .map_or("", PathAndQuery::as_str)
            .to_owned();
        let answer = tokio::select! {
            biased;
            answer = self.carry(head, body, &path) => answer?,
            () = told(self.shared.ending.clone()) => stopping(&path).answer(),
        };
        Ok(answer.map(|body| body.counted(in_flight)))
    }

    async fn carry(
        &self,
        head: request::Parts,
        body: Incoming,
        path: &str,
    ) -> Result<Answer, BoxError> {
        match self.shared.gate.handling(path) {
            Handling::Refuse(refusal) => {
                self.report(path, &refusal);
                Ok(refusal.answer())
            }
            Handling::Pass => self.pass(head, body, None).await,
            Handling::Stream => {
                let drain = Box::pin(told(self.shared.draining.clone()));
                self.pass(head, body, Some(drain)).await
            }
            Handling::Guard(method) => {
                stats::count(&self.shared.stats.guarded);
                match self.guard(method, head, body).await {
                    Ok(answer) => Ok(answer),
                    Err(Stop::Reset(error)) => Err(error),
                    Err(Stop::Refuse(refusal)) => {
                        self.report(path, &refusal);
                        Ok(refusal.answer())
                    }
                }
            }
        }
    }

    fn report(&self, path: &str, refusal: &Refusal) {
        stats::count(&self.shared.stats.refused);
        self.shared.gate.refused(RefusedCall {
            path,
            refusal,
            peer: self.peer,
        });
    }

    async fn pass(
        &self,
        mut head: request::Parts,
        body: Incoming,
        mut drain: Option<BoxFuture<()>>,
    ) -> Result<Answer, BoxError> {
        stats::count(&self.shared.stats.passed);
        strip_containerd(&mut head.headers);
        let request = Request::from_parts(head, RequestBody::Carried(body));
        let call = self.upstream.call(request);
        let called = match &mut drain {
            None => call.await,
            // A stream of which nothing was said yet has no head either.
            Some(drain) => tokio::select! {
                biased;
                called = call => called,
                () = drain => return Ok(stream_ends().answer()),
            },
        };
        match called {
            Ok(response) => Ok(self.carry_back(response, drain)),
            Err(CallError::Away(refusal)) => Ok(refusal.answer()),
            Err(CallError::Reset(error)) => Err(error),
        }
    }

    pub(super) fn carry_back(
        &self,
        response: Response<Incoming>,
        drain: Option<BoxFuture<()>>,
    ) -> Answer {
        response.map(|incoming| AnswerBody::carried(incoming, self.upstream.lost(), drain))
    }
}

/// What a call gets that has no answer when the time to drain is up: the kubelet tries again.
fn stopping(path: &str) -> Refusal {
    let method = path.rsplit('/').next().unwrap_or(path);
    Refusal::new(GrpcCode::Unavailable, unjudged::stopping(method).line())
}

/// hyper's client wants a complete target. A client that left `:authority` out gets the one that
/// the kubelet uses; `:scheme` is not kept by the HTTP/2 library in that case.
fn complete_target(head: &mut request::Parts) {
    if head.uri.authority().is_some() {
        return;
    }
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static("localhost"));
    parts
        .path_and_query
        .get_or_insert_with(|| PathAndQuery::from_static("/"));
    head.uri = Uri::from_parts(parts).unwrap_or_default();
}

/// Takes out the headers that steer containerd itself (`containerd-namespace`, `containerd-lease`):
/// a CRI client has no business with them. Everything else goes on as it came: trace context,
/// `grpc-*`, `user-agent`, whatever a later kubelet sends.
pub(super) fn strip_containerd(headers: &mut HeaderMap) {
    let ours = |name: &http::HeaderName| name.as_str().starts_with("containerd");
    if !headers.keys().any(ours) {
        return;
    }
    let names: Vec<_> = headers.keys().filter(|name| ours(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
