//! Which requests waited for a compilation in their forward pass, and why it was needed.
//!
//! A server under probes says for each forward pass how many programs it had to compile
//! (`cache_miss`). The cause is what no earlier pass of its process had: the labels, the number of
//! sequences, the padded number of tokens, or only their combination.

use std::collections::{BTreeMap, BTreeSet};

use xscope_trace::model::ArgCell;
use xscope_trace::model::{RequestSpan, SourceId, SpanKey};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::stats::millis;
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use crate::requests::findings::facts::Facts;
use crate::requests::join::Join;
use crate::requests::measured::measured_windows;
use crate::requests::spans::arg;
use crate::requests::view::RequestView;
use crate::words::counted;

/// How many compilations a message names.
const NAMED: usize = 4;

/// One forward pass that compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recompile {
    batch: Option<SpanKey>,
    /// The requests in the batch, as their clients know them.
    requests: Vec<String>,
    start: Picos,
    /// How long the forward pass took, compilation included.
    dur: Picos,
    cause: String,
}

/// What decides which program a forward pass needs.
#[derive(Debug, Default)]
struct Seen {
    steps: BTreeSet<StrId>,
    labels: BTreeSet<StrId>,
    rows: BTreeSet<u64>,
    tokens: BTreeSet<u64>,
}

/// All forward passes that compiled, in order.
fn recompiles(trace: &Trace, views: &[RequestView]) -> Vec<Recompile> {
    let join = Join::of(trace);
    let names: BTreeMap<SpanKey, &str> =
        views.iter().filter_map(|view| Some((view.key?, view.id.as_str()))).collect();
    let is_forward = |span: &&RequestSpan| arg(trace, span, "cache_miss").is_some();
    let mut forwards: Vec<&RequestSpan> = trace.spans.iter().filter(is_forward).collect();
    forwards.sort_by_key(|span| span.start);
    let mut seen: BTreeMap<SourceId, Seen> = BTreeMap::new();
    let mut found = Vec::new();
    for span in forwards {
        let cause = seen.entry(span.source).or_default().cause(trace, span);
        if arg(trace, span, "cache_miss") == Some(0) {
            continue;
        }
        let members = span.batch.map_or(&[][..], |batch| join.members((span.source, batch)));
        let requests: BTreeSet<&str> =
            members.iter().filter_map(|(key, _)| names.get(key).copied()).collect();
        found.push(Recompile {
            batch: span.batch,
            requests: requests.into_iter().map(str::to_owned).collect(),
            start: span.start,
            dur: span.dur,
            cause,
        });
    }
    found
}

impl Seen {
    /// What is new about a forward pass, which from then on is known.
    fn cause(&mut self, trace: &Trace, span: &RequestSpan) -> String {
        let mut causes = Vec::new();
        let name = trace.strings.get(span.name);
        if self.steps.insert(span.name) {
            causes.push(format!("first {name} step"));
        }
        if let Some(labels) = text(trace, span, "labels")
            && self.labels.insert(labels)
        {
            causes.push(format!("new labels {}", trace.strings.get(labels)));
        }
        if let Some(rows) = arg(trace, span, "rows")
            && self.rows.insert(rows)
        {
            causes.push(format!("new batch size {rows}"));
        }
        if let Some(tokens) = arg(trace, span, "padded_tokens")
            && self.tokens.insert(tokens)
        {
            causes.push(format!("new bucket of {tokens} tokens"));
        }
        match causes.is_empty() {
            true => format!("new combination of labels, batch size and bucket ({name} step)"),
            false => causes.join(", "),
        }
    }
}

fn text(trace: &Trace, span: &RequestSpan, key: &str) -> Option<StrId> {
    span.args.iter().find_map(|&(name, cell)| match cell {
        ArgCell::Str(text) if trace.strings.get(name) == key => Some(text),
        _ => None,
    })
}

/// Names the longest of them.
pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let recompiles = recompiles(facts.trace, facts.views);
    let measured = measured_windows(facts.trace);
    let in_window = |recompile: &&Recompile| {
        let end = recompile.start.saturating_add(recompile.dur);
        measured.as_ref().is_none_or(|it| it.within(recompile.start, end) > Picos::ZERO)
    };
    let (mut longest, others): (Vec<&Recompile>, Vec<_>) = recompiles.iter().partition(in_window);
    let count = longest.len() as u64;
    let others = others.len() as u64;
    if count == 0 && others > 0 {
        let message = format!(
            "{} of start-up and warm-up had to compile, none while requests were measured",
            counted(others, "forward step")
        );
        return Some(Finding::new(Code::BatchesRecompiled, message).harmless().times(others));
    }
    longest.sort_by_key(|recompile| (std::cmp::Reverse(recompile.dur), recompile.start));
    let named: Vec<String> = longest
        .iter()
        .take(NAMED)
        .map(|recompile| {
            let who = match recompile.requests.as_slice() {
                [] => "no request of this run".to_owned(),
                [one] => one.clone(),
                [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            };
            format!("{who}: {:.0} ms, {}", millis(recompile.dur), recompile.cause)
        })
        .collect();
    (!named.is_empty()).then(|| {
        let before = match others {
            0 => String::new(),
            others => format!("; beside these {others} of start-up and warm-up"),
        };
        let message = format!(
            "forward passes had to compile, and their requests waited; the longest: {}{before}",
            named.join("; ")
        );
        Finding::new(Code::BatchesRecompiled, message).times(count)
    })
}

#[cfg(test)]
mod tests {
    use xscope_trace::model::ArgCell;
    use xscope_trace::model::{ClientRequest, RequestSpan, SourceId, SpanKey};
    use xscope_trace::quality::{Code, Severity};
    use xscope_trace::{Phase, Picos, Trace};

    use super::recompiles;
    use crate::memory::memory;
    use crate::requests::request_report;

    #[test]
    fn a_compilation_is_told_by_what_no_earlier_pass_had() {
        let mut trace = Trace::default();
        let keys = ["labels", "rows", "padded_tokens", "cache_miss"];
        let [labels, rows, tokens, misses] = keys.map(|key| trace.strings.intern(key));
        let name = trace.strings.intern("forward");
        let mut pass = |at: i64, label: &str, row: i64, padded: i64, missed: i64| {
            let label = trace.strings.intern(label);
            trace.spans.push(RequestSpan {
                name,
                source: SourceId(0),
                start: Picos(at),
                dur: Picos(1),
                tid: 1,
                request: None,
                batch: Some(SpanKey::Number(at)),
                args: vec![
                    (labels, ArgCell::Str(label)),
                    (rows, ArgCell::Int(row)),
                    (tokens, ArgCell::Int(padded)),
                    (misses, ArgCell::Int(missed)),
                ],
            });
        };
        pass(1, "[1, 2]", 1, 32, 2);
        pass(2, "[1, 2]", 1, 32, 0);
        pass(3, "[2, 1]", 1, 32, 2);
        pass(4, "[1, 2]", 8, 64, 1);
        pass(5, "[2, 1]", 8, 64, 1);
        let causes: Vec<String> =
            recompiles(&trace, &[]).into_iter().map(|recompile| recompile.cause).collect();
        assert_eq!(
            causes,
            [
                "first forward step, new labels [1, 2], new batch size 1, new bucket of 32 tokens",
                "new labels [2, 1]",
                "new batch size 8, new bucket of 64 tokens",
                "new combination of labels, batch size and bucket (forward step)",
            ]
        );
    }

    #[test]
    fn what_warm_up_compiled_is_told_apart() {
        let mut trace = Trace::default();
        let [name, misses] = ["forward", "cache_miss"].map(|key| trace.strings.intern(key));
        for at in [1, 20, 30] {
            trace.spans.push(RequestSpan {
                name,
                source: SourceId(0),
                start: Picos(at),
                dur: Picos(5),
                tid: 1,
                request: None,
                batch: Some(SpanKey::Number(at)),
                args: vec![(misses, ArgCell::Int(1))],
            });
        }
        let mut request = |from: i64, phase| {
            trace.client.push(ClientRequest {
                id: from.to_string(),
                source: SourceId(0),
                point: String::new(),
                phase,
                ok: true,
                items: 1,
                labels: 2,
                intended: Picos(from),
                sent: None,
                end: Picos(from + 8),
            });
        };
        request(0, Phase::Warmup);
        let of = |trace: &Trace| {
            let report = request_report(trace, None, &memory(trace, &[], &[]), &[]).unwrap();
            let found = report.findings.into_iter();
            let mut found = found.filter(|finding| finding.code == Code::BatchesRecompiled);
            found.next().map(|finding| (finding.severity, finding.count, finding.message)).unwrap()
        };
        request(29, Phase::Measure);
        let (severity, count, message) = of(&trace);
        assert_eq!((severity, count), (Severity::Warning, 1));
        assert!(message.ends_with("beside these 2 of start-up and warm-up"), "{message}");
        trace.client[1].intended = Picos(36);
        assert_eq!((of(&trace).0, of(&trace).1), (Severity::Info, 3));
    }
}
