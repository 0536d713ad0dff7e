//! Where log lines wait for the journal or for standard error.
//!
//! A thread of its own writes. Whoever reads the log may be stuck (a full pipe, a journal that does
//! not read its socket); the threads that relay and decide must not be: what does not fit any more
//! is lost, and counted.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of log that may wait for a slow reader (4 MiB).
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// How often a thread that writes lines looks while they come one after the other.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// The way to the log's thread. Cheap to clone, never blocks.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    written: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// Of all lines, with the one that is being written.
    bytes: usize,
    /// There is nobody who writes.
    gone: bool,
    /// The thread waits to be woken.
    idle: bool,
}

impl Sink {
    /// Starts the thread, which hands each line to `write`. An error of `write` is a lost line.
    pub(super) fn start(write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        let started = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || own.run(write));
        if started.is_err() {
            shared.lock().gone = true;
        }
        Self { shared }
    }

    /// Hands over one event as it is to be written.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut waiting = self.shared.lock();
        let bytes = waiting.bytes.saturating_add(line.len());
        if waiting.gone || bytes > MAX_WAITING_BYTES {
            drop(waiting);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes = bytes;
        waiting.lines.push_back(line);
        let idle = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if idle {
            self.shared.filled.notify_one();
        }
    }

    /// Lines lost since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, at most `patience`. False if that was not enough.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let waiting = self.shared.lock();
        let waited = self
            .shared
            .written
            .wait_timeout_while(waiting, patience, |waiting| waiting.bytes > 0);
        let (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.bytes == 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>) {
        loop {
            let line = self.next();
            if write(&line).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            let mut waiting = self.lock();
            waiting.bytes = waiting.bytes.saturating_sub(line.len());
            drop(waiting);
            self.written.notify_all();
        }
    }

    /// The next line. After the last one that is here the thread looks away for a moment: waking up
    /// for each line would cost the decision that made it.
    fn next(&self) -> Vec<u8> {
        if let Some(line) = self.lock().lines.pop_front() {
            return line;
        }
        std::thread::sleep(LOOK);
        let mut waiting = self.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.idle = false;
                return line;
            }
            waiting.idle = true;
            waiting = self
                .filled
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn lines_come_out_as_they_went_in() {
        let (tell, told) = mpsc::channel();
        let sink = Sink::start(move |line| {
            tell.send(line.to_vec()).unwrap();
            Ok(())
        });
        sink.push(b"one".to_vec());
        sink.push(b"two".to_vec());
        assert!(sink.flush(PATIENCE));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(sink.dropped(), 0);
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_holds_nobody_up() {
        let (release, held) = mpsc::channel::<()>();
        let sink = Sink::start(move |_| {
            // An error is the release.
            assert!(held.recv().is_err());
            Ok(())
        });
        let line = vec![b'x'; 1024];
        for _ in 0..5_000 {
            sink.push(line.clone());
        }
        assert_eq!(sink.dropped(), 5_000 - 4_096);
        assert!(!sink.flush(Duration::from_millis(1)), "says so");
        drop(release);
        assert!(sink.flush(PATIENCE));
        assert_eq!(sink.dropped(), 5_000 - 4_096);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        let sink = Sink::start(|_| Err(io::ErrorKind::BrokenPipe.into()));
        sink.push(b"lost".to_vec());
        assert!(sink.flush(PATIENCE));
        assert_eq!(sink.dropped(), 1);
    }
}
