//! What a node says about its registries. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The `[registry]` section of the settings, and where containerd keeps its hosts.toml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// A docker config.json with the node's own credentials; none: the node has none.
    pub credentials: Option<PathBuf>,
    /// By registry host (port included if written): further hosts whose token server may get
    /// that registry's credentials. docker.io and registry.gitlab.com are built in.
    pub token_hosts: BTreeMap<String, Vec<String>>,
    /// Instead of [`crate::limits::Limits::connect_timeout`].
    pub connect_timeout: Option<Duration>,
    /// Instead of [`crate::limits::Limits::header_timeout`].
    pub header_timeout: Option<Duration>,
    /// PEM files with authorities to believe besides the system's.
    pub ca: Vec<PathBuf>,
    /// The URL of an HTTP proxy for everything but loopback; none: no proxy (the environment is
    /// not read). Behind a proxy names are resolved by it, so only literal loopback and link-local
    /// addresses can be refused here.
    pub proxy: Option<String>,
    /// What `proxy` is not asked for, beside loopback: host names (those below them included),
    /// addresses and networks, as `NO_PROXY` lists them.
    pub no_proxy: Vec<String>,
    /// Registry hosts (port included if written) that may be spoken to without verified TLS, or
    /// without TLS. Loopback always may. Where hosts.toml names the `server` or a mirror, its
    /// scheme and `skip_verify` hold instead.
    pub insecure: Vec<String>,
    /// Roots of hosts.toml directories, containerd's `config_path`; the first that has a
    /// directory for a registry is used. Empty: no mirrors.
    pub certs_dirs: Vec<PathBuf>,
}

impl RegistrySettings {
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        self.insecure.iter().any(|listed| listed == host)
    }
}
