//! A trace as something to scroll and zoom in, whatever its size.
//!
//! A [`Timeline`] owns its trace and, beside it, `layers` (where each slice is drawn), the `overlay`
//! (requests and batches as tracks of their own) and `arrows`. It answers what a client shows: a
//! [window](Timeline::window) of some tracks in the width of the screen, one slice in full, a search
//! over everything, statistics of a range. It knows nothing of HTTP.

mod arrows;
mod detail;
mod layers;
mod overlay;
mod search;
mod stats;
mod tree;
mod window;

use rayon::prelude::*;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{SliceRef, Slices, Track, TrackId};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

pub use detail::{ArrowRow, SliceDetail, SlicePlace};
pub use search::{Cursor, Direction, SearchAnswer};
pub use stats::{NameStats, RangeStats};
pub use tree::{Item, ItemKind};
pub use window::WindowQuery;

use arrows::Arrows;
use layers::TrackIndex;
use overlay::Overlay;
use tree::{Tree, overlay_track};

/// Names are cut at this many bytes where many are sent at once.
const NAME_BYTES: usize = 160;

/// Marks the names of the overlay, which has its own table of strings.
const OVERLAY_NAME: u32 = 1 << 31;

/// A trace that can be looked at.
#[derive(Debug)]
pub struct Timeline {
    trace: Trace,
    /// Requests and batches; its tracks are numbered behind those of the trace.
    overlay: Trace,
    index: IdVec<TrackId, TrackIndex>,
    tree: Tree,
    arrows: Arrows,
    extent: (Picos, Picos),
}

impl Timeline {
    pub fn new(trace: Trace) -> Self {
        let Overlay { trace: overlay, arrows } = overlay::of(&trace);
        let tracks = trace.tracks.par_iter().chain(overlay.tracks.par_iter());
        let index: Vec<TrackIndex> = tracks.map(|track| TrackIndex::of(&track.slices)).collect();
        let tree = Tree::of(&trace, &overlay);
        let arrows = Arrows::new(&trace.flows, arrows);
        let extent = trace.extent().unwrap_or_default();
        Self { trace, overlay, index: index.into(), tree, arrows, extent }
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Start of the first and end of the last slice.
    pub fn extent(&self) -> (Picos, Picos) {
        self.extent
    }

    /// What is shown from top to bottom: headers, tracks, counters.
    pub fn items(&self) -> &[Item] {
        &self.tree.items
    }

    /// How many rows of slices an item has; 0 for a header.
    pub fn rows(&self, item: &Item) -> u32 {
        match item.kind {
            ItemKind::Track(track) => self.index[track].row_count(),
            ItemKind::Counter(_) => 1,
            _ => 0,
        }
    }

    /// What an item is called, and what else is known of it, cut to what a list shows.
    pub fn item_name(&self, item: &Item) -> (String, String) {
        let (name, note) = self.tree.name(item, &self.trace, &self.overlay);
        (cut(&name, NAME_BYTES), cut(&note, NAME_BYTES))
    }

    /// The text of a name that a window refers to.
    pub fn name(&self, id: u32) -> String {
        let text = match id & OVERLAY_NAME {
            0 => self.trace.strings.get(StrId(id)),
            _ => self.overlay.strings.get(StrId(id & !OVERLAY_NAME)),
        };
        cut(text, NAME_BYTES)
    }

    /// Slices that are nested too deep to be drawn.
    pub fn too_deep(&self) -> u64 {
        self.index.iter().map(|index| index.too_deep).sum()
    }

    /// The trace that a track lies in, and the track.
    fn place(&self, track: TrackId) -> Option<(&Trace, &Track)> {
        match self.trace.tracks.get(track) {
            Some(found) => Some((&self.trace, found)),
            None => {
                let found = overlay_track(&self.trace, &self.overlay, track)?;
                Some((&self.overlay, found))
            }
        }
    }

    fn slices(&self, track: TrackId) -> Option<&Slices> {
        self.place(track).map(|(_, track)| &track.slices)
    }

    /// The name of a slice, as a number that is the same for the same text.
    fn name_id(&self, slice: SliceRef) -> u32 {
        let Some((trace, track)) = self.place(slice.track) else { return 0 };
        let meta = trace.meta(track.slices.meta[slice.row as usize]);
        let id = if meta.display.is_empty() { meta.name } else { meta.display };
        match std::ptr::eq(trace, &raw const self.overlay) {
            true => id.0 | OVERLAY_NAME,
            false => id.0,
        }
    }
}

/// At most `bytes` bytes of a text, with a sign that there was more.
fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{}…", &text[..end])
}
