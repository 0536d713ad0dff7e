//! A CRI client that does what a kubelet does, call by call or a whole pod at once. Synchronous: it
//! carries its own runtime, and several threads may use clones of one client.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::lab::Lab;
use super::messages::*;
pub use super::pods::*;
use super::wait::{try_until, until};

const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;
/// How long one call may take unless the caller says otherwise.
pub const CALL_LIMIT: Duration = Duration::from_secs(60);
/// A client on one CRI socket.
#[derive(Clone, Debug)]
pub struct Cri {
    runtime: Arc<Runtime>,
    channel: Channel,
    pub(super) lab: Option<Lab>,
}

/// What a command in a container printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code.
    pub code: i32,
}

impl Cri {
    /// A client for a socket that answers; configs that it makes belong to `lab`.
    pub fn connect(lab: &Lab, socket: &Path) -> Self {
        let mut cri = until("connect to the CRI socket", Duration::from_secs(10), || {
            Self::try_connect(socket)
        });
        cri.lab = Some(lab.clone());
        cri
    }

    /// Makes the configs of this client belong to `lab`.
    pub fn adopt(&mut self, lab: &Lab) {
        self.lab = Some(lab.clone());
    }

    /// A client for a socket that may not be there (yet). Its sandboxes have no cgroup of a laboratory.
    pub fn try_connect(socket: &Path) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|error| error.to_string())?;
        let channel = runtime
            .block_on(endpoint.connect_timeout(Duration::from_secs(5)).connect())
            .map_err(|error| format!("{}: {error}", socket.display()))?;
        Ok(Self {
            runtime: Arc::new(runtime),
            channel,
            lab: None,
        })
    }

    /// Whether Version answers.
    pub fn ready(&self) -> Result<VersionResponse, String> {
        self.version().map_err(|status| status.to_string())
    }

    /// One unary call of any service: `unary("/runtime.v1.RuntimeService/Version", request, limit)`.
    /// Request and answer may be any prost messages, also those of `pullguard::api`.
    pub fn unary<Q, A>(&self, path: &'static str, request: Q, limit: Duration) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let channel = self.channel.clone();
        self.runtime.block_on(async move {
            let mut grpc = Grpc::new(channel)
                .max_decoding_message_size(MESSAGE_LIMIT)
                .max_encoding_message_size(MESSAGE_LIMIT);
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(format!("the connection is gone: {error}")))?;
            let mut request = Request::new(request);
            request.set_timeout(limit);
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            let call = grpc.unary(request, PathAndQuery::from_static(path), codec);
            match tokio::time::timeout(limit + Duration::from_secs(2), call).await {
                Ok(answer) => answer.map(tonic::Response::into_inner),
                Err(_) => Err(Status::deadline_exceeded(format!(
                    "{path}: no answer within {limit:?}"
                ))),
            }
        })
    }

    fn runtime_call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.unary(path, request, CALL_LIMIT)
    }

    /// Version.
    pub fn version(&self) -> Result<VersionResponse, Status> {
        self.unary(
            "/runtime.v1.RuntimeService/Version",
            VersionRequest {
                version: "0.1.0".to_owned(),
            },
            Duration::from_secs(5),
        )
    }

    /// Status.
    pub fn status(&self, verbose: bool) -> Result<StatusResponse, Status> {
        self.runtime_call(
            "/runtime.v1.RuntimeService/Status",
            StatusRequest { verbose },
        )
    }

    /// RunPodSandbox with the default handler; gives the sandbox's ID.
    pub fn run_sandbox(&self, config: &PodSandboxConfig) -> Result<String, Status> {
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let answer: PodSandboxId =
            self.runtime_call("/runtime.v1.RuntimeService/RunPodSandbox", request)?;
        Ok(answer.pod_sandbox_id)
    }

    /// StopPodSandbox and RemovePodSandbox.
    pub fn remove_pod(&self, id: &str) -> Result<(), Status> {
        let request = PodSandboxId {
            pod_sandbox_id: id.to_owned(),
        };
        let limit = Duration::from_secs(20);
        let _: Empty = self.unary(
            "/runtime.v1.RuntimeService/StopPodSandbox",
            request.clone(),
            limit,
        )?;
        let _: Empty = self.unary(
            "/runtime.v1.RuntimeService/RemovePodSandbox",
            request,
            limit,
        )?;
        Ok(())
    }

    /// ListPodSandbox without a filter.
    pub fn list_pods(&self) -> Result<Vec<PodSandbox>, Status> {
        let answer: ListPodSandboxResponse =
            self.runtime_call("/runtime.v1.RuntimeService/ListPodSandbox", Empty {})?;
        Ok(answer.items)
    }

    /// ListContainers without a filter.
    pub fn list_containers(&self) -> Result<Vec<Container>, Status> {
        let answer: ListContainersResponse =
            self.runtime_call("/runtime.v1.RuntimeService/ListContainers", Empty {})?;
        Ok(answer.containers)
    }

    /// CreateContainer; gives the container's ID.
    pub fn create(
        &self,
        pod: &str,
        config: &ContainerConfig,
        sandbox: &PodSandboxConfig,
    ) -> Result<String, Status> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(sandbox.clone()),
        };
        let answer: ContainerId =
            self.runtime_call("/runtime.v1.RuntimeService/CreateContainer", request)?;
        Ok(answer.container_id)
    }

    /// StartContainer.
    pub fn start(&self, container: &str) -> Result<(), Status> {
        let request = ContainerId {
            container_id: container.to_owned(),
        };
        let _: Empty = self.runtime_call("/runtime.v1.RuntimeService/StartContainer", request)?;
        Ok(())
    }

    /// StopContainer, with a grace period in seconds.
    pub fn stop(&self, container: &str, grace: i64) -> Result<(), Status> {
        let request = StopContainerRequest {
            container_id: container.to_owned(),
            timeout: grace,
        };
        let _: Empty = self.runtime_call("/runtime.v1.RuntimeService/StopContainer", request)?;
        Ok(())
    }

    /// RemoveContainer.
    pub fn remove(&self, container: &str) -> Result<(), Status> {
        let request = ContainerId {
            container_id: container.to_owned(),
        };
        let _: Empty = self.runtime_call("/runtime.v1.RuntimeService/RemoveContainer", request)?;
        Ok(())
    }

    /// ContainerStatus.
    pub fn container_status(&self, container: &str) -> Result<ContainerStatus, Status> {
        let request = ContainerStatusRequest {
            container_id: container.to_owned(),
            verbose: false,
        };
        let answer: ContainerStatusResponse =
            self.runtime_call("/runtime.v1.RuntimeService/ContainerStatus", request)?;
        answer
            .status
            .ok_or_else(|| Status::internal("ContainerStatus without a status"))
    }

    /// ExecSync, ten seconds at most.
    pub fn exec(&self, container: &str, command: &[&str]) -> Result<Output, Status> {
        let request = ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: strings(command),
            timeout: 10,
        };
        let answer: ExecSyncResponse =
            self.runtime_call("/runtime.v1.RuntimeService/ExecSync", request)?;
        Ok(Output {
            stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
            code: answer.exit_code,
        })
    }

    /// PullImage for a pod, without credentials; gives the image ID.
    pub fn pull(&self, image: &str, sandbox: &PodSandboxConfig) -> Result<String, Status> {
        self.pull_with(PullImageRequest {
            image: Some(spec_for(image, sandbox)),
            auth: None,
            sandbox_config: Some(sandbox.clone()),
        })
    }

    /// PullImage as given: with credentials, or without a pod, as crictl sends it.
    pub fn pull_with(&self, request: PullImageRequest) -> Result<String, Status> {
        let answer: PullImageResponse =
            self.runtime_call("/runtime.v1.ImageService/PullImage", request)?;
        Ok(answer.image_ref)
    }

    /// ImageStatus as given; `None` is "absent".
    pub fn image_status(&self, image: ImageSpec) -> Result<Option<Image>, Status> {
        let request = ImageStatusRequest {
            image: Some(image),
            verbose: false,
        };
        let answer: ImageStatusResponse =
            self.runtime_call("/runtime.v1.ImageService/ImageStatus", request)?;
        Ok(answer.image)
    }

    /// ListImages.
    pub fn list_images(&self) -> Result<Vec<Image>, Status> {
        let answer: ListImagesResponse =
            self.runtime_call("/runtime.v1.ImageService/ListImages", Empty {})?;
        Ok(answer.images)
    }

    /// RemoveImage.
    pub fn remove_image(&self, image: &str) -> Result<(), Status> {
        let request = RemoveImageRequest {
            image: Some(spec(image)),
        };
        let _: Empty = self.runtime_call("/runtime.v1.ImageService/RemoveImage", request)?;
        Ok(())
    }

    /// Waits for a container's end and gives its exit code.
    pub fn wait_exit(&self, container: &str, limit: Duration) -> i32 {
        until("the container ends", limit, || {
            match self.container_status(container) {
                Ok(status) if status.state == 2 => Ok(status.exit_code),
                Ok(status) => Err(format!("it is in state {}", status.state)),
                Err(status) => Err(status.to_string()),
            }
        })
    }

    /// What a container's log file holds, without the CRI prefix of each line.
    pub fn logs(&self, container: &str) -> String {
        let path = self
            .container_status(container)
            .expect("the container's status")
            .log_path;
        super::process::read_lossy(Path::new(&path))
            .lines()
            .map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned() + "\n")
            .collect()
    }

    /// Waits until no container of this image ID is left; for "it never started" use [`Cri::list_containers`].
    pub fn wait_gone(&self, container: &str, limit: Duration) -> Result<(), String> {
        try_until(limit, || match self.list_containers() {
            Ok(all) if all.iter().all(|one| one.id != container) => Ok(()),
            Ok(_) => Err("still listed".to_owned()),
            Err(status) => Err(status.to_string()),
        })
    }
}
