//! The fake runtime's knowledge: one pod, one image, and answers to what the guard itself asks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use containerd_client::services::v1::snapshots::{Info, StatSnapshotResponse};
use containerd_client::services::v1::{
    Container, GetContainerResponse, ReadContentRequest, ReadContentResponse,
};
use prost::Message;
use pullguard::api::runtime_v1 as api;
use pullguard::image::Digest;

/// Relayed, and nothing that the guard asks for itself.
pub(crate) const HUGE: &str = "/runtime.v1.RuntimeService/ListPodSandboxStats";
pub(crate) const PAUSE: &str = "registry.example/pause:1";
pub(crate) const POLICY: &str = r#"apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: bench}
spec:
  audience: bench
  unmatched: {pods: Allow, images: Deny}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {name: bench}
spec:
  rules:
  - name: registries
    registries: {allow: ["registry.example/shop/**"]}
  - name: pinned
    images: ["registry.example/shop/**"]
    digest: Pin
  - name: host
    containers: {privileged: Deny, root: Deny, hostPath: Deny, hostNamespaces: Deny}
"#;

const REPOSITORY: &str = "registry.example/shop/app";
const POD: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
const CONTAINER: &str = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0";
const UID: &str = "00000000-0000-4000-8000-000000000001";
const SETTINGS: &str = r#"{"containerd":{"snapshotter":"overlayfs","defaultRuntimeName":"runc","runtimes":{"runc":{"runtimeType":"io.containerd.runc.v2"}}}}"#;

fn layer() -> Digest {
    Digest::of(b"layer")
}

fn config() -> String {
    format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"User":"1000"}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        },
        layer(),
    )
}

fn manifest() -> String {
    let config = config();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":5}}]}}"#,
        Digest::of(config.as_bytes()),
        config.len(),
        layer(),
    )
}

fn image_id() -> String {
    Digest::of(config().as_bytes()).to_string()
}

fn pinned() -> String {
    format!("{REPOSITORY}@{}", Digest::of(manifest().as_bytes()))
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn labels() -> BTreeMap<String, String> {
    pairs(&[
        ("io.kubernetes.pod.name", "app"),
        ("io.kubernetes.pod.namespace", "shop"),
        ("io.kubernetes.pod.uid", UID),
    ])
}

fn annotations() -> BTreeMap<String, String> {
    pairs(&[
        ("kubernetes.io/config.source", "api"),
        (
            "kubernetes.io/config.seen",
            "2026-01-01T00:00:00.000000001Z",
        ),
    ])
}

fn metadata() -> api::PodSandboxMetadata {
    api::PodSandboxMetadata {
        name: "app".to_owned(),
        uid: UID.to_owned(),
        namespace: "shop".to_owned(),
        attempt: 0,
    }
}

fn namespaces() -> api::NamespaceOption {
    api::NamespaceOption {
        pid: 1,
        ..api::NamespaceOption::default()
    }
}

fn sandbox() -> api::PodSandboxConfig {
    api::PodSandboxConfig {
        metadata: Some(metadata()),
        labels: labels(),
        annotations: annotations(),
        linux: Some(api::LinuxPodSandboxConfig {
            security_context: Some(api::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
                ..api::LinuxSandboxSecurityContext::default()
            }),
            ..api::LinuxPodSandboxConfig::default()
        }),
        ..api::PodSandboxConfig::default()
    }
}

/// A pull by digest, as a kubelet sends it.
pub(crate) fn pull() -> Vec<u8> {
    let request = api::PullImageRequest {
        image: Some(api::ImageSpec {
            image: pinned(),
            annotations: annotations(),
            ..api::ImageSpec::default()
        }),
        sandbox_config: Some(sandbox()),
        ..api::PullImageRequest::default()
    };
    request.encode_to_vec()
}

/// A create with 60 variables of its environment; with the kubelet's usual mounts below its root.
pub(crate) fn create(kubelet: Option<&Path>) -> Vec<u8> {
    let envs = (0..60).map(|number| api::KeyValue {
        key: format!("SHOP_SERVICE_PORT_{number}"),
        value: b"tcp://10.0.0.1:8443".to_vec(),
    });
    let mount = |host: &str, inside: &str| {
        kubelet.map(|root| api::Mount {
            container_path: inside.to_owned(),
            host_path: root.join("pods").join(UID).join(host).display().to_string(),
            ..api::Mount::default()
        })
    };
    let mounts = [
        mount("volumes/kubernetes.io~empty-dir/data", "/data"),
        mount("etc-hosts", "/etc/hosts"),
        mount("containers/app/0a1b2c3d", "/dev/termination-log"),
    ];
    let config = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata {
            name: "app".to_owned(),
            attempt: 0,
        }),
        image: Some(api::ImageSpec {
            image: image_id(),
            user_specified_image: pinned(),
            ..api::ImageSpec::default()
        }),
        command: vec!["/app".to_owned()],
        envs: envs.collect(),
        mounts: mounts.into_iter().flatten().collect(),
        linux: Some(api::LinuxContainerConfig {
            security_context: Some(api::LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
                run_as_user: Some(api::Int64Value { value: 1000 }),
                masked_paths: vec!["/proc/kcore".to_owned()],
                readonly_paths: vec!["/proc/sys".to_owned()],
                ..api::LinuxContainerSecurityContext::default()
            }),
            ..api::LinuxContainerConfig::default()
        }),
        ..api::ContainerConfig::default()
    };
    let request = api::CreateContainerRequest {
        pod_sandbox_id: POD.to_owned(),
        config: Some(config),
        sandbox_config: Some(sandbox()),
    };
    request.encode_to_vec()
}

/// What a kubelet made for the pod before its containers.
pub(crate) fn kubelet_files(root: &Path) {
    let pod = root.join("pods").join(UID);
    for directory in ["volumes/kubernetes.io~empty-dir/data", "containers/app"] {
        fs::create_dir_all(pod.join(directory)).unwrap();
    }
    for file in ["etc-hosts", "containers/app/0a1b2c3d"] {
        fs::write(pod.join(file), b"").unwrap();
    }
}

/// The answer's message; empty for what nobody reads.
pub(crate) fn answer(path: &str, request: &[u8]) -> Vec<u8> {
    match path {
        "/runtime.v1.RuntimeService/Version" => api::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "containerd".to_owned(),
            runtime_version: "2.0.0".to_owned(),
            runtime_api_version: "v1".to_owned(),
        }
        .encode_to_vec(),
        "/runtime.v1.RuntimeService/Status" => api::StatusResponse {
            info: pairs(&[("config", SETTINGS)]),
            ..api::StatusResponse::default()
        }
        .encode_to_vec(),
        "/runtime.v1.RuntimeService/PodSandboxStatus" => api::PodSandboxStatusResponse {
            status: Some(api::PodSandboxStatus {
                id: POD.to_owned(),
                metadata: Some(metadata()),
                labels: labels(),
                annotations: annotations(),
                linux: Some(api::LinuxPodSandboxStatus {
                    namespaces: Some(api::Namespace {
                        options: Some(namespaces()),
                    }),
                }),
                ..api::PodSandboxStatus::default()
            }),
            ..api::PodSandboxStatusResponse::default()
        }
        .encode_to_vec(),
        "/runtime.v1.ImageService/ImageStatus" => api::ImageStatusResponse {
            image: Some(api::Image {
                id: image_id(),
                repo_digests: vec![pinned()],
                ..api::Image::default()
            }),
            ..api::ImageStatusResponse::default()
        }
        .encode_to_vec(),
        "/runtime.v1.ImageService/PullImage" => api::PullImageResponse {
            image_ref: image_id(),
        }
        .encode_to_vec(),
        "/runtime.v1.RuntimeService/CreateContainer" => api::CreateContainerResponse {
            container_id: CONTAINER.to_owned(),
        }
        .encode_to_vec(),
        "/containerd.services.content.v1.Content/Read" => blob(request),
        "/containerd.services.containers.v1.Containers/Get" => GetContainerResponse {
            container: Some(Container {
                id: CONTAINER.to_owned(),
                snapshotter: "overlayfs".to_owned(),
                snapshot_key: CONTAINER.to_owned(),
                ..Container::default()
            }),
        }
        .encode_to_vec(),
        "/containerd.services.snapshots.v1.Snapshots/Stat" => StatSnapshotResponse {
            info: Some(Info {
                parent: layer().to_string(),
                ..Info::default()
            }),
        }
        .encode_to_vec(),
        _ => Vec::new(),
    }
}

fn blob(request: &[u8]) -> Vec<u8> {
    let asked = ReadContentRequest::decode(request).unwrap().digest;
    let known = [manifest(), config()];
    let data = known
        .into_iter()
        .find(|text| Digest::of(text.as_bytes()).to_string() == asked);
    let answer = ReadContentResponse {
        offset: 0,
        data: data.unwrap_or_default().into_bytes(),
    };
    answer.encode_to_vec()
}
