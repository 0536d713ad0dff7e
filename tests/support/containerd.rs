//! A real containerd of its own: root, state, socket, bridge and cgroup belong to the laboratory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::cri::Cri;
use super::lab::Lab;
use super::parts::{Part, Parts};
use super::process::{Process, run, running_threads, try_run};
use super::registry::{Pushed, Registry};
use super::wait::until;

/// The namespace that CRI containers live in.
pub const NAMESPACE: &str = "k8s.io";

/// Which containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Debian's containerd 1.6.
    V1,
    /// containerd 2.x from its Go module.
    V2,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::V1 => "containerd1",
            Self::V2 => "containerd2",
        }
    }

    fn program(self) -> PathBuf {
        let part = match self {
            Self::V1 => Part::Containerd1,
            Self::V2 => Part::Containerd2,
        };
        Parts::require().path(part).to_owned()
    }
}

/// A containerd that this laboratory started.
#[derive(Debug)]
pub struct Containerd {
    version: Version,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    home: PathBuf,
    pause: Pushed,
    process: Option<Process>,
    lab: Lab,
}

impl Containerd {
    /// Starts Debian's containerd 1.6; its sandboxes use `pause:3.10` of `registry`, which is pushed there.
    pub fn v1_6(lab: &Lab, registry: &Registry) -> Self {
        Self::launch(lab, registry, Version::V1)
    }

    /// Starts containerd 2.x; otherwise as [`Containerd::v1_6`].
    pub fn v2(lab: &Lab, registry: &Registry) -> Self {
        Self::launch(lab, registry, Version::V2)
    }

    /// Starts the containerd of one version. One of each per laboratory.
    pub fn launch(lab: &Lab, registry: &Registry, version: Version) -> Self {
        let pause = registry.push("pause", "pause:3.10");
        let home = lab.dir(version.name());
        fs::create_dir_all(home.join("certs.d")).expect("make certs.d");
        write_cni(lab, &home);
        let config = lab.write(
            &format!("{}/config.toml", version.name()),
            &config(lab, &home, version, &pause.reference),
        );
        let mut containerd = Self {
            version,
            program: version.program(),
            config,
            log: lab.log_path(version.name()),
            home,
            pause,
            process: None,
            lab: lab.clone(),
        };
        containerd.start();
        containerd
    }

    /// Starts it, and waits until its CRI answers. No effect if it runs.
    pub fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let bin = self.program.parent().expect("a program has a directory");
        // Its own shim first: a shim of another major version does not speak its protocol.
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(&self.config)
            .current_dir(&self.home)
            .env("PATH", path)
            .env_remove("NOTIFY_SOCKET");
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
        }
        let mut process = Process::start_detached(self.version.name(), &self.log, &mut command);
        let socket = self.socket();
        until("containerd's CRI answers", Duration::from_secs(30), || {
            process.assert_running();
            Cri::try_connect(&socket)?.ready()
        });
        self.process = Some(process);
    }

    /// SIGTERM; containers keep running under their shims.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(Duration::from_secs(10));
        }
    }

    /// SIGKILL; containers keep running under their shims.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Stops and starts it.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// SIGSTOP: alive, and answers nothing.
    pub fn freeze(&self) {
        self.signal(nix::sys::signal::Signal::SIGSTOP);
        // The signal is sent at once, but each thread stops when the kernel next gets to it.
        until(
            "containerd stops",
            Duration::from_secs(10),
            || match running_threads(self.pid()) {
                0 => Ok(()),
                running => Err(format!("{running} threads run")),
            },
        );
    }

    /// SIGCONT after [`Containerd::freeze`].
    pub fn thaw(&self) {
        self.signal(nix::sys::signal::Signal::SIGCONT);
    }

    /// Its socket: CRI, and containerd's own services.
    pub fn socket(&self) -> PathBuf {
        self.home.join("containerd.sock")
    }

    /// The directory of hosts.toml files; `hosts` below writes there.
    pub fn certs_dir(&self) -> PathBuf {
        self.home.join("certs.d")
    }

    /// Writes `certs.d/HOST/hosts.toml`. containerd reads it at the next pull.
    pub fn hosts(&self, host: &str, text: &str) {
        super::lab::write_whole(&self.certs_dir().join(host).join("hosts.toml"), text);
    }

    /// The sandbox image: its configured reference, and its digest.
    pub fn pause(&self) -> &Pushed {
        &self.pause
    }

    /// Which containerd it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("containerd runs").pid()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        super::process::read_lossy(&self.log)
    }

    /// A CRI client straight to it, past any guard.
    pub fn cri(&self) -> Cri {
        Cri::connect(&self.lab, &self.socket())
    }

    /// Runs its own `ctr` in the CRI namespace: `ctr(&["images", "tag", "--force", from, to])` re-points a name.
    pub fn ctr(&self, arguments: &[&str]) -> String {
        let ctr = self.program.with_file_name("ctr");
        run(Command::new(ctr)
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", NAMESPACE])
            .args(arguments))
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        self.process
            .as_ref()
            .expect("containerd runs")
            .signal(signal);
    }

    /// Ends every pod by CRI, so that no shim stays. Gives up quietly: the laboratory ends what is left.
    fn remove_pods(&self) {
        let Ok(cri) = Cri::try_connect(&self.socket()) else {
            return;
        };
        for pod in cri.list_pods().unwrap_or_default() {
            drop(cri.remove_pod(&pod.id));
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // A test may have left it frozen.
            process.signal(nix::sys::signal::Signal::SIGCONT);
            self.remove_pods();
        }
        self.stop();
    }
}

/// A bridge without an address of its own: pods reach each other, the host's forwarding and firewall stay as they are.
fn write_cni(lab: &Lab, home: &Path) {
    let text = format!(
        r#"{{"cniVersion":"0.4.0","name":"{bridge}","plugins":[{{"type":"bridge","bridge":"{bridge}","isGateway":false,"ipMasq":false,"ipam":{{"type":"host-local","dataDir":"{data}","ranges":[[{{"subnet":"10.199.0.0/16"}}]]}}}}]}}"#,
        bridge = lab.bridge(),
        data = home.join("cni-data").display(),
    );
    super::lab::write_whole(&home.join("cni/10-lab.conflist"), &text);
}

fn config(lab: &Lab, home: &Path, version: Version, pause: &str) -> String {
    let parts = Parts::require();
    let cni_bin = parts.path(Part::Cni).display();
    let home_dir = home.display();
    let snapshotter = snapshotter(lab);
    // A machine without CAP_SYS_RESOURCE cannot lower an oom score: without this every sandbox fails.
    let common = "restrict_oom_score_adj = true\nnetns_mounts_under_state_dir = true\n";
    let head = format!(
        "root = \"{home_dir}/root\"\nstate = \"{home_dir}/state\"\n\
         [grpc]\naddress = \"{home_dir}/containerd.sock\"\n\
         max_recv_message_size = 16777216\nmax_send_message_size = 16777216\n\
         [debug]\naddress = \"{home_dir}/debug.sock\"\nlevel = \"info\"\n"
    );
    match version {
        Version::V1 => format!(
            r#"version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
{head}
[plugins."io.containerd.grpc.v1.cri"]
{common}sandbox_image = "{pause}"
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{home_dir}/runc"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_bin}"
conf_dir = "{home_dir}/cni"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{home_dir}/certs.d"
"#
        ),
        Version::V2 => format!(
            r#"version = 3
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs"]
{head}
[plugins."io.containerd.nri.v1.nri"]
disable = true
[plugins."io.containerd.cri.v1.images"]
snapshotter = "{snapshotter}"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{home_dir}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
{common}[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
Root = "{home_dir}/runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.other]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.other.options]
Root = "{home_dir}/runc"
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni_bin}"]
conf_dir = "{home_dir}/cni"
[plugins."io.containerd.grpc.v1.cri"]
stream_server_address = "127.0.0.1"
"#
        ),
    }
}

/// overlayfs where the temporary directory can carry it, else native (an overlay cannot always be put on an overlay).
fn snapshotter(lab: &Lab) -> &'static str {
    static FOUND: OnceLock<&'static str> = OnceLock::new();
    FOUND.get_or_init(|| {
        let probe = lab.dir("overlay-probe");
        for name in ["lower", "upper", "work", "merged"] {
            lab.dir(&format!("overlay-probe/{name}"));
        }
        let options = format!(
            "lowerdir={p}/lower,upperdir={p}/upper,workdir={p}/work",
            p = probe.display()
        );
        let merged = probe.join("merged");
        let mounted = try_run(
            Command::new("mount")
                .args(["-t", "overlay", "overlay", "-o", &options])
                .arg(&merged),
        );
        match mounted {
            Ok(_) => {
                run(Command::new("umount").arg(&merged));
                "overlayfs"
            }
            Err(_) => "native",
        }
    })
}
