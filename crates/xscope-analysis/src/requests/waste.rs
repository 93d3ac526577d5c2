//! What a scoring server does that no score needs: items of one request in several batches, and
//! further tokens.
//!
//! Both can be told only where the spans of batches name the requests in them.

use std::collections::{BTreeMap, BTreeSet};

use xscope_trace::model::SpanKey;
use xscope_trace::quality::{Code, Finding};
use xscope_trace::{Picos, Trace};

use crate::requests::join::{BatchKey, Join};
use crate::requests::launches::Launches;
use crate::requests::{DECODE, FORWARD, RequestView, arg};
use crate::stats::{as_f64, millis, share, sum};

/// The findings on `measured` requests.
pub(crate) fn findings(
    trace: &Trace,
    join: &Join,
    launches: &Launches,
    measured: &[&RequestView],
) -> Vec<Finding> {
    let steps = Steps::of(trace, join);
    let keys: BTreeSet<SpanKey> = measured.iter().filter_map(|view| view.key).collect();
    let found = [steps.fragmented(measured), steps.decoded(trace, join, launches, &keys)];
    found.into_iter().flatten().collect()
}

/// The batches that computed prompts and those that made further tokens.
#[derive(Debug, Default)]
struct Steps {
    /// For each request, the batches that its items ran in.
    forward: BTreeMap<SpanKey, BTreeSet<BatchKey>>,
    /// For each batch with a further token, how long the host was busy with it.
    decode: BTreeMap<BatchKey, Picos>,
}

impl Steps {
    fn of(trace: &Trace, join: &Join) -> Self {
        let mut steps = Self::default();
        for span in &trace.spans {
            let (None, Some(batch)) = (span.request, span.batch) else { continue };
            let batch = (span.source, batch);
            match trace.strings.get(span.name) {
                // Waiting for a batch has the name too, and no tokens.
                FORWARD if arg(trace, span, "padded_tokens").is_some() => {
                    for &(request, _) in join.members(batch) {
                        steps.forward.entry(request).or_default().insert(batch);
                    }
                }
                DECODE if !join.members(batch).is_empty() => {
                    let time = steps.decode.entry(batch).or_default();
                    *time = time.saturating_add(span.dur);
                }
                _ => {}
            }
        }
        steps
    }

    fn fragmented(&self, measured: &[&RequestView]) -> Option<Finding> {
        let several = measured.iter().filter(|view| view.items > 1);
        let counts: Vec<u64> =
            several.filter_map(|view| Some(self.forward.get(&view.key?)?.len() as u64)).collect();
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

    fn decoded(
        &self,
        trace: &Trace,
        join: &Join,
        launches: &Launches,
        measured: &BTreeSet<SpanKey>,
    ) -> Option<Finding> {
        let is_ours = |batch: &BatchKey| {
            join.members(*batch).iter().all(|(request, _)| measured.contains(request))
        };
        // Without a client it is unknown whether somebody wanted the tokens.
        let steps: Vec<_> = self
            .decode
            .iter()
            .filter(|(batch, _)| !trace.client.is_empty() && is_ours(batch))
            .collect();
        let host = sum(&steps.iter().map(|&(_, &time)| time).collect::<Vec<_>>());
        let own: BTreeSet<&BatchKey> = self.forward.values().flatten().collect();
        let device: Vec<Picos> = steps
            .iter()
            .filter(|(batch, _)| !own.contains(batch))
            .filter_map(|(batch, _)| launches.device.get(batch).copied())
            .collect();
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
}

#[cfg(test)]
mod tests {
    use xscope_trace::Trace;
    use xscope_trace::args::ArgCell;
    use xscope_trace::model::{ClientRequest, RequestSpan, SourceId, SpanKey};
    use xscope_trace::quality::Code;
    use xscope_trace::time::Picos;

    use crate::memory::memory;
    use crate::requests::request_report::request_report;

    const MS: i64 = 1_000_000_000;

    /// One request of three items in the batches of the sizes given, each with a decode step.
    fn trace(batches: &[usize]) -> Trace {
        let mut trace = Trace::default();
        let names =
            ["request", "schedule", "forward", "decode", "rid", "padded_tokens", "request_id"];
        let [request, schedule, forward, decode, rid, padded, id] =
            names.map(|name| trace.strings.intern(name));
        let rids: Vec<_> = (0..3).map(|item| trace.strings.intern(&format!("rid{item}"))).collect();
        let text = |key, value| (key, ArgCell::Str(value));
        let mut span = |name, at: i64, of: Option<i64>, batch: Option<i64>, args| {
            trace.spans.push(RequestSpan {
                name,
                source: SourceId(0),
                start: Picos(at * MS),
                dur: Picos(MS),
                tid: 1,
                request: of.map(SpanKey::Number),
                batch: batch.map(SpanKey::Number),
                args,
            });
        };
        let known_as = trace.strings.intern("r");
        let mut args: Vec<_> = rids.iter().map(|&item| text(rid, item)).collect();
        args.push(text(id, known_as));
        span(request, 0, Some(1), None, args);
        let mut left = rids.as_slice();
        for (number, &size) in (0..).zip(batches) {
            let (mine, rest) = left.split_at(size);
            left = rest;
            let (first, second) = (2 * number, 2 * number + 1);
            let members = || mine.iter().map(|&item| text(rid, item)).collect::<Vec<_>>();
            span(schedule, first, None, Some(first), members());
            span(forward, first, None, Some(first), vec![(padded, ArgCell::Int(32))]);
            // Waiting for a batch, which is no second one.
            span(forward, first, None, Some(second), Vec::new());
            span(schedule, second, None, Some(second), members());
            span(decode, second, None, Some(second), Vec::new());
        }
        trace.client.push(ClientRequest {
            id: "r".to_owned(),
            source: SourceId(0),
            is_warmup: false,
            ok: true,
            items: 3,
            labels: 2,
            intended: Picos(0),
            sent: Some(Picos(0)),
            end: Picos(20 * MS),
        });
        trace
    }

    fn codes(trace: &Trace) -> Vec<(Code, u64, String)> {
        let report = request_report(trace, None, &memory(trace, &[], &[]), &[]).unwrap();
        let findings = report.findings.into_iter();
        let mine = [Code::BatchesFragmented, Code::DecodeWasted];
        let found = findings.filter(|finding| mine.contains(&finding.code));
        found.map(|finding| (finding.code, finding.count, finding.message)).collect()
    }

    #[test]
    fn items_in_several_batches_and_needless_tokens_are_told() {
        let found = codes(&trace(&[1, 2]));
        let [fragmented, wasted] = &found[..] else { panic!("{found:?}") };
        assert!(
            fragmented.2.contains("1 had them cut") && fragmented.2.contains("2.0 for a request")
        );
        assert_eq!((wasted.0, wasted.1), (Code::DecodeWasted, 2));
        assert!(wasted.2.contains("2.0 ms of the host"), "{}", wasted.2);
        let found = codes(&trace(&[3]));
        assert_eq!(found.len(), 1, "one batch: {found:?}");
        let mut others = trace(&[3]);
        others.client.clear();
        assert_eq!(codes(&others), [], "somebody may have wanted the tokens");
    }
}
