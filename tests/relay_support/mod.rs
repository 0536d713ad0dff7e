//! A fake container runtime, a bare HTTP/2 client and a scripted gate around one relay.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use pullguard::limits::Limits;
use pullguard::relay::{
    BoxFuture, Gate, GrpcCode, Handling, Listener, RawCall, Refusal, RefusedCall, Relay,
    RelayConfig, RelayHandle, Verdict,
};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(crate) const PASS: &str = "/runtime.v1.RuntimeService/Version";
pub(crate) const STREAM: &str = "/runtime.v1.RuntimeService/GetContainerEvents";
pub(crate) const GUARD: &str = "/runtime.v1.ImageService/PullImage";

/// The table of the scripted gate fails on it.
pub(crate) const PANIC: &str = "/a/Panic";

/// Fails the test instead of hanging it.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("nothing happened for 20 s")
}

/// One gRPC message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend(message);
    out
}

pub(crate) fn trailers(status: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", status.parse().unwrap());
    map
}

/// Header lines in order, as they crossed the wire.
pub(crate) fn lines(map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    map.iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

// ---- the fake runtime

/// One call as the fake runtime got it.
pub(crate) struct FakeCall {
    pub(crate) request: http::request::Parts,
    pub(crate) body: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
    /// Number of the connection that it came on, from 1.
    pub(crate) connection: usize,
    /// Ends this connection without a word when anything is sent.
    pub(crate) cut: mpsc::UnboundedSender<Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Cut,
    GoAway,
}

impl FakeCall {
    /// The whole request body and its trailers.
    pub(crate) async fn read(&mut self) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
        read_all(&mut self.body).await
    }

    pub(crate) fn head(&mut self) -> SendStream<Bytes> {
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        self.respond.send_response(head, false).unwrap()
    }

    /// A plain OK answer.
    pub(crate) fn ok(&mut self, message: &[u8]) {
        let mut stream = self.head();
        stream.send_data(framed(message).into(), false).unwrap();
        stream.send_trailers(trailers("0")).unwrap();
    }
}

pub(crate) async fn read_all(
    body: &mut RecvStream,
) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok((all, body.trailers().await?))
}

type Handler = Arc<dyn Fn(FakeCall) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

pub(crate) struct Fake {
    task: JoinHandle<()>,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    pub(crate) connections: Arc<Mutex<usize>>,
}

impl Fake {
    pub(crate) fn start<F, Fut>(path: &Path, handler: F) -> Self
    where
        F: Fn(FakeCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call| Box::pin(handler(call)));
        let listener = UnixListener::bind(path).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let (log, count) = (seen.clone(), connections.clone());
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let number = {
                    let mut count = count.lock().unwrap();
                    *count += 1;
                    *count
                };
                serving.spawn(serve(socket, number, handler.clone(), log.clone()));
            }
        });
        Self {
            task,
            seen,
            connections,
        }
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Ends all connections and the listener, as a killed runtime does, and removes the socket.
    pub(crate) async fn kill(self, path: &Path) {
        self.task.abort();
        drop(self.task.await);
        std::fs::remove_file(path).unwrap();
    }
}

async fn serve(
    socket: UnixStream,
    connection: usize,
    handler: Handler,
    log: Arc<Mutex<Vec<String>>>,
) {
    let mut server = h2::server::Builder::new()
        .max_header_list_size(16 << 20)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 30)
        .max_pending_accept_reset_streams(1 << 20)
        .max_send_buffer_size(64 << 20)
        .handshake::<_, Bytes>(socket)
        .await
        .unwrap();
    let (cut, mut ending) = mpsc::unbounded_channel();
    let mut calls = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = server.accept() => accepted,
            Some(ending) = ending.recv() => match ending {
                Ending::Cut => return,
                Ending::GoAway => { server.graceful_shutdown(); continue }
            },
            Some(_) = calls.join_next() => continue,
        };
        let Some(Ok((request, respond))) = accepted else {
            break;
        };
        let (request, body) = request.into_parts();
        log.lock()
            .unwrap()
            .push(request.uri.path_and_query().unwrap().to_string());
        calls.spawn(handler(FakeCall {
            request,
            body,
            respond,
            connection,
            cut: cut.clone(),
        }));
    }
}

/// Answers OK with the request's message, and reports the message and the headers.
pub(crate) type Sighting = (Vec<u8>, HeaderMap);

pub(crate) fn echo(rig: &Rig) -> (Fake, mpsc::UnboundedReceiver<Sighting>) {
    let (tell, told) = mpsc::unbounded_channel();
    let fake = Fake::start(&rig.upstream(), move |mut call| {
        let tell = tell.clone();
        async move {
            let (body, _) = call.read().await.unwrap();
            call.ok(&body[5..]);
            tell.send((body, call.request.headers)).unwrap();
        }
    });
    (fake, told)
}

// ---- the client

#[derive(Clone)]
pub(crate) struct Client(SendRequest<Bytes>);

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    /// `grpc-status` and `grpc-message`, from wherever they came.
    pub(crate) fn status(&self) -> (i32, String) {
        let map = self.trailers.as_ref().unwrap_or(&self.head.headers);
        let get = |name| {
            map.get(name)
                .map(|v| String::from_utf8(v.as_bytes().to_vec()).unwrap())
        };
        (
            get("grpc-status").unwrap().parse().unwrap(),
            get("grpc-message").unwrap_or_default(),
        )
    }
}

impl Client {
    pub(crate) async fn connect(path: &Path) -> Self {
        let socket = UnixStream::connect(path).await.unwrap();
        let (send, connection) = h2::client::Builder::new()
            .max_header_list_size(16 << 20)
            .initial_window_size(1 << 16)
            .initial_connection_window_size(1 << 30)
            .initial_max_send_streams(100_000)
            .max_concurrent_reset_streams(100_000)
            .max_send_buffer_size(64 << 20)
            .handshake(socket)
            .await
            .unwrap();
        tokio::spawn(async move { drop(connection.await) });
        Self(send)
    }

    /// A sender that can take one more request.
    pub(crate) async fn ready(&self) -> Result<SendRequest<Bytes>, h2::Error> {
        self.0.clone().ready().await
    }

    pub(crate) fn request(path: &str) -> http::request::Builder {
        Request::builder()
            .method("POST")
            .uri(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
    }

    pub(crate) async fn open(&self, request: Request<()>) -> (ResponseFuture, SendStream<Bytes>) {
        let mut ready = soon(self.ready()).await.unwrap();
        ready.send_request(request, false).unwrap()
    }

    /// Sends `body` as it is and reads the whole answer.
    pub(crate) async fn send(
        &self,
        request: Request<()>,
        body: &[u8],
    ) -> Result<Answer, h2::Error> {
        let (response, mut stream) = self.open(request).await;
        // An answer may come before the request was sent (RFC 9113, section 8.1), and then the rest
        // of it is not wanted. Whatever else keeps it from being sent, the response says too.
        drop(stream.send_data(Bytes::copy_from_slice(body), true));
        finish(response).await
    }

    pub(crate) async fn call(&self, path: &str, message: &[u8]) -> Result<Answer, h2::Error> {
        self.send(Self::request(path).body(()).unwrap(), &framed(message))
            .await
    }
}

pub(crate) async fn finish(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut body) = soon(response).await?.into_parts();
    let (data, trailers) = soon(read_all(&mut body)).await?;
    Ok(Answer {
        head,
        data,
        trailers,
    })
}

pub(crate) fn reason(result: Result<Answer, h2::Error>) -> Option<Reason> {
    result
        .expect_err("the stream should have been reset")
        .reason()
}

// ---- the gate

type Decide = Arc<dyn Fn(RawCall) -> BoxFuture<Verdict> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct ScriptedGate {
    decide: Decide,
    pub(crate) refused: Arc<Mutex<Vec<(String, Refusal)>>>,
}

impl Gate for ScriptedGate {
    fn handling(&self, path: &str) -> Handling {
        assert!(path != PANIC, "asked for");
        let table = HashMap::from([
            (PASS, Handling::Pass),
            (STREAM, Handling::Stream),
            (GUARD, Handling::Guard("PullImage")),
        ]);
        table.get(path).cloned().unwrap_or_else(|| {
            Handling::Refuse(Refusal::new(
                GrpcCode::Unimplemented,
                "RPC-REFUSED: unknown call",
            ))
        })
    }

    fn decide(&self, call: RawCall) -> BoxFuture<Verdict> {
        (self.decide)(call)
    }

    fn refused(&self, call: RefusedCall<'_>) {
        self.refused
            .lock()
            .unwrap()
            .push((call.path.to_owned(), call.refusal.clone()));
    }
}

pub(crate) fn forward() -> Decide {
    decide(|call| async move {
        Verdict::Forward {
            message: call.message,
            settle: None,
        }
    })
}

pub(crate) fn decide<F, Fut>(script: F) -> Decide
where
    F: Fn(RawCall) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    Arc::new(move |call| Box::pin(script(call)))
}

// ---- all of it

pub(crate) struct Rig {
    pub(crate) directory: TempDir,
    pub(crate) relay: Option<RelayHandle>,
    pub(crate) gate: ScriptedGate,
    decisions: Option<tokio::runtime::Runtime>,
}

impl Rig {
    pub(crate) fn start(gate: Decide) -> Self {
        Self::with(gate, |_| {})
    }

    pub(crate) fn with(decide: Decide, change: impl FnOnce(&mut RelayConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let gate = ScriptedGate {
            decide,
            refused: Arc::default(),
        };
        let decisions = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut config =
            RelayConfig::new(directory.path().join("containerd.sock"), &Limits::default());
        change(&mut config);
        let listener = Listener::bind(&directory.path().join("cri.sock")).unwrap();
        let relay = Relay::spawn(
            config,
            listener,
            Arc::new(gate.clone()),
            decisions.handle().clone(),
        )
        .unwrap();
        Self {
            directory,
            relay: Some(relay),
            gate,
            decisions: Some(decisions),
        }
    }

    pub(crate) fn upstream(&self) -> PathBuf {
        self.directory.path().join("containerd.sock")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("cri.sock")
    }

    pub(crate) async fn client(&self) -> Client {
        soon(Client::connect(&self.socket())).await
    }

    pub(crate) fn refused(&self) -> Vec<(String, Refusal)> {
        self.gate.refused.lock().unwrap().clone()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(decisions) = self.decisions.take() {
            decisions.shutdown_background();
        }
    }
}
