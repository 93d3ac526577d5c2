//! Device work of batches whose numbers the device does not know.
//!
//! A server's batch numbers and the runtime's execution numbers (`run_id`) have nothing to do with
//! each other. What joins them is time and order: an execution belongs to the batch that was in its
//! forward pass when the execution began; where several were, to the first of them that has no
//! execution of the same program yet. How often that had to decide is counted.

use std::collections::{BTreeMap, BTreeSet};

use xscope_trace::model::{ProgramId, SourceId, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::intervals::Intervals;
use crate::requests::join::{BatchKey, Join};
use xscope_trace::stage::Stage;

/// What was found out by time and order.
///
/// Decode batches take part: their executions must not be taken for those of others.
#[derive(Debug, Default)]
pub(crate) struct Launches {
    /// Time in which at least one operation of the batch ran on a device.
    pub device: BTreeMap<BatchKey, Picos>,
    /// From start to end of each execution of each batch.
    pub extents: BTreeMap<BatchKey, Vec<(Picos, Picos)>>,
    /// Executions that were joined to a batch, and how many of them could be another one's.
    pub joined: u64,
    pub uncertain: u64,
}

/// The forward pass of a batch: from its first span to the end of its last, which waits for the
/// device.
#[derive(Debug)]
struct ForwardPass {
    batch: BatchKey,
    start: Picos,
    end: Picos,
    programs: BTreeSet<ProgramId>,
}

/// One run of one program on all devices.
#[derive(Debug, Default)]
struct Launch {
    program: Option<ProgramId>,
    operations: Vec<(Picos, Picos)>,
}

impl Launch {
    fn extent(&self) -> Option<(Picos, Picos)> {
        let start = self.operations.iter().map(|&(start, _)| start).min()?;
        Some((start, self.operations.iter().map(|&(_, end)| end).max()?))
    }
}

impl Launches {
    pub(crate) fn of(trace: &Trace, join: &Join) -> Self {
        let mut passes = forward_passes(trace, join);
        let mut launches = Self::default();
        if passes.is_empty() {
            return launches;
        }
        let mut found: Vec<((Picos, Picos), Launch)> = all_launches(trace)
            .into_values()
            .filter_map(|launch| Some((launch.extent()?, launch)))
            .collect();
        found.sort_by_key(|((start, _), launch)| (*start, launch.program));
        let longest = passes.iter().map(|pass| pass.end - pass.start).max().unwrap_or_default();
        let mut work: BTreeMap<BatchKey, Vec<(Picos, Picos)>> = BTreeMap::new();
        for ((start, end), mut launch) in found {
            let first = passes.partition_point(|pass| pass.start.saturating_add(longest) < start);
            let until = passes.partition_point(|pass| pass.start <= start);
            let mut fits: Vec<usize> =
                (first.min(until)..until).filter(|&index| passes[index].end >= start).collect();
            let Some(&last) = fits.last() else { continue };
            launches.joined += 1;
            launches.uncertain += u64::from(fits.len() > 1);
            let chosen = match launch.program {
                Some(program) => {
                    fits.retain(|&index| !passes[index].programs.contains(&program));
                    let chosen = fits.first().copied().unwrap_or(last);
                    passes[chosen].programs.insert(program);
                    chosen
                }
                None => last,
            };
            let batch = passes[chosen].batch;
            launches.extents.entry(batch).or_default().push((start, end));
            work.entry(batch).or_default().append(&mut launch.operations);
        }
        launches.device =
            work.into_iter().map(|(batch, times)| (batch, Intervals::of(times).total())).collect();
        launches
    }
}

fn forward_passes(trace: &Trace, join: &Join) -> Vec<ForwardPass> {
    let mut extents: BTreeMap<BatchKey, (Picos, Picos)> = BTreeMap::new();
    for span in &trace.spans {
        let (None, Some(batch)) = (span.request, span.batch) else { continue };
        let batch = (span.source, batch);
        let is_pass = matches!(
            Stage::named(trace.strings.get(span.name)),
            Some(Stage::Forward | Stage::Decode)
        );
        if is_pass && !join.members(batch).is_empty() {
            let extent = extents.entry(batch).or_insert((span.start, span.end()));
            *extent = (extent.0.min(span.start), extent.1.max(span.end()));
        }
    }
    let mut passes: Vec<ForwardPass> = extents
        .into_iter()
        .map(|(batch, (start, end))| ForwardPass { batch, start, end, programs: BTreeSet::new() })
        .collect();
    passes.sort_by_key(|pass| (pass.start, pass.batch));
    passes
}

/// All of them; an operation without a run id is one of its own.
fn all_launches(trace: &Trace) -> BTreeMap<(SourceId, Option<ProgramId>, i64), Launch> {
    let mut launches: BTreeMap<_, Launch> = BTreeMap::new();
    let mut alone = i64::MIN;
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops) {
        let slices = &track.slices;
        for row in 0..slices.len() {
            let program = trace.metas.get(slices.meta[row]).and_then(|meta| meta.program);
            let run = slices.run_of(row).unwrap_or_else(|| {
                alone += 1;
                alone
            });
            let launch = launches.entry((track.source, program, run)).or_default();
            launch.program = program;
            launch.operations.push((slices.start[row], slices.end(row)));
        }
    }
    launches
}

#[cfg(test)]
mod tests {
    use xscope_trace::model::ArgCell;
    use xscope_trace::model::{
        DeviceId, EventMeta, MetaId, ProgramId, RequestSpan, Slices, SourceId, SpanKey, Track,
        TrackKind,
    };
    use xscope_trace::strings::StrId;
    use xscope_trace::{Picos, Trace};

    use super::Launches;
    use crate::requests::join::Join;

    /// Batches with their forward passes, and operations of one program with their run ids.
    fn check(forwards: &[(i64, i64, i64)], ops: &[(i64, i64, i64)]) -> (Vec<i64>, u64, u64) {
        let mut trace = Trace::default();
        let [forward, rid, name] = ["forward", "rid", "r"].map(|text| trace.strings.intern(text));
        for &(batch, start, end) in forwards {
            trace.spans.push(RequestSpan {
                name: forward,
                source: SourceId(0),
                start: Picos(start),
                dur: Picos(end - start),
                tid: 1,
                request: None,
                batch: Some(SpanKey::Number(batch)),
                args: vec![(rid, ArgCell::Str(name))],
            });
        }
        trace.metas.push(EventMeta { program: Some(ProgramId(0)), ..EventMeta::default() });
        trace.tracks.push(Track {
            kind: TrackKind::Ops,
            name: StrId::EMPTY,
            source: SourceId(1),
            process: StrId::EMPTY,
            pid: 0,
            tid: 0,
            device: Some(DeviceId(0)),
            slices: Slices {
                start: ops.iter().map(|op| Picos(op.1)).collect(),
                dur: ops.iter().map(|op| Picos(op.2)).collect(),
                meta: vec![MetaId(0); ops.len()],
                run: ops.iter().map(|op| op.0).collect(),
                ..Slices::default()
            },
        });
        let launches = Launches::of(&trace, &Join::of(&trace));
        let device = launches.device.values().map(|time| time.0).collect();
        (device, launches.joined, launches.uncertain)
    }

    #[test]
    fn executions_belong_to_the_forward_pass_in_which_they_began() {
        let found = check(&[(1, 0, 50), (2, 60, 90)], &[(901, 10, 5), (901, 20, 5), (902, 70, 9)]);
        assert_eq!(found, (vec![10, 9], 2, 0));
    }

    #[test]
    fn where_forward_passes_overlap_order_decides_and_is_counted() {
        let found = check(&[(1, 0, 90), (2, 5, 95)], &[(901, 10, 4), (902, 20, 6)]);
        assert_eq!(found, (vec![4, 6], 2, 2));
    }

    #[test]
    fn what_ran_outside_all_forward_passes_is_no_batch_s() {
        assert_eq!(check(&[(1, 10, 20)], &[(901, 30, 4)]), (vec![], 0, 0));
    }
}
