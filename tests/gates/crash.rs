//! kill -9 of the guard, under load.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pullguard::store::{Ledger, StateDir};

use crate::node::Node;
use crate::support::cri::{FOREVER, PullPolicy, Started};
use crate::support::{Cri, until};

/// What the threads did.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    started: Mutex<Vec<Started>>,
    denied: AtomicUsize,
    broken: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Load {
    fn pods(&self, node: &Node, allowed: &str, denied: &str) {
        while !self.stop.load(Ordering::SeqCst) {
            // Each connection ends with the guard: a kubelet connects again.
            let Ok(cri) = Cri::try_connect(node.guard.socket()) else {
                std::thread::yield_now();
                continue;
            };
            let mut cri = cri;
            cri.adopt(&node.lab);
            match cri.run("load", allowed, &FOREVER) {
                Ok(started) => self.started.lock().expect("lock").push(started),
                Err(_) => {
                    self.broken.fetch_add(1, Ordering::SeqCst);
                }
            }
            match cri.run_with(
                "denied",
                denied,
                &FOREVER,
                PullPolicy::IfNotPresent,
                |_, _| {},
            ) {
                Ok(started) => self
                    .wrong
                    .lock()
                    .expect("lock")
                    .push(format!("a denied pod started: {started:?}")),
                Err(refused) if refused.code() == "REG-DENIED" => {
                    self.denied.fetch_add(1, Ordering::SeqCst);
                }
                Err(_) => {
                    self.broken.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }
}

#[test]
fn kill_9_under_load_loses_no_container_and_starts_no_denied_one() {
    let mut node = Node::pinning("kill9");
    let app = node.registry.push("app-one", "shop/app:1");
    let other = node.registry.push("app-two", "other/app:1");
    // The denied image is on the node: only the guard keeps it from starting.
    let evil = node.smuggle(&other.reference);
    let load = Load::default();
    for _ in 0..3 {
        let (started, denied) = (
            load.started.lock().expect("lock").len(),
            load.denied.load(Ordering::SeqCst),
        );
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| load.pods(&node, &app.reference, &other.reference)))
                .collect();
            until("pods start and are denied", Duration::from_secs(60), || {
                let (now_started, now_denied) = (
                    load.started.lock().expect("lock").len(),
                    load.denied.load(Ordering::SeqCst),
                );
                if now_started >= started + 2 && now_denied > denied {
                    Ok(())
                } else {
                    Err(format!("{now_started} started, {now_denied} denied"))
                }
            });
            // While calls are under way.
            kill(node.guard.pid());
            load.stop.store(true, Ordering::SeqCst);
            for thread in threads {
                thread.join().expect("a thread of the load");
            }
        });
        load.stop.store(false, Ordering::SeqCst);
        node.guard.kill9();
        node.guard.launch();
        node.cri = node.guard.cri();
    }
    assert_eq!(*load.wrong.lock().expect("lock"), Vec::<String>::new());
    let all = node.containerd.cri().list_containers().expect("list");
    for started in load.started.lock().expect("lock").iter() {
        let found = all.iter().find(|one| one.id == started.container);
        let found = found.unwrap_or_else(|| panic!("{} is lost", started.container));
        assert_eq!(found.state, 1, "{} runs on", started.container);
    }
    assert!(
        all.iter().all(|one| one.image_ref != evil),
        "a container of the denied image exists: {all:#?}"
    );
    let listed = node.cri.list_containers().expect("through the guard");
    assert_eq!(listed.len(), all.len());
    node.run(&app.reference, PullPolicy::Never)
        .expect("and the guard still works");
}

/// SIGKILL, while the handle is still with the guard.
fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kill the guard");
}

#[test]
fn after_a_crash_carried_pulls_still_prove_their_names_without_the_registry() {
    let mut node = Node::pinning("crash-facts");
    let app = node.registry.push("app-one", "shop/app:1");
    let other = node.registry.push("app-two", "other/app:1");
    let before = node
        .run(&app.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    let evil = node.smuggle(&other.reference);
    // Facts are written beside the calls. What the file holds is what a copy of it holds.
    until("the pull is in the ledger", Duration::from_secs(10), || {
        let copy = node.lab.dir("ledger-copy");
        std::fs::set_permissions(&copy, Permissions::from_mode(0o700))
            .map_err(|error| error.to_string())?;
        let state = StateDir::open(&copy).map_err(|error| error.to_string())?;
        std::fs::copy(
            node.lab.path("guard-state/ledger.redb"),
            copy.join("ledger.redb"),
        )
        .map_err(|error| error.to_string())?;
        let pull = Ledger::open(&state).last_pull(&app.reference);
        pull.map(drop).ok_or_else(|| "not yet".to_owned())
    });
    node.guard.kill9();
    node.registry.stop();
    node.guard.launch();
    node.cri = node.guard.cri();
    for policy in [PullPolicy::IfNotPresent, PullPolicy::Never] {
        let started = node.run(&app.reference, policy);
        started.unwrap_or_else(|refused| panic!("{policy:?}: {refused:?}"));
    }
    let sandbox = node.sandbox(|_| {});
    node.create(&sandbox, &before.image_id, &app.reference)
        .expect("by ID and tag");
    let by_name = node.create(&sandbox, &app.reference, "");
    by_name.expect("by tag alone");
    let denied = node.create(&sandbox, &evil, &app.reference);
    let refused = denied.expect_err("the other image");
    assert!(
        ["IMG-UNPROVEN", "IMG-UNREACHABLE"].contains(&refused.code()),
        "{refused:?}"
    );
    let status = node.cri.container_status(&before.container);
    assert_eq!(status.expect("the container from before").state, 1);
}

#[test]
fn a_ledger_that_is_no_ledger_is_set_aside_and_costs_only_time() {
    let mut node = Node::pinning("torn");
    let app = node.registry.push("app-one", "shop/app:1");
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    node.guard.stop();
    let state = node.lab.path("guard-state");
    let ledger = std::fs::read_dir(&state)
        .expect("the state directory")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("ledger"))
        .expect("a ledger");
    std::fs::write(&ledger, "torn").expect("tear it");
    node.guard.launch();
    node.cri = node.guard.cri();
    let status = node.status();
    assert_eq!(
        status.ledger.state,
        pullguard::report::LedgerState::Rebuilt,
        "{:?}",
        status.ledger
    );
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("proven anew with the registry");
}
