//! What a builder fills: the columns of tracks before they are tracks.

use super::event::Args;
use crate::model::ArgTable;
use crate::model::{MetaId, Slices, Track};
use crate::naming::PlaneKind;
use crate::strings::StrId;
use crate::time::Picos;

/// What the rows of one thread are; each kind gets a track of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// What the process and thread names say.
    Plain,
    /// Kernels and copies that a GPU ran, by its number.
    GpuOps(i64),
    /// What Kineto projects from the host onto a GPU.
    GpuDerived(i64),
    /// Operations of XLA's CPU backend, by the number of the device that they ran for.
    CpuOps(i64),
}

/// Where a track hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// Index of the thread.
    Thread(u32),
    Process(i64),
    Global,
    /// Asynchronous slices: the process that they belong to, if any, and their name.
    Async(Option<i64>, StrId),
}

/// The columns of one track while they are filled.
#[derive(Debug)]
pub(super) struct Rows {
    pub place: Place,
    pub class: Class,
    pub slices: Slices,
    pub args: ArgTable,
    /// Begins and ends, matched when all are there: files need not be in the order of time.
    pub marks: Vec<Mark>,
}

/// One half of a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub at: Picos,
    /// What it can match: 0 for a thread, else one asynchronous operation.
    pub stack: u32,
    /// The row of a begin; `None` for an end.
    pub row: Option<u32>,
    pub name: StrId,
    pub category: StrId,
    /// First argument and number of arguments of an end.
    pub args: (u32, u32),
}

#[derive(Debug)]
pub(super) struct Thread {
    pub pid: i64,
    pub tid: i64,
    pub name: StrId,
    /// Its first few tracks.
    pub tracks: Vec<(Class, u32)>,
}

#[derive(Debug)]
pub(super) struct ProcessEntry {
    pub pid: i64,
    pub name: StrId,
    pub labels: StrId,
    pub plane: PlaneKind,
    pub ordinal: i64,
}

/// Where a flow touches a thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlowPoint {
    pub key: FlowKey,
    pub at: Picos,
    pub thread: u32,
    pub end: FlowEnd,
    pub binding: Binding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlowKey {
    pub id: u64,
    pub category: StrId,
    pub name: StrId,
}

/// Ordered as they follow each other at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FlowEnd {
    Start,
    Step,
    Finish,
}

/// Which slice a flow's point belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Binding {
    Enclosing,
    Next,
    /// The slice of this kind that starts there.
    Own(MetaId),
}

/// A counter while it is filled.
#[derive(Debug)]
pub(super) struct Series {
    pub pid: i64,
    pub name: StrId,
    pub samples: Vec<(Picos, f64)>,
}

/// What was counted while reading.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Events other than metadata.
    pub events: u64,
    pub metadata: u64,
    pub bad: u64,
    /// Offset of the first bad event, and what is wrong with it.
    pub first_bad: Option<(u64, &'static str)>,
    /// Events of phases that say nothing about time.
    pub ignored: u64,
    /// Where times lie that are too far from the first to be kept.
    pub elsewhere: Vec<Elsewhere>,
}

/// Events whose times lie together, and too far from those that are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elsewhere {
    /// What would be subtracted from them if they were kept.
    pub base: i128,
    pub events: u64,
    /// Offset in the file, and time, of the first.
    pub first: (u64, i128),
    /// Whether another has another time: what has one only is no clock.
    pub is_clock: bool,
}

/// How many places far from each other are told apart.
const MOST_PLACES: usize = 8;

/// What is wrong with the time of an event that is on no clock.
pub(super) const FAR: &str = "a `ts` that is 100 days from the other events";

/// Times further from zero than this (46 days) are counted from the first event's second instead:
/// picoseconds since 1970 do not fit an `i64`.
const ABSOLUTE_ABOVE: i128 = 4_000_000 * PICOS_PER_SECOND;

pub(super) const PICOS_PER_SECOND: i128 = 1_000_000_000_000;

/// What is subtracted from times like this one.
pub(super) fn base_of(at: i128) -> i128 {
    match at.abs() > ABSOLUTE_ABOVE {
        true => at.div_euclid(PICOS_PER_SECOND) * PICOS_PER_SECOND,
        false => 0,
    }
}

/// A time after a base, if it is near enough.
pub(super) fn picos_since(base: i128, at: i128) -> Option<Picos> {
    i64::try_from(at - base).ok().map(Picos)
}

impl Tally {
    pub(super) fn bad(&mut self, offset: u64, what: &'static str) {
        self.bad += 1;
        self.first_bad.get_or_insert((offset, what));
    }

    /// Counts an event whose time cannot be kept.
    pub(super) fn far(&mut self, offset: u64, at: i128) {
        let known = self.elsewhere.iter_mut().find(|it| picos_since(it.base, at).is_some());
        if let Some(known) = known {
            known.events += 1;
            known.is_clock |= known.first.1 != at;
        } else if self.elsewhere.len() < MOST_PLACES {
            let (base, first) = (base_of(at), (offset, at));
            self.elsewhere.push(Elsewhere { base, events: 1, first, is_clock: false });
        } else {
            self.bad(offset, FAR);
        }
    }

    /// Where more events lie than are kept.
    pub(super) fn majority(&self) -> Option<i128> {
        let far: u64 = self.elsewhere.iter().map(|it| it.events).sum();
        let most = self.elsewhere.iter().max_by_key(|it| it.events)?;
        (most.events > self.events.saturating_sub(far)).then_some(most.base)
    }
}

impl Rows {
    pub(super) fn new(place: Place, class: Class) -> Self {
        let (slices, args) = (Slices::default(), ArgTable::default());
        Self { place, class, slices, args, marks: Vec::new() }
    }

    /// Adds a slice.
    pub(super) fn push(&mut self, (at, dur): (Picos, Picos), meta: MetaId, run: i64, args: &Args) {
        let slices = &mut self.slices;
        if run != 0 && slices.run.is_empty() {
            slices.run.resize(slices.start.len(), 0);
        }
        if run != 0 || !slices.run.is_empty() {
            slices.run.push(run);
        }
        slices.start.push(at);
        slices.dur.push(dur);
        slices.meta.push(meta);
        let range = keep_args(&mut self.args, args);
        self.args.rows.push(range);
    }
}

impl Place {
    /// The process id that a track of this place shows.
    pub(super) fn pid(self, threads: &[Thread]) -> i64 {
        match self {
            Self::Thread(thread) => threads[thread as usize].pid,
            Self::Process(pid) | Self::Async(Some(pid), _) => pid,
            Self::Global | Self::Async(None, _) => Track::NO_PROCESS,
        }
    }
}

/// Puts arguments into a table and returns where they lie. A table holds 2^32 of them; those that
/// come after are lost.
pub(super) fn keep_args(table: &mut ArgTable, args: &Args) -> (u32, u32) {
    let (Ok(first), Ok(count)) = (u32::try_from(table.keys.len()), u32::try_from(args.cells.len()))
    else {
        return (0, 0);
    };
    table.keys.extend(args.cells.iter().map(|(key, _)| *key));
    table.values.extend(args.cells.iter().map(|(_, cell)| *cell));
    (first, count)
}
