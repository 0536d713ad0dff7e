//! `pullguard serve`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use super::args::ServeArgs;
use super::output::{Exit, Output};
use crate::authoring::compile_dir;
use crate::daemon::LocalPolicy;
use crate::limits::Limits;
use crate::report::{flush_log, install_panic_hook, start_log};
use crate::settings;
use crate::sync::SourceFile;

/// How long the last events may take to be written.
const FLUSH: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &ServeArgs, output: &mut Output) -> Exit {
    let last_good = args
        .last_good
        .clone()
        .unwrap_or_else(|| settings::last_good_of(&args.config));
    let loaded = settings::load(&args.config, &last_good);
    let report = &loaded.settings.report;
    start_log(report.journald, report.level, report.format);
    install_panic_hook();
    if let Some(problem) = &loaded.problem {
        tracing::warn!(
            origin = loaded.origin.as_str(),
            "serving with settings other than written: {problem}"
        );
    }
    for key in loaded.without_effect() {
        tracing::warn!(key, "this setting has no effect in this version");
    }
    let ended = crate::daemon::run(loaded, Arc::new(compile));
    flush_log(FLUSH);
    match ended {
        Ok(()) => Exit::Ok,
        Err(error) => {
            output.complain(&format!("cannot serve: {error}"));
            Exit::Unknown
        }
    }
}

/// YAML files → policy, for the daemon, which knows no YAML.
pub(crate) fn compile(files: Vec<SourceFile>, limits: &Limits) -> Result<LocalPolicy, String> {
    let files = files
        .into_iter()
        .map(|file| (file.name, file.text))
        .collect();
    let authored = compile_dir(files, limits, crate::clock::now());
    let authored = authored.map_err(|error| error.to_string())?;
    Ok(LocalPolicy {
        policy: authored.policy,
        json: authored.json,
        warnings: authored.warnings.iter().map(ToString::to_string).collect(),
    })
}
