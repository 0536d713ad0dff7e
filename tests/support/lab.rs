//! One laboratory: a temporary root, and the promise that nothing stays behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::parts::{Part, Parts};
use super::process::{tail, try_run};
use super::wait::try_until;

const PREFIX: &str = "pg-";
/// The file of a root that names the process it belongs to.
const OWNER: &str = "owner";

/// A handle on the laboratory. Parts hold one too: the root goes when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Lab {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    id: String,
    root: PathBuf,
}

impl Lab {
    /// Makes a new, empty root below `$TMPDIR` (short, because a unix socket's path has 107 bytes).
    /// First ends what laboratories left whose own process was killed.
    pub fn new(name: &str) -> Self {
        sweep();
        let root = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(6)
            .tempdir()
            .expect("make the temporary root")
            .keep();
        assert!(
            root.as_os_str().len() < 60,
            "TMPDIR is too long for unix sockets below it: {}",
            root.display()
        );
        fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).expect("set the root's mode");
        let inner = Inner {
            name: name.to_owned(),
            id: id_of(&root),
            root,
        };
        fs::write(inner.root.join(OWNER), own_identity()).expect("name the root's owner");
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The laboratory's root.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// A path below the root.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.inner.root.join(relative)
    }

    /// A directory below the root, made if it is not there.
    pub fn dir(&self, relative: &str) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
        path
    }

    /// Writes a file below the root, whole at once (by rename), and gives its path.
    pub fn write(&self, relative: &str, text: &str) -> PathBuf {
        let path = self.path(relative);
        write_whole(&path, text);
        path
    }

    /// The log of one part.
    pub fn log_path(&self, part: &str) -> PathBuf {
        self.dir("logs").join(format!("{part}.log"))
    }

    /// The name of this laboratory's bridge (a link's name has 15 bytes).
    pub fn bridge(&self) -> String {
        format!("pg-{}", self.inner.id)
    }

    /// The cgroup (below every hierarchy's root) that this laboratory's pods live in.
    pub fn cgroup(&self) -> String {
        format!("/pullguard-lab-{}", self.inner.id)
    }

    /// Ends and removes everything of the laboratory at once, whoever still holds it: for a program
    /// that is told to stop.
    pub fn abandon(&self) {
        clean(&self.inner.root);
        fs::remove_dir_all(&self.inner.root).ok();
    }

    /// What would stay behind if the laboratory ended now: processes, mounts, cgroups, the bridge.
    pub fn leftovers(root: &Path) -> Vec<String> {
        let mut found: Vec<String> = processes_of(root)
            .into_iter()
            .map(|pid| format!("process {pid}"))
            .collect();
        found.extend(
            mounts_below(root)
                .into_iter()
                .map(|mount| format!("mount {}", mount.display())),
        );
        let id = id_of(root);
        found.extend(
            cgroup_dirs(&format!("pullguard-lab-{id}"))
                .into_iter()
                .map(|dir| format!("cgroup {}", dir.display())),
        );
        if Path::new("/sys/class/net")
            .join(format!("pg-{id}"))
            .exists()
        {
            found.push(format!("bridge pg-{id}"));
        }
        if root.exists() {
            found.push(format!("directory {}", root.display()));
        }
        found
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        clean(&self.root);
        if std::env::var_os("PULLGUARD_KEEP").is_some() {
            // Without an owner no later laboratory takes it for an orphan.
            fs::remove_file(self.root.join(OWNER)).ok();
            eprintln!("{}: kept {}", self.name, self.root.display());
        } else if let Err(error) = fs::remove_dir_all(&self.root)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("{}: {} stays: {error}", self.name, self.root.display());
        }
    }
}

impl Inner {
    fn print_logs(&self) {
        let Ok(logs) = fs::read_dir(self.root.join("logs")) else {
            return;
        };
        for log in logs.flatten() {
            eprintln!(
                "---- {}: last lines of {}\n{}",
                self.name,
                log.file_name().to_string_lossy(),
                shortened(&tail(&log.path(), 12))
            );
        }
        eprintln!("---- (PULLGUARD_KEEP=1 keeps the directory)");
    }
}

/// The root's own part of the names of its bridge and cgroup.
fn id_of(root: &Path) -> String {
    root.file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix(PREFIX))
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// This process: its pid, and when it started, so that another process with the same pid is not it.
fn own_identity() -> String {
    let pid = std::process::id();
    format!("{pid} {}", start_of(&pid.to_string()).unwrap_or_default())
}

/// The start time of a living process (field 22 of its stat), counted after the name in parentheses.
fn start_of(pid: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

/// Ends the laboratories whose process was killed before it could: each root names its owner.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let root = entry.path();
        let Ok(owner) = fs::read_to_string(root.join(OWNER)) else {
            continue;
        };
        let (pid, start) = owner.split_once(' ').unwrap_or_default();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && start_of(pid).as_deref() != Some(start) {
            clean(&root);
            fs::remove_dir_all(&root).ok();
        }
    }
}

/// Ends everything of a root but its files: processes, mounts, cgroups, the bridge.
fn clean(root: &Path) {
    let id = id_of(root);
    end_containers(root);
    for mount in mounts_below(root) {
        drop(try_run(Command::new("umount").arg("-l").arg(mount)));
    }
    drop(try_until(Duration::from_secs(5), || {
        let left: Vec<_> = cgroup_dirs(&format!("pullguard-lab-{}", id))
            .into_iter()
            .filter(|dir| !remove_cgroup(dir))
            .collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    }));
    let bridge = format!("{PREFIX}{id}");
    if Path::new("/sys/class/net").join(&bridge).exists() {
        let ip = Parts::require().path(Part::Ip);
        drop(try_run(Command::new(ip).args(["link", "delete", &bridge])));
    }
}

/// Long lines cut: a containerd prints its whole configuration in one.
fn shortened(text: &str) -> String {
    text.lines()
        .map(|line| line.chars().take(300).collect::<String>() + "\n")
        .collect()
}

/// Writes `text` to a new file beside `path` and renames it there.
pub fn write_whole(path: &Path, text: &str) {
    let parent = path.parent().expect("a file has a directory");
    fs::create_dir_all(parent).expect("make the directory");
    let draft = parent.join(format!(
        ".{}.new",
        path.file_name()
            .expect("a file has a name")
            .to_string_lossy()
    ));
    fs::write(&draft, text).unwrap_or_else(|error| panic!("write {}: {error}", draft.display()));
    fs::rename(&draft, path)
        .unwrap_or_else(|error| panic!("rename to {}: {error}", path.display()));
}

/// Ends what containerd's shims of this root left: the shims by their command line, the containers
/// by the pid that runc wrote into their bundle. Normally there is nothing: pods are removed first.
fn end_containers(root: &Path) {
    let inits = bundle_files(root, "init.pid");
    // containerd 1.x writes the shim's address as text, 2.x inside JSON.
    let mut sockets = bundle_files(root, "address");
    sockets.extend(bundle_files(root, "bootstrap.json"));
    for pid in processes_of(root) {
        end(pid);
    }
    for (id, text) in inits {
        let Ok(pid) = text.trim().parse::<i32>() else {
            continue;
        };
        // The pid may be somebody else's by now: only a process in a cgroup of this container's id is ours.
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if cgroup.contains(&id) {
            end(pid);
        }
    }
    for (_, socket) in sockets {
        if let Some((_, rest)) = socket.split_once("unix://") {
            let path = rest.split('"').next().unwrap_or_default().trim();
            fs::remove_file(path).ok();
        }
    }
}

/// (container id, content) of one file of every bundle below the root.
fn bundle_files(root: &Path, file: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in fs::read_dir(root).into_iter().flatten().flatten() {
        let tasks = part
            .path()
            .join("state/io.containerd.runtime.v2.task/k8s.io");
        for bundle in fs::read_dir(tasks).into_iter().flatten().flatten() {
            if let Ok(text) = fs::read_to_string(bundle.path().join(file)) {
                found.push((bundle.file_name().to_string_lossy().into_owned(), text));
            }
        }
    }
    found
}

/// Living processes whose command line names a path below the root, other than this one.
fn processes_of(root: &Path) -> Vec<i32> {
    let needle = format!("{}/", root.display());
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&needle))
        })
        .collect()
}

fn end(pid: i32) {
    if kill(Pid::from_raw(pid), Signal::SIGKILL).is_err() {
        return;
    }
    drop(try_until(Duration::from_secs(5), || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        // A zombie waits only for its parent; it holds nothing.
        let gone = status.is_empty() || status.contains("State:\tZ");
        if gone { Ok(()) } else { Err("still there") }
    }));
}

/// Mount points below the root, innermost and latest first.
fn mounts_below(root: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut mounts: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
        .filter(|path| path.starts_with(root))
        .collect();
    mounts.reverse();
    mounts
}

/// The directories of one cgroup in every hierarchy (v1), or the one (v2).
pub fn cgroup_dirs(name: &str) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let mut dirs = vec![top.join(name)];
    for hierarchy in fs::read_dir(top).into_iter().flatten().flatten() {
        dirs.push(hierarchy.path().join(name));
    }
    dirs.retain(|dir| dir.is_dir());
    dirs
}

/// Removes a cgroup and those below it, ending what is left in them. True if it is gone.
fn remove_cgroup(dir: &Path) -> bool {
    for child in fs::read_dir(dir).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&child.path());
        }
    }
    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in procs.lines().filter_map(|line| line.parse::<i32>().ok()) {
        end(pid);
    }
    fs::remove_dir(dir).is_ok() || !dir.exists()
}
