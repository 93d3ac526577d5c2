//! What the fuzz targets, the replay of their corpora and the tests of damage do with bytes: read
//! them, look at everything that was read, and check what the model promises.

use xscope_trace::Error;
use xscope_trace::model::{MetaId, Slices, Trace};
use xscope_trace::read::read_bytes;
use xscope_trace::time::Picos;
use xscope_trace::trim::xplane::trim_bytes;
use xscope_trace::trim::{Cut, Noise, trim};
use xscope_trace::write::{Joins, Target, to_stream, xplane};

#[path = "riegeli_file.rs"]
pub(crate) mod riegeli_file;

/// Rows whose arguments are looked at, of each track.
const ROWS_LOOKED_AT: usize = 10_000;

pub(crate) fn xplane(bytes: &[u8]) {
    drop(read("fuzz.xplane.pb", bytes));
}

/// A Riegeli file, as it is and with right check sums.
pub(crate) fn riegeli(bytes: &[u8]) {
    drop(read("fuzz.xplane.riegeli", bytes));
    drop(read("fuzz.xplane.riegeli", &riegeli_file::sealed(bytes)));
}

pub(crate) fn chrome_json(bytes: &[u8]) {
    drop(read("fuzz.trace.json", bytes));
}

pub(crate) fn xspan(bytes: &[u8]) {
    drop(read("fuzz.xspan", bytes));
}

pub(crate) fn requests_jsonl(bytes: &[u8]) {
    drop(read("requests.jsonl", bytes));
}

pub(crate) fn pprof(bytes: &[u8]) {
    drop(read("fuzz.prof", bytes));
}

pub(crate) fn memory_report(bytes: &[u8]) {
    drop(read("memory_report_fuzz.json", bytes));
}

pub(crate) fn server_log(bytes: &[u8]) {
    drop(read("server.log", bytes));
}

/// Trims an XSpace and writes what is left of it in every format.
pub(crate) fn write(bytes: &[u8]) {
    let Ok(mut trace) = read_bytes("fuzz.xplane.pb", bytes.to_vec()) else { return };
    let (from, to) = trace.extent().unwrap_or_default();
    let middle = Picos(from.0.midpoint(to.0));
    let cut = Cut { window: Some((from, middle)), drop: vec![Noise::Python, Noise::IdlePolls] };
    let mut trimmed = Vec::new();
    trim_bytes(bytes, &mut trimmed, &cut).expect("a vector takes all bytes");
    drop(read_bytes("fuzz.xplane.pb", trimmed));
    trim(&mut trace, &cut);
    look(&trace);
    for target in [
        Target::Perfetto,
        Target::Chrome,
        Target::XPlane,
        Target::Folded,
        Target::Speedscope,
        Target::Pprof,
    ] {
        let mut out = Vec::new();
        to_stream(&trace, &Joins::by_id(&trace), target, &mut out)
            .expect("a vector takes all bytes");
        if matches!(target, Target::XPlane) && trace.slice_count() > 0 {
            read("fuzz.xplane.pb", &out).expect("what was written is read");
        }
    }
}

/// Compacts an XSpace: the result is whole, as long as it says, and compacting it again changes
/// nothing.
pub(crate) fn compact(bytes: &[u8]) {
    let mut once = Vec::new();
    let first = xplane::compact(bytes, &mut once).expect("a vector takes all bytes");
    assert_eq!(first.bytes.0, once.len() as u64, "the size of the result");
    let mut twice = Vec::new();
    let second = xplane::compact(&once, &mut twice).expect("a vector takes all bytes");
    assert_eq!(second.damaged_at, None, "what was written is whole");
    assert_eq!(second.chunks, first.planes, "planes that were written");
    assert_eq!(once, twice, "compacting is idempotent");
}

/// Reads one file and looks at everything in the trace.
pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Trace, Error> {
    let trace = read_bytes(name, bytes.to_vec())?;
    look(&trace);
    Ok(trace)
}

/// Looks at everything that consumers look at. An inconsistent trace panics here.
pub(crate) fn look(trace: &Trace) {
    for track in &trace.tracks {
        check_columns(&track.slices);
        let step = track.slices.len().div_ceil(ROWS_LOOKED_AT).max(1);
        for row in (0..track.slices.len()).step_by(step) {
            drop(track.slices.args.get(row, &trace.strings));
            let _end = track.slices.end(row);
            let _run = track.slices.run_of(row);
            trace.label(track.slices.meta[row]);
        }
        if let Some(device) = track.device {
            assert!((device.0 as usize) < trace.devices.len(), "a track's device exists");
        }
        assert!((track.source.0 as usize) < trace.sources.len(), "a track's source exists");
    }
    for meta in (0..).map(MetaId).take(trace.metas.len()) {
        trace.strings.get(trace.scope_of(meta));
        trace.label(meta);
        for members in trace.instruction(meta).iter().flat_map(|op| &op.members) {
            let program = trace.meta(meta).program.expect("an instruction has a program");
            let instructions = &trace.programs[program].instructions;
            let range = members.start as usize..members.end as usize;
            assert!(instructions.get(range).is_some(), "a member exists");
        }
    }
    for flow in &trace.flows {
        for end in [flow.from, flow.to] {
            let slices = &trace.tracks[end.track].slices;
            assert!((end.row as usize) < slices.len(), "both ends of a flow exist");
        }
    }
    for counter in &trace.counters {
        assert_eq!(counter.at.len(), counter.value.len(), "samples have a time and a value");
    }
    for profile in &trace.profiles {
        for sample in 0..profile.len() {
            for frame in profile.frames_of(sample) {
                let _name = trace.strings.get(frame.function);
            }
            let _labels = profile.labels_of(sample);
            let _value = profile.value(sample, profile.default_type);
        }
    }
    trace.extent();
    assert!(trace.findings.iter().all(|finding| !finding.message.is_empty()));
}

/// What [`Slices`] promises of its columns.
fn check_columns(slices: &Slices) {
    let rows = slices.len();
    assert_eq!((slices.dur.len(), slices.meta.len()), (rows, rows), "columns are of one length");
    assert!(slices.run.is_empty() || slices.run.len() == rows, "the run column is whole");
    assert!(slices.start.is_sorted(), "rows are in the order of their start");
}
