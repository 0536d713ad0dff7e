//! Answers that the relay speaks itself: gRPC status codes, percent-encoded texts.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use super::body::AnswerBody;
use crate::policy::reply::{self, Rpc, StatusCode as Reply};
use crate::policy::{Denial, unjudged};
use crate::request::frame;

/// The gRPC status codes that pullguard uses (gRPC's `statuscodes.md`). NOT_FOUND and
/// DEADLINE_EXCEEDED are left out on purpose: the kubelet reads them as "the container is gone"
/// and "the runtime is slow".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrpcCode {
    /// 0
    Ok,
    /// 2
    Unknown,
    /// 3
    InvalidArgument,
    /// 5
    NotFound,
    /// 7
    PermissionDenied,
    /// 8
    ResourceExhausted,
    /// 12
    Unimplemented,
    /// 13
    Internal,
    /// 14
    Unavailable,
}

impl GrpcCode {
    /// The code of a number on the wire; [`GrpcCode::Unknown`] for those that the guard never sends.
    pub fn of(number: i32) -> Self {
        let known = [
            Self::InvalidArgument,
            Self::NotFound,
            Self::PermissionDenied,
            Self::ResourceExhausted,
            Self::Unimplemented,
            Self::Internal,
            Self::Unavailable,
        ];
        let same = known.into_iter().find(|code| code.number() == number);
        same.unwrap_or(Self::Unknown)
    }

    /// The number on the wire.
    pub const fn number(self) -> i32 {
        match self {
            Self::Ok => 0,
            Self::Unknown => 2,
            Self::InvalidArgument => 3,
            Self::NotFound => 5,
            Self::PermissionDenied => 7,
            Self::ResourceExhausted => 8,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
        }
    }

    const fn digits(self) -> &'static str {
        match self {
            Self::Ok => "0",
            Self::Unknown => "2",
            Self::InvalidArgument => "3",
            Self::NotFound => "5",
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
        }
    }
}

/// A call that is answered with an error and never reaches containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code. [`GrpcCode::Ok`] would be no refusal: it is sent as
    /// [`GrpcCode::Internal`].
    pub code: GrpcCode,
    /// One line for people; percent-encoded on the wire.
    pub text: String,
}

impl Refusal {
    /// A refusal with this code and text.
    pub fn new(code: GrpcCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// A denial as it is said to the caller of `rpc`.
    pub fn of(rpc: Rpc, denial: &Denial) -> Self {
        let (code, text) = reply::reply(rpc, denial);
        let code = match code {
            Reply::Unknown => GrpcCode::Unknown,
            Reply::InvalidArgument => GrpcCode::InvalidArgument,
            Reply::PermissionDenied => GrpcCode::PermissionDenied,
            Reply::ResourceExhausted => GrpcCode::ResourceExhausted,
            Reply::Unimplemented => GrpcCode::Unimplemented,
            Reply::Unavailable => GrpcCode::Unavailable,
        };
        Self::new(code, text)
    }

    /// `grpc-status` and `grpc-message`, for a trailers-only answer or a broken stream.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let code = match self.code {
            GrpcCode::Ok => GrpcCode::Internal,
            GrpcCode::Unknown
            | GrpcCode::InvalidArgument
            | GrpcCode::NotFound
            | GrpcCode::PermissionDenied
            | GrpcCode::ResourceExhausted
            | GrpcCode::Unimplemented
            | GrpcCode::Internal
            | GrpcCode::Unavailable => self.code,
        };
        headers.insert(STATUS, HeaderValue::from_static(code.digits()));
        // Percent-encoded bytes are printable ASCII, which a header value always takes.
        if let Ok(value) = HeaderValue::from_maybe_shared(percent_encode(&self.text)) {
            headers.insert(MESSAGE, value);
        }
    }

    /// The refusal as a trailers-only answer: HTTP 200, everything in one HEADERS frame (gRPC over
    /// HTTP/2, "Trailers-Only").
    pub(super) fn answer(&self) -> Response<AnswerBody> {
        let mut response = grpc_response(AnswerBody::empty());
        self.write(response.headers_mut());
        response
    }
}

pub(super) const STATUS: &str = "grpc-status";
pub(super) const MESSAGE: &str = "grpc-message";

/// OK with one message.
pub(super) fn ok(message: &Bytes) -> Response<AnswerBody> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static(GrpcCode::Ok.digits()));
    match frame(message) {
        Ok(framed) => grpc_response(AnswerBody::replay([framed.into()], Some(trailers))),
        Err(_) => {
            let denial = unjudged::internal("an answer that is longer than a message can be");
            Refusal::of(Rpc::Gated, &denial).answer()
        }
    }
}

fn grpc_response(body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The encoding of `grpc-message`: bytes outside `0x20..=0x7e`, and `%`, as `%XX` (gRPC over
/// HTTP/2, "Percent-Encoded").
fn percent_encode(text: &str) -> Bytes {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let mut out = BytesMut::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.put_u8(byte);
        } else {
            out.put_u8(b'%');
            out.put_u8(digit(byte >> 4));
            out.put_u8(digit(byte & 15));
        }
    }
    out.freeze()
}

/// The text of a `grpc-message`; a `%` that encodes nothing stays as it is.
pub(super) fn percent_decode(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, tail)) = rest.split_first() {
        let encoded = match tail {
            [high, low, after @ ..] if first == b'%' => hex(*high)
                .zip(hex(*low))
                .map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        let (byte, after) = encoded.unwrap_or((first, tail));
        out.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_percent_encoded_as_grpc_says() {
        assert_eq!(
            percent_encode("100 % `a`\nü~").as_ref(),
            b"100 %25 `a`%0A%C3%BC~"
        );
    }

    #[test]
    fn decoding_gives_back_what_was_encoded() {
        let text = "IMG-UNSIGNED: `ä` % \u{7f}\r\n";
        assert_eq!(percent_decode(&percent_encode(text)), text);
    }

    #[test]
    fn a_percent_sign_that_encodes_nothing_stays() {
        assert_eq!(percent_decode(b"50% of %zz %4"), "50% of %zz %4");
    }

    #[test]
    fn a_refusal_is_never_sent_as_ok() {
        let mut headers = HeaderMap::new();
        Refusal::new(GrpcCode::Ok, "no").write(&mut headers);
        assert_eq!(
            headers.get(STATUS).map(HeaderValue::as_bytes),
            Some(b"13".as_slice())
        );
    }
}
