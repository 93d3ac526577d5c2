//! What is drawn of a stretch of time: columns in the form that a browser reads without parsing.

use std::ops::Range;

use rayon::prelude::*;
use xscope_trace::Picos;
use xscope_trace::model::{Counter, SliceRef, TrackId};

use super::layers::{Merged, View};
use super::{ItemKind, Timeline};

/// Most items of one question: more than a screen has.
const MOST_ITEMS: usize = 4096;

/// Most boxes of one answer.
const MOST_BOXES: usize = 1 << 19;

/// Which part of a timeline is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowQuery {
    pub from: Picos,
    pub to: Picos,
    /// How many pixels wide the stretch is drawn.
    pub pixels: u32,
    /// Which items, by their places in [`Timeline::items`].
    pub items: Vec<Range<u32>>,
}

/// A sample of a counter that is drawn: the highest of its pixel.
struct Sample {
    item: u32,
    at: Picos,
    value: f64,
}

impl Timeline {
    /// What is drawn of a window. All numbers are little-endian, all columns follow each other:
    ///
    /// | bytes | what |
    /// |---|---|
    /// | 4 each | number of boxes `n`, number of samples `m`, 1 if there would be more, 0 |
    /// | 8 `n` each, as `f64` | start, duration (negative: never ended), time in slices; in ps from the start of the trace |
    /// | 4 `n` each, as `u32` | slices in the box, name, slice (its number in its track), item, row |
    /// | padding | to a multiple of 8 |
    /// | 8 `m` each, as `f64` | time of the sample in ps, value |
    /// | 4 `m` as `u32` | item |
    pub fn window(&self, query: &WindowQuery) -> Vec<u8> {
        let view = View::new(query.from, query.to, query.pixels);
        let items: Vec<u32> = query.items.iter().cloned().flatten().take(MOST_ITEMS).collect();
        let found: Vec<(u32, Vec<Merged>)> =
            items.par_iter().map(|&item| (item, self.boxes(item, view))).collect();
        let samples: Vec<Sample> =
            items.iter().flat_map(|&item| self.samples(item, view)).collect();
        let mut left = MOST_BOXES;
        let mut is_cut = query.items.iter().map(ExactSizeIterator::len).sum::<usize>() > MOST_ITEMS;
        let boxes: Vec<(u32, Merged)> = found
            .into_iter()
            .flat_map(|(item, boxes)| {
                let shown = boxes.len().min(left);
                is_cut |= shown < boxes.len();
                left -= shown;
                boxes.into_iter().take(shown).map(move |it| (item, it))
            })
            .collect();
        self.encode(&boxes, &samples, is_cut)
    }

    fn boxes(&self, item: u32, view: View) -> Vec<Merged> {
        let mut boxes = Vec::new();
        if let Some(track) = self.track_of(item)
            && let Some(slices) = self.slices(track)
        {
            self.index[track].query(slices, view, &mut boxes);
        }
        boxes
    }

    /// The track that an item is.
    pub(super) fn track_of(&self, item: u32) -> Option<TrackId> {
        match self.tree.items.get(item as usize)?.kind {
            ItemKind::Track(track) => Some(track),
            _ => None,
        }
    }

    fn samples(&self, item: u32, view: View) -> Vec<Sample> {
        let Some(ItemKind::Counter(counter)) =
            self.tree.items.get(item as usize).map(|item| &item.kind)
        else {
            return Vec::new();
        };
        match self.trace.counters.get(*counter as usize) {
            Some(counter) => samples(counter, item, view),
            None => Vec::new(),
        }
    }

    /// A time as a client knows it.
    pub(super) fn relative(&self, time: Picos) -> f64 {
        as_f64(time.0.saturating_sub(self.extent.0.0))
    }

    fn encode(&self, boxes: &[(u32, Merged)], samples: &[Sample], is_cut: bool) -> Vec<u8> {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(16 + boxes.len() * 44 + 8 + samples.len() * 20);
        for number in [count(boxes.len()), count(samples.len()), u32::from(is_cut), 0] {
            out.extend(number.to_le_bytes());
        }
        floats(&mut out, boxes, |(_, it)| self.relative(it.start));
        floats(&mut out, boxes, |(_, it)| as_f64(it.dur.0));
        floats(&mut out, boxes, |(_, it)| as_f64(it.busy.0));
        integers(&mut out, boxes, |(_, it)| it.count);
        integers(&mut out, boxes, |&(item, it)| {
            let track = self.track_of(item);
            track.map_or(0, |track| self.name_id(SliceRef { track, row: it.slice }))
        });
        integers(&mut out, boxes, |(_, it)| it.slice);
        integers(&mut out, boxes, |&(item, _)| item);
        integers(&mut out, boxes, |(_, it)| u32::from(it.row));
        out.resize(out.len().next_multiple_of(8), 0);
        floats(&mut out, samples, |it| self.relative(it.at));
        floats(&mut out, samples, |it| it.value);
        integers(&mut out, samples, |it| it.item);
        out
    }
}

fn floats<T>(out: &mut Vec<u8>, rows: &[T], value: impl Fn(&T) -> f64) {
    for row in rows {
        out.extend(value(row).to_le_bytes());
    }
}

fn integers<T>(out: &mut Vec<u8>, rows: &[T], value: impl Fn(&T) -> u32) {
    for row in rows {
        out.extend(value(row).to_le_bytes());
    }
}

/// The highest sample of each pixel, the one before the window and the one behind it.
fn samples(counter: &Counter, item: u32, view: View) -> Vec<Sample> {
    let first = counter.at.partition_point(|&at| at < view.from).saturating_sub(1);
    let until = counter.at.partition_point(|&at| at < view.to) + 1;
    let until = until.min(counter.at.len()).min(counter.value.len());
    let mut out: Vec<Sample> = Vec::new();
    let mut pixel = None;
    for index in first..until {
        let (at, value) = (counter.at[index], counter.value[index]);
        let here = at.0.saturating_sub(view.from.0).div_euclid(view.pixel.0);
        match out.last_mut().filter(|_| pixel == Some(here)) {
            Some(last) if last.value < value => last.value = value,
            Some(_) => {}
            None => out.push(Sample { item, at, value }),
        }
        pixel = Some(here);
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "to be drawn: 2^53 ps is 2.5 hours to the ps")]
pub(super) fn as_f64(picos: i64) -> f64 {
    picos as f64
}
