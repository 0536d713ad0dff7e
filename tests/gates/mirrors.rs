//! Mirrors of hosts.toml, which the guard and containerd read alike: who may say what a name means,
//! and that other bytes than those of a digest never run.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::node::{Bare, Node, STRICT, pinned, policy, said, shop};
use crate::support::cri::PullPolicy;
use crate::support::parts::Parts;
use crate::support::{Pushed, Registry};

/// A mirror that gives what it has by digest, whatever repository it is asked for.
struct Blind {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Blind {
    /// Serves the blobs of test images; `lie` under the digest of `lie.0` other bytes.
    fn serving(images: &[&str], lie: Option<(&str, &[u8])>) -> Self {
        let mut blobs = HashMap::new();
        for image in images {
            let dir = Parts::require().image(image).join("blobs/sha256");
            for entry in fs::read_dir(dir).expect("read a layout") {
                let path = entry.expect("read a layout").path();
                let name = path.file_name().expect("a blob's name");
                let digest = format!("sha256:{}", name.to_string_lossy());
                blobs.insert(digest, fs::read(&path).expect("read a blob"));
            }
        }
        if let Some((digest, bytes)) = lie {
            blobs.insert(digest.to_owned(), bytes.to_vec());
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let blobs = Arc::new(blobs);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), blobs) = (stream, Arc::clone(&blobs)) else {
                    continue;
                };
                thread::spawn(move || answer(stream, &blobs));
            }
        });
        Self { address, stop }
    }
}

impl Drop for Blind {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

/// One request, one answer.
fn answer(stream: TcpStream, blobs: &HashMap<String, Vec<u8>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let target = first.split(' ').nth(1)?;
    let path = target.split('?').next()?;
    let found = path.rsplit('/').next().and_then(|name| blobs.get(name));
    let (status, body) = match found {
        Some(bytes) => ("200 OK", bytes.as_slice()),
        None => ("404 Not Found", b"".as_slice()),
    };
    let kind = if path.contains("/manifests/") {
        "application/vnd.oci.image.manifest.v1+json"
    } else {
        "application/octet-stream"
    };
    let mut stream = reader.into_inner();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    if !first.starts_with("HEAD ") {
        stream.write_all(body).ok()?;
    }
    Some(())
}

/// `mirror` before the registry itself.
fn before(mirror: &str, capabilities: &str, registry: &str) -> String {
    format!(
        "server = \"http://{registry}\"\n[host.\"http://{mirror}\"]\ncapabilities = [{capabilities}]\n"
    )
}

const PULL: &str = "\"pull\"";
const RESOLVE: &str = "\"pull\", \"resolve\"";

/// A node where the image of `other/app` has the name of an allowed repository that the registry
/// does not have, behind a mirror that has its bytes.
fn renamed(name: &str, capabilities: &str) -> (Node, Blind, String, String) {
    let bare = Bare::new(name);
    let foreign = bare.registry.push("app-two", "other/app:1");
    let mirror = Blind::serving(&["app-two"], None);
    let host = bare.host();
    let text = before(&mirror.address.to_string(), capabilities, &host);
    bare.containerd.hosts(&host, &text);
    let node = bare.guarded(&policy(STRICT, &shop(&host)));
    let id = node.smuggle(&foreign.reference);
    let shown = format!("{host}/shop/app:1");
    node.point(&foreign.reference, &shown, &id);
    (node, mirror, id, shown)
}

#[test]
fn a7_a_mirror_without_resolve_proves_no_name() {
    let (node, _mirror, id, shown) = renamed("blind-pull", PULL);
    let sandbox = node.sandbox(|_| {});
    let created = node.create(&sandbox, &id, &shown);
    let expected = ("CreateContainer", "IMG-UNPROVEN".to_owned());
    assert_eq!(said(&created), expected, "{created:?}");
}

#[test]
fn a7_a_mirror_with_resolve_is_believed_like_the_registry() {
    let (node, _mirror, id, shown) = renamed("blind-resolve", RESOLVE);
    let sandbox = node.sandbox(|_| {});
    node.create(&sandbox, &id, &shown).expect("created");
}

/// A pinning node whose registry has `shop/app:1`, with `mirror` before it.
fn mirrored(name: &str, mirror: impl FnOnce(&Bare, &Pushed) -> String) -> (Node, Pushed) {
    let bare = Bare::new(name);
    let app = bare.registry.push("app-one", "shop/app:1");
    let mirror = mirror(&bare, &app);
    let host = bare.host();
    bare.containerd.hosts(&host, &before(&mirror, PULL, &host));
    let node = bare.guarded(&pinned(&host));
    (node, app)
}

#[test]
fn b8_other_bytes_for_a_digest_are_never_pulled_from_a_mirror() {
    let mut held = None;
    let (node, app) = mirrored("mirror-lies", |_, app| {
        let lie = Some((app.digest.as_str(), br#"{"schemaVersion":2}"#.as_slice()));
        let mirror = held.insert(Blind::serving(&["app-one"], lie));
        mirror.address.to_string()
    });
    let images = || {
        let list = node.containerd.cri().list_images().expect("list images");
        let mut ids: Vec<String> = list.into_iter().map(|image| image.id).collect();
        ids.sort();
        ids
    };
    // The first sandbox brings the pause image.
    node.sandbox(|_| {});
    let known = (images(), node.containers());
    let run = node.run(&app.reference, PullPolicy::Always);
    assert_eq!(run.expect_err("refused").call, "PullImage");
    assert_eq!((images(), node.containers()), known);
}

#[test]
fn a2_the_bytes_of_a_digest_are_pulled_from_a_mirror() {
    let mut held = None;
    let (node, app) = mirrored("mirror-honest", |_, _| {
        let mirror = held.insert(Blind::serving(&["app-one"], None));
        mirror.address.to_string()
    });
    let started = node.run(&app.reference, PullPolicy::Always);
    assert_eq!(node.build(&started.expect("starts")), "one");
}

/// Starts from a second registry that alone has the image, by the hosts.toml in `directory`.
fn starts_from_a_mirror(name: &str, directory: impl FnOnce(&str) -> String) {
    let bare = Bare::new(name);
    let mirror = Registry::launch(&bare.lab, "mirror", false);
    mirror.push("app-one", "shop/app:1");
    let host = bare.host();
    let text = before(&mirror.host(), RESOLVE, &host);
    bare.containerd.hosts(&directory(&host), &text);
    let node = bare.guarded(&pinned(&host));
    let started = node.run(&format!("{host}/shop/app:1"), PullPolicy::Always);
    assert_eq!(node.build(&started.expect("starts")), "one");
    let asked = mirror.requests();
    for who in ["pullguard/", "containerd/"] {
        let by = |line: &&String| line.contains("/v2/shop/app/") && line.contains(who);
        assert!(asked.iter().any(|line| by(&line)), "{who}: {asked:#?}");
    }
}

#[test]
fn the_guard_and_containerd_ask_the_same_mirror() {
    starts_from_a_mirror("mirror-host", str::to_owned);
}

#[test]
fn the_guard_and_containerd_find_the_same_directory_with_a_port() {
    starts_from_a_mirror("mirror-port", |host| format!("{}_", host.replace(':', "_")));
}

#[test]
fn the_guard_and_containerd_find_the_same_default_directory() {
    starts_from_a_mirror("mirror-default", |_| "_default".to_owned());
}

/// How often the guard downloaded a manifest of `shop/app`.
fn downloads(registry: &Registry) -> usize {
    let manifest = |line: &&String| {
        line.contains("\"GET /v2/shop/app/manifests/") && line.contains("pullguard/")
    };
    registry.requests().iter().filter(manifest).count()
}

#[test]
fn f10_after_a_lost_ledger_what_is_on_the_node_is_not_downloaded_for_its_name() {
    let mut node = Node::pinning("f10-lost");
    let app = node.registry.push("app-one", "shop/app:1");
    let started = node.run(&app.reference, PullPolicy::Always);
    let id = started.expect("starts").image_id;
    node.guard.stop();
    let state = fs::read_dir(node.lab.path("guard-state")).expect("the state directory");
    let ledger = |path: &PathBuf| path.to_string_lossy().contains("ledger");
    let ledger = state.flatten().map(|entry| entry.path()).find(ledger);
    fs::remove_file(ledger.expect("a ledger")).expect("lose it");
    node.guard.launch();
    node.cri = node.guard.cri();
    node.wait_active();
    let before = downloads(&node.registry);
    let sandbox = node.sandbox(|_| {});
    for name in [app.reference.clone(), app.pinned()] {
        node.create(&sandbox, &id, &name).expect("created");
    }
    assert_eq!(downloads(&node.registry), before);
}
