//! The executions of the kernels with the most self time, one by one.

use rayon::prelude::*;
use xscope_trace::Picos;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{MetaId, TrackKind};

use crate::kernels::copies::copied_bytes;
use crate::kernels::row::KernelRow;
use crate::kernels::variation::{KernelRun, Variation, variation};
use crate::kernels::work::Work;

/// How many kernels are looked at, those with the most self time.
const KERNELS: usize = 100;

/// A gap before an execution that counts as one.
const GAP: Picos = Picos(10_000_000);

/// What the executions of the kernels with the most self time vary with; `kernels` are in that order.
pub(crate) fn variations(work: &Work<'_>, kernels: &[KernelRow]) -> Vec<Option<Variation>> {
    let runs = runs(work, &kernels[..kernels.len().min(KERNELS)]);
    runs.into_par_iter().map(variation).collect()
}

fn runs(work: &Work<'_>, kernels: &[KernelRow]) -> Vec<Vec<KernelRun>> {
    let trace = work.trace;
    let mut all: Vec<Vec<KernelRun>> = kernels
        .iter()
        .map(|kernel| Vec::with_capacity(usize::try_from(kernel.count).unwrap_or(0)))
        .collect();
    for (id, track) in trace.tracks.iter_ids() {
        let Some(device) = track.device.filter(|_| track.kind == TrackKind::Ops) else { continue };
        let own = || (0_u32..).zip(kernels).filter(|(_, kernel)| kernel.device_id == device);
        if own().next().is_none() {
            continue;
        }
        let mut places: IdVec<MetaId, Option<u32>> = IdVec::filled(&trace.metas, None);
        for (at, kernel) in own() {
            places[kernel.meta] = Some(at);
        }
        let is_copy = |at: usize| kernels[at].category == "copy";
        let mut until = Picos(i64::MIN);
        for (row, meta) in track.slices.meta.iter().enumerate() {
            let start = track.slices.start[row];
            if let Some(at) = places[*meta] {
                let at = at as usize;
                let bytes = is_copy(at).then(|| copied_bytes(trace, track, row)).flatten();
                all[at].push(KernelRun {
                    start,
                    dur: work.durations(id)[row].max(Picos::ZERO),
                    run: track.slices.run_of(row).unwrap_or(0),
                    after_gap: start > until.saturating_add(GAP),
                    bytes: bytes.unwrap_or(0),
                });
            }
            until = until.max(track.slices.end(row));
        }
    }
    all
}
