//! What the node is told: `/etc/pullguard/pullguard.toml`.
//!
//! Stage: text -> `raw` (shape, units, spelling) -> [`Settings`] (resolved, checked against each
//! other). Only `file` reads and writes files; everything else here is values. Refuses: unknown
//! and duplicate keys, wrong types, relative paths, sockets that shadow each other. Every key has
//! a default that works on kubeadm with containerd, so an empty file is a valid one.

mod error;
mod file;
mod guarded;
mod keys;
mod raw;
mod resolve;
mod show;
mod units;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::image::Reference;
use crate::limits::Limits;
use crate::policy::BootstrapEntry;
use crate::registry::RegistrySettings;

pub use crate::report::{Journald, Level, LogFormat, Mode};
pub use error::SettingsError;
pub use file::{Loaded, Origin, check, last_good_of, load, peek};
pub use show::{Effect, Row, RowSource};

/// Where the settings are read from unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/pullguard/pullguard.toml";

/// Where the last settings that could be read are kept. Fixed, because `state_dir` is itself a
/// setting and is not known when the settings cannot be read.
pub const LAST_GOOD_PATH: &str = "/var/lib/pullguard/settings.last-good.toml";

/// The settings of one node, resolved: defaults filled in, every value parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The socket that the kubelet talks to.
    pub listen: PathBuf,
    /// The read-only socket of `pullguard status`, alone in its directory.
    pub admin_listen: PathBuf,
    /// containerd's socket.
    pub upstream: PathBuf,
    /// The containerd namespace of its CRI plugin.
    pub containerd_namespace: String,
    /// The kubelet's `--root-dir`: mounts below it are told from host paths.
    pub kubelet_root: PathBuf,
    /// Whether the kubelet enforces CPU limits with CFS quotas.
    pub cpu_cfs_quota: CpuQuota,
    /// containerd's `config_path`: roots that hold one directory per registry with a `hosts.toml`.
    pub certs_dirs: Vec<PathBuf>,
    /// The pause image, where containerd does not say it itself.
    pub pause_image: Option<Reference>,
    /// Runtime handlers that pull images inside the guest, and so break the chain.
    pub guest_pull_handlers: Vec<String>,
    /// Ledger, admissions, adoption record, audit files. 0700.
    pub state_dir: PathBuf,
    /// The node's name in logs, audit lines and canary shares.
    pub node_name: String,
    /// The node's own labels, for `match.nodes` of policies.
    pub labels: BTreeMap<String, String>,
    /// The audience that a policy set must name; not asked where unset.
    pub audience: Option<String>,
    /// The channel of the policy bundle that this node follows.
    pub channel: String,
    /// Whether StartContainer is relayed or guarded.
    pub start: StartMode,
    /// Images that may start whatever image rules say.
    pub bootstrap: Vec<BootstrapEntry>,
    /// The root-only file that opens the guard for a while.
    pub break_glass: PathBuf,
    /// Where the policy comes from.
    pub policy: PolicySource,
    /// How registries are reached. Its time-outs are unset: `limits` has them.
    pub registry: RegistrySettings,
    /// Bounds on everything from outside.
    pub limits: Limits,
    /// Log, metrics, audit.
    pub report: ReportSettings,
    /// Whether denials are enforced.
    pub mode: Mode,
}

/// Whether the kubelet enforces CPU limits (its `cpuCFSQuota`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuQuota {
    /// Limits become quotas.
    Enforced,
    /// Limits are not enforced, so CPU is neither judged nor defaulted.
    Ignored,
}

/// What is done with StartContainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartMode {
    /// Carried like any other call.
    Relay,
    /// Only containers whose create passed here, or that existed at install.
    Guarded,
}

/// Where the policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// Nowhere yet: the node stays in Bootstrap.
    Nowhere,
    /// A root-owned directory of YAML on this machine.
    Local(PathBuf),
}

/// Log, metrics, audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSettings {
    /// Where `/metrics` is served; always loopback. `None` is `"off"`.
    pub metrics_listen: Option<SocketAddr>,
    /// Whether events go to the journal.
    pub journald: Journald,
    /// The least severe level that is logged.
    pub level: Level,
    /// How lines on standard error look.
    pub format: LogFormat,
    /// Where audit files are written.
    pub audit_dir: PathBuf,
}

impl Settings {
    /// What an empty file means on a node of this name.
    pub fn defaults(node_name: &str) -> Self {
        resolve::defaults(node_name)
    }

    /// Parses and resolves the text of a settings file. `file` is only used in errors;
    /// `node_name` is the default of that key.
    ///
    /// # Errors
    /// [`SettingsError`] with file, line, column, key and what works.
    pub fn parse(text: &str, file: &str, node_name: &str) -> Result<Self, SettingsError> {
        resolve::parse(text, file, node_name)
    }

    /// Every key with its resolved value, in the order of the documentation. `text` is the
    /// settings file that these settings came from, if any: it tells what was written and what
    /// was filled in.
    pub fn rows(&self, text: Option<&str>) -> Vec<Row> {
        show::rows(self, text)
    }
}
