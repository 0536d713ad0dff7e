//! One gRPC message in a body: flag, length (four bytes, big endian), message (the gRPC over HTTP/2
//! specification, "Length-Prefixed-Message"). Pure. Refuses: none, two, half a message, compression.

use super::hygiene::{FrameFault, HygieneError};

/// Bytes before each message.
pub const PREFIX: usize = 5;

/// The length that a prefix announces, in bytes.
///
/// # Errors
/// Compressed, an unknown flag, or longer than `limit` bytes: all told before any body is read.
pub fn announced(prefix: [u8; PREFIX], limit: usize) -> Result<usize, HygieneError> {
    let [flag, a, b, c, d] = prefix;
    match flag {
        0 => {}
        1 => return Err(HygieneError::Compressed),
        flag => {
            return Err(HygieneError::Frame {
                fault: FrameFault::Flag(flag),
            });
        }
    }
    let length = u32::from_be_bytes([a, b, c, d]);
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= limit)
        .ok_or(HygieneError::TooLarge {
            length: u64::from(length),
            limit,
        })
}

/// The length of the message in a body that is still arriving, as soon as its prefix is here.
///
/// # Errors
/// As [`unframe`], as soon as it is certain, so that nothing is collected in vain.
pub fn arriving(so_far: &[u8], limit: usize) -> Result<Option<usize>, HygieneError> {
    let Some((prefix, rest)) = so_far.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let length = announced(*prefix, limit)?;
    if rest.len() > length {
        return Err(HygieneError::Frame {
            fault: FrameFault::Trailing,
        });
    }
    Ok(Some(length))
}

/// The one message of a whole body, without its prefix; `limit` in bytes, without the prefix.
///
/// # Errors
/// Anything but exactly one uncompressed message of at most `limit` bytes.
pub fn unframe(body: &[u8], limit: usize) -> Result<&[u8], HygieneError> {
    let fault = |fault| HygieneError::Frame { fault };
    if body.is_empty() {
        return Err(fault(FrameFault::Empty));
    }
    let (prefix, rest) = body
        .split_first_chunk::<PREFIX>()
        .ok_or(fault(FrameFault::Short))?;
    let length = announced(*prefix, limit)?;
    let (message, after) = rest
        .split_at_checked(length)
        .ok_or(fault(FrameFault::Short))?;
    if after.is_empty() {
        Ok(message)
    } else {
        Err(fault(FrameFault::Trailing))
    }
}

/// `message` as a body.
///
/// # Errors
/// Longer than 4 GiB.
pub fn frame(message: &[u8]) -> Result<Vec<u8>, HygieneError> {
    let length = u32::try_from(message.len()).map_err(|_| HygieneError::TooLarge {
        length: u64::try_from(message.len()).unwrap_or(u64::MAX),
        limit: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
    })?;
    let mut body = Vec::with_capacity(message.len().saturating_add(PREFIX));
    body.push(0);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(message);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::super::hygiene::{FrameFault, HygieneError, HygieneKind};
    use super::{arriving, frame, unframe};

    fn fault(fault: FrameFault) -> HygieneError {
        HygieneError::Frame { fault }
    }

    #[test]
    fn one_whole_message_passes() {
        assert_eq!(unframe(&[0, 0, 0, 0, 2, 7, 8], 2), Ok(&[7, 8][..]));
    }

    #[test]
    fn an_empty_message_is_a_message() {
        assert_eq!(unframe(&[0, 0, 0, 0, 0], 0), Ok(&[][..]));
    }

    #[test]
    fn e2_a_body_without_a_message_is_refused() {
        assert_eq!(unframe(&[], 9), Err(fault(FrameFault::Empty)));
    }

    #[test]
    fn e2_half_a_prefix_is_refused() {
        assert_eq!(unframe(&[0, 0, 0, 0], 9), Err(fault(FrameFault::Short)));
    }

    #[test]
    fn e2_a_length_beyond_the_body_is_refused() {
        assert_eq!(
            unframe(&[0, 0, 0, 0, 2, 7], 9),
            Err(fault(FrameFault::Short))
        );
    }

    #[test]
    fn e2_a_second_message_is_refused() {
        let body = [0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 1, 7];
        assert_eq!(unframe(&body, 9), Err(fault(FrameFault::Trailing)));
    }

    #[test]
    fn e2_trailing_bytes_are_refused() {
        assert_eq!(
            unframe(&[0, 0, 0, 0, 1, 7, 7], 9),
            Err(fault(FrameFault::Trailing))
        );
    }

    #[test]
    fn e2_a_compressed_message_is_unimplemented() {
        let error = unframe(&[1, 0, 0, 0, 1, 7], 9).unwrap_err();
        assert_eq!(
            (error.kind(), error),
            (HygieneKind::Compressed, HygieneError::Compressed)
        );
    }

    #[test]
    fn e2_any_other_flag_is_refused() {
        assert_eq!(
            unframe(&[2, 0, 0, 0, 1, 7], 9),
            Err(fault(FrameFault::Flag(2)))
        );
        assert_eq!(
            unframe(&[128, 0, 0, 0, 1, 7], 9),
            Err(fault(FrameFault::Flag(128)))
        );
    }

    #[test]
    fn e2_a_message_over_the_limit_is_told_from_its_prefix_alone() {
        let error = unframe(&[0, 1, 0, 0, 1], 16 << 20).unwrap_err();
        assert_eq!(
            error,
            HygieneError::TooLarge {
                length: (16 << 20) + 1,
                limit: 16 << 20
            }
        );
        assert_eq!(error.kind(), HygieneKind::TooLarge);
        assert_eq!(
            error.to_string(),
            "the message has 16777217 bytes; at most 16777216 are read"
        );
    }

    #[test]
    fn e2_a_message_at_the_limit_passes() {
        assert_eq!(unframe(&[0, 0, 0, 0, 1, 7], 1), Ok(&[7][..]));
    }

    #[test]
    fn a_framed_message_comes_out_as_it_went_in() {
        let body = frame(b"abc").unwrap();
        assert_eq!(unframe(&body, 3), Ok(&b"abc"[..]));
    }

    #[test]
    fn every_part_of_a_body_says_what_the_whole_will_say() {
        for body in [
            &[0, 0, 0, 0, 2, 7, 8][..],
            &[0, 0, 0, 0, 2, 7],
            &[0, 0, 0, 0, 1, 7, 7],
            &[0, 0, 0, 0, 9, 7],
            &[1, 0, 0, 0, 1, 7],
            &[2, 0, 0, 0, 1, 7],
            &[0, 0],
        ] {
            for end in 0..=body.len() {
                if let Err(error) = arriving(&body[..end], 8) {
                    assert_eq!(unframe(body, 8), Err(error), "{body:?} to {end}");
                }
            }
            if let Ok(message) = unframe(body, 8) {
                assert_eq!(arriving(body, 8), Ok(Some(message.len())));
            }
        }
    }

    #[test]
    fn a_length_is_known_with_the_last_byte_of_its_prefix() {
        assert_eq!(arriving(&[0, 0, 0, 0], 9), Ok(None));
        assert_eq!(arriving(&[0, 0, 0, 0, 5], 9), Ok(Some(5)));
    }
}
