//! A moment that is handed in, never read here. Pure.

/// A moment: whole seconds since 1970-01-01T00:00:00Z, as the edge's clock gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `seconds` after 1970-01-01T00:00:00Z.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Reads RFC 3339 in whole seconds: `2026-12-31T00:00:00Z`, or with an offset such as `+01:00`.
    /// `None` for anything else: lower case, fractions of a second, a leap second, a day that its month
    /// does not have, a moment before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (civil, zone) = text.split_at_checked(19)?;
        let bytes = civil.as_bytes();
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if !marks.iter().all(|(at, mark)| bytes.get(*at) == Some(mark)) {
            return None;
        }
        let number = |from: usize, to: usize| digits(bytes.get(from..to)?);
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let clock = of_day(number(11, 13)?, number(14, 16)?, number(17, 19)?)?;
        if year < 1970 || !(1..=days_of(year, month)?).contains(&day) {
            return None;
        }
        let years: u64 = (1970..year)
            .map(|one| if is_leap(one) { 366 } else { 365 })
            .sum();
        let months: u64 = (1..month).filter_map(|one| days_of(year, one)).sum();
        let local = (years + months + day - 1) * 86_400 + clock;
        match zone.as_bytes() {
            b"Z" => Some(Self(local)),
            [sign, h1, h2, b':', m1, m2] => {
                let offset = of_day(digits(&[*h1, *h2])?, digits(&[*m1, *m2])?, 0)?;
                match sign {
                    b'+' => local.checked_sub(offset).map(Self),
                    b'-' => Some(Self(local + offset)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub const fn unix_seconds(self) -> u64 {
        self.0
    }
}

fn digits(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0, |value: u64, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(value * 10 + digit)
    })
}

/// Seconds since midnight.
fn of_day(hour: u64, minute: u64, second: u64) -> Option<u64> {
    let is_time = hour < 24 && minute < 60 && second < 60;
    is_time.then_some((hour * 60 + minute) * 60 + second)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// The days of a month; `None` for a month that there is not.
fn days_of(year: u64, month: u64) -> Option<u64> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if is_leap(year) { 29 } else { 28 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_to_the_second_in_utc_and_with_an_offset() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-12-31T23:59:59Z", 1_798_761_599),
            ("2027-01-01T00:59:59+01:00", 1_798_761_599),
            ("2026-12-31T18:29:59-05:30", 1_798_761_599),
        ] {
            let read = Timestamp::parse_rfc3339(text).map(Timestamp::unix_seconds);
            assert_eq!(read, Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_of_the_calendar_is_not_read() {
        for text in [
            "",
            "2026-12-31",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-12-00T00:00:00Z",
            "2026-12-31T24:00:00Z",
            "2026-12-31T23:60:00Z",
            "2026-12-31T23:59:60Z",
            "2026-12-31T00:00:00",
            "2026-12-31t00:00:00z",
            "2026-12-31 00:00:00Z",
            "2026-12-31T00:00:00.5Z",
            "2026-12-31T00:00:00+24:00",
            "2026-12-31T00:00:00+1:00",
            "2026-12-31T00:00:00Z ",
            "+026-12-31T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "2026-12-31T00:00:0\u{e9}Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }
}
