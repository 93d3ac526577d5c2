//! Arguments of slices: decoded on demand where the file allows it, kept as columns otherwise.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::SharedBytes;
use crate::strings::{StrId, Strings};
use crate::xplane;

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

/// Positions of events in a file.
#[derive(Debug)]
pub struct LazyArgs {
    pub(crate) bytes: SharedBytes,
    /// Offset of each row's event message and its length.
    pub(crate) at: Vec<u64>,
    /// Stat names of each plane that the rows come from, by the plane's offset in the file.
    pub(crate) planes: Vec<(u64, StatNames)>,
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

    pub(crate) fn reorder(&mut self, order: &[usize]) {
        match self {
            Self::None => {}
            Self::Table(table) => {
                table.rows = order.iter().map(|&row| table.rows[row]).collect();
            }
            Self::XPlane(lazy) => lazy.at = order.iter().map(|&row| lazy.at[row]).collect(),
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
    fn get<'a>(&self, row: usize, strings: &'a Strings) -> Vec<(&'a str, ArgValue)> {
        let Some(&at) = self.at.get(row) else { return Vec::new() };
        let plane = self.planes.partition_point(|&(offset, _)| offset <= at);
        let Some((_, names)) = plane.checked_sub(1).and_then(|index| self.planes.get(index)) else {
            return Vec::new();
        };
        xplane::event_args(&self.bytes, at, names, strings)
    }
}
