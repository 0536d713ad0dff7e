//! A recorder between the guard and containerd: HTTP/2 on both sides, every header, byte and
//! trailer passed on as it came and kept under the number that the test's client gave the call.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request};
use tokio::sync::{OnceCell, watch};

use crate::relay_support::{Client, Fake, FakeCall, framed, lines};

/// The header that numbers the test's calls; the guard's own questions carry none.
pub(crate) const NUMBER: &str = "x-call";

/// The header that has the recorder replace an answer: by an empty message (`empty`), or by itself
/// with the flag of compression (`compressed`).
pub(crate) const TAMPER: &str = "x-tamper";

type Lines = Vec<(String, Vec<u8>)>;

/// One call as it crossed the recorder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) number: String,
    pub(crate) path: String,
    pub(crate) request: Lines,
    pub(crate) request_data: Vec<u8>,
    pub(crate) request_trailers: Option<Lines>,
    pub(crate) head: Lines,
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<Lines>,
    /// The guard took the call back.
    pub(crate) reset: Option<Reason>,
}

/// The recorder; ends with its handle.
pub(crate) struct Recorder {
    _server: Fake,
    seen: watch::Sender<Vec<Seen>>,
}

impl Recorder {
    /// Listens on `listen`, for the containerd at `upstream`. Call it within a runtime.
    pub(crate) fn start(listen: &Path, upstream: PathBuf) -> Self {
        let (seen, _) = watch::channel(Vec::new());
        let log = seen.clone();
        let connection = Arc::new(OnceCell::new());
        let server = Fake::start(listen, move |call| {
            let (log, connection, upstream) = (log.clone(), connection.clone(), upstream.clone());
            async move {
                let client = connection
                    .get_or_init(|| Client::connect(&upstream))
                    .await
                    .clone();
                Carried::new(&call, log).carry(call, client).await;
            }
        });
        Self {
            _server: server,
            seen,
        }
    }

    /// The calls of this number: one, if all is well.
    pub(crate) fn of(&self, number: &str) -> Vec<Seen> {
        let all = self.seen.borrow();
        all.iter()
            .filter(|seen| seen.number == number)
            .cloned()
            .collect()
    }

    /// Waits until a call of this number looks as the test wants it to.
    pub(crate) async fn wait(&self, number: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let mut changes = self.seen.subscribe();
        let like = |all: &Vec<Seen>| {
            all.iter()
                .find(|seen| seen.number == number && wanted(seen))
                .cloned()
        };
        let all = changes.wait_for(|all| like(all).is_some()).await.unwrap();
        all.iter()
            .find(|seen| seen.number == number)
            .cloned()
            .unwrap()
    }
}

/// Which side a request could not be carried on.
enum Broken {
    /// The guard took it back.
    Guard(h2::Error),
    /// containerd takes no more of it.
    Upstream,
}

/// Where one call writes down what it saw, before it passes it on.
struct Carried {
    log: watch::Sender<Vec<Seen>>,
    at: usize,
}

impl Carried {
    fn new(call: &FakeCall, log: watch::Sender<Vec<Seen>>) -> Self {
        let number = call.request.headers.get(NUMBER);
        let seen = Seen {
            number: number.map_or_else(String::new, |value| value.to_str().unwrap().to_owned()),
            path: call.request.uri.path_and_query().unwrap().to_string(),
            request: lines(&call.request.headers),
            ..Seen::default()
        };
        let at = Arc::new(Mutex::new(0));
        log.send_modify(|all| {
            *at.lock().unwrap() = all.len();
            all.push(seen);
        });
        let at = *at.lock().unwrap();
        Self { log, at }
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.log.send_modify(|all| change(&mut all[self.at]));
    }

    /// Carries the call. Leaving early takes it back from containerd.
    async fn carry(self, call: FakeCall, client: Client) {
        let FakeCall {
            request,
            mut body,
            mut respond,
            ..
        } = call;
        let tamper = request.headers.get(TAMPER).cloned();
        let (response, mut up) = client.open(Request::from_parts(request, ())).await;
        let asking = async {
            match self.ask(&mut body, &mut up).await {
                // containerd may answer before it has the whole request; its answer ends the call.
                Ok(()) | Err(Broken::Upstream) => std::future::pending().await,
                Err(Broken::Guard(error)) => error.reason(),
            }
        };
        let answering = self.answer(response, &mut respond, tamper);
        let reset = tokio::select! {
            reason = asking => reason,
            reason = answering => reason,
        };
        if let Some(reason) = reset {
            self.note(|seen| seen.reset = Some(reason));
        }
    }

    async fn ask(&self, body: &mut RecvStream, up: &mut SendStream<Bytes>) -> Result<(), Broken> {
        while let Some(data) = body.data().await {
            let data = data.map_err(Broken::Guard)?;
            let taken = body.flow_control().release_capacity(data.len());
            taken.map_err(Broken::Guard)?;
            self.note(|seen| seen.request_data.extend_from_slice(&data));
            up.send_data(data, false).map_err(|_| Broken::Upstream)?;
        }
        let sent = match body.trailers().await.map_err(Broken::Guard)? {
            Some(trailers) => {
                self.note(|seen| seen.request_trailers = Some(lines(&trailers)));
                up.send_trailers(trailers)
            }
            None => up.send_data(Bytes::new(), true),
        };
        sent.map_err(|_| Broken::Upstream)
    }

    /// The reason of the guard's reset, if it reset the call.
    async fn answer(
        &self,
        response: ResponseFuture,
        respond: &mut h2::server::SendResponse<Bytes>,
        tamper: Option<HeaderValue>,
    ) -> Option<Reason> {
        let head = tokio::select! {
            head = response => head,
            reset = poll_fn(|cx| respond.poll_reset(cx)) => return reset.ok(),
        };
        let (head, mut body) = match head {
            Ok(head) => head.into_parts(),
            Err(error) => {
                respond.send_reset(error.reason().unwrap_or(Reason::INTERNAL_ERROR));
                return None;
            }
        };
        self.note(|seen| seen.head = lines(&head.headers));
        let only = body.is_end_stream();
        let head = http::Response::from_parts(head, ());
        let mut down = respond.send_response(head, only).ok()?;
        if only {
            return None;
        }
        loop {
            let data = tokio::select! {
                data = body.data() => data,
                reset = poll_fn(|cx| down.poll_reset(cx)) => return reset.ok(),
            };
            match data {
                Some(Ok(data)) => {
                    body.flow_control().release_capacity(data.len()).ok()?;
                    let data = match tamper.as_ref().map(HeaderValue::as_bytes) {
                        None => data,
                        Some(b"empty") => framed(b"").into(),
                        Some(_) => [&[1], &data[1..]].concat().into(),
                    };
                    self.note(|seen| seen.data.extend_from_slice(&data));
                    down.send_data(data, false).ok()?;
                }
                Some(Err(error)) => {
                    down.send_reset(error.reason().unwrap_or(Reason::INTERNAL_ERROR));
                    return None;
                }
                None => break,
            }
        }
        let trailers = body.trailers().await.ok()?;
        self.note(|seen| seen.trailers = trailers.as_ref().map(lines));
        end(&mut down, trailers);
        None
    }
}

fn end(down: &mut SendStream<Bytes>, trailers: Option<HeaderMap>) {
    let ended = match trailers {
        Some(trailers) => down.send_trailers(trailers),
        None => down.send_data(Bytes::new(), true),
    };
    // A guard that left has its answer in `reset`.
    drop(ended);
}
