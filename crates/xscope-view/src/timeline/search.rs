//! Search over the whole trace, not only over what is on the screen.

use rayon::prelude::*;
use serde::Serialize;
use xscope_trace::ids::{Id as _, IdVec};
use xscope_trace::model::{MetaId, SliceRef, Slices, TrackId};
use xscope_trace::{Picos, Trace};

use super::Timeline;
use super::detail::SlicePlace;

/// Where the search goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub at: Picos,
    pub slice: SliceRef,
}

/// Which match is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Next,
    Previous,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchAnswer {
    /// Slices of the whole trace that match.
    pub total: u64,
    /// The place of `hit` among them, from 1.
    pub rank: u64,
    /// The nearest match behind (or before) the cursor, else the first (or last) of all.
    pub hit: Option<SlicePlace>,
}

/// What the matches of one track, or of several, come to.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    total: u64,
    /// Matches before the cursor, and up to it.
    before: u64,
    up_to: u64,
    first: Option<Cursor>,
    last: Option<Cursor>,
    previous: Option<Cursor>,
    next: Option<Cursor>,
}

impl Found {
    fn add(&mut self, here: Cursor, cursor: Option<Cursor>) {
        self.total += 1;
        self.first.get_or_insert(here);
        self.last = Some(here);
        let Some(cursor) = cursor else { return };
        self.up_to += u64::from(here <= cursor);
        if here < cursor {
            self.before += 1;
            self.previous = Some(here);
        } else if here > cursor {
            self.next.get_or_insert(here);
        }
    }

    fn merge(self, other: Self) -> Self {
        let least = |a: Option<Cursor>, b: Option<Cursor>| a.into_iter().chain(b).min();
        Self {
            total: self.total + other.total,
            before: self.before + other.before,
            up_to: self.up_to + other.up_to,
            first: least(self.first, other.first),
            last: self.last.max(other.last),
            previous: self.previous.max(other.previous),
            next: least(self.next, other.next),
        }
    }
}

impl Timeline {
    /// Looks for `text` in the names, scopes and categories of all slices, without regard to case.
    pub fn search(&self, text: &str, cursor: Option<Cursor>, direction: Direction) -> SearchAnswer {
        let needle = text.to_lowercase();
        let mut found = Found::default();
        let mut before = 0;
        for trace in [&self.trace, &self.overlay] {
            let metas = matching(trace, &needle);
            if metas.contains(&true) {
                let tracks = trace.tracks.par_iter().enumerate();
                let part = tracks
                    .map(|(index, track)| {
                        scan(&track.slices, TrackId::at(before + index), &metas, cursor)
                    })
                    .reduce(Found::default, Found::merge);
                found = found.merge(part);
            }
            before += trace.tracks.len();
        }
        let (hit, rank) = match direction {
            Direction::Next => match found.next {
                Some(hit) => (Some(hit), found.up_to + 1),
                None => (found.first, 1),
            },
            Direction::Previous => match found.previous {
                Some(hit) => (Some(hit), found.before),
                None => (found.last, found.total),
            },
        };
        let hit = hit.and_then(|hit| self.slice_place(hit.slice));
        SearchAnswer { total: found.total, rank: if hit.is_some() { rank } else { 0 }, hit }
    }

    /// Where a search goes on from that stands on a slice.
    pub fn cursor(&self, slice: SliceRef) -> Option<Cursor> {
        let at = *self.slices(slice.track)?.start.get(slice.row as usize)?;
        Some(Cursor { at, slice })
    }
}

/// Which kinds of events match: names are few, slices are many.
fn matching(trace: &Trace, needle: &str) -> IdVec<MetaId, bool> {
    if needle.is_empty() {
        return IdVec::filled(&trace.metas, false);
    }
    let fits = |text: &str| match (text.is_ascii(), needle.is_ascii()) {
        (true, true) => {
            let (text, needle) = (text.as_bytes(), needle.as_bytes());
            text.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle))
        }
        _ => text.to_lowercase().contains(needle),
    };
    trace
        .metas
        .par_iter()
        .map(|meta| {
            let ids = [meta.display, meta.name, meta.scope, meta.category];
            ids.iter().any(|&id| !id.is_empty() && fits(trace.strings.get(id)))
        })
        .collect::<Vec<_>>()
        .into()
}

fn scan(
    slices: &Slices,
    track: TrackId,
    metas: &IdVec<MetaId, bool>,
    cursor: Option<Cursor>,
) -> Found {
    let mut found = Found::default();
    for (&meta, row) in slices.meta.iter().zip(0_u32..) {
        if metas.get(meta).copied().unwrap_or(false) {
            let at = slices.start[row as usize];
            found.add(Cursor { at, slice: SliceRef { track, row } }, cursor);
        }
    }
    found
}
