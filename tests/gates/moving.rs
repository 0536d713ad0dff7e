//! Tags that move: in the registry between judgement and pull, and on the node.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::node::{Bare, Node, pinned, said};
use crate::support::cri::PullPolicy;
use crate::texts::unproven;

/// A byte-for-byte way to a registry that moves a tag as soon as the registry has answered the first
/// question about it, before that answer goes on.
struct Mover {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

struct Plan {
    registry: u16,
    repository: String,
    from: String,
    to: String,
    moved: AtomicBool,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Mover {
    fn start(registry: &str, repository: &str, from: &str, to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let plan = Arc::new(Plan {
            registry: registry
                .rsplit(':')
                .next()
                .and_then(|port| port.parse().ok())
                .expect("a port"),
            repository: repository.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            moved: AtomicBool::new(false),
            heads: Arc::clone(&heads),
        });
        // Ends with the process: the listener has no handle of the laboratory.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = Arc::clone(&plan);
                std::thread::spawn(move || plan.carry(client));
            }
        });
        Self { port, heads }
    }

    /// The heads of requests so far.
    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("lock").clone()
    }
}

impl Plan {
    fn carry(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.registry)) else {
            return;
        };
        let asked = Arc::new(AtomicBool::new(false));
        let up = {
            let (plan, asked) = (Arc::clone(&self), Arc::clone(&asked));
            let (mut from, mut to) = (
                client.try_clone().expect("share"),
                server.try_clone().expect("share"),
            );
            std::thread::spawn(move || {
                let mut buffer = [0_u8; 16384];
                let mut unread = Vec::new();
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    unread.extend_from_slice(&buffer[..count]);
                    plan.note(&mut unread, &asked);
                    if to.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                drop(to.shutdown(Shutdown::Write));
            })
        };
        let (mut from, mut to) = (server, client);
        let mut buffer = [0_u8; 16384];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if asked.load(Ordering::SeqCst) && !self.moved.swap(true, Ordering::SeqCst) {
                self.move_tag();
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Both));
        drop(up.join());
    }

    /// Takes every whole head out of what was read; requests here have no body.
    fn note(&self, unread: &mut Vec<u8>, asked: &AtomicBool) {
        const END: &[u8] = b"\r\n\r\n";
        while let Some(at) = unread.windows(END.len()).position(|bytes| bytes == END) {
            let head: Vec<u8> = unread.drain(..at + END.len()).collect();
            let head = String::from_utf8_lossy(&head).into_owned();
            let tag = format!("/v2/{}/manifests/{} ", self.repository, self.to);
            if head.lines().next().unwrap_or_default().contains(&tag) {
                asked.store(true, Ordering::SeqCst);
            }
            self.heads.lock().expect("lock").push(head);
        }
    }

    /// Puts the manifest of one tag under the other.
    fn move_tag(&self) {
        let accept = "application/vnd.oci.image.manifest.v1+json";
        let get = format!(
            "GET /v2/{}/manifests/{} HTTP/1.1\r\nHost: r\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
            self.repository, self.from
        );
        let answer = self.talk(&get);
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let put = format!(
            "PUT /v2/{}/manifests/{} HTTP/1.1\r\nHost: r\r\nContent-Type: {accept}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.repository,
            self.to,
            body.len()
        );
        let answer = self.talk(&put);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    fn talk(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.registry)).expect("connect");
        stream.write_all(request.as_bytes()).expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    }
}

#[test]
fn a1_the_bytes_that_were_judged_are_pulled_when_the_tag_moves_in_between() {
    let bare = Bare::new("a1");
    let one = bare.registry.push("app-one", "shop/app:1");
    let two = bare.registry.push("app-two", "shop/app:2");
    let mover = Mover::start(&bare.host(), "shop/app", "2", "1");
    let host = format!("127.0.0.1:{}", mover.port);
    let node = bare.guarded(&pinned(&host));
    let started = node
        .run(&format!("{host}/shop/app:1"), PullPolicy::IfNotPresent)
        .expect("the image that was judged starts");
    assert_eq!(
        node.registry.digest("shop/app:1"),
        two.digest,
        "the tag has moved"
    );
    assert_eq!(node.build(&started), "one");
    let heads = mover.heads();
    let by_tag: Vec<&String> = heads
        .iter()
        .filter(|head| head.contains("/manifests/1 "))
        .collect();
    assert!(
        !by_tag.is_empty()
            && by_tag
                .iter()
                .all(|head| head.to_lowercase().contains("user-agent: pullguard/")),
        "only the guard asks what the tag means: {heads:#?}"
    );
    assert!(
        heads.iter().any(|line| line.contains(&one.digest)),
        "{heads:#?}"
    );
    assert!(
        !heads.iter().any(|line| line.contains(&two.digest)),
        "the other image was never asked for: {heads:#?}"
    );
}

#[test]
fn a1_the_next_pull_of_a_moved_tag_is_judged_and_pinned_anew() {
    let node = Node::pinning("a1-next");
    node.registry.push("app-one", "shop/app:1");
    node.registry.push("app-two", "shop/app:2");
    let reference = format!("{}/shop/app:1", node.host());
    let first = node.run(&reference, PullPolicy::Always).expect("starts");
    node.registry.retag("shop/app:2", "shop/app:1");
    let kept = node
        .run(&reference, PullPolicy::IfNotPresent)
        .expect("what is here is what was pulled");
    let second = node.run(&reference, PullPolicy::Always).expect("starts");
    let builds = [&first, &kept, &second].map(|started| node.build(started));
    assert_eq!(builds, ["one", "one", "two"]);
}

#[test]
fn a5_a_tag_re_pointed_on_the_node_starts_no_other_image() {
    let node = Node::pinning("a5");
    let clean = node.registry.push("app-one", "shop/app:1");
    let foreign = node.registry.push("app-two", "other/app:1");
    node.run(&clean.reference, PullPolicy::IfNotPresent)
        .expect("the allowed image starts");
    let id = node.smuggle(&foreign.reference);
    node.point(&foreign.reference, &clean.reference, &id);
    for policy in [PullPolicy::IfNotPresent, PullPolicy::Never] {
        node.denied(
            |node| node.run(&clean.reference, policy),
            "CreateContainer",
            &unproven(&clean.reference, &id, &clean.repository),
        );
    }
    let pulled = node
        .run(&clean.reference, PullPolicy::Always)
        .expect("a pull mends the tag");
    assert_eq!(node.build(&pulled), "one");
}

#[test]
fn a5_a_tag_re_pointed_inside_its_own_repository_starts_no_other_image_where_tags_are_pinned() {
    let node = Node::pinning("a5-own");
    let one = node.registry.push("app-one", "shop/app:1");
    let two = node.registry.push("app-two", "shop/app:2");
    for image in [&one, &two] {
        node.run(&image.reference, PullPolicy::IfNotPresent)
            .expect("each starts under its own tag");
    }
    let id = node.id_in_containerd(&two.reference);
    node.point(&two.reference, &one.reference, &id);
    node.denied(
        |node| node.run(&one.reference, PullPolicy::IfNotPresent),
        "CreateContainer",
        &unproven(&one.reference, &id, &one.repository),
    );
}

#[test]
fn a4_an_image_brought_past_the_guard_is_pulled_again_before_it_starts() {
    let node = Node::pinning("a4");
    let app = node.registry.push("app-one", "shop/app:1");
    node.smuggle(&app.reference);
    let never = node.run(&app.reference, PullPolicy::Never);
    assert_eq!(
        said(&never),
        ("ImageStatus", "ErrImageNeverPull".to_owned())
    );
    let started = node
        .run(&app.reference, PullPolicy::IfNotPresent)
        .expect("pulled anew, and starts");
    assert_eq!(node.build(&started), "one");
    // ctr has asked the registry too: what counts is that the guard has.
    let edit = format!("\"edit\":\"pin {}@{}\"", app.repository, app.digest);
    node.audit_line(&["\"rpc\":\"PullImage\"", &edit]);
    let guards =
        node.registry.settled_requests().into_iter().any(|line| {
            line.contains("/v2/shop/app/manifests/1 ") && line.contains("\"pullguard/")
        });
    assert!(guards, "the guard asked what the tag means");
}

#[test]
fn a4_foreign_content_under_an_allowed_name_never_starts() {
    let node = Node::pinning("a4-foreign");
    let foreign = node.registry.push("app-two", "other/app:1");
    let named = format!("{}/shop/never-pushed:1", node.host());
    let id = node.smuggle(&foreign.reference);
    node.point(&foreign.reference, &named, &id);
    node.denied(
        |node| node.run(&named, PullPolicy::IfNotPresent),
        "PullImage",
        &format!("IMG-NOT-FOUND: image `{named}`: the registry does not have it; push it, or correct the name"),
    );
    node.denied(
        |node| node.run(&named, PullPolicy::Never),
        "ImageStatus",
        "ErrImageNeverPull",
    );
    let sandbox = node.sandbox(|_| {});
    let repository = format!("{}/shop/never-pushed", node.host());
    node.denied(
        |node| node.create(&sandbox, &id, &named),
        "CreateContainer",
        &unproven(&named, &id, &repository),
    );
}

#[test]
fn a16_after_a_pinned_pull_the_tag_is_present_for_every_pull_policy_without_the_registry() {
    let mut node = Node::pinning("a16");
    let app = node.registry.push("app-one", "shop/app:1");
    node.run(&app.reference, PullPolicy::Always)
        .expect("pulled and started");
    node.registry.stop();
    for policy in [PullPolicy::IfNotPresent, PullPolicy::Never] {
        let started = node.run(&app.reference, policy);
        started.unwrap_or_else(|refused| panic!("{policy:?}: {refused:?}"));
    }
    let always = node.run(&app.reference, PullPolicy::Always);
    let text = always.as_ref().map_or_else(|r| r.text(), |_| "");
    assert!(
        text.starts_with("RegistryUnavailable: IMG-UNREACHABLE"),
        "{text}"
    );
    node.cri.remove_image(&app.reference).expect("removed");
    let never = node.run(&app.reference, PullPolicy::Never);
    assert_eq!(
        said(&never),
        ("ImageStatus", "ErrImageNeverPull".to_owned())
    );
}
