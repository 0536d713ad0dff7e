//! Raw settings -> settings: defaults filled in, keys held against each other. Pure.

use std::path::{Path, PathBuf};

use super::error::SettingsError;
use super::keys::Keys;
use super::raw::{RawBootstrap, RawLimits, RawRegistry, RawSettings};
use super::units::Word;
use super::{
    CpuQuota, Journald, Level, LogFormat, Mode, PolicySource, RegistrySettings, ReportSettings,
    Settings, StartMode,
};
use crate::limits::Limits;
use crate::policy::BootstrapEntry;

/// A key and what is wrong with it; the place is found afterwards.
struct Problem {
    key: String,
    text: String,
}

impl Problem {
    fn new(key: &str, text: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            text: text.into(),
        }
    }
}

const CERTS_DIR: &str = "/etc/containerd/certs.d";

pub(crate) fn defaults(node_name: &str) -> Settings {
    let state_dir = PathBuf::from("/var/lib/pullguard");
    Settings {
        listen: PathBuf::from("/run/pullguard/cri.sock"),
        admin_listen: PathBuf::from("/run/pullguard-admin/admin.sock"),
        upstream: PathBuf::from("/run/containerd/containerd.sock"),
        containerd_namespace: "k8s.io".to_owned(),
        kubelet_root: PathBuf::from("/var/lib/kubelet"),
        cpu_cfs_quota: CpuQuota::Enforced,
        certs_dirs: vec![PathBuf::from(CERTS_DIR)],
        pause_image: None,
        guest_pull_handlers: Vec::new(),
        node_name: node_name.to_owned(),
        labels: Default::default(),
        audience: None,
        channel: "stable".to_owned(),
        start: StartMode::Relay,
        bootstrap: Vec::new(),
        break_glass: PathBuf::from("/etc/pullguard/break-glass"),
        policy: PolicySource::Nowhere,
        registry: RegistrySettings {
            certs_dirs: vec![PathBuf::from(CERTS_DIR)],
            ..RegistrySettings::default()
        },
        limits: Limits::default(),
        report: ReportSettings {
            metrics_listen: Some(std::net::SocketAddr::from(([127, 0, 0, 1], 9464))),
            journald: Journald::Auto,
            level: Level::Info,
            format: LogFormat::Json,
            audit_dir: state_dir.join("audit"),
        },
        mode: Mode::Enforce,
        state_dir,
    }
}

pub(crate) fn parse(text: &str, file: &str, node_name: &str) -> Result<Settings, SettingsError> {
    let raw: RawSettings =
        toml::from_str(text).map_err(|error| SettingsError::from_toml(file, text, &error))?;
    settings(raw, text, node_name)
        .and_then(|settings| check_sockets(&settings).map(|()| settings))
        .map_err(|problem| SettingsError::at_key(file, text, &problem.key, &problem.text))
}

fn settings(raw: RawSettings, text: &str, node_name: &str) -> Result<Settings, Problem> {
    let base = defaults(node_name);
    let state_dir = raw.state_dir.map_or(base.state_dir, |path| path.0);
    let limits = limits(raw.limits, &raw.registry, text, base.limits)?;
    let certs_dirs = raw.certs_dir.map_or(base.certs_dirs, |paths| paths.0);
    let report = ReportSettings {
        metrics_listen: raw
            .report
            .metrics_listen
            .map_or(base.report.metrics_listen, |address| address.0),
        journald: raw.report.journald.unwrap_or(base.report.journald),
        level: raw.report.level.unwrap_or(base.report.level),
        format: raw.report.format.unwrap_or(base.report.format),
        audit_dir: raw
            .report
            .audit_dir
            .map_or_else(|| state_dir.join("audit"), |path| path.0),
    };
    Ok(Settings {
        listen: raw.listen.map_or(base.listen, |path| path.0),
        admin_listen: raw.admin_listen.map_or(base.admin_listen, |path| path.0),
        upstream: raw.upstream.map_or(base.upstream, |path| path.0),
        containerd_namespace: word(raw.containerd_namespace, base.containerd_namespace),
        kubelet_root: raw.kubelet_root.map_or(base.kubelet_root, |path| path.0),
        cpu_cfs_quota: match raw.cpu_cfs_quota {
            Some(true) | None => CpuQuota::Enforced,
            Some(false) => CpuQuota::Ignored,
        },
        certs_dirs: certs_dirs.clone(),
        pause_image: raw.pause_image.map(|image| image.0),
        guest_pull_handlers: words(raw.guest_pull_handlers),
        state_dir,
        node_name: word(raw.node_name, base.node_name),
        labels: raw
            .labels
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key.0, value))
            .collect(),
        audience: raw.audience.map(|audience| audience.0),
        channel: word(raw.channel, base.channel),
        start: raw.start.unwrap_or(base.start),
        bootstrap: raw
            .bootstrap
            .into_iter()
            .enumerate()
            .map(|(at, entry)| bootstrap(at, entry))
            .collect::<Result<_, _>>()?,
        break_glass: raw.break_glass.map_or(base.break_glass, |path| path.0),
        policy: raw
            .policy
            .local
            .map_or(PolicySource::Nowhere, |path| PolicySource::Local(path.0)),
        registry: registry(raw.registry, certs_dirs)?,
        limits,
        report,
        mode: raw.mode.unwrap_or(base.mode),
    })
}

fn word(raw: Option<Word>, default: String) -> String {
    raw.map_or(default, |word| word.0)
}

fn words(raw: Option<Vec<Word>>) -> Vec<String> {
    raw.unwrap_or_default()
        .into_iter()
        .map(|word| word.0)
        .collect()
}

fn bootstrap(at: usize, entry: RawBootstrap) -> Result<BootstrapEntry, Problem> {
    if entry.namespaces.is_empty() {
        return Err(Problem::new(
            &format!("bootstrap[{at}].namespaces"),
            "an empty list admits nothing; name the namespaces, as `[\"kube-system\"]`",
        ));
    }
    let reference = entry.image.0;
    let Some(digest) = reference.digest() else {
        return Err(Problem::new(
            &format!("bootstrap[{at}].image"),
            format!(
                "`{reference}` can move; pin it, as `{}@sha256:…`",
                reference.repository()
            ),
        ));
    };
    Ok(BootstrapEntry {
        namespaces: words(Some(entry.namespaces)),
        repository: reference.repository().clone(),
        digest: *digest,
    })
}

fn registry(raw: RawRegistry, certs_dirs: Vec<PathBuf>) -> Result<RegistrySettings, Problem> {
    if let Some(proxy) = &raw.proxy {
        let usable = url::Url::parse(proxy)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !usable {
            return Err(Problem::new(
                "registry.proxy",
                format!(
                    "`{}` is no proxy; write `http://proxy.example.com:3128`",
                    proxy.escape_default()
                ),
            ));
        }
    }
    let insecure = words(raw.insecure);
    if let Some(host) = insecure.iter().find(|host| host.contains(['/', '*'])) {
        return Err(Problem::new(
            "registry.insecure",
            format!("`{host}` is no registry host; write `host` or `host:port`, without patterns"),
        ));
    }
    let no_proxy = words(raw.no_proxy);
    if let Some(host) = no_proxy.iter().find(|host| host.contains([',', '*'])) {
        return Err(Problem::new(
            "registry.no_proxy",
            format!(
                "`{host}` does not work; write one host, `.domain`, address or network for each entry"
            ),
        ));
    }
    Ok(RegistrySettings {
        credentials: raw.credentials.map(|path| path.0),
        token_hosts: raw
            .token_hosts
            .unwrap_or_default()
            .into_iter()
            .map(|(registry, hosts)| (registry.0, words(Some(hosts))))
            .collect(),
        ca: raw
            .ca
            .unwrap_or_default()
            .into_iter()
            .map(|path| path.0)
            .collect(),
        proxy: raw.proxy,
        no_proxy,
        insecure,
        connect_timeout: None,
        header_timeout: None,
        certs_dirs,
    })
}

/// `registry.timeouts` are four of the limits under shorter names; writing both is refused, so
/// that nobody wonders which one holds.
fn limits(
    raw: RawLimits,
    registry: &RawRegistry,
    text: &str,
    base: Limits,
) -> Result<Limits, Problem> {
    let keys = Keys::of(text);
    for (short, long) in TIMEOUTS {
        if keys.offset(short).is_some() && keys.offset(long).is_some() {
            return Err(Problem::new(
                short,
                format!("the same limit as `{long}`, which is set too; keep one"),
            ));
        }
    }
    let timeouts = &registry.timeouts;
    let mut limits = raw.over(base);
    if let Some(span) = timeouts.connect {
        limits.connect_timeout = span.0;
    }
    if let Some(span) = timeouts.headers {
        limits.header_timeout = span.0;
    }
    if let Some(span) = timeouts.pull {
        limits.pull_budget = span.0;
    }
    if let Some(span) = timeouts.create {
        limits.create_budget = span.0;
    }
    Ok(limits)
}

/// The keys of `[registry.timeouts]` and the limits that they set.
pub(crate) const TIMEOUTS: [(&str, &str); 4] = [
    ("registry.timeouts.connect", "limits.connect_timeout"),
    ("registry.timeouts.headers", "limits.header_timeout"),
    ("registry.timeouts.pull", "limits.pull_budget"),
    ("registry.timeouts.create", "limits.create_budget"),
];

fn check_sockets(settings: &Settings) -> Result<(), Problem> {
    Sockets::of(settings, Path::to_path_buf).check()
}

/// The same once more with the paths that those of the settings lead to: `/var/run` is a link to
/// `/run` on most nodes.
pub(crate) fn check_where_sockets_lead(
    settings: &Settings,
    text: &str,
    file: &str,
    lead: impl Fn(&Path) -> PathBuf,
) -> Result<(), SettingsError> {
    Sockets::of(settings, lead)
        .check()
        .map_err(|problem| SettingsError::at_key(file, text, &problem.key, &problem.text))
}

/// The paths of the three sockets: as written, or where they lead.
struct Sockets {
    listen: PathBuf,
    admin: PathBuf,
    upstream: PathBuf,
}

impl Sockets {
    fn of(settings: &Settings, lead: impl Fn(&Path) -> PathBuf) -> Self {
        Self {
            listen: lead(&settings.listen),
            admin: lead(&settings.admin_listen),
            upstream: lead(&settings.upstream),
        }
    }

    /// Refuses what would make the guard its own runtime, or hand out a CRI socket together with
    /// the status.
    fn check(&self) -> Result<(), Problem> {
        if self.listen == self.upstream {
            return Err(Problem::new(
                "listen",
                "the same socket as `upstream`: the guard would talk to itself",
            ));
        }
        for (key, socket) in [("listen", &self.listen), ("upstream", &self.upstream)] {
            // Whoever mounts the admin directory must not get a CRI socket with it.
            let within = self
                .admin
                .parent()
                .is_some_and(|directory| socket.starts_with(directory));
            if within {
                return Err(Problem::new(
                    "admin_listen",
                    format!(
                        "shares its directory with `{key}`; the admin socket must be alone in one"
                    ),
                ));
            }
        }
        Ok(())
    }
}
