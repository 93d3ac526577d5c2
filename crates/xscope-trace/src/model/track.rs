//! Rows of slices, in columns.

use crate::model::{ArgStore, DeviceId, MetaId, SourceId, TrackId};
use crate::strings::StrId;
use crate::time::Picos;

/// What the slices of a track are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackKind {
    /// Operations as the device measured them: what busy time and kernel figures are made of.
    Ops,
    /// Operations in flight that overlap others (DMA, asynchronous copies); never summed.
    AsyncOps,
    /// Executions of whole programs.
    Modules,
    /// Training or serving steps.
    Steps,
    /// Slices that a tool or a recorder derived from others (scopes, framework names): to be
    /// looked at, never summed with operations.
    Derived,
    /// A thread of a host process.
    HostThread,
    /// A named track that is no thread (async slices of Chrome JSON, for example).
    Other,
}

/// A row of slices: a thread, a stream, a line of a device.
#[derive(Debug)]
pub struct Track {
    pub kind: TrackKind,
    pub name: StrId,
    pub source: SourceId,
    /// The plane or process that the track belongs to.
    pub process: StrId,
    /// Process id where the format has one; [`Track::NO_PROCESS`] for a track of no process.
    pub pid: i64,
    /// The line or thread id; may be negative, and is unique only within its process.
    pub tid: i64,
    pub device: Option<DeviceId>,
    pub slices: Slices,
}

impl Track {
    /// The process id of a track that belongs to the whole trace.
    pub const NO_PROCESS: i64 = -1;
}

/// Slices of one track that were counted but not kept (see
/// [`ReadOptions`](crate::read::ReadOptions)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The track that holds those that were kept.
    pub track: TrackId,
    /// Start of the first and end of the last.
    pub first: Picos,
    pub last: Picos,
    /// How many of each kind, ordered by kind.
    pub counts: Vec<(MetaId, u64)>,
}

impl Dropped {
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|&(_, count)| count).sum()
    }
}

/// A process, as a source describes it; those that the format does not describe are not listed.
#[derive(Debug, Clone)]
pub struct Process {
    pub source: SourceId,
    pub pid: i64,
    pub name: StrId,
    /// What the recorder says of it besides its name, for example `GPU 0`; else empty.
    pub labels: StrId,
}

/// A slice, by its track in [`Trace::tracks`](crate::Trace::tracks) and its row there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceRef {
    pub track: TrackId,
    pub row: u32,
}

/// A cause and its effect: a launch and the kernel that it started, for example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    pub from: SliceRef,
    pub to: SliceRef,
}

/// A kernel that ran in a graph, and what launched it when the graph was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    pub op: SliceRef,
    /// The modules that were open then, from the outermost, with `/` between them.
    pub modules: StrId,
}

/// A value over time.
#[derive(Debug, Clone)]
pub struct Counter {
    pub name: StrId,
    /// What it is counted in, for example `bytes`; empty if unknown.
    pub unit: StrId,
    pub source: SourceId,
    /// Process id where the format has one, else [`Track::NO_PROCESS`].
    pub pid: i64,
    /// Samples ordered by time.
    pub at: Vec<Picos>,
    pub value: Vec<f64>,
}

/// The columns of one track, ordered by start, then by descending duration (so a parent comes
/// before its children).
#[derive(Debug, Default)]
pub struct Slices {
    pub start: Vec<Picos>,
    /// Durations; [`Picos::UNFINISHED`] for a slice whose end was never seen, so that whoever sums
    /// them leaves out what is negative.
    pub dur: Vec<Picos>,
    pub meta: Vec<MetaId>,
    /// Execution (`run_id`) that each slice belongs to, 0 where it has none; empty if no slice
    /// of the track has one.
    pub run: Vec<i64>,
    pub args: ArgStore,
}

impl Slices {
    #[inline]
    pub fn len(&self) -> usize {
        self.start.len()
    }

    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// End of row `row`, saturating; an unfinished slice ends where it starts.
    #[inline]
    pub fn end(&self, row: usize) -> Picos {
        end_of(self.start[row], self.dur[row])
    }

    /// Start and [end](Self::end) of each row.
    #[inline]
    pub fn times(&self) -> impl Iterator<Item = (Picos, Picos)> {
        self.start.iter().zip(&self.dur).map(|(&start, &dur)| (start, end_of(start, dur)))
    }

    /// The execution of row `row`, if it belongs to one.
    #[inline]
    pub fn run_of(&self, row: usize) -> Option<i64> {
        self.run.get(row).copied().filter(|&run| run != 0)
    }

    /// Start of the first and end of the last slice.
    pub fn extent(&self) -> Option<(Picos, Picos)> {
        let first = *self.start.first()?;
        let last = self.times().map(|(_, end)| end).max()?;
        Some((first, last))
    }

    /// Makes row `order[i]` the `i`-th.
    pub(crate) fn permute(&mut self, order: &[usize]) {
        self.start = order.iter().map(|&row| self.start[row]).collect();
        self.dur = order.iter().map(|&row| self.dur[row]).collect();
        self.meta = order.iter().map(|&row| self.meta[row]).collect();
        if !self.run.is_empty() {
            self.run = order.iter().map(|&row| self.run[row]).collect();
        }
        self.args.reorder(order.iter().copied());
    }

    /// Brings the rows into the order that the type promises; a no-op if they are in it.
    pub(crate) fn sort(&mut self) {
        // What never ended encloses whatever starts with it.
        let length = |dur: Picos| if dur < Picos::ZERO { Picos(i64::MAX) } else { dur };
        let ordered = self.start.windows(2).zip(self.dur.windows(2)).all(|(start, dur)| {
            start[0] < start[1] || (start[0] == start[1] && length(dur[0]) >= length(dur[1]))
        });
        if ordered {
            return;
        }
        // Rows are counted in 32 bits, as in a `SliceRef`: it halves what sorting needs.
        let Ok(rows) = u32::try_from(self.len()) else { return };
        let mut order: Vec<u32> = (0..rows).collect();
        order.sort_by_key(|&row| {
            let row = row as usize;
            (self.start[row], std::cmp::Reverse(length(self.dur[row])))
        });
        reorder(&mut self.start, &order);
        reorder(&mut self.dur, &order);
        reorder(&mut self.meta, &order);
        if !self.run.is_empty() {
            reorder(&mut self.run, &order);
        }
        self.args.reorder(order.iter().map(|&row| row as usize));
    }
}

/// When a slice ends; one that never did, where it starts.
#[inline]
fn end_of(start: Picos, dur: Picos) -> Picos {
    start.saturating_add(dur.max(Picos::ZERO))
}

/// Brings `column[order[i]]` to place `i`, in place: a second column of a large track would be the
/// most memory that reading a file takes.
fn reorder<T: Copy>(column: &mut [T], order: &[u32]) {
    let mut is_placed = vec![false; column.len()];
    for start in 0..column.len() {
        if is_placed[start] {
            continue;
        }
        let first = column[start];
        let mut at = start;
        loop {
            is_placed[at] = true;
            let from = order[at] as usize;
            if from == start {
                column[at] = first;
                break;
            }
            column[at] = column[from];
            at = from;
        }
    }
}
