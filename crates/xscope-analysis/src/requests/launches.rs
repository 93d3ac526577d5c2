//! Device work of batches whose numbers the device does not know.
//!
//! A server's batch numbers and the runtime's execution numbers (`run_id`) have nothing to do with
//! each other. What joins them is time and order: an execution belongs to the batch that was in its
//! forward pass when the execution began. Where several were, as with a schedule that launches a batch
//! before it has the last one's result, a batch takes no program twice, no pass of another stage than
//! its own, and beside what it has only a sampler or what it has been seen with where nothing was
//! uncertain; of those left it is the first. How often that had to decide is counted.

use std::collections::{BTreeMap, BTreeSet};

use xscope_trace::model::{ProgramId, SourceId, TrackKind};
use xscope_trace::stage::Stage;
use xscope_trace::{Picos, Trace};

use crate::devices::programs::{ProgramStage, program_stage};
use crate::intervals::Intervals;
use crate::requests::batch_work::BatchWork;
use crate::requests::join::{BatchKey, Join};

/// What was found out by time and order.
///
/// Decode batches take part: their executions must not be taken for those of others.
#[derive(Debug, Default)]
pub(crate) struct Launches {
    /// Time in which at least one operation of the batch ran on a device.
    pub device: BTreeMap<BatchKey, Picos>,
    /// Of that, what programs took that make a further token.
    pub decode: BTreeMap<BatchKey, Picos>,
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
    computes_prompts: bool,
    decodes: bool,
    programs: BTreeSet<ProgramId>,
}

impl ForwardPass {
    /// Whether a program of this stage may be its.
    fn is_of(&self, stage: ProgramStage) -> bool {
        match stage {
            ProgramStage::Prefill => self.computes_prompts || !self.decodes,
            ProgramStage::Decode => self.decodes,
            _ => true,
        }
    }
}

/// What runs in one forward pass, as far as the trace tells.
#[derive(Debug, Default)]
struct Programs {
    stages: BTreeMap<ProgramId, ProgramStage>,
    /// Pairs that ran in a pass with which no other overlapped then.
    together: BTreeSet<(ProgramId, ProgramId)>,
}

impl Programs {
    fn stage(&self, program: ProgramId) -> ProgramStage {
        self.stages.get(&program).copied().unwrap_or(ProgramStage::Unknown)
    }

    /// The pass among those that fit, in their order, to which an execution belongs.
    fn choose(&self, program: ProgramId, passes: &[ForwardPass], fits: &[usize]) -> Option<usize> {
        let stage = self.stage(program);
        let free: Vec<usize> = fits
            .iter()
            .copied()
            .filter(|&index| {
                !passes[index].programs.contains(&program) && passes[index].is_of(stage)
            })
            .collect();
        let belongs = |&&index: &&usize| {
            let there = &passes[index].programs;
            let is_known = there.iter().any(|&other| self.together.contains(&(other, program)));
            match stage {
                ProgramStage::Sampler => !there.is_empty(),
                _ => there.is_empty() || is_known,
            }
        };
        free.iter().find(belongs).or(free.first()).copied()
    }
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
        let fits = |passes: &[ForwardPass], start: Picos| -> Vec<usize> {
            let first = passes.partition_point(|pass| pass.start.saturating_add(longest) < start);
            let until = passes.partition_point(|pass| pass.start <= start);
            (first.min(until)..until).filter(|&index| passes[index].end >= start).collect()
        };
        let programs = Programs::of(trace, &found, |start| match *fits(&passes, start) {
            [only] => Some(only),
            _ => None,
        });
        let mut work: BTreeMap<BatchKey, Vec<(Picos, Picos)>> = BTreeMap::new();
        let mut decode = work.clone();
        for ((start, end), mut launch) in found {
            let fits = fits(&passes, start);
            let Some(&last) = fits.last() else { continue };
            launches.joined += 1;
            launches.uncertain += u64::from(fits.len() > 1);
            let mut chosen = last;
            if let Some(program) = launch.program {
                chosen = programs.choose(program, &passes, &fits).unwrap_or(last);
                passes[chosen].programs.insert(program);
            }
            let batch = passes[chosen].batch;
            launches.extents.entry(batch).or_default().push((start, end));
            if launch.program.is_some_and(|id| programs.stage(id) == ProgramStage::Decode) {
                decode.entry(batch).or_default().extend_from_slice(&launch.operations);
            }
            work.entry(batch).or_default().append(&mut launch.operations);
        }
        let total = |work: BTreeMap<BatchKey, Vec<(Picos, Picos)>>| {
            work.into_iter().map(|(batch, times)| (batch, Intervals::of(times).total())).collect()
        };
        (launches.device, launches.decode) = (total(work), total(decode));
        launches
    }
}

impl Programs {
    /// `only` is the pass that alone was under way at a time.
    fn of(
        trace: &Trace,
        found: &[((Picos, Picos), Launch)],
        only: impl Fn(Picos) -> Option<usize>,
    ) -> Self {
        let mut programs = Self::default();
        let mut alone: BTreeMap<usize, BTreeSet<ProgramId>> = BTreeMap::new();
        for ((start, _), launch) in found {
            let Some(program) = launch.program else { continue };
            programs.stages.entry(program).or_insert_with(|| program_stage(trace, program));
            if let Some(pass) = only(*start) {
                alone.entry(pass).or_default().insert(program);
            }
        }
        for there in alone.values() {
            let pairs = there.iter().flat_map(|&a| there.iter().map(move |&b| (a, b)));
            programs.together.extend(pairs.filter(|(a, b)| a != b));
        }
        programs
    }
}

fn forward_passes(trace: &Trace, join: &Join) -> Vec<ForwardPass> {
    let mut extents: BTreeMap<BatchKey, (Picos, Picos)> = BTreeMap::new();
    let work = BatchWork::of(trace);
    for span in &trace.spans {
        let (None, Some(batch)) = (span.request, span.batch) else { continue };
        let batch = (span.source, batch);
        let stage = Stage::named(trace.strings.get(span.name));
        let is_pass = matches!(stage, Some(Stage::Forward | Stage::Decode));
        if is_pass && !join.members(batch).is_empty() {
            let extent = extents.entry(batch).or_insert((span.start, span.end()));
            *extent = (extent.0.min(span.start), extent.1.max(span.end()));
        }
    }
    let mut passes: Vec<ForwardPass> = extents
        .into_iter()
        .map(|(batch, (start, end))| {
            let (computes_prompts, decodes) =
                (work.prompts.contains(&batch), work.decodes.contains(&batch));
            let programs = BTreeSet::new();
            ForwardPass { batch, start, end, computes_prompts, decodes, programs }
        })
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
        DeviceId, EventMeta, Program, RequestSpan, Slices, SourceId, SpanKey, Track, TrackKind,
    };
    use xscope_trace::strings::StrId;
    use xscope_trace::{Picos, Trace};

    use super::Launches;
    use crate::requests::join::Join;

    /// Batches with their forward passes, and operations of one program with their run ids.
    fn check(forwards: &[(i64, i64, i64)], ops: &[(i64, i64, i64)]) -> (Vec<i64>, u64, u64) {
        let passes: Vec<_> = forwards.iter().map(|&(b, s, e)| ("forward", b, s, e)).collect();
        let ops: Vec<_> = ops.iter().map(|&(run, s, d)| ("a", run, s, d)).collect();
        joined(&passes, &ops)
    }

    /// The stage, number, start and end of a pass, or the program, `run_id`, start and duration of an
    /// operation.
    type Row<'t> = (&'t str, i64, i64, i64);

    /// The same with the stage of each pass and the program of each operation.
    fn joined(passes: &[Row<'_>], ops: &[Row<'_>]) -> (Vec<i64>, u64, u64) {
        let mut trace = Trace::default();
        let [rid, name] = ["rid", "r"].map(|text| trace.strings.intern(text));
        for &(stage, batch, start, end) in passes {
            trace.spans.push(RequestSpan {
                name: trace.strings.intern(stage),
                source: SourceId(0),
                start: Picos(start),
                dur: Picos(end - start),
                tid: 1,
                request: None,
                batch: Some(SpanKey::Number(batch)),
                args: vec![(rid, ArgCell::Str(name))],
            });
        }
        for &(program, ..) in ops {
            let name = trace.strings.intern(program);
            let known = trace.programs.iter_ids().find(|(_, known)| known.name == name);
            let id = known
                .map(|(id, _)| id)
                .unwrap_or_else(|| trace.programs.push(Program { name, ..Program::default() }));
            trace.metas.push(EventMeta { program: Some(id), ..EventMeta::default() });
        }
        trace.tracks.push(Track {
            kind: TrackKind::Ops,
            name: StrId::EMPTY,
            source: SourceId(1),
            process: StrId::EMPTY,
            pid: 0,
            tid: 0,
            device: Some(DeviceId(0)),
            slices: Slices {
                start: ops.iter().map(|op| Picos(op.2)).collect(),
                dur: ops.iter().map(|op| Picos(op.3)).collect(),
                meta: trace.metas.iter_ids().map(|(id, _)| id).collect(),
                run: ops.iter().map(|op| op.1).collect(),
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
    fn what_is_launched_while_the_last_result_is_waited_for_is_its_own_batch_s() {
        let cases: [(&[Row<'_>], &[Row<'_>], &[i64]); 4] = [
            // The window of the prefill lasts until its result is taken, after the decode's launch.
            (
                &[("forward", 1, 0, 100), ("forward", 2, 85, 140)],
                &[("a", 901, 10, 70), ("b", 902, 88, 42)],
                &[70, 42],
            ),
            // The sampler behind each pass is a program of both.
            (
                &[("forward", 1, 0, 100), ("decode", 2, 5, 140)],
                &[
                    ("a", 1, 10, 60),
                    ("sampler", 2, 75, 3),
                    ("b", 3, 88, 40),
                    ("sampler", 4, 129, 4),
                ],
                &[63, 44],
            ),
            // Behind by a batch: the stage says which pass it is.
            (
                &[("decode", 1, 0, 100), ("forward", 2, 5, 140)],
                &[("decode_step", 1, 10, 60), ("prefill_step", 2, 75, 30)],
                &[60, 30],
            ),
            // Two programs of each pass, as a pass that was alone shows.
            (
                &[("forward", 1, 0, 50), ("forward", 2, 60, 160), ("forward", 3, 70, 200)],
                &[
                    ("a", 1, 10, 5),
                    ("b", 2, 20, 6),
                    ("a", 3, 80, 7),
                    ("b", 4, 90, 8),
                    ("a", 5, 100, 9),
                    ("b", 6, 120, 10),
                ],
                &[11, 15, 19],
            ),
        ];
        for (passes, ops, expected) in cases {
            assert_eq!(joined(passes, ops).0, expected, "{passes:?}");
        }
    }

    #[test]
    fn what_ran_outside_all_forward_passes_is_no_batch_s() {
        assert_eq!(check(&[(1, 10, 20)], &[(901, 30, 4)]), (vec![], 0, 0));
    }
}
