//! One host that can answer for a registry, and the URLs below it. Pure.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use url::Url;

use super::address;
use super::error::Fault;
use super::tls::Verification;
use crate::image::Repository;

/// docker.io is a name; its API is at this host.
const DOCKER_API: &str = "registry-1.docker.io";

/// What a request needs of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Turn a tag into a digest. Only a trusted host may.
    Resolve,
    /// Say whether the repository holds a digest. A mirror without `resolve` may answer by digest
    /// alone, whatever repository it is asked for, so it names nothing; the registry itself may.
    Name,
    /// Give content by digest.
    Pull,
}

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// As the URL says.
    AsWritten,
    /// TLS first; plain HTTP if the host does not speak TLS. Only where nothing is verified
    /// anyway: loopback and `insecure` hosts.
    TlsThenPlain,
}

/// A registry host or a mirror, as hosts.toml or the defaults describe it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Scheme, host and API root, without a slash at the end.
    pub(crate) base: Url,
    /// Host, and port if one is written: also the scheme's own, which `base` cannot keep. What
    /// containerd goes by where it asks whose host this is.
    pub(crate) host: String,
    /// Whether this is the registry's own host rather than a mirror of it.
    pub(crate) own: bool,
    pub(crate) scheme: Scheme,
    pub(crate) can_resolve: bool,
    pub(crate) can_pull: bool,
    pub(crate) ca: Vec<PathBuf>,
    pub(crate) client: Option<(PathBuf, Option<PathBuf>)>,
    pub(crate) verification: Verification,
    pub(crate) headers: HeaderMap,
    pub(crate) dial_timeout: Option<Duration>,
}

impl Endpoint {
    /// The registry itself, where no hosts.toml says otherwise: TLS, but loopback (and what
    /// `insecure` lists) as containerd treats loopback: unverified TLS or plain HTTP.
    pub(crate) fn of_registry(host: &str, insecure: bool) -> Result<Self, Fault> {
        let host = if host == "docker.io" {
            DOCKER_API
        } else {
            host
        };
        let base = base_url("https", host)?;
        let local = address::is_loopback_name(&base);
        let open = local || insecure;
        let (base, scheme) = match base.port() {
            Some(80) if open => (base_url("http", host)?, Scheme::AsWritten),
            // No port, or 443.
            None if local => (base, Scheme::AsWritten),
            Some(_) | None if open => (base, Scheme::TlsThenPlain),
            Some(_) | None => (base, Scheme::AsWritten),
        };
        Ok(Self {
            base,
            host: host.to_owned(),
            own: true,
            scheme,
            can_resolve: true,
            can_pull: true,
            ca: Vec::new(),
            client: None,
            verification: if open {
                Verification::Skipped
            } else {
                Verification::Full
            },
            headers: HeaderMap::new(),
            dial_timeout: None,
        })
    }

    pub(crate) fn can(&self, need: Need) -> bool {
        match need {
            Need::Resolve => self.can_resolve && self.can_pull,
            Need::Name => self.can_pull && (self.can_resolve || self.own),
            Need::Pull => self.can_pull,
        }
    }

    /// Whether `host`, as written in hosts.toml, is the host of the registry `registry`.
    pub(crate) fn names_own(host: &str, registry: &str) -> bool {
        host == registry || (registry == "docker.io" && host == DOCKER_API)
    }

    /// The same host without TLS: on the port that is written, else on plain HTTP's own.
    pub(crate) fn plain(&self) -> Option<Url> {
        let mut plain = self.base.clone();
        let port = plain.port().or(self.host.ends_with(":443").then_some(443));
        plain.set_scheme("http").ok()?;
        plain.set_port(port).ok()?;
        Some(plain)
    }

    /// Whether a port is written.
    pub(crate) fn has_port(&self) -> bool {
        let after = self.host.rsplit(']').next().unwrap_or_default();
        after.contains(':')
    }

    /// `<base>/<repository>/<kind>/<object>`, with containerd's `ns` for a mirror. Only names that
    /// the reference grammar allows get here; they are held to it once more, since a URL library
    /// would quietly resolve `..`.
    pub(crate) fn url(
        &self,
        repository: &Repository,
        kind: &str,
        object: &str,
    ) -> Result<Url, Fault> {
        if !is_path(repository.path()) || !is_object(object) {
            return Err(Fault::Name);
        }
        let root = self.base.path().trim_end_matches('/');
        let path = format!("{root}/{}/{kind}/{object}", repository.path());
        let mut url = self.base.clone();
        url.set_path(&path);
        if url.path() != path {
            return Err(Fault::Name);
        }
        if !self.own {
            url.query_pairs_mut().append_pair("ns", repository.host());
        }
        Ok(url)
    }
}

/// Host, and port if it is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn base_url(scheme: &str, host: &str) -> Result<Url, Fault> {
    let url = Url::parse(&format!("{scheme}://{host}/v2")).map_err(|_| Fault::Name)?;
    let plain = url.path() == "/v2"
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    // A host that the URL library spells differently (`127.1`, `a%62c`) is another host than the
    // one that policy judged.
    let same = host.starts_with(url.host_str().unwrap_or("/"));
    if plain && same {
        Ok(url)
    } else {
        Err(Fault::Name)
    }
}

fn is_path(path: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    path.len() <= 255
        && path.split('/').all(|part| {
            part.bytes().all(allowed)
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.ends_with(|c: char| c.is_ascii_alphanumeric())
        })
}

/// A tag, or a digest (whose colon is the only addition).
fn is_object(object: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-:".contains(&b);
    (1..=128).contains(&object.len())
        && object.bytes().all(allowed)
        && !object.starts_with(['.', '-', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d7_what_would_walk_through_a_url_is_no_path() {
        for path in [
            "a/../b", "a//b", "/a", "a/", "a/.", "a%2e", "a?b", "a#b", "A", "", "é",
        ] {
            assert!(!is_path(path), "{path}");
        }
        for path in ["a", "library/nginx", "a-b/c__d/e.f"] {
            assert!(is_path(path), "{path}");
        }
    }

    #[test]
    fn d7_what_would_walk_through_a_url_is_no_object() {
        for object in ["..", ".a", "-a", ":a", "a/b", "a%2e", "a?b", ""] {
            assert!(!is_object(object), "{object}");
        }
        for object in ["latest", "v1.2_3-4", "_a", "sha256:00"] {
            assert!(is_object(object), "{object}");
        }
    }

    #[test]
    fn a_host_that_a_url_library_spells_differently_is_refused() {
        for host in [
            "127.1",
            "0x7f000001",
            "a%62c",
            "u@h",
            "h/x",
            "h?x",
            "h:99999",
            "H.example",
        ] {
            let refused = Endpoint::of_registry(host, false).map(|endpoint| endpoint.base);
            assert_eq!(refused, Err(Fault::Name), "{host}");
        }
    }

    #[test]
    fn a_written_default_port_stays_part_of_the_name() {
        for host in ["ghcr.io:443", "127.0.0.1:80", "ghcr.io", "[::1]:443"] {
            let endpoint = Endpoint::of_registry(host, false).unwrap();
            assert_eq!(endpoint.host, host);
            assert_eq!(endpoint.has_port(), host != "ghcr.io", "{host}");
        }
    }

    #[test]
    fn without_tls_the_written_port_is_asked() {
        let rows = [
            ("r.example", "http://r.example/v2"),
            ("r.example:443", "http://r.example:443/v2"),
            ("r.example:5000", "http://r.example:5000/v2"),
        ];
        for (host, expected) in rows {
            let endpoint = Endpoint::of_registry(host, true).unwrap();
            assert_eq!(endpoint.plain().unwrap().as_str(), expected);
        }
    }

    #[test]
    fn the_scheme_of_a_registry_is_containerds() {
        use Scheme::{AsWritten, TlsThenPlain};
        use Verification::{Full, Skipped};
        let rows = [
            (
                "docker.io",
                "https://registry-1.docker.io/v2",
                AsWritten,
                Full,
            ),
            (
                "r.example:5000",
                "https://r.example:5000/v2",
                AsWritten,
                Full,
            ),
            ("localhost", "https://localhost/v2", AsWritten, Skipped),
            ("127.0.0.2:80", "http://127.0.0.2/v2", AsWritten, Skipped),
            (
                "127.0.0.1:5000",
                "https://127.0.0.1:5000/v2",
                TlsThenPlain,
                Skipped,
            ),
            ("[::1]:5000", "https://[::1]:5000/v2", TlsThenPlain, Skipped),
        ];
        for (host, base, scheme, verification) in rows {
            let endpoint = Endpoint::of_registry(host, false).unwrap();
            assert_eq!(endpoint.base.as_str(), base);
            assert_eq!(
                (endpoint.scheme, endpoint.verification),
                (scheme, verification)
            );
        }
    }
}
