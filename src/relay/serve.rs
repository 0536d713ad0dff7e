//! The relay's thread: accepting, serving, draining.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::carry::{Connection, Shared};
use super::io::CoalescingIo;
use super::listen::SocketFile;
use super::stats::{self, Gauge, RelayStats};
use super::upstream::{CONNECTION_WINDOW, MAX_HEADER_LIST, Upstream};
use super::{Gate, ListenError, Listener, Peer, RelayConfig};

/// Streams that a client may open and reset before we looked at them (Rapid Reset,
/// CVE-2023-44487). A kubelet that cancels everything at once is under it; beyond it the
/// connection ends with ENHANCE_YOUR_CALM.
const MAX_PENDING_RESETS: usize = 4096;

/// How long the last answers of a cut drain may take to be sent.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Why the relay did not start.
#[derive(Debug)]
pub enum RelayError {
    /// The thread or its runtime could not be made, or the socket not be watched.
    Start {
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { source } => write!(f, "cannot start the relay: {source}"),
        }
    }
}

impl std::error::Error for RelayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { source } => Some(source),
        }
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every call was answered.
    Complete,
    /// The time was up first: what was left was answered UNAVAILABLE.
    Cut {
        /// Client connections that still had calls.
        connections: usize,
    },
    /// The relay's thread had already ended by itself.
    Gone,
}

/// The relay between one listening socket and one containerd.
#[derive(Debug)]
pub struct Relay;

impl Relay {
    /// Starts the relay on a thread of its own. Decisions run on `decisions`, which must outlive
    /// the relay; once it is gone, guarded calls are refused.
    ///
    /// # Errors
    ///
    /// [`RelayError::Start`].
    pub fn spawn(
        config: RelayConfig,
        listener: Listener,
        gate: Arc<dyn Gate>,
        decisions: Handle,
    ) -> Result<RelayHandle, RelayError> {
        let start = |source| RelayError::Start { source };
        let stats = Arc::new(RelayStats::default());
        let (stop, stopped) = watch::channel(false);
        let (done, drained) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(start)?;
        let file = listener.file();
        let (renew, renewed) = mpsc::channel(1);
        let socket = listener.socket.try_clone().map_err(start)?;
        let socket = {
            let _guard = runtime.enter();
            UnixListener::from_std(socket).map_err(start)?
        };
        let (bells, draining, ending) = Bells::new();
        let shared = Arc::new(Shared {
            config,
            gate,
            decisions,
            stats: stats.clone(),
            draining,
            ending,
            said_unheard: AtomicBool::new(false),
        });
        std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || {
                let place = Place { listener, renewed };
                let accepting = Accepting {
                    current: socket,
                    former: None,
                };
                let outcome = runtime.block_on(serve(shared, bells, stopped, accepting, place));
                if done.send(outcome).is_err() {
                    tracing::debug!("the relay ended and nobody waited for it");
                }
            })
            .map_err(start)?;
        Ok(RelayHandle {
            stop,
            drained,
            stats,
            door: Door {
                file: Arc::new(Mutex::new(file)),
                renew,
            },
        })
    }
}

/// A running relay. Dropping it starts a drain, as [`RelayHandle::shutdown`] does.
#[derive(Debug)]
pub struct RelayHandle {
    stop: watch::Sender<bool>,
    drained: oneshot::Receiver<Drained>,
    stats: Arc<RelayStats>,
    door: Door,
}

/// The way for new clients to a running relay. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    file: Arc<Mutex<SocketFile>>,
    renew: mpsc::Sender<Listener>,
}

impl Door {
    /// False once the path leads to no socket, or to another one: new clients then cannot reach us.
    pub fn is_reachable(&self) -> bool {
        self.lock().is_there()
    }

    /// Makes a new socket at the path, unless systemd holds it. Clients that are connected stay so.
    /// True if there is a new one.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`].
    pub fn renew(&self) -> Result<bool, ListenError> {
        let mut file = self.lock();
        let Some(listener) = file.bind_again()? else {
            return Ok(false);
        };
        *file = listener.file();
        // A relay that is gone, or has one to take already, needs none.
        Ok(self.renew.try_send(listener).is_ok())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SocketFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RelayHandle {
    /// The way for new clients.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// The counters, which outlive the relay.
    pub fn stats(&self) -> Arc<RelayStats> {
        self.stats.clone()
    }

    /// Stops accepting, removes our own socket file, says GOAWAY, ends server streams, waits for
    /// the calls in flight up to the drain timeout.
    pub async fn shutdown(self) -> Drained {
        self.stop.send_replace(true);
        self.drained.await.unwrap_or(Drained::Gone)
    }

    /// Resolves when the relay's thread ended by itself: the daemon then has to end, too.
    pub async fn ended(&mut self) {
        drop((&mut self.drained).await);
    }
}

/// Where connections come from; a seam for the tests of the loop.
trait Accept {
    fn accept(&mut self) -> impl Future<Output = io::Result<UnixStream>>;

    /// Accepts from another socket from now on.
    fn renew(&mut self, listener: &Listener) -> io::Result<()>;
}

struct Accepting {
    current: UnixListener,
    /// The one before it, where clients may still wait that came while its path led there.
    former: Option<UnixListener>,
}

impl Accept for Accepting {
    async fn accept(&mut self) -> io::Result<UnixStream> {
        let former = async {
            match &self.former {
                Some(former) => former.accept().await,
                None => std::future::pending().await,
            }
        };
        let accepted = tokio::select! {
            accepted = self.current.accept() => accepted,
            accepted = former => accepted,
        };
        accepted.map(|(stream, _)| stream)
    }

    fn renew(&mut self, listener: &Listener) -> io::Result<()> {
        let next = UnixListener::from_std(listener.socket.try_clone()?)?;
        self.former = Some(std::mem::replace(&mut self.current, next));
        Ok(())
    }
}

/// The socket that is served, and those that take its place.
struct Place {
    listener: Listener,
    renewed: mpsc::Receiver<Listener>,
}

/// What the loop tells the connections and their calls.
struct Bells {
    drain: watch::Sender<bool>,
    end: watch::Sender<bool>,
}

impl Bells {
    fn new() -> (Self, watch::Receiver<bool>, watch::Receiver<bool>) {
        let (drain, draining) = watch::channel(false);
        let (end, ending) = watch::channel(false);
        (Self { drain, end }, draining, ending)
    }
}

async fn serve(
    shared: Arc<Shared>,
    bells: Bells,
    mut stop: watch::Receiver<bool>,
    mut sockets: impl Accept,
    mut place: Place,
) -> Drained {
    let mut connections = JoinSet::new();
    let doors = Arc::new(Doors::default());
    let mut wait = Backoff::default();
    loop {
        let accepted = tokio::select! {
            // An error means that the handle is gone: drain as well.
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            Some(next) = place.renewed.recv() => {
                match sockets.renew(&next) {
                    Ok(()) => place.listener = next,
                    Err(error) => tracing::error!(error = %error, "the new socket cannot be used"),
                }
                continue;
            }
            accepted = sockets.accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                wait.reset();
                if let Some((guest, stream)) = admit(&shared, &doors, stream) {
                    connections.spawn(connection(shared.clone(), guest, stream));
                }
            }
            Err(error) => {
                stats::count(&shared.stats.accept_errors);
                // A peer that left before we looked is no reason to wait. Out of descriptors or
                // memory (EMFILE, ENFILE, ENOBUFS, ENOMEM) is: an accept loop must never end.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    let pause = wait.next();
                    tracing::warn!(error = %error, "cannot accept a connection; trying again");
                    tokio::select! {
                        _ = stop.wait_for(|stop| *stop) => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }
    // First the socket: who hears of the drain and comes again must not find it.
    drop(sockets);
    drop(place);
    bells.drain.send_replace(true);
    if all_end(&mut connections, shared.config.drain_timeout).await {
        return Drained::Complete;
    }
    let cut = connections.len();
    bells.end.send_replace(true);
    if !all_end(&mut connections, LAST_ANSWERS).await {
        connections.shutdown().await;
    }
    Drained::Cut { connections: cut }
}

/// Waits for the end of every connection; false if `patience` was not enough.
async fn all_end(connections: &mut JoinSet<()>, patience: Duration) -> bool {
    let ends = async { while connections.join_next().await.is_some() {} };
    tokio::time::timeout(patience, ends).await.is_ok()
}

/// Grows from 1 ms to 1 s while accepts fail.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(1_u64.checked_shl(self.0).unwrap_or(1000).min(1000));
        self.0 = self.0.saturating_add(1).min(16);
        pause
    }

    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Who is connected: connections per process.
#[derive(Debug, Default)]
struct Doors(Mutex<HashMap<Option<i32>, usize>>);

/// One admitted connection; leaves when dropped.
struct Guest {
    peer: Peer,
    doors: Arc<Doors>,
    _counted: Gauge,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.doors.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = inside.get_mut(&self.peer.pid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                inside.remove(&self.peer.pid);
            }
        }
    }
}

/// Lets a connection in, or closes it: a wrong user, too many in all, too many of one process.
fn admit(
    shared: &Arc<Shared>,
    doors: &Arc<Doors>,
    stream: UnixStream,
) -> Option<(Guest, UnixStream)> {
    let turn_away = |reason: &str| {
        stats::count(&shared.stats.turned_away);
        tracing::warn!(reason, "closed a client connection");
    };
    let Ok(credentials) = stream.peer_cred() else {
        turn_away("its user cannot be told");
        return None;
    };
    let peer = Peer {
        pid: credentials.pid(),
        uid: credentials.uid(),
        gid: credentials.gid(),
    };
    if peer.uid != 0 && peer.uid != nix::unistd::geteuid().as_raw() {
        turn_away("its user is neither root nor pullguard's own");
        return None;
    }
    let limit = shared.config.max_connections;
    let open = usize::try_from(shared.stats.connections.load(Relaxed)).unwrap_or(usize::MAX);
    let mut inside = doors.0.lock().unwrap_or_else(PoisonError::into_inner);
    let of_this = inside.get(&peer.pid).copied().unwrap_or(0);
    if open >= limit || of_this >= limit.div_ceil(2) {
        turn_away("too many connections");
        return None;
    }
    inside.insert(peer.pid, of_this.saturating_add(1));
    let counted = Gauge::new(&shared.stats, |stats| &stats.connections, 1);
    Some((
        Guest {
            peer,
            doors: doors.clone(),
            _counted: counted,
        },
        stream,
    ))
}

async fn connection(shared: Arc<Shared>, guest: Guest, stream: UnixStream) {
    let mut io = CoalescingIo::new(stream);
    let asked = io.asked();
    let mut stop = shared.draining.clone();
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(shared.config.handshake_timeout, io.expect_preface()) => {
            greeted.is_ok_and(|preface| preface.is_ok())
        }
        _ = stop.wait_for(|stop| *stop) => return,
    };
    if !greeted {
        stats::count(&shared.stats.turned_away);
        return;
    }
    let path: Arc<Path> = shared.config.upstream.as_path().into();
    let upstream = Upstream::new(path, shared.stats.clone());
    let connection = Arc::new(Connection {
        shared,
        peer: guest.peer,
        upstream,
        called: AtomicBool::new(false),
    });
    let called = connection.clone();
    let service = service_fn(move |request: Request<Incoming>| called.clone().call(request));
    let serving = Builder::new(TokioExecutor::new())
        .auto_date_header(false)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_streams(None)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(error = %error, "a client connection broke");
            }
            connection.say_if_unheard(&asked);
            return;
        }
        _ = stop.wait_for(|stop| *stop) => {}
    }
    serving.as_mut().graceful_shutdown();
    if let Err(error) = serving.await {
        tracing::debug!(error = %error, "a client connection broke while draining");
    }
    connection.say_if_unheard(&asked);
    drop(guest);
}

#[cfg(test)]
mod tests;
