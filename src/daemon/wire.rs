//! Settings → the parts of a guard.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::DaemonError;
use crate::containerd::Containerd;
use crate::guard::{Guard, Parts, Starts};
use crate::host::KubeletRoot;
use crate::image::Platform;
use crate::policy::NodeFacts;
use crate::registry::Registry;
use crate::report::Reporter;
use crate::settings::{Settings, StartMode};
use crate::store::{
    Admissions, AdoptedImage, AdoptionError, AdoptionRecord, Ledger, StateDir, Usage,
};

/// How long containerd may take, at a first start, to say what is on the node: the kubelet's socket
/// waits for it, so not long. It is asked again beside the calls.
const ADOPT: Duration = Duration::from_secs(1);
/// The same once the socket is there.
const ADOPT_LATER: Duration = Duration::from_secs(10);
/// How long the state directory may take to open, with the question above: the kubelet waits.
const OPEN: Duration = Duration::from_secs(5);
/// Between two such questions.
const AGAIN: Duration = Duration::from_secs(2);

/// A guard's parts, and the state directory if it can be used.
pub(super) struct Wired {
    pub(super) parts: Parts,
    pub(super) state: Option<StateDir>,
    /// The adoption record that is still to be made.
    pub(super) later: Option<AdoptLater>,
}

/// What it takes to make the adoption record once containerd answers and the disk takes it.
pub(super) struct AdoptLater {
    state: StateDir,
    containerd: Containerd,
    /// What was on the node at the first answer: it stays the record, however long writing it takes.
    listed: Option<AdoptionRecord>,
}

impl AdoptLater {
    /// Asks until containerd answers, puts that answer in force, and writes until it is on the disk.
    /// What is pulled meanwhile is pulled through the guard, and is not adopted.
    pub(super) async fn run(mut self, guard: Guard) {
        let mut last = String::new();
        loop {
            let Err(why) = self.step(&guard).await else {
                return;
            };
            if why != last {
                tracing::error!("what was on the node before the guard is not recorded yet: {why}");
                last = why;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn step(&mut self, guard: &Guard) -> Result<(), String> {
        if self.listed.is_none() {
            self.listed = Some(what_is_here(&self.containerd, ADOPT_LATER).await?);
        }
        let kept = self.keep();
        // One that was on the disk already goes before; else the listing holds from now on, written
        // or not.
        match &kept {
            Ok(record) => record
                .iter()
                .cloned()
                .for_each(|record| guard.adopt(record)),
            Err(_) => self
                .listed
                .iter()
                .cloned()
                .for_each(|record| guard.adopt(record)),
        }
        kept.map(drop)
    }

    /// Writes what was listed; it stays listed.
    fn keep(&self) -> Result<Option<AdoptionRecord>, String> {
        self.listed
            .as_ref()
            .map(|record| written(&self.state, record))
            .transpose()
    }
}

/// `guarded` are this node's own members of the guarded set.
pub(super) async fn parts(settings: &Settings, guarded: Vec<String>) -> Result<Wired, DaemonError> {
    let containerd = Containerd::new(
        &settings.upstream,
        &settings.containerd_namespace,
        &settings.limits,
    )
    .map_err(|error| DaemonError::Upstream {
        why: error.to_string(),
    })?;
    let Stored {
        state,
        adoption,
        later,
        ledger,
        admissions,
    } = stored(settings.state_dir.clone(), containerd.clone()).await;
    let parts = Parts {
        node: node(settings, guarded),
        platform: Platform::linux(architecture(), ""),
        mode: settings.mode,
        starts: match settings.start {
            StartMode::Relay => Starts::Relayed,
            StartMode::Guarded => Starts::Guarded,
        },
        bootstrap: settings.bootstrap.clone(),
        kubelet_root: Arc::new(KubeletRoot::new(&settings.kubelet_root.to_string_lossy())),
        pause_image: settings.pause_image.clone(),
        guest_pull_handlers: settings.guest_pull_handlers.clone(),
        limits: settings.limits.clone(),
        containerd,
        registry: Registry::new(settings.registry.clone(), settings.limits.clone()),
        ledger,
        adoption,
        admissions,
        reporter: Reporter::new(&settings.node_name, &settings.report.audit_dir),
    };
    Ok(Wired {
        parts,
        state,
        later,
    })
}

/// What survives a restart, as far as it can be used.
struct Stored {
    state: Option<StateDir>,
    adoption: Option<AdoptionRecord>,
    later: Option<AdoptLater>,
    ledger: Ledger,
    admissions: Admissions,
}

impl Stored {
    fn nothing(why: &str) -> Self {
        Self {
            state: None,
            adoption: None,
            later: None,
            ledger: Ledger::in_memory(why),
            admissions: Admissions::in_memory(why),
        }
    }

    async fn open(directory: &Path, containerd: &Containerd) -> Self {
        let state = match StateDir::open(directory) {
            Ok(state) => state,
            Err(error) => {
                tracing::error!("facts do not survive a restart: {error}");
                return Self::nothing(&error.to_string());
            }
        };
        let (adoption, later) = adoption(&state, containerd).await;
        Self {
            adoption,
            later,
            ledger: Ledger::open(&state),
            admissions: Admissions::open(&state),
            state: Some(state),
        }
    }
}

/// Opens what is stored, on a thread that may hang: a disk that does not answer must not keep the
/// kubelet waiting.
async fn stored(directory: PathBuf, containerd: Containerd) -> Stored {
    let handle = Handle::current();
    let open =
        tokio::task::spawn_blocking(move || handle.block_on(Stored::open(&directory, &containerd)));
    match tokio::time::timeout(OPEN, open).await {
        Ok(Ok(stored)) => stored,
        Ok(Err(_)) | Err(_) => {
            let why = "the state directory did not open in time";
            tracing::error!("facts do not survive a restart: {why}");
            Stored::nothing(why)
        }
    }
}

/// What was on the node before the guard: read, or on an empty state directory written once, now or
/// later.
async fn adoption(
    state: &StateDir,
    containerd: &Containerd,
) -> (Option<AdoptionRecord>, Option<AdoptLater>) {
    match AdoptionRecord::load(state) {
        Ok(Some(record)) => return (Some(record), None),
        Ok(None) => {}
        Err(error) => {
            tracing::error!("the adoption record is not used: {error}");
            return (None, None);
        }
    }
    if state.usage() == Usage::Used {
        return (None, None);
    }
    // Before the ledger is there: a restart in between must not take the directory for a used one.
    if let Err(error) = state.set_adoption_pending(true) {
        tracing::error!("the adoption record is lost if the guard ends before it is made: {error}");
    }
    let later = |listed| AdoptLater {
        state: state.clone(),
        containerd: containerd.clone(),
        listed,
    };
    let record = match what_is_here(containerd, ADOPT).await {
        Ok(record) => record,
        Err(why) => {
            tracing::warn!("what was on the node before the guard is recorded later: {why}");
            return (None, Some(later(None)));
        }
    };
    match written(state, &record) {
        Ok(record) => (Some(record), None),
        Err(why) => {
            tracing::error!("what was on the node before the guard is not recorded yet: {why}");
            (Some(record.clone()), Some(later(Some(record))))
        }
    }
}

/// What containerd has now.
async fn what_is_here(containerd: &Containerd, within: Duration) -> Result<AdoptionRecord, String> {
    let images = containerd.list_images(within).await;
    let images = images.map_err(|error| error.to_string())?;
    let containers = containerd.list_containers(within).await;
    let containers = containers.map_err(|error| error.to_string())?;
    let images = images
        .into_iter()
        .map(|image| AdoptedImage {
            id: image.id,
            names: image.repo_tags,
            digests: image.repo_digests,
        })
        .collect();
    let containers = containers.into_iter().map(|one| one.id).collect();
    // After the containers: what starts in between is none of them, and passed the guard or will be
    // found.
    let running = containerd.running_tasks(within).await;
    let running = running.map_err(|error| error.to_string())?;
    Ok(AdoptionRecord::new(images, containers, crate::clock::now()).beside(running))
}

/// The record as it is on the disk afterwards: one that is there already is the earlier one, and
/// stays.
fn written(state: &StateDir, record: &AdoptionRecord) -> Result<AdoptionRecord, String> {
    let record = match record.write_once(state) {
        Ok(()) => record.clone(),
        Err(AdoptionError::Exists) => AdoptionRecord::load(state)
            .map_err(|error| error.to_string())?
            .ok_or("the adoption record is there and cannot be found")?,
        Err(error @ (AdoptionError::Io { .. } | AdoptionError::Malformed { .. })) => {
            return Err(error.to_string());
        }
    };
    if let Err(error) = state.set_adoption_pending(false) {
        tracing::warn!("the adoption record is made, but still marked as pending: {error}");
    }
    tracing::info!(
        images = record.images().len(),
        containers = record.containers().len(),
        "recorded what was on the node before the guard"
    );
    Ok(record)
}

fn node(settings: &Settings, guarded_paths: Vec<String>) -> NodeFacts {
    NodeFacts {
        cpu_quotas: settings.cpu_cfs_quota == crate::settings::CpuQuota::Enforced,
        name: settings.node_name.clone(),
        labels: settings.labels.clone(),
        guarded_paths,
    }
}

/// The node's architecture in the words of images (GOARCH).
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::time::Timestamp;

    fn record(container: &str) -> AdoptionRecord {
        let at = Timestamp::from_unix_seconds(1);
        AdoptionRecord::new(Vec::new(), vec![container.to_owned()], at)
    }

    #[test]
    fn a_record_that_is_there_already_is_the_one_that_holds() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("state")).unwrap();
        assert_eq!(written(&state, &record("first")), Ok(record("first")));
        assert_eq!(written(&state, &record("second")), Ok(record("first")));
    }

    #[tokio::test]
    async fn a_listing_that_cannot_be_written_stays_the_record() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let state = StateDir::open(&path).unwrap();
        // A directory in the draft's place: no write succeeds.
        let draft = path.join("adoption.json.draft");
        std::fs::create_dir(&draft).unwrap();
        let containerd = Containerd::new(
            &parent.path().join("none.sock"),
            "k8s.io",
            &Limits::default(),
        )
        .unwrap();
        let later = AdoptLater {
            state: state.clone(),
            containerd,
            listed: Some(record("first")),
        };
        assert!(later.keep().is_err());
        assert_eq!(later.listed, Some(record("first")));
        std::fs::remove_dir(&draft).unwrap();
        assert_eq!(later.keep(), Ok(Some(record("first"))));
        assert_eq!(AdoptionRecord::load(&state), Ok(Some(record("first"))));
    }
}
