//! The CRI messages that the guard itself asks with. The relayed answers are never decoded, so
//! fields that are not named here lose nothing.

use prost::Message;

pub(super) use crate::api::runtime_v1::{
    Container, ContainerStatus, ContainerStatusResponse, Image, ImageSpec, ImageStatusRequest,
    ImageStatusResponse, ListContainersResponse, ListImagesResponse, ListPodSandboxResponse,
    PodSandbox, PodSandboxStatusResponse, PullImageRequest, PullImageResponse, StatusRequest,
    StatusResponse, VersionRequest, VersionResponse,
};

/// `ImageFsInfoRequest` and every other request without fields.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

/// `ImageFsInfoResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ImageFsInfoResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) image_filesystems: Vec<FilesystemUsage>,
}

/// `FilesystemUsage`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FilesystemUsage {
    #[prost(message, optional, tag = "2")]
    pub(super) fs_id: Option<FilesystemIdentifier>,
}

/// `FilesystemIdentifier`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FilesystemIdentifier {
    #[prost(string, tag = "1")]
    pub(super) mountpoint: String,
}

/// `PodSandboxStatusRequest` and `ContainerStatusRequest`: the same two fields.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusOf {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(bool, tag = "2")]
    pub(super) verbose: bool,
}

/// `ListContainersRequest`, for one container.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ListOne {
    /// `ContainerFilter`, of which `id` is field 1.
    #[prost(message, optional, tag = "1")]
    pub(super) filter: Option<ContainerOf>,
}

/// `RemoveContainerRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerOf {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}
