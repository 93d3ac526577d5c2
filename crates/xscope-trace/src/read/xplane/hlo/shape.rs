//! Shapes: how many elements and bytes a result has, and how it is written.
//!
//! Field numbers and types are those of `xla/xla_data.proto`.

use std::fmt::Write as _;

use crate::wire::Message;

/// What a shape amounts to, all parts of a tuple together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub elements: u64,
    pub bytes: u64,
}

/// The deepest nesting of tuples that is followed; programs have one or two.
const MAX_DEPTH: u32 = 8;

/// Size of a `ShapeProto`.
pub(super) fn size(shape: Message<'_>) -> Size {
    size_at(shape, MAX_DEPTH)
}

fn size_at(shape: Message<'_>, depth: u32) -> Size {
    let (mut kind, mut elements, mut tuple) = (0, 1_u64, Size::default());
    for (number, value) in shape.fields().flatten() {
        match number {
            2 => kind = value.uint(),
            3 => match value.message() {
                Some(packed) => packed_varints(packed, |dim| elements = times(elements, dim)),
                None => elements = times(elements, value.int()),
            },
            4 if depth > 0 => {
                let part = value.message().map_or(Size::default(), |part| size_at(part, depth - 1));
                tuple.elements = tuple.elements.saturating_add(part.elements);
                tuple.bytes = tuple.bytes.saturating_add(part.bytes);
            }
            _ => {}
        }
    }
    match element_type(kind) {
        ("tuple" | "token" | "opaque" | "", _) => tuple,
        (_, bits) => Size { elements, bytes: elements.saturating_mul(bits).div_ceil(8) },
    }
}

fn times(elements: u64, dim: i64) -> u64 {
    elements.saturating_mul(u64::try_from(dim).unwrap_or(0))
}

/// The dimensions of a shape that is no tuple.
pub(super) fn dimensions(shape: Message<'_>) -> Vec<i64> {
    let mut dims = Vec::new();
    for (_, value) in shape.fields().flatten().filter(|(number, _)| *number == 3) {
        match value.message() {
            Some(packed) => packed_varints(packed, |dim| dims.push(dim)),
            None => dims.push(value.int()),
        }
    }
    dims
}

/// The shape as HLO text writes it, without layout; a tuple only as such.
pub(super) fn text(shape: Message<'_>) -> String {
    let kind = shape.fields().flatten().find(|(number, _)| *number == 2);
    let (name, bits) = element_type(kind.map_or(0, |(_, value)| value.uint()));
    let mut text = name.to_owned();
    if bits > 0 {
        let dims: Vec<String> = dimensions(shape).iter().map(i64::to_string).collect();
        // Writing to a String cannot fail.
        write!(text, "[{}]", dims.join(",")).unwrap_or_default();
    }
    text
}

/// Name and bits of a `PrimitiveType`.
fn element_type(kind: u64) -> (&'static str, u64) {
    match kind {
        1 => ("pred", 8),
        2 => ("s8", 8),
        3 => ("s16", 16),
        4 => ("s32", 32),
        5 => ("s64", 64),
        6 => ("u8", 8),
        7 => ("u16", 16),
        8 => ("u32", 32),
        9 => ("u64", 64),
        10 => ("f16", 16),
        11 => ("f32", 32),
        12 => ("f64", 64),
        13 => ("tuple", 0),
        14 => ("opaque", 0),
        15 => ("c64", 64),
        16 => ("bf16", 16),
        17 => ("token", 0),
        18 => ("c128", 128),
        19 => ("f8e5m2", 8),
        20 => ("f8e4m3fn", 8),
        21 => ("s4", 4),
        22 => ("u4", 4),
        23 => ("f8e4m3b11fnuz", 8),
        24 => ("f8e5m2fnuz", 8),
        25 => ("f8e4m3fnuz", 8),
        26 => ("s2", 2),
        27 => ("u2", 2),
        28 => ("f8e4m3", 8),
        29 => ("f8e3m4", 8),
        30 => ("s1", 1),
        31 => ("u1", 1),
        32 => ("f4e2m1fn", 4),
        33 => ("f8e8m0fnu", 8),
        _ => ("", 0),
    }
}

/// Calls `each` with the numbers of a packed repeated field.
pub(super) fn packed_varints(packed: Message<'_>, mut each: impl FnMut(i64)) {
    let mut value = 0_u64;
    let mut shift = 0;
    for &byte in packed.bytes {
        if shift < 64 {
            value |= u64::from(byte & 0x7f) << shift;
        }
        shift += 7;
        if byte < 0x80 {
            each(value.cast_signed());
            (value, shift) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Size, dimensions, size, text};
    use crate::wire::Message;

    fn check(bytes: &[u8], expected: (u64, u64), written: &str) {
        let shape = Message { bytes, offset: 0 };
        assert_eq!(size(shape), Size { elements: expected.0, bytes: expected.1 });
        assert_eq!(text(shape), written);
    }

    #[test]
    fn sizes_of_arrays_tuples_and_sub_byte_types() {
        // f32[8,64]: element_type = 11, dimensions packed.
        check(&[0x10, 11, 0x1a, 2, 8, 64], (512, 2048), "f32[8,64]");
        // The same, unpacked.
        check(&[0x10, 11, 0x18, 8, 0x18, 64], (512, 2048), "f32[8,64]");
        check(&[0x10, 16], (1, 2), "bf16[]");
        check(&[0x10, 21, 0x1a, 1, 7], (7, 4), "s4[7]");
        check(&[0x10, 17], (0, 0), "token");
        // (f32[8], s32[2])
        let tuple = [0x10, 13, 0x22, 5, 0x10, 11, 0x1a, 1, 8, 0x22, 5, 0x10, 4, 0x1a, 1, 2];
        check(&tuple, (10, 40), "tuple");
        assert_eq!(dimensions(Message { bytes: &tuple, offset: 0 }), Vec::<i64>::new());
    }

    #[test]
    fn negative_and_huge_dimensions_do_not_overflow() {
        let huge = [0x10, 12, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x18, 9];
        assert_eq!(size(Message { bytes: &huge, offset: 0 }).elements, u64::MAX);
        let negative = [0x10, 11, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(size(Message { bytes: &negative, offset: 0 }).elements, 0);
    }
}
