//! One request on its way through redirects, a rate limit and a passing fault.

use std::time::Duration;

use http::HeaderMap;
use http::header::{LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use tokio::time::{Instant, sleep};
use url::Url;

use super::address;
use super::error::{Cause, Fault, RegistryError};
use super::transport::{bad, unreachable};
use crate::clock;

/// The longest `Retry-After` that is waited for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Before a request is repeated; containerd's.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a request is on its way.
pub(crate) struct Trip {
    pub(crate) url: Url,
    redirects: usize,
    pub(crate) challenged: bool,
    pub(crate) waited: bool,
    pub(crate) repeated: bool,
}

impl Trip {
    /// To `home`; where another host comes after it, a passing fault is not waited out.
    pub(crate) fn new(home: &Url, last: bool) -> Self {
        Self {
            url: home.clone(),
            redirects: 0,
            challenged: false,
            waited: false,
            repeated: !last,
        }
    }

    /// Whether there is a challenge that was not answered yet; a 401 without one is a refusal.
    pub(crate) fn may_answer(&self, headers: &HeaderMap) -> bool {
        !self.challenged && headers.contains_key(WWW_AUTHENTICATE)
    }

    /// Makes the one repetition of this trip the current one, if there is time for it.
    pub(crate) async fn repeat(&mut self, deadline: Instant) -> Result<(), ()> {
        self.repeated = true;
        if Instant::now() + PAUSE >= deadline {
            return Err(());
        }
        sleep(PAUSE).await;
        Ok(())
    }

    pub(crate) fn follow(
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
        if elsewhere && address::is_out_of_bounds(&target, home) {
            return Err(bad(Fault::LocalAddress));
        }
        self.url = target;
        Ok(())
    }
}

/// Waits as `Retry-After` says, if that is short and leaves time to ask again.
pub(crate) async fn wait(headers: &HeaderMap, deadline: Instant) -> Result<(), RegistryError> {
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
