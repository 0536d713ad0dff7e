//! Which addresses a registry may send the guard to, and the resolver that holds the line.
//!
//! A registry on loopback may point to loopback. Any other registry may not point (by redirect or
//! token realm) to loopback, link-local or a cloud's metadata address: the guard runs on the
//! host's network, and what listens there trusts it.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// One address of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// What the name resolves to; the rules judge this.
    pub claimed: IpAddr,
    /// What is dialled. Equal to `claimed` but in tests, where a public address is played by
    /// loopback.
    pub dial: IpAddr,
}

/// The answer of a resolver, boxed so that [`Names`] can stand behind a pointer.
pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<Address>>> + Send>>;

/// Turns a host name into addresses.
pub trait Names: fmt::Debug + Send + Sync {
    /// The addresses of `host`, in the order to try.
    fn lookup(&self, host: &str) -> Lookup;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn lookup(&self, host: &str) -> Lookup {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found
                .map(|address| Address {
                    claimed: address.ip(),
                    dial: address.ip(),
                })
                .collect())
        })
    }
}

/// Whether an address is out of bounds for a registry that is not itself on loopback.
pub(crate) fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_local_v4(v4),
        IpAddr::V6(v6) => is_local_v6(v6),
    }
}

/// Whether an address out of bounds is one of loopback: all that a registry on loopback may point
/// to beside what everyone may. The metadata address is no neighbour of it.
fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
    }
}

fn is_local_v4(v4: Ipv4Addr) -> bool {
    // 0.0.0.0/8 reaches this host on Linux.
    let [first, ..] = v4.octets();
    v4.is_loopback() || v4.is_link_local() || first == 0
}

fn is_local_v6(v6: Ipv6Addr) -> bool {
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    let segments = v6.segments();
    let embedded = segments.get(..6) == Some(NAT64.as_slice())
        || segments.get(..6) == Some([0_u16; 6].as_slice());
    let low = v6.octets();
    let [.., a, b, c, d] = low;
    v6.is_loopback()
        || v6.is_unspecified()
        || v6.is_unicast_link_local()
        || v6 == METADATA
        || v6.to_ipv4_mapped().is_some_and(is_local_v4)
        || (embedded && is_local_v4(Ipv4Addr::new(a, b, c, d)))
}

/// Whether a registry is on loopback by its own name: a loopback literal or `localhost`. What a
/// name resolves to does not count, since that can change between two lookups.
pub(crate) fn is_loopback_name(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(v4)) => v4.is_loopback(),
        Some(Host::Ipv6(v6)) => v6.is_loopback(),
        None => false,
    }
}

/// Whether a registry at `from` may not point to `url` because of the address that is written in
/// it. Names are judged by [`ScopedNames`] when they are dialled.
pub(crate) fn is_out_of_bounds(url: &Url, from: &Url) -> bool {
    let near = is_loopback_name(from);
    let beyond = |address| is_local(address) && !(near && is_loopback(address));
    match url.host() {
        Some(Host::Domain(name)) => !near && (name == "localhost" || name.ends_with(".localhost")),
        Some(Host::Ipv4(v4)) => beyond(IpAddr::V4(v4)),
        Some(Host::Ipv6(v6)) => beyond(IpAddr::V6(v6)),
        None => true,
    }
}

/// A name that has only addresses out of bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutOfBounds;

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has only loopback or link-local addresses")
    }
}

impl std::error::Error for OutOfBounds {}

/// The resolver of one operation: judges every answer and keeps it, so that a name cannot mean
/// one machine when it is checked and another when it is dialled.
#[derive(Clone, Debug)]
pub(crate) struct ScopedNames {
    names: Arc<dyn Names>,
    scope: Arc<Scope>,
}

#[derive(Debug)]
struct Scope {
    /// Names that the node itself configured: the registry and the proxy.
    exempt: Vec<String>,
    /// The registry is on loopback: so may be what it points to.
    loopback: bool,
    kept: Mutex<HashMap<String, Vec<IpAddr>>>,
}

impl ScopedNames {
    pub(crate) fn new(names: Arc<dyn Names>, exempt: Vec<String>, loopback: bool) -> Self {
        let scope = Arc::new(Scope {
            exempt,
            loopback,
            kept: Mutex::default(),
        });
        Self { names, scope }
    }
}

impl Resolve for ScopedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            if let Some(kept) = this.scope.get(&host) {
                return Ok(sockets(kept));
            }
            let found = this.names.lookup(&host).await?;
            let scope = &this.scope;
            let exempt = scope.exempt.contains(&host);
            let free = |address| exempt || (scope.loopback && is_loopback(address));
            let any = !found.is_empty();
            let dial: Vec<IpAddr> = found
                .into_iter()
                .filter(|address| free(address.claimed) || !is_local(address.claimed))
                .map(|address| address.dial)
                .collect();
            if any && dial.is_empty() {
                return Err(OutOfBounds.into());
            }
            Ok(sockets(this.scope.keep(host, dial)))
        })
    }
}

impl Scope {
    fn get(&self, host: &str) -> Option<Vec<IpAddr>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(host).cloned()
    }

    /// Keeps the first answer for a name; a lookup that raced it gets that answer too.
    fn keep(&self, host: String, dial: Vec<IpAddr>) -> Vec<IpAddr> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(host).or_insert(dial).clone()
    }
}

fn sockets(addresses: Vec<IpAddr>) -> Addrs {
    Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> bool {
        is_local(text.parse().unwrap())
    }

    #[test]
    fn every_spelling_of_loopback_and_link_local_is_out_of_bounds() {
        for text in [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "169.254.169.254",
            "::1",
            "::",
            "fe80::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "fd00:ec2::254",
        ] {
            assert!(local(text), "{text}");
        }
    }

    #[test]
    fn private_and_public_addresses_are_in_bounds() {
        for text in [
            "10.0.0.1",
            "192.168.1.1",
            "203.0.113.9",
            "2001:db8::1",
            "fd00::1",
        ] {
            assert!(!local(text), "{text}");
        }
    }

    #[test]
    fn a_url_with_a_disguised_loopback_literal_is_out_of_bounds() {
        for text in [
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::ffff:7f00:1]/",
        ] {
            assert!(out_of_bounds(text, "https://r.example/"), "{text}");
        }
    }

    fn out_of_bounds(url: &str, from: &str) -> bool {
        is_out_of_bounds(&Url::parse(url).unwrap(), &Url::parse(from).unwrap())
    }

    #[test]
    fn a_registry_on_loopback_may_point_to_loopback() {
        for text in ["https://127.0.0.2/", "https://[::1]/", "https://localhost/"] {
            assert!(!out_of_bounds(text, "https://127.0.0.1:5000/"), "{text}");
        }
    }

    #[test]
    fn a_registry_on_loopback_may_not_point_to_link_local() {
        for text in [
            "http://169.254.169.254/",
            "http://[fe80::1]/",
            "http://0.0.0.0/",
        ] {
            assert!(out_of_bounds(text, "http://127.0.0.1:5000/"), "{text}");
        }
    }
}
