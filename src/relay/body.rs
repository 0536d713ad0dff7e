//! The bodies that cross the relay, either way.

use std::collections::VecDeque;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::stats::Gauge;
use super::status::Refusal;
use super::{BoxFuture, GrpcCode};

/// DATA frames below this size are gathered (4 KiB), and up to this size (one frame of HTTP/2's default
/// size). The messages of a stream are small and many, and each frame costs the HTTP/2 library more
/// than its bytes do.
const SMALL: usize = 4 * 1024;
const GATHERED: usize = 16 * 1024;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;
type Step = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// A request body on its way to containerd. Never tells its size: a `content-length` would be a
/// header that the client did not send.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// As it comes.
    Carried(Incoming),
    /// One framed message.
    Whole(Option<Bytes>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Step {
        match &mut *self {
            Self::Carried(incoming) => poll_incoming(incoming, cx),
            Self::Whole(message) => Poll::Ready(message.take().map(|all| Ok(Frame::data(all)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Carried(incoming) => incoming.is_end_stream(),
            Self::Whole(message) => message.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The next frame; an end without END_STREAM is an error. hyper reads RST_STREAM(NO_ERROR) as the
/// end of a body, which would turn a broken call into a complete one on the other side.
pub(super) fn poll_incoming(incoming: &mut Incoming, cx: &mut Context<'_>) -> Step {
    match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
        Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
        Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
        None if incoming.is_end_stream() => Poll::Ready(None),
        None => Poll::Ready(Some(Err(h2::Error::from(h2::Reason::NO_ERROR).into()))),
    }
}

/// The RST_STREAM that the other side sent, if `error` is one; anything else means that the
/// connection itself is gone.
pub(super) fn reset_reason(error: &(dyn Error + 'static)) -> Option<h2::Reason> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(h2) = current.downcast_ref::<h2::Error>() {
            return if h2.is_io() || h2.is_go_away() {
                None
            } else {
                h2.reason()
            };
        }
        cause = current.source();
    }
    None
}

/// A response body on its way to the client.
pub(super) struct AnswerBody {
    source: Source,
    in_flight: Option<Gauge>,
}

enum Source {
    Carried(Carried),
    Replay {
        data: VecDeque<Bytes>,
        trailers: Option<HeaderMap>,
    },
    Done,
}

struct Carried {
    incoming: Incoming,
    /// What to tell the client if containerd's connection breaks under the answer.
    broken: Arc<Refusal>,
    /// Resolves when the relay drains; only for server streams.
    drain: Option<BoxFuture<()>>,
    /// What came behind gathered data, and is the next step.
    next: Option<Option<Result<Frame<Bytes>, BoxError>>>,
}

impl AnswerBody {
    pub(super) fn empty() -> Self {
        Self {
            source: Source::Done,
            in_flight: None,
        }
    }

    /// Frames that are all here.
    pub(super) fn replay(
        data: impl IntoIterator<Item = Bytes>,
        trailers: Option<HeaderMap>,
    ) -> Self {
        let data: VecDeque<Bytes> = data.into_iter().collect();
        let source = if data.is_empty() && trailers.is_none() {
            Source::Done
        } else {
            Source::Replay { data, trailers }
        };
        Self {
            source,
            in_flight: None,
        }
    }

    /// Frames as containerd sends them. A connection that breaks ends the answer with `broken` in
    /// trailers, a drain ends it with UNAVAILABLE, a reset stays that reset.
    pub(super) fn carried(
        incoming: Incoming,
        broken: Arc<Refusal>,
        drain: Option<BoxFuture<()>>,
    ) -> Self {
        Self {
            source: Source::Carried(Carried {
                incoming,
                broken,
                drain,
                next: None,
            }),
            in_flight: None,
        }
    }

    /// Counts the call as in flight until the body is dropped.
    pub(super) fn counted(mut self, in_flight: Gauge) -> Self {
        self.in_flight = Some(in_flight);
        self
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Step {
        let step = match &mut self.source {
            Source::Done => return Poll::Ready(None),
            Source::Replay { data, trailers } => {
                let frame = data.pop_front().map(Frame::data);
                frame
                    .or_else(|| trailers.take().map(Frame::trailers))
                    .map(Ok)
            }
            Source::Carried(carried) => ready!(carried.poll(cx)),
        };
        // After trailers nothing follows; dropping the stream here resets it if it is still open.
        if step
            .as_ref()
            .is_none_or(|frame| frame.as_ref().map_or(true, Frame::is_trailers))
        {
            self.source = Source::Done;
        }
        Poll::Ready(step)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Done => true,
            Source::Replay { data, trailers } => data.is_empty() && trailers.is_none(),
            Source::Carried(carried) => carried.next.is_none() && carried.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Carried {
    fn poll(&mut self, cx: &mut Context<'_>) -> Step {
        if let Some(step) = self.next.take() {
            return Poll::Ready(step);
        }
        let frame = match ready!(self.poll_one(cx)) {
            Some(Ok(frame)) => frame,
            step => return Poll::Ready(step),
        };
        let frame = match frame.into_data() {
            Ok(data) if data.len() < SMALL => Frame::data(self.gather(data, cx)),
            Ok(data) => Frame::data(data),
            Err(frame) => frame,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    /// `first`, and behind it the small DATA frames that are here already: waits for none. What ends
    /// them is kept for the next poll.
    fn gather(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        let mut all = BytesMut::new();
        while all.len().max(first.len()) + SMALL <= GATHERED && !self.incoming.is_end_stream() {
            let step = match self.poll_one(cx) {
                Poll::Pending => break,
                Poll::Ready(step) => step.map(|step| step.map(Frame::into_data)),
            };
            match step {
                Some(Ok(Ok(data))) if data.len() < SMALL => {
                    if all.is_empty() {
                        all.reserve(GATHERED);
                        all.extend_from_slice(&first);
                    }
                    all.extend_from_slice(&data);
                    continue;
                }
                Some(Ok(Ok(data))) => self.next = Some(Some(Ok(Frame::data(data)))),
                Some(Ok(Err(frame))) => self.next = Some(Some(Ok(frame))),
                Some(Err(error)) => self.next = Some(Some(Err(error))),
                None => self.next = Some(None),
            }
            break;
        }
        if all.is_empty() { first } else { all.freeze() }
    }

    fn poll_one(&mut self, cx: &mut Context<'_>) -> Step {
        if let Poll::Ready(step) = poll_incoming(&mut self.incoming, cx) {
            return Poll::Ready(match step {
                Some(Err(error)) if reset_reason(&*error).is_none() => {
                    Some(Ok(ending(&self.broken)))
                }
                Some(Err(error)) => Some(Err(error)),
                Some(Ok(frame)) => Some(Ok(frame)),
                None => None,
            });
        }
        let Some(drain) = &mut self.drain else {
            return Poll::Pending;
        };
        ready!(drain.as_mut().poll(cx));
        Poll::Ready(Some(Ok(ending(&stream_ends()))))
    }
}

/// What a server stream ends with when the relay drains.
pub(super) fn stream_ends() -> Refusal {
    Refusal::new(
        GrpcCode::Unavailable,
        "pullguard is stopping; the stream ends here, open it again",
    )
}

fn ending(refusal: &Refusal) -> Frame<Bytes> {
    let mut trailers = HeaderMap::with_capacity(2);
    refusal.write(&mut trailers);
    Frame::trailers(trailers)
}
