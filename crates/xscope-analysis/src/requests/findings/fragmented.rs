//! Requests whose items ran in several batches. That can be told only where the spans of batches name
//! the requests in them.

use std::collections::{BTreeMap, BTreeSet};

use xscope_trace::model::SpanKey;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::as_f64;

use crate::requests::batch_work::BatchWork;
use crate::requests::findings::facts::Facts;
use crate::requests::join::BatchKey;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    // For each request, the batches that its items ran in.
    let mut batches: BTreeMap<SpanKey, BTreeSet<BatchKey>> = BTreeMap::new();
    for batch in BatchWork::of(facts.trace).prompts {
        for &(request, _) in facts.join.members(batch) {
            batches.entry(request).or_default().insert(batch);
        }
    }
    let several = facts.measured.iter().filter(|view| view.items > 1);
    let counts: Vec<u64> =
        several.filter_map(|view| Some(batches.get(&view.key?)?.len() as u64)).collect();
    let cut = counts.iter().filter(|&&count| count > 1).count() as u64;
    let mean = as_f64(counts.iter().sum()) / as_f64(counts.len() as u64);
    (cut > 0).then(|| {
        let message = format!(
            "of {} requests with several items, {cut} had them cut into several batches, {mean:.1} \
             for a request on average: each is launched, and compiled for, by itself",
            counts.len()
        );
        Finding::new(Code::BatchesFragmented, message).times(cut)
    })
}
