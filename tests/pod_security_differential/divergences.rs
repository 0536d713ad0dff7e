//! Where the guard's verdict is not the library's, and why.

use super::{Cell, Level, Outcome};

/// A difference that is meant: wherever it is claimed it must be there, and nowhere else.
pub(crate) struct Divergence {
    pub(crate) reason: &'static str,
    /// Words of docs/policy.md that say it to whoever writes a policy.
    pub(crate) documented: &'static str,
    /// `control: twin`.
    pub(crate) twins: &'static [&'static str],
    /// Where.
    pub(crate) when: fn(Cell) -> bool,
    /// What comes of the pod on the node.
    pub(crate) guard: Outcome,
}

const EVERYWHERE: fn(Cell) -> bool = |_| true;
const RESTRICTED: fn(Cell) -> bool = |cell| cell.level == Level::Restricted;
const BASELINE: fn(Cell) -> bool = |cell| cell.level == Level::Baseline;

pub(crate) const DIVERGENCES: &[Divergence] = &[
    Divergence {
        reason: "a kubelet sends Unconfined also for a pod that says nothing, which the baseline lets in",
        documented: "| Seccomp at baseline |",
        twins: &["Seccomp: Unconfined", "Seccomp: Unconfined pod"],
        when: |cell| BASELINE(cell) && cell.version >= 19,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "the annotations of before v1.19 mean nothing to a kubelet that is supported",
        documented: "annotations of before v1.19",
        twins: &[
            "Seccomp: annotation unconfined",
            "Seccomp: annotation unconfined of a container",
        ],
        when: |cell| cell.version < 19,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "only what the container runs with is sent, not what the pod says and it overrides",
        documented: "the pod's own word counts only where a container has none",
        twins: &["Seccomp: Unconfined pod, another profile of its container"],
        when: |cell| cell.version >= 19,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "only what the container runs with is sent, not what the pod says and it overrides",
        documented: "the pod's own word counts only where a container has none",
        twins: &["AppArmor: Unconfined pod, another profile of its container"],
        when: EVERYWHERE,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "a local profile without a name, and the kernel's word for none, are no profile",
        documented: "A local profile must have a usable name",
        twins: &[
            "AppArmor: annotation localhost/ without a name",
            "AppArmor: annotation localhost/unconfined",
        ],
        when: EVERYWHERE,
        guard: Outcome::Denied,
    },
    Divergence {
        reason: "probes and hooks with a host are the kubelet's own and are not sent",
        documented: "| Host Probes / Lifecycle Hooks |",
        twins: &[
            "Host Probes / Lifecycle Hooks: host of livenessProbe",
            "Host Probes / Lifecycle Hooks: host of readinessProbe",
            "Host Probes / Lifecycle Hooks: host of startupProbe",
            "Host Probes / Lifecycle Hooks: host of postStart",
            "Host Probes / Lifecycle Hooks: host of preStop",
        ],
        when: |cell| cell.version >= 34,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "a volume that no container mounts is not sent, and nobody can reach it",
        documented: "a volume that nothing mounts",
        twins: &["HostPath Volumes: hostPath that nothing mounts"],
        when: EVERYWHERE,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "a volume that no container mounts is not sent, and nobody can reach it",
        documented: "a volume that nothing mounts",
        twins: &["Volume Types: nfs that nothing mounts"],
        when: RESTRICTED,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "a volume that the pod names itself looks like one by a claim",
        documented: "| Volume Types |",
        twins: &[
            "Volume Types: nfs",
            "Volume Types: iscsi",
            "Volume Types: cephfs",
            "Volume Types: rbd",
            "Volume Types: fc",
            "Volume Types: azureFile",
            "Volume Types: awsElasticBlockStore",
        ],
        when: RESTRICTED,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "a kubelet sends sysctls in dots, however the pod spells them",
        documented: "sends slashes as dots",
        twins: &["Sysctls: net/ipv4/tcp_syncookies"],
        when: EVERYWHERE,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "safe since v1.37, which the library of v1.36 does not know",
        documented: "`latest` is v1.37",
        twins: &[
            "Sysctls: net.ipv4.tcp_slow_start_after_idle",
            "Sysctls: net.ipv4.tcp_notsent_lowat",
        ],
        when: |cell| cell.version >= 37,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "runAsNonRoot is not sent; a uid above 0 is, from the pod or from the image",
        documented: "a number above 0 passes, also by the image's USER",
        twins: &[
            "Running as Non-root: not said, image of a number",
            "Running as Non-root: false, image of a number",
            "Running as Non-root: false of the container",
            "Running as Non-root: not said, runAsUser 1000",
            "Running as Non-root: false of the pod, true of its container",
        ],
        when: RESTRICTED,
        guard: Outcome::Allowed,
    },
    Divergence {
        reason: "the kubelet keeps runAsNonRoot itself, and the image or the pod breaks it",
        documented: "the kubelet itself refuses",
        twins: &[
            "Running as Non-root: true, image of root",
            "Running as Non-root: true, image of a name",
        ],
        when: EVERYWHERE,
        guard: Outcome::Refused,
    },
    Divergence {
        reason: "the kubelet itself does not run uid 0 under runAsNonRoot",
        documented: "the kubelet itself refuses",
        twins: &[
            "Running as Non-root user: runAsUser 0",
            "Running as Non-root user: runAsUser 0 of the pod",
        ],
        when: |cell| BASELINE(cell) || cell.version < 23,
        guard: Outcome::Refused,
    },
    Divergence {
        reason: "a node of Linux does nothing of it, and the guard runs on no other",
        documented: "| HostProcess |",
        twins: &["HostProcess: hostProcess"],
        when: EVERYWHERE,
        guard: Outcome::Untold,
    },
];
