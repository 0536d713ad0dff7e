//! CRI requests written field by field: no encoder of the project or of anybody else has a say.

/// A protobuf message under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Vec<u8>);

impl Wire {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn text(self, field: u64, value: &str) -> Self {
        self.message(field, value.as_bytes())
    }

    pub(crate) fn message(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.len().try_into().unwrap());
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    /// Fields that no CRI has, in an order and an encoding that no encoder would choose: 2047 as
    /// text, 900 as a number in three bytes where one would do, 2047 again.
    pub(crate) fn odd(mut self) -> Vec<u8> {
        self = self.text(2047, "from the future \u{e4}");
        self.varint(900 << 3);
        self.0.extend([0x81, 0x80, 0x00]);
        self.text(2047, "").0
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The first field of an answer with a prefix, as text: an ID.
pub(crate) fn first_text(framed: &[u8]) -> String {
    let message = &framed[5..];
    assert_eq!(message[0], 0x0a, "field 1 is text");
    let length = usize::from(message[1]);
    assert!(length < 0x80, "an ID is short");
    String::from_utf8(message[2..2 + length].to_vec()).unwrap()
}
