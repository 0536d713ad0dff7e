//! The load: one warm connection for each target, calls timed from their start to their trailers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use http::Request;
use pullguard::relay::CoalescingIo;
use tokio::net::UnixStream;

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    /// Request message, bytes without prefix.
    pub(crate) request: u32,
    pub(crate) parallel: usize,
}

pub(crate) const CASES: [Case; 6] = [
    Case {
        name: "unary 30 B, c=1",
        path: "/bench/Unary",
        request: 30,
        parallel: 1,
    },
    Case {
        name: "unary 30 B, c=16",
        path: "/bench/Unary",
        request: 30,
        parallel: 16,
    },
    Case {
        name: "list 300 KB, c=1",
        path: "/bench/List",
        request: 30,
        parallel: 1,
    },
    Case {
        name: "stream 500 x 1 KB, c=1",
        path: "/bench/Stream",
        request: 30,
        parallel: 1,
    },
    Case {
        name: "unary 10 KB, carried",
        path: "/bench/Unary",
        request: 10_240,
        parallel: 1,
    },
    Case {
        name: "unary 10 KB, a gate that permits at once",
        path: "/bench/Gated",
        request: 10_240,
        parallel: 1,
    },
];

/// What one slice showed; seconds, except where a name says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) calls: usize,
    /// Processor time of the target for each call.
    pub(crate) cpu: f64,
    /// Processor time of other processes, as a share of the slice.
    pub(crate) foreign: f64,
}

#[derive(Clone)]
pub(crate) struct Connection(SendRequest<Bytes>);

impl Connection {
    pub(crate) async fn open(socket: &Path) -> Self {
        let socket = UnixStream::connect(socket).await.unwrap();
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(4 << 20)
            .initial_connection_window_size(1 << 30)
            .handshake(CoalescingIo::new(socket))
            .await
            .unwrap();
        // It ends with an error when its target is killed.
        tokio::spawn(async move { drop(connection.await) });
        Self(send)
    }

    /// One call; how long it took.
    pub(crate) async fn call(&self, path: &str, body: &[u8]) -> Duration {
        self.send(path, &framed(body)).await
    }

    /// One call with a framed body; how long it took.
    pub(crate) async fn once(&self, path: &str, framed: &Bytes) -> Duration {
        self.send(path, framed).await
    }

    async fn send(&self, path: &str, body: &Bytes) -> Duration {
        let request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "grpc-go/1.72.2")
            .body(())
            .unwrap();
        let mut send = self.0.clone().ready().await.unwrap();
        let begin = Instant::now();
        let (response, mut stream) = send.send_request(request, false).unwrap();
        stream.send_data(body.clone(), true).unwrap();
        let (head, mut answer) = response.await.unwrap().into_parts();
        // A refusal is Trailers-Only.
        let refused = head.headers.get("grpc-message");
        assert!(refused.is_none(), "{path}: {refused:?}");
        while let Some(data) = answer.data().await {
            answer
                .flow_control()
                .release_capacity(data.unwrap().len())
                .unwrap();
        }
        let trailers = answer.trailers().await.unwrap().expect("trailers");
        let took = begin.elapsed();
        let text = trailers.get("grpc-message");
        assert_eq!(trailers["grpc-status"], "0", "{path}: {text:?}");
        took
    }

    /// `count` calls at once.
    pub(crate) async fn at_once(&self, path: &'static str, count: usize) {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..count {
            let connection = self.clone();
            calls.spawn(async move { connection.call(path, &[0; 30]).await });
        }
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }
    }

    /// Calls back to back for `length`.
    pub(crate) async fn slice(&self, case: Case, length: Duration) -> Slice {
        let body = framed(&vec![0; usize::try_from(case.request).unwrap()]);
        self.calls(case.path, body, case.parallel, length).await
    }

    /// The same message back to back for `length`, over so many calls at a time.
    pub(crate) async fn calls(
        &self,
        path: &'static str,
        body: Bytes,
        parallel: usize,
        length: Duration,
    ) -> Slice {
        let body = Arc::new(body);
        let end = Instant::now() + length;
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..parallel {
            let (connection, body) = (self.clone(), body.clone());
            workers.spawn(async move {
                let mut times = Histogram::<u64>::new(3).unwrap();
                while Instant::now() < end {
                    let took = connection.send(path, &body).await;
                    times
                        .record(u64::try_from(took.as_nanos()).unwrap())
                        .unwrap();
                }
                times
            });
        }
        let mut times = Histogram::<u64>::new(3).unwrap();
        while let Some(worker) = workers.join_next().await {
            times.add(worker.unwrap()).unwrap();
        }
        let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e9;
        let calls = usize::try_from(times.len()).unwrap();
        Slice {
            p50: at(0.5),
            p99: at(0.99),
            calls,
            cpu: 0.0,
            foreign: 0.0,
        }
    }
}

/// One message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut out = vec![0];
    out.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend(message);
    out.into()
}
