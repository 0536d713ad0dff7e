//! What a kubelet would send for a manifest: Pod, and the pod templates of workloads, → CRI
//! requests. Pure.
//!
//! ```text
//!  text ─tree→ values ─workload, spec, container, volume→ Manifest ─sandbox, create, mounts→ Translation
//! ```
//!
//! Told from the sources of the kubelet and held field by field against requests of a real one
//! (tests/recorded). What a kubelet knows besides the manifest, or makes up, is handed in as a
//! [`Node`]; keys that are not known are said, never dropped in silence.

mod container;
mod create;
mod env;
mod fields;
mod hook;
mod mounts;
mod node;
mod quantity;
mod resources;
mod sandbox;
mod security;
mod spec;
mod tree;
mod volume;
mod workload;

pub use fields::Note;
pub use mounts::Origin;
pub use node::{Cgroups, Claims, Images, Node, Resolver, Source};
pub use workload::{Found, Manifest, read};

use self::container::Container;
use self::env::EnvValue;
use self::spec::Pod;
use self::volume::VolumeSource;
use crate::api::runtime_v1 as api;
use crate::image::Digest;

/// What kind of container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of `initContainers`; it ends before the next begins.
    Init,
    /// Of `initContainers`, with `restartPolicy: Always`.
    Sidecar,
    /// Of `containers`.
    Normal,
    /// Of `ephemeralContainers`.
    Ephemeral,
}

/// Why the kubelet itself does not create a container, or sends nothing for the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    text: String,
}

impl Refused {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// What is wrong, and what to change.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What a kubelet sends for one pod, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Translation {
    /// RunPodSandbox.
    pub sandbox: api::RunPodSandboxRequest,
    /// Its containers: init containers, then the normal ones, then ephemeral ones.
    pub containers: Vec<ContainerCalls>,
    /// Things that a node adds and no manifest shows.
    pub assumed: Vec<String>,
}

/// What it sends for one container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerCalls {
    /// Its name.
    pub name: String,
    /// Its image, as the pod writes it.
    pub image: String,
    /// Which list it stands in.
    pub kind: Kind,
    /// Where it stands in the file; 0 where it cannot be told.
    pub line: u64,
    /// PullImage of its own image and of its image volumes; empty where `Never` says so.
    pub pulls: Vec<api::PullImageRequest>,
    /// CreateContainer.
    pub create: Result<Box<api::CreateContainerRequest>, Refused>,
    /// Parallel to the mounts of `create`.
    pub origins: Vec<Origin>,
}

impl Manifest {
    /// The pod's name; of a workload, the workload's.
    pub fn name(&self) -> &str {
        &self.pod.name
    }

    /// The pod's namespace.
    pub fn namespace(&self) -> &str {
        &self.pod.namespace
    }

    /// The images of its containers, as the pod writes them.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        let containers = self.pod.spec.every_container();
        containers.map(|container| container.image.as_str())
    }

    /// Translates the pod as `node` would run it.
    ///
    /// # Errors
    /// [`Refused`] if the kubelet sends nothing for it.
    pub fn translate(&self, node: &Node, images: &Images) -> Result<Translation, Refused> {
        if self.pod.spec.os == "windows" {
            return Err(Refused::new("a Windows pod does not run on this node"));
        }
        let mut pod = self.pod.clone();
        match node.source {
            Source::Api => {}
            Source::File | Source::Http => {
                refuse_references(&pod)?;
                pod.name = format!("{}-{}", pod.name, node.name.to_lowercase());
            }
        }
        let sandbox = api::RunPodSandboxRequest {
            config: Some(sandbox::sandbox(&pod, node)),
            runtime_handler: handler(&pod, node),
        };
        let spec = &pod.spec;
        let kinds = spec.init_containers.iter().map(|one| {
            let kind = if one.restarts_always {
                Kind::Sidecar
            } else {
                Kind::Init
            };
            (one, kind)
        });
        let kinds = kinds
            .chain(spec.containers.iter().map(|one| (one, Kind::Normal)))
            .chain(
                spec.ephemeral_containers
                    .iter()
                    .map(|one| (one, Kind::Ephemeral)),
            );
        let containers = kinds
            .map(|(container, kind)| calls(&pod, container, kind, node, images, &sandbox))
            .collect();
        Ok(Translation {
            containers,
            assumed: assumed(&pod, node),
            sandbox,
        })
    }
}

/// A static pod may not name objects of the API server: the kubelet does not run it at all.
fn refuse_references(pod: &Pod) -> Result<(), Refused> {
    let spec = &pod.spec;
    let by_volume = spec.volumes.iter().find_map(|volume| match &volume.source {
        VolumeSource::Claim { .. } => Some("a persistent volume claim"),
        VolumeSource::Csi { .. } => Some("a CSI driver"),
        VolumeSource::Plugin { directory, .. } => match *directory {
            "kubernetes.io~secret" => Some("a secret"),
            "kubernetes.io~configmap" => Some("a config map"),
            _ => None,
        },
        VolumeSource::HostPath(_) | VolumeSource::Image { .. } | VolumeSource::Unknown => None,
    });
    let by_variable = spec
        .every_container()
        .any(|one| {
            !one.env_from.is_empty() || one.env.iter().any(|env| env.value == EnvValue::Object)
        })
        .then_some("a secret or config map");
    let by_account = (!spec.service_account.is_empty()).then_some("a service account");
    match by_account.or(by_volume).or(by_variable) {
        None => Ok(()),
        Some(what) => Err(Refused::new(format!(
            "a static pod may not use {what}; remove it, or create the pod through the API server"
        ))),
    }
}

/// A class is taken for named like its handler.
fn handler(pod: &Pod, node: &Node) -> String {
    let class = &pod.spec.runtime_class;
    node.handlers.get(class).unwrap_or(class).clone()
}

fn calls(
    pod: &Pod,
    container: &Container,
    kind: Kind,
    node: &Node,
    images: &Images,
    sandbox: &api::RunPodSandboxRequest,
) -> ContainerCalls {
    let mut pulled = vec![(container.image.as_str(), container.pull_policy.as_str())];
    for mount in &container.mounts {
        let volume = pod.spec.volumes.iter().find(|one| one.name == mount.volume);
        if let Some(VolumeSource::Image {
            reference,
            pull_policy,
        }) = volume.map(|volume| &volume.source)
        {
            pulled.push((reference, pull_policy));
        }
    }
    let pulls = pulled
        .into_iter()
        .filter(|(_, policy)| *policy != "Never")
        .map(|(image, _)| pull(image, sandbox))
        .collect();
    let (create, origins) = match create::config(pod, container, node, images) {
        Ok((config, origins)) => {
            let request = api::CreateContainerRequest {
                pod_sandbox_id: node.sandbox_id.clone(),
                config: Some(config),
                sandbox_config: sandbox.config.clone(),
            };
            (Ok(Box::new(request)), origins)
        }
        Err(refused) => (Err(refused), Vec::new()),
    };
    ContainerCalls {
        name: container.name.clone(),
        image: container.image.clone(),
        kind,
        line: container.line,
        pulls,
        create,
        origins,
    }
}

fn pull(image: &str, sandbox: &api::RunPodSandboxRequest) -> api::PullImageRequest {
    let config = sandbox.config.clone();
    let annotations = config.as_ref().map(|config| config.annotations.clone());
    api::PullImageRequest {
        image: Some(api::ImageSpec {
            image: with_tag(image),
            annotations: annotations.unwrap_or_default(),
            ..api::ImageSpec::default()
        }),
        auth: None,
        sandbox_config: config,
    }
}

/// The kubelet adds `:latest` to a bare name, and no registry.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    if image.contains('@') || last.contains(':') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

/// The ID of an image: the one that was told, else one made up of its name.
pub(crate) fn image_id(image: &str, images: &Images) -> String {
    let told = images.ids.get(image).cloned();
    told.unwrap_or_else(|| made_up(image).to_string())
}

/// A digest that stands for one that only a registry knows.
pub(crate) fn made_up(image: &str) -> Digest {
    Digest::of(image.as_bytes())
}

fn assumed(pod: &Pod, node: &Node) -> Vec<String> {
    let mut assumed = Vec::new();
    let class = &pod.spec.runtime_class;
    if !class.is_empty() && !node.handlers.contains_key(class) {
        assumed.push(format!("RuntimeClass `{class}` has the handler `{class}`"));
    }
    let is_claim = |volume: &volume::Volume| {
        matches!(
            volume.source,
            VolumeSource::Claim { .. } | VolumeSource::Csi { .. }
        )
    };
    if node.claims == Claims::Volumes && pod.spec.volumes.iter().any(is_claim) {
        assumed.push(
            "claims are bound to volumes of CSI drivers, and these are no directories of the node"
                .to_owned(),
        );
    }
    let mut devices: Vec<&str> = pod
        .spec
        .every_container()
        .flat_map(|container| container.resources.limits.keys())
        .map(String::as_str)
        .filter(|name| name.contains('/'))
        .collect();
    devices.sort_unstable();
    devices.dedup();
    for name in devices {
        assumed.push(format!(
            "what a device plugin adds for `{name}` is not judged"
        ));
    }
    assumed
}
