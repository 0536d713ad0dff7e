//! A read-only HTTP/1.1 server for a handful of pages: metrics on loopback, the admin socket.
//!
//! Bounded: 16 clients at a time, 5 seconds for a request's head and 10 for everything, one
//! request a connection, no body is read. Answers GET and HEAD of known paths, nothing else.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The page.
    pub body: String,
}

/// Who may talk to a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// root and the daemon's own user.
    RootAndSelf,
}

const MAX_CLIENTS: usize = 16;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Out of descriptors: wait for some to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves pages to clients of a TCP listener, until the future is dropped. Only loopback
/// listeners are served.
///
/// # Errors
/// The listener's own address cannot be read, or is not loopback.
pub async fn serve_tcp<P>(listener: TcpListener, pages: P) -> io::Result<Infallible>
where
    P: Fn(&str) -> Option<Answer> + Send + Sync + 'static,
{
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(io::Error::other(format!(
            "`{address}` is not a loopback address"
        )));
    }
    let (pages, slots) = (Arc::new(pages), slots());
    loop {
        let slot = slot(&slots).await?;
        match listener.accept().await {
            Ok((stream, _)) => spawn(stream, pages.clone(), slot),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves pages to clients of a unix socket, until the future is dropped. Others than `clients`
/// are hung up on.
///
/// # Errors
/// None in practice; the type keeps the two servers alike.
pub async fn serve_unix<P>(
    listener: UnixListener,
    clients: Clients,
    pages: P,
) -> io::Result<Infallible>
where
    P: Fn(&str) -> Option<Answer> + Send + Sync + 'static,
{
    let (pages, slots) = (Arc::new(pages), slots());
    loop {
        let slot = slot(&slots).await?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let welcome = match (clients, stream.peer_cred()) {
                    (Clients::RootAndSelf, Ok(peer)) => {
                        peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw()
                    }
                    (Clients::RootAndSelf, Err(_)) => false,
                };
                if welcome {
                    spawn(stream, pages.clone(), slot);
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_CLIENTS))
}

async fn slot(slots: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    slots
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)
}

fn spawn<S, P>(stream: S, pages: Arc<P>, slot: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Fn(&str) -> Option<Answer> + Send + Sync + 'static,
{
    tokio::spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let response = respond(&request, &*pages);
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .keep_alive(false)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        // A client that goes away or talks nonsense is no event.
        if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
            tracing::trace!(%error, "a client of a page went away");
        }
        drop(slot);
    });
}

fn respond<P>(request: &Request<Incoming>, pages: &P) -> Response<Full<Bytes>>
where
    P: Fn(&str) -> Option<Answer>,
{
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here\n",
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match pages(request.uri().path()) {
        Some(answer) => {
            let mut response = Response::new(Full::from(answer.body));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
            response
        }
        None => plain(StatusCode::NOT_FOUND, "no such page\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
