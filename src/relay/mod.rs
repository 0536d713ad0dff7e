//! Carries calls between the kubelet and containerd, byte for byte.
//!
//! One thread relays. Guarded calls are handed to a [`Gate`] on another runtime; everything else
//! goes through unseen. Refuses: paths that the gate does not know, guarded requests that are not
//! one uncompressed message within the limit, peers that are neither root nor the daemon's user.

mod body;
mod carry;
mod guarded;
mod held;
mod io;
mod listen;
mod serve;
mod stats;
mod status;
mod timeout;
mod upstream;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::limits::Limits;

pub use io::CoalescingIo;
pub use listen::{InheritedSockets, ListenError, Listener};
pub use serve::{Door, Drained, Relay, RelayError, RelayHandle};
pub use stats::{RelayCounts, RelayStats};
pub use status::{GrpcCode, Refusal};

/// A boxed future that may run on another thread.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The process at the other end of a client connection, as the kernel tells it (SO_PEERCRED).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id when it connected; none if it lives in a process namespace that we cannot see.
    pub pid: Option<i32>,
    /// Effective user id when it connected.
    pub uid: u32,
    /// Effective group id when it connected.
    pub gid: u32,
}

/// A guarded call as the relay hands it over: everything that the decision may use.
#[derive(Clone, Debug)]
pub struct RawCall {
    /// The label that [`Gate::handling`] gave for this path.
    pub method: &'static str,
    /// The one request message, without the 5-byte gRPC prefix, exactly as it came.
    pub message: Bytes,
    /// When the client stops waiting (`grpc-timeout`, counted from arrival); none if it did not
    /// say, or said something that no clock can hold.
    pub deadline: Option<Instant>,
    /// Who calls.
    pub peer: Peer,
}

/// What becomes of a guarded call.
pub enum Verdict {
    /// Send `message` to containerd: the received bytes, or those with an edit appended. With
    /// `settle`, containerd's complete answer is held until it has been seen; without, the answer
    /// streams through.
    Forward {
        /// The request message, without prefix.
        message: Bytes,
        /// Looks at the complete answer before the client gets it.
        settle: Option<Box<dyn Settle>>,
    },
    /// Answer OK with this message (without prefix); containerd sees nothing.
    Answer(Bytes),
    /// Answer with this status; containerd sees nothing.
    Refuse(Refusal),
}

impl std::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forward { message, settle } => f
                .debug_struct("Forward")
                .field("bytes", &message.len())
                .field("settle", &settle.is_some())
                .finish(),
            Self::Answer(message) => f.debug_tuple("Answer").field(&message.len()).finish(),
            Self::Refuse(refusal) => f.debug_tuple("Refuse").field(refusal).finish(),
        }
    }
}

/// Sees containerd's answer to a forwarded call before the client does. Dropped unused if the
/// client gave up first.
pub trait Settle: Send {
    /// Runs on the decision runtime; a panic becomes an INTERNAL refusal.
    fn settle(self: Box<Self>, reply: UpstreamReply) -> BoxFuture<Settled>;
}

/// Containerd's complete answer to one forwarded call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamReply {
    /// Status OK with one message (without prefix).
    Ok(Bytes),
    /// Any other status.
    Status {
        /// `grpc-status`; 2 (UNKNOWN) if it was missing or not a number.
        code: i32,
        /// `grpc-message`, percent-decoded, invalid UTF-8 replaced.
        message: String,
    },
    /// Status OK, and with it something else than one uncompressed message: whatever was done,
    /// nothing is known of it.
    Unreadable,
    /// No complete answer: containerd is away, the stream or the connection broke, or the answer
    /// is over the limit. With it, what the client is told under [`Settled::Relay`] (a reset of
    /// containerd's stays a reset, of which this is the text for reporting).
    Broken(Refusal),
}

/// What the client gets once the answer was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Containerd's answer, untouched (for [`UpstreamReply::Broken`]: the break itself, or its
    /// refusal).
    Relay,
    /// This status instead.
    Refuse(Refusal),
    /// OK with this message (without prefix) instead.
    Answer(Bytes),
}

/// How a path is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Carry it unseen, one answer.
    Pass,
    /// Carry it unseen; the answer is a server stream, which a drain ends with UNAVAILABLE.
    Stream,
    /// Ask [`Gate::decide`]; the label comes back in [`RawCall::method`].
    Guard(&'static str),
    /// Answer this; containerd sees nothing.
    Refuse(Refusal),
}

/// A refusal that the relay spoke itself, for reporting.
#[derive(Clone, Copy, Debug)]
pub struct RefusedCall<'a> {
    /// The raw `:path`, untrusted.
    pub path: &'a str,
    /// What the client was told.
    pub refusal: &'a Refusal,
    /// Who called.
    pub peer: Peer,
}

/// The decision, seen from the relay.
pub trait Gate: Send + Sync + 'static {
    /// How to treat a call to this raw `:path` (exact bytes, query included). Runs on the relay
    /// thread for every call: a table lookup, nothing slower.
    fn handling(&self, path: &str) -> Handling;

    /// Decides one guarded call. Runs on the decision runtime; the future is dropped when the
    /// client gives up, a panic becomes an INTERNAL refusal.
    fn decide(&self, call: RawCall) -> BoxFuture<Verdict>;

    /// Told of each call that ended without a verdict: unknown paths, malformed or oversized
    /// guarded requests, and panics of [`Gate::decide`] or a [`Settle`]. What happens after a
    /// verdict is told to its [`Settle`] alone. Runs on the relay thread; must not block.
    fn refused(&self, call: RefusedCall<'_>);
}

/// What the relay needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Containerd's socket.
    pub upstream: PathBuf,
    /// Largest guarded message, either way, without its prefix (bytes).
    pub max_message_bytes: usize,
    /// Guarded requests of more than 256 KiB held at once, over all calls (bytes); more is
    /// RESOURCE_EXHAUSTED.
    pub max_held_bytes: usize,
    /// The same for the smaller ones.
    pub max_held_small_bytes: usize,
    /// From the head of a guarded request to the end of its message.
    pub message_timeout: Duration,
    /// Client connections at once; one process may hold half of them.
    pub max_connections: usize,
    /// From accept to the end of the HTTP/2 preface.
    pub handshake_timeout: Duration,
    /// How long a drain waits for calls in flight; what is left is then answered UNAVAILABLE.
    pub drain_timeout: Duration,
}

impl RelayConfig {
    /// The relay of `upstream` within `limits`.
    pub fn new(upstream: impl Into<PathBuf>, limits: &Limits) -> Self {
        Self {
            upstream: upstream.into(),
            max_message_bytes: limits.max_message_bytes,
            max_held_bytes: limits.max_held_bytes,
            max_held_small_bytes: limits.max_held_small_bytes,
            message_timeout: limits.message_timeout,
            max_connections: limits.max_connections,
            handshake_timeout: limits.handshake_timeout,
            drain_timeout: limits.drain_timeout,
        }
    }
}
