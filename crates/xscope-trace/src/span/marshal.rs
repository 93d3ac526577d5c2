//! Values as Python's `marshal` writes them in its format 2, without what notes never have.

use std::borrow::Cow;

use crate::span::Value;

/// How deep lists may lie in each other.
const DEEPEST: u32 = 8;

/// The most items of lists in one value; what has more is no note, and takes no more memory.
const MOST_ITEMS: u32 = 1 << 17;

/// Digits of Python's large integers have so many bits.
const DIGIT_BITS: u32 = 15;

/// A value of Python. A tuple is a list, and a truth value an integer, as in Python.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Py<'a> {
    None,
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Dict(Vec<(Self, Self)>),
}

impl<'a> Py<'a> {
    pub(super) fn text(&self) -> Option<&Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<Value> {
        match *self {
            Self::Int(number) => Some(Value::Int(number)),
            Self::Float(number) => Some(Value::Float(number)),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn dict(&self) -> Option<&[(Self, Self)]> {
        match self {
            Self::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The items of a list, or the value itself.
    pub(super) fn each(&self) -> std::slice::Iter<'_, Self> {
        self.list().unwrap_or(std::slice::from_ref(self)).iter()
    }
}

/// Reads values one after the other.
pub(super) struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many more items the value may have.
    left: u32,
}

impl<'a> Parser<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, left: 0 }
    }

    /// Where the next value begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next value; `None` if it is cut off or of no kind that is known.
    pub(super) fn value(&mut self) -> Option<Py<'a>> {
        self.left = MOST_ITEMS;
        self.value_in(DEEPEST)
    }

    fn value_in(&mut self, depth: u32) -> Option<Py<'a>> {
        self.left = self.left.checked_sub(1)?;
        let [kind] = self.array()?;
        Some(match kind {
            b'N' => Py::None,
            b'F' => Py::Int(0),
            b'T' => Py::Int(1),
            b'i' => Py::Int(i64::from(i32::from_le_bytes(self.array()?))),
            b'l' => Py::Int(self.long()?),
            b'g' => Py::Float(f64::from_le_bytes(self.array()?)),
            b'u' => {
                let length = self.length()?;
                Py::Text(String::from_utf8_lossy(self.take(length)?))
            }
            b'(' | b'[' => {
                let (length, depth) = (self.length()?, depth.checked_sub(1)?);
                // An item has a byte at least.
                let room = length.min(self.bytes.len() - self.at).min(64);
                let mut items = Vec::with_capacity(room);
                for _ in 0..length {
                    items.push(self.value_in(depth)?);
                }
                Py::List(items)
            }
            b'{' => {
                let depth = depth.checked_sub(1)?;
                let mut pairs = Vec::new();
                while *self.bytes.get(self.at)? != b'0' {
                    pairs.push((self.value_in(depth)?, self.value_in(depth)?));
                }
                self.at += 1;
                Py::Dict(pairs)
            }
            _ => return None,
        })
    }

    /// An integer that has more than 32 bits; the nearest one that has 64.
    fn long(&mut self) -> Option<i64> {
        let digits = i32::from_le_bytes(self.array()?);
        let count = usize::try_from(digits.unsigned_abs()).ok()?;
        let (chunks, _) = self.take(count.checked_mul(2)?)?.as_chunks();
        let mut number: i128 = 0;
        for (place, &digit) in (0_u32..).zip(chunks) {
            let digit = i128::from(u16::from_le_bytes(digit));
            let shifted = digit.checked_shl(place.saturating_mul(DIGIT_BITS));
            let shifted = shifted.filter(|_| place < 7).unwrap_or(i128::from(u64::MAX));
            number = number.saturating_add(shifted);
        }
        let signed = if digits < 0 { -number } else { number };
        let nearest = signed.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        i64::try_from(nearest).ok()
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::{Parser, Py};

    fn check(bytes: &[u8], expected: &Option<Py<'_>>) {
        let mut parser = Parser::new(bytes, 0);
        assert_eq!(&parser.value(), expected, "{bytes:?}");
    }

    #[test]
    fn values_are_as_python_writes_them() {
        // marshal.dumps(value, 2)
        check(b"i\xff\xff\xff\xff", &Some(Py::Int(-1)));
        check(
            b"l\x04\x00\x00\x00\x00\x40\x00\x40\x00\x40\x01\x00",
            &Some(Py::Int((1 << 45) + (1 << 44) + (1 << 29) + (1 << 14))),
        );
        check(b"l\xfe\xff\xff\xff\x01\x00\x00\x40", &Some(Py::Int(-(1 << 29) - 1)));
        check(b"g\x00\x00\x00\x00\x00\x00\xf8?", &Some(Py::Float(1.5)));
        check(b"u\x02\x00\x00\x00\xc3\xa9", &Some(Py::Text("é".into())));
        let list = vec![Py::Int(1), Py::None, Py::List(Vec::new())];
        check(b"(\x03\x00\x00\x00TN[\x00\x00\x00\x00", &Some(Py::List(list)));
        check(b"{u\x01\x00\x00\x00aF0", &Some(Py::Dict(vec![(Py::Text("a".into()), Py::Int(0))])));
    }

    #[test]
    fn what_is_too_large_is_the_nearest() {
        let mut bytes = b"l\x09\x00\x00\x00".to_vec();
        bytes.extend([1, 0].repeat(9));
        check(&bytes, &Some(Py::Int(i64::MAX)));
        bytes[1..5].copy_from_slice(&(-9_i32).to_le_bytes());
        check(&bytes, &Some(Py::Int(i64::MIN)));
    }

    #[test]
    fn damage_is_no_value() {
        check(b"", &None);
        check(b"i\x01", &None);
        check(b"(\xff\xff\xff\xffN", &None);
        check(b"?", &None);
        check(&b"(\x01\x00\x00\x00".repeat(100), &None);
        check(&[&b"(\x00\x00\x10\x00"[..], &[b'N'; 1 << 20]].concat(), &None);
    }
}
