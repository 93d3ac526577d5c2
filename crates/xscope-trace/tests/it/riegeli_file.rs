//! Writes Riegeli files, and makes check sums of damaged ones right again, so that a fuzzer sees what
//! is behind them.

use highway::{HighwayHash as _, HighwayHasher, Key};

const KEY: Key = Key([
    0x2f69_6c65_6765_6952,
    0x0a73_6472_6f63_6572,
    0x2f69_6c65_6765_6952,
    0x0a73_6472_6f63_6572,
]);

pub(crate) const BLOCK: usize = 64 << 10;

/// How long the header of a chunk is.
const HEADER: usize = 40;

fn hash(bytes: &[u8]) -> [u8; 8] {
    HighwayHasher::new(KEY).hash64(bytes).to_le_bytes()
}

fn number(value: usize) -> [u8; 8] {
    (value as u64).to_le_bytes()
}

/// A file that begins as all do.
pub(crate) fn begin() -> Vec<u8> {
    let mut file = Vec::new();
    put_chunk(&mut file, b's', 0, 0, &[]);
    file
}

/// A file of one chunk for each part.
pub(crate) fn of(parts: &[&[u8]]) -> Vec<u8> {
    let mut file = begin();
    for part in parts {
        put_records(&mut file, part);
    }
    file
}

/// Appends a chunk of one record, not packed.
fn put_records(file: &mut Vec<u8>, record: &[u8]) {
    let mut size = Vec::new();
    let mut left = record.len();
    while left >= 0x80 {
        size.push((left & 0x7f | 0x80).to_le_bytes()[0]);
        left >>= 7;
    }
    size.push(left.to_le_bytes()[0]);
    let sizes = [&[0, size.len().to_le_bytes()[0]], &size[..]].concat();
    put_chunk(file, b'r', 1, record.len(), &[sizes, record.to_vec()].concat());
}

/// Appends a chunk, with the headers of the blocks that it reaches into.
pub(crate) fn put_chunk(
    file: &mut Vec<u8>,
    kind: u8,
    records: usize,
    unpacked: usize,
    data: &[u8],
) {
    let mut header =
        [number(data.len()), hash(data), number(records << 8), number(unpacked)].concat();
    header[16] = kind;
    let begin = file.len();
    let len = 8 + header.len() + data.len();
    let end = (0..len).fold(begin, |at, _| if at.is_multiple_of(BLOCK) { at + 25 } else { at + 1 });
    for byte in hash(&header).iter().chain(&header).chain(data) {
        if file.len().is_multiple_of(BLOCK) {
            let block = [number(file.len() - begin), number(end - file.len())].concat();
            file.extend([&hash(&block), &block[..]].concat());
        }
        file.push(*byte);
    }
}

/// A file of one block whose chunks are `bytes`, with check sums that are right.
pub(crate) fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut file = [begin(), bytes.to_vec()].concat();
    file.truncate(BLOCK);
    let mut rest = &mut file[64..];
    while rest.len() >= HEADER {
        let (header, data) = rest.split_at_mut(HEADER);
        // Sizes beyond the file stay rare.
        header[10..16].fill(0);
        let size = usize::from(u16::from_le_bytes([header[8], header[9]]));
        if let Some(data) = data.get(..size) {
            header[16..24].copy_from_slice(&hash(data));
        }
        let sum = hash(&header[8..]);
        header[..8].copy_from_slice(&sum);
        rest = data.get_mut(size..).unwrap_or_default();
    }
    file
}
