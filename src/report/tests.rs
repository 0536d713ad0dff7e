//! Tests of the report: one outcome, one event, one increment, one line.

mod hits;
mod of_running;
mod of_status;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::policy::Code;
use crate::policy::document::Action;
use crate::relay::RelayCounts;
use crate::time::Timestamp;

const PATIENCE: Duration = Duration::from_secs(10);

fn denied() -> Outcome {
    Outcome {
        code: Some(Code::RegDenied),
        rule: Some(("payments".to_owned(), "registries".to_owned())),
        policy_version: Some("v7".to_owned()),
        text: Some("REG-DENIED payments/registries: image `evil.example.com/a`".to_owned()),
        pod: Pod {
            namespace: "payments".to_owned(),
            name: "api".to_owned(),
            uid: "u-1".to_owned(),
        },
        container: Some("main".to_owned()),
        image: Image {
            reference: Some("evil.example.com/a".to_owned()),
            ..Image::default()
        },
        peer: Some(Peer {
            uid: 0,
            pid: Some(42),
        }),
        ..Outcome::new(
            "CreateContainer",
            Verdict::Denied,
            Duration::from_micros(1_500),
        )
    }
}

fn allowed() -> Outcome {
    Outcome::new("PullImage", Verdict::Allowed, Duration::from_micros(30))
}

struct Bench {
    directory: tempfile::TempDir,
    reporter: Reporter,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let reporter = Reporter::new("node-1", &directory.path().join("audit"));
        Self {
            directory,
            reporter,
        }
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        self.reporter.flush(PATIENCE);
        let file = self.directory.path().join("audit/audit.jsonl");
        std::fs::read_to_string(file)
            .unwrap_or_default()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn page(&self) -> String {
        self.reporter.metrics_page()("/metrics").unwrap().body
    }
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log lines that `f` leaves at this level.
fn logged(level: tracing::Level, f: impl FnOnce()) -> Vec<serde_json::Value> {
    let captured = Captured::default();
    let writer = captured.clone();
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(move || writer.clone());
    let subscriber = tracing_subscriber::registry()
        .with(tracing_subscriber::filter::LevelFilter::from_level(level))
        .with(layer);
    tracing::subscriber::with_default(subscriber, f);
    let bytes = captured.0.lock().unwrap().clone();
    String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_gated_call_leaves_one_event_one_increment_and_one_audit_line() {
    let bench = Bench::new();
    let events = logged(tracing::Level::INFO, || bench.reporter.record(&denied()));
    assert_eq!(events.len(), 1);
    assert_eq!(bench.lines().len(), 1);
    let series: Vec<_> = bench
        .page()
        .lines()
        .filter(|line| line.starts_with("pullguard_decisions_total"))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        series,
        [
            "pullguard_decisions_total{rpc=\"CreateContainer\",verdict=\"denied\",code=\"REG-DENIED\"} 1"
        ]
    );
    assert_eq!(bench.reporter.calls().denied, 1);
}

#[test]
fn a_denial_is_logged_with_the_documented_fields() {
    let bench = Bench::new();
    let events = logged(tracing::Level::INFO, || bench.reporter.record(&denied()));
    let event = events.first().unwrap();
    for (field, value) in [
        ("level", "INFO"),
        ("rpc", "CreateContainer"),
        ("verdict", "denied"),
        ("code", "REG-DENIED"),
        ("policy", "payments"),
        ("rule", "registries"),
        ("policy.version", "v7"),
        ("pod.namespace", "payments"),
        ("pod.name", "api"),
        ("pod.uid", "u-1"),
        ("container", "main"),
        ("image.ref", "evil.example.com/a"),
    ] {
        assert_eq!(event[field], value, "{field}");
    }
    assert_eq!(event["duration_us"], 1_500);
}

#[test]
fn an_allowed_call_is_said_at_the_default_level() {
    let bench = Bench::new();
    let at_info = logged(tracing::Level::INFO, || bench.reporter.record(&allowed()));
    let at_warn = logged(tracing::Level::WARN, || bench.reporter.record(&allowed()));
    assert_eq!((at_info.len(), at_warn.len()), (1, 0));
}

#[test]
fn the_guards_own_failure_is_an_error() {
    let bench = Bench::new();
    let outcome = Outcome {
        code: Some(Code::Internal),
        ..Outcome::new("PullImage", Verdict::Undecided, Duration::ZERO)
    };
    let events = logged(tracing::Level::ERROR, || bench.reporter.record(&outcome));
    assert_eq!(events.len(), 1);
}

#[test]
fn the_audit_line_has_the_documented_shape() {
    let line = audit::line(&denied(), "node-1", Timestamp::from_unix_seconds(0));
    assert_eq!(
        line,
        "{\"schema\":\"pullguard.audit/v2\",\"time\":\"1970-01-01T00:00:00Z\",\"node\":\"node-1\",\
         \"rpc\":\"CreateContainer\",\"verdict\":\"denied\",\"ending\":\"answered\",\
         \"code\":\"REG-DENIED\",\"policy\":\"payments\",\"rule\":\"registries\",\
         \"policy_version\":\"v7\",\
         \"text\":\"REG-DENIED payments/registries: image `evil.example.com/a`\",\
         \"pod\":{\"namespace\":\"payments\",\"name\":\"api\",\"uid\":\"u-1\"},\
         \"container\":\"main\",\"image\":{\"ref\":\"evil.example.com/a\"},\"duration_us\":1500,\
         \"peer\":{\"uid\":0,\"pid\":42}}"
    );
}

#[test]
fn a_newline_in_an_image_string_breaks_no_line() {
    let bench = Bench::new();
    let mut outcome = denied();
    outcome.image.reference = Some("a\n{\"verdict\":\"allowed\"}\u{1b}[2J\u{202e}".to_owned());
    let events = logged(tracing::Level::INFO, || bench.reporter.record(&outcome));
    let expected = "a\\x0a{\"verdict\":\"allowed\"}\\x1b[2J\\xe2\\x80\\xae";
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["image.ref"], expected);
    assert_eq!(bench.lines()[0]["image"]["ref"], expected);
}

#[test]
fn a_plain_log_line_stays_one_line() {
    assert_eq!(
        text::one_line(b"first\nsecond\x1b[0m\n").as_ref(),
        b"first\\x0asecond\\x1b[0m\n"
    );
    assert_eq!(text::one_line(b"whole\n").as_ref(), b"whole\n");
}

#[test]
fn a_long_value_is_cut() {
    let long = "a".repeat(2_000);
    assert_eq!(printable(&long).len(), 1_024 + 3);
}

#[test]
fn times_are_calendar_times() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_709_164_800, "2024-02-29T00:00:00Z"),
        (1_735_689_599, "2024-12-31T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(rfc3339(Timestamp::from_unix_seconds(seconds)), expected);
    }
}

#[test]
fn a_hundred_thousand_images_make_no_new_series() {
    let bench = Bench::new();
    bench.reporter.record(&denied());
    let before = bench.page().lines().count();
    for number in 0..100_000 {
        let mut outcome = denied();
        outcome.image.reference = Some(format!("evil.example.com/{number}"));
        outcome.pod.name = format!("pod-{number}");
        bench.reporter.metrics().count(&outcome);
    }
    assert_eq!(bench.page().lines().count(), before);
}

#[test]
fn unknown_fields_make_a_bounded_number_of_series() {
    let bench = Bench::new();
    for field in 0..10_000 {
        bench.reporter.unknown_field("Mount", field);
    }
    let page = bench.page();
    let series = page
        .lines()
        .filter(|line| line.starts_with("pullguard_unknown_fields_total{"))
        .count();
    assert_eq!(series, 257);
    assert!(page.contains("pullguard_unknown_fields_total{message=\"Mount\",field=\"11\"} 1\n"));
    assert!(
        page.contains("pullguard_unknown_fields_total{message=\"other\",field=\"other\"} 9744\n")
    );
}

#[test]
fn audit_files_are_private_and_rotated() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("audit");
    let audit = Audit::start_with(&place, 100);
    for number in 0..20 {
        audit.write(format!(
            "{{\"line\":{number},\"pad\":\"{}\"}}",
            "x".repeat(40)
        ));
    }
    audit.flush(PATIENCE);
    let mut names: Vec<_> = std::fs::read_dir(&place)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), MAX_AUDIT_FILES + 1, "{names:?}");
    assert_eq!(names.first().unwrap(), "audit-00000013.jsonl");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&place) & 0o777, 0o700);
    assert_eq!(mode(&place.join("audit.jsonl")) & 0o777, 0o600);
    assert_eq!(audit.status().written, 20);
    assert_eq!(audit.status().dropped, 0);
}

#[test]
fn a_disk_that_takes_nothing_costs_lines_and_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("audit");
    std::fs::write(&place, "a file where the directory should be").unwrap();
    let audit = Audit::start(&place);
    audit.write("{}".to_owned());
    audit.flush(PATIENCE);
    assert_eq!((audit.status().written, audit.status().dropped), (0, 1));
    assert!(audit.status().problem.is_some());
    std::fs::remove_file(&place).unwrap();
    audit.write("{}".to_owned());
    audit.flush(PATIENCE);
    assert_eq!((audit.status().written, audit.status().dropped), (1, 1));
    assert_eq!(audit.status().problem, None);
}

#[test]
fn half_a_line_left_by_a_crash_spoils_no_other() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("audit.jsonl"), "{\"half").unwrap();
    let audit = Audit::start(directory.path());
    audit.write("{}".to_owned());
    audit.flush(PATIENCE);
    assert_eq!(
        std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap(),
        "{\"half\n{}\n"
    );
}

pub(crate) fn example_status() -> Status {
    Status {
        schema: STATUS_SCHEMA,
        version: "0.1.0".to_owned(),
        node: "node-1".to_owned(),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
        state: State::Active,
        since: "2026-01-01T00:00:01Z".to_owned(),
        why: "policy v7 is in force".to_owned(),
        mode: Mode::Enforce,
        settings: SettingsStatus {
            origin: "file".to_owned(),
            problem: None,
        },
        policy: Some(PolicyStatus {
            version: "v7".to_owned(),
            loaded_from: "/etc/pullguard/policy".to_owned(),
            loaded_at: "2026-01-01T00:00:01Z".to_owned(),
            policies: 2,
            rules: 5,
            exceptions: 1,
        }),
        refused: None,
        listen: ListenStatus {
            socket: "/run/pullguard/cri.sock".to_owned(),
            state: ListenState::Reachable,
        },
        upstream: UpstreamStatus {
            socket: "/run/containerd/containerd.sock".to_owned(),
            state: UpstreamState::Up,
            version: Some("2.4.2".to_owned()),
        },
        ledger: LedgerStatus {
            state: LedgerState::Ready,
            problem: None,
        },
        admissions: LedgerStatus {
            state: LedgerState::Ready,
            problem: None,
        },
        adoption: None,
        unguarded_containers: Some(0),
        running: Some(RunningStatus {
            policy_version: "v7".to_owned(),
            ended_at: "2026-01-01T00:00:02Z".to_owned(),
            judged: 3,
            denied: 1,
            undecided: 0,
            left_out: 0,
            denied_by_code: BTreeMap::from([("POD-ROOT".to_owned(), 1)]),
            undecided_by_code: BTreeMap::from([("IMG-UNREACHABLE".to_owned(), 0)]),
        }),
        relay: RelayCounts::default(),
        calls: CallCounts::default(),
        audit: AuditStatus::default(),
    }
}

#[test]
fn a_scrape_shows_every_documented_metric_and_no_other() {
    let bench = Bench::new();
    let mut outcome = denied();
    outcome.hits = vec![RuleHit {
        policy: "payments".to_owned(),
        rule: "root".to_owned(),
        action: Action::Audit,
        effect: HitEffect::WouldDeny,
        code: Some(Code::PodRoot),
        exception: None,
    }];
    bench.reporter.record(&outcome);
    bench.reporter.unknown_field("Mount", 11);
    bench.reporter.metrics().watch(Arc::new(example_status));
    let page = bench.page();
    let shown: BTreeSet<(String, String)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            (format!("{name}{suffix}"), kind.to_owned())
        })
        .collect();
    let documented: BTreeSet<(String, String)> = METRICS
        .iter()
        .map(|metric| (metric.name.to_owned(), metric.kind.to_owned()))
        .collect();
    assert_eq!(shown, documented);
    assert!(
        page.contains("pullguard_policy_state{state=\"active\"} 1\n"),
        "{page}"
    );
    assert!(
        page.contains("pullguard_policy_state{state=\"bootstrap\"} 0\n"),
        "{page}"
    );
    assert!(page.ends_with("# EOF\n"));
}

async fn exchange(request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bench = Bench::new();
    let server = tokio::spawn(serve_tcp(listener, bench.reporter.metrics_page()));
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    server.abort();
    answer
}

#[tokio::test]
async fn metrics_are_served_under_their_path_only() {
    let page = exchange("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
    let other = exchange("GET /debug/pprof HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
}

#[tokio::test]
async fn metrics_can_only_be_read() {
    let answer = exchange("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn metrics_are_not_served_beyond_loopback() {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = serve_tcp(listener, |_: &str| None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{address}` is not a loopback address")
    );
}
