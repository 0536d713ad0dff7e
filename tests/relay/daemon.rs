//! The built daemon in front of a fake runtime.

use std::io::{PipeReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tempfile::TempDir;

use crate::hostile::raw_call;
use crate::relay_support::*;

/// `pullguard serve`, ended with its handle.
struct Daemon {
    directory: TempDir,
    child: Child,
}

impl Daemon {
    fn settings(directory: &Path) -> PathBuf {
        let path = directory.join("pullguard.toml");
        std::fs::write(&path, Self::text(directory)).unwrap();
        path
    }

    fn text(directory: &Path) -> String {
        let at = |name: &str| format!("\"{}\"", directory.join(name).display());
        format!(
            "listen = {}\nadmin_listen = {}\nupstream = {}\nstate_dir = {}\nkubelet_root = {}\n\
             [report]\naudit_dir = {}\nmetrics_listen = \"off\"\njournald = \"never\"\n\
             level = \"debug\"\n",
            at("cri.sock"),
            at("admin/admin.sock"),
            at("containerd.sock"),
            at("state"),
            at("kubelet"),
            at("audit"),
        )
    }

    fn start(directory: TempDir, stderr: impl Into<Stdio>) -> Self {
        let settings = Self::text(directory.path());
        Self::start_with(directory, &settings, stderr)
    }

    fn start_with(directory: TempDir, settings: &str, stderr: impl Into<Stdio>) -> Self {
        let path = directory.path().join("pullguard.toml");
        std::fs::write(&path, settings).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_pullguard"))
            .args(["serve", "--config"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { directory, child }
    }

    /// With `socket` passed as systemd passes it, and these settings.
    fn activated(directory: TempDir, socket: UnixListener, settings: &str) -> Self {
        let file = directory.path().join("pullguard.toml");
        std::fs::write(&file, settings).unwrap();
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg("exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"")
            .arg(env!("CARGO_BIN_EXE_pullguard"))
            .args(["serve", "--config"])
            .arg(file)
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { directory, child }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("cri.sock")
    }

    /// A client, as soon as the socket is there.
    async fn client(&mut self) -> Client {
        let socket = self.socket();
        soon(async {
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                assert_eq!(self.child.try_wait().unwrap(), None, "it runs");
                tokio::task::yield_now().await;
            }
        })
        .await;
        soon(Client::connect(&socket)).await
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for its end.
    async fn ended(&mut self) -> std::process::ExitStatus {
        soon(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A pipe that takes nothing more, because nobody reads.
fn full_pipe() -> (PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

fn answering(directory: &Path) -> Fake {
    Fake::start(&directory.join("containerd.sock"), |mut call| async move {
        if call.read().await.is_ok() {
            call.ok(b"");
        }
    })
}

const LIST: &str = "/runtime.v1.RuntimeService/ListContainers";

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_call_and_no_end() {
    let directory = tempfile::tempdir().unwrap();
    let _fake = answering(directory.path());
    let (_reader, stuck) = full_pipe();
    let mut daemon = Daemon::start(directory, stuck);
    let client = daemon.client().await;
    assert_eq!(client.call(LIST, b"").await.unwrap().status().0, 0);
    // Each of these is an event: more of them than any pipe holds.
    for _ in 0..1_000 {
        assert_eq!(client.call("/x/Y", b"").await.unwrap().status().0, 12);
    }
    assert_eq!(client.call(LIST, b"").await.unwrap().status().0, 0);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.ended().await.success());
}

const UPDATE: &str = "/runtime.v1.RuntimeService/UpdateContainerResources";
/// UpdateContainerResources of the container `x`: gated, and in this version judged by hygiene alone.
const ASK: &[u8] = b"\x0a\x01x";

#[tokio::test]
async fn a_runtime_that_is_away_or_goes_away_under_a_gated_call_makes_one_report_a_call() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit/audit.jsonl");
    let upstream = directory.path().join("containerd.sock");
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let mut daemon = Daemon::start(directory, log);
    let client = daemon.client().await;
    let away = client.call(UPDATE, ASK).await.unwrap().status();
    let _fake = Fake::start(&upstream, |mut call| async move {
        if call.request.uri.path() == UPDATE {
            call.read().await.unwrap();
            call.cut.send(Ending::Cut).unwrap();
            std::future::pending::<()>().await;
        }
    });
    let cut = client.call(UPDATE, ASK).await.unwrap().status();
    for (code, text) in [&away, &cut] {
        assert_eq!(*code, 14, "{text}");
        assert!(text.starts_with("RUNTIME-UNAVAILABLE: "), "{text}");
    }
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.ended().await.success());
    let lines: Vec<serde_json::Value> = std::fs::read_to_string(audit)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["verdict"].as_str().unwrap(),
                line["code"].as_str().unwrap(),
                line["text"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("undecided", "RUNTIME-UNAVAILABLE", away.1.as_str()),
            ("undecided", "RUNTIME-UNAVAILABLE", cut.1.as_str()),
        ]
    );
}

const PULL: &str = "/runtime.v1.ImageService/PullImage";
/// PullImage of `abcdef012345`, which containerd is asked about: it could be the beginning of an ID.
const IMAGE: &[u8] = b"\x0a\x0e\x0a\x0cabcdef012345";

#[tokio::test]
async fn what_is_judged_beside_its_call_when_the_daemon_ends_is_reported_too() {
    let directory = tempfile::tempdir().unwrap();
    let settings = format!("mode = \"observe\"\n{}", Daemon::text(directory.path()));
    let audit = directory.path().join("audit/audit.jsonl");
    let upstream = directory.path().join("containerd.sock");
    let mut daemon = Daemon::start_with(directory, &settings, Stdio::null());
    let client = daemon.client().await;
    // Answers the kubelet, and never the guard's own questions.
    let _fake = Fake::start(&upstream, |mut call| async move {
        call.read().await.unwrap();
        if call.request.uri.path() == PULL {
            call.ok(b"");
        } else {
            std::future::pending::<()>().await;
        }
    });
    for _ in 0..3 {
        assert_eq!(client.call(PULL, IMAGE).await.unwrap().status().0, 0);
    }
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.ended().await.success());
    let lines = std::fs::read_to_string(audit).unwrap_or_default();
    assert_eq!(lines.matches("\"rpc\":\"PullImage\"").count(), 3, "{lines}");
}

#[tokio::test]
async fn a_passed_socket_is_served_under_another_name_of_its_path() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("run")).unwrap();
    std::os::unix::fs::symlink("run", directory.path().join("var-run")).unwrap();
    let socket = UnixListener::bind(directory.path().join("run/cri.sock")).unwrap();
    let text = Daemon::text(directory.path()).replace("/cri.sock", "/var-run/cri.sock");
    let client_path = directory.path().join("run/cri.sock");
    let log = directory.path().join("log");
    let mut daemon = Daemon::activated(directory, socket, &text);
    let client = soon(Client::connect(&client_path)).await;
    assert_eq!(client.call("/x/Y", b"").await.unwrap().status().0, 12);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.ended().await.success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("that one is served"), "{log}");
}

#[tokio::test]
async fn a_passed_socket_that_the_settings_do_not_name_is_served_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passed.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let text = Daemon::text(directory.path());
    let log = directory.path().join("log");
    let elsewhere = directory.path().join("cri.sock");
    let mut daemon = Daemon::activated(directory, socket, &text);
    let client = soon(Client::connect(&path)).await;
    assert_eq!(client.call("/x/Y", b"").await.unwrap().status().0, 12);
    assert!(!elsewhere.exists(), "one socket, not two");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.ended().await.success());
    assert!(path.exists(), "a socket of systemd's stays");
    let log = std::fs::read_to_string(log).unwrap();
    let said = format!(
        "and the service manager passed `{}`: that one is served",
        path.display()
    );
    assert!(log.contains(&said), "{log}");
}

#[tokio::test]
async fn a_second_daemon_ends_before_it_touches_the_state() {
    let directory = tempfile::tempdir().unwrap();
    let second = tempfile::tempdir().unwrap();
    let listen = directory.path().join("cri.sock");
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let mut first = Daemon::start(directory, log);
    first.client().await;
    let text = Daemon::text(second.path()).replace(
        &second.path().join("cri.sock").display().to_string(),
        &listen.display().to_string(),
    );
    let file = second.path().join("second.toml");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pullguard"))
        .args(["serve", "--config"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    let why = format!("another process serves `{}`", listen.display());
    assert!(said.contains(&why), "{said}");
    assert!(!second.path().join("state").exists());
}

#[tokio::test]
async fn a_socket_that_somebody_removes_is_back_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let _fake = answering(directory.path());
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let mut daemon = Daemon::start(directory, log);
    let before = daemon.client().await;
    std::fs::remove_file(daemon.socket()).unwrap();
    // The daemon looks every ten seconds.
    let after = daemon.client().await;
    for client in [before, after] {
        assert_eq!(client.call(LIST, b"").await.unwrap().status().0, 0);
    }
}

#[tokio::test]
async fn a_kubelet_that_is_too_old_is_said_once_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let _fake = answering(directory.path());
    let path = directory.path().join("log");
    let log = std::fs::File::create(&path).unwrap();
    let mut daemon = Daemon::start(directory, log);
    let client = daemon.client().await;
    assert_eq!(client.call(LIST, b"").await.unwrap().status().0, 0);
    for _ in 0..2 {
        raw_call(&daemon.socket(), Some("/run/pullguard/cri.sock"), LIST).await;
    }
    raw_call(&daemon.socket(), Some("localhost"), LIST).await;
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.ended().await.success());
    let log = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        log.matches("kubelets are served from 1.31 on").count(),
        1,
        "{log}"
    );
}

#[tokio::test]
async fn e7_f14_a_daemon_without_descriptors_serves_who_is_in_and_lets_others_in_later() {
    let directory = tempfile::tempdir().unwrap();
    let _fake = answering(directory.path());
    let path = directory.path().join("log");
    let log = std::fs::File::create(&path).unwrap();
    let settings = Daemon::settings(directory.path());
    let child = Command::new("/bin/sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" serve --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_pullguard"))
        .arg(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut daemon = Daemon { directory, child };
    let client = daemon.client().await;
    assert_eq!(client.call(LIST, b"").await.unwrap().status().0, 0);
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(
            tokio::net::UnixStream::connect(daemon.socket())
                .await
                .unwrap(),
        );
    }
    soon(async {
        let full = |log: String| log.contains("cannot accept a connection");
        while !full(std::fs::read_to_string(&path).unwrap()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(client.call(LIST, b"").await.unwrap().status().0, 0);
    drop(crowd);
    let later = daemon.client().await;
    assert_eq!(later.call(LIST, b"").await.unwrap().status().0, 0);
}
