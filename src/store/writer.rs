//! A thread that writes, so that no decision waits for a disk. What it cannot take is dropped and
//! counted: memory stays right, the disk catches up or a restart knows less.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Changes that wait for the thread at most.
const QUEUE: usize = 8192;
/// How long the first change of a batch waits for more.
const GATHER: Duration = Duration::from_millis(200);
/// How often it looks for more: waking up for each change would cost the decision that made it.
const LOOK: Duration = Duration::from_millis(5);
/// Changes in one batch at most.
const BATCH: usize = 4096;
/// How often an idle thread looks whether a failed disk is back.
const IDLE: Duration = Duration::from_secs(10);

/// Whether what is remembered also reaches the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It does.
    Healthy,
    /// It does not; decisions go on from memory.
    Degraded {
        /// Why, one line.
        why: String,
        /// Changes that were given up since the start.
        dropped: u64,
    },
}

/// Where the thread writes to.
pub(super) trait Sink<C>: Send + 'static {
    /// Makes the changes durable.
    fn write(&mut self, changes: Vec<C>) -> Result<(), String>;

    /// Nothing to write for a while: a chance to mend.
    fn idle(&mut self) -> Result<(), String>;

    /// Changes were given up: makes everything durable that memory holds.
    fn catch_up(&mut self) -> Result<(), String>;
}

enum Message<C> {
    Change(C),
    Flush(SyncSender<()>),
}

#[derive(Debug, Default)]
struct Health {
    why: Mutex<Option<String>>,
    dropped: AtomicU64,
    /// Of these, how many the disk has caught up with.
    made_good: AtomicU64,
}

impl Health {
    /// Takes in how a step went; where changes were given up before, and the sink works, it catches
    /// up with memory.
    fn after(&self, result: Result<(), String>, catch_up: impl FnOnce() -> Result<(), String>) {
        let dropped = self.dropped.load(Ordering::Acquire);
        let result = if dropped > self.made_good.load(Ordering::Relaxed) && result.is_ok() {
            // What is dropped from here on counts anew: it may come too late for this look.
            catch_up().map(|()| self.made_good.store(dropped, Ordering::Relaxed))
        } else {
            result
        };
        self.set(result);
    }

    fn set(&self, result: Result<(), String>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = result.err();
    }
}

/// The hand that gives changes to the thread. Dropping it writes what waits and ends the thread.
#[derive(Debug)]
pub(super) struct Writer<C> {
    sender: Option<SyncSender<Message<C>>>,
    thread: Option<JoinHandle<()>>,
    health: Arc<Health>,
}

impl<C: Send + 'static> Writer<C> {
    /// Starts the thread; `first` is how opening went.
    pub(super) fn start(name: &str, sink: impl Sink<C>, first: Result<(), String>) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let health = Arc::new(Health::default());
        health.set(first);
        let shared = Arc::clone(&health);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&receiver, sink, &shared));
        match thread {
            Ok(thread) => Self {
                sender: Some(sender),
                thread: Some(thread),
                health,
            },
            Err(error) => Self::without(&format!("no thread to write with: {error}")),
        }
    }

    /// Writes nothing, and says why.
    pub(super) fn without(why: &str) -> Self {
        let health = Arc::new(Health::default());
        health.set(Err(why.to_owned()));
        Self {
            sender: None,
            thread: None,
            health,
        }
    }

    /// Hands a change over; never waits.
    pub(super) fn put(&self, change: C) {
        let lost = match &self.sender {
            None => return,
            Some(sender) => sender.try_send(Message::Change(change)),
        };
        match lost {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.health.dropped.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// Waits until everything handed over before was written or given up, at most `within`.
    /// Whether it was in time.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let Some(sender) = &self.sender else {
            return true;
        };
        let until = Instant::now() + within;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match sender.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => message = back,
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        written
            .recv_timeout(until.saturating_duration_since(Instant::now()))
            .is_ok()
    }

    pub(super) fn persistence(&self) -> Persistence {
        let why = self
            .health
            .why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let dropped = self.health.dropped.load(Ordering::Relaxed);
        match why {
            Some(why) => Persistence::Degraded { why, dropped },
            None if dropped > self.health.made_good.load(Ordering::Relaxed) => {
                Persistence::Degraded {
                    why: "changes came faster than they could be written".to_owned(),
                    dropped,
                }
            }
            None => Persistence::Healthy,
        }
    }
}

impl<C> Drop for Writer<C> {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing more to write.
            drop(thread.join());
        }
    }
}

fn run<C>(receiver: &Receiver<Message<C>>, mut sink: impl Sink<C>, health: &Health) {
    loop {
        let first = match receiver.recv_timeout(IDLE) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                let result = sink.idle();
                health.after(result, || sink.catch_up());
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut waiting = Vec::new();
        let changes = gather(receiver, first, &mut waiting);
        if !changes.is_empty() {
            let result = sink.write(changes);
            health.after(result, || sink.catch_up());
        }
        for done in waiting {
            // An error says that nobody waits any more.
            done.send(()).unwrap_or_default();
        }
    }
}

/// The first message and what follows within a moment; a flush ends the waiting.
fn gather<C>(
    receiver: &Receiver<Message<C>>,
    first: Message<C>,
    waiting: &mut Vec<SyncSender<()>>,
) -> Vec<C> {
    let until = Instant::now() + GATHER;
    let mut changes = Vec::new();
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Message::Change(change)) => changes.push(change),
            Ok(Message::Flush(done)) => {
                waiting.push(done);
                return changes;
            }
            Err(TryRecvError::Empty) if Instant::now() < until => std::thread::sleep(LOOK),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return changes,
        }
        if changes.len() >= BATCH {
            return changes;
        }
        next = receiver.try_recv();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A disk that waits for leave at each write, and knows what was made durable.
    struct Slow {
        leave: Receiver<()>,
        caught_up: SyncSender<()>,
    }

    impl Sink<u32> for Slow {
        fn write(&mut self, _: Vec<u32>) -> Result<(), String> {
            self.leave.recv().map_err(|error| error.to_string())
        }

        fn idle(&mut self) -> Result<(), String> {
            Ok(())
        }

        fn catch_up(&mut self) -> Result<(), String> {
            self.caught_up.send(()).map_err(|error| error.to_string())
        }
    }

    #[test]
    fn a_change_that_was_dropped_is_made_good_and_health_comes_back() {
        let (leave, waits) = sync_channel(64);
        let (says, caught_up) = sync_channel(64);
        let sink = Slow {
            leave: waits,
            caught_up: says,
        };
        let writer = Writer::start("test", sink, Ok(()));
        let dropped = |writer: &Writer<u32>| match writer.persistence() {
            Persistence::Healthy => 0,
            Persistence::Degraded { dropped, .. } => dropped,
        };
        while dropped(&writer) == 0 {
            writer.put(1);
        }
        for _ in 0..64 {
            leave.send(()).unwrap();
        }
        assert!(writer.flush(SOON));
        caught_up.recv_timeout(SOON).unwrap();
        assert_eq!(writer.persistence(), Persistence::Healthy);
    }
}
