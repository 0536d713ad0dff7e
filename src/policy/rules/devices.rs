//! `devices`: which devices of the host a container may have. Pure.
//!
//! Devices come from device plugins and drivers, by path or by name of the Container Device
//! Interface; containerd also reads such names from the container's annotations. A raw block volume
//! is a device too, but one that the kubelet makes for this pod; it is not judged here, unless it is a
//! local volume: that is a disk of the node. A privileged container has all of them.

use super::{Broken, ContainerCase};
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty, shown};
use crate::policy::document::{DevicesAllowDoc, DevicesDoc};
use crate::policy::paths;
use crate::policy::scope::glob_matches;
use crate::request::Flag;

/// Container annotations that name CDI devices begin so.
const CDI_ANNOTATION: &str = "cdi.k8s.io/";

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Devices {
    paths: Vec<String>,
    cdi: Vec<String>,
}

pub(super) fn compile(doc: &DevicesDoc, notes: &mut Notes, at: &At) -> Devices {
    let DevicesDoc::Allow(doc) = doc else {
        return Devices {
            paths: Vec::new(),
            cdi: Vec::new(),
        };
    };
    if *doc == DevicesAllowDoc::default() {
        notes.error(
            at,
            "`devices` allows nothing; write `devices: Deny`, or add allow or cdi".to_owned(),
        );
    }
    if let Some(list) = &doc.allow {
        let at = at.down(["allow"]);
        not_empty(list.len(), notes, &at);
        for (index, path) in list.iter().enumerate() {
            if path == "/" || paths::clean(path) != Some(path) {
                notes.error(
                    &at.down([&index.to_string()]),
                    format!(
                        "`{}` is no clean absolute path; write it like /dev/fuse or /dev/dri/*",
                        shown(path)
                    ),
                );
            }
        }
    }
    if let Some(list) = &doc.cdi {
        not_empty(list.len(), notes, &at.down(["cdi"]));
    }
    Devices {
        paths: doc.allow.clone().unwrap_or_default(),
        cdi: doc.cdi.clone().unwrap_or_default(),
    }
}

impl Devices {
    pub(super) fn judge(&self, case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
        let container = case.container;
        if container.privileged == Flag::On {
            broken.push(super::by_privilege(
                case,
                Code::PodDevice,
                " has every device of the host",
            ));
        }
        let uid = &case.sandbox.pod.uid;
        for path in &container.devices {
            let known = self.paths.iter().any(|own| path_matches(own, path));
            if !known && !is_block_volume(path, uid) {
                broken.push(denied(case, " uses device ", path));
            }
        }
        let annotated = container
            .annotations
            .iter()
            .filter(|(key, _)| key.starts_with(CDI_ANNOTATION))
            .flat_map(|(_, names)| names.split(','));
        for name in container
            .cdi_devices
            .iter()
            .map(String::as_str)
            .chain(annotated)
        {
            if !self.cdi.iter().any(|own| glob_matches(own, name)) {
                broken.push(denied(case, " uses CDI device ", name));
            }
        }
    }
}

/// Element by element, so that `*` never crosses a slash. `/dev/` and `/dev/.` are the directory
/// itself, of which containerd takes every device.
fn path_matches(pattern: &str, path: &str) -> bool {
    let (elements, own) = (path.split('/'), pattern.split('/'));
    paths::clean(path) == Some(path)
        && own.clone().count() == elements.clone().count()
        && own
            .zip(elements)
            .all(|(pattern, element)| glob_matches(pattern, element))
}

/// The plugin of local volumes, below `volumeDevices/`.
const LOCAL: &str = "kubernetes.io~local-volume/";

/// `<kubelet root>/pods/<uid>/volumeDevices/<plugin>/<volume>`: made by the kubelet for this pod, of
/// another disk than the node's.
fn is_block_volume(path: &str, uid: &str) -> bool {
    let Some(clean) = paths::clean(path).filter(|clean| *clean == path && !uid.is_empty()) else {
        return false;
    };
    let inside = format!("/pods/{uid}/volumeDevices/");
    clean
        .split_once(&inside)
        .is_some_and(|(_, rest)| rest.split('/').count() == 2 && !rest.starts_with(LOCAL))
}

fn denied(case: &ContainerCase<'_>, words: &'static str, name: &str) -> Broken {
    Broken::Plain(
        Code::PodDevice,
        case.container_text().words(words).value(name).advice(
            "remove the resource that brings it from resources.limits, or have the policy allow it",
        ),
    )
}
