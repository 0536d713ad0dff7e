//! Keeps the policy in force in step with the node's local directory: all or nothing, the last good
//! one kept, also over a restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::guard::Guard;
use crate::image::Digest;
use crate::limits::Limits;
use crate::policy::{Policy, compile};
use crate::report::{RefusedPolicy, rfc3339};
use crate::settings::{PolicySource, Settings};
use crate::store::{StateDir, load_last_policy, save_last_policy};
use crate::sync::{SourceFile, read_directory};

/// How often the directory is looked at; a signal looks at once.
const LOOK: Duration = Duration::from_secs(2);
/// The longest pause before the same files are tried again. Trying asks containerd and registries
/// about everything that runs.
const LONGEST: Duration = Duration::from_secs(60);

/// A policy that was compiled from files.
#[derive(Clone, Debug)]
pub struct LocalPolicy {
    /// The policy.
    pub policy: Policy,
    /// The same as strict JSON, which a restart reads back.
    pub json: Vec<u8>,
    /// Worth saying, not wrong.
    pub warnings: Vec<String>,
}

/// Files → policy. The daemon does not know YAML: the command line hands this in.
pub type CompileLocal =
    Arc<dyn Fn(Vec<SourceFile>, &Limits) -> Result<LocalPolicy, String> + Send + Sync>;

/// Follows the directory.
pub(super) struct PolicyKeeper {
    guard: Guard,
    directory: Option<PathBuf>,
    audience: Option<String>,
    limits: Limits,
    compile: CompileLocal,
    state: Option<StateDir>,
    wake: Notify,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Of the files that were last taken or refused for good.
    files: Option<Digest>,
    /// Version of the last policy in force.
    last: Option<Digest>,
    refused: Option<RefusedPolicy>,
    again: Again,
}

/// When files that were refused for now are tried again: later each time, at once if they change.
#[derive(Debug, Default)]
struct Again {
    files: Option<Digest>,
    pause: Duration,
    at: Option<Instant>,
}

impl Again {
    fn is_due(&self, files: &Digest, now: Instant) -> bool {
        self.is_new(files) || self.at.is_none_or(|at| at <= now)
    }

    /// Whether these files were not tried before.
    fn is_new(&self, files: &Digest) -> bool {
        self.files.as_ref() != Some(files)
    }

    fn refused(&mut self, files: Digest, now: Instant) {
        self.pause = if self.is_new(&files) {
            LOOK
        } else {
            (self.pause * 2).min(LONGEST)
        };
        self.files = Some(files);
        self.at = Some(now + self.pause);
    }
}

/// Why what the directory holds was not put in force.
enum Refused {
    /// It is wrong as it stands.
    ForGood(String),
    /// It may be taken later: containerd or a registry was away.
    ForNow(String),
}

impl fmt::Debug for PolicyKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyKeeper")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl PolicyKeeper {
    pub(super) fn new(
        guard: Guard,
        settings: &Settings,
        compile: CompileLocal,
        state: Option<StateDir>,
    ) -> Self {
        let directory = match &settings.policy {
            PolicySource::Nowhere => None,
            PolicySource::Local(path) => Some(path.clone()),
        };
        Self {
            guard,
            directory,
            audience: settings.audience.clone(),
            limits: settings.limits.clone(),
            compile,
            state,
            wake: Notify::new(),
            seen: Mutex::default(),
        }
    }

    /// Puts the last policy in force again, before the first call is answered. Without a lockout
    /// check: it was in force.
    pub(super) fn begin(&self) {
        if self.directory.is_none() {
            return;
        }
        let Some(state) = &self.state else {
            return;
        };
        match load_last_policy(state, self.limits.max_policy_bytes) {
            Ok(None) => {}
            Ok(Some(json)) => match compile::from_json(&json, &self.limits) {
                Ok(policy) => {
                    self.lock().last = Some(policy.version());
                    tracing::info!(
                        version = policy.short_version(),
                        "the last policy is in force"
                    );
                    self.guard.activate(policy);
                }
                Err(error) => tracing::error!("the last policy is not used: {error}"),
            },
            Err(error) => tracing::error!("the last policy is not used: {error}"),
        }
    }

    /// Looks at the directory now and then, for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        let Some(directory) = self.directory.clone() else {
            return;
        };
        loop {
            self.look(&directory).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Looks now.
    pub(super) fn look_now(&self) {
        let mut seen = self.lock();
        seen.files = None;
        seen.again = Again::default();
        drop(seen);
        self.wake.notify_one();
    }

    /// Where the policy comes from, for the status.
    pub(super) fn source(&self) -> String {
        match &self.directory {
            Some(path) => path.display().to_string(),
            None => "nowhere".to_owned(),
        }
    }

    /// The newest policy, if it was refused.
    pub(super) fn refused(&self) -> Option<RefusedPolicy> {
        self.lock().refused.clone()
    }

    async fn look(&self, directory: &Path) {
        let files = match read_directory(directory, &self.limits) {
            Ok(files) => files,
            Err(error) => return self.refuse(directory, &error.to_string()),
        };
        let digest = digest_of(&files);
        let fresh = {
            let seen = self.lock();
            if seen.files == Some(digest) || !seen.again.is_due(&digest, Instant::now()) {
                return;
            }
            seen.again.is_new(&digest)
        };
        match self.take(files, fresh).await {
            Ok(()) => {
                let mut seen = self.lock();
                seen.files = Some(digest);
                seen.refused = None;
                seen.again = Again::default();
            }
            Err(Refused::ForGood(why)) => {
                self.lock().files = Some(digest);
                self.refuse(directory, &why);
            }
            Err(Refused::ForNow(why)) => {
                self.lock().again.refused(digest, Instant::now());
                self.refuse(directory, &why);
            }
        }
    }

    /// Compile, lockout guard, disk, one swap. Any failure keeps what is in force. `fresh` says that
    /// these files were not tried before, so that warnings are said once.
    async fn take(&self, files: Vec<SourceFile>, fresh: bool) -> Result<(), Refused> {
        let local = (self.compile)(files, &self.limits).map_err(Refused::ForGood)?;
        for warning in local.warnings.iter().filter(|_| fresh) {
            tracing::warn!("policy: {warning}");
        }
        let audience = &local.policy.set().audience;
        if let Some(own) = &self.audience
            && own != audience
        {
            return Err(Refused::ForGood(format!(
                "the policy is for audience `{audience}`, this node's is `{own}`"
            )));
        }
        let version = local.policy.version();
        if self.lock().last == Some(version) {
            return Ok(());
        }
        if let Some(locked) = self.guard.would_lock_out(&local.policy).await {
            return Err(Refused::ForNow(format!(
                "under this policy {} could not start again: {}; allow it, or set `allowLockout: true`",
                locked.what, locked.line
            )));
        }
        if let Some(state) = &self.state
            && let Err(error) = save_last_policy(state, &local.json)
        {
            tracing::error!("the policy does not survive a restart: {error}");
        }
        let (short, counts) = (local.policy.short_version(), local.policy.counts());
        self.guard.activate(local.policy);
        self.lock().last = Some(version);
        tracing::info!(
            version = short,
            policies = counts.policies,
            rules = counts.rules,
            "a policy is in force"
        );
        Ok(())
    }

    /// Says why, once for each reason.
    fn refuse(&self, directory: &Path, why: &str) {
        let mut seen = self.lock();
        if seen
            .refused
            .as_ref()
            .is_some_and(|known| known.error == why)
        {
            return;
        }
        tracing::error!(from = %directory.display(), "a policy was refused: {why}");
        seen.refused = Some(RefusedPolicy {
            at: rfc3339(crate::clock::now()),
            from: directory.display().to_string(),
            error: why.to_owned(),
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names and texts, with their lengths so that no two directories look the same.
fn digest_of(files: &[SourceFile]) -> Digest {
    let mut bytes = Vec::new();
    for file in files {
        for part in [&file.name, &file.text] {
            bytes.extend_from_slice(part.len().to_string().as_bytes());
            bytes.push(b':');
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_refused_for_now_are_tried_ever_more_seldom_up_to_a_minute() {
        let files = Digest::of(b"files");
        let mut again = Again::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert!(again.is_due(&files, now));
            again.refused(files, now);
            assert!(!again.is_due(&files, now));
            pauses.push(again.pause.as_secs());
            now += again.pause;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn changed_files_are_tried_at_once() {
        let (now, mut again) = (Instant::now(), Again::default());
        again.refused(Digest::of(b"files"), now);
        assert!(again.is_due(&Digest::of(b"others"), now));
        again.refused(Digest::of(b"others"), now);
        assert_eq!(again.pause, LOOK);
    }
}
