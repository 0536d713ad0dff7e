//! Containerd coming and going, sockets, and the relay's own end.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use pullguard::relay::{Drained, InheritedSockets, ListenError, Listener};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::relay_support::*;

fn answering(rig: &Rig) -> Fake {
    Fake::start(&rig.upstream(), |mut call| async move {
        call.read().await.unwrap();
        call.ok(call.connection.to_string().as_bytes());
    })
}

#[tokio::test]
async fn f5_while_containerd_is_down_each_call_says_so_and_the_next_finds_it_up() {
    let rig = Rig::start(forward());
    let client = rig.client().await;
    let down = |cause| {
        let path = rig.upstream().display().to_string();
        (
            14,
            format!(
                "RUNTIME-UNAVAILABLE: the container runtime at `{path}` cannot be reached: \
                 {cause}; check that containerd runs"
            ),
        )
    };
    for path in [PASS, STREAM, GUARD] {
        assert_eq!(
            client.call(path, b"").await.unwrap().status(),
            down("there is no socket")
        );
    }
    drop(std::os::unix::net::UnixListener::bind(rig.upstream()).unwrap());
    let said = client.call(PASS, b"").await.unwrap().status();
    assert_eq!(said, down("nothing listens on the socket"));
    std::fs::remove_file(rig.upstream()).unwrap();
    let _fake = answering(&rig);
    for path in [PASS, STREAM, GUARD] {
        assert_eq!(client.call(path, b"").await.unwrap().data, framed(b"1"));
    }
}

#[tokio::test]
async fn f5_after_a_restart_of_containerd_calls_on_the_same_connection_succeed() {
    let rig = Rig::start(forward());
    let client = rig.client().await;
    for _ in 0..5 {
        let fake = answering(&rig);
        for path in [PASS, GUARD] {
            assert_eq!(client.call(path, b"").await.unwrap().status().0, 0);
        }
        fake.kill(&rig.upstream()).await;
    }
}

/// Answers calls with `x-answer`; the connection of any other is cut when told.
fn cutting(rig: &Rig, half: bool) -> (Fake, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let (hand, cuts) = mpsc::unbounded_channel();
    let fake = Fake::start(&rig.upstream(), move |mut call| {
        let hand = hand.clone();
        async move {
            call.read().await.unwrap();
            if call.request.headers.contains_key("x-answer") {
                return call.ok(b"");
            }
            let stream = half.then(|| {
                let mut stream = call.head();
                stream.send_data(framed(b"half").into(), false).unwrap();
                stream
            });
            let (go, gone) = oneshot::channel();
            hand.send(go).unwrap();
            gone.await.unwrap();
            call.cut.send(Ending::Cut).unwrap();
            std::future::pending::<()>().await;
            drop(stream);
        }
    });
    (fake, cuts)
}

#[tokio::test]
async fn f5_a_connection_that_breaks_before_the_answer_is_unavailable() {
    let rig = Rig::start(forward());
    let (_fake, mut cuts) = cutting(&rig, false);
    let client = rig.client().await;
    for path in [PASS, STREAM, GUARD] {
        let (response, mut stream) = client.open(Client::request(path).body(()).unwrap()).await;
        stream.send_data(framed(b"").into(), true).unwrap();
        soon(cuts.recv()).await.unwrap().send(()).unwrap();
        let (code, text) = finish(response).await.unwrap().status();
        assert_eq!(code, 14, "{path}");
        assert!(text.contains(": it closed the connection before the answer was complete; "));
        let request = Client::request(path)
            .header("x-answer", "1")
            .body(())
            .unwrap();
        assert_eq!(
            client.send(request, &framed(b"")).await.unwrap().status().0,
            0
        );
    }
}

#[tokio::test]
async fn f5_a_connection_that_breaks_within_the_answer_ends_it_as_unavailable() {
    let rig = Rig::start(forward());
    let (_fake, mut cuts) = cutting(&rig, true);
    let client = rig.client().await;
    for path in [PASS, STREAM, GUARD] {
        let (response, mut stream) = client.open(Client::request(path).body(()).unwrap()).await;
        stream.send_data(framed(b"").into(), true).unwrap();
        let response = soon(response).await.unwrap();
        let mut body = response.into_body();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), framed(b"half"));
        soon(cuts.recv()).await.unwrap().send(()).unwrap();
        let (rest, tail) = soon(read_all(&mut body)).await.unwrap();
        assert_eq!(rest, b"");
        assert_eq!(tail.unwrap()["grpc-status"], "14", "{path}");
    }
}

#[tokio::test]
async fn f6_a_call_that_containerd_never_answers_holds_up_no_other() {
    let rig = Rig::start(forward());
    let (_fake, mut stuck) = cutting(&rig, false);
    let client = rig.client().await;
    let mut pending = Vec::new();
    for number in 0..64 {
        let path = if number % 2 == 0 { GUARD } else { PASS };
        let (response, mut stream) = client.open(Client::request(path).body(()).unwrap()).await;
        stream.send_data(framed(b"").into(), true).unwrap();
        pending.push((response, stream, soon(stuck.recv()).await.unwrap()));
    }
    for path in [PASS, GUARD, STREAM] {
        let request = Client::request(path)
            .header("x-answer", "1")
            .body(())
            .unwrap();
        assert_eq!(
            client.send(request, &framed(b"")).await.unwrap().status().0,
            0
        );
    }
}

#[tokio::test]
async fn f6_a_containerd_that_never_speaks_does_not_stop_a_client_from_leaving() {
    let rig = Rig::start(forward());
    let _mute = std::os::unix::net::UnixListener::bind(rig.upstream()).unwrap();
    let client = rig.client().await;
    let (response, mut stream) = client.open(Client::request(PASS).body(()).unwrap()).await;
    stream.send_data(framed(b"").into(), true).unwrap();
    let stats = rig.relay.as_ref().unwrap().stats();
    let wait_for = async |calls| {
        while stats.read().in_flight != calls {
            tokio::task::yield_now().await;
        }
    };
    soon(wait_for(1)).await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    soon(wait_for(0)).await;
    let refused = client.call("/x/Y", b"").await.unwrap().status();
    assert_eq!(refused.0, 12, "what needs no containerd is still answered");
}

#[tokio::test]
async fn a_goaway_of_containerd_lets_the_open_call_finish_and_the_next_one_reconnect() {
    let rig = Rig::start(forward());
    let (hand, mut open) = mpsc::unbounded_channel();
    let fake = Fake::start(&rig.upstream(), move |mut call| {
        let hand = hand.clone();
        async move {
            call.read().await.unwrap();
            if call.request.headers.contains_key("x-answer") {
                return call.ok(call.connection.to_string().as_bytes());
            }
            call.cut.send(Ending::GoAway).unwrap();
            let (go, gone) = oneshot::channel();
            hand.send(go).unwrap();
            gone.await.unwrap();
            call.ok(b"late");
        }
    });
    let client = rig.client().await;
    let (response, mut stream) = client.open(Client::request(PASS).body(()).unwrap()).await;
    stream.send_data(framed(b"").into(), true).unwrap();
    let go = soon(open.recv()).await.unwrap();
    let request = || {
        Client::request(PASS)
            .header("x-answer", "1")
            .body(())
            .unwrap()
    };
    // The GOAWAY and this call race; containerd may still take it on the old connection.
    soon(async {
        while *fake.connections.lock().unwrap() < 2 {
            let answer = client.send(request(), &framed(b"")).await.unwrap();
            assert!(matches!(answer.status().0, 0 | 14), "{answer:?}");
        }
    })
    .await;
    go.send(()).unwrap();
    assert_eq!(finish(response).await.unwrap().data, framed(b"late"));
    assert_eq!(
        client.send(request(), &framed(b"")).await.unwrap().data,
        framed(b"2")
    );
}

#[tokio::test]
async fn each_client_connection_has_its_own_to_containerd() {
    let rig = Rig::start(forward());
    let _fake = answering(&rig);
    let (one, two) = (rig.client().await, rig.client().await);
    assert_eq!(one.call(PASS, b"").await.unwrap().data, framed(b"1"));
    assert_eq!(two.call(PASS, b"").await.unwrap().data, framed(b"2"));
    assert_eq!(one.call(GUARD, b"").await.unwrap().data, framed(b"1"));
}

// ---- draining

#[tokio::test]
async fn a_drain_finishes_calls_ends_streams_and_removes_the_socket() {
    let mut rig = Rig::start(forward());
    let (hand, mut open) = mpsc::unbounded_channel();
    let _fake = Fake::start(&rig.upstream(), move |mut call| {
        let hand = hand.clone();
        async move {
            call.read().await.unwrap();
            let stream = (call.request.uri.path() == STREAM).then(|| call.head());
            let (go, gone) = oneshot::channel::<()>();
            hand.send(go).unwrap();
            drop(gone.await);
            if stream.is_none() {
                call.ok(b"late");
            }
        }
    });
    let client = rig.client().await;
    let mut calls = Vec::new();
    for path in [STREAM, PASS, GUARD] {
        let (response, mut stream) = client.open(Client::request(path).body(()).unwrap()).await;
        stream.send_data(framed(b"").into(), true).unwrap();
        calls.push((response, soon(open.recv()).await.unwrap()));
    }
    let draining = tokio::spawn(rig.relay.take().unwrap().shutdown());
    let mut calls = calls.into_iter();
    let (stream, _hold) = calls.next().unwrap();
    let said = finish(stream).await.unwrap().status();
    let text = "pullguard is stopping; the stream ends here, open it again";
    assert_eq!(said, (14, text.to_owned()));
    assert!(UnixStream::connect(rig.socket()).await.is_err());
    assert!(!rig.socket().exists());
    for (response, go) in calls {
        go.send(()).unwrap();
        assert_eq!(finish(response).await.unwrap().data, framed(b"late"));
    }
    assert_eq!(soon(draining).await.unwrap(), Drained::Complete);
}

#[tokio::test]
async fn what_is_left_when_the_time_to_drain_is_up_is_answered_unavailable() {
    let mut rig = Rig::with(forward(), |config| {
        config.drain_timeout = Duration::from_millis(50)
    });
    let (_fake, mut stuck) = cutting(&rig, false);
    let client = rig.client().await;
    let (response, mut stream) = client.open(Client::request(PASS).body(()).unwrap()).await;
    stream.send_data(framed(b"").into(), true).unwrap();
    let _never = soon(stuck.recv()).await.unwrap();
    let drained = soon(rig.relay.take().unwrap().shutdown()).await;
    assert_eq!(drained, Drained::Cut { connections: 1 });
    let answer = finish(response).await.unwrap();
    let text = "RUNTIME-UNAVAILABLE: request `Version`: the guard is stopping; it is tried again";
    assert_eq!(answer.status(), (14, text.to_owned()));
    assert_eq!(answer.trailers, None, "trailers-only");
}

#[tokio::test]
async fn a_stream_of_which_nothing_was_said_yet_ends_at_once_in_a_drain() {
    let mut rig = Rig::start(forward());
    // grpc-go sends the head of a stream together with its first message.
    let (_fake, mut stuck) = cutting(&rig, false);
    let client = rig.client().await;
    let (response, mut stream) = client.open(Client::request(STREAM).body(()).unwrap()).await;
    stream.send_data(framed(b"").into(), true).unwrap();
    let _never = soon(stuck.recv()).await.unwrap();
    let drained = tokio::spawn(rig.relay.take().unwrap().shutdown());
    let said = finish(response).await.unwrap().status();
    let text = "pullguard is stopping; the stream ends here, open it again";
    assert_eq!(said, (14, text.to_owned()));
    assert_eq!(soon(drained).await.unwrap(), Drained::Complete);
}

#[tokio::test]
async fn an_idle_relay_drains_at_once() {
    let mut rig = Rig::start(forward());
    let _fake = answering(&rig);
    let client = rig.client().await;
    client.call(PASS, b"").await.unwrap();
    let silent = UnixStream::connect(rig.socket()).await.unwrap();
    assert_eq!(
        soon(rig.relay.take().unwrap().shutdown()).await,
        Drained::Complete
    );
    drop(silent);
}

// ---- sockets

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

#[test]
fn our_socket_is_0600_in_a_directory_that_is_0700() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/cri.sock");
    let listener = Listener::bind(&path).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn f27_a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cri.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _listener = Listener::bind(&path).unwrap();
    assert!(path.symlink_metadata().unwrap().file_type().is_socket());
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
}

#[test]
fn f27_a_socket_that_another_process_serves_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cri.sock");
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let inode = path.symlink_metadata().unwrap().ino();
    let error = Listener::bind(&path).unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "another process serves `{}`; stop it or choose another path",
            path.display()
        )
    );
    assert_eq!(path.symlink_metadata().unwrap().ino(), inode);
    drop(other);
}

#[test]
fn f27_a_path_that_we_serve_already_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cri.sock");
    let _first = Listener::bind(&path).unwrap();
    assert!(matches!(
        Listener::bind(&path),
        Err(ListenError::InUse { .. })
    ));
}

#[test]
fn f27_a_path_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link, &directory.path().to_owned()] {
        assert!(
            matches!(Listener::bind(path), Err(ListenError::NotASocket { .. })),
            "{path:?}"
        );
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn a_path_that_no_socket_address_holds_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let room = 107 - directory.path().as_os_str().len() - 1;
    let fits = directory.path().join("x".repeat(room));
    drop(Listener::bind(&fits).unwrap());
    let long = directory.path().join("x".repeat(room + 1));
    assert!(matches!(
        Listener::bind(&long),
        Err(ListenError::PathTooLong { .. })
    ));
}

#[tokio::test]
async fn f27_a_replaced_socket_file_is_noticed_and_not_removed() {
    let mut rig = Rig::start(forward());
    assert!(rig.relay.as_ref().unwrap().door().is_reachable());
    std::fs::rename(rig.socket(), rig.directory.path().join("ours")).unwrap();
    assert!(!rig.relay.as_ref().unwrap().door().is_reachable());
    std::fs::write(rig.socket(), "theirs").unwrap();
    assert!(!rig.relay.as_ref().unwrap().door().is_reachable());
    soon(rig.relay.take().unwrap().shutdown()).await;
    assert_eq!(std::fs::read(rig.socket()).unwrap(), b"theirs");
}

#[tokio::test]
async fn f27_a_socket_file_that_is_gone_is_made_again_and_nobody_is_cut_off() {
    let rig = Rig::start(forward());
    let _fake = answering(&rig);
    let client = rig.client().await;
    client.call(PASS, b"").await.unwrap();
    let door = rig.relay.as_ref().unwrap().door();
    std::fs::remove_file(rig.socket()).unwrap();
    assert!(door.renew().unwrap());
    assert!(door.is_reachable());
    assert_eq!(mode(&rig.socket()), 0o600);
    assert_eq!(client.call(PASS, b"").await.unwrap().status().0, 0);
    let second = rig.client().await;
    assert_eq!(second.call(PASS, b"").await.unwrap().status().0, 0);
}

#[tokio::test]
async fn f27_a_socket_that_another_process_put_in_our_place_is_left_alone() {
    let rig = Rig::start(forward());
    let door = rig.relay.as_ref().unwrap().door();
    std::fs::remove_file(rig.socket()).unwrap();
    let _theirs = std::os::unix::net::UnixListener::bind(rig.socket()).unwrap();
    let error = door.renew().unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    assert!(!door.is_reachable());
}

// ---- other processes: this binary again, in a role

const ROLE: &str = "PULLGUARD_RELAY_TEST_ROLE";

fn role(executable: &Path, name: &str) -> Command {
    let mut command = Command::new(executable);
    command
        .args(["--exact", "--nocapture", &format!("lifetime::{name}")])
        .env(ROLE, "child");
    command
}

#[test]
fn a_socket_of_systemd_is_served_and_left_alone() {
    if std::env::var_os(ROLE).is_some() {
        let path = std::env::var_os("PULLGUARD_RELAY_TEST_PATH").unwrap();
        let mut sockets = InheritedSockets::from_env();
        assert!(sockets.take(Path::new("/not/this")).unwrap().is_none());
        assert_eq!(sockets.left(), [Path::new(&path)]);
        let listener = sockets
            .take(Path::new(&path))
            .unwrap()
            .expect("it was passed");
        assert_eq!(sockets.left(), Vec::<std::path::PathBuf>::new());
        drop(listener);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cri.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket).to_string();
    let status = role(
        &std::env::current_exe().unwrap(),
        "a_socket_of_systemd_is_served_and_left_alone",
    )
    .env("LISTEN_FDS", "1")
    .env("LISTEN_FDS_FIRST_FD", descriptor)
    .env_remove("LISTEN_PID")
    .env("PULLGUARD_RELAY_TEST_PATH", &path)
    .status()
    .unwrap();
    assert!(status.success());
    assert!(path.symlink_metadata().unwrap().file_type().is_socket());
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
}

#[tokio::test]
async fn l1_a_peer_that_is_neither_root_nor_ours_is_closed() {
    if std::env::var_os(ROLE).is_some() {
        let path = std::env::var_os("PULLGUARD_RELAY_TEST_PATH").unwrap();
        let mut socket = UnixStream::connect(path)
            .await
            .expect("the file lets us connect");
        let mut byte = [0];
        let came = soon(tokio::io::AsyncReadExt::read(&mut socket, &mut byte)).await;
        assert_eq!(came.unwrap_or(0), 0, "closed without a word");
        return;
    }
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test becomes another user: run it as root"
    );
    let rig = Rig::start(forward());
    let everyone = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    everyone(rig.directory.path(), 0o755);
    everyone(&rig.socket(), 0o777);
    let executable = rig.directory.path().join("child");
    std::fs::copy(std::env::current_exe().unwrap(), &executable).unwrap();
    let mut child = role(
        &executable,
        "l1_a_peer_that_is_neither_root_nor_ours_is_closed",
    );
    child
        .uid(65534)
        .gid(65534)
        .env("PULLGUARD_RELAY_TEST_PATH", rig.socket());
    child.current_dir("/");
    let status = tokio::task::spawn_blocking(move || child.status().unwrap());
    assert!(soon(status).await.unwrap().success());
    let stats = rig.relay.as_ref().unwrap().stats();
    assert_eq!(stats.read().turned_away, 1);
    everyone(&rig.socket(), 0o600);
    let mut child = role(&executable, "l1_another_user_cannot_even_connect");
    child
        .uid(65534)
        .gid(65534)
        .env("PULLGUARD_RELAY_TEST_PATH", rig.socket());
    child.current_dir("/");
    let status = tokio::task::spawn_blocking(move || child.status().unwrap());
    assert!(soon(status).await.unwrap().success());
    assert_eq!(stats.read().turned_away, 1);
}

#[test]
fn l1_another_user_cannot_even_connect() {
    let Some(path) = std::env::var_os("PULLGUARD_RELAY_TEST_PATH") else {
        // On its own: the mode that keeps others out.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cri.sock");
        let _listener = Listener::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        return;
    };
    let error = std::os::unix::net::UnixStream::connect(path).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_gauge_of_calls_returns_to_zero() {
    let rig = Rig::start(forward());
    let _fake = answering(&rig);
    let client = rig.client().await;
    let seen = Arc::new(Mutex::new(0));
    for path in [PASS, GUARD, STREAM, "/x/Y"] {
        client.call(path, b"").await.unwrap();
        *seen.lock().unwrap() += 1;
    }
    let stats = rig.relay.as_ref().unwrap().stats();
    soon(async {
        while stats.read().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let counts = stats.read();
    assert_eq!((counts.passed, counts.guarded, counts.refused), (2, 1, 1));
    assert_eq!((counts.connections, counts.upstream_connects), (1, 1));
    assert_eq!(counts.held_bytes, 0);
}
