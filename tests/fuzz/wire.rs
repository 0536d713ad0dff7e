//! Changes to protobuf messages that keep every length right, so that they reach what lies behind
//! the framing: fields left out, doubled, moved, renumbered, emptied, and taken from elsewhere.

use crate::mutate::bytes;
use crate::random::Random;

#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Eight([u8; 8]),
    Four([u8; 4]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

#[derive(Clone, Debug)]
struct Field {
    number: u64,
    value: Value,
}

/// How deep a message is read.
const DEPTH: usize = 8;

const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    3,
    4,
    80,
    1000,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

const WORDS: &[&str] = &[
    "",
    "/",
    "/proc",
    "/srv/../etc",
    "..",
    "unconfined",
    "runtime/default",
    "localhost/",
    "ALL",
    "cap_sys_admin",
    "spc_t",
    "max",
    "memory.max",
    "cpu.max",
    "-1",
    "999999999999999999999",
    "io.kubernetes.container.ports",
    "[{\"hostPort\":99999999999}]",
    "cdi.k8s.io/x",
    "kubernetes.io/config.source",
    "net.ipv4.ip_forward",
    "\n",
    "a`b",
    "\u{17f}ys_admin",
];

pub(crate) fn change(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let Some(mut message) = read(input, 0) else {
        return bytes(input.to_vec(), other, random);
    };
    let donor = read(other, 0).unwrap_or_default();
    change_somewhere(&mut message, &donor, random);
    write(&message)
}

fn change_somewhere(fields: &mut Vec<Field>, donor: &[Field], random: &mut Random) {
    if fields.is_empty() {
        fields.push(grown(donor, random));
        return;
    }
    let at = random.below(fields.len());
    let Field { number, value } = &mut fields[at];
    if let Value::Message(inner) = value
        && !random.once_in(4)
    {
        change_somewhere(inner, inside(donor, *number), random);
        return;
    }
    match random.below(9) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(at, fields[at].clone()),
        2 => {
            let with = random.below(fields.len());
            fields.swap(at, with);
        }
        3 => fields[at].number = 1 + random.next() % 40,
        4 => fields.push(grown(donor, random)),
        5 => fields[at].value = leaf(random),
        _ => change_value(&mut fields[at].value, random),
    }
}

/// The message at the same place of the other one, if it has one.
fn inside(fields: &[Field], number: u64) -> &[Field] {
    let same = fields.iter().find(|field| field.number == number);
    match same.map(|field| &field.value) {
        Some(Value::Message(inner)) => inner,
        _ => fields,
    }
}

/// A field of the other message, or a new one.
fn grown(donor: &[Field], random: &mut Random) -> Field {
    if !donor.is_empty() && !random.once_in(3) {
        return random.one(donor);
    }
    Field {
        number: 1 + random.next() % 40,
        value: leaf(random),
    }
}

fn leaf(random: &mut Random) -> Value {
    match random.below(6) {
        0 | 1 => Value::Number(random.one(NUMBERS)),
        2 | 3 => Value::Bytes(random.one(WORDS).as_bytes().to_vec()),
        4 => Value::Message(Vec::new()),
        _ => Value::Eight(random.next().to_le_bytes()),
    }
}

fn change_value(value: &mut Value, random: &mut Random) {
    match value {
        Value::Number(number) if random.once_in(3) => *number ^= 1 << random.below(64),
        Value::Number(number) => *number = random.one(NUMBERS),
        Value::Bytes(text) if random.once_in(2) => {
            *text = random.one(WORDS).as_bytes().to_vec();
        }
        Value::Bytes(text) => *text = bytes(std::mem::take(text), b"/..", random),
        Value::Eight(_) | Value::Four(_) | Value::Message(_) => *value = leaf(random),
    }
}

fn read(mut rest: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut rest)?),
            1 => Value::Eight(take(&mut rest, 8)?.try_into().ok()?),
            5 => Value::Four(take(&mut rest, 4)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                inner(take(&mut rest, length)?, depth)
            }
            _ => return None,
        };
        let number = key >> 3;
        fields.push(Field { number, value });
    }
    Some(fields)
}

/// Bytes that read as a message and not as a text are one.
fn inner(inner: &[u8], depth: usize) -> Value {
    let text = inner.iter().all(|byte| (b' '..=b'~').contains(byte));
    let message = (!text && depth < DEPTH).then(|| read(inner, depth + 1));
    message
        .flatten()
        .map_or_else(|| Value::Bytes(inner.to_vec()), Value::Message)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(rest).ok()
}

fn write(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        let mut key =
            |kind: u64| prost::encoding::encode_varint(field.number << 3 | kind, &mut out);
        match &field.value {
            Value::Number(number) => {
                key(0);
                prost::encoding::encode_varint(*number, &mut out);
            }
            Value::Eight(bytes) => {
                key(1);
                out.extend_from_slice(bytes);
            }
            Value::Four(bytes) => {
                key(5);
                out.extend_from_slice(bytes);
            }
            Value::Bytes(bytes) => {
                key(2);
                run(bytes, &mut out);
            }
            Value::Message(inner) => {
                key(2);
                run(&write(inner), &mut out);
            }
        }
    }
    out
}

fn run(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u64::try_from(bytes.len()).unwrap();
    prost::encoding::encode_varint(length, out);
    out.extend_from_slice(bytes);
}
