//! `pullguard verify IMAGE`: what the node would find, and what its policy says to that. The same
//! parts as the daemon's, asked once; it pulls nothing and starts nothing.

mod findings;
mod look;
mod print;

use super::args::{Form, VerifyArgs};
use super::output::{Exit, Output};
use super::policy::choose;

use findings::{Findings, Verdict};

/// Looks at the image as the daemon would, and prints what it finds: [`Exit::Ok`] if it would be
/// allowed, [`Exit::No`] if denied, [`Exit::Unknown`] if it cannot be told.
pub fn run(args: &VerifyArgs, output: &mut Output) -> Exit {
    let (settings, judge) = match choose(&args.config, args.policy.as_deref()) {
        Ok(chosen) => chosen,
        Err((exit, why)) => {
            output.complain(&why);
            return exit;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output.complain(&format!("the system refused: {error}"));
            return Exit::Bug;
        }
    };
    let findings = runtime.block_on(look::look(args, &settings, &judge, output));
    // A look at a disk that hangs ends with the process.
    runtime.shutdown_background();
    output.progress("");
    report(args, &findings, output)
}

fn report(args: &VerifyArgs, findings: &Findings, output: &mut Output) -> Exit {
    let printed = match args.output {
        Form::Json => output.json(findings),
        Form::Text => print::print(findings, output),
    };
    match (printed, findings.verdict) {
        (Exit::Ok, Verdict::Allowed) => Exit::Ok,
        (Exit::Ok, Verdict::Denied) => Exit::No,
        (Exit::Ok, Verdict::Undecided) => Exit::Unknown,
        (failed, _) => failed,
    }
}
