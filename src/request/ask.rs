//! What a decoded request asks for, beyond the views that policy shares. Pure.

use std::fmt;

use zeroize::Zeroize as _;

use crate::api::runtime_v1::AuthConfig;

use super::view::{CreateAsk, ImageStatusAsk, PullAsk, ResourceChange, Sandbox};

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
    /// CheckpointContainer.
    Checkpoint {
        /// `container_id`, verbatim.
        container_id: String,
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
