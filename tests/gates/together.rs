//! Two pulls of one tag at the same time, while the tag moves.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::node::{Bare, pinned};
use crate::support::cri::spec_for;
use crate::support::messages::PullImageRequest;

/// A byte-for-byte way to a registry that holds requests for one digest until it is let go.
struct Held {
    registry: u16,
    digest: String,
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    asked: bool,
    free: bool,
}

impl Held {
    fn start(registry: &str, digest: &str) -> (Arc<Self>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let port_of = |host: &str| host.rsplit(':').next().and_then(|port| port.parse().ok());
        let held = Arc::new(Self {
            registry: port_of(registry).expect("a port"),
            digest: digest.to_owned(),
            now: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&held);
        // Ends with the process: the listener has no handle of the laboratory.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let held = Arc::clone(&own);
                std::thread::spawn(move || held.carry(client));
            }
        });
        (held, port)
    }

    fn carry(&self, client: TcpStream) {
        let server = TcpStream::connect(("127.0.0.1", self.registry)).expect("connect");
        let (mut back, mut to_client) = (
            server.try_clone().expect("share"),
            client.try_clone().expect("share"),
        );
        let down = std::thread::spawn(move || {
            drop(std::io::copy(&mut back, &mut to_client));
            drop(to_client.shutdown(Shutdown::Both));
        });
        let (mut from, mut to) = (client, server);
        let mut buffer = [0_u8; 16384];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if head
                .lines()
                .next()
                .is_some_and(|line| line.contains(&self.digest))
            {
                self.wait_free();
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
        drop(down.join());
    }

    fn wait_free(&self) {
        let mut now = self.now.lock().expect("lock");
        now.asked = true;
        self.changed.notify_all();
        drop(
            self.changed
                .wait_timeout_while(now, Duration::from_secs(60), |now| !now.free)
                .expect("lock"),
        );
    }

    fn wait_asked(&self) {
        let now = self.now.lock().expect("lock");
        let limit = Duration::from_secs(30);
        let (now, _) = self
            .changed
            .wait_timeout_while(now, limit, |now| !now.asked)
            .expect("lock");
        assert!(now.asked, "containerd never asked for the digest");
    }

    fn let_go(&self) {
        self.now.lock().expect("lock").free = true;
        self.changed.notify_all();
    }
}

#[test]
fn a1_an_earlier_pull_that_ends_later_does_not_take_the_tag_back() {
    let bare = Bare::new("a1-together");
    let one = bare.registry.push("app-one", "shop/app:1");
    bare.registry.push("app-two", "shop/app:2");
    let (held, port) = Held::start(&bare.host(), &one.digest);
    let host = format!("127.0.0.1:{port}");
    let node = bare.guarded(&pinned(&host));
    let image = format!("{host}/shop/app:1");
    let pull = || {
        let sandbox = node.cri.sandbox("pod");
        node.cri.pull_with(PullImageRequest {
            image: Some(spec_for(&image, &sandbox)),
            auth: None,
            sandbox_config: Some(sandbox),
        })
    };
    let (early, late) = std::thread::scope(|scope| {
        let early = scope.spawn(pull);
        held.wait_asked();
        node.registry.retag("shop/app:2", "shop/app:1");
        let late = pull();
        held.let_go();
        (early.join().expect("no panic"), late)
    });
    let late = late.expect("the later pull is carried");
    let early = early.expect_err("the earlier pull is refused");
    assert!(
        early.message().contains("RUNTIME-UNAVAILABLE"),
        "could not tell: {early:?}"
    );
    assert_eq!(
        node.id_in_containerd(&image),
        late,
        "the tag is the later one's"
    );
    let again = pull().expect("the kubelet tries again");
    assert_eq!(again, late);
}
