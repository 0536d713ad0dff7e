//! The settings and the policy of a command that judges: read as the daemon reads them.

use std::io;
use std::path::Path;

use super::output::Exit;
use super::serve::compile;
use crate::policy::Policy;
use crate::settings::{self, DEFAULT_PATH, PolicySource, Settings};
use crate::sync::read_directory;

/// The policy that judges, and where it was read.
#[derive(Debug)]
pub(super) struct PolicyChoice {
    pub(super) policy: Option<Policy>,
    pub(super) from: String,
}

/// The settings of `config`, and the policy of `--policy`, else of the settings.
pub(super) fn choose(
    config: &Path,
    directory: Option<&Path>,
) -> Result<(Settings, PolicyChoice), (Exit, String)> {
    let settings = settings_of(config).map_err(|why| (Exit::Settings, why))?;
    let choice = policy_of(directory, &settings).map_err(|why| (Exit::Unknown, why))?;
    Ok((settings, choice))
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
fn policy_of(directory: Option<&Path>, settings: &Settings) -> Result<PolicyChoice, String> {
    let directory = match (directory, &settings.policy) {
        (Some(directory), _) => directory,
        (None, PolicySource::Local(directory)) => directory.as_path(),
        (None, PolicySource::Nowhere) => {
            return Ok(PolicyChoice {
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
    Ok(PolicyChoice {
        policy: Some(local.policy),
        from,
    })
}
