//! The command line. Prints through [`Output`], decides nothing, and ends in an [`Exit`].

mod admin;
mod args;
mod docs;
mod explain;
mod output;
mod policy;
mod serve;
mod settings;
mod status;
pub mod verify;

#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use args::{Cli, Command, SettingsCommand};
pub use args::{Form, VerifyArgs};
pub use output::{Colour, Exit, Output};

/// Runs one command line, program name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>, output: &mut Output) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            output.complain(&error.render().to_string());
            return Exit::Usage;
        }
        // --help and --version.
        Err(error) => return output.page(&error.render().to_string()),
    };
    match cli.command {
        Command::Serve(args) => serve::run(&args, output),
        Command::Status(args) => status::run(&args, output),
        Command::Explain(args) => explain::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
        Command::Settings {
            command: SettingsCommand::Check { config },
        } => settings::check(&config, output),
        Command::Settings {
            command: SettingsCommand::Show { config },
        } => settings::show(&config, output),
        Command::Completions { shell } => docs::completions(shell, Cli::command(), output),
        Command::Man => docs::man(Cli::command(), output),
    }
}
