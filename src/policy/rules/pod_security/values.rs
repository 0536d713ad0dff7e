//! `exclude.values`: what each control can be broken by, so that a value which it never has is no
//! silent nothing. Pure.

use super::controls::{Control, GIT_REPO, NOT_DROPPED, TRUE, UNMASKED};
use crate::policy::paths;

impl Control {
    /// Whether a breach of the control can have this value; else what it can have.
    pub(super) fn check_value(self, value: &str) -> Result<(), &'static str> {
        let (known, words) = match self {
            Self::Privileged | Self::Escalation => (value == TRUE, "it has only `true`"),
            Self::HostNamespaces => (
                ["network", "pid", "ipc"].contains(&value),
                "it has network, pid and ipc",
            ),
            Self::HostPath => (
                paths::clean(value) == Some(value) && !value.contains('*'),
                "it has clean absolute paths of the host, compared whole",
            ),
            Self::HostPorts => (
                value
                    .parse::<u16>()
                    .is_ok_and(|port| port > 0 && port.to_string() == value),
                "it has single ports",
            ),
            Self::Capabilities => (
                value == NOT_DROPPED
                    || !value.is_empty()
                        && !value.starts_with("CAP_")
                        && value.bytes().all(is_of_capability),
                "it has capabilities in upper case and without CAP_, and `drop ALL`",
            ),
            Self::ProcMount => (value == UNMASKED, "it has only `Unmasked`"),
            Self::SeLinux => (!value.is_empty(), "it has types, users and roles"),
            Self::Sysctls => (
                !value.is_empty() && !value.contains(['/', '*']),
                "it has names in dots, compared whole",
            ),
            Self::AppArmor | Self::Seccomp => (value == "Unconfined", "it has only `Unconfined`"),
            Self::HostProbes => (false, "it is not judged here"),
            Self::RunAsNonRoot => (!value.is_empty(), "it has `0` and names of users"),
            Self::RunAsUser => (value == "0", "it has only `0`"),
            Self::Volumes => (value == GIT_REPO, "it has only `gitRepo`"),
        };
        if known { Ok(()) } else { Err(words) }
    }
}

fn is_of_capability(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'
}
