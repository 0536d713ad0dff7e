//! `volumes`: which types of volumes may be mounted. Pure.
//!
//! A CRI mount has no type, but the kubelet mounts each volume below a directory that is named after
//! the plugin that made it (kubernetes pkg/volume, `GetPodVolumeDir`). A claim is seen as what it is
//! bound to.

use super::host_path::unknown;
use super::{Broken, ContainerCase};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty};
use crate::policy::document::{VolumeType, VolumesDoc};
use crate::policy::evidence::{KubeletMount, MountOrigin, Via};
use crate::request::{Mount, MountSource};

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Volumes {
    allowed: Vec<VolumeType>,
}

pub(super) fn compile(doc: &VolumesDoc, notes: &mut Notes, at: &At) -> Volumes {
    let at = at.down(["allow"]);
    not_empty(doc.allow.len(), notes, &at);
    let names = |types: &[VolumeType]| doc.allow.iter().any(|kind| types.contains(kind));
    if names(CLAIMS) && !names(STORAGE) {
        notes.warn(
            &at,
            "the node sees a claim as what it is bound to, so claims of storage drivers are denied here; name csi (or nfs, iscsi, fc) beside it"
                .to_owned(),
        );
    }
    Volumes {
        allowed: doc.allow.clone(),
    }
}

impl Volumes {
    pub(super) fn judge(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        for (index, mount) in case.container.mounts.iter().enumerate() {
            broken.extend(self.judge_mount(case, mount, case.origin(index)));
        }
    }

    fn judge_mount(
        &self,
        case: &ContainerCase<'_>,
        mount: &Mount,
        origin: Option<&MountOrigin>,
    ) -> Option<Broken> {
        let written = match &mount.source {
            MountSource::Image { .. } => {
                return self.judge_type(case, mount, &[VolumeType::Image], "image");
            }
            MountSource::HostPath(written) => written,
        };
        let Some(origin) = origin.filter(|_| case.evidence.is_some()) else {
            // Nobody looked at this mount.
            return Some(Broken::Wait);
        };
        match origin {
            MountOrigin::Kubelet(KubeletMount::File) => None,
            MountOrigin::Kubelet(KubeletMount::Volume(plugin)) => {
                self.judge_type(case, mount, made_by(plugin), plugin)
            }
            MountOrigin::Host { via, .. } => {
                let (types, name): (&[VolumeType], &str) = match via {
                    Via::Spec | Via::SubPath => (&[VolumeType::HostPath], "hostPath"),
                    Via::LocalVolume => (CLAIMS, "local"),
                    Via::Csi => (&[VolumeType::Csi], "csi"),
                };
                self.judge_type(case, mount, types, name)
            }
            MountOrigin::Unknown { why } => Some(unknown(case, mount, written, why)),
            // Evidence of another kind of mount: not believed.
            MountOrigin::Image => Some(unknown(case, mount, written, "it was taken for an image")),
        }
    }

    /// `types`: as what the volume may have been written, any of them.
    fn judge_type(
        &self,
        case: &ContainerCase<'_>,
        mount: &Mount,
        types: &[VolumeType],
        shown: &str,
    ) -> Option<Broken> {
        if types.iter().any(|kind| self.allowed.contains(kind)) {
            return None;
        }
        Some(refused(case, mount, shown))
    }
}

fn refused(case: &ContainerCase<'_>, mount: &Mount, shown: &str) -> Broken {
    let text = case
        .container_text()
        .words(" mounts a volume of type ")
        .value(shown)
        .words(" at ")
        .value(&mount.container_path)
        .words(", which is not allowed")
        .advice("use a volume of another type");
    Broken::Evidence(Code::PodVolume, text)
}

/// Every Git repository among the volumes: the one type that Pod Security restricted refuses and that
/// no claim has, so that it can be told.
pub(super) fn judge_git_repos(case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
    for (index, mount) in case.container.mounts.iter().enumerate() {
        let Some(MountOrigin::Kubelet(KubeletMount::Volume(plugin))) = case.origin(index) else {
            continue;
        };
        if plugin == GIT_REPO {
            broken.push(refused(case, mount, plugin));
        }
    }
}

/// The directory of that plugin, which kubelets have not used since v1.33 unless they are told to.
const GIT_REPO: &str = "kubernetes.io~git-repo";

/// Only a claim, or a claim that the pod's own template makes, brings such a volume.
const CLAIMS: &[VolumeType] = &[VolumeType::PersistentVolumeClaim, VolumeType::Ephemeral];

/// What a claim can be bound to, beside a local volume and a path of the host.
const STORAGE: &[VolumeType] = &[
    VolumeType::Csi,
    VolumeType::Nfs,
    VolumeType::Iscsi,
    VolumeType::Fc,
    VolumeType::Cephfs,
    VolumeType::Rbd,
    VolumeType::Glusterfs,
    VolumeType::FlexVolume,
];

/// The types that the kubelet's plugin of this directory serves. A claim can be bound to a volume of
/// most of them, which is not seen: so only the plugin's own type counts. None for a plugin that this
/// version does not know.
fn made_by(plugin: &str) -> &'static [VolumeType] {
    match plugin {
        "kubernetes.io~configmap" => &[VolumeType::ConfigMap],
        "kubernetes.io~secret" => &[VolumeType::Secret],
        "kubernetes.io~empty-dir" => &[VolumeType::EmptyDir],
        "kubernetes.io~projected" => &[VolumeType::Projected],
        "kubernetes.io~downward-api" => &[VolumeType::DownwardApi],
        "kubernetes.io~csi" => &[VolumeType::Csi],
        "kubernetes.io~local-volume" => CLAIMS,
        "kubernetes.io~nfs" => &[VolumeType::Nfs],
        "kubernetes.io~iscsi" => &[VolumeType::Iscsi],
        "kubernetes.io~fc" => &[VolumeType::Fc],
        "kubernetes.io~cephfs" => &[VolumeType::Cephfs],
        "kubernetes.io~rbd" => &[VolumeType::Rbd],
        "kubernetes.io~glusterfs" => &[VolumeType::Glusterfs],
        GIT_REPO => &[VolumeType::GitRepo],
        // A driver's own name, `vendor~driver`.
        _ if !plugin.starts_with("kubernetes.io~") && plugin.contains('~') => {
            &[VolumeType::FlexVolume]
        }
        _ => &[],
    }
}
