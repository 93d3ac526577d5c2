//! Which runs of a collective on devices are of one execution, and which of those exchange with each other.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;
use xscope_trace::model::{DeviceId, MetaId, SourceId};
use xscope_trace::{Picos, Trace};

use crate::devices::collectives::lags;
use crate::devices::collectives::members::{Groups, Members};
use crate::devices::collectives::messages::Message;
use crate::devices::collectives::runs::{CollectiveRun, CollectiveRuns, half};
use crate::kernels::row::program_name;

/// What identifies a collective: its job, name and program's name.
type Key<'a> = (SourceId, Cow<'a, str>, &'a str);

/// The runs of one collective on all devices of a job, in order.
pub(crate) struct Executions {
    pub(super) name: String,
    pub(super) program: String,
    pub(super) meta: MetaId,
    pub(super) groups: Groups,
    /// Those of one execution together, and of these those of one group.
    pub(super) runs: Vec<CollectiveRun>,
    /// Whether it is not certain which execution on one source is which on another.
    pub is_ambiguous: bool,
}

impl Executions {
    /// All collectives of which anything ran.
    pub(crate) fn of(trace: &Trace, devices: &[CollectiveRuns]) -> Vec<Self> {
        let members = Members::of(trace);
        let all: Vec<_> = by_collective(trace, &members, devices).into_iter().collect();
        let of_one = |((_, name, program), (meta, runs)): (Key<'_>, (MetaId, Vec<_>))| {
            let groups = members.groups(trace, meta);
            let mut runs: Vec<CollectiveRun> = runs.concat();
            let is_ambiguous = number(trace, &groups, &mut runs);
            let (name, program) = (name.into_owned(), program.to_owned());
            Self { name, program, meta, groups, runs, is_ambiguous }
        };
        all.into_par_iter().map(of_one).collect()
    }

    /// The runs of each execution, in order.
    pub(super) fn each(&self) -> impl Iterator<Item = &[CollectiveRun]> {
        self.runs.chunk_by(|a, b| (a.execution, a.number) == (b.execution, b.number))
    }

    /// The runs of each group in an execution, and whether devices of the group are missing.
    pub(super) fn groups_of<'a>(
        &'a self,
        execution: &'a [CollectiveRun],
    ) -> impl Iterator<Item = (&'a [CollectiveRun], bool)> {
        let size = |run: &CollectiveRun| match run.message {
            Some(Message { group_size: 1.., .. }) => run.message.map(|it| it.group_size as usize),
            _ => self.groups.size(run.group),
        };
        let groups = execution.chunk_by(|a, b| a.group == b.group);
        groups.map(move |runs| (runs, size(&runs[0]).is_some_and(|size| runs.len() < size)))
    }

    /// The runs of each group that is whole, execution by execution.
    pub(crate) fn complete(&self) -> impl Iterator<Item = &[CollectiveRun]> {
        let groups = self.each().flat_map(|execution| self.groups_of(execution));
        groups.filter(|(_, is_missing)| !is_missing).map(|(runs, _)| runs)
    }
}

/// What ran of each collective, by its key, from one device after the other.
fn by_collective<'a>(
    trace: &'a Trace,
    members: &Members,
    devices: &'a [CollectiveRuns],
) -> BTreeMap<Key<'a>, (MetaId, Vec<&'a [CollectiveRun]>)> {
    let key = |device: DeviceId, meta: MetaId| -> Key<'a> {
        let job = members.job(trace.devices[device].source);
        let name = trace.label(meta);
        let whole = half(name).map_or(Cow::Borrowed(name), |(whole, _)| whole);
        (job, whole, program_name(trace, meta))
    };
    let mut groups: BTreeMap<Key<'a>, (MetaId, Vec<&[CollectiveRun]>)> = BTreeMap::new();
    for CollectiveRuns { device, ranges, runs } in devices {
        for (meta, range) in ranges {
            let group = groups.entry(key(*device, *meta)).or_insert((*meta, Vec::new()));
            group.1.push(&runs[range.clone()]);
        }
    }
    groups
}

/// Brings runs of a collective in order, each with its group and its execution. Whether the latter is not
/// certain.
fn number(trace: &Trace, groups: &Groups, runs: &mut [CollectiveRun]) -> bool {
    for run in runs.iter_mut() {
        run.group = groups.of(run.device).or(run.message.and_then(|message| message.group));
    }
    let source = |run: &CollectiveRun| trace.devices[run.device].source;
    let is_across = runs.iter().any(|run| source(run) != source(&runs[0]));
    let is_ambiguous = is_across && number_across(runs, source);
    // Those of one device are in order, which makes this little work.
    runs.sort_by_key(|run| (run.execution, run.number, run.group, run.device));
    is_ambiguous
}

/// Counts executions of each group alike on all sources, whose own numbers say nothing of the others'.
/// Whether that is not certain.
fn number_across(runs: &mut [CollectiveRun], source: impl Fn(&CollectiveRun) -> SourceId) -> bool {
    let mut is_ambiguous = false;
    runs.sort_by_key(|run| (run.group, source(run), run.execution, run.number, run.start));
    for of_group in runs.chunk_by_mut(|a, b| a.group == b.group) {
        let mut reference: Option<Vec<Picos>> = None;
        for of_source in of_group.chunk_by_mut(|a, b| source(a) == source(b)) {
            let mut executions: Vec<&mut [CollectiveRun]> = of_source
                .chunk_by_mut(|a, b| (a.execution, a.number) == (b.execution, b.number))
                .collect();
            executions.sort_by_key(|runs| runs.iter().map(|run| run.start).min());
            let end = |runs: &&mut [CollectiveRun]| runs.iter().map(CollectiveRun::end).max();
            let ends: Vec<Picos> = executions.iter().filter_map(end).collect();
            let reference = reference.get_or_insert_with(|| ends.clone());
            let lag = lags::lag(reference, &ends);
            is_ambiguous |= lag.is_ambiguous;
            let first = lag.by;
            for (at, execution) in (first..).zip(executions) {
                for run in execution {
                    (run.execution, run.number) = (at, 0);
                }
            }
        }
    }
    is_ambiguous
}
