//! A11: a question of the guard's own that fails, whichever it is, ends in a refusal.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::crafted::Crafted;
use crate::node::{Bare, NO_IMAGE_RULE, Node, OPEN, pinned, policy};
use crate::relay_support::{Client, Fake, FakeCall, finish, framed};
use crate::support::Guard;
use crate::support::cri::{PullPolicy, Refused};

/// How a question fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Status UNAVAILABLE.
    Status,
    /// The call is broken off.
    Reset,
}

/// What becomes of an answer that names something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blank {
    /// An empty message.
    Empty,
    /// The same bytes, said to be compressed.
    Compressed,
}

/// What the proxy is to do, and what it saw.
#[derive(Default)]
struct Script {
    /// The question of the guard's own to fail, counted down to 1; 0 is none.
    fail: AtomicUsize,
    failure: Mutex<Option<Failure>>,
    /// The method of which the answers name nothing.
    blank: Mutex<Option<(&'static str, Blank)>>,
    /// The method from the first call of which on every call fails.
    last: Mutex<Option<&'static str>>,
    is_away: AtomicBool,
    creates: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

/// A way to containerd that fails one question of the guard's own, or goes away.
pub(crate) struct Proxy {
    script: Arc<Script>,
    _server: Fake,
    _runtime: Runtime,
}

impl Proxy {
    fn start(listen: &Path, upstream: PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let script = Arc::new(Script::default());
        let shared = Arc::clone(&script);
        let connection = Arc::new(OnceCell::new());
        let _entered = runtime.enter();
        let server = Fake::start(listen, move |call| {
            let (script, connection) = (Arc::clone(&shared), Arc::clone(&connection));
            let upstream = upstream.clone();
            async move {
                let client: &Client = connection.get_or_init(|| Client::connect(&upstream)).await;
                carry(call, client, &script).await;
            }
        });
        Self {
            script,
            _server: server,
            _runtime: runtime,
        }
    }

    /// Fails the `n`-th question from now on.
    fn arm(&self, n: usize, failure: Failure) {
        *self.script.failure.lock().expect("lock") = Some(failure);
        self.script.failed.lock().expect("lock").clear();
        self.script.creates.store(0, Ordering::SeqCst);
        self.script.fail.store(n, Ordering::SeqCst);
    }

    /// Has the answers of a method name nothing from now on.
    fn blank(&self, method: &'static str, blank: Blank) {
        *self.script.blank.lock().expect("lock") = Some((method, blank));
    }

    /// From the next call of the method on containerd is away.
    pub(crate) fn away_at(&self, method: &'static str) {
        *self.script.last.lock().expect("lock") = Some(method);
    }

    pub(crate) fn is_away(&self) -> bool {
        self.script.is_away.load(Ordering::SeqCst)
    }

    pub(crate) fn is_back(&self) {
        *self.script.last.lock().expect("lock") = None;
        self.script.is_away.store(false, Ordering::SeqCst);
    }

    /// Which question failed since then.
    fn failed(&self) -> Vec<String> {
        self.script.fail.store(0, Ordering::SeqCst);
        self.script.failed.lock().expect("lock").clone()
    }

    /// How many CreateContainer reached containerd since then.
    fn creates(&self) -> usize {
        self.script.creates.load(Ordering::SeqCst)
    }
}

impl Script {
    /// Whether this call is the question to fail. While one is to fail, the test itself asks for
    /// nothing but the create; the guard's counts of what runs come by the clock, and decide nothing.
    fn fails(&self, call: &FakeCall) -> Option<Failure> {
        let path = call.request.uri.path();
        let last = *self.last.lock().expect("lock");
        if last.is_some_and(|method| path.ends_with(method)) {
            self.is_away.store(true, Ordering::SeqCst);
        }
        if self.is_away.load(Ordering::SeqCst) {
            return Some(Failure::Status);
        }
        let aside = ["/CreateContainer", "/ListContainers", "/Version"];
        if aside.iter().any(|method| path.ends_with(method)) {
            return None;
        }
        let due = self
            .fail
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if due != Ok(1) {
            return None;
        }
        self.failed.lock().expect("lock").push(path.to_owned());
        *self.failure.lock().expect("lock")
    }
}

async fn carry(mut call: FakeCall, client: &Client, script: &Script) {
    let path = call.request.uri.path().to_owned();
    match script.fails(&call) {
        Some(Failure::Status) => {
            let head = Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "14")
                .header("grpc-message", "injected")
                .body(())
                .expect("an answer");
            call.respond.send_response(head, true).ok();
            return;
        }
        Some(Failure::Reset) => return call.respond.send_reset(Reason::INTERNAL_ERROR),
        None => {}
    }
    if path.ends_with("/CreateContainer") {
        script.creates.fetch_add(1, Ordering::SeqCst);
    }
    let Ok((body, trailers)) = call.read().await else {
        return;
    };
    let request = Request::from_parts(call.request, ());
    let (response, mut up) = client.open(request).await;
    up.send_data(Bytes::from(body), trailers.is_none()).ok();
    if let Some(trailers) = trailers {
        up.send_trailers(trailers).ok();
    }
    let Ok(mut answer) = finish(response).await else {
        call.respond.send_reset(Reason::INTERNAL_ERROR);
        return;
    };
    match *script.blank.lock().expect("lock") {
        Some((method, blank)) if path.ends_with(method) => match blank {
            Blank::Empty => answer.data = framed(b""),
            Blank::Compressed => answer.data[0] = 1,
        },
        Some(_) | None => {}
    }
    let only = answer.data.is_empty() && answer.trailers.is_none();
    let head = Response::from_parts(answer.head, ());
    let Ok(mut down) = call.respond.send_response(head, only) else {
        return;
    };
    if only {
        return;
    }
    let last = answer.trailers.is_none();
    down.send_data(Bytes::from(answer.data), last).ok();
    if let Some(trailers) = answer.trailers {
        down.send_trailers(trailers).ok();
    }
}

fn is_content(failed: &[String]) -> bool {
    failed.iter().all(|path| path.ends_with("Content/Read"))
}

fn is_of_the_made(failed: &[String]) -> bool {
    failed
        .iter()
        .all(|path| path.ends_with("Containers/Get") || path.ends_with("Snapshots/Stat"))
}

/// How many documents the guard had from the registry.
fn downloads(node: &Node) -> usize {
    let requests = node.registry.requests();
    let by_guard = |line: &&String| {
        line.contains("GET ") && line.contains("/manifests/") && line.contains("pullguard/")
    };
    requests.iter().filter(by_guard).count()
}

/// A node whose guard reaches containerd by the proxy.
pub(crate) fn proxied(bare: Bare) -> (Node, Proxy) {
    let proxy = Proxy::start(&bare.lab.path("proxy.sock"), bare.containerd.socket());
    Guard::write_policy(&bare.lab, "policy.yaml", &pinned(&bare.host()));
    let node = bare.started(|settings, bare| {
        let upstream = bare.lab.path("proxy.sock").display().to_string();
        settings.set("upstream", &crate::support::guard::quoted(&upstream));
    });
    node.wait_active();
    (node, proxy)
}

#[test]
fn a11_whichever_question_of_the_guards_own_fails_at_create_nothing_is_left_to_start() {
    let bare = Bare::new("a11-faults");
    let app = bare.registry.push("app-one", "shop/app:1");
    let (mut node, proxy) = proxied(bare);
    // The image is on the node, and nothing of it in the ledger: every question has to be asked.
    let id = node.smuggle(&app.reference);
    let ledger = node.lab.path("guard-state");
    for failure in [Failure::Status, Failure::Reset] {
        let mut asked = Vec::new();
        for n in 1.. {
            let sandbox = node.sandbox(|_| {});
            node.guard.stop();
            for entry in std::fs::read_dir(&ledger).expect("the state").flatten() {
                if entry.file_name().to_string_lossy().starts_with("ledger") {
                    std::fs::remove_file(entry.path()).expect("forget");
                }
            }
            node.guard.launch();
            node.cri = node.guard.cri();
            node.wait_active();
            // Its questions are about what runs: none of them is to fail here.
            node.judged(|_| true);
            let (before, here) = (downloads(&node), node.containers());
            proxy.arm(n, failure);
            let created: Result<String, Refused> = node.create(&sandbox, &id, &app.reference);
            let failed = proxy.failed();
            if failed.is_empty() {
                created.expect("no question failed: it is created");
                assert_eq!(proxy.creates(), 1, "{failure:?} {n}");
                break;
            }
            let refused = match created {
                Err(refused) => refused,
                // A document that the node does not give is had from the registry instead.
                Ok(_) if is_content(&failed) && downloads(&node) > before => {
                    asked.extend(failed);
                    node.cri.remove_pod(&sandbox.id).ok();
                    continue;
                }
                Ok(made) => panic!("{failure:?} of {failed:?}: {made} was created"),
            };
            // What a container stands on is asked once it is made, before anybody can start it.
            if !is_of_the_made(&failed) {
                assert_eq!(proxy.creates(), 0, "{failure:?} of {failed:?}: {refused:?}");
            }
            assert_eq!(node.containers(), here, "{failure:?} of {failed:?}");
            assert!(
                ["RUNTIME-UNAVAILABLE", "IMG-UNPROVEN", "POD-SANDBOX"].contains(&refused.code()),
                "{failure:?} of {failed:?}: {refused:?}"
            );
            asked.extend(failed);
            node.cri.remove_pod(&sandbox.id).ok();
        }
        for question in ["PodSandboxStatus", "Images/Get", "Content/Read"] {
            assert!(
                asked.iter().any(|path| path.ends_with(question)),
                "{failure:?}: {question} among {asked:#?}"
            );
        }
    }
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("and it starts when all is well");
}

#[test]
fn a_proven_image_of_which_the_container_is_not_named_is_refused_and_leaves_none() {
    let bare = Bare::new("blank-create");
    let app = bare.registry.push("app-one", "shop/app:1");
    let (node, proxy) = proxied(bare);
    let id = node.pull(&app.reference).expect("pulled");
    let sandbox = node.sandbox(|_| {});
    node.create(&sandbox, &id, &app.reference)
        .expect("it is named, and made");
    let before = node.containers();
    for blank in [Blank::Empty, Blank::Compressed] {
        proxy.blank("/CreateContainer", blank);
        let refused = node
            .create(&sandbox, &id, &app.reference)
            .expect_err("nobody compared what it stands on");
        let text = "RUNTIME-UNAVAILABLE: the container runtime's answer to `CreateContainer` names \
                    no container; look at containerd on the node; the kubelet tries again";
        assert_eq!(refused.call, "CreateContainer", "{blank:?}");
        assert_eq!(refused.status.message(), text, "{blank:?}");
        assert_eq!(node.containers(), before, "{blank:?}");
    }
}

#[test]
fn without_a_proof_an_odd_answer_to_a_create_is_the_runtimes_own_business() {
    let bare = Bare::new("blank-unproven");
    let app = bare.registry.push("app-one", "shop/app:1");
    let (node, proxy) = proxied(bare);
    node.apply(&policy(OPEN, NO_IMAGE_RULE));
    proxy.blank("/CreateContainer", Blank::Empty);
    let id = node.pull(&app.reference).expect("pulled");
    let sandbox = node.sandbox(|_| {});
    let created = node.create(&sandbox, &id, &app.reference);
    assert_eq!(created.expect("as the runtime said it"), "");
    assert_eq!(node.containers().len(), 1);
}

#[test]
fn a8_a_checkpoint_of_which_the_pulls_answer_names_no_image_leaves_no_name_either() {
    let bare = Bare::new("blank-pull");
    let bad = Crafted::of(&bare.lab, "cp", "app-one")
        .index(r#","annotations":{"org.criu.checkpoint.container.name":"app"}"#)
        .push(&bare.registry, "tenant/cp:1");
    let good = bare.registry.push("app-two", "tenant/good:1");
    let (node, proxy) = proxied(bare);
    node.apply(&policy(OPEN, NO_IMAGE_RULE));
    let sandbox = node.sandbox(|_| {});
    for blank in [Blank::Empty, Blank::Compressed] {
        proxy.blank("/PullImage", blank);
        for image in [&bad, &good] {
            let pulled = node.cri.pull(&image.reference, &sandbox.config);
            assert!(pulled.as_ref().map_or(true, String::is_empty), "{pulled:?}");
        }
        let names = node.containerd.ctr(&["images", "list", "-q"]);
        assert!(!names.contains("tenant/cp"), "{blank:?}: {names}");
        assert!(names.contains("tenant/good"), "{blank:?}: {names}");
    }
}
