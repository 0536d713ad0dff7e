//! Keeps the policy in force in step with the node's local directory: all or nothing, the last good
//! one kept, also over a restart.

mod seen;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::guard::Guard;
use crate::image::Digest;
use crate::limits::Limits;
use crate::policy::{Policy, compile, escape};
use crate::report::{RefusedPolicy, rfc3339};
use crate::settings::{PolicySource, Settings};
use crate::store::{StateDir, load_last_policy, save_last_policy};
use crate::sync::{SourceFile, read_directory};

use seen::{LOOK, Look, Seen, Tried};

/// What is said of a policy on which the guard's own code failed.
const FAILED: &str = "the guard failed on this policy; report it, with the node's log";
/// The longest audience that an error shows, in bytes.
const SHOWN_BYTES: usize = 120;

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
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    seen: Seen,
    /// Version of the last policy in force.
    last: Option<Digest>,
    refused: Option<RefusedPolicy>,
}

/// Why what the directory holds was not put in force.
enum Refused {
    /// It is wrong as it stands.
    ForGood(String),
    /// It may be taken later: containerd, a registry or the disk was away.
    ForNow(String),
    /// The files changed while they were judged.
    Changed,
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
            known: Mutex::default(),
        }
    }

    /// Puts the last policy in force again, before the first call is answered. Without a lockout
    /// check: it was in force. One that is for other nodes stays in force all the same, and is said
    /// to be refused: to drop it would open the node.
    pub(super) async fn begin(self: &Arc<Self>) {
        if self.directory.is_none() {
            return;
        }
        let keeper = Arc::clone(self);
        match contained(move || keeper.last_policy()).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(policy))) => {
                self.lock().last = Some(policy.version());
                tracing::info!(
                    version = policy.short_version(),
                    "the last policy is in force"
                );
                if let Err(why) = self.is_for_this_node(&policy) {
                    self.refuse("the policy that was in force before the restart", &why);
                }
                self.guard.activate(policy);
            }
            Ok(Err(error)) => tracing::error!("the last policy is not used: {error}"),
            Err(_) => tracing::error!("the last policy is not used: {FAILED}"),
        }
    }

    fn last_policy(&self) -> Result<Option<Policy>, String> {
        let Some(state) = &self.state else {
            return Ok(None);
        };
        let json = load_last_policy(state, self.limits.max_policy_bytes);
        let Some(json) = json.map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let policy = compile::from_json(&json, &self.limits);
        policy.map(Some).map_err(|error| error.to_string())
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
        self.lock().seen.anew();
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

    async fn look(self: &Arc<Self>, directory: &Path) {
        let from = directory.display().to_string();
        let files = match self.read(directory).await {
            Ok(files) => files,
            Err(why) => {
                self.lock().seen.restless();
                return self.refuse(&from, &why);
            }
        };
        let digest = digest_of(&files);
        let look = self.lock().seen.read(digest, Instant::now());
        let tried = match look {
            Look::InForce => return self.lock().refused = None,
            Look::Refused(why) => return self.refuse(&from, &why),
            Look::Wait => return,
            Look::Try(tried) => tried,
        };
        // A task of its own: a panic in it is a refusal, and the looks go on.
        let taking = Arc::clone(self).take(directory.to_path_buf(), files, tried);
        let taken = tokio::spawn(taking).await;
        match taken.unwrap_or_else(|_| Err(Refused::ForGood(FAILED.to_owned()))) {
            Ok(()) => {
                let mut known = self.lock();
                known.seen.took(digest);
                known.refused = None;
            }
            Err(Refused::ForGood(why)) => {
                self.lock().seen.wrong(digest, why.clone());
                self.refuse(&from, &why);
            }
            Err(Refused::ForNow(why)) => {
                let now = Instant::now();
                self.lock().seen.later(digest, why.clone(), now);
                self.refuse(&from, &why);
            }
            Err(Refused::Changed) => self.lock().seen.restless(),
        }
    }

    async fn read(self: &Arc<Self>, directory: &Path) -> Result<Vec<SourceFile>, String> {
        let (keeper, directory) = (Arc::clone(self), directory.to_path_buf());
        match contained(move || read_directory(&directory, &keeper.limits)).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err(FAILED.to_owned()),
        }
    }

    /// Compile, lockout guard, disk, one swap. Any failure keeps what is in force.
    async fn take(
        self: Arc<Self>,
        directory: PathBuf,
        files: Vec<SourceFile>,
        tried: Tried,
    ) -> Result<(), Refused> {
        let digest = digest_of(&files);
        let keeper = Arc::clone(&self);
        let LocalPolicy {
            policy,
            json,
            warnings,
        } = contained(move || keeper.compiled(files)).await??;
        if tried == Tried::Never {
            for warning in warnings {
                tracing::warn!("policy: {warning}");
            }
        }
        self.is_for_this_node(&policy).map_err(Refused::ForGood)?;
        let version = policy.version();
        if self.lock().last == Some(version) {
            return Ok(());
        }
        if let Some(locked) = self.guard.would_lock_out(&policy).await {
            return Err(Refused::ForNow(format!(
                "under this policy {} could not start again: {}; allow it, or set `allowLockout: true`",
                locked.what, locked.line
            )));
        }
        // The lockout guard may have taken a minute.
        match self.read(&directory).await {
            Ok(files) if digest_of(&files) == digest => {}
            Ok(_) | Err(_) => return Err(Refused::Changed),
        }
        self.keep(json).await?;
        let (short, counts) = (policy.short_version(), policy.counts());
        self.guard.activate(policy);
        self.lock().last = Some(version);
        tracing::info!(
            version = short,
            policies = counts.policies,
            rules = counts.rules,
            exceptions = counts.exceptions,
            "a policy is in force"
        );
        Ok(())
    }

    /// Files → policy, which a restart must be able to read back as the same one.
    fn compiled(&self, files: Vec<SourceFile>) -> Result<LocalPolicy, Refused> {
        let local = (self.compile)(files, &self.limits).map_err(Refused::ForGood)?;
        let why = match compile::from_json(&local.json, &self.limits) {
            Ok(again) if again.version() == local.policy.version() => return Ok(local),
            Ok(_) => "its strict JSON means another policy".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Refused::ForGood(format!(
            "a restart could not read this policy back: {why}"
        )))
    }

    /// To the disk before it is in force, so that a restart never goes back. A node without a state
    /// directory has nothing to go back to.
    async fn keep(&self, json: Vec<u8>) -> Result<(), Refused> {
        let Some(state) = self.state.clone() else {
            return Ok(());
        };
        let kept = contained(move || save_last_policy(&state, &json)).await?;
        kept.map_err(|error| {
            Refused::ForNow(format!(
                "{error}; the policy would not survive a restart, so it waits for the disk"
            ))
        })
    }

    fn is_for_this_node(&self, policy: &Policy) -> Result<(), String> {
        let audience = &policy.set().audience;
        match &self.audience {
            Some(own) if own != audience => Err(format!(
                "the policy is for audience `{}`, this node's is `{own}`; correct one of them",
                escape(audience, SHOWN_BYTES)
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Says why, once for each reason.
    fn refuse(&self, from: &str, why: &str) {
        let mut known = self.lock();
        let refused = known.refused.as_ref();
        if refused.is_some_and(|refused| refused.error == why) {
            return;
        }
        tracing::error!(from, "a policy was refused: {why}");
        known.refused = Some(RefusedPolicy {
            at: rfc3339(crate::clock::now()),
            from: from.to_owned(),
            error: why.to_owned(),
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what reads, writes or computes for long on a thread of its own, so that no decision waits
/// for it. A panic in it is a refusal.
async fn contained<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refused::ForGood(FAILED.to_owned()))
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

    #[tokio::test]
    async fn a_panic_is_a_refusal_with_words() {
        let refused: Result<(), Refused> = contained(|| panic!("asked for")).await;
        assert!(matches!(refused, Err(Refused::ForGood(why)) if why == FAILED));
        assert!(matches!(contained(|| 1).await, Ok(1)));
    }

    #[test]
    fn a_text_that_moves_to_another_file_is_another_directory() {
        let file = |name: &str, text: &str| SourceFile {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let one = digest_of(&[file("a.yaml", "x"), file("b.yaml", "")]);
        let other = digest_of(&[file("a.yaml", ""), file("b.yaml", "x")]);
        assert_ne!(one, other);
    }
}
