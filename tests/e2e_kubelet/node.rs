//! A node: registry, containerd, guard and kubelet, and the pods that are put on it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::containerd::Version;
use crate::support::cri::{FOREVER, spec};
use crate::support::kubelet::PodView;
use crate::support::{Containerd, Guard, GuardSettings, Kubelet, Lab, Registry, until};

/// How long a pod may take to run, or a denial to show.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// Rules that pin what is in `shop`, and speak of nothing else.
pub(crate) const PINNED: &str = r#"
  - name: registries
    registries: {allow: ["HOST/shop/**"]}
  - name: pinned
    digest: Pin
"#;

/// [`PINNED`], and nothing with power over the host.
pub(crate) const HARDENED: &str = r#"
  - name: registries
    registries: {allow: ["HOST/shop/**"]}
  - name: pinned
    digest: Pin
  - name: host
    containers: {privileged: Deny, root: Deny, hostPath: Deny, hostNamespaces: Deny}
"#;

/// A policy set `lab` with one policy `lab`. `HOST` in the rules is the registry.
pub(crate) fn policy(registry: &Registry, preloaded: &str, rules: &str) -> String {
    format!(
        "apiVersion: pullguard.io/v1alpha1\n\
         kind: PolicySet\n\
         metadata: {{name: lab}}\n\
         spec:\n  audience: lab\n  unmatched: {{pods: Allow, images: Deny}}\n  preloaded: {preloaded}\n  allowLockout: true\n\
         ---\n\
         apiVersion: pullguard.io/v1alpha1\n\
         kind: NodePolicy\n\
         metadata: {{name: lab}}\n\
         spec:\n  rules:{rules}",
        rules = rules.replace("HOST", &registry.host()),
    )
}

/// Who makes the guard's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    /// The guard, at each start.
    Own,
    /// Whoever starts it, and keeps it open while the guard is away.
    HandedOver,
}

/// The parts of a node. Rust drops fields in this order, the laboratory last.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kubelet: Kubelet,
    pub(crate) guard: Guard,
    pub(crate) containerd: Containerd,
    pub(crate) registry: Registry,
    pub(crate) lab: Lab,
}

impl Node {
    /// A node whose guard enforces `rules`; `before` runs when containerd is up and nothing guards
    /// it yet.
    pub(crate) fn with(
        name: &str,
        version: Version,
        socket: Socket,
        rules: &str,
        before: impl FnOnce(&Registry, &Containerd),
    ) -> Self {
        let lab = Lab::new(name);
        let registry = Registry::start_open(&lab);
        let containerd = Containerd::launch(&lab, &registry, version);
        before(&registry, &containerd);
        Guard::write_policy(&lab, "policy.yaml", &policy(&registry, "Verify", rules));
        let mut settings = GuardSettings::new(&lab, &containerd);
        settings.bootstrap(&["kube-system"], &containerd.pause().pinned());
        let guard = match socket {
            Socket::Own => Guard::start(&lab, &settings),
            Socket::HandedOver => Guard::start_activated(&lab, &settings),
        };
        guard.wait_active();
        let kubelet = Kubelet::start(&lab, guard.socket());
        Self {
            kubelet,
            guard,
            containerd,
            registry,
            lab,
        }
    }

    /// [`Node::with`] on containerd 2.x, with nothing on the node before.
    pub(crate) fn start(name: &str, rules: &str) -> Self {
        Self::with(name, Version::V2, Socket::HandedOver, rules, |_, _| {})
    }

    /// Puts a pod on the node.
    pub(crate) fn add(&self, pod: &Pod) {
        self.kubelet.add(&pod.name, &pod.manifest.to_string());
    }

    /// Puts pods on the node and waits until each runs.
    pub(crate) fn run(&self, pods: &[Pod]) {
        for pod in pods {
            self.add(pod);
        }
        for pod in pods {
            self.kubelet.wait_running(&pod.name, SOON);
        }
    }

    /// The ID of the running pod's container.
    pub(crate) fn container(&self, pod: &str) -> String {
        let view = self.kubelet.wait_running(pod, SOON);
        view.containers[0].id.clone()
    }

    /// What a command prints inside the running pod's container, without the newline.
    pub(crate) fn inside(&self, pod: &str, command: &[&str]) -> String {
        let id = self.container(pod);
        let output = self.containerd.cri().exec(&id, command);
        let output = output.unwrap_or_else(|status| panic!("{pod}: {status}"));
        assert_eq!(output.code, 0, "{pod}: {output:?}");
        output.stdout.trim().to_owned()
    }

    /// The denial in the pod's status, from its code on: the text that a person acts on.
    pub(crate) fn denial(&self, pod: &str, code: &str) -> Denied {
        until(&format!("pod {pod} shows {code}"), SOON, || {
            let view = self.kubelet.pod(pod).unwrap_or_default();
            let found = view.containers.iter().find_map(|container| {
                let from = container.message.find(code)?;
                Some(Denied {
                    reason: container.reason.clone(),
                    text: container.message.get(from..)?.to_owned(),
                })
            });
            found.ok_or_else(|| format!("{view:?}"))
        })
    }

    /// The names of containers, running or not, that containerd has for the pod.
    pub(crate) fn created(&self, pod: &str) -> Vec<String> {
        let all = self.containerd.cri().list_containers();
        let full = format!("{pod}-127.0.0.1");
        all.expect("containerd lists containers")
            .into_iter()
            .filter(|one| one.labels.get("io.kubernetes.pod.name") == Some(&full))
            .map(|one| one.id)
            .collect()
    }

    /// The image ID that containerd has for a name.
    pub(crate) fn image_id(&self, name: &str) -> String {
        let found = self.containerd.cri().image_status(spec(name));
        let found = found.expect("containerd answers");
        found.expect("the image is on the node").id
    }

    /// Puts another policy in force and waits until it is.
    pub(crate) fn change_policy(&self, text: &str) {
        let before = self.version();
        Guard::write_policy(&self.lab, "policy.yaml", text);
        self.guard.reload();
        until("the new policy is in force", SOON, || {
            let now = self.version();
            if now == before { Err(now) } else { Ok(now) }
        });
    }

    fn version(&self) -> String {
        let output = self.guard.command(&["status", "-o", "json"]);
        let status: Value = serde_json::from_slice(&output.stdout).expect("the status is JSON");
        status["policy"]["version"].to_string()
    }

    /// kill -9, and up again on the same socket.
    pub(crate) fn kill_guard(&mut self) {
        self.guard.kill9();
        self.guard.launch();
    }

    /// Asserts that the kubelet never took the container runtime for dead.
    pub(crate) fn assert_runtime_was_never_down(&self) {
        let log = self.kubelet.log();
        let bad: Vec<&str> = log
            .lines()
            .filter(|line| {
                line.contains("container runtime is down")
                    || line.contains("Container runtime not ready")
                    || line.contains("PLEG is not healthy: pleg was last seen active")
            })
            .collect();
        assert_eq!(bad, Vec::<&str>::new());
    }
}

/// A denial as the pod's status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// The waiting reason.
    pub(crate) reason: String,
    /// The text, from the code on.
    pub(crate) text: String,
}

/// A static pod with one container, `main`, that runs until it is stopped.
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
                "terminationGracePeriodSeconds": 1,
                "dnsPolicy": "Default",
                "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": image, "command": FOREVER}],
            },
        });
        Self {
            name: name.to_owned(),
            manifest,
        }
    }

    /// As its manifest names it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The manifest, in JSON.
    pub(crate) fn text(&self) -> String {
        self.manifest.to_string()
    }

    /// With this `imagePullPolicy`.
    pub(crate) fn pull(self, policy: &str) -> Self {
        self.container("imagePullPolicy", &json!(policy))
    }

    /// With a key of the container set.
    pub(crate) fn container(mut self, key: &str, value: &Value) -> Self {
        self.manifest["spec"]["containers"][0][key] = value.clone();
        self
    }

    /// With a key of the pod's spec set.
    pub(crate) fn spec(mut self, key: &str, value: &Value) -> Self {
        self.manifest["spec"][key] = value.clone();
        self
    }

    /// With one volume mounted at /mnt; `mount` adds to the mount.
    pub(crate) fn volume(self, source: &Value, mount: &Value) -> Self {
        let mut volume = source.clone();
        volume["name"] = json!("v");
        let mut mounted = mount.clone();
        mounted["name"] = json!("v");
        mounted["mountPath"] = json!("/mnt");
        self.spec("volumes", &json!([volume]))
            .container("volumeMounts", &json!([mounted]))
    }
}

/// Kills and starts the guard again, while `work` runs over and over beside it; each time some of
/// the work got done in between.
pub(crate) fn killing_meanwhile(guard: &mut Guard, times: usize, work: impl Fn() + Send + Sync) {
    let (done, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    work();
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..times {
            let before = turns.load(Ordering::Relaxed);
            until("the load makes its way", SOON, || {
                let now = turns.load(Ordering::Relaxed);
                if now > before + 2 { Ok(()) } else { Err(now) }
            });
            guard.kill9();
            guard.launch();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Every container of a view, by ID and how often it was started again.
pub(crate) fn ids(view: &PodView) -> Vec<(String, u64)> {
    view.containers
        .iter()
        .map(|one| (one.id.clone(), one.restarts))
        .collect()
}
