//! One call, from its head to the head of its answer.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, request, response};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::body::{AnswerBody, BoxError, RequestBody, poll_incoming};
use super::frame::{self, FrameError};
use super::stats::{self, Gauge, RelayStats};
use super::status::{self, MESSAGE, STATUS};
use super::upstream::{CallError, Upstream};
use super::{
    BoxFuture, Gate, GrpcCode, Handling, Peer, RawCall, Refusal, RefusedCall, RelayConfig, Settle,
    Settled, UpstreamReply, Verdict, timeout,
};

/// What all connections share.
pub(super) struct Shared {
    pub(super) config: RelayConfig,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) decisions: Handle,
    pub(super) stats: Arc<RelayStats>,
    pub(super) draining: watch::Receiver<bool>,
}

/// One client connection, as its calls see it.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Peer,
    pub(super) upstream: Upstream,
}

type Answer = Response<AnswerBody>;

/// Why a guarded call ends: with an answer after all, or by resetting its stream.
enum Stop {
    Refuse(Refusal),
    Reset(BoxError),
}

impl From<FrameError> for Stop {
    fn from(error: FrameError) -> Self {
        Self::Refuse(error.refusal())
    }
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Away(refusal) => Self::Refuse(refusal),
            CallError::Reset(error) => Self::Reset(error),
        }
    }
}

impl Connection {
    /// Answers one call. An error resets the client's stream; dropping the future cancels the call
    /// on the other side.
    pub(super) async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Answer, BoxError> {
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
        let answer = match self.shared.gate.handling(&path) {
            Handling::Refuse(refusal) => {
                self.report(&path, &refusal);
                Ok(refusal.answer())
            }
            Handling::Pass => self.pass(head, body, None).await,
            Handling::Stream => {
                let mut draining = self.shared.draining.clone();
                let drain = Box::pin(async move {
                    // An error means that the relay is gone, which ends the stream as well.
                    drop(draining.wait_for(|draining| *draining).await);
                });
                self.pass(head, body, Some(drain)).await
            }
            Handling::Guard(method) => {
                stats::count(&self.shared.stats.guarded);
                match self.guard(method, head, body, &path).await {
                    Ok(answer) => Ok(answer),
                    Err(Stop::Reset(error)) => Err(error),
                    Err(Stop::Refuse(refusal)) => {
                        self.report(&path, &refusal);
                        Ok(refusal.answer())
                    }
                }
            }
        };
        Ok(answer?.map(|body| body.counted(in_flight)))
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
        drain: Option<BoxFuture<()>>,
    ) -> Result<Answer, BoxError> {
        stats::count(&self.shared.stats.passed);
        strip_containerd(&mut head.headers);
        let request = Request::from_parts(head, RequestBody::Carried(body));
        match self.upstream.call(request).await {
            Ok(response) => Ok(self.carry_back(response, drain)),
            Err(CallError::Away(refusal)) => Ok(refusal.answer()),
            Err(CallError::Reset(error)) => Err(error),
        }
    }

    fn carry_back(&self, response: Response<Incoming>, drain: Option<BoxFuture<()>>) -> Answer {
        response.map(|incoming| AnswerBody::carried(incoming, self.upstream.lost(), drain))
    }

    async fn guard(
        &self,
        method: &'static str,
        mut head: request::Parts,
        body: Incoming,
        path: &str,
    ) -> Result<Answer, Stop> {
        let arrived = Instant::now();
        let deadline = head
            .headers
            .get(TIMEOUT)
            .and_then(|value| timeout::parse(value.as_bytes()))
            .and_then(|wait| arrived.checked_add(wait));
        plain_grpc(&head.headers)?;
        let mut held = Gauge::new(&self.shared.stats, |stats| &stats.held_bytes, 0);
        let whole = self.collect(body, &mut held).await?;
        let message = frame::only_message(&whole, self.shared.config.max_message_bytes)?;
        let call = RawCall {
            method,
            message: message.clone(),
            deadline,
            peer: self.peer,
        };
        let (outgoing, settle) = match self.decide(call).await? {
            Verdict::Forward { message, settle } => (message, settle),
            Verdict::Answer(message) => return Ok(status::ok(&message)),
            Verdict::Refuse(refusal) => return Ok(refusal.answer()),
        };
        let framed = if same_memory(&outgoing, &message) {
            whole
        } else {
            frame::with_prefix(&outgoing).ok_or_else(|| Stop::Refuse(edited_too_long(path)))?
        };
        strip_containerd(&mut head.headers);
        pass_on(deadline, &mut head.headers)?;
        let request = Request::from_parts(head, RequestBody::Whole(Some(framed)));
        match settle {
            None => Ok(self.carry_back(self.upstream.call(request).await?, None)),
            Some(settle) => self.settle(request, settle).await,
        }
    }

    /// The whole body, given up as soon as it cannot be one plain message within the limit.
    async fn collect(&self, mut body: Incoming, held: &mut Gauge) -> Result<Bytes, Stop> {
        let limit = self.shared.config.max_message_bytes;
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = poll_fn(|cx| poll_incoming(&mut body, cx)).await {
            let Ok(data) = frame.map_err(Stop::Reset)?.into_data() else {
                continue;
            };
            let now = held.add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if now > u64::try_from(self.shared.config.max_held_bytes).unwrap_or(u64::MAX) {
                return Err(Stop::Refuse(Refusal::new(
                    GrpcCode::ResourceExhausted,
                    "LIMIT: too many large requests at once; try again",
                )));
            }
            // Most requests come in one frame, which is then the message without any copy.
            if first.is_empty() && rest.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                }
                rest.extend_from_slice(&data);
            }
            let so_far: &[u8] = if rest.is_empty() { &first } else { &rest };
            if let Some(announced) = frame::announced(so_far, limit)? {
                let bytes = so_far.len().saturating_sub(frame::PREFIX);
                if bytes > announced {
                    let bytes = bytes.saturating_sub(announced);
                    return Err(FrameError::Trailing { bytes }.into());
                }
            }
        }
        Ok(if rest.is_empty() {
            first
        } else {
            rest.freeze()
        })
    }

    async fn decide(&self, call: RawCall) -> Result<Verdict, Stop> {
        let gate = self.shared.gate.clone();
        // The gate is called inside the task, so that nothing it does can stop the relay.
        self.on_decisions(async move { gate.decide(call).await })
            .await
    }

    async fn on_decisions<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Stop> {
        AbortOnDrop(self.shared.decisions.spawn(work))
            .await
            .map_err(|error| {
                Stop::Refuse(if error.is_panic() {
                    Refusal::new(
                        GrpcCode::Internal,
                        "INTERNAL: the decision on this call failed; see the log of pullguard",
                    )
                } else {
                    Refusal::new(
                        GrpcCode::Unavailable,
                        "INTERNAL: pullguard is stopping; try again",
                    )
                })
            })
    }

    async fn settle(
        &self,
        request: Request<RequestBody>,
        settle: Box<dyn Settle>,
    ) -> Result<Answer, Stop> {
        let (reply, answer) = match self.upstream.call(request).await {
            Ok(response) => self.complete(response).await,
            Err(error) => (UpstreamReply::Broken, Err(Stop::from(error))),
        };
        match self
            .on_decisions(async move { settle.settle(reply).await })
            .await?
        {
            Settled::Relay => answer,
            Settled::Refuse(refusal) => Ok(refusal.answer()),
            Settled::Answer(message) => Ok(status::ok(&message)),
        }
    }

    /// Waits for the complete answer: what it says, and the same once more to carry back.
    async fn complete(
        &self,
        response: Response<Incoming>,
    ) -> (UpstreamReply, Result<Answer, Stop>) {
        let limit = self.shared.config.max_message_bytes;
        let (head, mut body) = response.into_parts();
        let mut data: Vec<Bytes> = Vec::new();
        let mut bytes = 0_usize;
        let mut trailers = None;
        while let Some(frame) = poll_fn(|cx| poll_incoming(&mut body, cx)).await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return (UpstreamReply::Broken, Err(self.broken(error))),
            };
            match frame.into_data() {
                Ok(part) => {
                    bytes = bytes.saturating_add(part.len());
                    if bytes > limit.saturating_add(frame::PREFIX) {
                        let refusal = FrameError::TooLarge {
                            announced: bytes,
                            limit,
                        }
                        .refusal();
                        return (UpstreamReply::Broken, Err(Stop::Refuse(refusal)));
                    }
                    data.push(part);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        let reply = read_reply(&head, trailers.as_ref(), &data, limit);
        (
            reply,
            Ok(Response::from_parts(
                head,
                AnswerBody::replay(data, trailers),
            )),
        )
    }

    fn broken(&self, error: BoxError) -> Stop {
        match super::body::reset_reason(&*error) {
            Some(_) => Stop::Reset(error),
            None => Stop::Refuse(self.upstream.lost()),
        }
    }
}

/// Says the time that the decision left. With none left the stream is reset: the client stopped
/// waiting at this moment, and its own library says so.
fn pass_on(deadline: Option<Instant>, headers: &mut HeaderMap) -> Result<(), Stop> {
    let Some(deadline) = deadline else {
        return Ok(());
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Stop::Reset(h2::Error::from(h2::Reason::CANCEL).into()));
    }
    if let Ok(value) = HeaderValue::from_str(&timeout::format(left)) {
        headers.insert(TIMEOUT, value);
    }
    Ok(())
}

const TIMEOUT: &str = "grpc-timeout";
const ENCODING: &str = "grpc-encoding";

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
fn strip_containerd(headers: &mut HeaderMap) {
    let ours = |name: &http::HeaderName| name.as_str().starts_with("containerd");
    if !headers.keys().any(ours) {
        return;
    }
    let names: Vec<_> = headers.keys().filter(|name| ours(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// A guarded call is read by us and by containerd; both must read the same. Another codec or a
/// compressor could make them differ.
fn plain_grpc(headers: &HeaderMap) -> Result<(), Stop> {
    let mut types = headers
        .get_all(CONTENT_TYPE)
        .iter()
        .map(HeaderValue::as_bytes);
    let plain = matches!(
        types.next(),
        Some(b"application/grpc" | b"application/grpc+proto")
    );
    if !plain || types.next().is_some() {
        return Err(Stop::Refuse(Refusal::new(
            GrpcCode::InvalidArgument,
            "RPC-MALFORMED: the content type is not `application/grpc`; send that",
        )));
    }
    if headers
        .get_all(ENCODING)
        .iter()
        .any(|value| value != "identity")
    {
        return Err(FrameError::Compressed.into());
    }
    Ok(())
}

fn same_memory(one: &Bytes, other: &Bytes) -> bool {
    one.len() == other.len() && std::ptr::eq(one.as_ptr(), other.as_ptr())
}

fn edited_too_long(path: &str) -> Refusal {
    Refusal::new(
        GrpcCode::Internal,
        format!("INTERNAL: the edited request of `{path}` is longer than one gRPC message can be"),
    )
}

/// What a complete answer says.
fn read_reply(
    head: &response::Parts,
    trailers: Option<&HeaderMap>,
    data: &[Bytes],
    limit: usize,
) -> UpstreamReply {
    let trailers = trailers.unwrap_or(&head.headers);
    let code = trailers
        .get(STATUS)
        .and_then(|value| value.to_str().ok())
        .and_then(|digits| digits.parse::<i32>().ok());
    if head.status != StatusCode::OK || code != Some(GrpcCode::Ok.number()) {
        let message = trailers
            .get(MESSAGE)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        return UpstreamReply::Status {
            // OK in an answer that is not 200 is not OK.
            code: code
                .filter(|code| *code != 0)
                .unwrap_or(GrpcCode::Unknown.number()),
            message: status::percent_decode(message),
        };
    }
    let whole = match data {
        [only] => only.clone(),
        parts => Bytes::from(parts.concat()),
    };
    frame::only_message(&whole, limit).map_or(UpstreamReply::Broken, UpstreamReply::Ok)
}

/// A task that ends when nobody waits for it any more: the client gave up.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
