//! Stopping a load from outside.

use std::sync::Arc;

use tokio::sync::watch;

/// A switch that ends a load; clones share it. Once cancelled, it stays so.
#[derive(Debug, Clone)]
pub struct Cancel {
    state: Arc<watch::Sender<bool>>,
}

impl Cancel {
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(false)) }
    }

    pub fn cancel(&self) {
        self.state.send_replace(true);
    }

    pub fn is_cancelled(&self) -> bool {
        *self.state.borrow()
    }

    /// Resolves when the switch is thrown, at once if it has been.
    pub async fn cancelled(&self) {
        let mut state = self.state.subscribe();
        if state.wait_for(|cancelled| *cancelled).await.is_err() {
            // Cannot happen while `self` holds the sender; waiting is what a switch that nobody
            // can throw any more means.
            std::future::pending::<()>().await;
        }
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}
