//! Kubernetes quantities (`500m`, `0.5`, `512Mi`, `8G`), as whole numbers. Pure. Refuses: what is
//! no quantity, negative ones, and what does not fit.

/// Digits on either side of the point at most.
const DIGITS: usize = 18;

const NO_QUANTITY: &str = "no quantity; write digits with at most one point and one of m, k, M, G, T, Ki, Mi, Gi, Ti, e.g. 512Mi or 500m";

/// Whole units, what is over rounded up as Kubernetes rounds it.
pub(crate) fn units(text: &str) -> Result<i64, &'static str> {
    scaled(text, 1)
}

/// Thousandths, what is over rounded up.
pub(crate) fn thousandths(text: &str) -> Result<i64, &'static str> {
    scaled(text, 1_000)
}

fn scaled(text: &str, scale: i128) -> Result<i64, &'static str> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end).ok_or(NO_QUANTITY)?;
    let (numerator, denominator) = factor(suffix).ok_or(NO_QUANTITY)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.len() <= DIGITS && part.bytes().all(|b| b.is_ascii_digit());
    if number.is_empty() || number == "." || !digits(whole) || !digits(fraction) {
        return Err(NO_QUANTITY);
    }
    let mut value: i128 = 0;
    let mut below: i128 = denominator;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value * 10 + i128::from(digit - b'0');
    }
    for _ in fraction.bytes() {
        below *= 10;
    }
    let above = value
        .checked_mul(numerator)
        .and_then(|value| value.checked_mul(scale))
        .ok_or("a quantity that is too large")?;
    i64::try_from((above + below - 1) / below).map_err(|_| "a quantity that is too large")
}

/// What a suffix multiplies by and divides by.
pub(crate) fn factor(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "m" => (1, 1_000),
        "" => (1, 1),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, wanted) in [
            ("512Mi", 536_870_912),
            ("8Gi", 8_589_934_592),
            ("1.5Gi", 1_610_612_736),
            ("100", 100),
            ("0.5", 1),
            ("1k", 1_000),
            ("1500m", 2),
            ("0", 0),
        ] {
            assert_eq!(units(text), Ok(wanted), "{text}");
        }
        for (text, wanted) in [("500m", 500), ("0.5", 500), ("2", 2_000), ("1.0001", 1_001)] {
            assert_eq!(thousandths(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "", ".", "Mi", "-1", "+1", "1 Mi", "1e3", "1e", "1n", "1u", "0x10", "1,5", "1.2.3",
            "MiMi", "1mi", "٣",
        ] {
            assert!(units(text).is_err(), "{text}");
        }
        assert!(units("9999999999999E").is_err());
    }
}
