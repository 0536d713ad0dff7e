//! `pullguard settings check | show`.

use std::fmt::Write;
use std::path::Path;

use super::output::{Exit, Output};
use crate::settings::{self, Effect, RowSource};

pub(crate) fn check(config: &Path, output: &mut Output) -> Exit {
    match settings::check(config) {
        Ok(_) => output.page(&format!("{}: can be used\n", config.display())),
        Err(error) => {
            output.complain(&error.to_string());
            Exit::Settings
        }
    }
}

/// The resolved settings as a settings file, each line with its source.
pub(crate) fn show(config: &Path, output: &mut Output) -> Exit {
    let (text, settings) = match settings::check(config) {
        Ok(read) => read,
        Err(error) => {
            output.complain(&error.to_string());
            return Exit::Settings;
        }
    };
    let rows = settings.rows(Some(&text));
    let mut page = String::new();
    for row in &rows {
        let source = match row.source {
            RowSource::Default => "default".to_owned(),
            RowSource::Line(line) => format!("line {line}"),
        };
        let source = match row.effect {
            Effect::Some => source,
            Effect::None => format!("{source}; no effect in this version"),
        };
        let written = match &row.value {
            Some(value) => writeln!(page, "{} = {value}  # {source}", row.key),
            None => writeln!(page, "# {} is not set", row.key),
        };
        // Writing to a String cannot fail.
        written.unwrap_or_default();
    }
    output.page(&page)
}
