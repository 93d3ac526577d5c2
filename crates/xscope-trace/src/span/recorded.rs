//! What recording a file took, by counting what is in it.

use crate::span::{NameId, SpanFile, Value};
use crate::time::Nanos;

/// Counters with which a writer says what recording costs it, in nanoseconds of CPU time: a span,
/// and each further record of one.
pub(super) const SPAN_COST: &str = "xscope.span_nanos";
pub(super) const RECORD_COST: &str = "xscope.record_nanos";

/// What a process recorded, and what that took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recorded {
    pub spans: u64,
    /// Arguments and texts beside them.
    pub further: u64,
    /// Of a span, and of a further record; `None` if the writer did not measure it.
    pub costs: Option<(Nanos, Nanos)>,
}

impl Recorded {
    /// CPU time that all of it took, if what it costs is known.
    pub fn time(&self) -> Option<Nanos> {
        let (span, record) = self.costs?;
        let of = |count: u64, cost: Nanos| {
            i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(cost.0)
        };
        Some(Nanos(of(self.spans, span).saturating_add(of(self.further, record))))
    }
}

impl SpanFile<'_> {
    /// Whether a counter says what recording costs: it is no measurement of the process itself.
    pub fn is_cost(&self, name: NameId) -> bool {
        self.strings.get(name).is_some_and(|name| [SPAN_COST, RECORD_COST].contains(&name))
    }

    /// What the file holds, and what recording it took.
    pub fn recorded(&self) -> Recorded {
        let cost = |name: &str| {
            let mut rows = self.counters.iter().map(|row| row.counter);
            let found = rows.find(|counter| self.strings.get(counter.name) == Some(name))?;
            match found.value {
                Value::Int(nanos) if nanos >= 0 => Some(Nanos(nanos)),
                _ => None,
            }
        };
        Recorded {
            spans: self.spans.len() as u64,
            further: (self.extra_args.len() + self.strings.len()) as u64,
            costs: cost(SPAN_COST).zip(cost(RECORD_COST)),
        }
    }
}
