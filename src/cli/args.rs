//! What may be written on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::settings::DEFAULT_PATH;

/// Exit codes, as `--help` and the manual page show them.
const EXIT_CODES: &str = "\
Exit codes:
   0  done; status: the policy is in force; verify, explain -f: it would be allowed
   1  status: no policy is in force; verify, explain -f: it would be denied
   2  could not tell: a daemon, a registry or containerd did not answer; explain -f: what decides
      is not in the manifest, or a file cannot be read
  64  the command line is wrong
  70  pullguard itself failed; please report it
  78  the settings are wrong";

/// A CRI guard between the kubelet and containerd.
#[derive(Debug, Parser)]
#[command(name = "pullguard", version, about, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon: serve the kubelet, guard pulls and creates
    Serve(ServeArgs),
    /// Say state, policy and counters of the running daemon
    Status(StatusArgs),
    /// Say what a denial code means, or what the policy says of manifests (-f)
    Explain(ExplainArgs),
    /// Say what the node would find for an image: digest, chain, mirrors, and which rules speak
    Verify(VerifyArgs),
    /// Read the settings file
    Settings {
        #[command(subcommand)]
        command: SettingsCommand,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// Where the last settings that could be read are kept; FILE.last-good if --config is given
    #[arg(long, value_name = "FILE")]
    pub(crate) last_good: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The settings file, for the path of the admin socket
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// The admin socket, instead of the one in the settings
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,
}

/// Arguments of `pullguard explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code at the start of the message, such as REG-DENIED
    #[arg(required_unless_present = "files", conflicts_with = "files")]
    pub(crate) code: Option<String>,
    /// Manifests: files in YAML or JSON, directories, or - for standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    /// A policy directory, instead of the one in the settings
    #[arg(long, value_name = "DIR", requires = "files", conflicts_with = "code")]
    pub(crate) policy: Option<PathBuf>,
    /// The settings file: the node's labels, bootstrap list and guarded paths
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// The USER of an image, as `pullguard verify` prints it; once for each image
    #[arg(
        long,
        value_name = "IMAGE=USER",
        requires = "files",
        conflicts_with = "code"
    )]
    pub(crate) image_user: Vec<String>,
    /// The handler of a RuntimeClass that is not named like its handler
    #[arg(
        long,
        value_name = "NAME=HANDLER",
        requires = "files",
        conflicts_with = "code"
    )]
    pub(crate) runtime_class: Vec<String>,
    /// Take claims and CSI volumes for volumes of their own, never for a directory of the node
    #[arg(long, requires = "files", conflicts_with = "code")]
    pub(crate) trust_claims: bool,
    /// The namespace of objects that name none
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// Judge pods as static pods of the node
    #[arg(long = "static", requires = "files", conflicts_with = "code")]
    pub(crate) static_pods: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,
}

/// Arguments of `pullguard verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The image, as a pod would name it
    pub image: String,
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// A policy directory, instead of the one in the settings
    #[arg(long, value_name = "DIR")]
    pub policy: Option<PathBuf>,
    /// The namespace of the pod that would use it
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

/// How a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Text,
    /// One JSON document, stable.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Say whether the file can be used, and if not, where and why
    Check {
        /// The settings file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
    },
    /// Print every key with its value and where it comes from
    Show {
        /// The settings file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
    },
}
