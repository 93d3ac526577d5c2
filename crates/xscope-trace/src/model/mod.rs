//! The model that every format is read into: columns, not objects.
//!
//! A trace has tens of millions of slices, so a slice is a row in the columns of its [`Track`],
//! and what the rows have in common (name, scope, program, cost) is stored once as an
//! [`EventMeta`]. Each track owns its columns, so tracks decode in parallel and are never copied
//! together.

mod args;
mod device;
mod event;
mod format;
mod ids;
mod log;
mod modules;
mod program;
mod reported;
mod requests;
mod source;
mod stacks;
mod track;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use args::StatNames;
pub use args::{ArgCell, ArgStore, ArgTable, ArgValue, LazyArgs};
pub use device::{Device, DeviceKind, short_device};
pub use event::EventMeta;
pub use format::Format;
pub use ids::{DeviceId, MetaId, ProgramId, SourceId, TrackId};
pub use log::{LogEvent, LogRow, Pass};
pub use modules::OpenModules;
pub use program::{Held, Instruction, Parameter, Program, ProgramMemory};
pub use reported::{MemoryReport, ReportedTensor};
pub use requests::{ClientRequest, RequestSpan, SpanKey};
pub use source::{Clock, ClockVerdict, MeasuredClock, Rank, Source};
pub use stacks::{StackFrame, StackLabel, StackProfile, StackValue};
pub use track::{Counter, Dropped, Flow, Process, Replay, SliceRef, Slices, Track, TrackKind};

use crate::ids::IdVec;
use crate::quality::Finding;
use crate::span::Recorded;
use crate::strings::{StrId, Strings};
use crate::time::Picos;

/// Everything that was read, from one file or many, on one time axis.
#[derive(Debug, Default)]
pub struct Trace {
    pub strings: Strings,
    pub sources: IdVec<SourceId, Source>,
    pub devices: IdVec<DeviceId, Device>,
    pub tracks: IdVec<TrackId, Track>,
    pub metas: IdVec<MetaId, EventMeta>,
    pub counters: Vec<Counter>,
    pub processes: Vec<Process>,
    pub flows: Vec<Flow>,
    /// Of kernels that ran in graphs, what launched them where the graphs were captured; by kernel.
    pub replays: Vec<Replay>,
    pub programs: IdVec<ProgramId, Program>,
    pub spans: Vec<RequestSpan>,
    pub client: Vec<ClientRequest>,
    /// Samples of stacks: what allocated, what ran.
    pub profiles: Vec<StackProfile>,
    /// What sglang-jax says of the tensors of its stages.
    pub memory_reports: Vec<MemoryReport>,
    /// What servers' logs say of their batches and compilations, in the order of the files.
    pub log: Vec<LogRow>,
    /// What `.xspan` files hold, and what recording it took.
    pub recorded: Vec<(SourceId, Recorded)>,
    /// Slices that were counted but not kept, because the caller has no use for them.
    pub dropped: Vec<Dropped>,
    /// What is wrong with the input, found while reading, in the order of finding.
    pub findings: Vec<Finding>,
}

impl Trace {
    /// The name of an event to show: the short one if there is one.
    pub fn label(&self, meta: MetaId) -> &str {
        let meta = &self.metas[meta];
        self.strings.get(if meta.display.is_empty() { meta.name } else { meta.display })
    }

    pub fn meta(&self, meta: MetaId) -> &EventMeta {
        &self.metas[meta]
    }

    /// The name of a device as reports show it, no two alike: `TPU:0` of `/device:TPU:0`, or
    /// `TPU:0 of host-1`.
    pub fn device_label(&self, device: DeviceId) -> &str {
        let device = &self.devices[device];
        match self.strings.get(device.label) {
            "" => short_device(self.strings.get(device.name)),
            label => label,
        }
    }

    /// The instruction behind an event, if the trace carries its program.
    pub fn instruction(&self, meta: MetaId) -> Option<&Instruction> {
        let meta = self.meta(meta);
        let program = &self.programs[meta.program?];
        let op = if !meta.op.is_empty() {
            meta.op
        } else if !meta.display.is_empty() {
            meta.display
        } else {
            meta.name
        };
        program.instruction(op)
    }

    /// The scope path of an event: what the recorder says, else what the program says.
    pub fn scope_of(&self, meta: MetaId) -> StrId {
        let recorded = self.meta(meta).scope;
        if !recorded.is_empty() {
            return recorded;
        }
        self.instruction(meta).map_or(StrId::EMPTY, |instruction| instruction.op_name)
    }

    /// Tracks of one kind that belong to `device`.
    pub fn device_tracks(&self, device: DeviceId, kind: TrackKind) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(move |track| track.device == Some(device) && track.kind == kind)
    }

    /// The sources that devices are of.
    pub fn device_sources(&self) -> BTreeSet<SourceId> {
        self.devices.iter().map(|device| device.source).collect()
    }

    /// Number of slices in all tracks, those that were not kept included.
    pub fn slice_count(&self) -> usize {
        let kept: usize = self.tracks.iter().map(|track| track.slices.len()).sum();
        let dropped: u64 = self.dropped.iter().map(Dropped::count).sum();
        kept.saturating_add(usize::try_from(dropped).unwrap_or(usize::MAX))
    }

    /// What each device ran first for each execution: its program, or the first operation where the
    /// trace has no programs.
    pub fn first_of_runs(&self) -> BTreeMap<i64, Vec<SliceRef>> {
        let mut found: BTreeMap<(i64, Option<DeviceId>), (bool, Picos, SliceRef)> = BTreeMap::new();
        for (id, track) in self.tracks.iter_ids().filter(|(_, it)| !it.slices.run.is_empty()) {
            let is_detail = match track.kind {
                TrackKind::Modules => false,
                TrackKind::Ops => true,
                _ => continue,
            };
            for (row, &start) in (0_u32..).zip(&track.slices.start) {
                let Some(run) = track.slices.run_of(row as usize) else { continue };
                let this = (is_detail, start, SliceRef { track: id, row });
                let known = found.entry((run, track.device)).or_insert(this);
                *known = (*known).min(this);
            }
        }
        let mut rows: BTreeMap<i64, Vec<SliceRef>> = BTreeMap::new();
        for ((run, _), (_, _, slice)) in found {
            rows.entry(run).or_default().push(slice);
        }
        rows
    }

    /// Start of the first slice or span, whether they were kept or not, which is where reports count
    /// from; zero if there is none. Unlike [`extent`](Self::extent) it looks at no more than one row
    /// of each track.
    pub fn start(&self) -> Picos {
        let tracks = self.tracks.iter().filter_map(|track| track.slices.start.first().copied());
        let spans = self.spans.iter().map(|span| span.start);
        let client = self.client.iter().map(|request| request.intended);
        let dropped = self.dropped.iter().map(|dropped| dropped.first);
        tracks.chain(dropped).chain(spans).chain(client).min().unwrap_or_default()
    }

    /// Start of the first and end of the last slice or span, whether they were kept or not.
    pub fn extent(&self) -> Option<(Picos, Picos)> {
        let tracks = self.tracks.iter().filter_map(|track| track.slices.extent());
        let spans = self.spans.iter().map(|span| (span.start, span.end()));
        let client = self.client.iter().map(|request| (request.intended, request.end));
        let dropped = self.dropped.iter().map(|dropped| (dropped.first, dropped.last));
        tracks.chain(dropped).chain(spans).chain(client).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}
