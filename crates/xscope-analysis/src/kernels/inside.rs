//! What a TPU notes within an operation: the stages of a Pallas kernel (`XLA TraceMe`), and how busy its
//! units were (`_counters_`). A custom call has no stated cost, so this is all that tells what bounds it.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use xscope_trace::model::{DeviceId, MetaId, Slices, Track, TrackKind};
use xscope_trace::stats::{as_f64, share};
use xscope_trace::{Metric, Picos, Trace};

use crate::kernels::nesting::self_times;

/// The line of stages.
const STAGES: &str = "XLA TraceMe";

/// The line of samples of units.
const COUNTERS: &str = "_counters_";

/// The stages in which Pallas's pipeline waits for the copies of its inputs and outputs.
const COPY_WAITS: [&str; 2] = ["ep_wait_in", "ep_wait_out"];

/// What a device notes within an operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inside {
    /// Share of the operation's time in which Pallas's pipeline waited for copies into and out of the
    /// chip's fast memory (DMA).
    pub dma_wait_share: Metric,
    /// Its stages, by time.
    pub noted_stages: Vec<NotedStage>,
    /// The units that were sampled in it, by name.
    pub sampled_units: Vec<SampledUnit>,
}

/// A stage of an operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotedStage {
    /// As the kernel calls it.
    pub name: String,
    /// How often it ran.
    pub count: u64,
    /// Its time without that of stages nested in it.
    pub self_us: f64,
    /// Share of the operation's time.
    pub share: f64,
}

/// A unit of the hardware.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SampledUnit {
    /// As the device calls it.
    pub name: String,
    /// Samples that lie within the operation.
    pub sample_count: u64,
    /// Share of its slots that were in use, the mean over the samples' time.
    pub slot_share: Metric,
}

/// Whether a track holds samples of how busy units were.
pub(crate) fn has_samples(trace: &Trace, track: &Track) -> bool {
    is_line(trace, track, COUNTERS)
}

pub(crate) fn is_stage_line(trace: &Trace, track: &Track) -> bool {
    is_line(trace, track, STAGES)
}

fn is_line(trace: &Trace, track: &Track, name: &str) -> bool {
    track.kind == TrackKind::Derived
        && trace.strings.get(track.name) == name
        && !track.slices.is_empty()
}

/// What is known of one operation.
#[derive(Default)]
struct Sums<'a> {
    /// The time of its executions.
    whole: Picos,
    stages: BTreeMap<&'a str, (u64, Picos)>,
    /// Samples, their time, and that times their percent.
    units: BTreeMap<&'a str, (u64, Picos, f64)>,
}

impl Inside {
    /// Whether it waited for copies for most of its time.
    pub(crate) fn waits_for_copies(&self) -> bool {
        self.dma_wait_share.value.is_some_and(|share| share > 0.5)
    }
}

/// What a device notes within its operations, of those of which it notes anything.
pub(crate) fn insides(trace: &Trace, device: DeviceId) -> FxHashMap<MetaId, Inside> {
    let notes = |name| {
        let tracks = trace.tracks.iter().filter(move |track| track.device == Some(device));
        tracks.filter(move |track| is_line(trace, track, name))
    };
    if notes(STAGES).next().is_none() && notes(COUNTERS).next().is_none() {
        return FxHashMap::default();
    }
    let mut sums: FxHashMap<MetaId, Sums<'_>> = FxHashMap::default();
    for ops in trace.device_tracks(device, TrackKind::Ops) {
        for (&meta, &dur) in ops.slices.meta.iter().zip(&ops.slices.dur) {
            let whole = &mut sums.entry(meta).or_default().whole;
            *whole = whole.saturating_add(dur.max(Picos::ZERO));
        }
        for track in notes(STAGES) {
            let own = self_times(&track.slices.start, &track.slices.dur);
            for (row, meta) in within(&track.slices, &ops.slices) {
                let Some(sums) = sums.get_mut(&meta) else { continue };
                let (count, time) =
                    sums.stages.entry(trace.label(track.slices.meta[row])).or_default();
                (*count, *time) = (*count + 1, time.saturating_add(own[row]));
            }
        }
        for track in notes(COUNTERS) {
            for (row, meta) in within(&track.slices, &ops.slices) {
                let percent = track.slices.args.find(row, "% util", &trace.strings);
                let percent = percent.and_then(|value| value.as_f64());
                let Some(percent) = percent.filter(|it| (0.0..=100.0).contains(it)) else {
                    continue;
                };
                let Some(sums) = sums.get_mut(&meta) else { continue };
                let unit = sums.units.entry(trace.label(track.slices.meta[row])).or_default();
                let dur = track.slices.dur[row];
                *unit = (
                    unit.0 + 1,
                    unit.1.saturating_add(dur),
                    unit.2 + percent * as_f64(dur.0.unsigned_abs()),
                );
            }
        }
    }
    let noted =
        sums.into_iter().filter(|(_, sums)| !sums.stages.is_empty() || !sums.units.is_empty());
    noted.map(|(meta, sums)| (meta, inside(sums))).collect()
}

/// The rows of a track that lie in an operation, each with the innermost one. A row that does not end in
/// it, as a sample of which the end was not read, is not told.
fn within<'a>(notes: &'a Slices, ops: &'a Slices) -> impl Iterator<Item = (usize, MetaId)> + 'a {
    let (mut next, mut open) = (0, Vec::<usize>::new());
    (0..notes.len()).filter_map(move |row| {
        let start = notes.start[row];
        while next < ops.len() && ops.start[next] <= start {
            open.retain(|&op| ops.end(op) > ops.start[next]);
            open.push(next);
            next += 1;
        }
        let holds = |op: &&usize| ops.end(**op) >= notes.end(row);
        let op = open.iter().rev().find(holds)?;
        (notes.dur[row] > Picos::ZERO).then(|| (row, ops.meta[*op]))
    })
}

fn inside(sums: Sums<'_>) -> Inside {
    let Sums { whole, stages, units } = sums;
    let waits = stages.iter().filter(|(name, _)| COPY_WAITS.contains(name));
    let waited = waits.fold(Picos::ZERO, |sum, (_, (_, time))| sum.saturating_add(*time));
    let dma_wait_share = match stages.keys().any(|name| name.starts_with("ep_")) {
        true => Metric::valid(share(waited, whole), "1"),
        false => Metric::unavailable("1", "its stages are not those of Pallas's pipeline"),
    };
    let mut stages: Vec<_> = stages.into_iter().collect();
    stages.sort_by(|a, b| b.1.1.cmp(&a.1.1).then_with(|| a.0.cmp(b.0)));
    let stage = |(name, (count, time)): (&str, (u64, Picos))| NotedStage {
        name: name.to_owned(),
        count,
        self_us: time.as_micros(),
        share: share(time, whole),
    };
    let unit = |(name, (sample_count, time, weighed)): (&str, (u64, Picos, f64))| SampledUnit {
        name: name.to_owned(),
        sample_count,
        slot_share: Metric::valid(weighed / as_f64(time.0.unsigned_abs()) / 100.0, "1"),
    };
    Inside {
        dma_wait_share,
        noted_stages: stages.into_iter().map(stage).collect(),
        sampled_units: units.into_iter().map(unit).collect(),
    }
}

#[cfg(test)]
mod tests {
    use xscope_trace::Picos;
    use xscope_trace::model::{MetaId, Slices};

    use super::within;

    #[test]
    fn a_note_is_of_the_innermost_operation_that_holds_it() {
        let slices = |rows: &[(i64, i64)]| {
            let mut slices = Slices::default();
            for (row, (start, end)) in (0..).zip(rows) {
                slices.start.push(Picos(*start));
                slices.dur.push(Picos(end - start));
                slices.meta.push(MetaId(row));
            }
            slices
        };
        let ops = slices(&[(0, 100), (10, 50), (60, 80), (200, 300)]);
        let notes = [(0, 5), (12, 50), (45, 70), (61, 61), (62, 70), (150, 160), (200, 400)];
        let found: Vec<_> =
            within(&slices(&notes), &ops).map(|(row, meta)| (row, meta.0)).collect();
        assert_eq!(found, [(0, 0), (1, 1), (2, 0), (4, 2)]);
    }
}
