//! When what runs is judged again: as soon as a policy is in force, when another one is, and when the
//! judgement has become old. One pass at a time; a newer policy ends the one that is under way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::status::StatusBoard;
use crate::guard::{Guard, Rejudged};
use crate::policy::Policy;
use crate::time::Timestamp;

/// After a pass that could not even ask what runs.
const RETRY: Duration = Duration::from_secs(30);

/// Judges what runs again and again. Not while it is `pending` what was here before the guard: images
/// that the record would prove could not be told.
pub(super) async fn judge_running(guard: Guard, board: Arc<StatusBoard>, pending: bool) {
    let changes = guard.in_force().changes();
    let current = || guard.in_force().policy();
    let pass = |policy: Arc<Policy>| pass(guard.clone(), policy, pending);
    let ended = |policy: &Policy, found: Option<(Timestamp, Rejudged)>| {
        let Some((begun, found)) = found else {
            return RETRY;
        };
        board.judged_again(found);
        left(policy, begun, crate::clock::now())
    };
    rounds(changes, current, pass, ended).await;
}

/// How long a judgement that was begun then stands from `now` on. What comes to say something else
/// while a pass is under way was not asked by those that it had judged by then.
fn left(policy: &Policy, begun: Timestamp, now: Timestamp) -> Duration {
    // A clock that was set back.
    let begun = begun.min(now);
    let due = policy.next_due(begun).unix_seconds();
    Duration::from_secs(due.saturating_sub(now.unix_seconds()))
}

/// What was found, and when the pass began.
async fn pass(guard: Guard, policy: Arc<Policy>, pending: bool) -> Option<(Timestamp, Rejudged)> {
    if pending && guard.adoption().is_none() {
        return None;
    }
    let begun = crate::clock::now();
    match guard.judge_running(&policy).await {
        Ok(found) => Some((begun, found)),
        Err(error) => {
            tracing::debug!("what runs was not judged again: {error}");
            None
        }
    }
}

/// A `pass` over the `current` policy as soon as there is one, and anew at each of its `changes` and
/// after the time that `ended` gives. `ended` is told of a pass that failed or panicked, too, and not
/// of one that a newer policy ended.
async fn rounds<P, T, F>(
    mut changes: watch::Receiver<()>,
    current: impl Fn() -> Option<Arc<P>>,
    pass: impl Fn(Arc<P>) -> F,
    ended: impl Fn(&P, Option<T>) -> Duration,
) where
    T: Send + 'static,
    F: Future<Output = Option<T>> + Send + 'static,
{
    loop {
        // Before the policy is read: one that comes in between is a change.
        changes.mark_unchanged();
        let Some(policy) = current() else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        // A task of its own: a panic in it is logged, and the next pass comes. Dropped, it ends.
        let mut task = JoinSet::new();
        task.spawn(pass(Arc::clone(&policy)));
        let done = tokio::select! {
            done = task.join_next() => done,
            changed = changes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let found = match done {
            Some(Ok(found)) => found,
            Some(Err(_)) | None => {
                tracing::error!("what runs was not judged again: the guard failed");
                None
            }
        };
        let wait = ended(&policy, found);
        tokio::select! {
            () = sleep(wait) => {}
            changed = changes.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const NEVER: Duration = Duration::from_secs(100_000);

    /// The rounds of a daemon whose policy is a number, and in which a pass over an odd one hangs.
    struct Bench {
        changes: watch::Sender<()>,
        policy: Arc<Mutex<Option<u32>>>,
        begun: Receiver<u32>,
        ended: Receiver<u32>,
        task: tokio::task::JoinHandle<()>,
    }

    fn bench(every: Duration) -> Bench {
        let (changes, policy) = (watch::Sender::new(()), Arc::<Mutex<Option<u32>>>::default());
        let (begun, ended) = (channel(), channel());
        let now = Arc::clone(&policy);
        let current = move || now.lock().unwrap().map(Arc::new);
        let told: Sender<u32> = begun.0;
        let pass = move |policy: Arc<u32>| {
            told.send(*policy).unwrap();
            async move {
                if *policy % 2 == 1 {
                    std::future::pending::<()>().await;
                }
                Some(*policy)
            }
        };
        let done = move |_: &u32, found: Option<u32>| {
            ended.0.send(found.unwrap()).unwrap();
            every
        };
        Bench {
            task: tokio::spawn(rounds(changes.subscribe(), current, pass, done)),
            changes,
            policy,
            begun: begun.1,
            ended: ended.1,
        }
    }

    impl Bench {
        fn put(&self, policy: u32) {
            *self.policy.lock().unwrap() = Some(policy);
            self.changes.send_replace(());
        }

        fn begins(&self) -> u32 {
            self.begun.recv_timeout(SOON).unwrap()
        }

        fn ends(&self) -> u32 {
            self.ended.recv_timeout(SOON).unwrap()
        }
    }

    #[test]
    fn an_exception_that_ends_while_a_pass_is_under_way_is_followed_by_another_at_once() {
        let text = r#"[{"apiVersion":"pullguard.io/v1alpha1","kind":"PolicySet","metadata":{"name":"s"},
            "spec":{"audience":"a","unmatched":{"pods":"Allow","images":"Allow"}}},
            {"apiVersion":"pullguard.io/v1alpha1","kind":"NodePolicy","metadata":{"name":"p"},
            "spec":{"rules":[{"name":"r","containers":{"root":"Deny"}}]}},
            {"apiVersion":"pullguard.io/v1alpha1","kind":"NodePolicyException","metadata":{"name":"e"},
            "spec":{"policy":"p","rules":["r"],"match":{"namespaces":["a"]},
            "expires":"1970-01-01T00:16:40Z","reason":"T-1"}}]"#;
        let policy =
            crate::policy::compile::from_json(text.as_bytes(), &crate::limits::Limits::default())
                .unwrap();
        let left = |begun: u64, now: u64| {
            let at = Timestamp::from_unix_seconds;
            left(&policy, at(begun), at(now)).as_secs()
        };
        assert_eq!(left(900, 910), 90, "it ends later");
        assert_eq!(left(990, 1_010), 0, "it ended meanwhile");
        assert_eq!(left(1_000, 1_010), 3_590, "it had ended before");
        assert_eq!(left(9_000, 1_010), 3_600, "the clock was set back");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_first_pass_waits_for_a_policy_and_the_next_for_another() {
        let bench = bench(NEVER);
        bench.put(2);
        assert_eq!((bench.begins(), bench.ends()), (2, 2));
        bench.put(4);
        assert_eq!((bench.begins(), bench.ends()), (4, 4));
        assert!(bench.begun.try_recv().is_err(), "each was judged once");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_has_become_old_is_judged_again_under_the_same_policy() {
        let bench = bench(Duration::from_millis(5));
        bench.put(2);
        for _ in 0..3 {
            assert_eq!(bench.ends(), 2);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_newer_policy_ends_the_pass_that_is_under_way() {
        let bench = bench(NEVER);
        bench.put(1);
        assert_eq!(bench.begins(), 1);
        bench.put(2);
        assert_eq!((bench.begins(), bench.ends()), (2, 2));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_daemon_that_drains_ends_the_pass_that_is_under_way() {
        let bench = bench(NEVER);
        bench.put(1);
        assert_eq!(bench.begins(), 1);
        bench.task.abort();
        assert!(bench.task.await.unwrap_err().is_cancelled());
        assert!(
            bench.ended.recv_timeout(SOON).is_err(),
            "nobody is left to tell"
        );
    }
}
