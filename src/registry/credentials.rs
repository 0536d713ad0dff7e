//! Who may be told which secret. A credential goes to the host that it was given for, and to no
//! other; it is wiped when dropped, and no `Debug` shows it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::error::Setup;
use crate::image::Repository;

const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The credentials of one pull: CRI `AuthConfig` of PullImage. Used for that pull alone.
#[derive(Clone, Default)]
pub struct PullAuth {
    username: Zeroizing<String>,
    password: Zeroizing<String>,
    auth: Zeroizing<String>,
    server_address: String,
    identity_token: Zeroizing<String>,
    registry_token: Zeroizing<String>,
}

impl PullAuth {
    /// A pull without credentials; the `with_` methods add what its `AuthConfig` holds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `AuthConfig.username` and `AuthConfig.password`.
    #[must_use]
    pub fn with_password(mut self, username: &str, password: &str) -> Self {
        self.username = Zeroizing::new(username.to_owned());
        self.password = Zeroizing::new(password.to_owned());
        self
    }

    /// `AuthConfig.auth`: base64 of `user:password`.
    #[must_use]
    pub fn with_auth(mut self, auth: &str) -> Self {
        self.auth = Zeroizing::new(auth.to_owned());
        self
    }

    /// `AuthConfig.server_address`: the only host that may see the rest; empty: the pull's own.
    #[must_use]
    pub fn with_server_address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.server_address);
        self
    }

    /// `AuthConfig.identity_token`: an OAuth2 refresh token.
    #[must_use]
    pub fn with_identity_token(mut self, token: &str) -> Self {
        self.identity_token = Zeroizing::new(token.to_owned());
        self
    }

    /// `AuthConfig.registry_token`: a bearer token, sent as it is.
    #[must_use]
    pub fn with_registry_token(mut self, token: &str) -> Self {
        self.registry_token = Zeroizing::new(token.to_owned());
        self
    }

    /// Whether the pull carries no secret at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [
            &self.username,
            &self.auth,
            &self.identity_token,
            &self.registry_token,
        ]
        .iter()
        .all(|secret| secret.is_empty())
    }

    /// The secret for `host`, by the order in which containerd's CRI reads these fields.
    fn secret(&self, host: &str, own: bool) -> Result<Option<Secret>, Setup> {
        if !self.is_for(host, own) {
            return Ok(None);
        }
        if !self.username.is_empty() {
            return Ok(Some(Secret::Password {
                username: self.username.clone(),
                password: self.password.clone(),
            }));
        }
        if !self.identity_token.is_empty() {
            return Ok(Some(Secret::Refresh(self.identity_token.clone())));
        }
        if !self.auth.is_empty() {
            return decode(&self.auth).map(Some).ok_or(Setup::PullAuth);
        }
        if !self.registry_token.is_empty() {
            return Ok(Some(Secret::Bearer(self.registry_token.clone())));
        }
        Ok(None)
    }

    /// With an address: that host only. Without: the hosts that answer for this pull, as
    /// containerd does with the same credentials in the pull that follows.
    fn is_for(&self, host: &str, own: bool) -> bool {
        if self.server_address.is_empty() {
            return true;
        }
        match address_host(&self.server_address) {
            Some(address) => address == host || (own && is_docker(&address) && is_docker(host)),
            None => false,
        }
    }
}

impl fmt::Debug for PullAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullAuth").finish_non_exhaustive()
    }
}

/// One usable credential.
#[derive(Clone)]
pub(crate) enum Secret {
    Password {
        username: Zeroizing<String>,
        password: Zeroizing<String>,
    },
    /// An OAuth2 refresh token, good only at a token server.
    Refresh(Zeroizing<String>),
    /// A token for the registry itself.
    Bearer(Zeroizing<String>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The secret for one host: the pull's if it is for that host, else the node's.
pub(crate) fn for_host(
    pull: Option<&PullAuth>,
    node: Option<&Path>,
    host: &str,
    own: bool,
    repository: &Repository,
) -> Result<Option<Secret>, Setup> {
    if let Some(pull) = pull
        && let Some(secret) = pull.secret(host, own)?
    {
        return Ok(Some(secret));
    }
    match node {
        Some(file) => node_secret(file, host, repository),
        None => Ok(None),
    }
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Zeroizing<String>,
    #[serde(default)]
    username: Zeroizing<String>,
    #[serde(default)]
    password: Zeroizing<String>,
    #[serde(default, rename = "identitytoken")]
    identity_token: Zeroizing<String>,
    #[serde(default, rename = "registrytoken")]
    registry_token: Zeroizing<String>,
}

impl Entry {
    /// Docker's order: tokens replace the password.
    fn secret(&self) -> Option<Secret> {
        if !self.identity_token.is_empty() {
            return Some(Secret::Refresh(self.identity_token.clone()));
        }
        if !self.registry_token.is_empty() {
            return Some(Secret::Bearer(self.registry_token.clone()));
        }
        if !self.username.is_empty() {
            return Some(Secret::Password {
                username: self.username.clone(),
                password: self.password.clone(),
            });
        }
        decode(&self.auth)
    }
}

/// The entry whose host is `host` and whose path, if it has one, is the longest that the
/// repository is below.
fn node_secret(file: &Path, host: &str, repository: &Repository) -> Result<Option<Secret>, Setup> {
    let unreadable = || Setup::Credentials {
        path: file.display().to_string(),
    };
    let mut text = Zeroizing::new(String::new());
    fs::File::open(file)
        .and_then(|open| open.take(MAX_FILE_BYTES).read_to_string(&mut text))
        .map_err(|_| unreadable())?;
    let config: ConfigFile = serde_json::from_str(&text).map_err(|_| unreadable())?;
    let mut best: Option<(usize, &Entry)> = None;
    for (key, entry) in &config.auths {
        let Some((key_host, path)) = key_parts(key) else {
            continue;
        };
        let same = key_host == host || (is_docker(&key_host) && is_docker(host));
        if same && is_below(repository.path(), &path) && best.is_none_or(|(n, _)| path.len() > n) {
            best = Some((path.len(), entry));
        }
    }
    if let Some(secret) = best.and_then(|(_, entry)| entry.secret()) {
        return Ok(Some(secret));
    }
    let helped = config
        .helpers
        .keys()
        .filter_map(|key| key_parts(key))
        .any(|(key, _)| key == host || (is_docker(&key) && is_docker(host)));
    if helped || (best.is_some() && config.store.is_some()) {
        return Err(Setup::CredentialHelper {
            host: host.to_owned(),
        });
    }
    Ok(None)
}

fn is_docker(host: &str) -> bool {
    matches!(
        host,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    )
}

fn is_below(repository: &str, path: &str) -> bool {
    path.is_empty()
        || repository
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Host and path of a key such as `https://index.docker.io/v1/` or `host:5000/team`.
fn key_parts(key: &str) -> Option<(String, String)> {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = path.trim_matches('/');
    let path = if matches!(path, "v1" | "v2") {
        ""
    } else {
        path
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), path.to_owned()))
}

fn address_host(address: &str) -> Option<String> {
    if address.contains("://") {
        let url = Url::parse(address).ok()?;
        url.host_str()?;
        return Some(super::endpoint::authority(&url));
    }
    key_parts(address).map(|(host, _)| host)
}

/// base64 of `user:password`; docker pads some with zero bytes.
fn decode(auth: &str) -> Option<Secret> {
    let bytes = Zeroizing::new(STANDARD.decode(auth).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Secret::Password {
        username: Zeroizing::new(username.to_owned()),
        password: Zeroizing::new(password.trim_matches('\0').to_owned()),
    })
}
