//! Takes the records out of a Riegeli file (`*.xplane.riegeli`), in which JAX's continuous profiling
//! and servers of TPUs write what does not fit into one message.
//!
//! A file is a row of chunks, in blocks of 64 KiB that begin with a header of their own; headers and
//! data carry check sums. A profiler appends a whole file for each part of a session. One after the
//! other the records of all are one XSpace, whose planes repeat as those of any capture in chunks, so
//! they are unpacked into one row of bytes, a chunk at a time. What is damaged costs its chunk: its
//! header says where the next begins, and if that is damaged, the headers of blocks do.
//!
//! Only what such profilers write is read: simple chunks, as they are or in Brotli, and no transposed
//! ones. (The crate `riegeli` reads those too, but links Google's protobuf and zstd, both in C, and
//! holds a chunk in memory, which may be gigabytes.)

use std::io::{self, Read};
use std::path::Path;

use brotli_decompressor::Decompressor;
use highway::{HighwayHash as _, HighwayHasher, Key};

use crate::bytes::FileBytes;
use crate::error::{Error, Result};
use crate::quality::{Code, Finding};
use crate::read::unpack::{Spill, unpacked_limit};

/// What every Riegeli file begins with: the check sums of its first block and of an empty chunk.
const BEGIN: &[u8] = &[0x83, 0xaf, 0x70, 0xd1, 0x0d, 0x88, 0x4a, 0x3f];

/// `Riegeli/records\n`, twice.
const KEY: Key = Key([
    0x2f69_6c65_6765_6952,
    0x0a73_6472_6f63_6572,
    0x2f69_6c65_6765_6952,
    0x0a73_6472_6f63_6572,
]);

const BLOCK: u64 = 64 << 10;
const BLOCK_HEADER: usize = 24;
const CHUNK_HEADER: usize = 40;
/// What a block has room for.
const USABLE: u64 = BLOCK - BLOCK_HEADER as u64;

/// How much of a chunk is looked at at a time.
const BUFFER: usize = 64 << 10;

/// Whether bytes begin as a Riegeli file does.
pub(super) fn is_riegeli(head: &[u8]) -> bool {
    head.starts_with(BEGIN)
}

/// All records of a file, one after the other, and what is to be said of those that are lost.
///
/// # Errors
/// If no record can be read, they are more than such a file may hold, or there is no room for them.
pub(super) fn records(path: &Path, bytes: &[u8]) -> Result<(FileBytes, Lost)> {
    let limit = unpacked_limit(bytes);
    let room = |source| Error::Unpack { path: path.to_owned(), source };
    let mut records = Spill::default();
    let mut lost = Lost::default();
    let mut at = 0;
    while at < bytes.len() as u64 {
        let next = match Chunk::at(bytes, at) {
            Ok(chunk) => {
                let before = records.len();
                if let Err(why) = chunk.unpack(&mut records, limit).map_err(room)? {
                    records.truncate(before).map_err(room)?;
                    lost.add(at, why);
                }
                Some(chunk.end)
            }
            Err(why) => {
                lost.add(at, why);
                chunk_after(bytes, at)
            }
        };
        if records.len() > limit {
            return Err(Error::TooLarge { path: path.to_owned(), limit });
        }
        let Some(next) = next else { break };
        at = next;
    }
    match lost.first {
        Some((offset, why)) if records.len() == 0 => Err(Error::Damaged {
            path: path.to_owned(),
            offset,
            what: why.to_owned(),
            hint: "no record could be read; capture or copy the file again".to_owned(),
        }),
        _ => Ok((records.into_bytes().map_err(room)?, lost)),
    }
}

/// Why a chunk cannot be read.
type Why = &'static str;

const CUT: Why = "the file is cut off in it";

/// The chunks that could not be read.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    first: Option<(u64, Why)>,
    count: u64,
}

impl Lost {
    fn add(&mut self, at: u64, why: Why) {
        self.first.get_or_insert((at, why));
        self.count += 1;
    }

    /// Where the first of them begins.
    pub(crate) fn first_at(&self) -> Option<u64> {
        self.first.map(|(at, _)| at)
    }

    pub(super) fn finding(&self) -> Option<Finding> {
        let (at, why) = self.first?;
        let message = format!(
            "chunks of a Riegeli file are lost, the first at byte {at}: {why}; all others were read"
        );
        Some(Finding::new(Code::XplaneLostChunk, message).times(self.count))
    }
}

/// A chunk by its header, which is as it was written.
struct Chunk<'a> {
    /// `r` of records; of other kinds only `t` holds any.
    kind: u8,
    data: Stretch<'a>,
    /// The check sum of the data.
    sum: u64,
    /// How long all its records are.
    unpacked: u64,
    /// Where the next one begins.
    end: u64,
    is_cut: bool,
}

impl<'a> Chunk<'a> {
    fn at(bytes: &'a [u8], at: u64) -> std::result::Result<Self, Why> {
        let mut header = [0; CHUNK_HEADER];
        let mut data = Stretch { bytes, at, left: CHUNK_HEADER as u64 };
        if data.read_exact(&mut header).is_err() {
            return Err(CUT);
        }
        if number(&header, 0) != hash(&header[8..]) {
            return Err("its header is damaged");
        }
        let [size, sum, kind_and_count, unpacked] = [8, 16, 24, 32].map(|at| number(&header, at));
        data.left = size;
        let end = end_of_chunk(at, size, kind_and_count >> 8).ok_or("its size is damaged")?;
        let is_cut = end > bytes.len() as u64;
        Ok(Self { kind: header[24], data, sum, unpacked, end, is_cut })
    }

    /// Appends its records. The inner result says what is wrong with it: then some of them did not
    /// come, or came wrong.
    ///
    /// # Errors
    /// If there is no room for them.
    fn unpack(&self, records: &mut Spill, limit: u64) -> io::Result<std::result::Result<(), Why>> {
        let why = match self.kind {
            _ if self.is_cut => CUT,
            b't' => "it is transposed, which xscope does not read",
            b'r' if self.data.sum() != self.sum => "its data are damaged",
            b'r' => return self.unpack_simple(records, limit),
            _ => return Ok(Ok(())),
        };
        Ok(Err(why))
    }

    fn unpack_simple(
        &self,
        records: &mut Spill,
        limit: u64,
    ) -> io::Result<std::result::Result<(), Why>> {
        let Some((packing, plain)) = values(self.data) else {
            return Ok(Err("its data end too early"));
        };
        let mut packed = plain;
        // Of what grows past the limit a byte too much is enough to tell.
        let room = limit.saturating_add(1).saturating_sub(records.len());
        let most = self.unpacked.saturating_add(1).min(room);
        let before = records.len();
        let whole = match (packing, packed.varint()) {
            (0, _) => records.take_all(&mut plain.take(most))?,
            (b'b', Some(_)) => {
                records.take_all(&mut Decompressor::new(packed, BUFFER).take(most))?
            }
            _ => return Ok(Err("it is not packed with Brotli, and xscope reads no other")),
        };
        let is_whole = records.len() - before == self.unpacked || records.len() > limit;
        Ok(if whole.is_ok() && is_whole { Ok(()) } else { Err("its records do not unpack") })
    }
}

/// How the data of a chunk are packed, and their part behind the sizes of the records, which do not
/// matter to who wants them in a row.
fn values(mut data: Stretch<'_>) -> Option<(u8, Stretch<'_>)> {
    let packing = data.byte()?;
    let sizes = data.varint()?;
    let left = data.left.checked_sub(sizes)?;
    Some((packing, Stretch { at: forward(data.at, sizes)?, left, ..data }))
}

/// Where the first chunk begins that a header of a block behind `at` tells of.
fn chunk_after(bytes: &[u8], at: u64) -> Option<u64> {
    let mut block = (at / BLOCK + 1) * BLOCK;
    loop {
        let header = bytes.get(usize::try_from(block).ok()?..)?.get(..BLOCK_HEADER)?;
        let [sum, into, left] = [0, 8, 16].map(|at| number(header, at));
        match (sum == hash(&header[8..]), into) {
            (true, 0) => return Some(block),
            (true, _) => return block.checked_add(left),
            (false, _) => block += BLOCK,
        }
    }
}

/// A stretch of a file without the headers of the blocks in it.
#[derive(Clone, Copy)]
struct Stretch<'a> {
    bytes: &'a [u8],
    at: u64,
    /// How many bytes are left of it.
    left: u64,
}

impl<'a> Stretch<'a> {
    /// The next bytes that lie together; none at its end and that of the file.
    fn piece(&mut self, most: usize) -> &'a [u8] {
        if self.left == 0 {
            return &[];
        }
        if self.at.is_multiple_of(BLOCK) {
            self.at = self.at.saturating_add(BLOCK_HEADER as u64);
        }
        let rest = usize::try_from(self.at).ok().and_then(|at| self.bytes.get(at..));
        let rest = rest.unwrap_or_default();
        let len = self.left.min(BLOCK - self.at % BLOCK).min(most as u64).min(rest.len() as u64);
        self.at += len;
        self.left -= len;
        usize::try_from(len).map_or(&[], |len| &rest[..len])
    }

    /// Its check sum.
    fn sum(mut self) -> u64 {
        let mut hasher = HighwayHasher::new(KEY);
        loop {
            match self.piece(usize::MAX) {
                [] => return hasher.finalize64(),
                piece => hasher.append(piece),
            }
        }
    }

    fn byte(&mut self) -> Option<u8> {
        self.piece(1).first().copied()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl Read for Stretch<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.piece(buffer.len());
        buffer[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

/// Where so many bytes from `at` end, the headers of blocks among them not counted.
fn forward(at: u64, len: u64) -> Option<u64> {
    let blocks = len.checked_add(at.checked_add(USABLE - 1)? % BLOCK)? / USABLE;
    at.checked_add(len)?.checked_add(blocks * BLOCK_HEADER as u64)
}

/// Where the chunk at `at` ends, which is as long as it has records, so that each has a position.
fn end_of_chunk(at: u64, data: u64, records: u64) -> Option<u64> {
    let data = forward(at, data.checked_add(CHUNK_HEADER as u64)?)?;
    let records = at.checked_add(records)?;
    // No chunk begins within the header of a block.
    let to_boundary = (BLOCK - records % BLOCK) % BLOCK;
    Some(data.max(records.checked_add(to_boundary.saturating_sub(USABLE - 1))?))
}

fn hash(bytes: &[u8]) -> u64 {
    HighwayHasher::new(KEY).hash64(bytes)
}

/// The number at a place of a header that has one there.
fn number(header: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(bytes)
}
