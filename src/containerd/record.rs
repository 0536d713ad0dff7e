//! containerd's own records of images, sandboxes and containers, as values.

use std::collections::BTreeMap;

use super::ContainerdError;
use super::messages as wire;
use crate::image::Digest;
use crate::request::Pod;

/// `VersionResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `runtime_name`: `containerd`.
    pub runtime_name: String,
    /// `runtime_version`, for instance `1.6.20` or `v2.4.2`.
    pub runtime_version: String,
    /// `runtime_api_version`: `v1`.
    pub runtime_api_version: String,
}

/// An image as containerd's CRI knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// `id`: digest of the image config.
    pub id: Digest,
    /// `repo_tags`: record names, a hint.
    pub repo_tags: Vec<String>,
    /// `repo_digests`: record names, a hint.
    pub repo_digests: Vec<String>,
    /// `uid`: the image's numeric user, if it names one.
    pub uid: Option<i64>,
    /// `username`: the image's user by name, empty if none.
    pub username: String,
    /// Whether the garbage collection of images leaves it: the pause image (containerd 1.7.2 and
    /// newer).
    pub pinned: bool,
}

/// `PodSandboxState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxState {
    /// SANDBOX_READY (0).
    Ready,
    /// SANDBOX_NOTREADY, and any number that this build does not know.
    NotReady,
}

/// A sandbox in containerd's list. [`Containerd::sandbox`](super::Containerd::sandbox) says more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxEntry {
    /// `id`.
    pub id: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.attempt`.
    pub attempt: u32,
    /// `state`.
    pub state: SandboxState,
    /// `created_at`, nanoseconds since 1970.
    pub created_at: i64,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
    /// `annotations`, verbatim.
    pub annotations: BTreeMap<String, String>,
    /// `runtime_handler`, empty for the default one.
    pub runtime_handler: String,
}

/// `ContainerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// CONTAINER_CREATED (0).
    Created,
    /// CONTAINER_RUNNING (1).
    Running,
    /// CONTAINER_EXITED (2).
    Exited,
    /// CONTAINER_UNKNOWN, and any number that this build does not know.
    Unknown,
}

/// A container as containerd knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEntry {
    /// `id`.
    pub id: String,
    /// `pod_sandbox_id`; `None` in a status, which does not carry it.
    pub sandbox_id: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.attempt`.
    pub attempt: u32,
    /// `state`.
    pub state: ContainerState,
    /// `created_at`, nanoseconds since 1970.
    pub created_at: i64,
    /// `image.image`: in a list what the creator sent, in a status a name that containerd picks.
    pub image: String,
    /// `image_ref`: the ID in a list, a repository digest in a status.
    pub image_ref: String,
    /// `image_id`; empty from containerd 1.6, whose list says it in `image_ref`.
    pub image_id: String,
    /// `labels`; from a kubelet they name the pod.
    pub labels: BTreeMap<String, String>,
    /// `annotations`, verbatim.
    pub annotations: BTreeMap<String, String>,
    /// Verbose info `info`, JSON, as containerd sent it; `None` unless asked for.
    pub info: Option<String>,
}

impl TryFrom<wire::Image> for ImageEntry {
    type Error = ContainerdError;

    fn try_from(image: wire::Image) -> Result<Self, ContainerdError> {
        let id = Digest::parse(&image.id).map_err(|error| ContainerdError::Bad {
            name: image.id.clone(),
            why: format!("not an image ID: {error}"),
        })?;
        Ok(Self {
            id,
            repo_tags: image.repo_tags,
            repo_digests: image.repo_digests,
            uid: image.uid.map(|uid| uid.value),
            username: image.username,
            pinned: image.pinned,
        })
    }
}

impl SandboxEntry {
    /// The pod that the sandbox belongs to, as its creator said.
    pub fn pod(&self) -> Pod {
        Pod::new(
            &self.namespace,
            &self.name,
            &self.uid,
            &self.labels,
            &self.annotations,
        )
    }
}

impl From<wire::PodSandbox> for SandboxEntry {
    fn from(sandbox: wire::PodSandbox) -> Self {
        let metadata = sandbox.metadata.unwrap_or_default();
        Self {
            id: sandbox.id,
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            attempt: metadata.attempt,
            state: sandbox_state(sandbox.state),
            created_at: sandbox.created_at,
            labels: sandbox.labels,
            annotations: sandbox.annotations,
            runtime_handler: sandbox.runtime_handler,
        }
    }
}

impl From<wire::Container> for ContainerEntry {
    fn from(container: wire::Container) -> Self {
        let metadata = container.metadata.unwrap_or_default();
        Self {
            id: container.id,
            sandbox_id: Some(container.pod_sandbox_id),
            name: metadata.name,
            attempt: metadata.attempt,
            state: container_state(container.state),
            created_at: container.created_at,
            image: container.image.unwrap_or_default().image,
            image_ref: container.image_ref,
            image_id: container.image_id,
            labels: container.labels,
            annotations: container.annotations,
            info: None,
        }
    }
}

impl ContainerEntry {
    /// One of which nothing else is known.
    #[cfg(test)]
    pub(crate) fn named(id: &str, name: &str, state: ContainerState) -> Self {
        Self {
            id: id.to_owned(),
            sandbox_id: None,
            name: name.to_owned(),
            attempt: 0,
            state,
            created_at: 0,
            image: String::new(),
            image_ref: String::new(),
            image_id: String::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            info: None,
        }
    }

    pub(super) fn from_status(container: wire::ContainerStatus, info: Option<String>) -> Self {
        let metadata = container.metadata.unwrap_or_default();
        Self {
            id: container.id,
            sandbox_id: None,
            name: metadata.name,
            attempt: metadata.attempt,
            state: container_state(container.state),
            created_at: container.created_at,
            image: container.image.unwrap_or_default().image,
            image_ref: container.image_ref,
            image_id: container.image_id,
            labels: container.labels,
            annotations: container.annotations,
            info,
        }
    }
}

fn sandbox_state(number: i32) -> SandboxState {
    if number == 0 {
        SandboxState::Ready
    } else {
        SandboxState::NotReady
    }
}

fn container_state(number: i32) -> ContainerState {
    match number {
        0 => ContainerState::Created,
        1 => ContainerState::Running,
        2 => ContainerState::Exited,
        _ => ContainerState::Unknown,
    }
}
