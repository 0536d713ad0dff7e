//! A real kubelet: it runs the static pods of a directory through a CRI socket, and what an API server
//! binds to it if it has joined one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::lab::Lab;
use super::net::{free_port, get};
use super::parts::{Part, Parts};
use super::process::{Process, read_lossy};
use super::wait::until;

/// The controllers that the kubelet wants in its root cgroup on cgroup v2.
const CONTROLLERS: [&str; 5] = ["cpuset", "cpu", "io", "memory", "pids"];

/// What every kubelet writes into the running kernel, below /proc/sys. Put back when ours ends.
const KERNEL: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// A kubelet that this laboratory started.
#[derive(Debug)]
pub struct Kubelet {
    kernel: Vec<(PathBuf, String)>,
    socket: PathBuf,
    log: PathBuf,
    port: u16,
    kubeconfig: Option<PathBuf>,
    process: Option<Process>,
    lab: Lab,
}

/// What the kubelet says about one container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerView {
    /// The container's name.
    pub name: String,
    /// `running`, `waiting` or `terminated`; empty if the kubelet has not said yet.
    pub state: String,
    /// The reason of waiting or termination, for example `CreateContainerError`.
    pub reason: String,
    /// The text beside the reason.
    pub message: String,
    /// `containerd://ID` without the scheme; empty if there is none.
    pub id: String,
    /// How often it was started again.
    pub restarts: u64,
}

/// What the kubelet says about one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodView {
    /// Pending, Running, Succeeded, Failed.
    pub phase: String,
    /// Its containers.
    pub containers: Vec<ContainerView>,
}

impl Kubelet {
    /// Starts a kubelet on a CRI socket, which must answer already: a kubelet without one exits.
    /// Returns when its read-only port answers.
    pub fn start(lab: &Lab, socket: &Path) -> Self {
        Self::launch(lab, socket, None)
    }

    /// As [`Kubelet::start`], as the node of the cluster that `kubeconfig` leads to.
    pub fn join(lab: &Lab, socket: &Path, kubeconfig: PathBuf) -> Self {
        Self::launch(lab, socket, Some(kubeconfig))
    }

    fn launch(lab: &Lab, socket: &Path, kubeconfig: Option<PathBuf>) -> Self {
        let mut kubelet = Self {
            kernel: kernel_settings(),
            socket: socket.to_owned(),
            log: lab.log_path("kubelet"),
            port: 0,
            kubeconfig,
            process: None,
            lab: lab.clone(),
        };
        make_cgroup(lab);
        kubelet.resume();
        kubelet
    }

    /// Starts it again after [`Kubelet::stop`]. No effect if it runs.
    pub fn resume(&mut self) {
        if self.process.is_some() {
            return;
        }
        let (port, read_only) = (free_port(), free_port());
        let config = self.configure(port, read_only);
        let root = self.lab.dir("kubelet");
        let mut command = Command::new(Parts::require().path(Part::Kubelet));
        command
            .arg("--config")
            .arg(config)
            .arg("--root-dir")
            .arg(&root)
            .arg("--cert-dir")
            .arg(root.join("pki"))
            .arg("--hostname-override=127.0.0.1")
            .arg("--v=2");
        if let Some(kubeconfig) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        let mut process = Process::start_detached("kubelet", &self.log, &mut command);
        self.port = read_only;
        until("the kubelet answers", Duration::from_secs(60), || {
            process.assert_running();
            get(read_only, "/pods")
        });
        self.process = Some(process);
    }

    /// Stops the kubelet; its pods keep running.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(Duration::from_secs(10));
        }
    }

    /// Points the kubelet at another CRI socket: stops it, and starts it there.
    pub fn move_to(&mut self, socket: &Path) {
        self.stop();
        socket.clone_into(&mut self.socket);
        self.resume();
    }

    /// Its `--root-dir`, for the guard's `kubelet_root`.
    pub fn root(&self) -> PathBuf {
        self.lab.path("kubelet")
    }

    /// The directory of static pods.
    pub fn manifests(&self) -> PathBuf {
        self.lab.dir("manifests")
    }

    /// Adds (or replaces) a static pod: `text` is a v1 Pod in YAML or JSON.
    pub fn add(&self, name: &str, text: &str) {
        super::lab::write_whole(&self.manifests().join(format!("{name}.yaml")), text);
    }

    /// Removes a static pod.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.manifests().join(format!("{name}.yaml")))
            .expect("remove the manifest");
    }

    /// The whole of `/pods`.
    pub fn pods(&self) -> Value {
        let text = until("the kubelet answers", Duration::from_secs(20), || {
            get(self.port, "/pods")
        });
        serde_json::from_str(&text).expect("the kubelet's answer is JSON")
    }

    /// One pod's status by the name in its manifest; `None` if the kubelet does not list it.
    pub fn pod(&self, name: &str) -> Option<PodView> {
        let pods = self.pods();
        let full = format!("{name}-127.0.0.1");
        let pod = pods["items"]
            .as_array()?
            .iter()
            .find(|pod| pod["metadata"]["name"] == full.as_str())?
            .clone();
        let containers = pod["status"]["containerStatuses"]
            .as_array()
            .map(|all| all.iter().map(view).collect())
            .unwrap_or_default();
        Some(PodView {
            phase: text(&pod["status"]["phase"]),
            containers,
        })
    }

    /// Waits until every container of a pod runs.
    pub fn wait_running(&self, name: &str, limit: Duration) -> PodView {
        until(&format!("pod {name} runs"), limit, || {
            let pod = self.pod(name).unwrap_or_default();
            let running = !pod.containers.is_empty()
                && pod.containers.iter().all(|one| one.state == "running");
            if running {
                Ok(pod)
            } else {
                Err(format!("{pod:?}"))
            }
        })
    }

    /// Waits until a pod's first container waits with this reason, and gives the text beside it.
    pub fn wait_waiting(&self, name: &str, reason: &str, limit: Duration) -> String {
        until(&format!("pod {name} waits with {reason}"), limit, || {
            let pod = self.pod(name).unwrap_or_default();
            match pod
                .containers
                .iter()
                .find(|one| one.state == "waiting" && one.reason == reason)
            {
                Some(one) => Ok(one.message.clone()),
                None => Err(format!("{pod:?}")),
            }
        })
    }

    /// Waits for a line of the kubelet's log that holds `needle`: where RunPodSandbox's refusals are seen.
    pub fn wait_log(&self, needle: &str, limit: Duration) -> String {
        until(&format!("the kubelet logs `{needle}`"), limit, || {
            self.log()
                .lines()
                .find(|line| line.contains(needle))
                .map(str::to_owned)
                .ok_or("no such line")
        })
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        read_lossy(&self.log)
    }

    fn configure(&self, port: u16, read_only: u16) -> PathBuf {
        let text = format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1\n\
             kind: KubeletConfiguration\n\
             staticPodPath: {manifests}\n\
             containerRuntimeEndpoint: unix://{socket}\n\
             podLogsDir: {logs}\n\
             volumePluginDir: {plugins}\n\
             cgroupRoot: {cgroup}\n\
             cgroupDriver: cgroupfs\n\
             cgroupsPerQOS: true\n\
             enforceNodeAllocatable: []\n\
             failCgroupV1: false\n\
             failSwapOn: false\n\
             oomScoreAdj: 0\n\
             address: 127.0.0.1\n\
             port: {port}\n\
             readOnlyPort: {read_only}\n\
             healthzPort: 0\n\
             fileCheckFrequency: 1s\n\
             syncFrequency: 5s\n\
             makeIPTablesUtilChains: false\n\
             registerNode: {joined}\n\
             imageMinimumGCAge: 1h\n\
             imageGCHighThresholdPercent: 100\n\
             imageGCLowThresholdPercent: 99\n\
             evictionHard: {{memory.available: \"1Mi\", nodefs.available: \"0%\", imagefs.available: \"0%\", nodefs.inodesFree: \"0%\", imagefs.inodesFree: \"0%\"}}\n\
             authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}\n\
             authorization: {{mode: AlwaysAllow}}\n",
            manifests = self.manifests().display(),
            socket = self.socket.display(),
            logs = self.lab.dir("kubelet-podlogs").display(),
            plugins = self.lab.dir("volume-plugins").display(),
            cgroup = self.lab.cgroup(),
            joined = self.kubeconfig.is_some(),
        );
        self.lab.write("kubelet.yaml", &text)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // Before containerd removes the pods: a kubelet would start them again.
        self.stop();
        for (path, value) in &self.kernel {
            // Best effort: some are read-only in a container, and then nobody changed them.
            fs::write(path, value).ok();
        }
        // For each container a kubelet leaves a link in a directory of the machine.
        for link in fs::read_dir("/var/log/containers")
            .into_iter()
            .flatten()
            .flatten()
        {
            let ours = fs::read_link(link.path()).is_ok_and(|to| to.starts_with(self.lab.root()));
            if ours {
                fs::remove_file(link.path()).ok();
            }
        }
    }
}

fn kernel_settings() -> Vec<(PathBuf, String)> {
    KERNEL
        .iter()
        .map(|name| Path::new("/proc/sys").join(name))
        .filter_map(|path| {
            let value = fs::read_to_string(&path).ok()?;
            Some((path, value.trim().to_owned()))
        })
        .collect()
}

/// What one entry of a pod's container statuses says.
pub fn view(status: &Value) -> ContainerView {
    let (state, detail) = status["state"]
        .as_object()
        .and_then(|state| state.iter().next())
        .map(|(key, detail)| (key.clone(), detail.clone()))
        .unwrap_or_default();
    ContainerView {
        name: text(&status["name"]),
        state,
        reason: text(&detail["reason"]),
        message: text(&detail["message"]),
        id: text(&status["containerID"])
            .trim_start_matches("containerd://")
            .to_owned(),
        restarts: status["restartCount"].as_u64().unwrap_or_default(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A kubelet of the machine itself may live beside this one: ours stays below a cgroup of its own,
/// so that neither takes the other's pods for orphans.
fn make_cgroup(lab: &Lab) {
    let name = lab.cgroup();
    let name = name.trim_start_matches('/');
    let top = Path::new("/sys/fs/cgroup");
    if top.join("cgroup.controllers").exists() {
        fs::create_dir_all(top.join(name)).expect("make the cgroup");
        for controller in CONTROLLERS {
            for dir in [top.to_owned(), top.join(name)] {
                // A controller that this machine does not have is not needed either.
                drop(fs::write(
                    dir.join("cgroup.subtree_control"),
                    format!("+{controller}"),
                ));
            }
        }
        return;
    }
    for hierarchy in fs::read_dir(top).expect("cgroups are mounted").flatten() {
        let dir = hierarchy.path();
        if !dir.is_dir() || !dir.join("cgroup.procs").exists() || dir.is_symlink() {
            continue;
        }
        let ours = dir.join(name);
        fs::create_dir_all(&ours)
            .unwrap_or_else(|error| panic!("make {}: {error}", ours.display()));
        for setting in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(dir.join(setting)) {
                drop(fs::write(ours.join(setting), value.trim()));
            }
        }
    }
}
