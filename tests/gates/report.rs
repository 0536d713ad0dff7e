//! One audit line, one metric, one log event for each gated call.

use std::time::Duration;

use crate::node::{Node, said};
use crate::support::cri::PullPolicy;
use crate::support::until;

/// Gated calls by their kind, as one of the three says.
fn decisions(metrics: &str) -> u64 {
    metrics
        .lines()
        .filter(|line| line.starts_with("pullguard_decisions_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn each_gated_call_has_one_audit_line_one_metric_and_one_event() {
    let node = Node::pinning("report");
    let app = node.registry.push("app-one", "shop/app:1");
    let other = node.registry.push("app-two", "other/app:1");
    let started = node
        .run(&app.reference, PullPolicy::IfNotPresent)
        .expect("starts");
    let denied = node.run(&other.reference, PullPolicy::IfNotPresent);
    assert_eq!(said(&denied).1, "REG-DENIED");
    for _ in 0..5 {
        node.cri.list_containers().expect("carried unseen");
        node.cri
            .container_status(&started.container)
            .expect("carried unseen");
    }
    // RunPodSandbox, PullImage, CreateContainer; RunPodSandbox, PullImage.
    let lines = until("every line is written", Duration::from_secs(10), || {
        let lines = node.guard.audit();
        if lines.len() >= 5 {
            Ok(lines)
        } else {
            Err(format!("{lines:?}"))
        }
    });
    let of = |rpc: &str| {
        let rpc = format!("\"rpc\":\"{rpc}\"");
        lines.iter().filter(|line| line.contains(&rpc)).count()
    };
    assert_eq!(
        (
            lines.len(),
            of("RunPodSandbox"),
            of("PullImage"),
            of("CreateContainer")
        ),
        (5, 2, 2, 1),
        "{lines:#?}"
    );
    let metrics = node.settings.metrics().expect("metrics");
    assert_eq!(decisions(&metrics), 5, "{metrics}");
    let denial =
        "pullguard_decisions_total{rpc=\"PullImage\",verdict=\"denied\",code=\"REG-DENIED\"} 1";
    assert!(metrics.contains(denial), "{metrics}");
    let log = node.guard.log();
    let events = log
        .lines()
        .filter(|line| line.contains("duration_us") && line.contains("verdict"))
        .count();
    assert_eq!(events, 5, "{log}");
    let refused = denied.expect_err("denied");
    let line = lines
        .iter()
        .find(|line| line.contains("\"verdict\":\"denied\""))
        .expect("the denial's line");
    for part in [
        "\"code\":\"REG-DENIED\"",
        "\"policy\":\"gates\"",
        "\"rule\":\"registries\"",
        "\"namespace\":\"default\"",
        &format!("\"ref\":\"{}\"", other.reference),
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(
        line.contains(refused.text()),
        "the client's own text: {line}"
    );
    let status = node.status();
    assert_eq!((status.calls.denied, status.audit.dropped), (1, 0));
}
