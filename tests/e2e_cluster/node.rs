//! A cluster of one node whose containerd stands behind the guard, and the pods that are put there.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::NODE;
use crate::support::cri::FOREVER;
use crate::support::{Api, Cluster, Containerd, Guard, GuardSettings, Lab, Registry, until};

/// How long a pod may take to run, or a denial to show.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// The policy set of every cluster here, and a policy that wants its rules.
const POLICY: &str = r#"apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: lab}
spec:
  audience: lab
  unmatched: {pods: Allow, images: Deny}
  preloaded: Verify
  allowLockout: true
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {name: lab}
spec:
  rules:"#;

/// What is in `shop` of either registry, pinned, and nothing with power over the host. `OPEN` and
/// `PRIVATE` in rules are the registries.
pub(crate) const HARDENED: &str = r#"
  - name: registries
    registries: {allow: ["OPEN/shop/**", "PRIVATE/shop/**"]}
  - name: pinned
    digest: Pin
  - name: host
    containers: {privileged: Deny, root: Deny, hostPath: Deny, hostNamespaces: Deny}
"#;

/// The parts of the cluster. Rust drops fields in this order, the laboratory last.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) cluster: Cluster,
    _guard: Guard,
    pub(crate) containerd: Containerd,
    /// A registry with a password.
    pub(crate) private: Registry,
    pub(crate) registry: Registry,
    _lab: Lab,
}

impl Node {
    /// Starts everything; the guard enforces [`HARDENED`].
    pub(crate) fn start(name: &str) -> Self {
        Self::with(name, HARDENED)
    }

    /// Starts everything; the guard enforces `rules`, after which other documents may stand.
    pub(crate) fn with(name: &str, rules: &str) -> Self {
        let lab = Lab::new(name);
        let registry = Registry::start_open(&lab);
        let private = Registry::start_private(&lab);
        let containerd = Containerd::v2(&lab, &registry);
        let policy = format!("{POLICY}{rules}")
            .replace("OPEN", &registry.host())
            .replace("PRIVATE", &private.host());
        Guard::write_policy(&lab, "policy.yaml", &policy);
        let mut settings = GuardSettings::new(&lab, &containerd);
        settings.bootstrap(&["kube-system"], &containerd.pause().pinned());
        let guard = Guard::start_activated(&lab, &settings);
        guard.wait_active();
        let cluster = Cluster::start(&lab, guard.socket());
        Self {
            cluster,
            _guard: guard,
            containerd,
            private,
            registry,
            _lab: lab,
        }
    }

    /// Pushes a test image into `shop` of the open registry, and gives its reference.
    pub(crate) fn push(&self, image: &str) -> String {
        let name = format!("shop/{image}:1");
        self.registry.push(image, &name).reference
    }

    /// Makes a pod, which the API server must take.
    pub(crate) fn add(&self, pod: &Pod) {
        self.cluster
            .api
            .add_pod(&pod.manifest)
            .unwrap_or_else(|refusal| panic!("{}: {refusal:?}", pod.name));
    }

    /// Makes a pod until the API server takes it: a change of a webhook holds a moment after it is made.
    pub(crate) fn add_once_taken(&self, pod: &Pod) {
        until("the API server takes the pod", SOON, || {
            let made = self.cluster.api.add_pod(&pod.manifest);
            made.map_err(|refusal| refusal.message)
        });
    }

    /// Waits until the API server refuses a pod in words that hold `needle`; what it took before that is
    /// deleted again.
    pub(crate) fn refused(&self, pod: &Pod, needle: &str) {
        let api = &self.cluster.api;
        until("the API server refuses the pod", SOON, || {
            match api.add_pod(&pod.manifest) {
                Err(refusal) if refusal.message.contains(needle) => Ok(()),
                Err(refusal) => Err(refusal.message),
                Ok(_) => {
                    let path = Api::core(&format!("pods/{}?gracePeriodSeconds=0", pod.name));
                    api.delete(&path).expect("delete it again");
                    Err("it was taken".to_owned())
                }
            }
        });
    }

    /// What a command prints inside a container, which runs or soon will.
    pub(crate) fn inside(&self, pod: &str, container: &str, command: &[&str]) -> String {
        let view = self.cluster.api.wait_running(pod, container, SOON);
        let output = self.containerd.cri().exec(&view.id, command);
        let output = output.unwrap_or_else(|status| panic!("{pod}/{container}: {status}"));
        output.stdout.trim().to_owned()
    }

    /// Waits until a container of a pod runs, and asserts its uid.
    pub(crate) fn runs_as(&self, pod: &str, container: &str, uid: &str) {
        assert_eq!(
            self.inside(pod, container, &["id", "-u"]),
            uid,
            "{pod}/{container}"
        );
    }

    /// The memory limit in a container's own cgroup, in bytes.
    pub(crate) fn memory_limit(&self, pod: &str, container: &str) -> u64 {
        // cgroup v2 has the first file, v1 the second.
        let read = "cd /sys/fs/cgroup; cat memory.max || cat memory/memory.limit_in_bytes";
        let text = self.inside(pod, container, &["/bin/sh", "-c", read]);
        text.parse()
            .unwrap_or_else(|_| panic!("{pod}/{container}: `{text}` is no limit"))
    }

    /// Asserts that a container was denied at its create, and that the pod's status and its events both
    /// say why in these words.
    pub(crate) fn denied(&self, pod: &str, container: &str, text: &str) {
        let api = &self.cluster.api;
        let view = api.wait_waiting(pod, container, text, SOON);
        assert_eq!(
            (view.reason.as_str(), view.message.as_str()),
            ("CreateContainerError", text)
        );
        let message = api.wait_event(pod, "Failed", text, SOON);
        assert_eq!(message, format!("Error: {text}"));
        assert!(
            !self.created(pod).contains(&container.to_owned()),
            "{pod}/{container} was created"
        );
    }

    /// Asserts that a pod was denied at its sandbox, with these words in an event, and that nothing of it
    /// was created.
    pub(crate) fn denied_at_sandbox(&self, pod: &str, text: &str) {
        let api = &self.cluster.api;
        let message = api.wait_event(pod, "FailedCreatePodSandBox", text, SOON);
        assert!(
            message.ends_with(&format!("code = PermissionDenied desc = {text}")),
            "{message}"
        );
        assert_eq!(self.created(pod), Vec::<String>::new(), "{pod}");
    }

    /// The names of the containers, running or not, that containerd has for a pod.
    pub(crate) fn created(&self, pod: &str) -> Vec<String> {
        let all = self.containerd.cri().list_containers();
        all.expect("containerd lists containers")
            .into_iter()
            .filter(|one| {
                one.labels
                    .get("io.kubernetes.pod.name")
                    .is_some_and(|name| name == pod)
            })
            .filter_map(|one| one.labels.get("io.kubernetes.container.name").cloned())
            .collect()
    }
}

/// A pod of the node with one container, `main`, that runs until it is stopped.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    name: String,
    manifest: Value,
}

impl Pod {
    /// A pod that says nothing but its image.
    pub(crate) fn new(name: &str, image: &str) -> Self {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "nodeName": NODE,
                "terminationGracePeriodSeconds": 1,
                "dnsPolicy": "Default",
                "containers": [{"name": "main", "image": image, "command": FOREVER}],
            },
        });
        Self {
            name: name.to_owned(),
            manifest,
        }
    }

    /// With a key of the container set.
    pub(crate) fn container(mut self, key: &str, value: &Value) -> Self {
        self.manifest["spec"]["containers"][0][key] = value.clone();
        self
    }

    /// With a securityContext of the container.
    pub(crate) fn security(self, value: &Value) -> Self {
        self.container("securityContext", value)
    }

    /// With a key of the pod's spec set.
    pub(crate) fn spec(mut self, key: &str, value: &Value) -> Self {
        self.manifest["spec"][key] = value.clone();
        self
    }

    /// With annotations.
    pub(crate) fn annotations(mut self, value: &Value) -> Self {
        self.manifest["metadata"]["annotations"] = value.clone();
        self
    }

    /// With one volume; `mount` adds to its mount at /mnt.
    pub(crate) fn volume(self, source: &Value, mount: &Value) -> Self {
        let (mut volume, mut mounted) = (source.clone(), mount.clone());
        volume["name"] = json!("v");
        mounted["name"] = json!("v");
        mounted["mountPath"] = json!("/mnt");
        self.spec("volumes", &json!([volume]))
            .container("volumeMounts", &json!([mounted]))
    }

    /// The manifest of the same pod as a static one: its node is where the file lies.
    pub(crate) fn as_static(&self) -> String {
        let mut manifest = self.manifest.clone();
        if let Some(spec) = manifest["spec"].as_object_mut() {
            spec.remove("nodeName");
            // A static pod may not speak of a service account.
            spec.insert("automountServiceAccountToken".to_owned(), json!(false));
        }
        manifest.to_string()
    }
}

/// The denial of a container that runs as uid 0.
pub(crate) fn root(container: &str) -> String {
    format!(
        "POD-ROOT lab/host: container `{container}` runs as uid `0`; set securityContext.runAsUser to a number from 1 to 2147483647"
    )
}
