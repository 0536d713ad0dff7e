//! What a kubelet makes of a pod: configs, the order of calls, and the first refusal.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tonic::Status;

use super::containerd::Containerd;
use super::cri::Cri;
use super::messages::*;
use super::registry::Registry;

/// A container that runs until it is stopped.
pub const FOREVER: [&str; 3] = [
    "/bin/sh",
    "-c",
    "trap 'exit 0' TERM; sleep 2147483647 & wait",
];

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A pod whose container was started.
#[derive(Clone, Debug)]
pub struct Started {
    /// The sandbox.
    pub pod: String,
    /// The container.
    pub container: String,
    /// The image ID that the container was created from.
    pub image_id: String,
    /// The sandbox's config, for further containers.
    pub sandbox: PodSandboxConfig,
}

/// When to pull, as in a pod's `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Every time.
    Always,
    /// If ImageStatus says that it is not here.
    IfNotPresent,
    /// Never; absent is an error of the client's own (code NOT_FOUND).
    Never,
}

/// Which call refused, and how.
#[derive(Clone, Debug)]
pub struct Refused {
    /// `RunPodSandbox`, `ImageStatus`, `PullImage`, `CreateContainer` or `StartContainer`.
    pub call: &'static str,
    /// The status that came back.
    pub status: Status,
}

impl Refused {
    /// The text that the kubelet would show.
    pub fn text(&self) -> &str {
        self.status.message()
    }

    /// The first word of the text: the stable code of a denial.
    pub fn code(&self) -> &str {
        let text = self.status.message();
        let bare = [
            "SignatureValidationFailed: ",
            "RegistryUnavailable: ",
            "ImageVolumeMountFailed: ",
        ]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text);
        bare.split([' ', ':']).next().unwrap_or_default()
    }
}

impl Cri {
    /// The config of a pod from the API, in namespace `default`, that asks for nothing special. Change it as needed.
    pub fn sandbox(&self, name: &str) -> PodSandboxConfig {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let uid = format!("00000000-0000-4000-8000-{number:012}");
        let (cgroup_parent, logs) = self.lab.as_ref().map_or_else(
            || (String::new(), PathBuf::new()),
            |lab| {
                (
                    lab.cgroup(),
                    lab.dir(&format!("podlogs/default_{name}_{uid}")),
                )
            },
        );
        let labels = [
            ("io.kubernetes.pod.name", name),
            ("io.kubernetes.pod.namespace", "default"),
            ("io.kubernetes.pod.uid", uid.as_str()),
        ];
        let seen = format!("2026-01-01T00:00:00.{number:09}Z");
        let annotations = [
            ("kubernetes.io/config.source", "api"),
            ("kubernetes.io/config.seen", seen.as_str()),
        ];
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: uid.clone(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: logs.display().to_string(),
            port_mappings: Vec::new(),
            labels: pairs(&labels),
            annotations: pairs(&annotations),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent,
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(NamespaceOption {
                        pid: 1,
                        ..NamespaceOption::default()
                    }),
                    seccomp: Some(SecurityProfile::default()),
                    ..LinuxSandboxSecurityContext::default()
                }),
                ..LinuxPodSandboxConfig::default()
            }),
        }
    }

    /// The config of a container as a kubelet writes it when the pod has no securityContext.
    /// `image_id` is what ImageStatus or PullImage gave, `named` the pod's own text.
    pub fn container(
        &self,
        name: &str,
        image_id: &str,
        named: &str,
        command: &[&str],
    ) -> ContainerConfig {
        ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            image: Some(ImageSpec {
                user_specified_image: named.to_owned(),
                ..spec(image_id)
            }),
            command: strings(command),
            labels: pairs(&[("io.kubernetes.container.name", name)]),
            annotations: pairs(&[("io.kubernetes.container.restartCount", "0")]),
            log_path: format!("{name}.log"),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources {
                    cpu_shares: 2,
                    oom_score_adj: 1000,
                    ..LinuxContainerResources::default()
                }),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(NamespaceOption {
                        pid: 1,
                        ..NamespaceOption::default()
                    }),
                    masked_paths: strings(&MASKED),
                    readonly_paths: strings(&READONLY),
                    seccomp: Some(SecurityProfile {
                        profile_type: 1,
                        ..SecurityProfile::default()
                    }),
                    ..LinuxContainerSecurityContext::default()
                }),
            }),
            ..ContainerConfig::default()
        }
    }

    /// Presence check, pull and user look-up, in the kubelet's order and with its annotations.
    /// Gives the image ID and the user that the kubelet would put into CreateContainer.
    pub fn kubelet_image(
        &self,
        image: &str,
        policy: PullPolicy,
        sandbox: &PodSandboxConfig,
    ) -> Result<(String, Image), Refused> {
        let presence = || {
            self.image_status(spec_for(image, sandbox))
                .map_err(refused("ImageStatus"))
        };
        let here = presence()?;
        let id = match (policy, here) {
            (PullPolicy::IfNotPresent | PullPolicy::Never, Some(found)) => found.id,
            (PullPolicy::Never, None) => {
                return Err(refused("ImageStatus")(Status::not_found(
                    "ErrImageNeverPull",
                )));
            }
            (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, None) => {
                self.pull(image, sandbox).map_err(refused("PullImage"))?
            }
        };
        let found = self
            .image_status(spec(&id))
            .map_err(refused("ImageStatus"))?
            .unwrap_or_default();
        Ok((id, found))
    }

    /// Starts a pod with one container as a kubelet would: sandbox, image, create, start.
    pub fn run(&self, name: &str, image: &str, command: &[&str]) -> Result<Started, Refused> {
        self.run_with(name, image, command, PullPolicy::IfNotPresent, |_, _| {})
    }

    /// As [`Cri::run`]; `change` sees both configs before they are sent (the container's image is filled in later).
    /// A pod that was refused halfway is removed again.
    pub fn run_with(
        &self,
        name: &str,
        image: &str,
        command: &[&str],
        policy: PullPolicy,
        change: impl FnOnce(&mut PodSandboxConfig, &mut ContainerConfig),
    ) -> Result<Started, Refused> {
        let mut sandbox = self.sandbox(name);
        let mut container = self.container("main", "", image, command);
        change(&mut sandbox, &mut container);
        let pod = self
            .run_sandbox(&sandbox)
            .map_err(refused("RunPodSandbox"))?;
        match self.start_in(&pod, &sandbox, container, image, policy) {
            Ok((container, image_id)) => Ok(Started {
                pod,
                container,
                image_id,
                sandbox,
            }),
            Err(refused) => {
                // Best effort: the laboratory removes what is left.
                drop(self.remove_pod(&pod));
                Err(refused)
            }
        }
    }

    fn start_in(
        &self,
        pod: &str,
        sandbox: &PodSandboxConfig,
        mut config: ContainerConfig,
        image: &str,
        policy: PullPolicy,
    ) -> Result<(String, String), Refused> {
        let (id, found) = self.kubelet_image(image, policy, sandbox)?;
        let spec = config.image.get_or_insert_default();
        if spec.image.is_empty() {
            spec.image.clone_from(&id);
        }
        let context = config
            .linux
            .get_or_insert_default()
            .security_context
            .get_or_insert_default();
        if context.run_as_user.is_none() && context.run_as_username.is_empty() {
            // As the kubelet: the image's uid, else its user name, else 0.
            if found.uid.is_none() && !found.username.is_empty() {
                context.run_as_username = found.username;
            } else {
                context.run_as_user = Some(found.uid.unwrap_or_default());
            }
        }
        let container = self
            .create(pod, &config, sandbox)
            .map_err(refused("CreateContainer"))?;
        self.start(&container).map_err(refused("StartContainer"))?;
        Ok((container, id))
    }
}

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// An image spec with nothing but the name.
pub fn spec(image: &str) -> ImageSpec {
    ImageSpec {
        image: image.to_owned(),
        ..ImageSpec::default()
    }
}

/// An image spec with the sandbox's annotations, as the kubelet's presence check and pull carry them.
pub fn spec_for(image: &str, sandbox: &PodSandboxConfig) -> ImageSpec {
    ImageSpec {
        annotations: sandbox.annotations.clone(),
        ..spec(image)
    }
}

/// Runs one pod per image on `containerd` and compares what `id -u` prints.
pub fn users_are_those_of_the_images(containerd: &Containerd, registry: &Registry) {
    let cri = containerd.cri();
    for (image, uid) in [
        ("busybox", "0\n"),
        ("busybox-user", "1000\n"),
        ("busybox-app", "1001\n"),
    ] {
        let pushed = registry.push(image, &format!("{image}:1"));
        let pod = cri
            .run(image, &pushed.reference, &FOREVER)
            .unwrap_or_else(|refused| panic!("{image}: {refused:?}"));
        let output = cri
            .exec(&pod.container, &["id", "-u"])
            .unwrap_or_else(|status| panic!("{image}: {status}"));
        assert_eq!(
            (output.stdout.as_str(), output.code),
            (uid, 0),
            "{image}: {output:?}"
        );
        cri.remove_pod(&pod.pod)
            .unwrap_or_else(|status| panic!("{image}: {status}"));
    }
}

fn refused(call: &'static str) -> impl Fn(Status) -> Refused {
    move |status| Refused { call, status }
}

pub(super) fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn pairs(list: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
    list.iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
