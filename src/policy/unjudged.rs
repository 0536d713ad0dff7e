//! Stage: what keeps a call from being judged → denial. Pure.
//!
//! No rule speaks here: the method table, hygiene, limits, a containerd that is away, the guard's
//! own failure. Every such line is made here, whoever finds the fault, so that one fault has one
//! text.

use std::time::Duration;

use super::{Code, Denial, Text};
use crate::request::{HygieneError, HygieneKind};

/// A request that is not even judged.
pub fn hygiene(method: &str, error: &HygieneError) -> Denial {
    let (code, advice) = match error.kind() {
        HygieneKind::Malformed => (Code::RpcMalformed, "report the client that sent it"),
        HygieneKind::TooLarge => (Code::Limit, "make it smaller"),
        HygieneKind::Compressed => (Code::RpcRefused, "send it uncompressed"),
        HygieneKind::Refused => (Code::RpcRefused, "report the client that sent it"),
        HygieneKind::UnknownField => (Code::RpcUnknownField, "upgrade the guard"),
        HygieneKind::Internal => (Code::Internal, "report this, with the node's log"),
    };
    let text = request(method).raw(&format!(": {error}"));
    Denial::say(code, text.advice(advice)).of_message()
}

/// A request in another encoding than gRPC's own.
pub fn content_type(method: &str) -> Denial {
    let text = request(method).words(": the content type is not application/grpc");
    Denial::say(
        Code::RpcMalformed,
        text.advice("report the client that sent it"),
    )
    .of_message()
}

/// More requests of its size are held already than the guard holds at once.
pub fn crowded(method: &str, limit: usize) -> Denial {
    let text = request(method).raw(&format!(
        ": requests of its size fill the {limit} bytes that are held at once"
    ));
    Denial::say(Code::Limit, text.advice("it is tried again")).of_message()
}

/// A request that did not arrive whole in time.
pub fn stalled(method: &str, limit: Duration) -> Denial {
    let seconds = limit.as_secs_f64();
    let text = request(method).raw(&format!(": it did not arrive within {seconds} s"));
    Denial::say(Code::Limit, text.advice("send it at once")).of_message()
}

/// An answer of the runtime that is longer than the guard looks at.
pub fn answer_too_large(method: &str, limit: usize) -> Denial {
    let text = Text::new()
        .words("answer to ")
        .value(method)
        .raw(&format!(": it has more than {limit} bytes"));
    Denial::say(
        Code::Limit,
        text.advice("raise limits.max_message_bytes in the settings"),
    )
    .of_message()
}

/// The runtime cannot be reached, or went away under the call; `cause` is a class, the same at each
/// retry.
pub fn away(socket: &str, cause: &'static str) -> Denial {
    let text = Text::new()
        .words("the container runtime at ")
        .value(socket)
        .words(" cannot be reached: ")
        .words(cause);
    Denial::say(
        Code::RuntimeUnavailable,
        text.advice("check that containerd runs"),
    )
}

/// The runtime's answer to a call cannot be used: nothing is known of what became of the call.
pub fn unusable(method: &str, cause: &'static str) -> Denial {
    let text = Text::new()
        .words("the container runtime's answer to ")
        .value(method)
        .words(" ")
        .words(cause);
    Denial::say(
        Code::RuntimeUnavailable,
        text.advice("look at containerd on the node; the kubelet tries again"),
    )
}

/// A path that is in no table.
pub fn unlisted(path: &str) -> Denial {
    let text = Text::new()
        .words("method ")
        .value(path)
        .words(" is not carried by the guard")
        .advice("see docs/methods.md for what is");
    Denial::say(Code::RpcRefused, text)
}

/// A method that is known and never carried.
pub fn refused_method(name: &str) -> Denial {
    let text = Text::new()
        .words("method ")
        .value(name)
        .words(" is refused by default")
        .advice("no policy allows it on this node");
    Denial::say(Code::RpcRefused, text)
}

/// The guard failed: refused, said, nothing let through.
pub fn failed(method: &str) -> Denial {
    let text = request(method)
        .words(": the guard failed on it")
        .advice("report this, with the node's log");
    Denial::say(Code::Internal, text)
}

/// The guard met what it should have made impossible.
pub fn internal(what: &'static str) -> Denial {
    let text = Text::new()
        .words("the guard met ")
        .value(what)
        .advice("report this, with the node's log");
    Denial::say(Code::Internal, text)
}

/// The guard ends before the call is answered; to the kubelet the guard is the runtime.
pub fn stopping(method: &str) -> Denial {
    let text = request(method)
        .words(": the guard is stopping")
        .advice("it is tried again");
    Denial::say(Code::RuntimeUnavailable, text)
}

fn request(method: &str) -> Text {
    Text::new().words("request ").value(method)
}
