//! Sums self times by stack: on devices by scope, on host threads by what encloses what.

use rustc_hash::FxHashMap;

use crate::model::{Trace, Track, TrackKind};
use crate::strings::{StrId, Strings};
use crate::time::Picos;
use crate::write::facts::hosts;
use crate::write::lanes::{Edge, Lanes, Step};

/// Deepest scope that is taken apart; what lies deeper is one frame.
const MOST_FRAMES: usize = 256;

/// A frame below its parent, with the time that it spent itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// Index of the frame around it; of itself for the root.
    pub parent: usize,
    pub name: StrId,
    pub own: i64,
}

/// Stacks that share their beginnings.
#[derive(Debug)]
pub(super) struct Stacks {
    pub strings: Strings,
    pub nodes: Vec<Node>,
    index: FxHashMap<(usize, StrId), usize>,
}

impl Default for Stacks {
    fn default() -> Self {
        let root = Node { parent: 0, name: StrId::EMPTY, own: 0 };
        Self { strings: Strings::default(), nodes: vec![root], index: FxHashMap::default() }
    }
}

impl Stacks {
    pub(super) fn child(&mut self, parent: usize, name: &str) -> usize {
        let name = self.strings.intern(name);
        *self.index.entry((parent, name)).or_insert_with(|| {
            self.nodes.push(Node { parent, name, own: 0 });
            self.nodes.len() - 1
        })
    }

    /// The frames of a stack, outermost first.
    pub(super) fn frames(&self, mut node: usize) -> Vec<StrId> {
        let mut frames = Vec::new();
        while node != 0 {
            frames.push(self.nodes[node].name);
            node = self.nodes[node].parent;
        }
        frames.reverse();
        frames
    }

    /// Adds the rows of a track below `root`: operations below their scopes, others below the
    /// rows around them.
    pub(super) fn add(&mut self, trace: &Trace, track: &Track, root: usize) {
        let by_scope = track.kind == TrackKind::Ops;
        // Open rows of each lane: the node, the start, the time of what they enclose.
        let mut open: Vec<Vec<(usize, Picos, i64)>> = Vec::new();
        let walked = Lanes::walk(&track.slices, |step: Step| {
            if open.len() <= step.lane {
                open.resize(step.lane + 1, Vec::new());
            }
            match step.edge {
                Edge::Begin => {
                    let around = open[step.lane].last().map_or(root, |&(node, ..)| node);
                    let meta = track.slices.meta[step.row];
                    let parent = match by_scope {
                        true => self.scope(root, trace.strings.get(trace.scope_of(meta))),
                        false => around,
                    };
                    let node = self.child(parent, trace.label(meta));
                    open[step.lane].push((node, step.at, 0));
                }
                Edge::End => {
                    let Some((node, start, inner)) = open[step.lane].pop() else { return Ok(()) };
                    let whole = step.at.0.saturating_sub(start.0);
                    let own = &mut self.nodes[node].own;
                    *own = own.saturating_add(whole.saturating_sub(inner));
                    if let Some((.., inner)) = open[step.lane].last_mut() {
                        *inner = inner.saturating_add(whole);
                    }
                }
            }
            Ok::<(), std::convert::Infallible>(())
        });
        debug_assert!(walked.is_ok(), "the visitor does not fail");
    }

    fn scope(&mut self, root: usize, scope: &str) -> usize {
        let parts = scope.splitn(MOST_FRAMES, '/').filter(|part| !part.is_empty());
        parts.fold(root, |node, part| self.child(node, part))
    }
}

/// The name of the outermost frame of a track; `None` if its rows are of no sum.
pub(super) fn root_of(trace: &Trace, track: &Track) -> Option<String> {
    let text = |id| trace.strings.get(id);
    let host = || {
        let several = hosts(trace).len() > 1;
        let host = trace.sources.get(track.source).map_or(StrId::EMPTY, |it| it.host);
        if several { format!("{} ", text(host)) } else { String::new() }
    };
    match (track.kind, track.device) {
        (TrackKind::Ops, Some(device)) => {
            Some(format!("{}{}", host(), text(trace.devices[device].name)))
        }
        (TrackKind::HostThread, _) => {
            let name = text(track.name);
            let thread = if name.is_empty() { track.tid.to_string() } else { name.to_owned() };
            Some(format!("{}{} {thread}", host(), text(track.process)).trim().to_owned())
        }
        _ => None,
    }
}
