//! What is said to a token server, and what it says. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, Method, StatusCode};
use reqwest::Request;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::error::{Fault, RegistryError, Setup};
use super::transport::{Answer, bad, verdict};

pub(crate) fn token_of(answer: &Answer) -> Result<Zeroizing<String>, RegistryError> {
    match answer.status {
        StatusCode::OK => read_token(&answer.body).ok_or(bad(Fault::Token)),
        // OAuth2 says 400 for a refresh token that is no longer good (RFC 6749, 5.2).
        StatusCode::BAD_REQUEST => Err(RegistryError::Refused),
        StatusCode::NOT_FOUND => Err(bad(Fault::Token)),
        status => Err(verdict(status)),
    }
}

pub(crate) fn sensitive(value: &str) -> Result<HeaderValue, RegistryError> {
    let mut header = HeaderValue::from_str(value).map_err(|_| RegistryError::Unsupported {
        setup: Setup::PullAuth,
    })?;
    header.set_sensitive(true);
    Ok(header)
}

pub(crate) fn basic(username: &str, password: &str) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{username}:{password}"));
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Zeroizing::new(format!("Basic {}", encoded.as_str()))
}

pub(crate) fn bearer(token: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("Bearer {token}"))
}

pub(crate) fn token_request(mut realm: Url, service: Option<&str>, scope: &str) -> Request {
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
pub(crate) fn refresh_request(
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
