//! What findings on requests are told from.

use xscope_trace::Trace;

use crate::requests::join::{BatchKey, Join};
use crate::requests::launches::Launches;
use crate::requests::spans::arg;
use crate::requests::view::RequestView;
use xscope_trace::stage::Stage;

/// A trace and its requests.
pub(crate) struct Facts<'a> {
    pub trace: &'a Trace,
    pub join: &'a Join,
    pub launches: &'a Launches,
    pub views: &'a [RequestView],
    /// Those of them that figures are made of.
    pub measured: &'a [&'a RequestView],
}

impl Facts<'_> {
    /// The batches that computed prompts.
    pub(super) fn prefills(&self) -> impl Iterator<Item = BatchKey> {
        let trace = self.trace;
        trace.spans.iter().filter_map(|span| {
            // Waiting for a batch has the name too, and no tokens.
            let is_pass = span.request.is_none()
                && trace.strings.get(span.name) == Stage::Forward.name()
                && arg(trace, span, "padded_tokens").is_some();
            span.batch.filter(|_| is_pass).map(|batch| (span.source, batch))
        })
    }
}
