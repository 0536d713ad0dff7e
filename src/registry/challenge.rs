//! Reads WWW-Authenticate (RFC 9110 section 11, the distribution token specification). Pure.
//! Refuses: what is neither Basic nor Bearer, and realms where credentials may not go.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use url::Url;

use super::address;
use super::endpoint;
use super::error::Fault;

/// More parameters or longer ones are no honest challenge.
const MAX_PARAMETERS: usize = 16;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: Url,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The challenge to follow: Bearer before Basic, as containerd prefers them.
pub(crate) fn parse(headers: &HeaderMap) -> Result<Challenge, Fault> {
    let mut basic = false;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let text = value.to_str().map_err(|_| Fault::Challenge)?;
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            return bearer(rest);
        }
        basic |= scheme.eq_ignore_ascii_case("basic");
    }
    if basic {
        Ok(Challenge::Basic)
    } else {
        Err(Fault::Challenge)
    }
}

fn bearer(text: &str) -> Result<Challenge, Fault> {
    let mut parameters = parameters(text).ok_or(Fault::Challenge)?;
    let realm = parameters.remove("realm").ok_or(Fault::Challenge)?;
    let realm = Url::parse(&realm).map_err(|_| Fault::Challenge)?;
    if !matches!(realm.scheme(), "http" | "https") {
        return Err(Fault::RealmScheme);
    }
    if !realm.username().is_empty() || realm.password().is_some() || realm.fragment().is_some() {
        return Err(Fault::Challenge);
    }
    Ok(Challenge::Bearer {
        realm,
        service: parameters.remove("service"),
        scope: parameters.remove("scope"),
    })
}

/// `name=token` and `name="quoted"`, separated by commas; a name twice is refused.
fn parameters(text: &str) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=')?;
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, tail) = value(tail.trim_start())?;
        if found.insert(name.to_ascii_lowercase(), value).is_some() || found.len() > MAX_PARAMETERS
        {
            return None;
        }
        rest = match tail.trim_start() {
            "" => "",
            more => more.strip_prefix(',')?.trim_start(),
        };
    }
    Some(found)
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !c.is_ascii() || c == ',' || c == ' ');
        let (token, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
        let plain = !token.is_empty() && token.bytes().all(|b| is_token(b) || b"/:=".contains(&b));
        return plain.then(|| (token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            ' '..='~' => value.push(c),
            _ => return None,
        }
    }
    None
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether the registry at `base` may send the guard, with credentials or without, to `realm`.
/// `extra` are hosts that the node allows for it.
pub(crate) fn judge_realm(realm: &Url, base: &Url, extra: &[String]) -> Result<(), Fault> {
    let downgrade = base.scheme() == "https" && realm.scheme() != "https";
    if downgrade {
        return Err(Fault::RealmScheme);
    }
    let host = endpoint::authority(realm);
    let registry = endpoint::authority(base);
    if host == registry {
        return Ok(());
    }
    if address::is_out_of_bounds(realm, base) {
        return Err(Fault::LocalAddress);
    }
    let built_in = matches!(
        (registry.as_str(), host.as_str()),
        ("registry-1.docker.io", "auth.docker.io") | ("registry.gitlab.com", "gitlab.com")
    );
    let port = realm.port_or_known_default().unwrap_or_default();
    let with_port = format!("{}:{port}", realm.host_str().unwrap_or_default());
    if built_in || extra.contains(&host) || extra.contains(&with_port) {
        return Ok(());
    }
    Err(Fault::RealmHost { host })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn challenge(values: &[&'static str]) -> Result<Challenge, Fault> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        parse(&headers)
    }

    fn realm(base: &str, realm: &str, extra: &[&str]) -> Result<(), Fault> {
        let extra: Vec<_> = extra.iter().map(|host| (*host).to_owned()).collect();
        let (realm, base) = (Url::parse(realm).unwrap(), Url::parse(base).unwrap());
        judge_realm(&realm, &base, &extra)
    }

    #[test]
    fn bearer_goes_before_basic_whatever_their_order() {
        let bearer = Challenge::Bearer {
            realm: Url::parse("https://h/t").unwrap(),
            service: Some("a,\"b".to_owned()),
            scope: None,
        };
        let text = "bearer realm=\"https://h/t\" , service=\"a,\\\"b\"";
        assert_eq!(challenge(&["Basic realm=\"x\"", text]), Ok(bearer.clone()));
        assert_eq!(challenge(&[text, "Basic realm=\"x\""]), Ok(bearer));
    }

    #[test]
    fn no_challenge_is_not_understood() {
        assert_eq!(challenge(&[]), Err(Fault::Challenge));
    }

    #[test]
    fn docker_hub_and_gitlab_have_their_token_hosts_and_no_other() {
        let hub = "https://registry-1.docker.io/v2";
        assert_eq!(realm(hub, "https://auth.docker.io/token", &[]), Ok(()));
        let gitlab = "https://registry.gitlab.com/v2";
        assert_eq!(realm(gitlab, "https://gitlab.com/jwt/auth", &[]), Ok(()));
        let host = "gitlab.com".to_owned();
        let crossed = realm(hub, "https://gitlab.com/jwt/auth", &[]);
        assert_eq!(crossed, Err(Fault::RealmHost { host }));
    }

    #[test]
    fn the_same_name_on_another_port_is_another_host() {
        let base = "https://registry.example.com/v2";
        assert_eq!(
            realm(base, "https://registry.example.com:443/t", &[]),
            Ok(())
        );
        let host = "registry.example.com:5001".to_owned();
        let realm_host = "https://registry.example.com:5001/t";
        assert_eq!(realm(base, realm_host, &[&host]), Ok(()));
        assert_eq!(realm(base, realm_host, &[]), Err(Fault::RealmHost { host }));
    }
}
