//! One HTTP exchange, bounded in time and size. HTTP/1.1 only, no redirects, no inflating, no
//! cookies, no proxy from the environment.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode};
use reqwest::{Client, NoProxy, Proxy, Request, Response};
use rustls::{CertificateError, ClientConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::address::{OutOfBounds, ScopedNames};
use super::error::{Cause, Fault, RegistryError, Setup, TlsFault};
use super::settings::RegistrySettings;
use crate::limits::Limits;

/// A body may take this long before its rate is looked at.
const RATE_GRACE: Duration = Duration::from_secs(2);

/// An answer whose body is whole and within its limit. The body of an answer other than 200 is
/// not read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Bounds how many exchanges run: over all, per host that is dialled, and per registry on whose
/// account they are. Hosts count without their port, so that neither many ports of one machine nor
/// redirects to many machines give one registry more than its share.
#[derive(Debug)]
pub(crate) struct Slots {
    all: Arc<Semaphore>,
    dialled: HostSlots,
    homes: HostSlots,
}

/// A slot for each of `per_host` at once, by host.
#[derive(Debug)]
struct HostSlots {
    per_host: usize,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Slots {
    pub(crate) fn new(limits: &Limits) -> Self {
        let hosts = || HostSlots {
            per_host: limits.max_fetches_per_host,
            hosts: Mutex::default(),
        };
        Self {
            all: Arc::new(Semaphore::new(limits.max_fetches)),
            dialled: hosts(),
            homes: hosts(),
        }
    }

    /// A slot of the registry or mirror at `home`, for one request with its redirects and tokens.
    /// No exchange is begun without one, and none waits for one: who holds slots of two kinds can
    /// never wait for each other.
    pub(crate) async fn trip(
        &self,
        home: &Url,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, RegistryError> {
        let of_home = self.homes.of(home);
        match timeout_at(deadline, of_home.acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(unreachable(Cause::Busy)),
        }
    }

    /// A slot of the host that is dialled, then one of all: who waits for a slow host holds
    /// nothing that others need.
    async fn take(
        &self,
        dialled: &Url,
        deadline: Instant,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), RegistryError> {
        let of_host = self.dialled.of(dialled);
        let both = async {
            let own = of_host.acquire_owned().await;
            let all = Arc::clone(&self.all).acquire_owned().await;
            Some((own.ok()?, all.ok()?))
        };
        match timeout_at(deadline, both).await {
            Ok(Some(both)) => Ok(both),
            Ok(None) | Err(_) => Err(unreachable(Cause::Busy)),
        }
    }
}

impl HostSlots {
    fn of(&self, url: &Url) -> Arc<Semaphore> {
        let host = url.host_str().unwrap_or_default();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waits or fetches holds a second pointer; the rest is forgotten.
        hosts.retain(|_, slots| {
            Arc::strong_count(slots) > 1 || slots.available_permits() < self.per_host
        });
        Arc::clone(
            hosts
                .entry(host.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(self.per_host))),
        )
    }
}

/// A client that follows nothing by itself.
pub(crate) fn client(
    tls: ClientConfig,
    names: ScopedNames,
    settings: &RegistrySettings,
    connect_timeout: Duration,
) -> Result<Client, RegistryError> {
    let broken = |_| RegistryError::Unsupported {
        setup: Setup::Proxy,
    };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Arc::new(names))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .connect_timeout(connect_timeout)
        .user_agent(concat!("pullguard/", env!("CARGO_PKG_VERSION")));
    if let Some(proxy) = settings.proxy.as_deref() {
        let direct = NoProxy::from_string(&direct(&settings.no_proxy));
        builder = builder.proxy(Proxy::all(proxy).map_err(broken)?.no_proxy(direct));
    }
    builder.build().map_err(broken)
}

/// What no proxy is asked for, as the client's list: loopback, and what the node says.
fn direct(no_proxy: &[String]) -> String {
    let mut list = "localhost,127.0.0.0/8,::1".to_owned();
    for host in no_proxy {
        list.push(',');
        list.push_str(host);
    }
    list
}

/// What bounds one exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) deadline: Instant,
    /// From the request to the headers, connecting included.
    pub(crate) header_timeout: Duration,
    pub(crate) max_body: usize,
}

/// Sends `request` and reads the whole answer.
pub(crate) async fn exchange(
    client: &Client,
    slots: &Slots,
    request: Request,
    bounds: Bounds<'_>,
) -> Result<Answer, RegistryError> {
    let _slot = slots.take(request.url(), bounds.deadline).await?;
    let by = bounds.deadline.min(Instant::now() + bounds.header_timeout);
    let response = match timeout_at(by, client.execute(request)).await {
        Ok(sent) => sent.map_err(|error| failure(&error, bounds.limits))?,
        Err(_) => return Err(unreachable(Cause::TimedOut)),
    };
    judge_headers(response.headers(), bounds.limits.max_header_bytes)?;
    let status = response.status();
    let headers = response.headers().clone();
    let body = if status == StatusCode::OK {
        read(response, bounds).await?
    } else {
        Bytes::new()
    };
    Ok(Answer {
        status,
        headers,
        body,
    })
}

fn judge_headers(headers: &HeaderMap, limit: usize) -> Result<(), RegistryError> {
    // Name, colon, space, value, line end: what the line took on the wire.
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if size > limit {
        return Err(bad(Fault::HeadersTooLarge { limit }));
    }
    Ok(())
}

async fn read(mut response: Response, bounds: Bounds<'_>) -> Result<Bytes, RegistryError> {
    let limit = bounds.max_body;
    let headers = response.headers();
    let encoded = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(bad(Fault::Encoded));
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    if declared.and_then(|v| v.parse::<u64>().ok()) > u64::try_from(limit).ok() {
        return Err(bad(Fault::TooLarge { limit }));
    }
    let started = Instant::now();
    let mut body = BytesMut::new();
    loop {
        let (by, cause) = patience(started, body.len(), bounds);
        let chunk = match timeout_at(by, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Ok(body.freeze()),
            Ok(Err(error)) => return Err(failure(&error, bounds.limits)),
            Err(_) => return Err(unreachable(cause)),
        };
        if body.len() + chunk.len() > limit {
            return Err(bad(Fault::TooLarge { limit }));
        }
        body.extend_from_slice(&chunk);
    }
}

/// Until when the next piece must be there: the grace, and as long as what came so far pays for.
fn patience(started: Instant, received: usize, bounds: Bounds<'_>) -> (Instant, Cause) {
    let received = u64::try_from(received).unwrap_or(u64::MAX);
    let rate = bounds.limits.min_body_bytes_per_second.max(1);
    let paid = Duration::from_millis(received.saturating_mul(1000) / rate);
    let by = started + RATE_GRACE + paid;
    if by < bounds.deadline {
        (by, Cause::TooSlow)
    } else {
        (bounds.deadline, Cause::TimedOut)
    }
}

/// One host's silence; what it means for all is said by `Failures`.
pub(crate) fn unreachable(cause: Cause) -> RegistryError {
    RegistryError::Unreachable {
        cause,
        every_host: true,
    }
}

pub(crate) fn bad(fault: Fault) -> RegistryError {
    RegistryError::Bad { fault }
}

/// What an answer that is no content is taken for.
pub(crate) fn verdict(status: StatusCode) -> RegistryError {
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

/// The class of a transport error, found by the types in its chain, never by its text.
fn failure(error: &reqwest::Error, limits: &Limits) -> RegistryError {
    let mut resolved = true;
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(link) = next {
        if link.is::<OutOfBounds>() {
            return bad(Fault::LocalAddress);
        }
        if let Some(fault) = tls_fault(link) {
            return unreachable(Cause::Tls(fault));
        }
        if let Some(hyper) = link.downcast_ref::<hyper::Error>() {
            if hyper.is_parse_too_large() {
                let limit = limits.max_header_bytes;
                return bad(Fault::HeadersTooLarge { limit });
            }
            if hyper.is_parse() {
                return bad(Fault::Malformed);
            }
        }
        if let Some(request) = link.downcast_ref::<reqwest::Error>() {
            resolved &= !request.is_dns();
        }
        next = link.source();
    }
    unreachable(match (error.is_timeout(), error.is_connect()) {
        (true, true) => Cause::ConnectTimedOut,
        (true, false) => Cause::TimedOut,
        (false, _) if !resolved => Cause::NoAddress,
        (false, true) => Cause::NoConnection,
        (false, false) => Cause::Interrupted,
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the list is rustls's and grows; everything new is some fault of a handshake"
)]
fn tls_fault(link: &(dyn Error + 'static)) -> Option<TlsFault> {
    let tls = rustls_error(link)?;
    Some(match tls {
        rustls::Error::InvalidCertificate(certificate) => certificate_fault(certificate),
        // What comes is no TLS record.
        rustls::Error::InvalidMessage(_) => TlsFault::NotTls,
        _ => TlsFault::Handshake,
    })
}

/// The rustls error in `link`; the connectors wrap it in I/O errors, which do not show what they
/// wrap as their source.
fn rustls_error<'a>(link: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut link = link;
    loop {
        if let Some(found) = link.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        link = link.downcast_ref::<io::Error>()?.get_ref()?;
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the list is rustls's and grows; everything new is some fault of a certificate"
)]
fn certificate_fault(error: &CertificateError) -> TlsFault {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFault::NotYetValid
        }
        CertificateError::UnknownIssuer => TlsFault::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFault::WrongName
        }
        _ => TlsFault::Certificate,
    }
}
