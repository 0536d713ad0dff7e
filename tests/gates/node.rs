//! A node: registry, containerd and the guard, and what the tests ask of it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pullguard::report::{RunningStatus, State, Status};

use crate::support::cri::{PullPolicy, Refused, Started, spec};
use crate::support::messages::{ContainerConfig, PodSandboxConfig};
use crate::support::{Containerd, Cri, Guard, GuardSettings, Lab, Registry, until};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// How long the guard may take to see a policy.
const SOON: Duration = Duration::from_secs(20);

/// Parts in the order in which they end.
pub(crate) struct Node {
    pub(crate) cri: Cri,
    pub(crate) guard: Guard,
    pub(crate) settings: GuardSettings,
    pub(crate) containerd: Containerd,
    pub(crate) registry: Registry,
    pub(crate) lab: Lab,
}

/// A node before the guard's first start.
pub(crate) struct Bare {
    pub(crate) containerd: Containerd,
    pub(crate) registry: Registry,
    pub(crate) lab: Lab,
}

/// Who may have asked the registry during a denied call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Nobody.
    Nothing,
    /// The guard; never containerd.
    ByTheGuard,
}

/// What a node has.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    containers: Vec<String>,
    pods: Vec<String>,
    images: Vec<String>,
    requests: Vec<String>,
}

impl Bare {
    pub(crate) fn new(name: &str) -> Self {
        let lab = Lab::new(name);
        let registry = Registry::start_open(&lab);
        let containerd = Containerd::v1_6(&lab, &registry);
        Self {
            containerd,
            registry,
            lab,
        }
    }

    /// The registry's name in references.
    pub(crate) fn host(&self) -> String {
        self.registry.host()
    }

    /// Starts the guard under a policy, and waits until that is in force.
    pub(crate) fn guarded(self, policy: &str) -> Node {
        Guard::write_policy(&self.lab, "policy.yaml", policy);
        let node = self.started(|_, _| {});
        node.wait_active();
        node
    }

    /// Starts the guard as the directory is, with changed settings.
    pub(crate) fn started(self, change: impl FnOnce(&mut GuardSettings, &Self)) -> Node {
        let mut settings = GuardSettings::new(&self.lab, &self.containerd);
        change(&mut settings, &self);
        let guard = Guard::start(&self.lab, &settings);
        Node {
            cri: guard.cri(),
            guard,
            settings,
            containerd: self.containerd,
            registry: self.registry,
            lab: self.lab,
        }
    }
}

impl Node {
    /// A node whose guard enforces `rules` (see [`rules`]) of its registry's `shop`.
    pub(crate) fn pinning(name: &str) -> Self {
        let bare = Bare::new(name);
        let policy = pinned(&bare.host());
        bare.guarded(&policy)
    }

    /// What `pullguard status` says.
    pub(crate) fn status(&self) -> Status {
        status(&self.guard).expect("status")
    }

    pub(crate) fn wait_active(&self) {
        wait_active(&self.guard);
    }

    /// Replaces the policy, and waits until it is in force.
    pub(crate) fn apply(&self, policy: &str) {
        let before = self.status().policy.map(|policy| policy.version);
        self.offer(policy);
        until("the new policy is in force", SOON, || {
            let status = status(&self.guard)?;
            match status.policy {
                Some(policy) if Some(&policy.version) != before.as_ref() => Ok(()),
                _ => Err(format!("refused: {:?}", status.refused)),
            }
        });
    }

    /// What the pass over what runs found, once it was made by the policy in force and `holds`.
    pub(crate) fn judged(&self, holds: impl Fn(&RunningStatus) -> bool) -> RunningStatus {
        until("what runs is judged again", SOON, || {
            let status = status(&self.guard)?;
            let in_force = status.policy.map(|policy| policy.version);
            match status.running {
                Some(running)
                    if Some(&running.policy_version) == in_force.as_ref() && holds(&running) =>
                {
                    Ok(running)
                }
                other => Err(format!("{other:?} under {in_force:?}")),
            }
        })
    }

    /// Replaces the policy, waits until it is refused, and gives the reason.
    pub(crate) fn refusal(&self, policy: &str) -> String {
        let before = self.status();
        self.offer(policy);
        let error = until("the new policy is refused", SOON, || {
            let status = status(&self.guard)?;
            match status.refused {
                Some(refused)
                    if before.refused.as_ref().map(|old| &old.error) != Some(&refused.error) =>
                {
                    Ok(refused.error)
                }
                _ => Err(format!("in force: {:?}", status.policy)),
            }
        });
        let now = self.status();
        assert_eq!(
            now.policy, before.policy,
            "the policy before stays in force"
        );
        error
    }

    fn offer(&self, policy: &str) {
        Guard::write_policy(&self.lab, "policy.yaml", policy);
        self.guard.reload();
    }

    /// The registry's name in references.
    pub(crate) fn host(&self) -> String {
        self.registry.host()
    }

    /// A pod that sleeps, started as a kubelet would.
    pub(crate) fn run(&self, image: &str, policy: PullPolicy) -> Result<Started, Refused> {
        self.run_with(image, policy, |_, _| {})
    }

    pub(crate) fn run_with(
        &self,
        image: &str,
        policy: PullPolicy,
        change: impl FnOnce(&mut PodSandboxConfig, &mut ContainerConfig),
    ) -> Result<Started, Refused> {
        let command = crate::support::cri::FOREVER;
        self.cri.run_with("pod", image, &command, policy, change)
    }

    /// Which build of the test program runs in a container.
    pub(crate) fn build(&self, started: &Started) -> String {
        let output = self.cri.exec(&started.container, &["cat", "/build"]);
        output.expect("read /build").stdout.trim().to_owned()
    }

    /// Brings an image to the node past the guard, and gives its ID.
    pub(crate) fn smuggle(&self, image: &str) -> String {
        self.containerd
            .ctr(&["images", "pull", "--plain-http", image]);
        self.id_in_containerd(image)
    }

    /// Gives an image of the node another name past the guard. `id` is what the name then means.
    pub(crate) fn point(&self, from: &str, to: &str, id: &str) {
        self.containerd.ctr(&["images", "tag", "--force", from, to]);
        let cri = self.containerd.cri();
        until("containerd's CRI sees the name", SOON, || {
            match cri.image_status(spec(to)) {
                Ok(Some(image)) if image.id == id => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    pub(crate) fn id_in_containerd(&self, image: &str) -> String {
        id_in(&self.containerd, image)
    }

    /// IDs of all containers, whoever made them.
    pub(crate) fn containers(&self) -> Vec<String> {
        let cri = self.containerd.cri();
        let all = cri.list_containers().expect("list containers");
        let mut ids: Vec<String> = all.into_iter().map(|one| one.id).collect();
        ids.sort();
        ids
    }

    /// The image IDs and names that containerd has, whoever brought them.
    fn images(&self) -> Vec<String> {
        let list = self.containerd.ctr(&["images", "ls"]);
        let mut images: Vec<String> = list
            .lines()
            .map(|line| {
                line.split_whitespace()
                    .take(3)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        images.sort();
        images
    }

    /// Everything that a denied call must leave as it is.
    fn left(&self, asked: Asked) -> Left {
        let cri = self.containerd.cri();
        let pods = cri.list_pods().expect("list pods");
        let mut pods: Vec<String> = pods.into_iter().map(|pod| pod.id).collect();
        pods.sort();
        let mut requests = self.registry.settled_requests();
        if asked == Asked::ByTheGuard {
            requests.retain(|line| !line.contains("\"pullguard/"));
        }
        Left {
            containers: self.containers(),
            pods,
            images: self.images(),
            requests,
        }
    }

    /// Asserts that an attempt ends at `call` with exactly this text, and that containerd saw nothing of
    /// it: no container, no pod, no image, no name, no request to the registry.
    pub(crate) fn denied<T: std::fmt::Debug>(
        &self,
        attempt: impl FnOnce(&Self) -> Result<T, Refused>,
        call: &str,
        text: &str,
    ) {
        self.denied_after(Asked::ByTheGuard, attempt, call, text);
    }

    /// As [`Node::denied`], and no packet went to the registry either.
    pub(crate) fn denied_unasked<T: std::fmt::Debug>(
        &self,
        attempt: impl FnOnce(&Self) -> Result<T, Refused>,
        call: &str,
        text: &str,
    ) {
        self.denied_after(Asked::Nothing, attempt, call, text);
    }

    fn denied_after<T: std::fmt::Debug>(
        &self,
        asked: Asked,
        attempt: impl FnOnce(&Self) -> Result<T, Refused>,
        call: &str,
        text: &str,
    ) {
        // The first sandbox of a node brings the pause image, also before a denied create.
        let pause = &self.containerd.pause().reference;
        if !self.images().iter().any(|line| line.starts_with(pause)) {
            let cri = self.containerd.cri();
            cri.pull(pause, &cri.sandbox("pause"))
                .expect("pull the pause image");
        }
        let before = self.left(asked);
        match attempt(self) {
            Ok(made) => panic!("it was let through: {made:?}; expected {text}"),
            Err(refused) => assert_eq!((refused.call, refused.text()), (call, text)),
        }
        assert_eq!(self.left(asked), before, "{text}");
        self.cri.version().expect("the guard still answers");
    }

    /// The audit line that holds all of `needles`, as soon as it is written.
    pub(crate) fn audit_line(&self, needles: &[&str]) -> String {
        until(&format!("an audit line with {needles:?}"), SOON, || {
            let lines = self.guard.audit();
            let found = lines
                .iter()
                .find(|line| needles.iter().all(|needle| line.contains(needle)));
            found.cloned().ok_or_else(|| format!("{lines:#?}"))
        })
    }

    /// Pulls an image for a pod.
    pub(crate) fn pull(&self, image: &str) -> Result<String, Refused> {
        let pulled = self.cri.pull(image, &self.cri.sandbox("pod"));
        pulled.map_err(|status| Refused {
            call: "PullImage",
            status,
        })
    }

    /// A sandbox for creates that a test writes by hand.
    pub(crate) fn sandbox(&self, change: impl FnOnce(&mut PodSandboxConfig)) -> Sandbox {
        let mut config = self.cri.sandbox("pod");
        change(&mut config);
        let id = self.cri.run_sandbox(&config).expect("run a sandbox");
        Sandbox { id, config }
    }

    /// Creates a container of an image ID (or whatever stands there) under a pod's own text.
    pub(crate) fn create(
        &self,
        sandbox: &Sandbox,
        image: &str,
        named: &str,
    ) -> Result<String, Refused> {
        self.create_with(sandbox, image, named, |_| {})
    }

    pub(crate) fn create_with(
        &self,
        sandbox: &Sandbox,
        image: &str,
        named: &str,
        change: impl FnOnce(&mut ContainerConfig),
    ) -> Result<String, Refused> {
        let command = crate::support::cri::FOREVER;
        // Every attempt is a container of its own: containerd reserves names.
        let name = format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut config = self.cri.container(&name, image, named, &command);
        change(&mut config);
        self.cri
            .create(&sandbox.id, &config, &sandbox.config)
            .map_err(|status| Refused {
                call: "CreateContainer",
                status,
            })
    }
}

/// A sandbox and its config.
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) config: PodSandboxConfig,
}

pub(crate) fn id_in(containerd: &Containerd, image: &str) -> String {
    let cri = containerd.cri();
    until(
        "the image is known to containerd's CRI",
        SOON,
        || match cri.image_status(spec(image)) {
            Ok(Some(image)) => Ok(image.id),
            other => Err(format!("{other:?}")),
        },
    )
}

pub(crate) fn status(guard: &Guard) -> Result<Status, String> {
    let output = guard.command(&["status", "-o", "json"]);
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

pub(crate) fn wait_active(guard: &Guard) {
    until("a policy is in force", SOON, || {
        let status = status(guard)?;
        match status.state {
            State::Active => Ok(()),
            State::Bootstrap => Err(format!("refused: {:?}", status.refused)),
        }
    });
}

/// Call and first word of a refusal.
pub(crate) fn said<T: std::fmt::Debug>(result: &Result<T, Refused>) -> (&'static str, String) {
    match result {
        Ok(started) => panic!("it was let through: {started:?}"),
        Err(refused) => (refused.call, refused.code().to_owned()),
    }
}

/// Moves a pod to another namespace.
pub(crate) fn namespace(sandbox: &mut PodSandboxConfig, namespace: &str) {
    sandbox.metadata.get_or_insert_default().namespace = namespace.to_owned();
    sandbox.labels.insert(
        "io.kubernetes.pod.namespace".to_owned(),
        namespace.to_owned(),
    );
}

/// Makes a pod a static one.
pub(crate) fn from_file(sandbox: &mut PodSandboxConfig) {
    let key = "kubernetes.io/config.source".to_owned();
    sandbox.annotations.insert(key, "file".to_owned());
}

/// A policy: further keys of the PolicySet (each line indented by two), and the rules of one NodePolicy.
pub(crate) fn policy(set: &str, rules: &str) -> String {
    format!(
        "apiVersion: pullguard.io/v1alpha1\nkind: PolicySet\nmetadata: {{name: gates}}\nspec:\n  audience: gates\n{set}---\n{}",
        node_policy("gates", "", rules)
    )
}

/// One NodePolicy.
pub(crate) fn node_policy(name: &str, spec: &str, rules: &str) -> String {
    format!(
        "apiVersion: pullguard.io/v1alpha1\nkind: NodePolicy\nmetadata: {{name: {name}}}\nspec:\n{spec}  rules:\n{rules}"
    )
}

/// `unmatched` that leaves pods alone and refuses images.
pub(crate) const STRICT: &str = "  unmatched: {pods: Allow, images: Deny}\n";
/// `unmatched` that leaves all alone.
pub(crate) const OPEN: &str = "  unmatched: {pods: Allow, images: Allow}\n";

/// Rules that say nothing about images.
pub(crate) const NO_IMAGE_RULE: &str = "  - name: pods\n    containers: {privileged: Deny}\n";

/// Images from `HOST/shop` only.
pub(crate) fn shop(host: &str) -> String {
    format!("  - name: registries\n    registries: {{allow: [\"{host}/shop/**\"]}}\n")
}

/// Images from `HOST/shop` only, pinned.
pub(crate) fn shop_pinned(host: &str) -> String {
    format!(
        "{}  - name: pinned\n    images: [\"{host}/shop/**\"]\n    digest: Pin\n",
        shop(host)
    )
}

/// The whole policy of most tests here.
pub(crate) fn pinned(host: &str) -> String {
    policy(STRICT, &shop_pinned(host))
}
