//! The gRPC framing of a guarded call: exactly one uncompressed message within the limit. Pure.

use bytes::{BufMut, Bytes, BytesMut};

use super::status::{GrpcCode, Refusal};

/// Flag byte and big-endian length (gRPC over HTTP/2, "Length-Prefixed-Message").
pub(super) const PREFIX: usize = 5;

/// Why a body is not one plain message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameError {
    /// The body ended within the prefix (also: an empty body).
    NoMessage { bytes: usize },
    /// The prefix announces more than the body holds.
    Short { announced: usize, bytes: usize },
    /// Bytes follow the message: a second one, or garbage.
    Trailing { bytes: usize },
    /// The flag byte says compressed.
    Compressed,
    /// The flag byte is neither 0 nor 1.
    Flag { flag: u8 },
    /// The announced length is over the limit.
    TooLarge { announced: usize, limit: usize },
}

impl FrameError {
    /// The hygiene refusal for it.
    pub(super) fn refusal(self) -> Refusal {
        let (code, text) = match self {
            Self::NoMessage { bytes } => (
                GrpcCode::InvalidArgument,
                format!("RPC-MALFORMED: the request holds no message ({bytes} bytes); send one"),
            ),
            Self::Short { announced, bytes } => (
                GrpcCode::InvalidArgument,
                format!(
                    "RPC-MALFORMED: the request announces a message of {announced} bytes and holds \
                     {bytes}; send it whole"
                ),
            ),
            Self::Trailing { bytes } => (
                GrpcCode::InvalidArgument,
                format!(
                    "RPC-MALFORMED: {bytes} bytes follow the one message that this call takes; \
                     send one message"
                ),
            ),
            Self::Compressed => (
                GrpcCode::Unimplemented,
                "RPC-MALFORMED: the request is compressed; send it uncompressed".to_owned(),
            ),
            Self::Flag { flag } => (
                GrpcCode::InvalidArgument,
                format!("RPC-MALFORMED: `{flag}` is no flag byte of a gRPC message; send 0"),
            ),
            Self::TooLarge { announced, limit } => (
                GrpcCode::ResourceExhausted,
                format!(
                    "LIMIT: the request is {announced} bytes long, the limit is {limit} bytes; \
                     send less"
                ),
            ),
        };
        Refusal::new(code, text)
    }
}

/// The length of the message that `body` starts with, as soon as its prefix is there; refused as
/// soon as that is certain, so that nothing is collected in vain.
pub(super) fn announced(body: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
    let Some((&[flag, a, b, c, d], _)) = body.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    // A length that no usize holds is over any limit.
    let announced = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    match flag {
        0 if announced > limit => Err(FrameError::TooLarge { announced, limit }),
        0 => Ok(Some(announced)),
        1 => Err(FrameError::Compressed),
        flag => Err(FrameError::Flag { flag }),
    }
}

/// The one message in a complete body, sharing its memory.
pub(super) fn only_message(body: &Bytes, limit: usize) -> Result<Bytes, FrameError> {
    let announced = announced(body, limit)?.ok_or(FrameError::NoMessage { bytes: body.len() })?;
    let held = body.len().saturating_sub(PREFIX);
    if held < announced {
        return Err(FrameError::Short {
            announced,
            bytes: held,
        });
    }
    if held > announced {
        return Err(FrameError::Trailing {
            bytes: held.saturating_sub(announced),
        });
    }
    Ok(body.slice(PREFIX..))
}

/// `message` with an uncompressed prefix; none if it is longer than a prefix can say.
pub(super) fn with_prefix(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut framed = BytesMut::with_capacity(message.len().saturating_add(PREFIX));
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(message);
    Some(framed.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &'static [u8]) -> Result<Bytes, FrameError> {
        only_message(&Bytes::from_static(body), 4)
    }

    #[test]
    fn one_message_is_taken_without_its_prefix() {
        assert_eq!(parse(b"\0\0\0\0\x02hi"), Ok(Bytes::from_static(b"hi")));
        assert_eq!(parse(b"\0\0\0\0\0"), Ok(Bytes::new()));
    }

    #[test]
    fn an_empty_body_holds_no_message() {
        assert_eq!(parse(b""), Err(FrameError::NoMessage { bytes: 0 }));
        assert_eq!(parse(b"\0\0\0\0"), Err(FrameError::NoMessage { bytes: 4 }));
    }

    #[test]
    fn a_length_beyond_the_body_is_refused() {
        assert_eq!(
            parse(b"\0\0\0\0\x03hi"),
            Err(FrameError::Short {
                announced: 3,
                bytes: 2
            })
        );
    }

    #[test]
    fn a_second_message_and_trailing_bytes_are_refused() {
        assert_eq!(
            parse(b"\0\0\0\0\x02hi\0\0\0\0\0"),
            Err(FrameError::Trailing { bytes: 5 })
        );
        assert_eq!(
            parse(b"\0\0\0\0\x02hi!"),
            Err(FrameError::Trailing { bytes: 1 })
        );
    }

    #[test]
    fn a_compressed_message_is_refused() {
        assert_eq!(parse(b"\x01\0\0\0\x02hi"), Err(FrameError::Compressed));
        assert_eq!(
            parse(b"\x02\0\0\0\x02hi"),
            Err(FrameError::Flag { flag: 2 })
        );
    }

    #[test]
    fn a_message_over_the_limit_is_refused_from_its_prefix_alone() {
        assert_eq!(parse(b"\0\0\0\0\x04four"), Ok(Bytes::from_static(b"four")));
        assert_eq!(
            announced(b"\0\x7f\xff\xff\xff", 4),
            Err(FrameError::TooLarge {
                announced: 0x7fff_ffff,
                limit: 4
            })
        );
    }

    #[test]
    fn a_prefixed_message_parses_to_itself() {
        let framed = with_prefix(b"hi").expect("short");
        assert_eq!(only_message(&framed, 4), Ok(Bytes::from_static(b"hi")));
    }
}
