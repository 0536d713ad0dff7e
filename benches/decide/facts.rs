//! The request, and all that the node knows of it.

use prost::Message as _;
use pullguard::api::runtime_v1::{
    Capability, ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, Int64Value,
    KeyValue, LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, PortMapping, SecurityProfile,
};
use pullguard::image::{Digest, ImageId, Links, Reference};
use pullguard::policy::{
    CreateEvidence, HostPathSafety, ImageNeed, Judgement, KubeletMount, MountOrigin, NodeFacts,
    Policy, Via,
};
use pullguard::request::CreateAsk;
use pullguard::verify::{self, Depth, Evidence, NameEvidence, Requirement};

/// The size of the request, filled up with environment variables.
const BYTES: usize = 10_000;

pub(crate) struct Facts {
    pub(crate) bytes: Vec<u8>,
    evidence: CreateEvidence,
    node: NodeFacts,
}

impl Facts {
    pub(crate) fn new() -> Self {
        let manifest = Digest::of(b"manifest");
        let (mounts, origins) = mounts();
        let mut request = request(manifest, mounts);
        let config = request.config.as_mut().unwrap();
        let mut number = 0;
        while config.encoded_len() < BYTES - 600 {
            number += 1;
            config.envs.push(KeyValue {
                key: format!("SERVICE_{number}_PORT_8080_TCP_ADDR"),
                value: format!("10.96.{}.17", number % 256).into_bytes(),
            });
        }
        Self {
            bytes: request.encode_to_vec(),
            evidence: CreateEvidence {
                images: vec![Some(Ok(proof(manifest)))],
                image_user: Some(Ok("1000".to_owned())),
                mounts: origins,
            },
            node: NodeFacts {
                name: "node-1".to_owned(),
                guarded_paths: vec!["/var/lib/kubelet".to_owned()],
                cpu_quotas: true,
                ..NodeFacts::default()
            },
        }
    }

    /// The plan, and its conclusion: what the daemon does between the questions it asks.
    pub(crate) fn judge(&self, policy: &Policy, ask: &CreateAsk) -> Judgement {
        let plan = policy.plan_create(&ask.sandbox.pod, "", ask, &self.node, &[], crate::NOW);
        let needs = plan.needs();
        let known = |need: &ImageNeed| need.needs.asked.is_empty();
        assert!(needs.images.iter().all(known), "a digest is asked about");
        plan.conclude(&self.evidence)
    }
}

const REPOSITORY: &str = "registry.example.com/pay/api";

fn id() -> ImageId {
    ImageId::of_config(Digest::of(b"config"))
}

fn proof(manifest: Digest) -> verify::ImageProof {
    let reference = Reference::parse(&format!("{REPOSITORY}@{manifest}")).unwrap();
    let evidence = Evidence {
        links: vec![Links::recorded(Vec::new(), manifest, id(), None)],
        names: vec![NameEvidence::RegistryAnswer {
            repository: reference.repository().clone(),
            digest: manifest,
        }],
        ..Evidence::default()
    };
    let ask = Requirement {
        id: id(),
        reference,
        depth: Depth::Digests,
        asked: Vec::new(),
    };
    verify::prove(&ask, &evidence, verify::Preloaded::Verify).unwrap()
}

/// Five volumes of the kubelet, and one path of the host.
fn mounts() -> (Vec<Mount>, Vec<MountOrigin>) {
    let root = "/var/lib/kubelet/pods/5d5b0a1e-7c8a-4f0e-9f35-3f0c2b6b1a11";
    let mut mounts: Vec<Mount> = ["a", "b", "c", "d", "e"]
        .iter()
        .map(|name| Mount {
            container_path: format!("/data/{name}"),
            host_path: format!("{root}/volumes/kubernetes.io~empty-dir/{name}"),
            ..Mount::default()
        })
        .collect();
    let mut origins =
        vec![
            MountOrigin::Kubelet(KubeletMount::Volume("kubernetes.io~empty-dir".to_owned()));
            mounts.len()
        ];
    mounts.push(Mount {
        container_path: "/srv/app".to_owned(),
        host_path: "/srv/app/config".to_owned(),
        readonly: true,
        ..Mount::default()
    });
    origins.push(MountOrigin::Host {
        path: "/srv/app/config".to_owned(),
        via: Via::Spec,
        safe: HostPathSafety::Fixed,
        guarded: None,
    });
    (mounts, origins)
}

/// As a kubelet asks for a container that keeps level restricted.
fn request(manifest: Digest, mounts: Vec<Mount>) -> CreateContainerRequest {
    let text = |list: &[&str]| {
        list.iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let namespaces = NamespaceOption {
        pid: 1,
        ..NamespaceOption::default()
    };
    let security = LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: text(&["NET_BIND_SERVICE"]),
            drop_capabilities: text(&["ALL"]),
            ..Capability::default()
        }),
        namespace_options: Some(namespaces.clone()),
        run_as_user: Some(Int64Value { value: 1000 }),
        run_as_group: Some(Int64Value { value: 1000 }),
        supplemental_groups: vec![2000],
        no_new_privs: true,
        masked_paths: text(&[
            "/proc/asound",
            "/proc/acpi",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/sys/firmware",
        ]),
        readonly_paths: text(&[
            "/proc/bus",
            "/proc/fs",
            "/proc/irq",
            "/proc/sys",
            "/proc/sysrq-trigger",
        ]),
        seccomp: Some(SecurityProfile::default()),
        ..LinuxContainerSecurityContext::default()
    };
    let container = ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: "app".to_owned(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: id().to_string(),
            user_specified_image: format!("{REPOSITORY}@{manifest}"),
            ..ImageSpec::default()
        }),
        log_path: "app/0.log".to_owned(),
        mounts,
        linux: Some(LinuxContainerConfig {
            resources: Some(LinuxContainerResources {
                cpu_period: 100_000,
                cpu_quota: 100_000,
                memory_limit_in_bytes: 1 << 30,
                ..LinuxContainerResources::default()
            }),
            security_context: Some(security),
        }),
        ..ContainerConfig::default()
    };
    let mut sandbox = PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: "api-0".to_owned(),
            uid: "5d5b0a1e".to_owned(),
            namespace: "payments".to_owned(),
            attempt: 0,
        }),
        log_directory: "/var/log/pods/payments_api-0_5d5b0a1e".to_owned(),
        port_mappings: vec![PortMapping {
            container_port: 80,
            host_port: 8080,
            ..PortMapping::default()
        }],
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces),
                ..LinuxSandboxSecurityContext::default()
            }),
            ..LinuxPodSandboxConfig::default()
        }),
        ..PodSandboxConfig::default()
    };
    for key in ["team", "cost-center", "release", "build", "contact"] {
        let pair = (format!("example.com/{key}"), "some value of it".to_owned());
        sandbox.annotations.extend([pair]);
    }
    let sysctl = ("net.ipv4.tcp_syncookies".to_owned(), "1".to_owned());
    sandbox.linux.as_mut().unwrap().sysctls.extend([sysctl]);
    CreateContainerRequest {
        pod_sandbox_id: "8b1f".repeat(16),
        config: Some(container),
        sandbox_config: Some(sandbox),
    }
}
