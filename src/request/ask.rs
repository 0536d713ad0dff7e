//! What a decoded request asks for, beyond the views that policy shares. Pure.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroize as _;

use crate::api::runtime_v1::AuthConfig;

use super::view::{CreateAsk, ImageStatusAsk, PullAsk, Sandbox};

/// A decoded request of a [`super::GatedMethod`].
#[derive(Debug)]
pub enum Request {
    /// PullImage, with the credentials that came with it.
    Pull(Box<PullAsk>, PullCredentials),
    /// ImageStatus.
    ImageStatus(ImageStatusAsk),
    /// RunPodSandbox.
    RunSandbox(Box<Sandbox>),
    /// CreateContainer.
    Create(Box<CreateAsk>),
    /// UpdateContainerResources.
    UpdateResources(Box<UpdateAsk>),
    /// Exec.
    Exec(ExecAsk),
    /// ExecSync.
    ExecSync(ExecAsk),
    /// Attach.
    Attach {
        /// `container_id`, verbatim.
        container_id: String,
    },
    /// PortForward.
    PortForward {
        /// `pod_sandbox_id`, verbatim.
        sandbox_id: String,
        /// `port`.
        ports: Vec<i32>,
    },
    /// StartContainer.
    Start {
        /// `container_id`, verbatim.
        container_id: String,
    },
}

/// A decoded `ExecRequest` or `ExecSyncRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecAsk {
    /// `container_id`, verbatim.
    pub container_id: String,
    /// `cmd`.
    pub command: Vec<String>,
}

/// A decoded `UpdateContainerResourcesRequest`. It came without annotations: others are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateAsk {
    /// `container_id`, verbatim.
    pub container_id: String,
    /// `linux`: what changes. `None` where the message has no `linux`.
    pub linux: Option<ResourceChange>,
}

/// `LinuxContainerResources` as a patch: `None` and empty are "stays as it is", which on the wire
/// is 0 (containerd changes only what is not 0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceChange {
    /// `cpu_period`, microseconds.
    pub cpu_period: Option<i64>,
    /// `cpu_quota`, microseconds in a period; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// `cpu_shares`.
    pub cpu_shares: Option<i64>,
    /// `memory_limit_in_bytes`.
    pub memory_limit: Option<i64>,
    /// `memory_swap_limit_in_bytes`.
    pub memory_swap_limit: Option<i64>,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i64>,
    /// `cpuset_cpus`, empty if it stays.
    pub cpuset_cpus: String,
    /// `cpuset_mems`, empty if it stays.
    pub cpuset_mems: String,
    /// `hugepage_limits`: page size and bytes.
    pub hugepage_limits: Vec<(String, u64)>,
    /// `unified`: cgroup v2 keys, which override the typed fields.
    pub unified: BTreeMap<String, String>,
}

/// `PullImageRequest.auth`: zeroed when dropped, never shown, never copied.
#[derive(Default)]
pub struct PullCredentials {
    username: String,
    password: String,
    auth: String,
    server_address: String,
    identity_token: String,
    registry_token: String,
}

impl PullCredentials {
    /// Whether the request brought none.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty()
            && self.password.is_empty()
            && self.auth.is_empty()
            && self.identity_token.is_empty()
            && self.registry_token.is_empty()
    }

    /// `username`, empty if none.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// `password`, empty if none.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// `auth`: base64 of `user:password`, empty if none.
    pub fn auth(&self) -> &str {
        &self.auth
    }

    /// `server_address`: the host (or URL) that they are for, empty if the request does not say.
    pub fn server_address(&self) -> &str {
        &self.server_address
    }

    /// `identity_token`, empty if none.
    pub fn identity_token(&self) -> &str {
        &self.identity_token
    }

    /// `registry_token`, empty if none.
    pub fn registry_token(&self) -> &str {
        &self.registry_token
    }
}

impl From<AuthConfig> for PullCredentials {
    /// Moves the strings: no second copy stays behind.
    fn from(auth: AuthConfig) -> Self {
        Self {
            username: auth.username,
            password: auth.password,
            auth: auth.auth,
            server_address: auth.server_address,
            identity_token: auth.identity_token,
            registry_token: auth.registry_token,
        }
    }
}

impl Drop for PullCredentials {
    fn drop(&mut self) {
        self.username.zeroize();
        self.password.zeroize();
        self.auth.zeroize();
        self.server_address.zeroize();
        self.identity_token.zeroize();
        self.registry_token.zeroize();
    }
}

impl fmt::Debug for PullCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PullCredentials(not shown)")
    }
}
