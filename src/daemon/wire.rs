//! Settings → the parts of a guard.

use std::time::Duration;

use super::DaemonError;
use crate::containerd::Containerd;
use crate::guard::{Parts, Starts};
use crate::host::KubeletRoot;
use crate::image::Platform;
use crate::policy::NodeFacts;
use crate::registry::Registry;
use crate::report::Reporter;
use crate::settings::{DEFAULT_PATH, Settings, StartMode};
use crate::store::{Admissions, AdoptedImage, AdoptionRecord, Ledger, StateDir, Usage};

/// How long containerd may take to say what is on the node before the guard's first start.
const ADOPT: Duration = Duration::from_secs(10);

/// A guard's parts, and the state directory if it can be used.
pub(super) struct Wired {
    pub(super) parts: Parts,
    pub(super) state: Option<StateDir>,
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
    let state = match StateDir::open(&settings.state_dir) {
        Ok(state) => Some(state),
        Err(error) => {
            tracing::error!("facts do not survive a restart: {error}");
            None
        }
    };
    let adoption = match &state {
        Some(state) => adoption(state, &containerd).await,
        None => None,
    };
    let (ledger, admissions) = match &state {
        Some(state) => (Ledger::open(state), Admissions::open(state)),
        None => {
            let why = "the state directory cannot be used";
            (Ledger::in_memory(why), Admissions::in_memory(why))
        }
    };
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
    Ok(Wired { parts, state })
}

/// What was on the node before the guard: read, or on an empty state directory written once.
async fn adoption(state: &StateDir, containerd: &Containerd) -> Option<AdoptionRecord> {
    match AdoptionRecord::load(state) {
        Ok(Some(record)) => return Some(record),
        Ok(None) => {}
        Err(error) => {
            tracing::error!("the adoption record is not used: {error}");
            return None;
        }
    }
    if state.usage() == Usage::Used {
        return None;
    }
    match record_what_is_here(state, containerd).await {
        Ok(record) => {
            tracing::info!(
                images = record.images().len(),
                containers = record.containers().len(),
                "recorded what was on the node before the guard"
            );
            Some(record)
        }
        Err(why) => {
            tracing::error!("what was on the node before the guard is not recorded: {why}");
            None
        }
    }
}

async fn record_what_is_here(
    state: &StateDir,
    containerd: &Containerd,
) -> Result<AdoptionRecord, String> {
    let images = containerd.list_images(ADOPT).await;
    let images = images.map_err(|error| error.to_string())?;
    let containers = containerd.list_containers(ADOPT).await;
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
    Ok(record)
}

fn node(settings: &Settings) -> NodeFacts {
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let directory = |path: &std::path::Path| path.parent().map(text);
    let mut guarded = vec![
        text(&settings.kubelet_root),
        text(&settings.state_dir),
        text(&settings.certs_dir),
        text(&settings.report.audit_dir),
    ];
    guarded.extend(directory(&settings.listen));
    guarded.extend(directory(&settings.admin_listen));
    guarded.extend(directory(&settings.upstream));
    guarded.extend(directory(std::path::Path::new(DEFAULT_PATH)));
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
