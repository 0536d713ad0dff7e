//! Waiting for a condition, with a bound. Nothing else here ever sleeps.

use std::fmt::Display;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks `probe` again and again until it gives a value; panics with `what` and the last reason once `limit` is over.
pub fn until<T, E: Display>(what: &str, limit: Duration, probe: impl FnMut() -> Result<T, E>) -> T {
    match try_until(limit, probe) {
        Ok(value) => value,
        Err(reason) => panic!("{what}: not within {limit:?}: {reason}"),
    }
}

/// As [`until`], but hands back the last reason.
pub fn try_until<T, E: Display>(
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, E>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(reason) if start.elapsed() >= limit => return Err(reason.to_string()),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
