//! `grpc-timeout`: read on arrival, passed on with the time that is left. Pure.

use std::time::Duration;

/// The duration that a `grpc-timeout` value says: up to eight digits and a unit (gRPC over HTTP/2,
/// "Timeout"). None for anything else; containerd then says what it thinks of it.
pub(super) fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0_u64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit & 15))
    });
    Some(match unit {
        b'H' => Duration::from_secs(amount.saturating_mul(3600)),
        b'M' => Duration::from_secs(amount.saturating_mul(60)),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// The finest `grpc-timeout` value that says `left` within eight digits, rounded up as grpc-go
/// does, so that the value is never 0 for time that is left.
pub(super) fn format(left: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let nanos = left.as_nanos();
    let units = [
        (1_u128, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    for (size, unit) in units {
        let amount = nanos.div_ceil(size);
        if amount <= MOST {
            return format!("{amount}{unit}");
        }
    }
    format!("{MOST}H")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(parse(b"1S"), second);
        assert_eq!(parse(b"1000m"), second);
        assert_eq!(parse(b"1000000u"), second);
        assert_eq!(parse(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(parse(b"2M"), Some(Duration::from_secs(120)));
        assert_eq!(parse(b"0n"), Some(Duration::ZERO));
    }

    #[test]
    fn the_longest_timeout_is_read_and_written_back() {
        let longest = parse(b"99999999H").expect("well formed");
        assert_eq!(longest, Duration::from_secs(99_999_999 * 3600));
        assert_eq!(format(longest), "99999999H");
        assert_eq!(format(Duration::MAX), "99999999H");
    }

    #[test]
    fn what_is_no_timeout_is_none() {
        for value in [
            &b""[..],
            b"S",
            b"1",
            b"1s",
            b"-1S",
            b"+1S",
            b"123456789S",
            b"1 S",
            b"1SS",
        ] {
            assert_eq!(parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn time_that_is_left_is_written_finely_and_never_as_zero() {
        assert_eq!(format(Duration::from_nanos(1)), "1n");
        assert_eq!(format(Duration::from_secs(120)), "120000m");
        assert_eq!(format(Duration::from_nanos(100_000_001)), "100001u");
    }
}
