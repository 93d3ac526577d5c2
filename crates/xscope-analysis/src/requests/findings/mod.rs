//! What makes the figures of requests wrong, and what a server does that no score needs: a file for
//! each.

mod facts;
mod fragmented;
mod joined_by_time;
mod padding;
mod recompiled;
mod unaccounted;
mod unjoined;
mod wasted;

use xscope_trace::quality::Finding;

pub(super) use crate::requests::findings::facts::Facts;

/// In the order in which a report has them.
const FINDINGS: [fn(&Facts<'_>) -> Option<Finding>; 7] = [
    unjoined::finding,
    unaccounted::finding,
    joined_by_time::finding,
    fragmented::finding,
    wasted::finding,
    recompiled::finding,
    padding::finding,
];

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    FINDINGS.iter().filter_map(|finding| finding(facts)).collect()
}

#[cfg(test)]
mod tests {
    use xscope_trace::model::ArgCell;
    use xscope_trace::model::{ClientRequest, RequestSpan, SourceId, SpanKey};
    use xscope_trace::quality::Code;
    use xscope_trace::time::Picos;
    use xscope_trace::{Phase, Trace};

    use crate::memory::memory;
    use crate::requests::request_report;

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
            point: String::new(),
            phase: Phase::Measure,
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
