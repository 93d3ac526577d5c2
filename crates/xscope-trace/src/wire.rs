//! The protobuf wire format, read in place.
//!
//! Knows fields, not messages: a reader yields `(number, value)` pairs over a byte slice, with
//! sub-messages as sub-slices, and never recurses or allocates.

/// Why bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireError {
    /// Offset in the file.
    pub offset: u64,
    pub what: &'static str,
}

/// The value of one field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Message<'a>),
}

/// A length-delimited value: bytes and where they lie in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub bytes: &'a [u8],
    pub offset: u64,
}

impl<'a> Message<'a> {
    pub(crate) fn fields(self) -> Fields<'a> {
        Fields { bytes: self.bytes, pos: 0, base: self.offset }
    }
}

impl<'a> Value<'a> {
    pub(crate) fn message(self) -> Option<Message<'a>> {
        match self {
            Self::Bytes(message) => Some(message),
            _ => None,
        }
    }

    pub(crate) fn bytes(self) -> &'a [u8] {
        self.message().map_or(&[], |message| message.bytes)
    }

    /// The value of an integer field of any encoding.
    pub(crate) fn uint(self) -> u64 {
        match self {
            Self::Varint(value) | Self::Fixed64(value) => value,
            Self::Fixed32(value) => u64::from(value),
            Self::Bytes(_) => 0,
        }
    }

    /// The value of a signed field: int64 is the two's complement of its varint.
    pub(crate) fn int(self) -> i64 {
        self.uint().cast_signed()
    }

    pub(crate) fn double(self) -> f64 {
        match self {
            Self::Fixed64(bits) => f64::from_bits(bits),
            Self::Fixed32(bits) => f64::from(f32::from_bits(bits)),
            Self::Varint(_) | Self::Bytes(_) => 0.0,
        }
    }
}

/// The fields of one message, in file order; stops after the first error.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    pos: usize,
    base: u64,
}

impl<'a> Fields<'a> {
    /// Offset in the file of the next unread byte.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.pos as u64
    }

    fn fail(
        &mut self,
        at: usize,
        what: &'static str,
    ) -> Option<Result<(u32, Value<'a>), WireError>> {
        self.pos = self.bytes.len();
        Some(Err(WireError { offset: self.base + at as u64, what }))
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let len = usize::try_from(len).ok()?;
        let end = self.pos.checked_add(len)?;
        let bytes = self.bytes.get(self.pos..end)?;
        self.pos = end;
        Some(bytes)
    }

    /// The next field if its tag is the byte `tag`, of a length-delimited field, and it is whole;
    /// else nothing is read.
    #[inline]
    pub(crate) fn next_if(&mut self, tag: u8) -> Option<Message<'a>> {
        let tail = self.bytes.get(self.pos..)?.strip_prefix(&[tag])?;
        let (bytes, rest) = split_bytes(tail)?;
        self.pos = self.bytes.len() - rest.len();
        Some(Message { bytes, offset: self.offset() - bytes.len() as u64 })
    }

    /// The numbers of a packed field; stops at damage.
    pub(crate) fn varints(packed: Message<'a>) -> impl Iterator<Item = u64> + use<'a> {
        let mut fields = packed.fields();
        std::iter::from_fn(move || fields.varint())
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let (value, rest) = split_varint(self.bytes.get(self.pos..)?)?;
        self.pos = self.bytes.len() - rest.len();
        Some(value)
    }
}

/// The varint that `bytes` begin with, and what comes after it.
#[inline(always)]
pub(crate) fn split_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match *bytes {
        [a, ref rest @ ..] if a < 0x80 => Some((u64::from(a), rest)),
        [a, b, ref rest @ ..] if b < 0x80 => Some((u64::from(a & 0x7f) | u64::from(b) << 7, rest)),
        _ => split_long_varint(bytes),
    }
}

fn split_long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// The length-delimited value that `bytes` begin with, and what comes after it.
#[inline(always)]
pub(crate) fn split_bytes(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = split_varint(bytes)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.pos >= self.bytes.len() {
            return None;
        }
        let at = self.pos;
        let Some(tag) = self.varint() else { return self.fail(at, "a tag does not end") };
        let Ok(number) = u32::try_from(tag >> 3) else {
            return self.fail(at, "a field number is out of range");
        };
        if number == 0 {
            return self.fail(at, "field number 0");
        }
        let value = match tag & 7 {
            0 => self.varint().map(Value::Varint),
            1 => self
                .take(8)
                .and_then(|b| b.try_into().ok())
                .map(|b| Value::Fixed64(u64::from_le_bytes(b))),
            2 => {
                let len = self.varint();
                let offset = self.offset();
                len.and_then(|len| self.take(len))
                    .map(|bytes| Value::Bytes(Message { bytes, offset }))
            }
            5 => self
                .take(4)
                .and_then(|b| b.try_into().ok())
                .map(|b| Value::Fixed32(u32::from_le_bytes(b))),
            _ => return self.fail(at, "a wire type that XPlane does not use"),
        };
        match value {
            Some(value) => Some(Ok((number, value))),
            None => self.fail(at, "a field reaches past the end of its message"),
        }
    }
}

/// The fields of a message with the bytes that they take: whole, number, value. `None` is damage.
pub(crate) struct FieldBytes<'a> {
    message: Message<'a>,
    fields: Fields<'a>,
}

impl<'a> FieldBytes<'a> {
    pub(crate) fn of(message: Message<'a>) -> Self {
        Self { message, fields: message.fields() }
    }

    fn here(&self) -> Option<usize> {
        usize::try_from(self.fields.offset() - self.message.offset).ok()
    }
}

impl<'a> Iterator for FieldBytes<'a> {
    type Item = Option<(&'a [u8], u32, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let begin = self.here();
        let field = self.fields.next()?;
        let whole =
            begin.zip(self.here()).and_then(|(begin, end)| self.message.bytes.get(begin..end));
        Some(whole.zip(field.ok()).map(|(whole, (number, value))| (whole, number, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, Value};

    type Field = Result<(u32, u64), (u64, &'static str)>;

    fn fields(bytes: &[u8]) -> Vec<Field> {
        Message { bytes, offset: 100 }
            .fields()
            .map(|field| field.map(|(n, v)| (n, v.uint())).map_err(|e| (e.offset, e.what)))
            .collect()
    }

    #[test]
    fn varints_of_all_lengths() {
        assert_eq!(fields(&[0x08, 0x01, 0x10, 0xac, 0x02]), vec![Ok((1, 1)), Ok((2, 300))]);
        let minus_one = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let value = Message { bytes: &minus_one, offset: 0 }.fields().next().unwrap().unwrap().1;
        assert_eq!(value.int(), -1);
        assert!(matches!(value, Value::Varint(u64::MAX)));
    }

    #[test]
    fn damage_names_the_offset_and_ends_the_message() {
        assert_eq!(
            fields(&[0x08, 0x01, 0x12, 0x05, 0x00]),
            vec![Ok((1, 1)), Err((102, "a field reaches past the end of its message"))]
        );
        assert_eq!(fields(&[0x0b]), vec![Err((100, "a wire type that XPlane does not use"))]);
        assert_eq!(fields(&[0x80]), vec![Err((100, "a tag does not end"))]);
        let huge = [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&huge), vec![Err((100, "a field reaches past the end of its message"))]);
    }
}
