//! The method table: every name of CRI runtime.v1, and what the guard does with each. Pure.
//! Refuses: every `:path` that is not, byte for byte, one of the 43.

/// Which of the two services of CRI runtime.v1 a method belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `runtime.v1.RuntimeService`.
    Runtime,
    /// `runtime.v1.ImageService`.
    Image,
}

/// Whether a method answers once or for as long as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One request, one answer.
    Unary,
    /// One request, many answers: no deadline, no bound on the whole.
    ServerStream,
}

/// A method whose request the guard can read: what [`super::decode()`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatedMethod {
    /// `ImageService/PullImage`.
    PullImage,
    /// `ImageService/ImageStatus`: filtered, never denied by policy.
    ImageStatus,
    /// `RuntimeService/RunPodSandbox`.
    RunPodSandbox,
    /// `RuntimeService/CreateContainer`.
    CreateContainer,
    /// `RuntimeService/UpdateContainerResources`.
    UpdateContainerResources,
    /// `RuntimeService/Exec`.
    Exec,
    /// `RuntimeService/ExecSync`.
    ExecSync,
    /// `RuntimeService/Attach`.
    Attach,
    /// `RuntimeService/PortForward`.
    PortForward,
    /// `RuntimeService/StartContainer`.
    StartContainer,
    /// `RuntimeService/CheckpointContainer`.
    CheckpointContainer,
}

impl GatedMethod {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::PullImage,
        Self::ImageStatus,
        Self::RunPodSandbox,
        Self::CreateContainer,
        Self::UpdateContainerResources,
        Self::Exec,
        Self::ExecSync,
        Self::Attach,
        Self::PortForward,
        Self::StartContainer,
        Self::CheckpointContainer,
    ];

    /// Its row in the table of methods.
    pub const fn method(self) -> Method {
        match self {
            Self::PullImage => Method::PullImage,
            Self::ImageStatus => Method::ImageStatus,
            Self::RunPodSandbox => Method::RunPodSandbox,
            Self::CreateContainer => Method::CreateContainer,
            Self::UpdateContainerResources => Method::UpdateContainerResources,
            Self::Exec => Method::Exec,
            Self::ExecSync => Method::ExecSync,
            Self::Attach => Method::Attach,
            Self::PortForward => Method::PortForward,
            Self::StartContainer => Method::StartContainer,
            Self::CheckpointContainer => Method::CheckpointContainer,
        }
    }
    /// The name of the request message in runtime.v1.
    pub const fn request_message(self) -> &'static str {
        match self {
            Self::PullImage => "PullImageRequest",
            Self::ImageStatus => "ImageStatusRequest",
            Self::RunPodSandbox => "RunPodSandboxRequest",
            Self::CreateContainer => "CreateContainerRequest",
            Self::UpdateContainerResources => "UpdateContainerResourcesRequest",
            Self::Exec => "ExecRequest",
            Self::ExecSync => "ExecSyncRequest",
            Self::Attach => "AttachRequest",
            Self::PortForward => "PortForwardRequest",
            Self::StartContainer => "StartContainerRequest",
            Self::CheckpointContainer => "CheckpointContainerRequest",
        }
    }
}

/// What the guard does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Read and judged, always.
    Gate(GatedMethod),
    /// Read; the answer may be "absent". Method: [`GatedMethod::ImageStatus`].
    FilterImageStatus,
    /// Carried as it is, unless policy or settings ask for a gate.
    GateIfAsked(GatedMethod),
    /// Carried as it is, in every state.
    Relay,
    /// Refused with RPC-REFUSED, unless a policy speaks of it: then it is judged.
    RefuseUnlessAsked(GatedMethod),
    /// Answered UNIMPLEMENTED: it makes containers without a gate, and the kubelet does without it.
    Unimplemented,
}

macro_rules! methods {
    ($($name:ident: $service:ident, $prefix:literal, $shape:ident, $handling:expr;)*) => {
        /// A method of CRI runtime.v1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $prefix, stringify!($name), "`.")] $name,)*
        }

        impl Method {
            /// Every method.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The method of a raw `:path`, compared byte for byte: no decoding, no folding, no
            /// second spelling. `None` is answered UNIMPLEMENTED and reaches nobody.
            pub fn from_path(path: &str) -> Option<Self> {
                match path {
                    $(concat!("/runtime.v1.", $prefix, stringify!($name)) => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The `:path`.
            pub const fn path(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("/runtime.v1.", $prefix, stringify!($name)),)*
                }
            }

            /// The name alone, as in logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The service.
            pub const fn service(self) -> Service {
                match self { $(Self::$name => Service::$service,)* }
            }

            /// Unary or a server stream.
            pub const fn shape(self) -> Shape {
                match self { $(Self::$name => Shape::$shape,)* }
            }

            /// What the guard does with it.
            pub const fn handling(self) -> Handling {
                match self { $(Self::$name => $handling,)* }
            }
        }
    };
}

methods! {
    // Gated.
    PullImage: Image, "ImageService/", Unary, Handling::Gate(GatedMethod::PullImage);
    RunPodSandbox: Runtime, "RuntimeService/", Unary, Handling::Gate(GatedMethod::RunPodSandbox);
    CreateContainer: Runtime, "RuntimeService/", Unary, Handling::Gate(GatedMethod::CreateContainer);
    UpdateContainerResources: Runtime, "RuntimeService/", Unary,
        Handling::Gate(GatedMethod::UpdateContainerResources);
    ImageStatus: Image, "ImageService/", Unary, Handling::FilterImageStatus;
    Exec: Runtime, "RuntimeService/", Unary, Handling::GateIfAsked(GatedMethod::Exec);
    ExecSync: Runtime, "RuntimeService/", Unary, Handling::GateIfAsked(GatedMethod::ExecSync);
    Attach: Runtime, "RuntimeService/", Unary, Handling::GateIfAsked(GatedMethod::Attach);
    PortForward: Runtime, "RuntimeService/", Unary, Handling::GateIfAsked(GatedMethod::PortForward);
    StartContainer: Runtime, "RuntimeService/", Unary,
        Handling::GateIfAsked(GatedMethod::StartContainer);
    // Refused.
    CheckpointContainer: Runtime, "RuntimeService/", Unary,
        Handling::RefuseUnlessAsked(GatedMethod::CheckpointContainer);
    CheckpointPod: Runtime, "RuntimeService/", Unary, Handling::Unimplemented;
    RestorePod: Runtime, "RuntimeService/", Unary, Handling::Unimplemented;
    // Carried.
    Version: Runtime, "RuntimeService/", Unary, Handling::Relay;
    Status: Runtime, "RuntimeService/", Unary, Handling::Relay;
    RuntimeConfig: Runtime, "RuntimeService/", Unary, Handling::Relay;
    UpdateRuntimeConfig: Runtime, "RuntimeService/", Unary, Handling::Relay;
    StopPodSandbox: Runtime, "RuntimeService/", Unary, Handling::Relay;
    RemovePodSandbox: Runtime, "RuntimeService/", Unary, Handling::Relay;
    PodSandboxStatus: Runtime, "RuntimeService/", Unary, Handling::Relay;
    ListPodSandbox: Runtime, "RuntimeService/", Unary, Handling::Relay;
    UpdatePodSandboxResources: Runtime, "RuntimeService/", Unary, Handling::Relay;
    StopContainer: Runtime, "RuntimeService/", Unary, Handling::Relay;
    RemoveContainer: Runtime, "RuntimeService/", Unary, Handling::Relay;
    ContainerStatus: Runtime, "RuntimeService/", Unary, Handling::Relay;
    ListContainers: Runtime, "RuntimeService/", Unary, Handling::Relay;
    ReopenContainerLog: Runtime, "RuntimeService/", Unary, Handling::Relay;
    ContainerStats: Runtime, "RuntimeService/", Unary, Handling::Relay;
    ListContainerStats: Runtime, "RuntimeService/", Unary, Handling::Relay;
    PodSandboxStats: Runtime, "RuntimeService/", Unary, Handling::Relay;
    ListPodSandboxStats: Runtime, "RuntimeService/", Unary, Handling::Relay;
    ListMetricDescriptors: Runtime, "RuntimeService/", Unary, Handling::Relay;
    ListPodSandboxMetrics: Runtime, "RuntimeService/", Unary, Handling::Relay;
    GetContainerEvents: Runtime, "RuntimeService/", ServerStream, Handling::Relay;
    StreamPodSandboxes: Runtime, "RuntimeService/", ServerStream, Handling::Relay;
    StreamContainers: Runtime, "RuntimeService/", ServerStream, Handling::Relay;
    StreamContainerStats: Runtime, "RuntimeService/", ServerStream, Handling::Relay;
    StreamPodSandboxStats: Runtime, "RuntimeService/", ServerStream, Handling::Relay;
    StreamPodSandboxMetrics: Runtime, "RuntimeService/", ServerStream, Handling::Relay;
    ListImages: Image, "ImageService/", Unary, Handling::Relay;
    RemoveImage: Image, "ImageService/", Unary, Handling::Relay;
    ImageFsInfo: Image, "ImageService/", Unary, Handling::Relay;
    StreamImages: Image, "ImageService/", ServerStream, Handling::Relay;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{GatedMethod, Handling, Method, Service, Shape};

    #[test]
    fn the_table_names_43_methods_and_none_twice() {
        let paths: BTreeSet<&str> = Method::ALL.iter().map(|method| method.path()).collect();
        assert_eq!((Method::ALL.len(), paths.len()), (43, 43));
    }

    #[test]
    fn every_method_is_found_by_its_own_path() {
        for method in Method::ALL {
            assert_eq!(Method::from_path(method.path()), Some(*method));
        }
    }

    #[test]
    fn a_path_ends_in_the_name_and_begins_with_the_service() {
        for method in Method::ALL {
            let service = match method.service() {
                Service::Runtime => "RuntimeService",
                Service::Image => "ImageService",
            };
            let path = format!("/runtime.v1.{service}/{}", method.name());
            assert_eq!(method.path(), path);
        }
    }

    #[test]
    fn seven_methods_are_server_streams() {
        let streams: Vec<&str> = Method::ALL
            .iter()
            .filter(|method| method.shape() == Shape::ServerStream)
            .map(|method| method.name())
            .collect();
        assert_eq!(
            streams,
            [
                "GetContainerEvents",
                "StreamPodSandboxes",
                "StreamContainers",
                "StreamContainerStats",
                "StreamPodSandboxStats",
                "StreamPodSandboxMetrics",
                "StreamImages",
            ]
        );
    }

    #[test]
    fn a_server_stream_is_only_carried() {
        for method in Method::ALL {
            if method.shape() == Shape::ServerStream {
                assert_eq!(method.handling(), Handling::Relay, "{}", method.name());
            }
        }
    }

    #[test]
    fn what_makes_a_container_is_gated_or_unimplemented() {
        assert_eq!(
            [
                Method::PullImage.handling(),
                Method::RunPodSandbox.handling(),
                Method::CreateContainer.handling(),
                Method::CheckpointPod.handling(),
                Method::RestorePod.handling(),
                Method::CheckpointContainer.handling(),
            ],
            [
                Handling::Gate(GatedMethod::PullImage),
                Handling::Gate(GatedMethod::RunPodSandbox),
                Handling::Gate(GatedMethod::CreateContainer),
                Handling::Unimplemented,
                Handling::Unimplemented,
                Handling::RefuseUnlessAsked(GatedMethod::CheckpointContainer),
            ]
        );
    }

    #[test]
    fn e1_a_path_in_any_other_spelling_is_no_method() {
        for path in [
            "",
            "/",
            "runtime.v1.RuntimeService/CreateContainer",
            "//runtime.v1.RuntimeService/CreateContainer",
            "/runtime.v1.RuntimeService//CreateContainer",
            "/runtime.v1.RuntimeService%2fCreateContainer",
            "/runtime.v1.RuntimeService%2FCreateContainer",
            "/runtime.v1.RuntimeService/CreateContainer/",
            "/runtime.v1.RuntimeService/CreateContainer?x=1",
            "/runtime.v1.RuntimeService/CreateContainer ",
            "/runtime.v1.RuntimeService/CreateContainer\0",
            "/runtime.v1.RuntimeService/./CreateContainer",
            "/runtime.v1.RuntimeService/%43reateContainer",
            "/runtime.v1.RuntimeService/createContainer",
            "/runtime.v1.runtimeservice/CreateContainer",
            "/Runtime.v1.RuntimeService/CreateContainer",
            "/runtime.v1.RuntimeService",
            "/runtime.v1.RuntimeService/",
            "/runtime.v1.RuntimeService/Unknown",
        ] {
            assert_eq!(Method::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn e1_a_method_of_the_other_service_is_no_method() {
        assert_eq!(
            Method::from_path("/runtime.v1.ImageService/CreateContainer"),
            None
        );
        assert_eq!(
            Method::from_path("/runtime.v1.RuntimeService/PullImage"),
            None
        );
    }

    #[test]
    fn e1_other_services_of_containerds_socket_are_no_methods() {
        for path in [
            "/runtime.v1alpha2.RuntimeService/CreateContainer",
            "/runtime.v1alpha2.ImageService/PullImage",
            "/containerd.services.containers.v1.Containers/Create",
            "/containerd.services.images.v1.Images/Update",
            "/containerd.services.transfer.v1.Transfer/Transfer",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert_eq!(Method::from_path(path), None, "{path}");
        }
    }
}
