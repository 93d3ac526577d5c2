//! What recording a span costs, as its recorder measured it.

use std::collections::BTreeMap;

use xscope_trace::model::SourceId;
use xscope_trace::span::Recorded;
use xscope_trace::stats::mean_micros;
use xscope_trace::{Picos, Trace};

/// What a span with all that belongs to it takes on average in CPU time, in microseconds, for the
/// sources that say so.
pub(crate) fn span_costs_us(trace: &Trace) -> BTreeMap<SourceId, f64> {
    let each = |&(source, recorded): &(SourceId, Recorded)| {
        let time = Picos::from(recorded.time()?);
        Some((source, mean_micros(time, recorded.spans)))
    };
    trace.recorded.iter().filter_map(each).collect()
}
