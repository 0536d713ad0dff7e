//! Reads hosts.toml directories as containerd reads them (its docs/hosts.md). What containerd
//! would pass over silently, and answer differently for, is an error here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::endpoint::{Endpoint, Scheme};
use super::error::{RegistryError, Setup};
use super::settings::RegistrySettings;
use super::tls::Verification;

const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The hosts to ask for `host`, in order: mirrors as written, the server last.
pub(crate) fn endpoints(
    settings: &RegistrySettings,
    host: &str,
) -> Result<Vec<Endpoint>, RegistryError> {
    let default = || {
        Endpoint::of_registry(host, settings.is_insecure(host))
            .map_err(|fault| RegistryError::Bad { fault })
    };
    let Some(dir) = directory(settings, host).map_err(unsupported)? else {
        return Ok(vec![default()?]);
    };
    let file = dir.join("hosts.toml");
    let text = read(&file).map_err(|_| unsupported(setup(&file, "cannot be read")))?;
    match text.filter(|text| !text.is_empty()) {
        Some(text) => parse(&file, &dir, &text, host, default()?).map_err(unsupported),
        None => Ok(vec![
            certificate_files(&dir, default()?).map_err(unsupported)?,
        ]),
    }
}

fn unsupported(setup: Setup) -> RegistryError {
    RegistryError::Unsupported { setup }
}

fn setup(path: &Path, reason: impl Into<String>) -> Setup {
    Setup::Hosts {
        path: path.display().to_string(),
        reason: reason.into(),
    }
}

/// `host_port_`, then `host:port`, then `_default`, in the first root that has one.
fn directory(settings: &RegistrySettings, host: &str) -> Result<Option<PathBuf>, Setup> {
    let mut names = Vec::new();
    if let Some((name, port)) = host.rsplit_once(':') {
        names.push(format!("{name}_{port}_"));
    }
    names.push(host.to_owned());
    names.push("_default".to_owned());
    for root in &settings.certs_dirs {
        for name in &names {
            let dir = root.join(name);
            match fs::metadata(&dir) {
                Ok(_) => return Ok(Some(dir)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => return Err(setup(&dir, "cannot be read")),
            }
        }
    }
    Ok(None)
}

fn read(file: &Path) -> io::Result<Option<String>> {
    let open = match fs::File::open(file) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    open.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(Some(text))
}

#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, Host>,
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    skip_verify: Option<bool>,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    override_path: bool,
    dial_timeout: Option<String>,
}

// Keys that are not known here are passed over, as containerd does.
#[derive(Deserialize, Default)]
struct Host {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    skip_verify: Option<bool>,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    override_path: bool,
    dial_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    One(String),
    Many(Vec<OneOrMany>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

fn parse(
    file: &Path,
    dir: &Path,
    text: &str,
    registry: &str,
    default: Endpoint,
) -> Result<Vec<Endpoint>, Setup> {
    let parsed: File = toml::from_str(text).map_err(|_| setup(file, "is not valid"))?;
    if let Some(key) = miscased(text) {
        let reason = format!("`{key}` is written `{}`", key.to_ascii_lowercase());
        return Err(setup(file, reason));
    }
    let mut hosts: Vec<_> = parsed.host.into_iter().collect();
    hosts.sort_by_key(|(key, _)| key.span().start);
    let mut endpoints = Vec::new();
    for (key, host) in hosts {
        // containerd takes the order, and so the hosts, from table headers alone.
        if !is_header_line(text, key.span().start) {
            return Err(setup(
                file,
                "a host is not written as a [host.\"URL\"] table",
            ));
        }
        let url = server_url(key.get_ref(), host.override_path)
            .ok_or_else(|| setup(file, format!("`{}` is no host URL", key.get_ref())))?;
        let mut endpoint = bare(url, written_host(key.get_ref()), registry);
        apply(host, &mut endpoint, file, dir)?;
        endpoints.push(endpoint);
    }
    let root = Host {
        capabilities: parsed.capabilities,
        ca: parsed.ca,
        client: parsed.client,
        skip_verify: parsed.skip_verify,
        header: parsed.header,
        override_path: parsed.override_path,
        dial_timeout: parsed.dial_timeout,
    };
    let last = match parsed.server.filter(|server| !server.is_empty()) {
        Some(server) => {
            let url = server_url(&server, root.override_path)
                .ok_or_else(|| setup(file, format!("`{server}` is no server URL")))?;
            let mut endpoint = bare(url, written_host(&server), registry);
            apply(root, &mut endpoint, file, dir)?;
            endpoint
        }
        None => {
            // Without `server` the registry itself is asked, with every capability.
            let mut endpoint = default;
            apply(root, &mut endpoint, file, dir)?;
            endpoint.can_resolve = true;
            endpoint.can_pull = true;
            endpoint
        }
    };
    endpoints.push(last);
    Ok(endpoints)
}

/// A known key in another case: containerd's parsers differ on whether it counts.
fn miscased(text: &str) -> Option<String> {
    const ROOT: [&str; 2] = ["server", "host"];
    const BOTH: [&str; 7] = [
        "capabilities",
        "ca",
        "client",
        "skip_verify",
        "header",
        "override_path",
        "dial_timeout",
    ];
    let odd = |table: &toml::Table, known: &[&str]| {
        let mut keys = table.keys();
        let is_odd = |key: &&String| {
            let lower = key.to_ascii_lowercase();
            **key != lower && known.contains(&lower.as_str())
        };
        keys.find(is_odd).cloned()
    };
    let root: toml::Table = text.parse().ok()?;
    if let Some(key) = odd(&root, &ROOT).or_else(|| odd(&root, &BOTH)) {
        return Some(key);
    }
    let hosts = root.get("host").and_then(toml::Value::as_table)?;
    let mut tables = hosts.values().filter_map(toml::Value::as_table);
    tables.find_map(|host| odd(host, &BOTH))
}

fn is_header_line(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    line.trim_start()
        .strip_prefix('[')
        .is_some_and(|rest| rest.trim_start().starts_with("host"))
}

/// A host's or server's URL with its API root: `/v2` is added unless it is there or overridden.
fn server_url(text: &str, override_path: bool) -> Option<Url> {
    let text = match text.contains("://") {
        true => text.to_owned(),
        false => format!("https://{text}"),
    };
    let mut url = Url::parse(&text).ok()?;
    let usable = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && url.username().is_empty()
        && url.password().is_none();
    if !usable {
        return None;
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    let path = if override_path || path.ends_with("/v2") {
        path
    } else {
        format!("{path}/v2")
    };
    url.set_path(&path);
    Some(url)
}

/// Host and port of a URL as they are written: containerd compares these, and a URL library would
/// drop the scheme's own port.
fn written_host(text: &str) -> String {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default().to_ascii_lowercase()
}

fn bare(base: Url, host: String, registry: &str) -> Endpoint {
    Endpoint {
        base,
        own: Endpoint::names_own(&host, registry),
        host,
        scheme: Scheme::AsWritten,
        can_resolve: true,
        can_pull: true,
        ca: Vec::new(),
        client: None,
        verification: Verification::Full,
        headers: HeaderMap::new(),
        dial_timeout: None,
    }
}

fn apply(host: Host, endpoint: &mut Endpoint, file: &Path, dir: &Path) -> Result<(), Setup> {
    if let Some(capabilities) = host.capabilities.filter(|list| !list.is_empty()) {
        (endpoint.can_resolve, endpoint.can_pull) = capabilities_of(&capabilities, file)?;
    }
    let tls_written = host.ca.is_some() || host.client.is_some() || host.skip_verify.is_some();
    let absolute = |path: String| dir.join(path);
    endpoint.ca = host
        .ca
        .map(|ca| ca.into_vec().into_iter().map(absolute).collect())
        .unwrap_or_default();
    endpoint.client = host
        .client
        .map(|client| client_pair(client, file, dir))
        .transpose()?
        .flatten();
    match host.skip_verify {
        Some(true) => endpoint.verification = Verification::Skipped,
        Some(false) => endpoint.verification = Verification::Full,
        None => {}
    }
    for (name, values) in host.header {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| setup(file, format!("`{name}` is no header name")))?;
        for value in values.into_vec() {
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| setup(file, format!("the value of header `{name}` is not text")))?;
            value.set_sensitive(true);
            endpoint.headers.append(name.clone(), value);
        }
    }
    if let Some(text) = host.dial_timeout.filter(|text| !text.is_empty()) {
        let parsed =
            duration(&text).ok_or_else(|| setup(file, format!("`{text}` is no dial_timeout")))?;
        endpoint.dial_timeout = Some(parsed);
    }
    // A host written as http:// with TLS settings is tried with TLS first, on its own port or else
    // on 443; port 80 is not ambiguous.
    if endpoint.base.scheme() == "http" && tls_written && !endpoint.host.ends_with(":80") {
        let mut secure = endpoint.base.clone();
        if secure.set_scheme("https").is_ok() {
            endpoint.base = secure;
            endpoint.scheme = Scheme::TlsThenPlain;
        }
    }
    Ok(())
}

fn capabilities_of(list: &[String], file: &Path) -> Result<(bool, bool), Setup> {
    let mut can = (false, false);
    for capability in list {
        match capability.to_ascii_lowercase().as_str() {
            "resolve" => can.0 = true,
            "pull" => can.1 = true,
            "push" | "referrers" => {}
            _ => return Err(setup(file, format!("`{capability}` is no capability"))),
        }
    }
    Ok(can)
}

type Pair = (PathBuf, Option<PathBuf>);

/// One file, one list of files, or a list of (certificate, key) pairs; one client certificate.
fn client_pair(client: Client, file: &Path, dir: &Path) -> Result<Option<Pair>, Setup> {
    let list = match client {
        Client::One(path) => vec![OneOrMany::One(path)],
        Client::Many(list) => list,
    };
    let mut pairs = Vec::new();
    for item in list {
        match item {
            OneOrMany::One(path) => pairs.push((dir.join(path), None)),
            OneOrMany::Many(pair) => match pair.as_slice() {
                [certificate, key] => pairs.push((dir.join(certificate), Some(dir.join(key)))),
                _ => return Err(setup(file, "a client pair is not a certificate and a key")),
            },
        }
    }
    let mut pairs = pairs.into_iter();
    let first = pairs.next();
    match pairs.next() {
        None => Ok(first),
        Some(_) => Err(setup(
            file,
            "more than one client certificate is not supported",
        )),
    }
}

/// Docker's layout, used where there is no hosts.toml: `*.crt` are authorities, `*.cert` with
/// `*.key` is the client certificate.
fn certificate_files(dir: &Path, mut endpoint: Endpoint) -> Result<Endpoint, Setup> {
    let unreadable = |_| setup(dir, "cannot be read");
    let mut pairs = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        match path.extension().and_then(|ext| ext.to_str()) {
            Some("crt") => endpoint.ca.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                let key = key.exists().then_some(key);
                pairs.push((path, key));
            }
            Some(_) | None => {}
        }
    }
    endpoint.ca.sort();
    let mut pairs = pairs.into_iter();
    endpoint.client = pairs.next();
    match pairs.next() {
        None => Ok(endpoint),
        Some(_) => Err(setup(
            dir,
            "more than one client certificate is not supported",
        )),
    }
}

/// Go's duration syntax: `1m30s`, `1.5h`, `300ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(end)?;
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, after) = tail.split_at_checked(unit_end)?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let rows = [
            ("3s", Some(Duration::from_secs(3))),
            ("1m30s", Some(Duration::from_secs(90))),
            ("1.5h", Some(Duration::from_secs(5400))),
            ("300ms", Some(Duration::from_millis(300))),
            ("3", None),
            ("s", None),
            ("-1s", None),
            ("1d", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn the_api_root_is_added_unless_it_is_there() {
        let rows = [
            ("https://h", false, "https://h/v2"),
            ("h:5000", false, "https://h:5000/v2"),
            ("https://h/", false, "https://h/v2"),
            ("https://h/a/v2/", false, "https://h/a/v2"),
            ("https://h/a", true, "https://h/a"),
        ];
        for (text, override_path, expected) in rows {
            let url = server_url(text, override_path).unwrap();
            assert_eq!(url.as_str(), expected, "{text}");
        }
    }

    #[test]
    fn a_server_of_another_scheme_or_with_a_user_is_no_url() {
        for text in ["ftp://h", "https://u:p@h", "https://"] {
            assert_eq!(server_url(text, false), None, "{text}");
        }
    }
}
