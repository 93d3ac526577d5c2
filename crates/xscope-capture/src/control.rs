//! What a road tells while it makes a run, and how it is ended early.

use std::fmt;
use std::path::Path;

use xscope_load::{Cancel, LoadEvent};

/// What happens on the way.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run's directory is there.
    Created(&'a Path),
    /// A server is starting, which has this name if there are several, with its log here.
    Starting {
        name: &'a str,
        log: &'a Path,
    },
    /// The block of this pair, counted from 1, begins on the side of this name, with so many requests.
    Block {
        pair: usize,
        name: &'a str,
        requests: Option<u64>,
    },
    Load(LoadEvent),
    /// What is done next, or has come out.
    Said(String),
    /// Something is missing from the run, and why.
    Warning(String),
}

/// Who is told what happens, and who ends it. A run that is ended early is no error: it is marked
/// interrupted and holds what was done.
#[derive(Clone, Copy)]
pub struct Control<'c> {
    pub cancel: &'c Cancel,
    pub on_event: &'c dyn Fn(Event<'_>),
}

impl fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("cancel", self.cancel).finish_non_exhaustive()
    }
}

impl Control<'_> {
    pub(crate) fn tell(&self, event: Event<'_>) {
        (self.on_event)(event);
    }

    /// Passes on what is worth telling of a run that is a part of another.
    pub(crate) fn tell_of_part(&self, event: Event<'_>) {
        if let Event::Load(_) | Event::Warning(_) = event {
            self.tell(event);
        }
    }

    pub(crate) fn say(&self, text: impl Into<String>) {
        self.tell(Event::Said(text.into()));
    }

    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.tell(Event::Warning(text.into()));
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}
