//! Wires everything up and runs it.

pub mod admin;

use crate::settings::Loaded;

/// Runs the daemon with these settings until it is told to stop.
///
/// # Errors
/// One line for the operator if it could not start.
pub fn run(loaded: Loaded) -> Result<(), String> {
    Err(format!(
        "this build cannot serve on {}",
        loaded.settings.listen.display()
    ))
}
