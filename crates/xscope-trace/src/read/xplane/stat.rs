//! Stats: values with a name, on planes, metadata and events.

use rustc_hash::FxHashMap;

use crate::model::ArgValue;
use crate::strings::{StrId, Strings};
use crate::wire::{Message, Value, split_bytes, split_varint};

/// The value of a stat as it lies in the file.
#[derive(Clone, Copy)]
pub(super) enum StatValue<'a> {
    Double(f64),
    Uint(u64),
    Int(i64),
    Text(&'a [u8]),
    Bytes(Message<'a>),
    Ref(i64),
    Compressed(&'a [u8]),
}

impl StatValue<'_> {
    /// Numbers of either signedness: recorders disagree on which they use.
    pub(super) fn as_uint(&self) -> Option<u64> {
        match self {
            Self::Uint(value) => Some(*value),
            Self::Int(value) => Some(value.cast_unsigned()),
            _ => None,
        }
    }
}

/// The value of a stat that is laid out as all recorders do it, the id first, if it is of a type
/// that says where an event belongs.
#[inline]
pub(super) fn usual_value(stat: &[u8]) -> Option<StatValue<'_>> {
    let (_, rest) = split_varint(stat.strip_prefix(&[0x08])?)?;
    let (&tag, rest) = rest.split_first()?;
    let (value, rest) = match tag {
        0x2a => split_bytes(rest).map(|(text, rest)| (StatValue::Text(text), rest))?,
        _ => {
            let (value, rest) = split_varint(rest)?;
            let value = match tag {
                0x18 => StatValue::Uint(value),
                0x20 => StatValue::Int(value.cast_signed()),
                0x38 => StatValue::Ref(value.cast_signed()),
                _ => return None,
            };
            (value, rest)
        }
    };
    rest.is_empty().then_some(value)
}

/// The id and value of one XStat message.
pub(super) fn split_stat(stat: Message<'_>) -> Option<(i64, StatValue<'_>)> {
    let (mut id, mut result) = (0, None);
    for (number, value) in stat.fields().flatten() {
        match (number, value) {
            (1, value) => id = value.int(),
            (2, value) => result = Some(StatValue::Double(value.double())),
            (3, value) => result = Some(StatValue::Uint(value.uint())),
            (4, value) => result = Some(StatValue::Int(value.int())),
            (5, value) => result = Some(StatValue::Text(value.bytes())),
            (6, Value::Bytes(message)) => result = Some(StatValue::Bytes(message)),
            (7, value) => result = Some(StatValue::Ref(value.int())),
            (8, value) => result = Some(StatValue::Compressed(value.bytes())),
            _ => {}
        }
    }
    result.map(|value| (id, value))
}

/// All stats in the fields numbered `field` of a message, decoded. Texts that are together longer
/// than `limit` and twice the message are given by their length.
pub(super) fn decode_stats<'s>(
    message: Message<'_>,
    field: u32,
    names: &FxHashMap<i64, StrId>,
    strings: &'s Strings,
    limit: usize,
) -> Vec<(&'s str, ArgValue)> {
    let name = |id: i64| names.get(&id).map(|&name| strings.get(name));
    // A few bytes can refer to, or unpack to, a text of any length, and do so again and again.
    let mut room = message.bytes.len().saturating_mul(2).saturating_add(limit);
    let mut text = move |len: usize, text: &dyn Fn() -> String| match room.checked_sub(len) {
        Some(left) => {
            room = left;
            ArgValue::Text(text())
        }
        None => ArgValue::Bytes(len),
    };
    message
        .fields()
        .flatten()
        .filter(|(number, _)| *number == field)
        .filter_map(|(_, value)| split_stat(value.message()?))
        .filter_map(|(id, value)| {
            let value = match value {
                StatValue::Double(value) => ArgValue::Float(value),
                StatValue::Uint(value) => ArgValue::Uint(value),
                StatValue::Int(value) => ArgValue::Int(value),
                StatValue::Text(bytes) => {
                    text(bytes.len(), &|| String::from_utf8_lossy(bytes).into_owned())
                }
                StatValue::Bytes(message) => ArgValue::Bytes(message.bytes.len()),
                StatValue::Ref(id) => {
                    let referred = name(id).unwrap_or_default();
                    text(referred.len(), &|| referred.to_owned())
                }
                StatValue::Compressed(bytes) => {
                    let unpacked = gunzip_text(bytes);
                    text(unpacked.len(), &|| unpacked.clone())
                }
            };
            Some((name(id)?, value))
        })
        .collect()
}

/// Text of a `compressed_str_value`: gzip, bounded because its size comes from the file.
fn gunzip_text(bytes: &[u8]) -> String {
    use std::io::Read as _;
    const LIMIT: u64 = 1 << 20;
    let mut text = Vec::new();
    match flate2::read::GzDecoder::new(bytes).take(LIMIT).read_to_end(&mut text) {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("<unreadable compressed value: {error}>"),
    }
}
