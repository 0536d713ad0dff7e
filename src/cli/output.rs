//! Where a command prints, and how it ends.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::policy::Waived;
use crate::report::rfc3339;

/// How a command ended; the numbers are documented in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for questions: yes.
    Ok,
    /// The answer is no: denied, or no policy in force.
    No,
    /// Could not tell.
    Unknown,
    /// The command line is wrong (sysexits.h, EX_USAGE).
    Usage,
    /// The program failed (EX_SOFTWARE).
    Bug,
    /// The settings are wrong (EX_CONFIG); the service is not restarted on it.
    Settings,
}

impl Exit {
    /// The process exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::No => 1,
            Self::Unknown => 2,
            Self::Usage => 64,
            Self::Bug => 70,
            Self::Settings => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An exception that waives a rule, as commands print it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ExceptionFound {
    pub(super) name: String,
    /// RFC 3339, UTC.
    pub(super) expires: String,
}

impl From<&Waived> for ExceptionFound {
    fn from(waived: &Waived) -> Self {
        Self {
            name: waived.exception.clone(),
            expires: rfc3339(waived.expires),
        }
    }
}

/// Colour of a word on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// As it should be.
    Green,
    /// Worth a look.
    Yellow,
    /// Wrong.
    Red,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terminal {
    Yes,
    No,
}

/// Standard output and standard error of a command, or what a test puts in their place.
pub struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    terminal: Terminal,
    /// Of standard error.
    live: Terminal,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

impl Output {
    /// The process's own streams; colour only on a terminal without `NO_COLOR`.
    pub fn standard() -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            terminal: if colour { Terminal::Yes } else { Terminal::No },
            live: if io::stderr().is_terminal() {
                Terminal::Yes
            } else {
                Terminal::No
            },
        }
    }

    /// Other streams, without colour.
    pub fn new(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            err: Box::new(err),
            terminal: Terminal::No,
            live: Terminal::No,
        }
    }

    /// Prints text as it is. A reader that went away (`| head`) is no failure.
    pub fn page(&mut self, text: &str) -> Exit {
        let written = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush());
        match written {
            Ok(()) => Exit::Ok,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Err(error) => {
                self.complain(&format!("cannot print: {error}"));
                Exit::Unknown
            }
        }
    }

    /// Prints a value as JSON, indented.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Exit {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.page(&format!("{text}\n")),
            Err(error) => {
                self.complain(&format!("cannot print: {error}"));
                Exit::Bug
            }
        }
    }

    /// Prints rows of two columns, aligned.
    pub fn table(&mut self, rows: &[(&str, String)]) -> Exit {
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let text: String = rows
            .iter()
            .map(|(name, value)| format!("{name:width$}  {value}\n"))
            .collect();
        self.page(&text)
    }

    /// Says on standard error what went wrong, and what to do next.
    pub fn complain(&mut self, text: &str) {
        // There is nobody left to tell if standard error is gone.
        writeln!(self.err, "pullguard: {}", text.trim_end()).unwrap_or_default();
    }

    /// Says on standard error what is being done, if a person looks on; the next such line takes its
    /// place, and an empty one takes it away.
    pub fn progress(&mut self, text: &str) {
        let line = match (self.live, text) {
            (Terminal::No, _) => return,
            (Terminal::Yes, "") => "\r\u{1b}[K".to_owned(),
            (Terminal::Yes, text) => format!("\r\u{1b}[K{text} ..."),
        };
        let shown = self.err.write_all(line.as_bytes());
        // Progress that cannot be shown is no loss.
        shown.and_then(|()| self.err.flush()).unwrap_or_default();
    }

    /// A word in colour, on a terminal.
    pub fn paint(&self, colour: Colour, word: &str) -> String {
        let number = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
        };
        match self.terminal {
            Terminal::Yes => format!("\u{1b}[{number}m{word}\u{1b}[0m"),
            Terminal::No => word.to_owned(),
        }
    }
}
