//! Samples of stacks.

use std::ops::Range;

use crate::model::SourceId;
use crate::strings::StrId;

/// Samples of stacks, as pprof has them: columns, with what repeats stored once.
#[derive(Debug, Clone, Default)]
pub struct StackProfile {
    pub source: Option<SourceId>,
    /// What each sample has values of, for example `space` in `bytes`; never empty.
    pub types: Vec<StackValue>,
    /// Index of the type that is meant if none is named.
    pub default_type: usize,
    pub frames: Vec<StackFrame>,
    /// The frames of each place in the code: several where calls were inlined, innermost first.
    pub locations: Vec<Range<u32>>,
    /// Locations of the samples, innermost first, one sample after the other.
    pub stack: Vec<u32>,
    /// Where each sample's stack ends.
    pub stack_ends: Vec<u32>,
    /// As many values for each sample as there are types.
    pub values: Vec<i64>,
    pub labels: Vec<StackLabel>,
    /// Where each sample's labels end.
    pub label_ends: Vec<u32>,
}

/// A kind of value, and what it is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackValue {
    pub name: StrId,
    pub unit: StrId,
}

/// A function and a line in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StackFrame {
    pub function: StrId,
    pub file: StrId,
    /// 0 if unknown.
    pub line: i64,
}

/// What a sample says of itself besides its stack: JAX's `kind` (`buffer`, `executable`) and
/// `device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackLabel {
    pub key: StrId,
    /// Empty if it is a number.
    pub text: StrId,
    pub number: i64,
}

impl StackProfile {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.stack_ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.stack_ends.is_empty()
    }

    /// The value of a sample of one type; 0 if there is none.
    pub fn value(&self, sample: usize, kind: usize) -> i64 {
        self.values.get(sample * self.types.len() + kind).copied().unwrap_or(0)
    }

    /// The frames of a sample, innermost first.
    pub fn frames_of(&self, sample: usize) -> impl Iterator<Item = &StackFrame> {
        let locations = self.stack.get(range_of(&self.stack_ends, sample)).unwrap_or_default();
        let frames = locations.iter().filter_map(|&location| {
            let range = self.locations.get(location as usize)?;
            self.frames.get(range.start as usize..range.end as usize)
        });
        frames.flatten()
    }

    pub fn labels_of(&self, sample: usize) -> &[StackLabel] {
        self.labels.get(range_of(&self.label_ends, sample)).unwrap_or_default()
    }
}

/// Where row `row` of a column lies whose rows end at `ends`.
fn range_of(ends: &[u32], row: usize) -> Range<usize> {
    let end = ends.get(row).map_or(0, |&end| end as usize);
    let start = row.checked_sub(1).and_then(|row| ends.get(row)).map_or(0, |&end| end as usize);
    start..end
}
