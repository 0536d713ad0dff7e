//! The built `pullguard` in front of a containerd.

use std::fmt::Write as _;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::containerd::Containerd;
use super::cri::Cri;
use super::lab::Lab;
use super::net::{free_port, get};
use super::process::Process;
use super::wait::until;

/// The guard's settings file, key by key as its settings name them.
#[derive(Clone, Debug)]
pub struct GuardSettings {
    metrics_port: u16,
    /// Top-level keys and their TOML values.
    pub top: Vec<(String, String)>,
    /// Keys of `[policy]`.
    pub policy: Vec<(String, String)>,
    /// Keys of `[registry]`.
    pub registry: Vec<(String, String)>,
    /// Keys of `[report]`.
    pub report: Vec<(String, String)>,
    /// Entries of the bootstrap list: namespaces, and `repository@digest`.
    pub bootstrap: Vec<(Vec<String>, String)>,
}

impl GuardSettings {
    /// Settings for a guard in front of `containerd`, with an empty local policy directory, and state below the lab.
    pub fn new(lab: &Lab, containerd: &Containerd) -> Self {
        let policy = lab.dir("guard-policy");
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))
            .expect("set the policy directory's mode");
        let state = lab.dir("guard-state");
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700))
            .expect("set the state directory's mode");
        let metrics_port = free_port();
        let mut settings = Self {
            metrics_port,
            top: Vec::new(),
            policy: vec![("local".to_owned(), quoted(&policy.display().to_string()))],
            registry: Vec::new(),
            report: vec![
                (
                    "audit_dir".to_owned(),
                    quoted(&lab.path("guard-state/audit").display().to_string()),
                ),
                ("level".to_owned(), quoted("debug")),
                ("journald".to_owned(), quoted("never")),
                (
                    "metrics_listen".to_owned(),
                    quoted(&format!("127.0.0.1:{metrics_port}")),
                ),
            ],
            bootstrap: Vec::new(),
        };
        for (key, path) in [
            ("listen", lab.path("guard.sock")),
            ("admin_listen", lab.dir("guard-admin").join("admin.sock")),
            ("upstream", containerd.socket()),
            ("kubelet_root", lab.path("kubelet")),
            ("certs_dir", containerd.certs_dir()),
            ("state_dir", state),
            ("break_glass", lab.path("break-glass")),
        ] {
            settings.set(key, &quoted(&path.display().to_string()));
        }
        settings.set("node_name", &quoted("lab-node"));
        settings.set("pause_image", &quoted(&containerd.pause().reference));
        settings
    }

    /// Sets a top-level key to a TOML value.
    pub fn set(&mut self, key: &str, value: &str) -> &mut Self {
        self.top.retain(|(other, _)| other != key);
        self.top.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Takes a top-level key out: the guard's default holds.
    pub fn unset(&mut self, key: &str) -> &mut Self {
        self.top.retain(|(other, _)| other != key);
        self
    }

    /// Adds an entry to the bootstrap list.
    pub fn bootstrap(&mut self, namespaces: &[&str], image: &str) -> &mut Self {
        let namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
        self.bootstrap.push((namespaces, image.to_owned()));
        self
    }

    /// What `/metrics` answers now, in the text format.
    pub fn metrics(&self) -> Result<String, String> {
        get(self.metrics_port, "/metrics")
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.top {
            writeln!(text, "{key} = {value}").expect("write to a string");
        }
        if !self.bootstrap.is_empty() {
            text.push_str("bootstrap = [\n");
            for (namespaces, image) in &self.bootstrap {
                let names: Vec<String> = namespaces.iter().map(|name| quoted(name)).collect();
                writeln!(
                    text,
                    "  {{ namespaces = [{}], image = {} }},",
                    names.join(", "),
                    quoted(image)
                )
                .expect("write to a string");
            }
            text.push_str("]\n");
        }
        for (section, keys) in [
            ("policy", &self.policy),
            ("registry", &self.registry),
            ("report", &self.report),
        ] {
            if keys.is_empty() {
                continue;
            }
            writeln!(text, "\n[{section}]").expect("write to a string");
            for (key, value) in keys {
                writeln!(text, "{key} = {value}").expect("write to a string");
            }
        }
        text
    }
}

/// A TOML basic string.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A running (or stopped) guard.
#[derive(Debug)]
pub struct Guard {
    config: PathBuf,
    log: PathBuf,
    socket: PathBuf,
    // Held here as systemd holds it: it outlives every guard process.
    listener: Option<UnixListener>,
    process: Option<Process>,
    lab: Lab,
}

impl Guard {
    /// Writes the settings, starts the guard, and waits until CRI Version answers through it.
    pub fn start(lab: &Lab, settings: &GuardSettings) -> Self {
        let mut guard = Self::configured(lab, &settings.text());
        guard.launch();
        guard
    }

    /// As [`Guard::start`], by socket activation: the socket is bound here and handed over as fd 3,
    /// and it stays bound while the guard is down.
    pub fn start_activated(lab: &Lab, settings: &GuardSettings) -> Self {
        let mut guard = Self::configured(lab, &settings.text());
        let listener = UnixListener::bind(&guard.socket).expect("bind the guard's socket");
        fs::set_permissions(&guard.socket, fs::Permissions::from_mode(0o600))
            .expect("set the socket's mode");
        guard.listener = Some(listener);
        guard.launch();
        guard
    }

    /// A guard that is not started yet, with settings as text. The text must set `listen` to `LAB/guard.sock`.
    pub fn configured(lab: &Lab, settings: &str) -> Self {
        Self {
            config: lab.write("pullguard.toml", settings),
            log: lab.log_path("guard"),
            socket: lab.path("guard.sock"),
            listener: None,
            process: None,
            lab: lab.clone(),
        }
    }

    /// Starts it and waits until Version answers. No effect if it runs.
    pub fn launch(&mut self) {
        self.launch_unready();
        let process = self.process.as_mut().expect("the guard was started");
        let socket = &self.socket;
        until(
            "CRI Version answers through the guard",
            Duration::from_secs(30),
            || {
                process.assert_running();
                Cri::try_connect(socket)?.ready()
            },
        );
    }

    /// Starts it without waiting: for a containerd that is down, or settings that it refuses.
    pub fn launch_unready(&mut self) {
        if self.process.is_some() {
            return;
        }
        let mut command = match &self.listener {
            None => Command::new(binary()),
            Some(listener) => activated(listener),
        };
        command.arg("serve").arg("--config").arg(&self.config);
        command
            .current_dir(self.lab.root())
            .env_remove("NOTIFY_SOCKET");
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
        }
        self.process = Some(if self.listener.is_some() {
            Process::start("guard", &self.log, &mut command)
        } else {
            Process::start_detached("guard", &self.log, &mut command)
        });
    }

    /// SIGTERM, and waits. Fails if it did not go by itself: a drain of ten seconds, and its last words.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let went = process.terminate(Duration::from_secs(25));
            assert!(
                went || std::thread::panicking(),
                "the guard had to be killed:\n{}",
                super::process::tail(&self.log, 40)
            );
        }
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Stops and starts it.
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// Replaces the settings file; takes effect at the next start.
    pub fn settings(&self, settings: &GuardSettings) {
        super::lab::write_whole(&self.config, &settings.text());
    }

    /// Writes (or replaces) one file of the local policy directory, whole at once. The guard sees it by itself, or at
    /// [`Guard::reload`]; what is in force is what `pullguard status` says.
    pub fn write_policy(lab: &Lab, file: &str, text: &str) {
        let path = lab.dir("guard-policy").join(file);
        super::lab::write_whole(&path, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .expect("set the policy's mode");
    }

    /// SIGHUP: the guard looks at its policy now.
    pub fn reload(&self) {
        self.process
            .as_ref()
            .expect("the guard runs")
            .signal(nix::sys::signal::Signal::SIGHUP);
    }

    /// Its CRI socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the guard runs").pid()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        super::process::read_lossy(&self.log)
    }

    /// Every audit line so far, of all files in name order.
    pub fn audit(&self) -> Vec<String> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.lab.path("guard-state/audit"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files.sort();
        files
            .iter()
            .flat_map(|file| {
                let text = super::process::read_lossy(file);
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect()
    }

    /// A CRI client through the guard.
    pub fn cri(&self) -> Cri {
        Cri::connect(&self.lab, &self.socket)
    }

    /// Waits until a policy is in force: `status` succeeds in Active alone.
    pub fn wait_active(&self) {
        let limit = Duration::from_secs(20);
        until("a policy is in force", limit, || {
            let output = self.command(&["status"]);
            if output.status.success() {
                Ok(())
            } else {
                Err(String::from_utf8_lossy(&output.stdout).into_owned())
            }
        });
    }

    /// Runs `pullguard ARGUMENTS --config FILE` to its end.
    pub fn command(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .output()
            .expect("run pullguard")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The built program: in a test cargo names it, an example finds it beside itself.
pub fn binary() -> PathBuf {
    if let Some(path) = option_env!("CARGO_BIN_EXE_pullguard") {
        return PathBuf::from(path);
    }
    let own = std::env::current_exe().expect("this program's own path");
    let target = own
        .parent()
        .and_then(Path::parent)
        .expect("an example lies below its target directory");
    let path = target.join("pullguard");
    assert!(
        path.exists(),
        "{} is not there: run `cargo build` first",
        path.display()
    );
    path
}

/// The guard under a shell that moves its standard input, the listening socket, to fd 3 and becomes the guard.
/// (The pid of LISTEN_PID is known only in the child, and this crate has no unsafe code to run there.)
fn activated(listener: &UnixListener) -> Command {
    let socket: OwnedFd = listener.try_clone().expect("share the socket").into();
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg("exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"")
        .arg(binary())
        .stdin(Stdio::from(socket));
    command
}
