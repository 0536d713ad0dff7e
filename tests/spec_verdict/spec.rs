//! Requests: a plain one that keeps every rule, and what the steps of a case make of it.

use pullguard::api::runtime_v1::{
    Capability, ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, Int64Value,
    LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, SecurityProfile,
};
use pullguard::policy::MountOrigin;

use crate::changes::CHANGES;
use crate::random::Random;

pub(crate) const NODE: i32 = 2;
pub(crate) const UNCONFINED: i32 = 1;
pub(crate) const LOCALHOST: i32 = 2;

/// What every supported kubelet masks.
pub(crate) const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// And makes read-only.
pub(crate) const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A call, and what the node knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) request: CreateContainerRequest,
    /// The sandbox's.
    pub(crate) handler: String,
    /// The USER of the image.
    pub(crate) image_user: String,
    /// Behind the mounts, in their order.
    pub(crate) origins: Vec<MountOrigin>,
    /// Whether the kubelet enforces CPU quotas.
    pub(crate) quotas: bool,
    /// A later UpdateContainerResources.
    pub(crate) update: LinuxContainerResources,
}

/// How a request differs from the plain one: which change, and by which numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) change: usize,
    pub(crate) seed: u64,
}

impl Spec {
    pub(crate) fn of(steps: &[Step]) -> Self {
        let mut spec = Self::plain();
        for step in steps {
            let (_, change) = CHANGES.get(step.change).unwrap();
            change(&mut Random::new(step.seed), &mut spec);
        }
        spec
    }

    fn plain() -> Self {
        let namespaces = NamespaceOption {
            pid: 1,
            ..NamespaceOption::default()
        };
        let security = LinuxContainerSecurityContext {
            capabilities: Some(Capability {
                drop_capabilities: vec!["ALL".to_owned()],
                ..Capability::default()
            }),
            namespace_options: Some(namespaces.clone()),
            run_as_user: Some(Int64Value { value: 1000 }),
            run_as_group: Some(Int64Value { value: 1000 }),
            no_new_privs: true,
            masked_paths: MASKED.map(str::to_owned).to_vec(),
            readonly_paths: READ_ONLY.map(str::to_owned).to_vec(),
            seccomp: Some(SecurityProfile::default()),
            ..LinuxContainerSecurityContext::default()
        };
        let resources = LinuxContainerResources {
            cpu_period: 100_000,
            cpu_shares: 2,
            ..LinuxContainerResources::default()
        };
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: "app".to_owned(),
                attempt: 0,
            }),
            image: Some(ImageSpec {
                image: format!("sha256:{}", "b7".repeat(32)),
                user_specified_image: IMAGE.to_owned(),
                ..ImageSpec::default()
            }),
            log_path: "app/0.log".to_owned(),
            linux: Some(LinuxContainerConfig {
                resources: Some(resources),
                security_context: Some(security),
            }),
            ..ContainerConfig::default()
        };
        let sandbox = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: "api".to_owned(),
                uid: "u".to_owned(),
                namespace: "payments".to_owned(),
                attempt: 0,
            }),
            log_directory: "/var/log/pods/payments_api_u".to_owned(),
            linux: Some(LinuxPodSandboxConfig {
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces),
                    ..LinuxSandboxSecurityContext::default()
                }),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        };
        Self {
            request: CreateContainerRequest {
                pod_sandbox_id: "s".to_owned(),
                config: Some(container),
                sandbox_config: Some(sandbox),
            },
            handler: String::new(),
            image_user: "1000".to_owned(),
            origins: Vec::new(),
            quotas: true,
            update: LinuxContainerResources::default(),
        }
    }

    pub(crate) fn container(&self) -> &ContainerConfig {
        self.request.config.as_ref().unwrap()
    }

    pub(crate) fn sandbox(&self) -> &PodSandboxConfig {
        self.request.sandbox_config.as_ref().unwrap()
    }

    pub(crate) fn security(&self) -> &LinuxContainerSecurityContext {
        let linux = self.container().linux.as_ref().unwrap();
        linux.security_context.as_ref().unwrap()
    }

    pub(crate) fn pod_security(&self) -> &LinuxSandboxSecurityContext {
        let linux = self.sandbox().linux.as_ref().unwrap();
        linux.security_context.as_ref().unwrap()
    }

    pub(crate) fn resources(&self) -> &LinuxContainerResources {
        let linux = self.container().linux.as_ref().unwrap();
        linux.resources.as_ref().unwrap()
    }

    pub(crate) fn container_mut(&mut self) -> &mut ContainerConfig {
        self.request.config.as_mut().unwrap()
    }

    pub(crate) fn sandbox_mut(&mut self) -> &mut PodSandboxConfig {
        self.request.sandbox_config.as_mut().unwrap()
    }

    pub(crate) fn security_mut(&mut self) -> &mut LinuxContainerSecurityContext {
        let linux = self.container_mut().linux.as_mut().unwrap();
        linux.security_context.as_mut().unwrap()
    }

    pub(crate) fn pod_security_mut(&mut self) -> &mut LinuxSandboxSecurityContext {
        let linux = self.sandbox_mut().linux.as_mut().unwrap();
        linux.security_context.as_mut().unwrap()
    }

    pub(crate) fn resources_mut(&mut self) -> &mut LinuxContainerResources {
        let linux = self.container_mut().linux.as_mut().unwrap();
        linux.resources.as_mut().unwrap()
    }

    pub(crate) fn mount(&mut self, mount: Mount, origin: MountOrigin) {
        self.container_mut().mounts.push(mount);
        self.origins.push(origin);
    }
}

/// The pod's own word for its image.
pub(crate) const IMAGE: &str = "registry.example.com/pay/api:1.2";
