//! The only reader of the system clock.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the edge that reads the clock for everyone else"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// The system's wall clock; a clock before 1970 reads as 1970.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_seconds(since.as_secs())
}
