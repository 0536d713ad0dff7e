//! `procMount: Masked`: what every kubelet masks and protects is masked and protected. Pure.
//!
//! containerd masks only what the request lists. A kubelet sends its whole lists, or empty ones for
//! `procMount: Unmasked`; another client can send anything. It masks nothing of a privileged
//! container.

use super::{Broken, ContainerCase};
use crate::policy::Code;
use crate::request::{Container, Flag};

/// Masked by every supported kubelet (`defaultMaskedPaths`).
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Read-only by every supported kubelet (`defaultReadonlyPaths`).
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What the container gets.
pub(super) fn judge_effective(case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
    if case.container.privileged == Flag::On {
        let words = " sees all of /proc and /sys unmasked";
        broken.push(super::by_privilege(case, Code::PodProcMount, words));
    }
    judge(case, broken);
}

/// What the request lists, as Pod Security judges it.
pub(super) fn judge(case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
    if let Some(path) = open_path(case.container) {
        broken.push(Broken::Plain(
            Code::PodProcMount,
            case.container_text()
                .words(" sees ")
                .value(path)
                .words(" unmasked")
                .advice("remove procMount: Unmasked"),
        ));
    }
}

/// The first path that is open although every kubelet closes it.
pub(super) fn open_path(container: &Container) -> Option<&'static str> {
    let lacks = |list: &[String], path: &str| !list.iter().any(|own| own == path);
    let masked = MASKED
        .iter()
        .find(|path| lacks(&container.masked_paths, path));
    masked
        .or_else(|| {
            READ_ONLY
                .iter()
                .find(|path| lacks(&container.readonly_paths, path))
        })
        .copied()
}
