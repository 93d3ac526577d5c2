//! What JAX's CPU backend records of the rendezvous of collectives.

use rustc_hash::FxHashMap;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{EventMeta, MetaId, Slices, SourceId, Track, TrackKind};
use xscope_trace::{Picos, Trace};

use crate::intervals::ahead;

/// What JAX's CPU backend records of the rendezvous of collectives, by thread.
pub(crate) struct Rendezvous<'a> {
    threads: FxHashMap<(SourceId, i64), &'a Slices>,
    /// By meta: whether it is a rendezvous, and whether it is waiting for devices in one.
    kinds: IdVec<MetaId, (bool, bool)>,
}

const RENDEZVOUS: &str = "Rendezvous";
const WAITS: &str = "Wait: pending_threads=";

/// Whether a host event tells how long a collective waited.
pub(crate) fn is_rendezvous(name: &str) -> bool {
    name == RENDEZVOUS || name.starts_with(WAITS)
}

impl<'a> Rendezvous<'a> {
    /// Of a trace that records none.
    pub(super) fn none() -> Self {
        Self { threads: FxHashMap::default(), kinds: IdVec::default() }
    }

    pub(crate) fn of(trace: &'a Trace) -> Self {
        if trace.strings.find(RENDEZVOUS).is_none() {
            return Self::none();
        }
        let hosts = trace.tracks.iter().filter(|track| track.kind == TrackKind::HostThread);
        let name = |meta: &EventMeta| trace.strings.get(meta.name);
        Self {
            threads: hosts.map(|track| ((track.source, track.tid), &track.slices)).collect(),
            kinds: trace
                .metas
                .iter()
                .map(|meta| (name(meta) == RENDEZVOUS, name(meta).starts_with(WAITS)))
                .collect(),
        }
    }

    /// What the thread of `track` did as a thread of the host.
    pub(super) fn on(&self, track: &Track) -> Option<&'a Slices> {
        self.threads.get(&(track.source, track.tid)).copied()
    }

    /// How long a thread waited between two times; `None` if it met nobody. Its slices from `first`
    /// on may count; for questions in order of their start, which move `first` on.
    pub(super) fn waited(
        &self,
        slices: &Slices,
        first: &mut usize,
        start: Picos,
        end: Picos,
    ) -> Option<Picos> {
        *first += ahead(&slices.start[*first..], |&at| at < start);
        let rows = (*first..slices.len()).take_while(|&row| slices.start[row] < end);
        let (mut met, mut waited) = (false, Picos::ZERO);
        for row in rows {
            let (is_rendezvous, is_wait) = self.kinds[slices.meta[row]];
            met |= is_rendezvous;
            if is_wait {
                waited = waited.saturating_add(slices.end(row).min(end) - slices.start[row]);
            }
        }
        met.then_some(waited)
    }
}
