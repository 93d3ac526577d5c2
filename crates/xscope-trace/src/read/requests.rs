//! Reads the client's side of a run, `requests.jsonl`.

use serde::Deserialize;

use crate::model::{ClientRequest, Clock, Format, Source, Trace};
use crate::phase::Phase;
use crate::quality::Finding;
use crate::run::read_jsonl;
use crate::strings::StrId;
use crate::time::{Bytes, Nanos, Picos};

/// The fields of a row of `requests.jsonl` that an analysis needs.
#[derive(Deserialize)]
struct ClientRow {
    request_id: String,
    #[serde(default)]
    phase: Phase,
    #[serde(default)]
    point: String,
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    batch_size: u64,
    #[serde(default)]
    label_count: u64,
    intended_ns: i64,
    sent_ns: Option<i64>,
    end_ns: i64,
}

/// Reads the client's rows of a run into `trace`. A torn last line, which a killed client leaves,
/// is a finding.
pub(super) fn read(path: &str, bytes: &[u8], trace: &mut Trace) {
    let (mut rows, issues) = read_jsonl::<ClientRow>(bytes);
    for issue in issues {
        let message = format!("{path}, line {}: {}", issue.line, issue.message);
        trace.findings.push(Finding::new(issue.code, message).times(issue.count as u64));
    }
    let Some(zero) = rows.iter().map(|row| row.intended_ns).min() else { return };
    // A benchmark profiles in a window of its own: its traces and spans say nothing of other requests.
    let has_profiled = rows.iter().any(|row| row.phase == Phase::Profile);
    rows.retain(|row| !has_profiled || row.phase == Phase::Profile);
    let source = trace.sources.next_id();
    trace.sources.push(Source {
        path: path.to_owned(),
        format: Format::Requests,
        size: Bytes(bytes.len() as u64),
        host: StrId::EMPTY,
        server: StrId::EMPTY,
        rank: None,
        clock: Clock { monotonic_epoch: Some(Nanos(zero)), ..Clock::default() },
        facts: Vec::new(),
    });
    let at = |time: i64| Picos::from(Nanos(time.saturating_sub(zero)));
    trace.client.extend(rows.into_iter().map(|row| ClientRequest {
        id: row.request_id,
        source,
        point: row.point,
        phase: row.phase,
        ok: row.ok,
        items: row.batch_size,
        labels: row.label_count,
        intended: at(row.intended_ns),
        sent: row.sent_ns.map(at),
        end: at(row.end_ns),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_benchmark_only_requests_under_its_profiler_belong_to_its_traces() {
        let ids = |phases: &[&str]| {
            let rows = phases.iter().enumerate().map(|(i, phase)| {
                format!(
                    "{{\"request_id\":\"{phase}\",\"phase\":\"{phase}\",\"ok\":true,\
                     \"intended_ns\":{i},\"sent_ns\":{i},\"end_ns\":{i}}}\n"
                )
            });
            let mut trace = Trace::default();
            read("requests.jsonl", rows.collect::<String>().as_bytes(), &mut trace);
            trace.client.into_iter().map(|client| client.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&["warmup", "measure", "check"]), ["warmup", "measure", "check"]);
        assert_eq!(ids(&["warmup", "measure", "profile"]), ["profile"]);
    }
}
