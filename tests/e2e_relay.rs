//! As `relay_real`, in front of containerd 2.x, with the events of a real pod's life.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

#[path = "relay_real/events.rs"]
mod events;
#[path = "relay_real/recorder.rs"]
mod recorder;
#[expect(
    dead_code,
    clippy::expect_used,
    reason = "the suite on a fake runtime uses the rest"
)]
mod relay_support;
#[path = "relay_real/stage.rs"]
mod stage;
#[path = "relay_real/strict.rs"]
mod strict;
#[path = "relay_real/suite.rs"]
mod suite;
mod support;
#[path = "relay_real/wire.rs"]
mod wire;

use stage::Stage;
use support::containerd::Version;
use support::cri::FOREVER;

#[test]
fn every_method_is_carried_byte_for_byte_on_containerd_2() {
    let stage = Stage::new("relay-v2", Version::V2);
    suite::every_method_is_carried_byte_for_byte(&stage, &[]);
    suite::what_is_refused_reaches_nobody(&stage);
    strict::an_unknown_field_in_a_gated_call_reaches_nobody(&stage);
}

#[test]
fn what_a_gated_request_may_not_hold_reaches_nobody_on_containerd_2() {
    let stage = Stage::new("relay-v2-strict", Version::V2);
    strict::a_field_that_is_not_as_it_must_be_reaches_nobody(&stage);
    strict::e1_a_path_that_is_not_exactly_known_reaches_nobody(&stage);
    strict::an_odd_answer_to_a_plain_pull_is_carried(&stage);
}

#[test]
fn a_pinned_pull_is_the_received_bytes_and_one_field_on_containerd_2() {
    let pin = "  - name: pinned\n    digest: Pin\n";
    let stage = Stage::with("relay-v2-pin", Version::V2, pin, |_| {});
    strict::a_pinned_pull_is_the_received_bytes_and_one_field(&stage);
}

#[test]
fn events_long_errors_large_answers_and_cancellation_on_containerd_2() {
    let stage = Stage::new("relay-v2-odd", Version::V2);
    events::events_are_carried_as_they_come(&stage);
    suite::a_100_kb_error_text_comes_whole(&stage);
    let image = stage.registry.push("busybox", "app:1").reference;
    let pod = stage.guard.cri().run("odd", &image, &FOREVER).unwrap();
    suite::an_answer_of_3_mb_comes_whole(&stage, &pod.container);
    suite::a_cancelled_call_is_cancelled_at_containerd(&stage, &pod.container);
}
