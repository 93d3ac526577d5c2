//! What a page asks of a timeline, and the answers.

use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode};
use serde::Deserialize;
use xscope_trace::Picos;

use crate::server::answer::{bytes, json, refuse};
use crate::timeline::{Direction, Timeline, WindowQuery};

/// Most names of one question.
const MOST_NAMES: usize = 1 << 16;

/// Most lines of the list that are told at once.
const MOST_ITEMS: u32 = 4096;

/// A question without parameters.
#[derive(Deserialize)]
pub(crate) struct Nothing {}

/// What every line of the list is, and how many rows it has: `u8` each, then `u16` each.
pub(crate) fn tree(timeline: &Timeline, _: &Nothing) -> Response<Body> {
    let items = timeline.items();
    let mut out: Vec<u8> = items.iter().map(|item| item.kind.code()).collect();
    out.resize(out.len().next_multiple_of(2), 0);
    for item in items {
        let rows = u16::try_from(timeline.rows(item)).unwrap_or(u16::MAX);
        out.extend(rows.to_le_bytes());
    }
    bytes(out)
}

#[derive(Deserialize)]
pub(crate) struct ItemsQuery {
    from: u32,
    count: u32,
}

pub(crate) fn items(timeline: &Timeline, query: &ItemsQuery) -> Response<Body> {
    let items = timeline.items().iter().skip(query.from as usize);
    let names = items.take(query.count.min(MOST_ITEMS) as usize);
    json(&names.map(|item| timeline.item_name(item)).collect::<Vec<_>>())
}

#[derive(Deserialize)]
pub(crate) struct RangeQuery {
    /// In ps from the start of the trace, as all times.
    from: f64,
    to: f64,
    #[serde(default)]
    px: u32,
    #[serde(default)]
    items: String,
}

pub(crate) fn window(timeline: &Timeline, query: &RangeQuery) -> Response<Body> {
    let zero = timeline.extent().0;
    let query = WindowQuery {
        from: absolute(zero, query.from),
        to: absolute(zero, query.to),
        pixels: query.px.clamp(1, 16_384),
        items: ranges(&query.items),
    };
    bytes(timeline.window(&query))
}

pub(crate) fn stats(timeline: &Timeline, query: &RangeQuery) -> Response<Body> {
    let zero = timeline.extent().0;
    let (from, to) = (absolute(zero, query.from), absolute(zero, query.to));
    json(&timeline.stats(from, to, &ranges(&query.items)))
}

/// The texts of names, whose numbers are the body, as `u32`.
pub(crate) fn names(timeline: &Timeline, body: &Bytes) -> Response<Body> {
    let (ids, _) = body.as_chunks::<4>();
    let ids = ids.iter().take(MOST_NAMES).map(|bytes| u32::from_le_bytes(*bytes));
    json(&ids.map(|id| timeline.name(id)).collect::<Vec<_>>())
}

#[derive(Deserialize)]
pub(crate) struct SliceQuery {
    item: u32,
    slice: u32,
}

pub(crate) fn slice(timeline: &Timeline, query: &SliceQuery) -> Response<Body> {
    let found = timeline.slice_ref(query.item, query.slice);
    match found.and_then(|slice| timeline.detail(slice)) {
        Some(detail) => json(&detail),
        None => refuse(StatusCode::NOT_FOUND, "there is no such slice"),
    }
}

#[derive(Deserialize)]
pub(crate) struct SearchQuery {
    text: String,
    /// The match to go on from.
    item: Option<u32>,
    slice: Option<u32>,
    #[serde(default)]
    back: bool,
}

pub(crate) fn search(timeline: &Timeline, query: &SearchQuery) -> Response<Body> {
    let from = query.item.zip(query.slice);
    let from = from.and_then(|(item, slice)| timeline.slice_ref(item, slice));
    let cursor = from.and_then(|slice| timeline.cursor(slice));
    let direction = if query.back { Direction::Previous } else { Direction::Next };
    json(&timeline.search(&query.text, cursor, direction))
}

/// A time of the trace.
#[expect(clippy::cast_possible_truncation, reason = "saturates; NaN is 0")]
fn absolute(zero: Picos, time: f64) -> Picos {
    zero + Picos(time as i64)
}

/// Ranges as `3-5,9-10`, ends excluded; what is no range is passed over.
fn ranges(text: &str) -> Vec<Range<u32>> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-')?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}
