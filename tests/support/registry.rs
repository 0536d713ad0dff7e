//! A real registry on loopback, filled from the offline test images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::lab::Lab;
use super::parts::{Part, Parts};
use super::process::{Process, run};
use super::wait::{try_until, until};

/// The user of a registry with a password.
pub const USER: &str = "lab";
/// Its password.
pub const PASSWORD: &str = "lab-secret";
/// `USER:bcrypt(PASSWORD)`; a fixture, worth nothing outside the tests.
const HTPASSWD: &str = include_str!("htpasswd");

/// A pushed image.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// `127.0.0.1:PORT/repository:tag`.
    pub reference: String,
    /// `127.0.0.1:PORT/repository`.
    pub repository: String,
    /// `sha256:…` of what the tag names: a manifest or an index.
    pub digest: String,
}

impl Pushed {
    /// `repository@digest`.
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }
}

/// A running (or stopped) docker-registry.
#[derive(Debug)]
pub struct Registry {
    name: String,
    config: PathBuf,
    log: PathBuf,
    port: u16,
    password: bool,
    process: Option<Process>,
    lab: Lab,
}

impl Registry {
    /// Starts a registry that everyone may read and write.
    pub fn start_open(lab: &Lab) -> Self {
        Self::launch(lab, "registry", false)
    }

    /// Starts a registry that wants [`USER`] and [`PASSWORD`] (basic auth).
    pub fn start_private(lab: &Lab) -> Self {
        Self::launch(lab, "private-registry", true)
    }

    /// Starts one more registry under a name of its own.
    pub fn launch(lab: &Lab, name: &str, password: bool) -> Self {
        let mut registry = Self {
            name: name.to_owned(),
            config: PathBuf::new(),
            log: lab.log_path(name),
            port: 0,
            password,
            process: None,
            lab: lab.clone(),
        };
        // Port 0: the registry says in its log which port the kernel chose; later starts keep it.
        registry.configure();
        registry.start();
        registry
    }

    /// `127.0.0.1:PORT`, the registry's name in references.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it again on the same port, with the same content. No effect if it runs.
    pub fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let before = super::process::read_lossy(&self.log).len();
        let program = Parts::require().path(Part::Registry);
        let mut process = Process::start_detached(
            &self.name,
            &self.log,
            Command::new(program).arg("serve").arg(&self.config),
        );
        let port = until("the registry listens", Duration::from_secs(20), || {
            process.assert_running();
            let log = super::process::read_lossy(&self.log);
            log.get(before..)
                .and_then(|new| new.split("listening on 127.0.0.1:").nth(1))
                .and_then(|rest| {
                    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    digits.parse::<u16>().ok()
                })
                .ok_or("it has not said on which port")
        });
        self.port = port;
        self.configure();
        self.process = Some(process);
    }

    /// Stops it: connections are refused from now on.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Pushes a test image (`tools/images.sh` lists them) as `repository:tag`, moving the tag if it exists.
    pub fn push(&self, image: &str, name: &str) -> Pushed {
        let layout = Parts::require().image(image);
        self.copy_from(&format!("oci:{}:latest", layout.display()), name, false)
    }

    /// Pushes the OCI layout in a directory, byte for byte.
    pub fn push_layout(&self, layout: &Path, name: &str) -> Pushed {
        self.copy_from(&format!("oci:{}:latest", layout.display()), name, false)
    }

    /// Makes `name` name what `from` (also `repository:tag` here) names now.
    pub fn retag(&self, from: &str, name: &str) -> Pushed {
        self.copy_from(&format!("docker://{}/{from}", self.host()), name, true)
    }

    /// The digest that `repository:tag` has now.
    pub fn digest(&self, name: &str) -> String {
        let mut command = self.skopeo("inspect");
        command.args(["--tls-verify=false", "--no-tags", "--format", "{{.Digest}}"]);
        if self.password {
            command.arg(format!("--creds={USER}:{PASSWORD}"));
        }
        run(command.arg(format!("docker://{}/{name}", self.host())))
            .trim()
            .to_owned()
    }

    /// Deletes the manifest that `repository:tag` names, and with it every tag on it.
    pub fn delete(&self, name: &str) {
        let mut command = self.skopeo("delete");
        command.arg("--tls-verify=false");
        if self.password {
            command.arg(format!("--creds={USER}:{PASSWORD}"));
        }
        run(command.arg(format!("docker://{}/{name}", self.host())));
    }

    /// Every request so far, one access log line each, oldest first.
    pub fn requests(&self) -> Vec<String> {
        super::process::read_lossy(&self.log)
            .lines()
            .filter(|line| line.starts_with("127.0.0.1 - ") && line.contains("HTTP/"))
            .map(str::to_owned)
            .collect()
    }

    /// As [`Registry::requests`], once everything that was answered before this call is in the log.
    pub fn settled_requests(&self) -> Vec<String> {
        static MARKS: AtomicU32 = AtomicU32::new(1);
        let mark = format!("/v2/?mark={} ", MARKS.fetch_add(1, Ordering::Relaxed));
        if self.process.is_some() {
            // A registry with a password refuses it: its line is all that is asked for.
            super::net::get(self.port, mark.trim_end()).ok();
            self.wait_request(&mark, Duration::from_secs(10))
                .expect("the registry logs its requests");
        }
        let mut all = self.requests();
        all.retain(|line| !line.contains("/v2/?mark="));
        all
    }

    /// Waits for a request whose access log line holds `needle` (a line comes after its answer), and gives it.
    pub fn wait_request(&self, needle: &str, limit: Duration) -> Result<String, String> {
        try_until(limit, || {
            self.requests()
                .into_iter()
                .find(|line| line.contains(needle))
                .ok_or_else(|| format!("no request with `{needle}`"))
        })
    }

    fn copy_from(&self, source: &str, name: &str, from_here: bool) -> Pushed {
        let digest_file = self.lab.dir("digests").join(name.replace(['/', ':'], "-"));
        let mut command = self.skopeo("copy");
        command.args([
            "--quiet",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ]);
        if from_here {
            command.arg("--src-tls-verify=false");
        }
        if self.password {
            command.arg(format!("--dest-creds={USER}:{PASSWORD}"));
            if from_here {
                command.arg(format!("--src-creds={USER}:{PASSWORD}"));
            }
        }
        command
            .arg("--digestfile")
            .arg(&digest_file)
            .arg(source)
            .arg(format!("docker://{}/{name}", self.host()));
        run(&mut command);
        let digest = fs::read_to_string(&digest_file).expect("skopeo writes the digest");
        let (repository, _) = name.rsplit_once(':').expect("push names a repository:tag");
        Pushed {
            reference: format!("{}/{name}", self.host()),
            repository: format!("{}/{repository}", self.host()),
            digest: digest.trim().to_owned(),
        }
    }

    fn skopeo(&self, verb: &str) -> Command {
        let mut command = Command::new(Parts::require().path(Part::Skopeo));
        command
            .arg("--insecure-policy")
            .arg(verb)
            .env("HOME", self.lab.root())
            .env("XDG_RUNTIME_DIR", self.lab.root())
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .env_remove("HTTP_PROXY")
            .env_remove("HTTPS_PROXY");
        command
    }

    fn configure(&mut self) {
        let storage = self.lab.dir(&self.name);
        let auth = if self.password {
            let file = self.lab.write(&format!("{}.htpasswd", self.name), HTPASSWD);
            format!(
                "auth: {{htpasswd: {{realm: lab, path: {}}}}}\n",
                file.display()
            )
        } else {
            String::new()
        };
        let text = format!(
            "version: 0.1\n\
             log: {{level: info}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}, maintenance: {{uploadpurging: {{enabled: false}}}}}}\n\
             http: {{addr: \"127.0.0.1:{}\"}}\n{auth}",
            storage.display(),
            self.port
        );
        self.config = self.lab.write(&format!("{}.yml", self.name), &text);
    }
}
