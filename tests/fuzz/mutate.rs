//! How an input becomes another: by its shape where that can be read, by its bytes where not.

use crate::random::Random;
use crate::{text, wire};

/// What the inputs of a target look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Words and signs.
    Text,
    /// A protobuf message.
    Message,
    /// A byte, then a protobuf message.
    Call,
}

impl Shape {
    /// One input of the list, changed once or a few times.
    pub(crate) fn change(self, inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let mut input = random.one(inputs);
        for _ in 0..=random.below(4) {
            let other = random.one(inputs);
            input = match self {
                _ if random.once_in(4) => bytes(input, &other, random),
                Self::Text => text::change(&input, &other, random),
                Self::Message => wire::change(&input, &other, random),
                Self::Call => {
                    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
                    let other = other.get(1..).unwrap_or_default();
                    let first = if random.once_in(4) {
                        byte(random)
                    } else {
                        *first
                    };
                    [&[first], wire::change(rest, other, random).as_slice()].concat()
                }
            };
        }
        input
    }
}

pub(crate) fn byte(random: &mut Random) -> u8 {
    let [byte, ..] = random.next().to_le_bytes();
    byte
}

/// A bit, a byte, a run of bytes: turned, set, cut out, doubled, put in, or taken from another input.
pub(crate) fn bytes(mut input: Vec<u8>, other: &[u8], random: &mut Random) -> Vec<u8> {
    let begin = random.below(input.len() + 1);
    let end = (begin + 1 + random.below(16)).min(input.len());
    let begin = begin.min(end);
    match random.below(7) {
        0 if begin < end => input[begin] ^= 1 << random.below(8),
        1 if begin < end => input[begin] = byte(random),
        2 => drop(input.drain(begin..end)),
        3 => {
            let run = input[begin..end].to_vec();
            input.splice(end..end, run);
        }
        4 => {
            let run: Vec<u8> = (0..random.below(8)).map(|_| byte(random)).collect();
            input.splice(begin..begin, run);
        }
        5 => {
            let from = random.below(other.len() + 1);
            let run = other[from..].iter().take(64).copied();
            input.splice(begin..end, run.collect::<Vec<u8>>());
        }
        // The head of one and the tail of another.
        _ => {
            let from = random.below(other.len() + 1);
            input.truncate(begin);
            input.extend_from_slice(&other[from..]);
        }
    }
    input
}
