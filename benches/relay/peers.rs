//! The other processes: the fake runtime, the splice, the relay.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use pullguard::limits::Limits;
use pullguard::relay::{CoalescingIo, Listener, Relay, RelayConfig};
use tokio::net::{UnixListener, UnixStream};

use crate::gate::gate;
use crate::load::Connection;
use crate::runtime::{self, HUGE};

/// What this binary is.
pub(crate) enum Role {
    Runtime {
        listen: PathBuf,
    },
    Splice {
        listen: PathBuf,
        upstream: PathBuf,
    },
    Relay {
        listen: PathBuf,
        upstream: PathBuf,
    },
    /// So many calls of one path, one after the other: for strace and callgrind.
    Load {
        socket: PathBuf,
        path: String,
        calls: usize,
    },
}

impl Role {
    pub(crate) fn from_arguments(arguments: &[String]) -> Option<Self> {
        let path = |index: usize| arguments.get(index).map(PathBuf::from);
        match arguments.first()?.as_str() {
            "role-runtime" => Some(Self::Runtime { listen: path(1)? }),
            "role-splice" => Some(Self::Splice {
                listen: path(1)?,
                upstream: path(2)?,
            }),
            "role-relay" => Some(Self::Relay {
                listen: path(1)?,
                upstream: path(2)?,
            }),
            "role-load" => Some(Self::Load {
                socket: path(1)?,
                path: arguments.get(2)?.clone(),
                calls: arguments.get(3)?.parse().ok()?,
            }),
            _ => None,
        }
    }

    fn command(&self) -> (&'static str, Vec<&Path>) {
        match self {
            Self::Runtime { listen } => ("role-runtime", vec![listen]),
            Self::Splice { listen, upstream } => ("role-splice", vec![listen, upstream]),
            Self::Relay { listen, upstream } => ("role-relay", vec![listen, upstream]),
            Self::Load { socket, .. } => ("role-load", vec![socket]),
        }
    }

    fn listen(&self) -> &Path {
        match self {
            Self::Runtime { listen } | Self::Splice { listen, .. } | Self::Relay { listen, .. } => {
                listen
            }
            Self::Load { socket, .. } => socket,
        }
    }

    /// Serves until killed.
    pub(crate) fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            match self {
                Self::Runtime { listen } => fake_runtime(&listen).await,
                Self::Splice { listen, upstream } => splice(&listen, &upstream).await,
                Self::Relay { listen, upstream } => relay(&listen, upstream).await,
                Self::Load {
                    socket,
                    path,
                    calls,
                } => {
                    let connection = Connection::open(&socket).await;
                    for _ in 0..calls {
                        connection.call(&path, &[0; 30]).await;
                    }
                }
            }
        });
    }
}

/// A process of ours; ends with its handle.
pub(crate) struct Child {
    process: std::process::Child,
    socket: PathBuf,
}

impl Child {
    pub(crate) fn start(role: &Role) -> Self {
        let (name, arguments) = role.command();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(name).args(arguments);
        Self::spawn(name, &mut command, role.listen())
    }

    /// Any process of ours that listens on `socket` once it is ready.
    pub(crate) fn spawn(name: &str, command: &mut Command, socket: &Path) -> Self {
        let child = Self {
            process: command.spawn().unwrap(),
            socket: socket.to_owned(),
        };
        let begin = Instant::now();
        while std::os::unix::net::UnixStream::connect(&child.socket).is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "{name} does not listen"
            );
            std::thread::yield_now();
        }
        child
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .expect("our own child");
    }
}

async fn relay(listen: &Path, upstream: PathBuf) {
    let decisions = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut handle = Relay::spawn(
        RelayConfig::new(upstream, &Limits::default()),
        Listener::bind(listen).unwrap(),
        gate(),
        decisions.handle().clone(),
    )
    .unwrap();
    handle.ended().await;
}

/// The floor: bytes from one socket to the other, 64 KB at a time.
async fn splice(listen: &Path, upstream: &Path) {
    let listener = UnixListener::bind(listen).unwrap();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = UnixStream::connect(upstream).await.unwrap();
        tokio::spawn(async move {
            let size = 64 * 1024;
            // An error is a peer that left, which is how each run ends.
            drop(tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, size, size).await);
        });
    }
}

/// Answers at once, from memory. Gathers its writes, as grpc-go does.
async fn fake_runtime(listen: &Path) {
    let answers = Answers {
        unary: framed(30),
        list: framed(300_000),
        item: framed(1024),
        huge: framed(12 << 20),
    };
    let listener = UnixListener::bind(listen).unwrap();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let answers = answers.clone();
        tokio::spawn(async move {
            let handshake = h2::server::Builder::new()
                .initial_window_size(1 << 20)
                .initial_connection_window_size(1 << 30)
                .max_send_buffer_size(64 << 20)
                .handshake::<_, Bytes>(CoalescingIo::new(socket));
            let Ok(mut server) = handshake.await else {
                return;
            };
            while let Some(Ok((request, respond))) = server.accept().await {
                tokio::spawn(answer(answers.clone(), request, respond));
            }
        });
    }
}

#[derive(Clone)]
struct Answers {
    unary: Bytes,
    list: Bytes,
    item: Bytes,
    huge: Bytes,
}

fn framed(length: u32) -> Bytes {
    let mut out = vec![0];
    out.extend(length.to_be_bytes());
    out.resize(out.len() + usize::try_from(length).unwrap(), 0x5a);
    out.into()
}

async fn answer(
    answers: Answers,
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) {
    let (head, mut body) = request.into_parts();
    let mut request = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        request.extend_from_slice(&data);
    }
    let mut reply = Response::new(());
    reply
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    let Ok(mut stream) = respond.send_response(reply, false) else {
        return;
    };
    let (message, count) = match head.uri.path() {
        "/bench/List" => (answers.list, 1),
        "/bench/Stream" => (answers.item, 500),
        "/bench/Huge" | HUGE => (answers.huge, 1),
        path if !path.starts_with("/bench/") => {
            let message = runtime::answer(path, request.get(5..).unwrap_or_default());
            (crate::load::framed(&message), 1)
        }
        _ => (answers.unary, 1),
    };
    for _ in 0..count {
        if stream.send_data(message.clone(), false).is_err() {
            return;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    // A client that left is how each run ends.
    drop(stream.send_trailers(trailers));
}
