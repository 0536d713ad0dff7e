//! The built daemon in front of a fake runtime.

use std::io::{PipeReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tempfile::TempDir;

use crate::relay_support::*;

/// `pullguard serve`, ended with its handle.
struct Daemon {
    directory: TempDir,
    child: Child,
}

impl Daemon {
    fn settings(directory: &Path) -> PathBuf {
        let at = |name: &str| format!("\"{}\"", directory.join(name).display());
        let text = format!(
            "listen = {}\nadmin_listen = {}\nupstream = {}\nstate_dir = {}\nkubelet_root = {}\n\
             [report]\naudit_dir = {}\nmetrics_listen = \"off\"\njournald = \"never\"\n\
             level = \"debug\"\n",
            at("cri.sock"),
            at("admin/admin.sock"),
            at("containerd.sock"),
            at("state"),
            at("kubelet"),
            at("audit"),
        );
        let path = directory.join("pullguard.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn start(directory: TempDir, stderr: impl Into<Stdio>) -> Self {
        let settings = Self::settings(directory.path());
        let child = Command::new(env!("CARGO_BIN_EXE_pullguard"))
            .args(["serve", "--config"])
            .arg(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
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
