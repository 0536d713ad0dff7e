//! Strings from outside made safe for one line, and times for people. Pure.

use std::borrow::Cow;
use std::fmt::Write;

use crate::time::Timestamp;

/// Longest string from outside in a log event or audit line, in bytes before escaping.
const MAX_VALUE_BYTES: usize = 1_024;

/// `text` with every byte that is not printable ASCII as `\xNN`, and cut to 1,024 bytes. What
/// comes out stays on one line and moves no terminal's cursor.
pub fn printable(text: &str) -> Cow<'_, str> {
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e);
    if text.len() <= MAX_VALUE_BYTES && text.bytes().all(|byte| plain(&byte)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().min(MAX_VALUE_BYTES) + 16);
    for byte in text.bytes().take(MAX_VALUE_BYTES) {
        if plain(&byte) {
            out.push(char::from(byte));
        } else {
            escape(&mut out, byte);
        }
    }
    if text.len() > MAX_VALUE_BYTES {
        out.push_str("...");
    }
    Cow::Owned(out)
}

/// Control characters in a whole log line as `\xNN`; the line end stays.
pub(crate) fn one_line(line: &[u8]) -> Cow<'_, [u8]> {
    let (body, end) = match line.strip_suffix(b"\n") {
        Some(body) => (body, "\n"),
        None => (line, ""),
    };
    if !body.iter().any(u8::is_ascii_control) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(body.len() + 16);
    for part in String::from_utf8_lossy(body).chars() {
        match u8::try_from(part) {
            Ok(byte) if byte.is_ascii_control() => escape(&mut out, byte),
            Ok(_) | Err(_) => out.push(part),
        }
    }
    out.push_str(end);
    Cow::Owned(out.into_bytes())
}

fn escape(out: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    if write!(out, "\\x{byte:02x}").is_err() {
        out.push('?');
    }
}

/// A moment as RFC 3339 in UTC, whole seconds: `2026-11-21T00:28:05Z`.
pub fn rfc3339(moment: Timestamp) -> String {
    let seconds = moment.unix_seconds();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970-01-01 as year, month and day of the Gregorian calendar, counted in years that
/// begin in March so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
    (year, month, day)
}
