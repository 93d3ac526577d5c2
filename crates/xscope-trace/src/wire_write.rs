//! The protobuf wire format, written into memory: what XPlane and Perfetto need.

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Bytes that [`put_varint`] takes.
pub(crate) fn varint_len(value: u64) -> u64 {
    u64::from((64 - (value | 1).leading_zeros()).div_ceil(7))
}

pub(crate) fn put_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

/// An `int64`: negative numbers take ten bytes.
pub(crate) fn put_int(out: &mut Vec<u8>, field: u32, value: i64) {
    put_uint(out, field, value.cast_unsigned());
}

pub(crate) fn put_double(out: &mut Vec<u8>, field: u32, value: f64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend(value.to_bits().to_le_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_header(out, field, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The tag and length of a length-delimited field, whose bytes follow.
pub(crate) fn put_header(out: &mut Vec<u8>, field: u32, len: u64) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, len);
}

/// Bytes of a length-delimited field of `len` bytes, its header included.
pub(crate) fn field_len(field: u32, len: u64) -> u64 {
    varint_len(u64::from(field) << 3) + varint_len(len) + len
}

/// A `fixed64`, also in two's complement.
pub(crate) fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend(value.to_le_bytes());
}
