use std::collections::VecDeque;

use bytes::Bytes;
use nix::errno::Errno;
use tokio::io::AsyncReadExt;

use super::super::{BoxFuture, Handling, RawCall, RefusedCall, Verdict};
use super::*;
use crate::limits::Limits;

struct NoGate;

impl Gate for NoGate {
    fn handling(&self, _: &str) -> Handling {
        Handling::Pass
    }

    fn decide(&self, _: RawCall) -> BoxFuture<Verdict> {
        Box::pin(async { Verdict::Answer(Bytes::new()) })
    }

    fn refused(&self, _: RefusedCall<'_>) {}
}

/// Gives what it was told to, then nothing more.
struct Scripted(VecDeque<io::Result<UnixStream>>);

impl Accept for Scripted {
    async fn accept(&mut self) -> io::Result<UnixStream> {
        match self.0.pop_front() {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }

    fn renew(&mut self, _: &Listener) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the loop over `script`, and `check` beside it, then drains.
async fn around(
    config: RelayConfig,
    script: Vec<io::Result<UnixStream>>,
    check: impl AsyncFnOnce(&RelayStats),
) -> Drained {
    let directory = tempfile::tempdir().unwrap();
    let listener = Listener::bind(&directory.path().join("s")).unwrap();
    let (stop, stopped) = watch::channel(false);
    let (bells, draining, ending) = Bells::new();
    let (_renew, renewed) = mpsc::channel(1);
    let stats = Arc::new(RelayStats::default());
    let shared = Arc::new(Shared {
        config,
        gate: Arc::new(NoGate),
        decisions: Handle::current(),
        stats: stats.clone(),
        draining,
        ending,
        said_unheard: AtomicBool::new(false),
    });
    let serving = serve(
        shared,
        bells,
        stopped,
        Scripted(script.into()),
        Place { listener, renewed },
    );
    let checking = async {
        check(&stats).await;
        stop.send_replace(true);
    };
    let both = async { tokio::join!(serving, checking).0 };
    tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("the loop hangs")
}

fn config() -> RelayConfig {
    RelayConfig::new("/nowhere", &Limits::default())
}

#[tokio::test]
async fn e7_f14_failing_accepts_do_not_end_the_loop() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let failures = [
        Errno::EMFILE,
        Errno::ECONNABORTED,
        Errno::ENFILE,
        Errno::ENOBUFS,
        Errno::ENOMEM,
        Errno::EPERM,
    ];
    let mut script: Vec<_> = failures.iter().map(|&errno| Err(errno.into())).collect();
    script.push(Ok(ours));
    let drained = around(config(), script, async |stats| {
        tokio::io::AsyncWriteExt::write_all(&mut theirs, b"no preface")
            .await
            .unwrap();
        let mut rest = Vec::new();
        drop(theirs.read_to_end(&mut rest).await);
        assert_eq!(stats.read().accept_errors, 6);
        assert_eq!(stats.read().turned_away, 1, "it was accepted and looked at");
    })
    .await;
    assert_eq!(drained, Drained::Complete);
}

#[tokio::test]
async fn f26_the_number_of_connections_is_bounded() {
    let mut config = config();
    config.max_connections = 1;
    let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let script = ours.into_iter().map(Ok).collect();
    let drained = around(config, script, async |stats| {
        let mut theirs = theirs.into_iter();
        let _first = theirs.next();
        for mut closed in theirs {
            assert_eq!(closed.read(&mut [0]).await.unwrap(), 0);
        }
        assert_eq!((stats.read().connections, stats.read().turned_away), (1, 2));
    })
    .await;
    assert_eq!(drained, Drained::Complete);
}

#[test]
fn pauses_between_failing_accepts_grow_to_a_second() {
    let mut wait = Backoff::default();
    let pauses: Vec<_> = (0..20).map(|_| wait.next().as_millis()).collect();
    assert_eq!(pauses[..4], [1, 2, 4, 8]);
    assert_eq!(pauses[10..], [1000; 10]);
    wait.reset();
    assert_eq!(wait.next(), Duration::from_millis(1));
}
