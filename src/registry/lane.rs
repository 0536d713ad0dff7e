//! One host in one operation: its clients, its token, and the way of a request through
//! redirects, a challenge and a rate limit.

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Client, Request};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use super::address::{self, ScopedNames};
use super::challenge::{self, Challenge};
use super::credentials::{self, PullAuth, Secret};
use super::endpoint::{Endpoint, Scheme};
use super::error::{Cause, Fault, RegistryError, Setup, TlsFault};
use super::tls::{self, TlsKey, Verification};
use super::token::{self, basic, bearer, sensitive};
use super::transport::{self, Answer, Bounds, bad, verdict};
use super::trip::{self, Trip};
use super::{Registry, endpoint};
use crate::image::Repository;

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
    /// No other host is asked after this one, so a passing fault here is worth a second try.
    pub(crate) last: bool,
    /// Only the headers of the answer.
    pub(crate) head: bool,
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
    /// The node's credentials file names a helper for this host, and holds no secret itself.
    helper: bool,
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
            helper: false,
        }
    }

    /// Whether a credential, not an anonymous token, was used here.
    pub(crate) fn authenticated(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.credential)
    }

    /// Asks this host; on a host that may not speak TLS, in plain text if it does not. All of it
    /// runs on one slot of this host, wherever it points to.
    pub(crate) async fn get(&mut self, ask: Ask<'_>) -> Result<Answer, RegistryError> {
        let slots = &ask.registry.slots;
        let _trip = slots.trip(&self.endpoint.base, ask.deadline).await?;
        match self.get_by_scheme(ask).await {
            // A public image needs no secret; only a refusal makes the helper matter.
            Err(RegistryError::Refused) if self.helper => Err(RegistryError::Unsupported {
                setup: Setup::CredentialHelper {
                    host: self.endpoint.host.clone(),
                },
            }),
            other => other,
        }
    }

    async fn get_by_scheme(&mut self, ask: Ask<'_>) -> Result<Answer, RegistryError> {
        let first = self.get_as_written(ask).await;
        match (self.endpoint.scheme, &first) {
            (Scheme::TlsThenPlain, Err(error)) if self.may_be_plain(error) => {}
            (Scheme::TlsThenPlain | Scheme::AsWritten, _) => return first,
        }
        self.endpoint.scheme = Scheme::AsWritten;
        self.endpoint.base = self.endpoint.plain().ok_or(bad(Fault::Name))?;
        self.get_as_written(ask).await
    }

    /// containerd's rule: what answers is no TLS, or nothing completes the handshake; and without
    /// a written port, where plain HTTP has another one, also nobody there.
    fn may_be_plain(&self, error: &RegistryError) -> bool {
        let RegistryError::Unreachable { cause, .. } = error else {
            return false;
        };
        match cause {
            Cause::Tls(TlsFault::NotTls) | Cause::ConnectTimedOut => true,
            Cause::NoConnection => !self.endpoint.has_port(),
            Cause::Tls(
                TlsFault::Expired
                | TlsFault::NotYetValid
                | TlsFault::UnknownIssuer
                | TlsFault::WrongName
                | TlsFault::Certificate
                | TlsFault::Handshake,
            )
            | Cause::NoAddress
            | Cause::TimedOut
            | Cause::TooSlow
            | Cause::Interrupted
            | Cause::RateLimited
            | Cause::ServerError
            | Cause::Busy => false,
        }
    }

    /// Whether a second try may find the host well: the connection broke or timed out, and it is
    /// not the try without TLS that comes next.
    fn is_passing(&self, error: &RegistryError) -> bool {
        let RegistryError::Unreachable { cause, .. } = error else {
            return false;
        };
        match self.endpoint.scheme {
            Scheme::AsWritten => matches!(
                cause,
                Cause::TimedOut | Cause::ConnectTimedOut | Cause::Interrupted
            ),
            Scheme::TlsThenPlain => matches!(cause, Cause::TimedOut | Cause::Interrupted),
        }
    }

    async fn get_as_written(&mut self, ask: Ask<'_>) -> Result<Answer, RegistryError> {
        let home = self
            .endpoint
            .url(ask.repository, ask.kind, ask.object)
            .map_err(bad)?;
        let mut trip = Trip::new(&home, ask.last);
        loop {
            let at_home = same_origin(&trip.url, &home);
            let answer = match self.send(ask, &trip.url, at_home).await {
                Err(error) if !trip.repeated && self.is_passing(&error) => {
                    trip.repeat(ask.deadline).await.map_err(|()| error)?;
                    continue;
                }
                sent => sent?,
            };
            match answer.status {
                StatusCode::OK => return Ok(answer),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    trip.follow(&answer.headers, &home, ask.registry.limits.max_redirects)?;
                }
                StatusCode::UNAUTHORIZED if at_home && trip.may_answer(&answer.headers) => {
                    trip.challenged = true;
                    self.pass = Some(self.answer_challenge(ask, &answer.headers).await?);
                }
                StatusCode::TOO_MANY_REQUESTS if !trip.waited => {
                    trip.waited = true;
                    trip::wait(&answer.headers, ask.deadline).await?;
                }
                status @ (StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT)
                    if !trip.repeated =>
                {
                    let again = trip.repeat(ask.deadline).await;
                    again.map_err(|()| verdict(status))?;
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
        let client = self.client(ask, at_home).await?;
        let method = if ask.head { Method::HEAD } else { Method::GET };
        let mut request = Request::new(method, url.clone());
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
    async fn client(&mut self, ask: Ask<'_>, at_home: bool) -> Result<Client, RegistryError> {
        let (registry, endpoint) = (ask.registry, &self.endpoint);
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
        let tls = match registry.tls.fresh(&key) {
            Some(tls) => tls,
            None => {
                let (since, wanted) = (std::time::Instant::now(), key.clone());
                let look = move || tls::build(&wanted).map_err(unsupported);
                let tls = registry.files.look(ask.deadline, look).await?;
                registry.tls.keep(key, since, tls.clone());
                tls
            }
        };
        let connect = registry.limits.connect_timeout;
        let connect = endpoint
            .dial_timeout
            .map_or(connect, |own| own.min(connect));
        let settings = &registry.settings;
        let client = transport::client(tls, clients.names.clone(), settings, connect)?;
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
        let (host, own) = (self.endpoint.host.clone(), self.endpoint.own);
        let settings = &ask.registry.settings;
        let mut secret = credentials::of_pull(ask.auth, &host, own).map_err(unsupported)?;
        self.helper = false;
        if let (None, Some(file)) = (&secret, &settings.credentials) {
            let (file, host, repository) = (file.clone(), host.clone(), ask.repository.clone());
            let look = move || credentials::of_node(&file, &host, &repository).map_err(unsupported);
            let found = ask.registry.files.look(ask.deadline, look).await?;
            (secret, self.helper) = (found.secret, found.helper);
        }
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
        let post = match secret {
            Some(Secret::Refresh(refresh)) => Some(token::refresh_request(
                realm.clone(),
                service,
                scope,
                refresh,
            )?),
            Some(Secret::Password { .. } | Secret::Bearer(_)) | None => None,
        };
        if let Some(post) = post {
            let answer = self.ask_token(ask, post).await?;
            match answer.status {
                // Registries that know no POST here say so in many ways: containerd asks those
                // with GET.
                StatusCode::BAD_REQUEST
                | StatusCode::UNAUTHORIZED
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED => {}
                _ => return token::token_of(&answer),
            }
        }
        let mut request = token::token_request(realm, service, scope);
        let value = match secret {
            Some(Secret::Password { username, password }) => Some(basic(username, password)),
            Some(Secret::Refresh(token)) => Some(basic("", token)),
            Some(Secret::Bearer(_)) | None => None,
        };
        if let Some(value) = value {
            let value = sensitive(&value)?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        token::token_of(&self.ask_token(ask, request).await?)
    }

    /// One exchange with a token server. The headers of hosts.toml go to the host that they are
    /// written for, also where it is its own token server.
    async fn ask_token(&mut self, ask: Ask<'_>, request: Request) -> Result<Answer, RegistryError> {
        let mut request = request;
        let at_home = same_origin(request.url(), &self.endpoint.base);
        let client = self.client(ask, at_home).await?;
        if at_home {
            let own = self.endpoint.headers.clone();
            let written = std::mem::replace(request.headers_mut(), own);
            request.headers_mut().extend(written);
        }
        let limits = &ask.registry.limits;
        let bounds = ask.bounds(limits.max_token_bytes);
        transport::exchange(&client, &ask.registry.slots, request, bounds).await
    }
}

fn unsupported(setup: Setup) -> RegistryError {
    RegistryError::Unsupported { setup }
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && endpoint::authority(one) == endpoint::authority(other)
}

fn pass(value: Zeroizing<String>, credential: bool) -> Result<Pass, RegistryError> {
    Ok(Pass {
        header: sensitive(&value)?,
        credential,
    })
}
