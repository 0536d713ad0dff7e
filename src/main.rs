//! The `pullguard` binary: arguments in, an exit code out. Everything else is the library.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use pullguard::cli::{self, Exit, Output};

fn main() -> ExitCode {
    let mut output = Output::standard();
    // A bug has its own exit code, so that the service manager and scripts can tell.
    catch_unwind(AssertUnwindSafe(|| {
        cli::run(std::env::args_os(), &mut output)
    }))
    .unwrap_or(Exit::Bug)
    .into()
}
