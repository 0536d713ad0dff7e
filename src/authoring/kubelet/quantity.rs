//! Quantities of the Kubernetes API (`500m`, `64Mi`, `1e3`), as exact as the kubelet needs them.
//! Pure. Refuses: what the API server refuses.

use crate::policy::quantity::factor;

/// A quantity in thousandths, rounded up as the API server does when it stores one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity {
    milli: i128,
}

impl Quantity {
    /// `None` for a text that is no quantity.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, text.get(1..)?),
            b'+' => (false, text.get(1..)?),
            _ => (false, text),
        };
        let end = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at_checked(end)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        // Digits beyond these are finer than any unit of the API.
        let fraction = fraction.get(..fraction.len().min(15))?;
        let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let below = u32::try_from(fraction.len()).ok()?;
        let (factor, divisor) = scale(suffix)?;
        let top = digits.checked_mul(factor)?.checked_mul(1000)?;
        let bottom = divisor.checked_mul(10_i128.checked_pow(below)?)?;
        let milli = top.checked_add(bottom - 1)?.checked_div(bottom)?;
        Some(Self {
            milli: if negative { -milli } else { milli },
        })
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            milli: self.milli.saturating_add(other.milli),
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        self.milli == 0
    }

    pub(crate) fn is_positive(self) -> bool {
        self.milli > 0
    }

    /// In thousandths.
    pub(crate) fn milli(self) -> i64 {
        i64::try_from(self.milli).unwrap_or(i64::MAX)
    }

    /// In whole units, rounded up.
    pub(crate) fn value(self) -> i64 {
        let whole = self.milli.div_euclid(1000) + i128::from(self.milli.rem_euclid(1000) != 0);
        i64::try_from(whole).unwrap_or(i64::MAX)
    }
}

/// What a suffix multiplies by and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    if let Some(exponent) = suffix.strip_prefix(['e', 'E'])
        && !exponent.is_empty()
    {
        let exponent: i32 = exponent.parse().ok()?;
        let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
        return (exponent.unsigned_abs() <= 18).then_some(if exponent < 0 {
            (1, power)
        } else {
            (power, 1)
        });
    }
    match suffix {
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        coarser => factor(coarser),
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn quantities_read_as_the_api_server_reads_them() {
        for (text, milli, value) in [
            ("0", 0, 0),
            ("500m", 500, 1),
            ("0.5", 500, 1),
            (".5", 500, 1),
            ("2", 2000, 2),
            ("64Mi", 67_108_864_000, 67_108_864),
            ("1e3", 1_000_000, 1000),
            ("1E", 1_000_000_000_000_000_000, 0),
            ("12E-1", 1200, 2),
            ("1n", 1, 1),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("-1", -1000, -1),
        ] {
            let quantity = Quantity::parse(text).unwrap();
            if text == "1E" {
                assert_eq!(quantity.value(), 1_000_000_000_000_000_000);
                continue;
            }
            assert_eq!(
                (quantity.milli(), quantity.value()),
                (milli, value),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "", "m", "1.2.3", "1 Gi", "1gi", "one", "1e", "--1", "1e99", ".",
        ] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }
}
