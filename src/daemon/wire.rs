//! Settings → the parts of a guard.

use std::path::{Path, PathBuf};
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
use crate::settings::{DEFAULT_PATH, Settings, StartMode};
use crate::store::{Admissions, AdoptedImage, AdoptionRecord, Ledger, StateDir, Usage};

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

/// What it takes to make the adoption record once containerd answers.
pub(super) struct AdoptLater {
    state: StateDir,
    containerd: Containerd,
}

impl AdoptLater {
    /// Asks until containerd answers. What is pulled meanwhile is pulled through the guard.
    pub(super) async fn run(self, guard: Guard) {
        let mut last = String::new();
        loop {
            match record_what_is_here(&self.state, &self.containerd, ADOPT_LATER).await {
                Ok(record) => return guard.adopt(record),
                Err(why) if why != last => {
                    tracing::error!(
                        "what was on the node before the guard is not recorded yet: {why}"
                    );
                    last = why;
                }
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

pub(super) async fn parts(settings: &Settings) -> Result<Wired, DaemonError> {
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
        node: node(settings),
        platform: Platform::linux(architecture(), ""),
        mode: settings.mode,
        starts: match settings.start {
            StartMode::Relay => Starts::Relayed,
            StartMode::Guarded => Starts::Guarded,
        },
        bootstrap: settings.bootstrap.clone(),
        kubelet_root: KubeletRoot::new(&settings.kubelet_root.to_string_lossy()),
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
                return Self::nothing("the state directory cannot be used");
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
    match record_what_is_here(state, containerd, ADOPT).await {
        Ok(record) => (Some(record), None),
        Err(why) => {
            tracing::warn!("what was on the node before the guard is recorded later: {why}");
            let later = AdoptLater {
                state: state.clone(),
                containerd: containerd.clone(),
            };
            (None, Some(later))
        }
    }
}

async fn record_what_is_here(
    state: &StateDir,
    containerd: &Containerd,
    within: Duration,
) -> Result<AdoptionRecord, String> {
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
    let record = AdoptionRecord::new(images, containers, crate::clock::now());
    record
        .write_once(state)
        .map_err(|error| error.to_string())?;
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

fn node(settings: &Settings) -> NodeFacts {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let directory = |path: &Path| path.parent().map(text);
    let mut guarded = vec![
        text(&settings.kubelet_root),
        text(&settings.state_dir),
        text(&settings.report.audit_dir),
    ];
    guarded.extend(settings.certs_dirs.iter().map(|dir| text(dir)));
    guarded.extend(directory(&settings.listen));
    guarded.extend(directory(&settings.admin_listen));
    guarded.extend(directory(&settings.upstream));
    guarded.extend(directory(Path::new(DEFAULT_PATH)));
    if let crate::settings::PolicySource::Local(path) = &settings.policy {
        guarded.push(text(path));
    }
    guarded.retain(|path| path != "/");
    NodeFacts {
        name: settings.node_name.clone(),
        labels: settings.labels.clone(),
        guarded_paths: guarded,
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
