//! The built guard in front of Debian's containerd, with a recorder between them: what is carried
//! is the same bytes, headers and trailers on both sides. `e2e_relay` shows it for containerd 2.x.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

mod recorder;
#[expect(
    dead_code,
    clippy::expect_used,
    reason = "the suite on a fake runtime uses the rest"
)]
#[path = "../relay_support/mod.rs"]
mod relay_support;
mod stage;
mod strict;
mod suite;
#[path = "../support/mod.rs"]
mod support;
mod wire;

use pullguard::request::{Method, Shape};
use relay_support::Answer;
use stage::{Stage, UNIMPLEMENTED};
use support::containerd::Version;
use support::cri::FOREVER;
use wire::Wire;

#[test]
fn every_method_is_carried_byte_for_byte_on_containerd_1_6() {
    let stage = Stage::new("relay-v1", Version::V1);
    suite::every_method_is_carried_byte_for_byte(
        &stage,
        &[
            "ListMetricDescriptors",
            "ListPodSandboxMetrics",
            "RuntimeConfig",
            "StreamContainerStats",
            "StreamContainers",
            "StreamImages",
            "StreamPodSandboxMetrics",
            "StreamPodSandboxStats",
            "StreamPodSandboxes",
            "UpdatePodSandboxResources",
        ],
    );
    suite::what_is_refused_reaches_nobody(&stage);
    strict::an_unknown_field_in_a_gated_call_reaches_nobody(&stage);
}

#[test]
fn what_a_gated_request_may_not_hold_reaches_nobody() {
    let stage = Stage::new("relay-strict", Version::V1);
    strict::a_field_that_is_not_as_it_must_be_reaches_nobody(&stage);
    strict::e1_a_path_that_is_not_exactly_known_reaches_nobody(&stage);
    strict::an_odd_answer_to_a_plain_pull_is_carried(&stage);
}

#[test]
fn hygiene_refuses_in_observe_mode_too() {
    let stage = Stage::with("relay-observe", Version::V1, "", |settings| {
        settings.set("mode", "\"observe\"");
    });
    strict::an_unknown_field_in_a_gated_call_reaches_nobody(&stage);
}

#[test]
fn a_pinned_pull_is_the_received_bytes_and_one_field_and_gets_its_tag_or_fails() {
    let pin = "  - name: pinned\n    digest: Pin\n";
    let stage = Stage::with("relay-pin", Version::V1, pin, |_| {});
    strict::a_pinned_pull_is_the_received_bytes_and_one_field(&stage);
}

#[test]
fn long_errors_large_answers_and_cancellation_on_containerd_1_6() {
    let stage = Stage::new("relay-v1-odd", Version::V1);
    unknown_streams_are_answered_by_containerd(&stage);
    suite::a_100_kb_error_text_comes_whole(&stage);
    let image = stage.registry.push("busybox", "app:1").reference;
    let pod = stage.guard.cri().run("odd", &image, &FOREVER).unwrap();
    suite::an_answer_of_3_mb_comes_whole(&stage, &pod.container);
    suite::a_cancelled_call_is_cancelled_at_containerd(&stage, &pod.container);
}

/// A server stream that this containerd does not know: its own words come through.
fn unknown_streams_are_answered_by_containerd(stage: &Stage) {
    for &method in Method::ALL {
        if method.shape() == Shape::ServerStream {
            let answer: Answer = stage.carried(method, &Wire::new().odd());
            assert_eq!(answer.status().0, UNIMPLEMENTED, "{}", method.name());
        }
    }
}
