//! Versions of the standards: minor versions of Kubernetes. Pure.

/// A minor version: `v1.36` is 36.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Minor(pub(super) u32);

impl Minor {
    /// Every check that is known.
    pub(super) const LATEST: Self = Self(u32::MAX);

    /// Reads `latest` or `v1.N`. A version that is newer than every known check has the newest.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::LATEST);
        }
        let digits = text.strip_prefix("v1.").filter(|digits| {
            !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit())
        });
        digits
            .filter(|digits| *digits == "0" || !digits.starts_with('0'))
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| "a version is `latest` or `v1.N`, e.g. v1.36".to_owned())
    }
}

/// Sysctls that the standards call safe, and since when.
const SAFE_SYSCTLS: &[(u32, &str)] = &[
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
    (37, "net.ipv4.tcp_slow_start_after_idle"),
    (37, "net.ipv4.tcp_notsent_lowat"),
];

/// Whether the standards of `version` call the sysctl safe.
pub(super) fn is_safe_sysctl(version: Minor, name: &str) -> bool {
    SAFE_SYSCTLS
        .iter()
        .any(|(since, safe)| *safe == name && version >= Minor(*since))
}

/// Whether the standards of `version` allow the SELinux type.
pub(super) fn is_safe_selinux_type(version: Minor, kind: &str) -> bool {
    ["container_t", "container_init_t", "container_kvm_t"].contains(&kind)
        || (kind == "container_engine_t" && version >= Minor(31))
}
