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

    /// `AuthConfig.registry_token`: containerd does not use it, so it is sent to nobody.
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

    /// The secret for `host`, by the order in which containerd's CRI reads these fields (its
    /// `ParseAuth`). It reads no registry token, so none is sent from here.
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
        Ok(None)
    }

    /// With an address: that host only, as containerd compares them. Without: the host that the
    /// pod named. A mirror is not that host, and it was chosen by the node, not by whoever owns
    /// the secret.
    fn is_for(&self, host: &str, own: bool) -> bool {
        if self.server_address.is_empty() {
            return own;
        }
        url_host(&self.server_address) == Some(host)
    }
}

/// The `Host` that Go's `url.Parse` finds in `text`: empty, and so nobody's, without `//`.
fn url_host(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("//")?;
    let is_scheme = scheme.is_empty()
        || scheme.strip_suffix(':').is_some_and(|scheme| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    (is_scheme && !host.is_empty()).then_some(host)
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

/// What there is for one host.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) secret: Option<Secret>,
    /// There is none, but the node's file names a helper that would have one.
    pub(crate) helper: bool,
}

/// The pull's secret, if it is for that host.
pub(crate) fn of_pull(
    pull: Option<&PullAuth>,
    host: &str,
    own: bool,
) -> Result<Option<Secret>, Setup> {
    pull.map_or(Ok(None), |pull| pull.secret(host, own))
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

/// The node's secret for that host: of the entry whose host is `host` and whose path, if it has one,
/// is the longest that the repository is below.
pub(crate) fn of_node(file: &Path, host: &str, repository: &Repository) -> Result<Found, Setup> {
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
    let secret = best.and_then(|(_, entry)| entry.secret());
    let helped = config
        .helpers
        .keys()
        .filter_map(|key| key_parts(key))
        .any(|(key, _)| key == host || (is_docker(&key) && is_docker(host)));
    let helper = secret.is_none() && (helped || (best.is_some() && config.store.is_some()));
    Ok(Found { secret, helper })
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

/// base64 of `user:password`. docker pads some with zero bytes, and Go's decoder, which containerd
/// and docker use, passes over line breaks.
fn decode(auth: &str) -> Option<Secret> {
    let auth: Zeroizing<String> = Zeroizing::new(auth.split(['\r', '\n']).collect());
    let bytes = Zeroizing::new(STANDARD.decode(auth.as_bytes()).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Secret::Password {
        username: Zeroizing::new(username.to_owned()),
        password: Zeroizing::new(password.trim_matches('\0').to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `user:password` as a test reads it; a refresh token stands behind an empty user.
    fn parsed(auth: &PullAuth, host: &str) -> Result<Option<(String, String)>, Setup> {
        Ok(match auth.secret(host, true)? {
            Some(Secret::Password { username, password }) => {
                Some((username.to_string(), password.to_string()))
            }
            Some(Secret::Refresh(token)) => Some((String::new(), token.to_string())),
            Some(Secret::Bearer(_)) => Some(("bearer".to_owned(), String::new())),
            None => None,
        })
    }

    fn pair(user: &str, password: &str) -> Option<(String, String)> {
        Some((user.to_owned(), password.to_owned()))
    }

    #[test]
    fn the_fields_of_a_pulls_credentials_are_read_as_containerd_reads_them() {
        let new = PullAuth::new;
        let encoded = "dGVzdHVzZXI6dGVzdHBhc3N3b3Jk";
        let both = pair("testuser", "testpassword");
        let rows = [
            (new(), Ok(None)),
            (new().with_password("u", "p"), Ok(pair("u", "p"))),
            (new().with_identity_token("t"), Ok(pair("", "t"))),
            (new().with_auth(encoded), Ok(both.clone())),
            (
                new().with_auth("dGVzdHVzZXI6\r\ndGVzdHBhc3N3b3Jk\n"),
                Ok(both),
            ),
            (new().with_auth("dTpwAAA="), Ok(pair("u", "p"))),
            (new().with_auth("invalid"), Err(Setup::PullAuth)),
            (new().with_auth("bm9jb2xvbg=="), Err(Setup::PullAuth)),
            (new().with_registry_token("t"), Ok(None)),
        ];
        for (index, (auth, expected)) in rows.into_iter().enumerate() {
            assert_eq!(parsed(&auth, "registry.test"), expected, "{index}");
        }
    }

    #[test]
    fn a_server_address_is_a_url_whose_host_is_compared_as_it_is_written() {
        let rows = [
            ("https://registry.test", true),
            ("https://registry.test/v1/", true),
            ("//registry.test/x", true),
            ("https://u:p@registry.test", true),
            ("registry.test", false),
            ("https://registry.test:443", false),
            ("https://REGISTRY.test", false),
            ("https://registry.test.evil", false),
            ("https://evil/registry.test", false),
            ("https://evil//registry.test", false),
            ("1https://registry.test", false),
            ("https://index.docker.io/v1/", false),
        ];
        for (address, expected) in rows {
            let auth = PullAuth::new()
                .with_password("u", "p")
                .with_server_address(address);
            let found = parsed(&auth, "registry.test").unwrap();
            assert_eq!(found.is_some(), expected, "{address}");
        }
    }

    #[test]
    fn a_pull_without_an_address_has_no_secret_for_a_mirror() {
        let auth = PullAuth::new().with_password("u", "p");
        assert!(auth.secret("mirror.test", false).unwrap().is_none());
        assert!(auth.secret("registry.test", true).unwrap().is_some());
        let named = auth.with_server_address("https://mirror.test");
        assert!(named.secret("mirror.test", false).unwrap().is_some());
    }
}
