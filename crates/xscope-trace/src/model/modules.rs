//! Which modules of a PyTorch model are open where a host thread does something.
//!
//! PyTorch's profiler records each call of a module as a slice of its host thread, `nn.Module: NAME_n`
//! (n counts the modules of one class).

use crate::model::{Slices, Trace, TrackId};
use crate::time::Picos;

/// What the names of calls of modules begin with.
const MODULE: &str = "nn.Module: ";

/// Calls deeper than this count as the one that they are in.
const MAX_DEPTH: usize = 32;

/// The modules of a thread that are open at some row, for questions in order of their rows. `P` stands for
/// a module and all that it is in.
#[derive(Debug)]
pub struct OpenModules<'a, P> {
    trace: &'a Trace,
    slices: &'a Slices,
    /// The first row that was not looked at.
    row: usize,
    /// Ends and modules, the innermost last.
    open: Vec<(Picos, P)>,
}

impl<'a, P: Copy> OpenModules<'a, P> {
    pub fn of(trace: &'a Trace, track: TrackId) -> Self {
        Self { trace, slices: &trace.tracks[track].slices, row: 0, open: Vec::new() }
    }

    /// The innermost module that is open where `row` begins; `inner` makes one of the one that it is in
    /// and its name.
    pub fn at(&mut self, row: u32, mut inner: impl FnMut(Option<P>, &str) -> P) -> Option<P> {
        while self.row <= row as usize {
            let start = self.slices.start[self.row];
            while self.open.last().is_some_and(|&(end, _)| end <= start) {
                self.open.pop();
            }
            let name = self.trace.strings.get(self.trace.meta(self.slices.meta[self.row]).name);
            if let Some(name) = name.strip_prefix(MODULE) {
                let outer = self.open.last().map(|&(_, module)| module);
                let module = match outer {
                    Some(outer) if self.open.len() >= MAX_DEPTH => outer,
                    outer => inner(outer, name),
                };
                self.open.push((self.slices.end(self.row), module));
            }
            self.row += 1;
        }
        self.open.last().map(|&(_, module)| module)
    }
}

impl Trace {
    /// Whether any call of a module is in it.
    pub fn has_modules(&self) -> bool {
        self.metas.iter().any(|meta| self.strings.get(meta.name).starts_with(MODULE))
    }
}
