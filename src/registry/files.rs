//! Looks at the node's own files, hosts.toml, certificates and credentials, beside the thread that
//! decides: a disk that hangs holds up who asks for what is on it, and nobody else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::error::{RegistryError, Setup};
use crate::host;

/// Looks at once; each holds a thread, on a disk that hangs for good.
const LOOKS: usize = 8;
/// A disk in order answers within this time. So whoever is late already hears of the registry, and
/// not of the disk.
const PROMPT: Duration = Duration::from_millis(500);

/// Turns for looking.
#[derive(Debug)]
pub(super) struct Files(Arc<Semaphore>);

impl Default for Files {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKS)))
    }
}

impl Files {
    /// What `look` finds, on a thread of its own.
    ///
    /// # Errors
    /// What `look` says; [`Setup::Disk`] if it does not end before `deadline`.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        deadline: Instant,
        look: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let until = deadline.max(Instant::now() + PROMPT);
        let found = host::look(Arc::clone(&self.0), until, look).await;
        found.unwrap_or(Err(RegistryError::Unsupported { setup: Setup::Disk }))
    }
}
