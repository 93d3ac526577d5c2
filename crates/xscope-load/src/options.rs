//! How a load behaves, whatever it sends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::check::Tolerance;
use crate::client::ClientLimits;

/// How the load behaves, whatever it sends.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// Limits of a measured request.
    pub limits: ClientLimits,
    /// In warm-up, from the sending of a request to the last byte: servers compile meanwhile.
    pub warmup_request: Duration,
    pub tolerance: Tolerance,
    /// The server counts as gone when this many requests per connection in a row got no answer, so
    /// that one that hangs costs this many times the limit of a request. One that cannot be
    /// connected to counts as gone at once.
    pub give_up_after: u32,
    /// The server is a part of this process, so that nobody can tell what the client takes of it.
    pub serves_itself: bool,
    /// Says whether the server's processes live, when no answer came for as long as `quiet`: one that
    /// lost a process may hold its requests for ever.
    pub pulse: Option<Pulse>,
    pub quiet: Duration,
    /// How long what is under way may take to end when the load is cancelled; then it is dropped, and has
    /// no row.
    pub drain: Duration,
    /// Beginning of the request ids, for example the run's name; `None`: made from the clock.
    pub request_id_prefix: Option<String>,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            limits: ClientLimits::default(),
            warmup_request: Duration::from_mins(10),
            tolerance: Tolerance::default(),
            give_up_after: 2,
            serves_itself: false,
            pulse: None,
            quiet: Duration::from_secs(10),
            drain: Duration::ZERO,
            request_id_prefix: None,
        }
    }
}

/// Knows which process of a server has ended, in words, if one has.
#[derive(Clone)]
pub struct Pulse(Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl Pulse {
    pub fn new(ended: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ended))
    }

    pub(crate) fn ended(&self) -> Option<String> {
        let Self(ended) = self;
        ended()
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").finish_non_exhaustive()
    }
}
