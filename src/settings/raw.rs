//! The settings file as written: shape and units only. Pure. Unknown keys are errors.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::units::{
    AbsolutePath, AbsolutePaths, Bytes, Count, ImageName, MetricsAddress, NotYet, SocketPath, Span,
    Word,
};
use super::{Journald, Level, LogFormat, Mode, StartMode};
use crate::limits::Limits;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawSettings {
    pub(crate) listen: Option<SocketPath>,
    pub(crate) admin_listen: Option<SocketPath>,
    pub(crate) upstream: Option<SocketPath>,
    pub(crate) containerd_namespace: Option<Word>,
    pub(crate) kubelet_root: Option<AbsolutePath>,
    pub(crate) cpu_cfs_quota: Option<bool>,
    pub(crate) certs_dir: Option<AbsolutePaths>,
    pub(crate) pause_image: Option<ImageName>,
    pub(crate) guest_pull_handlers: Option<Vec<Word>>,
    pub(crate) state_dir: Option<AbsolutePath>,
    pub(crate) node_name: Option<Word>,
    pub(crate) labels: Option<BTreeMap<Word, String>>,
    pub(crate) audience: Option<Word>,
    pub(crate) channel: Option<Word>,
    pub(crate) start: Option<StartMode>,
    pub(crate) bootstrap: Vec<RawBootstrap>,
    pub(crate) break_glass: Option<AbsolutePath>,
    pub(crate) policy: RawPolicy,
    pub(crate) registry: RawRegistry,
    pub(crate) limits: RawLimits,
    pub(crate) report: RawReport,
    pub(crate) mode: Option<Mode>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawBootstrap {
    pub(crate) namespaces: Vec<Word>,
    pub(crate) image: ImageName,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPolicy {
    pub(crate) local: Option<AbsolutePath>,
    // Known by name, so that the error says what works instead of "unknown key".
    #[serde(rename = "sources")]
    pub(crate) _sources: Option<NotYet>,
    #[serde(rename = "root")]
    pub(crate) _root: Option<NotYet>,
    #[serde(rename = "max_age")]
    pub(crate) _max_age: Option<NotYet>,
    #[serde(rename = "seed")]
    pub(crate) _seed: Option<NotYet>,
    #[serde(rename = "min_serial")]
    pub(crate) _min_serial: Option<NotYet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawRegistry {
    pub(crate) credentials: Option<AbsolutePath>,
    pub(crate) token_hosts: Option<BTreeMap<Word, Vec<Word>>>,
    pub(crate) timeouts: RawTimeouts,
    pub(crate) ca: Option<Vec<AbsolutePath>>,
    pub(crate) proxy: Option<String>,
    pub(crate) no_proxy: Option<Vec<Word>>,
    pub(crate) insecure: Option<Vec<Word>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTimeouts {
    pub(crate) connect: Option<Span>,
    pub(crate) headers: Option<Span>,
    pub(crate) pull: Option<Span>,
    pub(crate) create: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawReport {
    pub(crate) metrics_listen: Option<MetricsAddress>,
    pub(crate) journald: Option<Journald>,
    pub(crate) level: Option<Level>,
    pub(crate) format: Option<LogFormat>,
    pub(crate) audit_dir: Option<AbsolutePath>,
}

macro_rules! limits {
    ($($name:ident: $unit:ident,)*) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct RawLimits { $(pub(crate) $name: Option<limits!(@type $unit)>,)* }

        impl RawLimits {
            /// Puts what was written over the defaults.
            pub(crate) fn over(self, mut limits: Limits) -> Limits {
                $(if let Some(value) = self.$name {
                    limits.$name = limits!(@take $unit value);
                })*
                limits
            }
        }

        /// Every limit with its value as the settings file writes it. The pattern is exhaustive,
        /// so a new limit without a key does not compile.
        pub(crate) fn limit_rows(limits: &Limits) -> Vec<(&'static str, String)> {
            let Limits { $($name,)* } = limits;
            vec![$((concat!("limits.", stringify!($name)), limits!(@show $unit $name)),)*]
        }
    };
    (@type bytes) => { Bytes };
    (@type rate) => { Bytes };
    (@type count) => { Count };
    (@type span) => { Span };
    (@take bytes $value:ident) => { $value.0 };
    (@take rate $value:ident) => { u64::try_from($value.0).unwrap_or(u64::MAX) };
    (@take count $value:ident) => { $value.0 };
    (@take span $value:ident) => { $value.0 };
    (@show bytes $value:ident) => { bytes_text(*$value) };
    (@show rate $value:ident) => { $value.to_string() };
    (@show count $value:ident) => { $value.to_string() };
    (@show span $value:ident) => { span_text(*$value) };
}

limits! {
    max_message_bytes: bytes,
    max_held_bytes: bytes,
    max_held_small_bytes: bytes,
    message_timeout: span,
    max_manifest_bytes: bytes,
    max_token_bytes: bytes,
    max_header_bytes: bytes,
    max_policy_bytes: bytes,
    max_policy_rules: count,
    max_policy_exceptions: count,
    max_layers: count,
    max_index_entries: count,
    max_json_depth: count,
    connect_timeout: span,
    header_timeout: span,
    min_body_bytes_per_second: rate,
    pull_budget: span,
    create_budget: span,
    max_redirects: count,
    max_fetches: count,
    max_fetches_per_host: count,
    max_connections: count,
    handshake_timeout: span,
    drain_timeout: span,
}

fn bytes_text(bytes: usize) -> String {
    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    if bytes.is_multiple_of(MIB) {
        format!("\"{}MiB\"", bytes / MIB)
    } else if bytes.is_multiple_of(KIB) {
        format!("\"{}KiB\"", bytes / KIB)
    } else {
        bytes.to_string()
    }
}

fn span_text(span: std::time::Duration) -> String {
    if span.subsec_millis() == 0 {
        format!("\"{}s\"", span.as_secs())
    } else {
        format!("\"{}ms\"", span.as_millis())
    }
}
