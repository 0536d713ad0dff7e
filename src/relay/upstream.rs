//! The connection to containerd that belongs to one client connection: made at the first call,
//! made again after it broke.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;

use super::body::{BoxError, RequestBody, reset_reason};
use super::io::CoalescingIo;
use super::stats::{self, RelayStats};
use super::status::Refusal;
use crate::policy::reply::Rpc;
use crate::policy::unjudged;

/// Long error texts of runc and CNI plugins travel in `grpc-message`; the library's default of
/// 16 KiB for all headers would turn them into a broken stream.
pub(super) const MAX_HEADER_LIST: u32 = 16 << 20;

/// A stream that nobody reads fills its own window and then holds only itself. Were the
/// connection's window smaller than the sum of its streams', it would hold the others too.
pub(super) const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// What one stream that its client does not read may hold here (bytes): enough for a list of
/// 1,000 containers without a pause, little enough for 16 of them at once.
const STREAM_WINDOW: u32 = 768 * 1024;

/// Why a call got no answer's head.
#[derive(Debug)]
pub(super) enum CallError {
    /// Containerd is not there, or went away: say so.
    Away(Refusal),
    /// Containerd reset this stream: reset it towards the client too, with the same reason.
    Reset(BoxError),
}

/// Containerd, for one client connection.
#[derive(Debug)]
pub(super) struct Upstream {
    path: Arc<Path>,
    stats: Arc<RelayStats>,
    /// What to say when the connection broke under a call; made once, as every call carries it.
    lost: Arc<Refusal>,
    sender: Mutex<Option<SendRequest<RequestBody>>>,
    connecting: tokio::sync::Mutex<()>,
}

impl Upstream {
    pub(super) fn new(path: Arc<Path>, stats: Arc<RelayStats>) -> Self {
        let lost = away(
            &path,
            "it closed the connection before the answer was complete",
        );
        Self {
            path,
            stats,
            lost: Arc::new(lost),
            sender: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(()),
        }
    }

    /// Sends one request and waits for the head of its answer. Dropping the future resets the
    /// stream (CANCEL).
    pub(super) async fn call(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, CallError> {
        let failure = match self.sender().await?.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(failure) => failure,
        };
        // The connection died before it took the request: nothing was sent, so once more.
        let mut failure = failure;
        if let Some(request) = failure.take_message() {
            self.forget();
            match self.sender().await?.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(again) => failure = again,
            }
        }
        let error = failure.into_error();
        if reset_reason(&error).is_some() {
            return Err(CallError::Reset(error.into()));
        }
        Err(CallError::Away(Refusal::clone(&self.lost)))
    }

    /// What to say when the connection broke under a call.
    pub(super) fn lost(&self) -> Arc<Refusal> {
        self.lost.clone()
    }

    async fn sender(&self) -> Result<SendRequest<RequestBody>, CallError> {
        if let Some(sender) = self.living() {
            return Ok(sender);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(sender) = self.living() {
            return Ok(sender);
        }
        let sender = self.connect().await.map_err(|error| {
            stats::count(&self.stats.upstream_failures);
            CallError::Away(away(&self.path, class(&error)))
        })?;
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        Ok(sender)
    }

    fn living(&self) -> Option<SendRequest<RequestBody>> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender
            .as_ref()
            .filter(|sender| !sender.is_closed())
            .cloned()
    }

    fn forget(&self) {
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn connect(&self) -> io::Result<SendRequest<RequestBody>> {
        let socket = UnixStream::connect(&self.path).await?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .max_header_list_size(MAX_HEADER_LIST)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(usize::MAX)
            .max_concurrent_streams(None)
            // As many cancelled calls as the client likes may still be answered by containerd.
            .max_concurrent_reset_streams(1 << 20)
            .max_local_error_reset_streams(None)
            .handshake(TokioIo::new(CoalescingIo::new(socket)))
            .await
            .map_err(io::Error::other)?;
        stats::count(&self.stats.upstream_connects);
        let stats = self.stats.clone();
        tokio::spawn(async move {
            if connection.await.is_err() {
                stats::count(&stats.upstream_failures);
            }
        });
        Ok(sender)
    }
}

fn away(path: &Path, cause: &'static str) -> Refusal {
    let denial = unjudged::away(&path.to_string_lossy(), cause);
    Refusal::of(Rpc::Gated, &denial)
}

/// A cause class, the same at each retry.
fn class(error: &io::Error) -> &'static str {
    const CLASSES: [(io::ErrorKind, &str); 4] = [
        (io::ErrorKind::NotFound, "there is no socket"),
        (
            io::ErrorKind::ConnectionRefused,
            "nothing listens on the socket",
        ),
        (io::ErrorKind::PermissionDenied, "permission denied"),
        (
            io::ErrorKind::WouldBlock,
            "its queue of connections is full",
        ),
    ];
    CLASSES
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or("the connection failed", |(_, class)| class)
}
