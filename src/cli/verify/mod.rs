//! `pullguard verify IMAGE`: what the node would find, and what its policy says to that. The same
//! parts as the daemon's, asked once; it pulls nothing and starts nothing.

mod findings;
mod look;
mod print;

use std::io;
use std::path::Path;

use super::args::{Form, VerifyArgs};
use super::output::{Exit, Output};
use super::serve::compile;
use crate::policy::Policy;
use crate::settings::{self, DEFAULT_PATH, PolicySource, Settings};
use crate::sync::read_directory;

use findings::{Findings, Verdict};

/// The policy that judges, and where it was read.
#[derive(Debug)]
struct Judge {
    policy: Option<Policy>,
    from: String,
}

/// Looks at the image as the daemon would, and prints what it finds: [`Exit::Ok`] if it would be
/// allowed, [`Exit::No`] if denied, [`Exit::Unknown`] if it cannot be told.
pub fn run(args: &VerifyArgs, output: &mut Output) -> Exit {
    let settings = match settings_of(&args.config) {
        Ok(settings) => settings,
        Err(why) => {
            output.complain(&why);
            return Exit::Settings;
        }
    };
    let judge = match judge(args.policy.as_deref(), &settings) {
        Ok(judge) => judge,
        Err(why) => {
            output.complain(&why);
            return Exit::Unknown;
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
    output.progress("");
    report(args, &findings, output)
}

fn report(args: &VerifyArgs, findings: &Findings, output: &mut Output) -> Exit {
    let printed = match args.output {
        Form::Json => match serde_json::to_string_pretty(findings) {
            Ok(text) => output.page(&format!("{text}\n")),
            Err(error) => {
                output.complain(&format!("cannot print: {error}"));
                Exit::Bug
            }
        },
        Form::Text => print::print(findings, output),
    };
    match (printed, findings.verdict) {
        (Exit::Ok, Verdict::Allowed) => Exit::Ok,
        (Exit::Ok, Verdict::Denied) => Exit::No,
        (Exit::Ok, Verdict::Undecided) => Exit::Unknown,
        (failed, _) => failed,
    }
}

/// The settings of the file; the defaults where the default file does not exist, so that it works
/// on a machine that is no node.
fn settings_of(config: &Path) -> Result<Settings, String> {
    let missing =
        std::fs::metadata(config).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if missing && config == Path::new(DEFAULT_PATH) {
        return Ok(Settings::defaults("localhost"));
    }
    match settings::check(config) {
        Ok((_, settings)) => Ok(settings),
        Err(error) => Err(error.to_string()),
    }
}

/// The policy of `--policy`, else of the settings, read as the daemon reads it.
fn judge(directory: Option<&Path>, settings: &Settings) -> Result<Judge, String> {
    let directory = match (directory, &settings.policy) {
        (Some(directory), _) => directory,
        (None, PolicySource::Local(directory)) => directory.as_path(),
        (None, PolicySource::Nowhere) => {
            return Ok(Judge {
                policy: None,
                from: "nowhere; set `[policy] local` in the settings, or give --policy DIR"
                    .to_owned(),
            });
        }
    };
    let from = directory.display().to_string();
    let refused = |why: &dyn std::fmt::Display| format!("the policy cannot be used: {why}");
    let files = read_directory(directory, &settings.limits).map_err(|error| refused(&error))?;
    let local = compile(files, &settings.limits).map_err(|error| refused(&error))?;
    let audience = &local.policy.set().audience;
    if let Some(own) = &settings.audience
        && own != audience
    {
        return Err(refused(&format!(
            "it is for audience `{audience}`, the settings say `{own}`"
        )));
    }
    Ok(Judge {
        policy: Some(local.policy),
        from,
    })
}
