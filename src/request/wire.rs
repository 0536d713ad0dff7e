//! Reading protobuf's wire format, strictly (protobuf encoding guide): varints in their shortest
//! form, no groups, no length beyond the bytes that are there. Pure. Allocates nothing.

use super::hygiene::Fault;

/// The highest field number: 2^29 - 1.
const MAX_FIELD_NUMBER: u64 = (1 << 29) - 1;

/// A field's value as the wire shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'b> {
    Varint(u64),
    Fixed64,
    Length(&'b [u8]),
    Fixed32,
}

/// What is left to read of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(crate) fn new(message: &'b [u8]) -> Self {
        Self { rest: message }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field's number and wire type.
    pub(crate) fn key(&mut self) -> Result<(u32, u64), Fault> {
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 || number > MAX_FIELD_NUMBER {
            return Err(Fault::Key);
        }
        let number = u32::try_from(number).map_err(|_| Fault::Key)?;
        Ok((number, key & 7))
    }

    /// The value of a field of that wire type.
    pub(crate) fn value(&mut self, wire_type: u64) -> Result<Value<'b>, Fault> {
        match wire_type {
            0 => Ok(Value::Varint(self.varint()?)),
            1 => self.take(8).map(|_| Value::Fixed64),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| Fault::Truncated)?;
                Ok(Value::Length(self.take(length)?))
            }
            3 | 4 => Err(Fault::Group),
            5 => self.take(4).map(|_| Value::Fixed32),
            _ => Err(Fault::Key),
        }
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for (index, shift) in (0..70).step_by(7).enumerate() {
            let (byte, rest) = self.rest.split_first().ok_or(Fault::Truncated)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds only bit 63.
            if shift == 63 && *byte > 1 {
                return Err(Fault::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let padded = index > 0 && bits == 0;
                return if padded {
                    Err(Fault::Varint)
                } else {
                    Ok(value)
                };
            }
        }
        Err(Fault::Varint)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'b [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::super::hygiene::Fault;
    use super::{Reader, Value};

    fn varint(bytes: &[u8]) -> Result<u64, Fault> {
        Reader::new(bytes).varint()
    }

    #[test]
    fn varints_of_every_length_are_read() {
        assert_eq!(varint(&[0]), Ok(0));
        assert_eq!(varint(&[0x96, 1]), Ok(150));
        let mut longest = [0xff; 10];
        longest[9] = 1;
        assert_eq!(varint(&longest), Ok(u64::MAX));
    }

    #[test]
    fn a_padded_varint_is_refused() {
        assert_eq!(varint(&[0x81, 0]), Err(Fault::Varint));
        assert_eq!(varint(&[0x80, 0]), Err(Fault::Varint));
    }

    #[test]
    fn a_varint_above_64_bits_is_refused() {
        let mut bytes = [0xff; 10];
        bytes[9] = 2;
        assert_eq!(varint(&bytes), Err(Fault::Varint));
        assert_eq!(varint(&[0xff; 11]), Err(Fault::Varint));
    }

    #[test]
    fn a_varint_without_its_end_is_refused() {
        assert_eq!(varint(&[0xff]), Err(Fault::Truncated));
    }

    #[test]
    fn e5_a_length_of_2_gib_in_ten_bytes_is_refused() {
        let bytes = [0x80, 0x80, 0x80, 0x80, 0x08, 1, 1, 1, 1, 1];
        assert_eq!(Reader::new(&bytes).value(2), Err(Fault::Truncated));
    }

    #[test]
    fn groups_are_refused() {
        assert_eq!(Reader::new(&[]).value(3), Err(Fault::Group));
        assert_eq!(Reader::new(&[]).value(4), Err(Fault::Group));
    }

    #[test]
    fn wire_types_6_and_7_are_refused() {
        assert_eq!(Reader::new(&[]).value(6), Err(Fault::Key));
        assert_eq!(Reader::new(&[]).value(7), Err(Fault::Key));
    }

    #[test]
    fn field_number_0_is_refused() {
        assert_eq!(Reader::new(&[0]).key(), Err(Fault::Key));
    }

    #[test]
    fn a_field_number_above_29_bits_is_refused() {
        assert_eq!(
            Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).key(),
            Err(Fault::Key)
        );
        let highest = Reader::new(&[0xf8, 0xff, 0xff, 0xff, 0x0f]).key();
        assert_eq!(highest, Ok(((1 << 29) - 1, 0)));
    }

    #[test]
    fn a_length_delimited_value_is_its_bytes() {
        assert_eq!(
            Reader::new(&[2, 7, 8, 9]).value(2),
            Ok(Value::Length(&[7, 8]))
        );
    }
}
