//! The gate of the relay under test: everything passes, `/bench/Gated` asks for a verdict that is
//! there at once. Put another [`Gate`] here to measure real decisions.

use std::sync::Arc;

use pullguard::relay::{BoxFuture, Gate, Handling, RawCall, RefusedCall, Verdict};

pub(crate) fn gate() -> Arc<dyn Gate> {
    Arc::new(Cached)
}

struct Cached;

impl Gate for Cached {
    fn handling(&self, path: &str) -> Handling {
        match path {
            "/bench/Gated" => Handling::Guard("Gated"),
            "/bench/Stream" => Handling::Stream,
            _ => Handling::Pass,
        }
    }

    fn decide(&self, call: RawCall) -> BoxFuture<Verdict> {
        Box::pin(async move {
            Verdict::Forward {
                message: call.message,
                settle: None,
            }
        })
    }

    fn refused(&self, call: RefusedCall<'_>) {
        panic!("the relay refused {}: {}", call.path, call.refusal.text);
    }
}
