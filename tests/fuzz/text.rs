//! Changes to texts: words and signs left out, doubled, swapped and taken from elsewhere.

use crate::mutate::bytes;
use crate::random::Random;

/// Words and signs on which readers of YAML, TOML, JSON and image names have stumbled.
const SIGNS: &[&str] = &[
    "!",
    "{",
    "}",
    "[",
    "]",
    ": ",
    ", ",
    "\n",
    "\n---\n",
    "- ",
    "\"",
    "'",
    "\\u0000",
    "\\ud800",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "null",
    "true",
    "yes",
    "0",
    "-1",
    "1e999",
    "0x10",
    "99999999999999999999",
    "*",
    "**",
    "@sha256:",
    ":latest",
    "/",
    "//",
    "..",
    "%",
    "#",
    "\u{17f}",
    "\u{212a}",
    "\u{202e}",
    "\u{feff}",
    "\t",
    "\r\n",
    " ",
    "",
];

pub(crate) fn change(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let (Ok(text), Ok(foreign)) = (std::str::from_utf8(input), std::str::from_utf8(other)) else {
        return bytes(input.to_vec(), other, random);
    };
    let mut parts = parts(text, random);
    let foreign = crate::text::parts(foreign, random);
    let at = random.below(parts.len() + 1);
    let sign = random.one(SIGNS);
    let taken = if foreign.is_empty() {
        sign
    } else {
        random.one(&foreign)
    };
    match random.below(8) {
        0 if at < parts.len() => drop(parts.remove(at)),
        1 if at < parts.len() => parts.insert(at, parts[at]),
        2 if at < parts.len() => {
            let with = random.below(parts.len());
            parts.swap(at, with);
        }
        3 if at < parts.len() => parts[at] = sign,
        4 if at < parts.len() => parts[at] = taken,
        5 => parts.insert(at, taken),
        6 if at < parts.len() => {
            // The same again and again: depth and length.
            let part = parts[at];
            let many = 1 << random.below(9);
            parts.splice(at..at, std::iter::repeat_n(part, many));
        }
        _ => parts.insert(at, sign),
    }
    parts.concat().into_bytes()
}

/// Words and the signs between them, or whole lines.
fn parts<'a>(text: &'a str, random: &mut Random) -> Vec<&'a str> {
    if random.once_in(4) {
        return text.split_inclusive('\n').collect();
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|letter: char| !letter.is_alphanumeric());
        let length = match word {
            Some(0) => first.len_utf8(),
            Some(length) => length,
            None => rest.len(),
        };
        let (part, tail) = rest.split_at(length);
        parts.push(part);
        rest = tail;
    }
    parts
}
