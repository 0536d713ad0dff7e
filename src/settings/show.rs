//! Resolved settings as rows that are TOML again. Pure.

use std::path::{Path, PathBuf};

use super::error::position;
use super::keys::Keys;
use super::raw::limit_rows;
use super::resolve::TIMEOUTS;
use super::{CpuQuota, Journald, Level, LogFormat, PolicySource, Settings, StartMode};

/// One key of the resolved settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The dotted key.
    pub key: String,
    /// The value as the settings file writes it; `None` where nothing is set.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: RowSource,
    /// Whether this version looks at it.
    pub effect: Effect,
}

/// Whether a key does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does.
    Some,
    /// It is read and checked, and nothing more in this version.
    None,
}

/// Keys that are read for versions to come.
pub(crate) const NO_EFFECT: [&str; 2] = ["break_glass", "channel"];

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowSource {
    /// Not written: the default.
    Default,
    /// This line of the settings file.
    Line(usize),
}

pub(crate) fn rows(settings: &Settings, text: Option<&str>) -> Vec<Row> {
    let keys = text.map(Keys::of).unwrap_or_default();
    values(settings)
        .into_iter()
        .map(|(key, value)| {
            let alias = TIMEOUTS
                .iter()
                .find(|(_, long)| *long == key)
                .map(|(short, _)| *short);
            let offset = keys
                .offset(key)
                .or_else(|| alias.and_then(|alias| keys.offset(alias)));
            let source = match (offset, text) {
                (Some(offset), Some(text)) => RowSource::Line(position(text, offset).0),
                (None, _) | (_, None) => RowSource::Default,
            };
            Row {
                key: key.to_owned(),
                value,
                source,
                effect: if NO_EFFECT.contains(&key) {
                    Effect::None
                } else {
                    Effect::Some
                },
            }
        })
        .collect()
}

fn values(settings: &Settings) -> Vec<(&'static str, Option<String>)> {
    let mut rows = vec![
        ("listen", Some(path(&settings.listen))),
        ("admin_listen", Some(path(&settings.admin_listen))),
        ("upstream", Some(path(&settings.upstream))),
        (
            "containerd_namespace",
            Some(quoted(&settings.containerd_namespace)),
        ),
        ("kubelet_root", Some(path(&settings.kubelet_root))),
        (
            "cpu_cfs_quota",
            Some(
                match settings.cpu_cfs_quota {
                    CpuQuota::Enforced => "true",
                    CpuQuota::Ignored => "false",
                }
                .to_owned(),
            ),
        ),
        ("certs_dir", Some(paths(&settings.certs_dirs))),
        (
            "pause_image",
            settings
                .pause_image
                .as_ref()
                .map(|image| quoted(&image.to_string())),
        ),
        (
            "guest_pull_handlers",
            Some(list(&settings.guest_pull_handlers)),
        ),
        ("state_dir", Some(path(&settings.state_dir))),
        ("node_name", Some(quoted(&settings.node_name))),
        (
            "labels",
            Some(table(
                settings
                    .labels
                    .iter()
                    .map(|(key, value)| (key, quoted(value))),
            )),
        ),
        ("audience", settings.audience.as_deref().map(quoted)),
        ("channel", Some(quoted(&settings.channel))),
        (
            "start",
            Some(quoted(match settings.start {
                StartMode::Relay => "relay",
                StartMode::Guarded => "guarded",
            })),
        ),
        ("bootstrap", Some(bootstrap(settings))),
        ("break_glass", Some(path(&settings.break_glass))),
        ("mode", Some(quoted(settings.mode.as_str()))),
        (
            "policy.local",
            match &settings.policy {
                PolicySource::Nowhere => None,
                PolicySource::Local(directory) => Some(path(directory)),
            },
        ),
    ];
    rows.extend(registry(settings));
    rows.extend(report(settings));
    rows.extend(
        limit_rows(&settings.limits)
            .into_iter()
            .map(|(key, value)| (key, Some(value))),
    );
    rows
}

fn registry(settings: &Settings) -> Vec<(&'static str, Option<String>)> {
    let registry = &settings.registry;
    vec![
        (
            "registry.credentials",
            registry.credentials.as_deref().map(path),
        ),
        (
            "registry.token_hosts",
            Some(table(
                registry
                    .token_hosts
                    .iter()
                    .map(|(key, hosts)| (key, list(hosts))),
            )),
        ),
        ("registry.ca", Some(paths(&registry.ca))),
        ("registry.proxy", registry.proxy.as_deref().map(quoted)),
        ("registry.no_proxy", Some(list(&registry.no_proxy))),
        ("registry.insecure", Some(list(&registry.insecure))),
    ]
}

fn paths(list: &[PathBuf]) -> String {
    let list: Vec<_> = list.iter().map(|one| path(one)).collect();
    format!("[{}]", list.join(", "))
}

fn report(settings: &Settings) -> Vec<(&'static str, Option<String>)> {
    let report = &settings.report;
    let metrics = report
        .metrics_listen
        .map_or_else(|| "off".to_owned(), |address| address.to_string());
    vec![
        ("report.metrics_listen", Some(quoted(&metrics))),
        (
            "report.journald",
            Some(quoted(match report.journald {
                Journald::Auto => "auto",
                Journald::Always => "always",
                Journald::Never => "never",
            })),
        ),
        (
            "report.level",
            Some(quoted(match report.level {
                Level::Error => "error",
                Level::Warn => "warn",
                Level::Info => "info",
                Level::Debug => "debug",
                Level::Trace => "trace",
            })),
        ),
        (
            "report.format",
            Some(quoted(match report.format {
                LogFormat::Json => "json",
                LogFormat::Plain => "plain",
            })),
        ),
        ("report.audit_dir", Some(path(&report.audit_dir))),
    ]
}

fn bootstrap(settings: &Settings) -> String {
    let entries: Vec<_> = settings
        .bootstrap
        .iter()
        .map(|entry| {
            format!(
                "{{ namespaces = {}, image = {} }}",
                list(&entry.namespaces),
                quoted(&format!("{}@{}", entry.repository, entry.digest))
            )
        })
        .collect();
    format!("[{}]", entries.join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

fn list(entries: &[String]) -> String {
    let entries: Vec<_> = entries.iter().map(|entry| quoted(entry)).collect();
    format!("[{}]", entries.join(", "))
}

fn table<'a>(entries: impl Iterator<Item = (&'a String, String)>) -> String {
    let entries: Vec<_> = entries
        .map(|(key, value)| format!("{} = {value}", quoted(key)))
        .collect();
    if entries.is_empty() {
        return "{}".to_owned();
    }
    format!("{{ {} }}", entries.join(", "))
}
