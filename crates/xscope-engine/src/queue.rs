//! How many items may wait: admission, counted in items.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::error::EngineError;

/// The room for items that wait for a batch.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: AtomicUsize,
    limit: usize,
}

/// Places taken in a [`Queue`]; given back when it goes.
#[derive(Debug)]
pub(crate) struct Places {
    queue: Arc<Queue>,
    items: usize,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { waiting: AtomicUsize::new(0), limit })
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes places for `items`, all or none.
    pub(crate) fn take(self: &Arc<Self>, items: usize) -> Result<Places, EngineError> {
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                waiting.checked_add(items).filter(|&sum| sum <= self.limit)
            })
            .map(|_| Places { queue: Arc::clone(self), items })
            .map_err(|waiting| EngineError::QueueFull { waiting, limit: self.limit })
    }
}

impl Places {
    /// Some of the items wait no more.
    pub(crate) fn give_back(&mut self, items: usize) {
        let items = items.min(self.items);
        self.items -= items;
        self.queue.waiting.fetch_sub(items, Ordering::Relaxed);
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.give_back(self.items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_all_or_none_and_come_back() {
        let queue = Queue::new(3);
        let mut two = queue.take(2).unwrap();
        assert!(matches!(queue.take(2), Err(EngineError::QueueFull { waiting: 2, limit: 3 })));
        two.give_back(1);
        let other = queue.take(2).unwrap();
        assert_eq!(queue.waiting(), 3);
        drop((two, other));
        assert_eq!(queue.waiting(), 0);
    }
}
