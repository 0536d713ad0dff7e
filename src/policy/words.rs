//! The words of a denial: the guard's own text, and values from outside that are escaped and
//! shortened, so that every line is one line of printable ASCII under 512 bytes. Pure.

/// The longest line, in bytes.
pub(crate) const LINE_BYTES: usize = 511;
/// The longest value, in bytes, after escaping.
pub(crate) const VALUE_BYTES: usize = 120;
/// The longest policy or rule name that a line shows, in bytes.
pub(crate) const NAME_BYTES: usize = 63;

const ELLIPSIS: &str = "...";

/// Text in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pieces: Vec<Piece>,
    advice: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// The guard's own words.
    Words(String),
    /// A value from outside, shown in backticks.
    Value(String),
}

impl Text {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the guard's own words, verbatim.
    #[must_use]
    pub fn words(mut self, words: &'static str) -> Self {
        self.pieces.push(Piece::Words(words.to_owned()));
        self
    }

    /// Adds a value from outside, in backticks.
    #[must_use]
    pub fn value(mut self, value: &str) -> Self {
        self.pieces.push(Piece::Value(value.to_owned()));
        self
    }

    /// Adds text that was put together elsewhere; what is not printable ASCII is escaped.
    #[must_use]
    pub fn raw(mut self, text: &str) -> Self {
        self.pieces.push(Piece::Words(printable(text, &[])));
        self
    }

    /// Says what to change.
    #[must_use]
    pub fn advice(self, advice: &'static str) -> Self {
        self.advice_of(advice)
    }

    /// Says what to change, in words that come from a policy.
    #[must_use]
    pub fn advice_of(mut self, advice: &str) -> Self {
        self.advice = Some(printable(advice, &[]));
        self
    }

    /// The line with `head` before it. Values give way first, so that the guard's words and the
    /// advice stay whole.
    pub(crate) fn fit(&self, head: &str) -> String {
        for longest in [VALUE_BYTES, 90, 60, 40, 24] {
            let line = self.compose(head, longest);
            if line.len() <= LINE_BYTES {
                return line;
            }
        }
        let line = self.compose(head, 24);
        let keep = LINE_BYTES - ELLIPSIS.len();
        format!("{}{ELLIPSIS}", beginning(&line, keep))
    }

    fn compose(&self, head: &str, longest: usize) -> String {
        let mut line = head.to_owned();
        for piece in &self.pieces {
            match piece {
                Piece::Words(words) => line.push_str(words),
                Piece::Value(value) => {
                    line.push('`');
                    line.push_str(&escape(value, longest));
                    line.push('`');
                }
            }
        }
        if let Some(advice) = &self.advice {
            line.push_str("; ");
            line.push_str(advice);
        }
        line
    }
}

/// A value as a denial shows it: what is not printable ASCII as `\xNN` per byte (and the backtick
/// and the backslash, so that a value cannot end its own quotes or pretend to be escaped); over
/// `longest` bytes its beginning, `...` and its end (60 and 57 bytes of 120, or up to three less
/// where the cut would go through an escaped byte).
pub fn escape(value: &str, longest: usize) -> String {
    let whole = printable(value, b"`\\");
    if whole.len() <= longest {
        return whole;
    }
    let first = longest / 2;
    let last = longest.saturating_sub(first + ELLIPSIS.len());
    let (begin, end) = (beginning(&whole, first), ending(&whole, last));
    format!("{begin}{ELLIPSIS}{end}")
}

/// An escaped byte is four bytes long: `\xNN`.
const ESCAPED: usize = 4;

/// Where the escaped byte begins through which a cut at `at` would go.
fn cut_through(text: &str, at: usize) -> Option<usize> {
    (1..ESCAPED)
        .filter_map(|back| at.checked_sub(back))
        .find(|start| {
            text.get(*start..)
                .is_some_and(|rest| rest.starts_with("\\x"))
        })
}

/// The first bytes of a printable text, at most `longest`, without half an escaped byte.
fn beginning(text: &str, longest: usize) -> &str {
    let at = longest.min(text.len());
    let cut = if at == text.len() {
        at
    } else {
        cut_through(text, at).unwrap_or(at)
    };
    text.get(..cut).unwrap_or_default()
}

/// The last bytes, likewise.
fn ending(text: &str, longest: usize) -> &str {
    let at = text.len().saturating_sub(longest);
    let cut = cut_through(text, at).map_or(at, |start| start + ESCAPED);
    text.get(cut..).unwrap_or_default()
}

/// A text as one line of printable ASCII, at most `longest` bytes.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    beginning(&printable(text, &[]), longest).to_owned()
}

fn printable(text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (byte.is_ascii_graphic() || byte == b' ') && !also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str("\\x");
            for half in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_121_bytes_keeps_its_first_60_and_last_57() {
        let value = format!("{}{}", "a".repeat(61), "b".repeat(60));
        let shown = escape(&value, VALUE_BYTES);
        assert_eq!(shown, format!("{}...{}", "a".repeat(60), "b".repeat(57)));
    }

    #[test]
    fn a_value_of_120_bytes_is_shown_whole() {
        let value = "a".repeat(120);
        assert_eq!(escape(&value, VALUE_BYTES), value);
    }

    #[test]
    fn a_line_break_an_escape_sequence_and_a_backtick_are_shown_as_bytes() {
        assert_eq!(
            escape("a\nb\u{1b}[0m`é", 120),
            "a\\x0ab\\x1b[0m\\x60\\xc3\\xa9"
        );
    }

    #[test]
    fn no_escaped_byte_is_cut_in_two_wherever_the_cut_falls() {
        for plain in 0..8 {
            let value = format!("{}{}", "a".repeat(plain), "\n".repeat(60));
            for longest in [VALUE_BYTES, 90, 60, 40, 24] {
                let shown = escape(&value, longest);
                assert!(shown.len() <= longest, "{shown}");
                let rest = shown.replace("\\x0a", "").replace("...", "");
                assert_eq!(rest.trim_matches('a'), "", "{shown}");
            }
            let line = one_line(&"\n".repeat(60), 100 + plain);
            assert_eq!(line.replace("\\x0a", ""), "", "{line}");
        }
    }

    #[test]
    fn a_line_with_three_long_values_and_a_long_message_stays_under_512_bytes_and_keeps_the_message()
     {
        let long = "v".repeat(400);
        let message = "m".repeat(200);
        let text = Text::new()
            .value(&long)
            .value(&long)
            .value(&long)
            .advice_of(&message);
        let line = text.fit("POD-HOSTPATH policy/rule: ");
        assert!(line.len() <= LINE_BYTES, "{}", line.len());
        assert!(line.ends_with(&message));
    }
}
