//! One guarded call: its whole message, the verdict, and what the verdict makes of it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, request, response};
use hyper::body::Incoming;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::body::{AnswerBody, BoxError, RequestBody, poll_incoming, reset_reason};
use super::carry::{Answer, Connection, strip_containerd};
use super::held::Held;
use super::status::{self, MESSAGE, STATUS};
use super::upstream::CallError;
use super::{GrpcCode, RawCall, Refusal, Settle, Settled, UpstreamReply, Verdict, timeout};
use crate::policy::reply::Rpc;
use crate::policy::{Denial, unjudged};
use crate::request::frame::PREFIX;
use crate::request::{HygieneError, HygieneKind, arriving, frame, unframe};

/// Why a guarded call ends without a verdict: with an answer after all, or by resetting its stream.
pub(super) enum Stop {
    /// To be told to the gate.
    Refuse(Refusal),
    Reset(BoxError),
}

impl Stop {
    fn denied(method: &str, denial: &Denial) -> Self {
        Self::Refuse(Refusal::of(Rpc::of(method), denial))
    }

    fn hygiene(method: &str, error: &HygieneError) -> Self {
        let rpc = match error.kind() {
            // gRPC's own word for an encoding that nobody offered ("compression.md").
            HygieneKind::Compressed => Rpc::Unlisted,
            HygieneKind::Malformed
            | HygieneKind::TooLarge
            | HygieneKind::UnknownField
            | HygieneKind::Refused
            | HygieneKind::Internal => Rpc::of(method),
        };
        Self::Refuse(Refusal::of(rpc, &unjudged::hygiene(method, error)))
    }
}

impl Connection {
    pub(super) async fn guard(
        &self,
        method: &'static str,
        mut head: request::Parts,
        body: Incoming,
    ) -> Result<Answer, Stop> {
        let arrived = Instant::now();
        let deadline = head
            .headers
            .get(TIMEOUT)
            .and_then(|value| timeout::parse(value.as_bytes()))
            .and_then(|wait| arrived.checked_add(wait));
        plain_grpc(method, &head.headers)?;
        let patience = self.shared.config.message_timeout;
        let whole = tokio::time::timeout(patience, self.collect(method, body))
            .await
            .map_err(|_| Stop::denied(method, &unjudged::stalled(method, patience)))??;
        let limit = self.shared.config.max_message_bytes;
        let message = unframe(&whole, limit)
            .map(|message| whole.slice_ref(message))
            .map_err(|error| Stop::hygiene(method, &error))?;
        let call = RawCall {
            method,
            message: message.clone(),
            deadline,
            peer: self.peer,
        };
        let (framed, settle) = match self.decide(call).await? {
            Verdict::Forward {
                message: outgoing,
                settle,
            } => (self.framed(whole, message, outgoing), settle),
            Verdict::Answer(message) => return Ok(status::ok(&message)),
            Verdict::Refuse(refusal) => return Ok(refusal.answer()),
        };
        let framed = match framed {
            Ok(framed) => framed,
            // The verdict is dropped unused, which is its own report.
            Err(denial) => return Ok(Refusal::of(Rpc::of(method), &denial).answer()),
        };
        strip_containerd(&mut head.headers);
        pass_on(deadline, &mut head.headers)?;
        // From here on nobody here holds the message: what is large goes as containerd takes it.
        let request = Request::from_parts(head, RequestBody::Whole(Some(framed)));
        match settle {
            None => match self.upstream.call(request).await {
                Ok(response) => Ok(self.carry_back(response, None)),
                Err(CallError::Away(refusal)) => Ok(refusal.answer()),
                Err(CallError::Reset(error)) => Err(Stop::Reset(error)),
            },
            Some(settle) => self.settle(method, request, settle).await,
        }
    }

    /// What goes to containerd: the body as it came, or an edited message with a prefix of its own.
    fn framed(&self, whole: Bytes, message: Bytes, outgoing: Bytes) -> Result<Bytes, Denial> {
        if same_memory(&outgoing, &message) {
            return Ok(whole);
        }
        let framed = frame(&outgoing)
            .map_err(|_| unjudged::internal("an edit that is longer than a message can be"))?;
        let mut held = Held::new(&self.shared.stats);
        // The edit is the guard's own: it is counted, and no reason to refuse.
        held.count(framed.len());
        Ok(held.until_dropped(framed.into()))
    }

    /// The whole body, given up as soon as it cannot be one plain message within the limit.
    async fn collect(&self, method: &str, mut body: Incoming) -> Result<Bytes, Stop> {
        let config = &self.shared.config;
        let mut held = Held::new(&self.shared.stats);
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = poll_fn(|cx| poll_incoming(&mut body, cx)).await {
            let Ok(data) = frame.map_err(Stop::Reset)?.into_data() else {
                continue;
            };
            held.add(data.len(), config)
                .map_err(|full| Stop::denied(method, &unjudged::crowded(method, full.limit)))?;
            // Most requests come in one frame, which is then the message without any copy.
            if first.is_empty() && rest.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.reserve(expected(&first, config.max_message_bytes));
                    rest.extend_from_slice(&std::mem::take(&mut first));
                }
                rest.extend_from_slice(&data);
            }
            let so_far: &[u8] = if rest.is_empty() { &first } else { &rest };
            arriving(so_far, config.max_message_bytes)
                .map_err(|error| Stop::hygiene(method, &error))?;
        }
        let whole = if rest.is_empty() {
            first
        } else {
            rest.freeze()
        };
        Ok(held.until_dropped(whole))
    }

    async fn decide(&self, call: RawCall) -> Result<Verdict, Stop> {
        let gate = self.shared.gate.clone();
        let method = call.method;
        // The gate is called inside the task, so that nothing it does can stop the relay.
        self.on_decisions(method, async move { gate.decide(call).await })
            .await
    }

    async fn on_decisions<T: Send + 'static>(
        &self,
        method: &str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Stop> {
        AbortOnDrop(self.shared.decisions.spawn(work))
            .await
            .map_err(|error| {
                let denial = if error.is_panic() {
                    unjudged::failed(method)
                } else {
                    unjudged::stopping(method)
                };
                Stop::denied(method, &denial)
            })
    }

    async fn settle(
        &self,
        method: &'static str,
        request: Request<RequestBody>,
        settle: Box<dyn Settle>,
    ) -> Result<Answer, Stop> {
        let (reply, answer) = match self.upstream.call(request).await {
            Ok(response) => self.complete(method, response).await,
            Err(CallError::Away(refusal)) => broken_by(refusal),
            Err(CallError::Reset(error)) => reset_by(method, error),
        };
        match self
            .on_decisions(method, async move { settle.settle(reply).await })
            .await?
        {
            Settled::Relay => answer.map_err(Stop::Reset),
            Settled::Refuse(refusal) => Ok(refusal.answer()),
            Settled::Answer(message) => Ok(status::ok(&message)),
        }
    }

    /// Waits for the complete answer: what it says, and the same once more to carry back.
    async fn complete(&self, method: &str, response: Response<Incoming>) -> Complete {
        let limit = self.shared.config.max_message_bytes;
        let (head, mut body) = response.into_parts();
        let mut data: Vec<Bytes> = Vec::new();
        let mut bytes = 0_usize;
        let mut trailers = None;
        while let Some(frame) = poll_fn(|cx| poll_incoming(&mut body, cx)).await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) if reset_reason(&*error).is_some() => return reset_by(method, error),
                Err(_) => return broken_by(Refusal::clone(&self.upstream.lost())),
            };
            match frame.into_data() {
                Ok(part) => {
                    bytes = bytes.saturating_add(part.len());
                    if bytes > limit.saturating_add(PREFIX) {
                        let denial = unjudged::answer_too_large(method, limit);
                        return broken_by(Refusal::of(Rpc::of(method), &denial));
                    }
                    data.push(part);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        let reply = read_reply(&head, trailers.as_ref(), &data, limit);
        let answer = Response::from_parts(head, AnswerBody::replay(data, trailers));
        (reply, Ok(answer))
    }
}

/// What a settlement is told, and what the client gets if it changes nothing.
type Complete = (UpstreamReply, Result<Answer, BoxError>);

fn broken_by(refusal: Refusal) -> Complete {
    let answer = refusal.answer();
    (UpstreamReply::Broken(refusal), Ok(answer))
}

fn reset_by(method: &str, error: BoxError) -> Complete {
    let denial = unjudged::unusable(method, "was broken off by it");
    let said = Refusal::of(Rpc::of(method), &denial);
    (UpstreamReply::Broken(said), Err(error))
}

/// How many bytes the body will have that begins so. Pages that nothing is written to cost nothing.
fn expected(first: &[u8], limit: usize) -> usize {
    match arriving(first, limit) {
        Ok(Some(length)) => length.saturating_add(PREFIX),
        Ok(None) | Err(_) => 0,
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

/// A guarded call is read by us and by containerd; both must read the same. Another codec or a
/// compressor could make them differ.
fn plain_grpc(method: &str, headers: &HeaderMap) -> Result<(), Stop> {
    let mut types = headers
        .get_all(CONTENT_TYPE)
        .iter()
        .map(HeaderValue::as_bytes);
    let plain = matches!(
        types.next(),
        Some(b"application/grpc" | b"application/grpc+proto")
    );
    if !plain || types.next().is_some() {
        return Err(Stop::denied(method, &unjudged::content_type(method)));
    }
    if headers
        .get_all(ENCODING)
        .iter()
        .any(|value| value != "identity")
    {
        return Err(Stop::hygiene(method, &HygieneError::Compressed));
    }
    Ok(())
}

fn same_memory(one: &Bytes, other: &Bytes) -> bool {
    one.len() == other.len() && std::ptr::eq(one.as_ptr(), other.as_ptr())
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
    match unframe(&whole, limit) {
        Ok(message) => UpstreamReply::Ok(whole.slice_ref(message)),
        Err(_) => UpstreamReply::Unreadable,
    }
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
