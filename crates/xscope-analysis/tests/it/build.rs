//! Traces whose answers are known because they are made by hand.

use std::ops::Range;

use xscope_trace::model::{
    Device, DeviceId, DeviceKind, EventMeta, Instruction, MetaId, Program, ProgramId, Slices,
    SourceId, Track, TrackKind,
};
use xscope_trace::strings::StrId;
use xscope_trace::{Bytes, Picos, Trace};

/// A slice to be made: name, start and duration in microseconds.
pub(crate) type Row<'a> = (&'a str, i64, i64);

pub(crate) fn us(micros: i64) -> Picos {
    Picos(micros * 1_000_000)
}

/// Adds a device.
pub(crate) fn device(trace: &mut Trace, name: &str) -> DeviceId {
    let name = trace.strings.intern(name);
    trace.devices.push(Device {
        name,
        label: StrId::EMPTY,
        kind: DeviceKind::Cpu,
        ordinal: i64::try_from(trace.devices.len()).unwrap(),
        source: SourceId(0),
        model: StrId::EMPTY,
        peak_flops: None,
        peak_bytes: None,
    });
    if trace.sources.is_empty() {
        trace.sources.push(xscope_trace::model::Source {
            path: "made.pb".to_owned(),
            format: xscope_trace::model::Format::XPlane,
            size: Bytes(1),
            host: StrId::EMPTY,
            server: StrId::EMPTY,
            rank: None,
            clock: xscope_trace::model::Clock::default(),
            facts: Vec::new(),
        });
    }
    DeviceId(u32::try_from(trace.devices.len() - 1).unwrap())
}

/// Adds a track of slices that belong to execution `run` of `program`.
pub(crate) fn track(
    trace: &mut Trace,
    kind: TrackKind,
    device: Option<DeviceId>,
    program: Option<ProgramId>,
    rows: &[(Row<'_>, i64)],
) {
    let mut slices = Slices::default();
    for &((name, start, dur), run) in rows {
        let name = trace.strings.intern(name);
        let known =
            trace.metas.iter().position(|meta| meta.name == name && meta.program == program);
        let meta = known.unwrap_or_else(|| {
            trace.metas.push(EventMeta { name, program, ..EventMeta::default() });
            trace.metas.len() - 1
        });
        slices.start.push(us(start));
        slices.dur.push(us(dur));
        slices.meta.push(MetaId(u32::try_from(meta).unwrap()));
        slices.run.push(run);
    }
    let name = trace.strings.intern("made");
    trace.tracks.push(Track {
        kind,
        name,
        source: SourceId(0),
        process: StrId::EMPTY,
        pid: 1,
        tid: i64::try_from(trace.tracks.len()).unwrap(),
        device,
        slices,
    });
}

/// An instruction to be made.
#[derive(Default, Clone)]
pub(crate) struct Made<'a> {
    pub name: &'a str,
    pub opcode: &'a str,
    pub op_name: &'a str,
    pub flops: u64,
    pub members: Option<Range<u32>>,
    pub trips: Option<u64>,
}

pub(crate) fn made<'a>(name: &'a str, opcode: &'a str, op_name: &'a str, flops: u64) -> Made<'a> {
    Made { name, opcode, op_name, flops, ..Made::default() }
}

/// Adds a program; `entry` is the range of the instructions that run first.
pub(crate) fn program(trace: &mut Trace, rows: &[Made<'_>], entry: Range<u32>) -> ProgramId {
    let mut program = Program { entry, ..Program::default() };
    for row in rows {
        let name = trace.strings.intern(row.name);
        program.by_name.insert(name, u32::try_from(program.instructions.len()).unwrap());
        program.instructions.push(Instruction {
            name,
            opcode: trace.strings.intern(row.opcode),
            op_name: trace.strings.intern(row.op_name),
            flops: Some(row.flops),
            members: row.members.clone().into_iter().collect(),
            trip_count: row.trips,
            ..Instruction::default()
        });
    }
    trace.programs.push(program);
    ProgramId(u32::try_from(trace.programs.len() - 1).unwrap())
}
