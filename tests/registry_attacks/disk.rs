//! The node's own files on a disk that hangs: a FIFO, which gives nothing until somebody writes.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use pullguard::registry::Setup;

use super::credentials::wants_basic;
use super::*;

/// A file that hangs whoever reads it, until it is dropped.
struct Hung(PathBuf);

impl Hung {
    fn at(path: PathBuf) -> Self {
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        Self(path)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // Readers that are there get an end; those that come later find nothing.
        let open = fs::OpenOptions::new().read(true).write(true).open(&self.0);
        fs::remove_file(&self.0).unwrap_or_default();
        drop(open);
    }
}

/// Frees `hung` by itself in the end, so that a client which holds up its thread fails the test
/// instead of hanging it.
fn free_in_the_end(hung: &Path) {
    let path = hung.to_owned();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(4));
        drop(Hung(path));
    });
}

/// Asks `registry` for `host` on a thread that has something else to do, too: what the asking came
/// to, and how long the other thing had to wait at most.
async fn beside(registry: Registry, host: &str) -> (Result<Resolved, RegistryError>, Duration) {
    let reference = tagged(host);
    let until = Instant::now() + Duration::from_millis(500);
    let asked = tokio::spawn(async move { registry.resolve(&reference, None, until).await });
    let mut longest = Duration::ZERO;
    while !asked.is_finished() {
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(10)).await;
        longest = longest.max(begun.elapsed());
    }
    (asked.await.unwrap(), longest)
}

fn hung_disk() -> Result<Resolved, RegistryError> {
    Err(RegistryError::Unsupported { setup: Setup::Disk })
}

const PROMPT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn n1_a_hosts_toml_on_a_disk_that_hangs_holds_up_nobody_else() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("registry.test");
    fs::create_dir(&dir).unwrap();
    let hung = Hung::at(dir.join("hosts.toml"));
    free_in_the_end(&hung.0);
    let registry = with(RegistrySettings {
        certs_dirs: vec![root.path().to_owned()],
        ..RegistrySettings::default()
    });
    let (result, took) = beside(registry, "registry.test").await;
    assert!(took < PROMPT, "{took:?}");
    assert_eq!(result, hung_disk());
}

#[tokio::test]
async fn n2_an_authority_on_a_disk_that_hangs_holds_up_nobody_else() {
    let root = tempfile::tempdir().unwrap();
    let hung = Hung::at(root.path().join("ca.pem"));
    free_in_the_end(&hung.0);
    let settings = RegistrySettings {
        ca: vec![hung.0.clone()],
        ..RegistrySettings::default()
    };
    let registry = Registry::with_names(settings, Limits::default(), Table::of(&[]));
    let (result, took) = beside(registry, "registry.test").await;
    assert!(took < PROMPT, "{took:?}");
    assert_eq!(result, hung_disk());
}

#[tokio::test]
async fn n3_credentials_on_a_disk_that_hangs_hold_up_nobody_else() {
    let server = Server::start(wants_basic);
    let root = tempfile::tempdir().unwrap();
    let hung = Hung::at(root.path().join("config.json"));
    free_in_the_end(&hung.0);
    let registry = with(RegistrySettings {
        credentials: Some(hung.0.clone()),
        ..RegistrySettings::default()
    });
    let (result, took) = beside(registry, &server.host()).await;
    assert!(took < PROMPT, "{took:?}");
    assert_eq!(result, hung_disk());
}
