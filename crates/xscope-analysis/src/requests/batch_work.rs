//! Which batches of a server compute prompts, and which make further tokens.

use std::collections::BTreeSet;

use xscope_trace::Trace;
use xscope_trace::model::RequestSpan;
use xscope_trace::stage::Stage;

use crate::requests::join::BatchKey;
use crate::requests::spans::arg;

/// What batches do, as their passes say. A batch may do both.
#[derive(Debug, Default)]
pub(crate) struct BatchWork {
    /// Those that compute prompts.
    pub prompts: BTreeSet<BatchKey>,
    /// Those that make a further token.
    pub decodes: BTreeSet<BatchKey>,
}

impl BatchWork {
    pub(crate) fn of(trace: &Trace) -> Self {
        let mut work = Self::default();
        for span in &trace.spans {
            let (None, Some(batch)) = (span.request, span.batch) else { continue };
            let name = trace.strings.get(span.name);
            if name == Stage::Decode.name() {
                work.decodes.insert((span.source, batch));
            }
            if computes_prompts(trace, span) {
                work.prompts.insert((span.source, batch));
            }
        }
        work
    }
}

/// Whether a span is the pass of a batch that computes prompts. Waiting for a batch has the name too, and
/// no tokens.
fn computes_prompts(trace: &Trace, span: &RequestSpan) -> bool {
    span.request.is_none()
        && trace.strings.get(span.name) == Stage::Forward.name()
        && arg(trace, span, "padded_tokens").is_some()
}
