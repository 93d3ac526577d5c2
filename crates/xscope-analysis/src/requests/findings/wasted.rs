//! Steps that make further tokens, which no score needs. They can be told only where the spans of
//! batches name the requests in them.

use std::collections::{BTreeMap, BTreeSet};

use xscope_trace::Picos;
use xscope_trace::model::SpanKey;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::{millis, share, sum};

use crate::requests::batch_work::BatchWork;
use crate::requests::findings::facts::Facts;
use crate::requests::join::BatchKey;
use xscope_trace::stage::Stage;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let &Facts { trace, join, launches, measured, .. } = facts;
    let measured: BTreeSet<SpanKey> = measured.iter().filter_map(|view| view.key).collect();
    let is_ours = |batch: &BatchKey| {
        join.members(*batch).iter().all(|(request, _)| measured.contains(request))
    };
    // Without a client it is unknown whether somebody wanted the tokens.
    let steps: Vec<(BatchKey, Picos)> = decodes(facts)
        .into_iter()
        .filter(|(batch, _)| !trace.client.is_empty() && is_ours(batch))
        .collect();
    let host = sum(&steps.iter().map(|&(_, time)| time).collect::<Vec<_>>());
    let own = BatchWork::of(trace).prompts;
    let device = steps.iter().filter_map(|(batch, _)| match own.contains(batch) {
        true => launches.decode.get(batch),
        false => launches.device.get(batch),
    });
    let device: Vec<Picos> = device.copied().collect();
    let all = sum(&launches.device.values().copied().collect::<Vec<_>>());
    let device = match sum(&device) {
        Picos(0) => String::new(),
        time => {
            format!(
                " and {:.1} ms of the devices ({:.1} %)",
                millis(time),
                100.0 * share(time, all)
            )
        }
    };
    (!steps.is_empty()).then(|| {
        let message = format!(
            "decode steps made tokens that no score needs, for {:.1} ms of the host{device}; the \
             next request waits meanwhile: compare with a server that does not schedule ahead \
             (--disable-overlap-schedule) by `xscope bench ab`",
            millis(host)
        );
        Finding::new(Code::DecodeWasted, message).times(steps.len() as u64)
    })
}

/// For each batch with a further token, how long the host was busy with it.
fn decodes(facts: &Facts<'_>) -> BTreeMap<BatchKey, Picos> {
    let mut times: BTreeMap<BatchKey, Picos> = BTreeMap::new();
    for span in &facts.trace.spans {
        let (None, Some(batch)) = (span.request, span.batch) else { continue };
        let batch = (span.source, batch);
        let is_decode = facts.trace.strings.get(span.name) == Stage::Decode.name();
        if is_decode && !facts.join.members(batch).is_empty() {
            let time = times.entry(batch).or_default();
            *time = time.saturating_add(span.dur);
        }
    }
    times
}
