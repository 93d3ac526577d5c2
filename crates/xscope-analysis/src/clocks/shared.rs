//! The exchanges that devices of several sources took part in.

use std::collections::BTreeMap;

use rayon::prelude::*;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{DeviceId, MetaId, SourceId};
use xscope_trace::{Picos, Trace};

use crate::devices::collectives::{
    CollectiveRun, CollectiveRuns, Executions, Members, synchronises,
};

/// One exchange of a group, on the sources that its devices are of.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub members: Vec<Member>,
}

/// A source in an exchange, in picoseconds of its own clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// Its place among the sources that are compared.
    pub source: usize,
    /// When the last of its devices came.
    pub start: f64,
    /// When the first of them left.
    pub end: f64,
}

impl Event {
    /// About when it was.
    pub(super) fn end(&self) -> f64 {
        self.members.first().map_or(0.0, |member| member.end)
    }
}

/// Sources that exchanges join, and those exchanges.
pub(super) struct Joined {
    pub sources: Vec<SourceId>,
    pub events: Vec<Event>,
    /// Whether it is not certain which execution of one session is which of another.
    pub is_ambiguous: bool,
}

/// All exchanges over several sources, for each set of sources that they join.
pub(super) fn joined(trace: &Trace) -> Vec<Joined> {
    let is_wanted: IdVec<MetaId, bool> =
        trace.metas.ids().map(|meta| synchronises(trace.label(meta))).collect();
    if !Members::of(trace).join_sources() || !is_wanted.iter().any(|wanted| *wanted) {
        return Vec::new();
    }
    let devices: Vec<DeviceId> = trace.devices.ids().collect();
    let runs: Vec<CollectiveRuns> = devices
        .into_par_iter()
        .map(|device| CollectiveRuns::plain(trace, device, |meta| is_wanted[meta]))
        .collect();
    let all = Executions::of(trace, &runs);
    let is_ambiguous = all.iter().any(|it| it.is_ambiguous);
    let exchanges: Vec<Vec<(SourceId, Picos, Picos)>> =
        all.iter().flat_map(|it| it.complete().filter_map(|runs| exchange(trace, runs))).collect();
    components(&exchanges, is_ambiguous)
}

/// What the runs of a group say of each of its sources; nothing if that is one only.
fn exchange(trace: &Trace, runs: &[CollectiveRun]) -> Option<Vec<(SourceId, Picos, Picos)>> {
    let mut sources: BTreeMap<SourceId, (Picos, Picos)> = BTreeMap::new();
    for run in runs {
        let times = (run.start, run.end());
        let (start, end) = sources.entry(trace.devices[run.device].source).or_insert(times);
        (*start, *end) = ((*start).max(run.start), (*end).min(run.end()));
    }
    let members = sources.into_iter().map(|(source, (start, end))| (source, start, end));
    let members: Vec<_> = members.collect();
    (members.len() > 1).then_some(members)
}

/// Takes sources together that exchanges join, however far.
fn components(exchanges: &[Vec<(SourceId, Picos, Picos)>], is_ambiguous: bool) -> Vec<Joined> {
    let mut first: BTreeMap<SourceId, SourceId> = BTreeMap::new();
    for members in exchanges {
        let roots: Vec<SourceId> =
            members.iter().map(|(it, ..)| first.get(it).copied().unwrap_or(*it)).collect();
        let Some(root) = roots.iter().copied().min() else { continue };
        for (source, ..) in members {
            first.insert(*source, root);
        }
        for joined in first.values_mut().filter(|it| roots.contains(it)) {
            *joined = root;
        }
    }
    let mut joined: BTreeMap<SourceId, Joined> = BTreeMap::new();
    for (&source, &root) in &first {
        let none = || Joined { sources: Vec::new(), events: Vec::new(), is_ambiguous };
        joined.entry(root).or_insert_with(none).sources.push(source);
    }
    for members in exchanges {
        let root = members.first().and_then(|(source, ..)| first.get(source));
        let Some(joined) = root.and_then(|root| joined.get_mut(root)) else { continue };
        let member = |&(source, start, end): &(SourceId, Picos, Picos)| {
            let source = joined.sources.binary_search(&source).ok()?;
            Some(Member { source, start: float(start), end: float(end) })
        };
        let members = members.iter().filter_map(member).collect();
        joined.events.push(Event { members });
    }
    joined.into_values().collect()
}

#[expect(clippy::cast_precision_loss, reason = "an axis of an hour is exact to a picosecond")]
fn float(time: Picos) -> f64 {
    time.0 as f64
}
