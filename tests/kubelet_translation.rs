//! The kubelet's translation against requests of a real one, field by field
//! (`tests/recorded/kubelet-*`; `make record-kubelet` makes another). `RECORDED=DIR` holds it
//! against a recording elsewhere.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says why it failed by panicking"
)]

#[path = "support/proto_json.rs"]
#[expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "test support"
)]
mod proto_json;

#[path = "kubelet_translation/recorded.rs"]
mod recorded;
#[path = "kubelet_translation/rules.rs"]
mod rules;
