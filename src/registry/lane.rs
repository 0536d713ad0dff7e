//! One host in one operation: its clients, its token, and the way of a request through
//! redirects, a challenge and a rate limit.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Client, Request};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use url::Url;
use zeroize::Zeroizing;

use super::address::{self, ScopedNames};
use super::challenge::{self, Challenge};
use super::credentials::{self, PullAuth, Secret};
use super::endpoint::{Endpoint, Scheme};
use super::error::{Cause, Fault, RegistryError, Setup, TlsFault};
use super::tls::{TlsKey, Verification};
use super::transport::{self, Answer, Bounds, bad, unreachable};
use super::{Registry, endpoint};
use crate::clock;
use crate::image::Repository;

/// The longest `Retry-After` that is waited for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// One request: what is asked, for whom, until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) repository: &'a Repository,
    pub(crate) auth: Option<&'a PullAuth>,
    pub(crate) deadline: Instant,
    /// `manifests` or `blobs`.
    pub(crate) kind: &'static str,
    /// A tag or a digest.
    pub(crate) object: &'a str,
    pub(crate) accept: &'static str,
    pub(crate) max_body: usize,
}

impl<'a> Ask<'a> {
    fn bounds(&self, max_body: usize) -> Bounds<'a> {
        let limits = &self.registry.limits;
        Bounds {
            limits,
            deadline: self.deadline,
            header_timeout: limits.connect_timeout + limits.header_timeout,
            max_body,
        }
    }
}

/// A host and what one operation knows of it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) endpoint: Endpoint,
    clients: Option<Clients>,
    pass: Option<Pass>,
}

/// To the host itself with its client certificate; to others without it, and always verified.
#[derive(Debug)]
struct Clients {
    names: ScopedNames,
    home: Option<Client>,
    away: Option<Client>,
}

/// An `Authorization` that this host accepted the making of.
#[derive(Clone, Debug)]
struct Pass {
    header: HeaderValue,
    credential: bool,
}

impl Lane {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            clients: None,
            pass: None,
        }
    }

    /// Whether a credential, not an anonymous token, was used here.
    pub(crate) fn authenticated(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.credential)
    }

    /// Asks this host; on a host that may not speak TLS, in plain text if it does not.
    pub(crate) async fn get(&mut self, ask: Ask<'_>) -> Result<Answer, RegistryError> {
        let first = self.get_as_written(ask).await;
        let no_tls = matches!(
            first,
            Err(RegistryError::Unreachable {
                cause: Cause::Tls(TlsFault::Handshake),
            })
        );
        match self.endpoint.scheme {
            Scheme::TlsThenPlain if no_tls => {}
            Scheme::TlsThenPlain | Scheme::AsWritten => return first,
        }
        self.endpoint.scheme = Scheme::AsWritten;
        self.endpoint.base = plain(&self.endpoint.base).ok_or(bad(Fault::Name))?;
        self.get_as_written(ask).await
    }

    async fn get_as_written(&mut self, ask: Ask<'_>) -> Result<Answer, RegistryError> {
        let home = self
            .endpoint
            .url(ask.repository, ask.kind, ask.object)
            .map_err(bad)?;
        let mut trip = Trip {
            url: home.clone(),
            redirects: 0,
            challenged: false,
            waited: false,
        };
        loop {
            let at_home = same_origin(&trip.url, &home);
            let answer = self.send(ask, &trip.url, at_home).await?;
            match answer.status {
                StatusCode::OK => return Ok(answer),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    trip.follow(&answer.headers, &home, ask.registry.limits.max_redirects)?;
                }
                StatusCode::UNAUTHORIZED if at_home && !trip.challenged => {
                    trip.challenged = true;
                    self.pass = Some(self.answer_challenge(ask, &answer.headers).await?);
                }
                StatusCode::TOO_MANY_REQUESTS if !trip.waited => {
                    trip.waited = true;
                    wait(&answer.headers, ask.deadline).await?;
                }
                status => return Err(verdict(status)),
            }
        }
    }

    /// One request to `url`. The pass and the host's own headers go nowhere but home.
    async fn send(
        &mut self,
        ask: Ask<'_>,
        url: &Url,
        at_home: bool,
    ) -> Result<Answer, RegistryError> {
        let client = self.client(ask.registry, at_home)?;
        let mut request = Request::new(Method::GET, url.clone());
        let headers = request.headers_mut();
        if at_home {
            headers.extend(self.endpoint.headers.clone());
        }
        headers.insert(ACCEPT, HeaderValue::from_static(ask.accept));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(pass) = self.pass.as_ref().filter(|_| at_home) {
            headers.insert(AUTHORIZATION, pass.header.clone());
        }
        let bounds = ask.bounds(ask.max_body);
        transport::exchange(&client, &ask.registry.slots, request, bounds).await
    }

    /// The client for this host or, not `at_home`, for where it points to. Made when it is needed.
    fn client(&mut self, registry: &Registry, at_home: bool) -> Result<Client, RegistryError> {
        let endpoint = &self.endpoint;
        let names = names(endpoint, registry)?;
        let clients = self.clients.get_or_insert(Clients {
            names,
            home: None,
            away: None,
        });
        let place = if at_home {
            &mut clients.home
        } else {
            &mut clients.away
        };
        if let Some(client) = place {
            return Ok(client.clone());
        }
        let ca = registry.settings.ca.iter().chain(&endpoint.ca);
        let key = TlsKey {
            ca: ca.cloned().collect(),
            client: endpoint.client.clone().filter(|_| at_home),
            verification: if at_home {
                endpoint.verification
            } else {
                Verification::Full
            },
        };
        let unsupported = |setup| RegistryError::Unsupported { setup };
        let tls = registry.tls.get(&key).map_err(unsupported)?;
        let connect = registry.limits.connect_timeout;
        let connect = endpoint
            .dial_timeout
            .map_or(connect, |own| own.min(connect));
        let proxy = registry.settings.proxy.as_deref();
        let client = transport::client(tls, clients.names.clone(), proxy, connect)?;
        *place = Some(client.clone());
        Ok(client)
    }
}

/// The resolver of one lane: it knows the registry and the proxy, and keeps what it found.
fn names(endpoint: &Endpoint, registry: &Registry) -> Result<ScopedNames, RegistryError> {
    let base = &endpoint.base;
    let mut exempt: Vec<String> = base.host_str().map(str::to_owned).into_iter().collect();
    if let Some(proxy) = &registry.settings.proxy {
        let proxy = Url::parse(proxy).map_err(|_| RegistryError::Unsupported {
            setup: Setup::Proxy,
        })?;
        exempt.extend(proxy.host_str().map(str::to_owned));
    }
    let loopback = address::is_loopback_name(base);
    Ok(ScopedNames::new(registry.names.clone(), exempt, loopback))
}

impl Lane {
    /// Turns a challenge into an `Authorization`, with the pull's credential, the node's, or none.
    async fn answer_challenge(
        &mut self,
        ask: Ask<'_>,
        headers: &HeaderMap,
    ) -> Result<Pass, RegistryError> {
        let challenge = challenge::parse(headers).map_err(bad)?;
        let host = self.endpoint.authority();
        let own = self.endpoint.is_own(ask.repository);
        let settings = &ask.registry.settings;
        let node = settings.credentials.as_deref();
        let secret = credentials::for_host(ask.auth, node, &host, own, ask.repository)
            .map_err(|setup| RegistryError::Unsupported { setup })?;
        let (realm, service, scope) = match (challenge, secret.as_ref()) {
            (Challenge::Basic, Some(Secret::Password { username, password })) => {
                return pass(basic(username, password), true);
            }
            (Challenge::Basic, Some(Secret::Refresh(_) | Secret::Bearer(_)) | None) => {
                return Err(RegistryError::Refused);
            }
            (Challenge::Bearer { .. }, Some(Secret::Bearer(token))) => {
                return pass(bearer(token), true);
            }
            (
                Challenge::Bearer {
                    realm,
                    service,
                    scope,
                },
                Some(Secret::Password { .. } | Secret::Refresh(_)) | None,
            ) => (realm, service, scope),
        };
        let names = [host.as_str(), ask.repository.host()];
        let extra: Vec<String> = names
            .iter()
            .filter(|name| **name == host || own)
            .filter_map(|name| settings.token_hosts.get(*name))
            .flatten()
            .cloned()
            .collect();
        challenge::judge_realm(&realm, &self.endpoint.base, &extra).map_err(bad)?;
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", ask.repository.path()));
        let token = self
            .token(ask, realm, service.as_deref(), &scope, secret.as_ref())
            .await?;
        pass(bearer(&token), secret.is_some())
    }

    /// Asks a token server: GET with Basic for a password or nobody, POST for a refresh token.
    async fn token(
        &mut self,
        ask: Ask<'_>,
        realm: Url,
        service: Option<&str>,
        scope: &str,
        secret: Option<&Secret>,
    ) -> Result<Zeroizing<String>, RegistryError> {
        let at_home = same_origin(&realm, &self.endpoint.base);
        let client = self.client(ask.registry, at_home)?;
        let request = match secret {
            Some(Secret::Refresh(token)) => refresh_request(realm, service, scope, token)?,
            Some(Secret::Password { username, password }) => {
                let mut request = token_request(realm, service, scope);
                let value = sensitive(&basic(username, password))?;
                request.headers_mut().insert(AUTHORIZATION, value);
                request
            }
            Some(Secret::Bearer(_)) | None => token_request(realm, service, scope),
        };
        let limits = &ask.registry.limits;
        let bounds = ask.bounds(limits.max_token_bytes);
        let answer = transport::exchange(&client, &ask.registry.slots, request, bounds).await?;
        match answer.status {
            StatusCode::OK => read_token(&answer.body).ok_or(bad(Fault::Token)),
            // OAuth2 says 400 for a refresh token that is no longer good (RFC 6749, 5.2).
            StatusCode::BAD_REQUEST => Err(RegistryError::Refused),
            StatusCode::NOT_FOUND => Err(bad(Fault::Token)),
            status => Err(verdict(status)),
        }
    }
}

/// Where a request is on its way.
struct Trip {
    url: Url,
    redirects: usize,
    challenged: bool,
    waited: bool,
}

impl Trip {
    fn follow(
        &mut self,
        headers: &HeaderMap,
        home: &Url,
        limit: usize,
    ) -> Result<(), RegistryError> {
        self.redirects += 1;
        if self.redirects > limit {
            return Err(bad(Fault::RedirectCount { limit }));
        }
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| self.url.join(location).ok());
        let target = target.ok_or(bad(Fault::RedirectTarget))?;
        if target.scheme() != self.url.scheme() {
            return Err(bad(Fault::RedirectScheme));
        }
        if !target.username().is_empty() || target.password().is_some() {
            return Err(bad(Fault::RedirectTarget));
        }
        // Names are judged when they are dialled.
        let elsewhere = target.host() != home.host();
        if elsewhere && !address::is_loopback_name(home) && address::is_local_literal(&target) {
            return Err(bad(Fault::LocalAddress));
        }
        self.url = target;
        Ok(())
    }
}

fn plain(url: &Url) -> Option<Url> {
    let mut plain = url.clone();
    plain.set_scheme("http").ok()?;
    Some(plain)
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && endpoint::authority(one) == endpoint::authority(other)
}

fn verdict(status: StatusCode) -> RegistryError {
    match status {
        StatusCode::NOT_FOUND => RegistryError::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Refused,
        StatusCode::TOO_MANY_REQUESTS => unreachable(Cause::RateLimited),
        StatusCode::REQUEST_TIMEOUT => unreachable(Cause::ServerError),
        status if status.is_server_error() => unreachable(Cause::ServerError),
        status => bad(Fault::Status {
            code: status.as_u16(),
        }),
    }
}

/// Waits as `Retry-After` says, if that is short and leaves time to ask again.
async fn wait(headers: &HeaderMap, deadline: Instant) -> Result<(), RegistryError> {
    let limited = || unreachable(Cause::RateLimited);
    let value = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let pause = value.and_then(retry_after).ok_or_else(limited)?;
    if pause > MAX_RETRY_AFTER || Instant::now() + pause >= deadline {
        return Err(limited());
    }
    sleep(pause).await;
    Ok(())
}

/// Seconds, or an HTTP date (RFC 9110 section 10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    let date = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_secs(clock::now().unix_seconds());
    Some(date.saturating_sub(now))
}

fn pass(value: Zeroizing<String>, credential: bool) -> Result<Pass, RegistryError> {
    Ok(Pass {
        header: sensitive(&value)?,
        credential,
    })
}

fn sensitive(value: &str) -> Result<HeaderValue, RegistryError> {
    let mut header = HeaderValue::from_str(value).map_err(|_| RegistryError::Unsupported {
        setup: Setup::PullAuth,
    })?;
    header.set_sensitive(true);
    Ok(header)
}

fn basic(username: &str, password: &str) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{username}:{password}"));
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Zeroizing::new(format!("Basic {}", encoded.as_str()))
}

fn bearer(token: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("Bearer {token}"))
}

fn token_request(mut realm: Url, service: Option<&str>, scope: &str) -> Request {
    {
        let mut query = realm.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for part in scope.split_ascii_whitespace() {
            query.append_pair("scope", part);
        }
    }
    let mut request = Request::new(Method::GET, realm);
    let identity = HeaderValue::from_static("identity");
    request.headers_mut().insert(ACCEPT_ENCODING, identity);
    request
}

/// The distribution specification's OAuth2 exchange.
fn refresh_request(
    realm: Url,
    service: Option<&str>,
    scope: &str,
    token: &str,
) -> Result<Request, RegistryError> {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("client_id", "pullguard")
        .append_pair("service", service.unwrap_or_default())
        .append_pair("scope", scope)
        .append_pair("refresh_token", token)
        .finish();
    let mut request = Request::new(Method::POST, realm);
    let headers = request.headers_mut();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(http::header::CONTENT_TYPE, kind);
    *request.body_mut() = Some(form.into());
    Ok(request)
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
}

fn read_token(body: &[u8]) -> Option<Zeroizing<String>> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    let filled = |token: &Zeroizing<String>| {
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    answer
        .access_token
        .filter(filled)
        .or(answer.token.filter(filled))
}
