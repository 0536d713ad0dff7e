//! Wires everything up and runs it. One thread relays, a second runtime decides, and nothing that
//! fails at start keeps the socket away: a node without its CRI socket can start nothing at all.

pub mod admin;
mod again;
mod policy;
mod status;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::guard::Guard;
use crate::relay::{
    Drained, InheritedSockets, ListenError, Listener, Relay, RelayConfig, RelayError, RelayHandle,
};
use crate::report::serve_tcp;
use crate::settings::{Loaded, Settings};

pub use policy::{CompileLocal, LocalPolicy};

use policy::PolicyKeeper;
use status::StatusBoard;
pub(crate) use wire::architecture;

/// How often running containers are compared with those that passed here.
const COMPARE: Duration = Duration::from_secs(30);
/// How long facts may take to reach the disk at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Why the daemon does not serve.
#[derive(Debug)]
pub enum DaemonError {
    /// There is no socket for the kubelet.
    Listen {
        /// Why.
        source: ListenError,
    },
    /// The relay did not start.
    Relay {
        /// Why.
        source: RelayError,
    },
    /// A runtime or a signal handler could not be made.
    System {
        /// What the system said.
        source: std::io::Error,
    },
    /// The settings name a containerd namespace that cannot be one.
    Upstream {
        /// Why.
        why: String,
    },
    /// The relay's thread ended by itself.
    RelayGone,
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { source } => fmt::Display::fmt(source, f),
            Self::Relay { source } => fmt::Display::fmt(source, f),
            Self::System { source } => write!(f, "the system refused: {source}"),
            Self::Upstream { why } => write!(f, "`containerd_namespace`: {why}"),
            Self::RelayGone => f.write_str("the relay ended by itself; see the log"),
        }
    }
}

impl std::error::Error for DaemonError {}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// [`DaemonError`]: before serving, or if the relay ended by itself.
pub fn run(loaded: Loaded, compile: CompileLocal) -> Result<(), DaemonError> {
    let sockets = InheritedSockets::from_env();
    let decisions = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("decide")
        .enable_all()
        .build()
        .map_err(|source| DaemonError::System { source })?;
    let handle = decisions.handle().clone();
    let (guard, ended) = decisions.block_on(serve(loaded, compile, sockets, handle))?;
    // What still decides has nobody left to answer, and is reported as it ends.
    decisions.shutdown_timeout(Duration::from_secs(1));
    guard.flush(FLUSH);
    ended
}

/// Serves to the end: how that came, and the guard, whose last words are not written yet.
async fn serve(
    mut loaded: Loaded,
    compile: CompileLocal,
    mut sockets: InheritedSockets,
    handle: Handle,
) -> Result<(Guard, Result<(), DaemonError>), DaemonError> {
    // From here on a signal waits for the end of the start, and ends nothing half-way.
    let signals = Signals::install()?;
    let settings = Arc::new(loaded.settings.clone());
    // The socket first: its lock keeps a second daemon away from the state, and a kubelet that
    // connects meanwhile waits in its queue.
    let listener = listen(&mut loaded, &mut sockets)?;
    let socket = listener.path().to_owned();
    let wired = wire::parts(&settings, loaded.guarded_paths(&socket)).await?;
    let guard = Guard::new(wired.parts, "no policy was read yet");
    let keeper = Arc::new(PolicyKeeper::new(
        guard.clone(),
        &settings,
        compile,
        wired.state.clone(),
    ));
    keeper.begin().await;
    let config = RelayConfig::new(&settings.upstream, &settings.limits);
    let relay = Relay::spawn(config, listener, Arc::new(guard.clone()), handle.clone())
        .map_err(|source| DaemonError::Relay { source })?;
    let board = Arc::new(StatusBoard::new(
        &loaded,
        &guard,
        &relay,
        socket.clone(),
        Arc::clone(&keeper),
    ));
    serve_status(&settings, &guard, &board).await;
    handle.spawn(Arc::clone(&keeper).watch());
    let pending = wired.later.is_some();
    handle.spawn(compare(guard.clone(), Arc::clone(&board), pending));
    let judging = again::judge_running(guard.clone(), Arc::clone(&board), pending);
    let judging = handle.spawn(judging);
    if let Some(later) = wired.later {
        handle.spawn(later.run(guard.clone()));
    }
    handle.spawn(Arc::clone(&board).watch_upstream());
    tracing::info!(
        listen = %socket.display(),
        upstream = %settings.upstream.display(),
        mode = settings.mode.as_str(),
        "serving"
    );
    notify(&[sd_notify::NotifyState::Ready]);
    let ended = wait(relay, signals, &keeper, &judging).await;
    Ok((guard, ended))
}

/// The socket that the kubelet connects to. One that was passed and that the settings do not name
/// is served all the same, if it can be no other: a kubelet that waits in its queue for nobody would
/// hang, and a mistake in the settings must not take the node down.
fn listen(loaded: &mut Loaded, sockets: &mut InheritedSockets) -> Result<Listener, DaemonError> {
    let failed = |source| DaemonError::Listen { source };
    let settings = &loaded.settings;
    if let Some(listener) = sockets.take(&settings.listen).map_err(failed)? {
        return Ok(listener);
    }
    if let Some(listener) = sockets.take_only(&settings.admin_listen).map_err(failed)? {
        let problem = format!(
            "`listen` is `{}`, and the service manager passed `{}`: that one is served",
            settings.listen.display(),
            listener.path().display()
        );
        tracing::warn!("{problem}");
        loaded.problem = Some(match loaded.problem.take() {
            Some(before) => format!("{before}; {problem}"),
            None => problem,
        });
        return Ok(listener);
    }
    for path in sockets.left() {
        tracing::warn!(path = %path.display(), "a socket was passed that no setting names");
    }
    Listener::bind(&settings.listen).map_err(failed)
}

/// Status and metrics are a convenience: without them the node is guarded all the same.
async fn serve_status(settings: &Settings, guard: &Guard, board: &Arc<StatusBoard>) {
    let source = board.source();
    guard.reporter().metrics().watch(Arc::clone(&source));
    match admin::bind(&settings.admin_listen) {
        Ok(listener) => {
            tokio::spawn(async move {
                let Err(error) = admin::serve(listener, source).await;
                tracing::error!("the admin socket ended: {error}");
            });
        }
        Err(error) => tracing::error!("no admin socket: {error}"),
    }
    let Some(address) = settings.report.metrics_listen else {
        return;
    };
    match TcpListener::bind(address).await {
        Ok(listener) => {
            let pages = guard.reporter().metrics_page();
            tokio::spawn(async move {
                let Err(error) = serve_tcp(listener, pages).await;
                tracing::error!("the metrics page ended: {error}");
            });
        }
        Err(error) => tracing::error!(%address, "no metrics page: {error}"),
    }
}

/// Every now and then: is there a container that nobody judged? Not while it is `pending` what was
/// here before the guard: all of it would look like that.
async fn compare(guard: Guard, board: Arc<StatusBoard>, pending: bool) {
    let mut ticks = tokio::time::interval(COMPARE);
    loop {
        ticks.tick().await;
        if pending && guard.adoption().is_none() {
            continue;
        }
        let guard = guard.clone();
        // A task of its own: a panic in it is logged, and the next comparison comes.
        let found = match tokio::spawn(async move { guard.unguarded().await }).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => {
                tracing::debug!("containers were not compared: {error}");
                None
            }
            Err(_) => {
                tracing::error!("containers were not compared: the guard failed");
                None
            }
        };
        board.compared(found);
    }
}

/// The signals that the daemon listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn install() -> Result<Self, DaemonError> {
        let install = |kind| signal(kind).map_err(|source| DaemonError::System { source });
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            reload: install(SignalKind::hangup())?,
        })
    }
}

async fn wait(
    mut relay: RelayHandle,
    mut signals: Signals,
    keeper: &PolicyKeeper,
    judging: &JoinHandle<()>,
) -> Result<(), DaemonError> {
    loop {
        tokio::select! {
            () = relay.ended() => return Err(DaemonError::RelayGone),
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.reload.recv() => keeper.look_now(),
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("draining");
    judging.abort();
    match relay.shutdown().await {
        Drained::Complete => tracing::info!("drained: every call was answered"),
        Drained::Cut { connections } => {
            tracing::warn!(connections, "the time to drain was up first");
        }
        Drained::Gone => return Err(DaemonError::RelayGone),
    }
    Ok(())
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager was not told: {error}");
    }
}
