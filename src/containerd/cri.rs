//! The guard's own CRI questions.

use std::time::Duration;

use super::channel::Ask;
use super::messages as wire;
use super::{
    ContainerEntry, Containerd, ContainerdError, ImageEntry, RuntimeFacts, SandboxEntry, Version,
};
use crate::image::{Digest, Reference};
use crate::request::{SandboxRecord, sandbox_from_status};

/// The key under which containerd puts the JSON of a verbose sandbox or container status.
const INFO: &str = "info";

impl Containerd {
    /// `Version`.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn version(&self, within: Duration) -> Result<Version, ContainerdError> {
        let answer: wire::VersionResponse = self
            .cri(
                Ask::new("Version", "containerd", within),
                "/runtime.v1.RuntimeService/Version",
                wire::VersionRequest {
                    version: "v1".to_owned(),
                },
            )
            .await?;
        Ok(Version {
            runtime_name: answer.runtime_name,
            runtime_version: answer.runtime_version,
            runtime_api_version: answer.runtime_api_version,
        })
    }

    /// What containerd says of its own settings, from `Status` (verbose) and `ImageFsInfo`.
    ///
    /// # Errors
    /// [`ContainerdError::Bad`] if the settings are not what any supported containerd sends.
    pub async fn runtime_status(&self, within: Duration) -> Result<RuntimeFacts, ContainerdError> {
        let ask = Ask::new("Status", "containerd", within);
        let status: wire::StatusResponse = self
            .cri(
                ask,
                "/runtime.v1.RuntimeService/Status",
                wire::StatusRequest { verbose: true },
            )
            .await?;
        let filesystems: wire::ImageFsInfoResponse = self
            .cri(
                ask.step("ImageFsInfo", "containerd"),
                "/runtime.v1.ImageService/ImageFsInfo",
                wire::Empty {},
            )
            .await?;
        let mountpoints = filesystems
            .image_filesystems
            .into_iter()
            .filter_map(|usage| usage.fs_id)
            .map(|id| id.mountpoint)
            .collect();
        RuntimeFacts::parse(status.info.get("config").map(String::as_str), mountpoints)
    }

    /// `ImageStatus` for a name or an ID; `None` if the image is not on the node.
    ///
    /// # Errors
    /// [`ContainerdError::Bad`] for an ID that is no digest; else what containerd said.
    pub async fn image_status(
        &self,
        image: &str,
        within: Duration,
    ) -> Result<Option<ImageEntry>, ContainerdError> {
        self.image_status_by(&Ask::new("ImageStatus", image, within), image)
            .await
    }

    pub(super) async fn image_status_by(
        &self,
        ask: &Ask<'_>,
        image: &str,
    ) -> Result<Option<ImageEntry>, ContainerdError> {
        let answer: wire::ImageStatusResponse = self
            .cri(
                ask.step("ImageStatus", image),
                "/runtime.v1.ImageService/ImageStatus",
                wire::ImageStatusRequest {
                    image: Some(spec(image)),
                    verbose: false,
                },
            )
            .await?;
        answer.image.map(ImageEntry::try_from).transpose()
    }

    /// `ListImages`: every image of the node.
    ///
    /// # Errors
    /// [`ContainerdError::Bad`] for an ID that is no digest; else what containerd said.
    pub async fn list_images(&self, within: Duration) -> Result<Vec<ImageEntry>, ContainerdError> {
        let answer: wire::ListImagesResponse = self
            .cri(
                Ask::new("ListImages", "images", within),
                "/runtime.v1.ImageService/ListImages",
                wire::Empty {},
            )
            .await?;
        answer
            .images
            .into_iter()
            .map(ImageEntry::try_from)
            .collect()
    }

    /// `PullImage` of `repo@D` without credentials of a pod: containerd uses its own, if it has any.
    /// Returns the image ID.
    ///
    /// # Errors
    /// [`ContainerdError::Bad`] for an answer that is no image ID; else what containerd said.
    pub async fn pull_image(
        &self,
        image: &Reference,
        within: Duration,
    ) -> Result<Digest, ContainerdError> {
        let name = image.to_string();
        let answer: wire::PullImageResponse = self
            .cri(
                Ask::new("PullImage", &name, within),
                "/runtime.v1.ImageService/PullImage",
                wire::PullImageRequest {
                    image: Some(spec(&name)),
                    ..wire::PullImageRequest::default()
                },
            )
            .await?;
        Digest::parse(&answer.image_ref).map_err(|error| ContainerdError::Bad {
            name,
            why: format!("PullImage returned no image ID: {error}"),
        })
    }

    /// `PodSandboxStatus`: containerd's own word about a sandbox.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`] if there is no such sandbox; [`ContainerdError::Bad`] for an
    /// answer about another one or one that cannot be read; else what containerd said.
    pub async fn sandbox(
        &self,
        id: &str,
        within: Duration,
    ) -> Result<SandboxRecord, ContainerdError> {
        let answer = self.sandbox_status(id, false, within).await?;
        sandbox_from_status(&answer).map_err(|error| ContainerdError::Bad {
            name: id.to_owned(),
            why: error.to_string(),
        })
    }

    /// The JSON of a verbose `PodSandboxStatus` (its `config` is what the sandbox was made with);
    /// `None` if containerd sent none.
    ///
    /// # Errors
    /// As [`Containerd::sandbox`].
    pub async fn sandbox_info(
        &self,
        id: &str,
        within: Duration,
    ) -> Result<Option<String>, ContainerdError> {
        let mut answer = self.sandbox_status(id, true, within).await?;
        Ok(answer.info.remove(INFO))
    }

    async fn sandbox_status(
        &self,
        id: &str,
        verbose: bool,
        within: Duration,
    ) -> Result<wire::PodSandboxStatusResponse, ContainerdError> {
        let answer: wire::PodSandboxStatusResponse = self
            .cri(
                Ask::new("PodSandboxStatus", id, within),
                "/runtime.v1.RuntimeService/PodSandboxStatus",
                status_of(id, verbose),
            )
            .await?;
        same_id(id, answer.status.as_ref().map(|status| status.id.as_str()))?;
        Ok(answer)
    }

    /// `ListPodSandbox`: every sandbox of the node.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn list_pod_sandbox(
        &self,
        within: Duration,
    ) -> Result<Vec<SandboxEntry>, ContainerdError> {
        let answer: wire::ListPodSandboxResponse = self
            .cri(
                Ask::new("ListPodSandbox", "sandboxes", within),
                "/runtime.v1.RuntimeService/ListPodSandbox",
                wire::Empty {},
            )
            .await?;
        Ok(answer.items.into_iter().map(SandboxEntry::from).collect())
    }

    /// `ContainerStatus`. `verbose` asks for the JSON too.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`] if there is no such container; else what containerd said.
    pub async fn container_status(
        &self,
        id: &str,
        verbose: bool,
        within: Duration,
    ) -> Result<ContainerEntry, ContainerdError> {
        let answer: wire::ContainerStatusResponse = self
            .cri(
                Ask::new("ContainerStatus", id, within),
                "/runtime.v1.RuntimeService/ContainerStatus",
                status_of(id, verbose),
            )
            .await?;
        same_id(id, answer.status.as_ref().map(|status| status.id.as_str()))?;
        Ok(ContainerEntry::from_status(
            answer.status.unwrap_or_default(),
            answer.info.get(INFO).cloned(),
        ))
    }

    /// The container with this whole ID, and the sandbox that it is in.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`] if there is no such container; else what containerd said.
    pub async fn container(
        &self,
        id: &str,
        within: Duration,
    ) -> Result<ContainerEntry, ContainerdError> {
        let answer: wire::ListContainersResponse = self
            .cri(
                Ask::new("ListContainers", id, within),
                "/runtime.v1.RuntimeService/ListContainers",
                wire::ListOne {
                    filter: Some(wire::ContainerOf { id: id.to_owned() }),
                },
            )
            .await?;
        let mut entries = answer.containers.into_iter().map(ContainerEntry::from);
        let found = entries.find(|entry| entry.id == id);
        found.ok_or_else(|| ContainerdError::NotFound {
            asked: "ListContainers",
            name: id.to_owned(),
        })
    }

    /// `ListContainers`: every container of the node.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn list_containers(
        &self,
        within: Duration,
    ) -> Result<Vec<ContainerEntry>, ContainerdError> {
        let answer: wire::ListContainersResponse = self
            .cri(
                Ask::new("ListContainers", "containers", within),
                "/runtime.v1.RuntimeService/ListContainers",
                wire::Empty {},
            )
            .await?;
        Ok(answer
            .containers
            .into_iter()
            .map(ContainerEntry::from)
            .collect())
    }
}

fn spec(image: &str) -> wire::ImageSpec {
    wire::ImageSpec {
        image: image.to_owned(),
        ..wire::ImageSpec::default()
    }
}

fn status_of(id: &str, verbose: bool) -> wire::StatusOf {
    wire::StatusOf {
        id: id.to_owned(),
        verbose,
    }
}

/// containerd also finds objects by a prefix of their ID; only the object itself is an answer.
fn same_id(asked: &str, answered: Option<&str>) -> Result<(), ContainerdError> {
    let why = match answered {
        Some(id) if id == asked => return Ok(()),
        Some(_) => "containerd answered for another ID",
        None => "containerd answered without a status",
    };
    Err(ContainerdError::Bad {
        name: asked.to_owned(),
        why: why.to_owned(),
    })
}
