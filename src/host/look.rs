//! Looks at the node's own files beside the threads that others wait for: a filesystem that hangs holds
//! up who asks for what is on it, and nobody else.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// What `look` finds, on a thread of its own, once one of `turns` is free; `None` if that does not end
/// before `until`. Each look holds its turn until it ends, also when nobody waits for it any more, so
/// that no more threads hang than there are turns. Must be called inside a tokio runtime.
pub(crate) async fn look<T: Send + 'static>(
    turns: Arc<Semaphore>,
    until: Instant,
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let found = async {
        let turn = turns.acquire_owned().await.ok()?;
        let looking = spawn_blocking(move || {
            let _turn = turn;
            look()
        });
        looking.await.ok()
    };
    timeout_at(until, found).await.ok().flatten()
}
