//! `pullguard verify IMAGE`: what the node would find.

use super::args::VerifyArgs;
use super::output::{Exit, Output};

/// Looks at the image as the daemon would, and prints what it finds: [`Exit::Ok`] if it would be
/// allowed, [`Exit::No`] if denied, [`Exit::Unknown`] if it cannot be told.
pub fn run(args: &VerifyArgs, output: &mut Output) -> Exit {
    output.complain(&format!(
        "`{}`: this build cannot ask registries",
        args.image.escape_default()
    ));
    Exit::Unknown
}
