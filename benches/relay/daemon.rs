//! The built `pullguard serve` in front of the fake runtime: a policy with registries, digests and
//! pod rules, one image, one pod. After the first calls every fact is in the daemon's memory.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::load::{Connection, Slice, framed};
use crate::peers::Child;
use crate::runtime::{self, HUGE};
use crate::{FRESH, MAX_FOREIGN, SLICE, Stage, cpu, status};

const ROUNDS: usize = 15;
const CREATE: &str = "/runtime.v1.RuntimeService/CreateContainer";
const PULL: &str = "/runtime.v1.ImageService/PullImage";
/// Carried as it is; the fake runtime does not mind the bytes.
const CARRIED: &str = "/runtime.v1.RuntimeService/StopContainer";

/// What was measured.
pub(crate) struct Daemon {
    pub(crate) pairs: Vec<Pair>,
    /// KiB resident with a policy in force and after one gated call, of each fresh process.
    pub(crate) idle: Vec<u64>,
    /// KiB resident at most, after 16 lists of 12 MB at once, of the same processes.
    pub(crate) lists: Vec<u64>,
    /// Slices kept although others were busy.
    pub(crate) noisy: usize,
    pub(crate) slices: usize,
}

/// A gated call and a carried one of the same bytes.
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    path: &'static str,
    body: Bytes,
    /// Carried, then gated.
    pub(crate) rounds: Vec<(Slice, Slice)>,
}

impl Pair {
    fn new(name: &'static str, path: &'static str, message: &[u8]) -> Self {
        Self {
            name,
            path,
            body: framed(message),
            rounds: Vec::new(),
        }
    }
}

pub(crate) async fn measure(stage: &Stage) -> Daemon {
    let home = stage.path.join("daemon");
    let kubelet = home.join("kubelet");
    let daemon = start(&home, &stage.upstream());
    let connection = Connection::open(&daemon.socket()).await;
    let mut pairs = vec![
        Pair::new("PullImage, by digest", PULL, &runtime::pull()),
        Pair::new(
            "CreateContainer, image rules, no mounts",
            CREATE,
            &runtime::create(None),
        ),
        Pair::new(
            "CreateContainer, and three mounts to tell from hostPath",
            CREATE,
            &runtime::create(Some(&kubelet)),
        ),
    ];
    let ours = [stage.runtime.id(), daemon.id()];
    let (mut noisy, mut slices) = (0, 0);
    for round in 0..=ROUNDS {
        for pair in &mut pairs {
            let mut both = Vec::new();
            for path in [CARRIED, pair.path] {
                let slice = quiet(&connection, path, &pair.body, &ours).await;
                noisy += usize::from(slice.foreign > MAX_FOREIGN);
                slices += 1;
                both.push(slice);
            }
            // The first round fills the daemon's memory.
            if round > 0 {
                let gated = both.pop().unwrap();
                pair.rounds.push((both.pop().unwrap(), gated));
            }
        }
    }
    let (mut idle, mut lists) = (Vec::new(), Vec::new());
    for number in 0..FRESH {
        let home = stage.path.join(format!("daemon-{number}"));
        let (resident, peak) = memory(&home, &stage.upstream()).await;
        idle.push(resident);
        lists.push(peak);
    }
    Daemon {
        pairs,
        idle,
        lists,
        noisy,
        slices,
    }
}

/// One slice, done again while others are busy.
async fn quiet(connection: &Connection, path: &'static str, body: &Bytes, ours: &[u32]) -> Slice {
    let mut best: Option<Slice> = None;
    for _ in 0..3 {
        let before = cpu::foreign(ours);
        let mut slice = connection.calls(path, body.clone(), 1, SLICE).await;
        slice.foreign = cpu::since(&before, ours).as_secs_f64() / SLICE.as_secs_f64();
        let quiet = slice.foreign <= MAX_FOREIGN;
        if best
            .as_ref()
            .is_none_or(|best| slice.foreign < best.foreign)
        {
            best = Some(slice);
        }
        if quiet {
            break;
        }
    }
    best.unwrap()
}

/// Memory of a fresh daemon: idle, and at most.
async fn memory(home: &Path, upstream: &Path) -> (u64, u64) {
    let daemon = start(home, upstream);
    let connection = Connection::open(&daemon.socket()).await;
    // One gated call, so that what a decision needs is there.
    connection.once(PULL, &framed(&runtime::pull())).await;
    let idle = status(daemon.id(), "VmRSS:");
    connection.at_once(HUGE, 16).await;
    (idle, status(daemon.id(), "VmHWM:"))
}

/// Waits until the policy is in force: before that a gated call asks for other things.
fn active(settings: &Path) {
    let begin = Instant::now();
    loop {
        // Exit code 0 only in the state Active.
        let status = Command::new(env!("CARGO_BIN_EXE_pullguard"))
            .args(["status", "--config"])
            .arg(settings)
            .output()
            .unwrap();
        if status.status.success() {
            return;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "no policy is in force: {}",
            String::from_utf8_lossy(&status.stdout)
        );
    }
}

fn start(home: &Path, upstream: &Path) -> Child {
    for (name, mode) in [
        ("", 0o711),
        ("run", 0o700),
        // The admin socket must be alone in its directory.
        ("admin", 0o700),
        ("policy", 0o755),
        ("state", 0o700),
    ] {
        let path = home.join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    runtime::kubelet_files(&home.join("kubelet"));
    let policy = home.join("policy/policy.yaml");
    fs::write(&policy, runtime::POLICY).unwrap();
    fs::set_permissions(&policy, Permissions::from_mode(0o644)).unwrap();
    let socket = home.join("run/cri.sock");
    let settings = home.join("pullguard.toml");
    let path = |name: &str| home.join(name).display().to_string();
    let text = format!(
        r#"listen = "{}"
admin_listen = "{}"
upstream = "{}"
kubelet_root = "{}"
certs_dir = "{}"
state_dir = "{}"
break_glass = "{}"
node_name = "bench"
pause_image = "{}"

[policy]
local = "{}"

[report]
audit_dir = "{}"
journald = "never"
"#,
        socket.display(),
        path("admin/admin.sock"),
        upstream.display(),
        path("kubelet"),
        path("certs.d"),
        path("state"),
        path("break-glass"),
        runtime::PAUSE,
        path("policy"),
        path("state/audit"),
    );
    fs::write(&settings, text).unwrap();
    fs::set_permissions(&settings, Permissions::from_mode(0o644)).unwrap();
    let log = File::create(home.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pullguard"));
    command
        .arg("serve")
        .arg("--config")
        .arg(&settings)
        .stderr(log)
        .env_remove("NOTIFY_SOCKET");
    let child = Child::spawn("pullguard", &mut command, &socket);
    active(&settings);
    child
}
