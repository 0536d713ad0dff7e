//! From generated messages to views. Pure. Refuses: what a kubelet always sends and this request
//! lacks, and what contradicts itself.

use crate::api::runtime_v1 as api;

use super::ask::UpdateAsk;
use super::hygiene::{Fault, HygieneError};
use super::view::{
    Container, CreateAsk, Flag, IdRange, ImageStatusAsk, Mount, MountSource, NamespaceMode,
    Namespaces, Pod, PodSource, Profile, Propagation, PullAsk, ResourceChange, Sandbox, SeLinux,
    UserNamespace,
};

/// The kubelet's own annotation: where it read the pod from.
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// The kubelet's own annotation: when it first saw the pod.
const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

/// Elements of one list that rules judge one by one: more than any pod has, and few enough that every
/// rule can say something of each.
pub(super) const MAX_LIST: usize = 16_384;

type Read<T> = Result<T, HygieneError>;

pub(crate) fn pull(
    image: Option<api::ImageSpec>,
    config: Option<&api::PodSandboxConfig>,
) -> Read<PullAsk> {
    let image = image.ok_or_else(|| missing("PullImageRequest.image"))?;
    Ok(PullAsk {
        image: image.image,
        runtime_handler: image.runtime_handler,
        sandbox: config.map(|config| sandbox(config, None)).transpose()?,
    })
}

pub(crate) fn image_status(request: api::ImageStatusRequest) -> Read<ImageStatusAsk> {
    let mut image = request
        .image
        .ok_or_else(|| missing("ImageStatusRequest.image"))?;
    Ok(ImageStatusAsk {
        image: image.image,
        config_source: image.annotations.remove(CONFIG_SOURCE),
        config_seen: image.annotations.remove(CONFIG_SEEN),
        verbose: flag(request.verbose),
    })
}

pub(crate) fn run_sandbox(request: api::RunPodSandboxRequest) -> Read<Sandbox> {
    let config = request
        .config
        .ok_or_else(|| missing("RunPodSandboxRequest.config"))?;
    sandbox(&config, Some(request.runtime_handler))
}

pub(crate) fn create(request: api::CreateContainerRequest) -> Read<CreateAsk> {
    let config = request
        .config
        .ok_or_else(|| missing("CreateContainerRequest.config"))?;
    let sandbox_config = request
        .sandbox_config
        .ok_or_else(|| missing("CreateContainerRequest.sandbox_config"))?;
    Ok(CreateAsk {
        sandbox_id: request.pod_sandbox_id,
        sandbox: sandbox(&sandbox_config, None)?,
        container: container(config)?,
    })
}

pub(crate) fn update(request: api::UpdateContainerResourcesRequest) -> Read<UpdateAsk> {
    // They reach NRI plugins; no kubelet sends any.
    if let Some(key) = request.annotations.into_keys().next() {
        return Err(HygieneError::Annotation { key });
    }
    Ok(UpdateAsk {
        container_id: request.container_id,
        linux: request.linux.map(change),
    })
}

fn change(linux: api::LinuxContainerResources) -> ResourceChange {
    let said = |number: i64| (number != 0).then_some(number);
    ResourceChange {
        cpu_period: said(linux.cpu_period),
        cpu_quota: said(linux.cpu_quota),
        cpu_shares: said(linux.cpu_shares),
        memory_limit: said(linux.memory_limit_in_bytes),
        memory_swap_limit: said(linux.memory_swap_limit_in_bytes),
        oom_score_adj: said(linux.oom_score_adj),
        cpuset_cpus: linux.cpuset_cpus,
        cpuset_mems: linux.cpuset_mems,
        hugepage_limits: linux
            .hugepage_limits
            .into_iter()
            .map(|limit| (limit.page_size, limit.limit))
            .collect(),
        unified: linux.unified,
    }
}

/// Refuses a list that is longer than any pod's.
fn few<const N: usize>(lengths: [usize; N]) -> Read<()> {
    if lengths.iter().any(|length| *length > MAX_LIST) {
        return Err(HygieneError::TooMany { limit: MAX_LIST });
    }
    Ok(())
}

fn sandbox(config: &api::PodSandboxConfig, runtime_handler: Option<String>) -> Read<Sandbox> {
    let metadata = config
        .metadata
        .as_ref()
        .ok_or_else(|| missing("PodSandboxConfig.metadata"))?;
    let linux = config.linux.clone().unwrap_or_default();
    let context = linux.security_context.unwrap_or_default();
    few([
        context.supplemental_groups.len(),
        config.port_mappings.len(),
        linux.sysctls.len(),
        config.annotations.len(),
        config.labels.len(),
    ])?;
    Ok(Sandbox {
        pod: pod(metadata, &config.labels, &config.annotations),
        runtime_handler,
        privileged: flag(context.privileged),
        namespaces: namespaces(context.namespace_options)?,
        selinux: context.selinux_options.map(selinux),
        apparmor: profile(context.apparmor, "LinuxSandboxSecurityContext.apparmor")?,
        run_as_user: context.run_as_user.map(|number| number.value),
        supplemental_groups: context.supplemental_groups,
        host_ports: config
            .port_mappings
            .iter()
            .map(|mapping| mapping.host_port)
            .filter(|port| *port > 0)
            .collect(),
        sysctls: linux.sysctls,
        annotations: config.annotations.clone(),
        log_directory: config.log_directory.clone(),
    })
}

type Words = std::collections::BTreeMap<String, String>;

pub(crate) fn pod(metadata: &api::PodSandboxMetadata, labels: &Words, annotations: &Words) -> Pod {
    Pod::new(
        &metadata.namespace,
        &metadata.name,
        &metadata.uid,
        labels,
        annotations,
    )
}

fn source(annotations: &Words) -> PodSource {
    match annotations.get(CONFIG_SOURCE).map(String::as_str) {
        Some("api") => PodSource::Api,
        Some("file") => PodSource::File,
        Some("http") => PodSource::Http,
        Some(_) | None => PodSource::Unstated,
    }
}

impl Pod {
    /// The pod that a sandbox's metadata, labels and annotations describe.
    pub fn new(
        namespace: &str,
        name: &str,
        uid: &str,
        labels: &Words,
        annotations: &Words,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            source: source(annotations),
            labels: labels.clone(),
            config_seen: annotations.get(CONFIG_SEEN).cloned().unwrap_or_default(),
        }
    }
}

fn container(config: api::ContainerConfig) -> Read<Container> {
    let metadata = config
        .metadata
        .ok_or_else(|| missing("ContainerConfig.metadata"))?;
    let image = config
        .image
        .ok_or_else(|| missing("ContainerConfig.image"))?;
    let linux = config.linux.unwrap_or_default();
    let context = linux.security_context.unwrap_or_default();
    let capabilities = context.capabilities.unwrap_or_default();
    few([
        config.mounts.len(),
        config.devices.len(),
        config.cdi_devices.len(),
        config.annotations.len(),
        context.supplemental_groups.len(),
        context.masked_paths.len(),
        context.readonly_paths.len(),
        capabilities.add_capabilities.len(),
        capabilities.drop_capabilities.len(),
        capabilities.add_ambient_capabilities.len(),
    ])?;
    Ok(Container {
        name: metadata.name,
        image: image.image,
        user_specified_image: image.user_specified_image,
        mounts: config.mounts.into_iter().map(mount).collect::<Read<_>>()?,
        devices: config
            .devices
            .into_iter()
            .map(|device| device.host_path)
            .collect(),
        cdi_devices: config
            .cdi_devices
            .into_iter()
            .map(|device| device.name)
            .collect(),
        log_path: config.log_path,
        annotations: config.annotations,
        privileged: flag(context.privileged),
        run_as_user: context.run_as_user.map(|number| number.value),
        run_as_username: context.run_as_username,
        run_as_group: context.run_as_group.map(|number| number.value),
        supplemental_groups: context.supplemental_groups,
        namespaces: namespaces(context.namespace_options)?,
        add_capabilities: capabilities.add_capabilities,
        drop_capabilities: capabilities.drop_capabilities,
        add_ambient_capabilities: capabilities.add_ambient_capabilities,
        masked_paths: context.masked_paths,
        readonly_paths: context.readonly_paths,
        seccomp: profile(context.seccomp, "LinuxContainerSecurityContext.seccomp")?,
        seccomp_profile_path: context.seccomp_profile_path,
        apparmor: profile(context.apparmor, "LinuxContainerSecurityContext.apparmor")?,
        apparmor_profile: context.apparmor_profile,
        selinux: context.selinux_options.map(selinux),
        no_new_privs: flag(context.no_new_privs),
        resources: linux.resources.map(change).unwrap_or_default(),
    })
}

fn mount(mount: api::Mount) -> Read<Mount> {
    let number = mount.propagation;
    let propagation = match api::MountPropagation::try_from(number) {
        Ok(api::MountPropagation::PropagationPrivate) => Propagation::None,
        Ok(api::MountPropagation::PropagationHostToContainer) => Propagation::HostToContainer,
        Ok(api::MountPropagation::PropagationBidirectional) => Propagation::Bidirectional,
        Err(_) => return Err(unknown_enum("Mount.propagation", number)),
    };
    let source = match mount.image {
        // containerd 2.1 and newer refuse such a mount; older ones bind the host path.
        Some(_) if !mount.host_path.is_empty() => {
            return Err(HygieneError::field("Mount.image", Fault::ImageAndHostPath));
        }
        // Kubernetes validates it so for pods of the API; a runtime that joined the two paths itself
        // would mount what lies beside the image.
        Some(_) if !stays_below(&mount.image_sub_path) => {
            return Err(HygieneError::field("Mount.image_sub_path", Fault::PathUp));
        }
        Some(image) => MountSource::Image {
            image: image.image,
            user_specified_image: image.user_specified_image,
            sub_path: mount.image_sub_path,
        },
        None => MountSource::HostPath(mount.host_path),
    };
    Ok(Mount {
        container_path: mount.container_path,
        source,
        readonly: flag(mount.readonly),
        recursive_read_only: flag(mount.recursive_read_only),
        propagation,
    })
}

/// Whether a path, read from some directory, names nothing outside it (`subPath` of Kubernetes).
fn stays_below(path: &str) -> bool {
    !path.starts_with('/') && path.split('/').all(|part| part != "..")
}

pub(crate) fn namespaces(option: Option<api::NamespaceOption>) -> Read<Namespaces> {
    let option = option.unwrap_or_default();
    Ok(Namespaces {
        network: mode(option.network, "NamespaceOption.network")?,
        pid: mode(option.pid, "NamespaceOption.pid")?,
        ipc: mode(option.ipc, "NamespaceOption.ipc")?,
        target_id: option.target_id,
        user: user_namespace(option.userns_options)?,
    })
}

fn mode(number: i32, place: &str) -> Read<NamespaceMode> {
    match api::NamespaceMode::try_from(number) {
        Ok(api::NamespaceMode::Pod) => Ok(NamespaceMode::Pod),
        Ok(api::NamespaceMode::Container) => Ok(NamespaceMode::Container),
        Ok(api::NamespaceMode::Node) => Ok(NamespaceMode::Node),
        Ok(api::NamespaceMode::Target) => Ok(NamespaceMode::Target),
        Err(_) => Err(unknown_enum(place, number)),
    }
}

fn user_namespace(option: Option<api::UserNamespace>) -> Read<UserNamespace> {
    let Some(option) = option else {
        return Ok(UserNamespace::None);
    };
    match mode(option.mode, "UserNamespace.mode")? {
        NamespaceMode::Node => Ok(UserNamespace::None),
        NamespaceMode::Pod => Ok(UserNamespace::Pod {
            uids: option.uids.into_iter().map(id_range).collect(),
            gids: option.gids.into_iter().map(id_range).collect(),
        }),
        NamespaceMode::Container | NamespaceMode::Target => Err(HygieneError::field(
            "UserNamespace.mode",
            Fault::UserNamespaceMode,
        )),
    }
}

fn id_range(mapping: api::IdMapping) -> IdRange {
    IdRange {
        host_id: mapping.host_id,
        container_id: mapping.container_id,
        length: mapping.length,
    }
}

fn profile(profile: Option<api::SecurityProfile>, place: &str) -> Read<Option<Profile>> {
    use api::security_profile::ProfileType;
    let Some(profile) = profile else {
        return Ok(None);
    };
    let number = profile.profile_type;
    match ProfileType::try_from(number) {
        Ok(ProfileType::RuntimeDefault) => Ok(Some(Profile::RuntimeDefault)),
        Ok(ProfileType::Unconfined) => Ok(Some(Profile::Unconfined)),
        Ok(ProfileType::Localhost) => Ok(Some(Profile::Localhost(profile.localhost_ref))),
        Err(_) => Err(unknown_enum(place, number)),
    }
}

fn selinux(option: api::SeLinuxOption) -> SeLinux {
    SeLinux {
        user: option.user,
        role: option.role,
        kind: option.r#type,
        level: option.level,
    }
}

fn flag(set: bool) -> Flag {
    if set { Flag::On } else { Flag::Off }
}

fn missing(place: &str) -> HygieneError {
    HygieneError::field(place, Fault::Missing)
}

fn unknown_enum(place: &str, number: i32) -> HygieneError {
    let number = i64::from(number).cast_unsigned();
    HygieneError::field(place, Fault::Enum(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_volume(sub_path: &str) -> Read<Mount> {
        mount(api::Mount {
            image: Some(api::ImageSpec::default()),
            image_sub_path: sub_path.to_owned(),
            ..api::Mount::default()
        })
    }

    #[test]
    fn a_path_that_leaves_its_image_volume_is_refused() {
        for path in ["..", "../..", "a/../b", "a/..", "/", "/etc"] {
            let error = image_volume(path).unwrap_err();
            let refused = HygieneError::field("Mount.image_sub_path", Fault::PathUp);
            assert_eq!(error, refused, "{path}");
            assert_eq!(
                error.to_string(),
                "field `Mount.image_sub_path` is an absolute path or has `..` in it"
            );
        }
    }

    #[test]
    fn a_path_inside_its_image_volume_is_read() {
        for path in ["", "a", "a/b", "..a", "a..", "./a", "a/"] {
            assert!(image_volume(path).is_ok(), "{path}");
        }
    }
}
