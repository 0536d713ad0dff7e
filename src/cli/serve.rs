//! `pullguard serve`: the daemon.

use std::path::{Path, PathBuf};

use std::sync::Arc;
use std::time::Duration;

use super::args::ServeArgs;
use super::output::{Exit, Output};
use crate::authoring::compile_dir;
use crate::daemon::LocalPolicy;
use crate::limits::Limits;
use crate::report::{flush_log, install_panic_hook, start_log};
use crate::settings::{self, DEFAULT_PATH, LAST_GOOD_PATH};
use crate::sync::SourceFile;

/// How long the last events may take to be written.
const FLUSH: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &ServeArgs, output: &mut Output) -> Exit {
    let last_good = args
        .last_good
        .clone()
        .unwrap_or_else(|| last_good(&args.config));
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
    let authored = compile_dir(files, limits).map_err(|error| error.to_string())?;
    Ok(LocalPolicy {
        policy: authored.policy,
        json: authored.json,
        warnings: authored.warnings.iter().map(ToString::to_string).collect(),
    })
}

/// Settings elsewhere keep their copy beside them, so that two daemons never share one.
fn last_good(config: &Path) -> PathBuf {
    if config == Path::new(DEFAULT_PATH) {
        return PathBuf::from(LAST_GOOD_PATH);
    }
    let mut beside = config.as_os_str().to_owned();
    beside.push(".last-good");
    PathBuf::from(beside)
}
