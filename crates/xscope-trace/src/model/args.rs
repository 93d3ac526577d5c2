//! Arguments of slices: decoded on demand where the file allows it, kept as columns otherwise.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::bytes::SharedBytes;
use crate::strings::{StrId, Strings};

/// The value of one argument.
#[derive(Debug, Clone, PartialEq)]
pub enum ArgValue {
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    /// Length of a binary value that is not shown.
    Bytes(usize),
}

impl ArgValue {
    /// The value as a number, if it is one or is text that reads as one.
    #[expect(clippy::cast_precision_loss, reason = "arguments are shown and summed, not compared")]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Uint(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Text(text) => text.parse().ok(),
            Self::Bytes(_) => None,
        }
    }

    /// The value if it is a whole number, not also text that reads as one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Uint(value) => i64::try_from(*value).ok(),
            Self::Float(_) | Self::Text(_) | Self::Bytes(_) => None,
        }
    }
}

/// The arguments of all rows of one track.
#[derive(Debug, Default)]
pub enum ArgStore {
    /// No row has arguments.
    #[default]
    None,
    /// Columns, for formats that are read as a stream.
    Table(ArgTable),
    /// Where each row's event lies in an XPlane file, to be decoded when asked for.
    XPlane(LazyArgs),
}

/// Arguments kept as columns.
#[derive(Debug, Default)]
pub struct ArgTable {
    /// First argument and number of arguments of each row.
    pub rows: Vec<(u32, u32)>,
    pub keys: Vec<StrId>,
    pub values: Vec<ArgCell>,
}

/// One cell of an [`ArgTable`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ArgCell {
    Int(i64),
    Float(f64),
    Str(StrId),
}

/// Names of stats by their id in one plane.
pub(crate) type StatNames = Arc<FxHashMap<i64, StrId>>;

/// Decodes the arguments of the event at an offset of a file.
pub(crate) type Decode =
    for<'s> fn(&[u8], u64, &StatNames, &'s Strings) -> Vec<(&'s str, ArgValue)>;

/// Where the arguments of a track's rows lie in a file.
///
/// The lines that a track was made of are thought of as one run of bytes, so that four bytes place
/// an event: 4 GiB of one track, twice what a protobuf message can hold. What lies past that, or
/// came without stats, has no arguments.
#[derive(Debug)]
pub struct LazyArgs {
    pub(crate) bytes: SharedBytes,
    decode: Decode,
    /// The rows that have arguments, in order, with the position of each one's event in the run of
    /// bytes.
    at: Vec<(u32, u32)>,
    segments: Vec<Segment>,
    /// Length of the run of bytes.
    end: u32,
}

/// One line that a track was made of.
#[derive(Debug)]
struct Segment {
    /// Where it begins in the run of bytes.
    first: u32,
    /// Where it begins in the file.
    offset: u64,
    names: StatNames,
}

impl ArgStore {
    /// The arguments of row `row`, in file order; a key may occur twice.
    pub fn get<'a>(&'a self, row: usize, strings: &'a Strings) -> Vec<(&'a str, ArgValue)> {
        match self {
            Self::None => Vec::new(),
            Self::Table(table) => table.get(row, strings),
            Self::XPlane(lazy) => lazy.get(row, strings),
        }
    }

    /// The first argument of row `row` with this key.
    pub fn find(&self, row: usize, key: &str, strings: &Strings) -> Option<ArgValue> {
        self.get(row, strings).into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Makes row `order[i]` the `i`-th.
    pub(crate) fn reorder(&mut self, order: impl Iterator<Item = usize>) {
        match self {
            Self::None => {}
            Self::Table(table) => {
                table.rows = order.map(|row| table.rows[row]).collect();
            }
            Self::XPlane(lazy) => lazy.reorder(order),
        }
    }
}

impl ArgTable {
    fn get<'a>(&self, row: usize, strings: &'a Strings) -> Vec<(&'a str, ArgValue)> {
        let Some(&(first, count)) = self.rows.get(row) else { return Vec::new() };
        let range = first as usize..first as usize + count as usize;
        let cells = self.keys[range.clone()].iter().zip(&self.values[range]);
        cells
            .map(|(&key, &cell)| {
                let value = match cell {
                    ArgCell::Int(value) => ArgValue::Int(value),
                    ArgCell::Float(value) => ArgValue::Float(value),
                    ArgCell::Str(id) => ArgValue::Text(strings.get(id).to_owned()),
                };
                (strings.get(key), value)
            })
            .collect()
    }
}

impl LazyArgs {
    /// The arguments of no rows yet.
    pub(crate) fn new(bytes: SharedBytes, decode: Decode) -> Self {
        Self { bytes, decode, at: Vec::new(), segments: Vec::new(), end: 0 }
    }

    /// Adds the rows of one line of the file behind the `before` rows that there are.
    ///
    /// `at` has the rows with arguments, numbered from 0, and where each one's event lies in the
    /// `line`.
    pub(crate) fn append(
        &mut self,
        before: usize,
        mut at: Vec<(u32, u32)>,
        line: Range<u64>,
        names: &StatNames,
    ) {
        let Ok(before) = u32::try_from(before) else { return };
        let first = self.end;
        self.end = first.saturating_add(u32::try_from(line.end - line.start).unwrap_or(u32::MAX));
        if before > 0 || first > 0 {
            at.retain_mut(|(row, at)| {
                let moved = row.checked_add(before).zip(at.checked_add(first));
                moved.is_some_and(|moved| {
                    (*row, *at) = moved;
                    true
                })
            });
        }
        match self.at.is_empty() {
            true => self.at = at,
            false => self.at.append(&mut at),
        }
        self.segments.push(Segment { first, offset: line.start, names: StatNames::clone(names) });
    }

    fn reorder(&mut self, order: impl Iterator<Item = usize>) {
        let Some(&(last, _)) = self.at.last() else { return };
        let mut positions = vec![u32::MAX; last as usize + 1];
        for &(row, at) in &self.at {
            positions[row as usize] = at;
        }
        self.at.clear();
        for (row, old) in (0..).zip(order) {
            if let Some(&at) = positions.get(old).filter(|at| **at != u32::MAX) {
                self.at.push((row, at));
            }
        }
    }

    fn get<'a>(&self, row: usize, strings: &'a Strings) -> Vec<(&'a str, ArgValue)> {
        let Ok(row) = u32::try_from(row) else { return Vec::new() };
        let Ok(index) = self.at.binary_search_by_key(&row, |&(row, _)| row) else {
            return Vec::new();
        };
        let (_, at) = self.at[index];
        let segment = self.segments.partition_point(|segment| segment.first <= at);
        let Some(segment) = segment.checked_sub(1).and_then(|index| self.segments.get(index))
        else {
            return Vec::new();
        };
        let offset = segment.offset + u64::from(at - segment.first);
        (self.decode)(&self.bytes, offset, &segment.names, strings)
    }
}
