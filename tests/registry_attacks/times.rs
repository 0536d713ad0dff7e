//! D8, F10, F11: what takes too long, and who else has to wait for it.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::server::{Step, head};
use super::*;

fn quick() -> Limits {
    Limits {
        connect_timeout: Duration::from_millis(300),
        header_timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn d8_headers_that_do_not_come_are_not_waited_for() {
    let server = Server::start(|_| Reply::hang());
    let result = resolve(&limited(quick()), &server.host()).await;
    assert_eq!(result, unreachable(Cause::TimedOut));
}

#[tokio::test]
async fn d8_endless_interim_answers_are_no_answer() {
    let server = Server::start(|_| {
        let interim = b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec();
        Reply(vec![Step::Endless(interim, Duration::from_millis(1))])
    });
    let result = resolve(&limited(quick()), &server.host()).await;
    assert_eq!(result, unreachable(Cause::TimedOut));
}

#[tokio::test]
async fn d8_one_interim_answer_is_passed_over() {
    let server = Server::start(|_| {
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec();
        bytes.extend_from_slice(&head(200, &[("content-length", "19")]));
        bytes.extend_from_slice(MANIFEST);
        Reply::raw(bytes)
    });
    assert!(resolve(&plain(), &server.host()).await.is_ok());
}

#[tokio::test]
async fn d8_a_body_that_trickles_is_given_up_after_two_seconds() {
    let server = Server::start(|_| {
        Reply(vec![
            Step::Send(head(200, &[("content-length", "1000")])),
            Step::Endless(b" ".to_vec(), Duration::from_millis(50)),
        ])
    });
    let started = Instant::now();
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, unreachable(Cause::TooSlow));
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn d8_a_body_that_stalls_ends_at_the_deadline() {
    let server = Server::start(|_| {
        Reply(vec![
            Step::Send(head(200, &[("content-length", "1000")])),
            Step::Hang,
        ])
    });
    let deadline = Instant::now() + Duration::from_millis(300);
    let result = plain()
        .resolve(&tagged(&server.host()), None, deadline)
        .await;
    assert_eq!(result, unreachable(Cause::TimedOut));
}

#[tokio::test]
async fn d8_a_short_pause_in_a_body_is_no_stall() {
    let server = Server::start(|_| {
        let length = MANIFEST.len().to_string();
        Reply(vec![
            Step::Send(head(200, &[("content-length", &length)])),
            Step::Send(MANIFEST.to_vec()),
        ])
    });
    assert!(resolve(&plain(), &server.host()).await.is_ok());
}

#[tokio::test]
async fn d8_endless_redirects_end() {
    let server = Server::start(|_| Reply::redirect("/again"));
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, bad(Fault::RedirectCount { limit: 5 }));
}

#[tokio::test]
async fn d8_a_stalled_handshake_is_not_waited_for() {
    // Accepts, and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let result = resolve(&limited(quick()), &host).await;
    assert_eq!(result, unreachable(Cause::TimedOut));
}

/// Says 429 with `after` to the first request.
fn limits_once(after: &'static str) -> Server {
    let first = Mutex::new(true);
    Server::start(move |_| {
        if std::mem::take(&mut *first.lock().unwrap()) {
            return Reply::new(429, &[("retry-after", after)], b"");
        }
        Reply::ok(MANIFEST)
    })
}

#[tokio::test]
async fn f10_a_short_retry_after_is_honoured_once() {
    let server = limits_once("1");
    assert!(resolve(&plain(), &server.host()).await.is_ok());
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn f10_a_date_in_the_past_is_a_short_retry_after() {
    let server = limits_once("Wed, 21 Oct 2015 07:28:00 GMT");
    assert!(resolve(&plain(), &server.host()).await.is_ok());
}

#[tokio::test]
async fn f10_a_long_or_unreadable_retry_after_is_not_waited_for() {
    for after in [
        "6",
        "3600",
        "Fri, 31 Dec 2100 23:59:59 GMT",
        "soon",
        "-1",
        "1e9",
        "",
    ] {
        let server = limits_once(after);
        let result = resolve(&plain(), &server.host()).await;
        assert_eq!(result, unreachable(Cause::RateLimited), "{after}");
        assert_eq!(server.seen().len(), 1, "{after}");
    }
}

#[tokio::test]
async fn f10_a_retry_after_beyond_the_deadline_is_not_waited_for() {
    let server = limits_once("5");
    let deadline = Instant::now() + Duration::from_secs(2);
    let result = plain()
        .resolve(&tagged(&server.host()), None, deadline)
        .await;
    assert_eq!(result, unreachable(Cause::RateLimited));
}

#[tokio::test]
async fn f10_a_second_rate_limit_is_final() {
    let server = Server::start(|_| Reply::new(429, &[("retry-after", "0")], b""));
    let result = resolve(&plain(), &server.host()).await;
    assert_eq!(result, unreachable(Cause::RateLimited));
    assert_eq!(server.seen().len(), 2);
}

/// Never answers, and tells when it was asked.
fn stalling() -> (Server, UnboundedReceiver<()>) {
    let (tell, reached) = unbounded_channel();
    let server = Server::start(move |_| {
        tell.send(()).unwrap();
        Reply::hang()
    });
    (server, reached)
}

/// Registries under public names, all in plain text.
fn of_names(names: &[&str], ports: &[u16], limits: Limits) -> Arc<Registry> {
    let rows: Vec<(&str, &[&str])> = names
        .iter()
        .map(|name| (*name, ["203.0.113.7"].as_slice()))
        .collect();
    let insecure = names
        .iter()
        .flat_map(|name| ports.iter().map(move |port| format!("{name}:{port}")))
        .collect();
    let settings = RegistrySettings {
        insecure,
        ..RegistrySettings::default()
    };
    Arc::new(Registry::with_names(settings, limits, Table::of(&rows)))
}

/// Asks `registry` for `hosts`, all at once.
fn ask_all(
    registry: &Arc<Registry>,
    hosts: Vec<String>,
) -> Vec<tokio::task::JoinHandle<Result<Resolved, RegistryError>>> {
    let ask = |host: String| {
        let registry = Arc::clone(registry);
        tokio::spawn(async move { resolve(&registry, &host).await })
    };
    hosts.into_iter().map(ask).collect()
}

#[tokio::test]
async fn f11_a_stalling_registry_holds_up_no_other() {
    let (stalled, mut reached) = stalling();
    let other = Server::start(serves_manifest);
    let registry = of_names(
        &["stalled.test", "other.test"],
        &[stalled.port(), other.port()],
        Limits {
            max_fetches: 2,
            max_fetches_per_host: 1,
            ..Limits::default()
        },
    );
    let host = format!("stalled.test:{}", stalled.port());
    let waiting = ask_all(&registry, vec![host; 8]);
    let ten = Duration::from_secs(10);
    tokio::time::timeout(ten, reached.recv()).await.unwrap();
    let host = format!("other.test:{}", other.port());
    let found = resolve(&registry, &host).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
    assert_eq!(stalled.seen().len(), 1);
    for task in waiting {
        task.abort();
    }
}

#[tokio::test]
async fn f11_a_registry_that_redirects_to_many_hosts_holds_up_no_other() {
    let (stalled, mut reached) = stalling();
    let port = stalled.port();
    let count = Mutex::new(0);
    // Each request is sent to another host name, where it hangs.
    let server = Server::start(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        Reply::redirect(&format!("http://h{count}.test:{port}/x"))
    });
    let other = Server::start(serves_manifest);
    let names = ["evil.test", "other.test", "h1.test", "h2.test", "h3.test"];
    let limits = Limits {
        max_fetches: 2,
        max_fetches_per_host: 1,
        ..Limits::default()
    };
    let registry = of_names(&names, &[server.port(), other.port()], limits);
    let waiting = ask_all(&registry, vec![format!("evil.test:{}", server.port()); 3]);
    let ten = Duration::from_secs(10);
    tokio::time::timeout(ten, reached.recv()).await.unwrap();
    let host = format!("other.test:{}", other.port());
    let found = tokio::time::timeout(ten, resolve(&registry, &host)).await;
    assert_eq!(found.unwrap().unwrap().digest, Digest::of(MANIFEST));
    assert_eq!(stalled.seen().len(), 1);
    for task in waiting {
        task.abort();
    }
}

#[tokio::test]
async fn f11_many_ports_of_one_host_are_one_host() {
    let (stalled, mut reached) = stalling();
    let (second, mut never) = stalling();
    let limits = Limits {
        max_fetches_per_host: 1,
        ..Limits::default()
    };
    let ports = [stalled.port(), second.port()];
    let registry = of_names(&["evil.test"], &ports, limits);
    let waiting = ask_all(&registry, vec![format!("evil.test:{}", ports[0])]);
    let ten = Duration::from_secs(10);
    tokio::time::timeout(ten, reached.recv()).await.unwrap();
    let soon = Instant::now() + Duration::from_millis(100);
    let reference = tagged(&format!("evil.test:{}", ports[1]));
    let result = registry.resolve(&reference, None, soon).await;
    assert_eq!(result, unreachable(Cause::Busy));
    assert!(never.try_recv().is_err());
    for task in waiting {
        task.abort();
    }
}

/// A resolver that never answers.
#[derive(Debug)]
struct Mute;

impl Names for Mute {
    fn lookup(&self, _: &str) -> Lookup {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn d8_a_resolver_that_never_answers_is_not_waited_for() {
    let registry = Registry::with_names(RegistrySettings::default(), quick(), Arc::new(Mute));
    let result = resolve(&registry, "registry.test").await;
    assert_eq!(result, unreachable(Cause::ConnectTimedOut));
}

#[tokio::test]
async fn f11_a_fetch_that_gets_no_slot_until_its_deadline_says_so() {
    let (stalled, mut reached) = stalling();
    let registry = Arc::new(limited(Limits {
        max_fetches_per_host: 1,
        ..Limits::default()
    }));
    let (first, host) = (Arc::clone(&registry), stalled.host());
    let waiting = tokio::spawn(async move { resolve(&first, &host).await });
    let ten = Duration::from_secs(10);
    tokio::time::timeout(ten, reached.recv()).await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(100);
    let result = registry
        .resolve(&tagged(&stalled.host()), None, deadline)
        .await;
    assert_eq!(result, unreachable(Cause::Busy));
    waiting.abort();
}
