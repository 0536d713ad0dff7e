//! A moment that is handed in, never read here. Pure.

/// A moment: whole seconds since 1970-01-01T00:00:00Z, as the edge's clock gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `seconds` after 1970-01-01T00:00:00Z.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Reads `YYYY-MM-DDTHH:MM:SSZ` (RFC 3339 in UTC, whole seconds); `None` for anything else, also
    /// before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let bytes: [u8; 20] = text.as_bytes().try_into().ok()?;
        let fits = |at: usize, mark: u8| bytes.get(at) == Some(&mark);
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
        if !marks.iter().all(|(at, mark)| fits(*at, *mark)) {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<u64> {
            let digits = bytes.get(from..to)?;
            digits.iter().try_fold(0, |value, digit| {
                digit
                    .is_ascii_digit()
                    .then(|| value * 10 + u64::from(digit - b'0'))
            })
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let in_range = year >= 1970 && hour < 24 && minute < 60 && second < 60;
        let days = days_of(year, month).filter(|days| (1..=*days).contains(&day));
        if !in_range || days.is_none() {
            return None;
        }
        let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
        let months: u64 = (1..month).filter_map(|month| days_of(year, month)).sum();
        let days = years + months + day - 1;
        Some(Self(((days * 24 + hour) * 60 + minute) * 60 + second))
    }

    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub const fn unix_seconds(self) -> u64 {
        self.0
    }
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
    fn a_moment_in_utc_is_read_and_no_other_text() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2026-12-31T23:59:59Z", Some(1_798_761_599)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-12-31T24:00:00Z", None),
            ("2026-12-31T00:00:00+01:00", None),
            ("2026-12-31", None),
            ("2026-12-31T00:00:00.5Z", None),
            ("1969-12-31T23:59:59Z", None),
        ] {
            let read = Timestamp::parse_rfc3339(text).map(Timestamp::unix_seconds);
            assert_eq!(read, wanted, "{text}");
        }
    }
}
