//! Kernels that cannot be: a stream runs one after the other, so none lies over a whole later one.
//!
//! That one begins a little before the one before it has ended is nothing: kernels may be launched so.

use xscope_trace::Picos;
use xscope_trace::model::Track;
use xscope_trace::quality::{Code, Finding};

use crate::quality::facts::Facts;
use crate::words::duration;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    let mut found = 0;
    let mut worst: Option<(Picos, &Track, usize)> = None;
    for (_, track) in facts.gpu_streams() {
        for row in over_others(track) {
            let dur = track.slices.dur[row];
            found += 1;
            if worst.is_none_or(|(longest, ..)| dur > longest) {
                worst = Some((dur, track, row));
            }
        }
    }
    let (dur, track, row) = worst?;
    let message = format!(
        "kernels lie over whole later ones of their stream, which runs one after the other, so they did \
         not take as long as recorded, the longest {} with {}: busy time and shares are not to be \
         trusted; capture again",
        trace.label(track.slices.meta[row]),
        duration(dur.as_micros())
    );
    Some(Finding::new(Code::DeviceOverlap, message).times(found))
}

/// The slices of a stream that begin before another and end after it.
fn over_others(track: &Track) -> Vec<usize> {
    let slices = &track.slices;
    let mut found = Vec::new();
    let mut last: Option<(usize, Picos)> = None;
    for (row, (start, end)) in slices.times().enumerate() {
        match last {
            Some((open, until)) if start < until && end < until && slices.start[open] < start => {
                found.push(open);
            }
            _ if last.is_none_or(|(_, until)| end >= until) => last = Some((row, end)),
            _ => {}
        }
    }
    found.dedup();
    found
}
