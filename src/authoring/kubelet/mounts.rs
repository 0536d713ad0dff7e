//! Volumes and mounts → `ContainerConfig.mounts`, and what stands behind each. Pure.

use super::container::Container;
use super::env::{Environment, Named, expand};
use super::node::{Claims, Images, Node, Source};
use super::sandbox::annotations;
use super::spec::Pod;
use super::volume::{Volume, VolumeMount, VolumeSource};
use super::{Refused, image_id};
use crate::api::runtime_v1 as api;

const CSI: &str = "kubernetes.io~csi";
const HOSTS: &str = "/etc/hosts";
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What stands behind a mount, as far as the manifest tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kubelet makes a file that is no volume, for this pod.
    File,
    /// The kubelet makes a volume, for this pod, by the plugin of this directory.
    Volume(&'static str),
    /// An image volume.
    Image,
    /// A path of the host, as the manifest writes it.
    Host {
        /// The path.
        path: String,
        /// It is a `subPath` of a hostPath volume.
        sub_path: bool,
    },
    /// Only the cluster or the node knows.
    Unknown(&'static str),
}

/// The mounts of a container, parallel to their origins.
pub(crate) type Mounts = Vec<(api::Mount, Origin)>;

pub(crate) fn mounts(
    pod: &Pod,
    container: &Container,
    environment: &Environment,
    node: &Node,
    images: &Images,
) -> Result<Mounts, Refused> {
    let mut mounts = Mounts::new();
    for (index, mount) in container.mounts.iter().enumerate() {
        let volume = pod.spec.volumes.iter().find(|one| one.name == mount.volume);
        let volume = volume.ok_or_else(|| {
            Refused::new(format!(
                "there is no volume `{}`; add it to spec.volumes",
                mount.volume
            ))
        })?;
        let place = Place {
            pod,
            container,
            index,
            node,
        };
        let sub_path = sub_path(mount, environment)?;
        mounts.push(one(&place, volume, mount, sub_path, images)?);
    }
    if let Some(token) = token(pod, container, node) {
        mounts.push(token);
    }
    let own = |path: String, to: &str| {
        let mount = api::Mount {
            container_path: to.to_owned(),
            host_path: path,
            ..api::Mount::default()
        };
        (mount, Origin::File)
    };
    let directory = node.pod_directory();
    if !container
        .mounts
        .iter()
        .any(|mount| mount.mount_path == HOSTS)
    {
        mounts.push(own(format!("{directory}/etc-hosts"), HOSTS));
    }
    let log = format!(
        "{directory}/containers/{}/{}",
        container.name, node.termination_log
    );
    mounts.push(own(log, &absolute(&container.termination_path)));
    Ok(mounts)
}

struct Place<'a> {
    pod: &'a Pod,
    container: &'a Container,
    /// Of the mount among the container's own.
    index: usize,
    node: &'a Node,
}

/// A sub-path, or that only the cluster knows it.
enum SubPath {
    None,
    Text(String),
    Elsewhere,
}

fn sub_path(mount: &VolumeMount, environment: &Environment) -> Result<SubPath, Refused> {
    let text = if mount.sub_path_expr.is_empty() {
        mount.sub_path.clone()
    } else {
        let missing = std::cell::Cell::new(false);
        let look_up = |name: &str| {
            let named = environment.look_up(name);
            missing.set(missing.get() || matches!(named, Named::NotThere));
            named
        };
        let Some(text) = expand(&mount.sub_path_expr, &look_up) else {
            return Ok(SubPath::Elsewhere);
        };
        if missing.get() {
            let text = format!(
                "subPathExpr `{}` names a variable that the container does not have",
                mount.sub_path_expr
            );
            return Err(Refused::new(text));
        }
        text
    };
    if text.is_empty() {
        return Ok(SubPath::None);
    }
    if text.starts_with('/') || text.split('/').any(|step| step == "..") {
        let text = format!("subPath `{text}` must be relative and without `..`");
        return Err(Refused::new(text));
    }
    Ok(SubPath::Text(text))
}

fn one(
    place: &Place<'_>,
    volume: &Volume,
    mount: &VolumeMount,
    sub_path: SubPath,
    images: &Images,
) -> Result<(api::Mount, Origin), Refused> {
    let mut request = api::Mount {
        container_path: absolute(&mount.mount_path),
        readonly: mount.read_only || is_read_only(&volume.source),
        recursive_read_only: recursive(mount, place.node)?,
        propagation: i32::from(match mount.propagation.as_str() {
            "HostToContainer" => api::MountPropagation::PropagationHostToContainer,
            "Bidirectional" => api::MountPropagation::PropagationBidirectional,
            _ => api::MountPropagation::PropagationPrivate,
        }),
        ..api::Mount::default()
    };
    if place.pod.spec.host_users == Some(false) {
        let mapping = super::sandbox::namespaces(place.pod, place.node).userns_options;
        let mapping = mapping.unwrap_or_default();
        request.uid_mappings = mapping.uids;
        request.gid_mappings = mapping.gids;
    }
    if let VolumeSource::Image { reference, .. } = &volume.source {
        request.image = Some(api::ImageSpec {
            image: image_id(reference, images),
            annotations: annotations(place.pod, place.node),
            user_specified_image: reference.clone(),
            ..api::ImageSpec::default()
        });
        let origin = match sub_path {
            SubPath::None => Origin::Image,
            SubPath::Text(text) => {
                request.image_sub_path = text;
                Origin::Image
            }
            SubPath::Elsewhere => Origin::Unknown(ELSEWHERE),
        };
        return Ok((request, origin));
    }
    let (path, origin) = source(place, volume, &sub_path);
    request.host_path = match sub_path {
        SubPath::None => path,
        // The kubelet binds it there first, so the text of the sub-path shows nowhere.
        SubPath::Text(_) | SubPath::Elsewhere => format!(
            "{}/volume-subpaths/{}/{}/{}",
            place.node.pod_directory(),
            volume.name,
            place.container.name,
            place.index
        ),
    };
    Ok((request, origin))
}

const ELSEWHERE: &str = "its subPathExpr uses a value that only the cluster knows";
const CLAIM: &str = "what the claim is bound to is known to the cluster only";
const DRIVER: &str = "what its CSI driver mounts is known to the node only";
const NEITHER: &str = "its volume has no source that is translated";

/// The volume's own path, and what stands behind the mount.
fn source(place: &Place<'_>, volume: &Volume, sub_path: &SubPath) -> (String, Origin) {
    let below = |directory: &str| {
        format!(
            "{}/volumes/{directory}/{}",
            place.node.pod_directory(),
            volume.name
        )
    };
    let mounted = format!("{}/mount", below(CSI));
    let told = |why| match place.node.claims {
        Claims::Unknown => Origin::Unknown(why),
        Claims::Volumes => Origin::Volume(CSI),
    };
    match &volume.source {
        VolumeSource::HostPath(path) => {
            let origin = match sub_path {
                SubPath::None => Origin::Host {
                    path: path.clone(),
                    sub_path: false,
                },
                SubPath::Text(text) => Origin::Host {
                    path: format!("{}/{text}", path.trim_end_matches('/')),
                    sub_path: true,
                },
                SubPath::Elsewhere => Origin::Unknown(ELSEWHERE),
            };
            (path.clone(), origin)
        }
        VolumeSource::Plugin { directory, .. } => (below(directory), Origin::Volume(directory)),
        VolumeSource::Csi { .. } => (mounted, told(DRIVER)),
        VolumeSource::Claim { .. } => (mounted, told(CLAIM)),
        // An image is no path of the host.
        VolumeSource::Image { .. } => (String::new(), Origin::Image),
        VolumeSource::Unknown => (below("unknown"), Origin::Unknown(NEITHER)),
    }
}

fn is_read_only(source: &VolumeSource) -> bool {
    match source {
        VolumeSource::HostPath(_) | VolumeSource::Unknown => false,
        VolumeSource::Plugin { read_only, .. }
        | VolumeSource::Csi { read_only }
        | VolumeSource::Claim { read_only } => *read_only,
        VolumeSource::Image { .. } => true,
    }
}

fn recursive(mount: &VolumeMount, node: &Node) -> Result<bool, Refused> {
    let asked = match mount.recursive_read_only.as_str() {
        "Enabled" => true,
        "IfPossible" => node.recursive_read_only,
        _ => false,
    };
    let named = matches!(mount.recursive_read_only.as_str(), "Enabled" | "IfPossible");
    let private = matches!(mount.propagation.as_str(), "" | "None");
    if named && !(mount.read_only && private) {
        let text = format!(
            "recursiveReadOnly of `{}` needs readOnly: true and no mountPropagation",
            mount.mount_path
        );
        return Err(Refused::new(text));
    }
    Ok(asked)
}

/// What the API server adds to a pod that may speak to it.
fn token(pod: &Pod, container: &Container, node: &Node) -> Option<(api::Mount, Origin)> {
    let name = node.token_volume.as_deref()?;
    let is_ephemeral = pod
        .spec
        .ephemeral_containers
        .iter()
        .any(|one| one.name == container.name);
    let has_one = container
        .mounts
        .iter()
        .any(|mount| mount.mount_path == TOKEN);
    let wanted = pod.spec.automount_token != Some(false)
        && node.source == Source::Api
        && !is_ephemeral
        && !has_one;
    wanted.then(|| {
        let directory = node.pod_directory();
        let mount = api::Mount {
            container_path: TOKEN.to_owned(),
            host_path: format!("{directory}/volumes/kubernetes.io~projected/{name}"),
            readonly: true,
            ..api::Mount::default()
        };
        (mount, Origin::Volume("kubernetes.io~projected"))
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}
