//! Results of a benchmark as a table for the terminal, as Markdown and as CSV.

pub(crate) mod in_process;
pub(crate) mod search;
pub(crate) mod serving;

use xscope_analysis::words::counted;
use xscope_trace::Metric;
use xscope_trace::results::{Cause, CompileSplit, Durations, Judgement, PointResult, Results};

use crate::colour::{Text, Tone};
use crate::csv::lines;
use crate::grid::{Cell, Column, Style, table};
use crate::text::metric;

/// A table with a row for each point, and below it why points are invalid.
pub fn bench_text(results: &Results, style: Style) -> Text {
    if results.results.is_empty() {
        return "Nothing was measured: it ended before a trial of a point did\n".into();
    }
    let (columns, rows) = points(results);
    let mut out = table(&columns, &rows, style);
    for point in &results.results {
        let spoiled = point.validity.status == Judgement::Invalid;
        for cause in point.validity.causes.iter().filter(|cause| spoiled || is_grave(cause)) {
            out += format!("\n{}: {}: {}", point.point, name(cause), cause.detail);
        }
        for (what, split) in [("", &point.compile), ("while profiled, ", &point.compile_profiled)] {
            if let Some(split) = split.as_ref().filter(|split| split.hit.n > 0) {
                out += format!("\n{}: {what}{}", point.point, compile_text(split));
            }
        }
    }
    if !out.plain().ends_with('\n') {
        out += "\n";
    }
    out
}

/// What is told of each point, as far as any has it, and a row for each.
pub(crate) fn points(results: &Results) -> (Vec<Column>, Vec<Vec<Cell>>) {
    let shown = columns(results);
    let heads = shown.iter().map(|column| column.head).collect();
    let row = |point| shown.iter().map(|column| (column.cell)(point)).collect();
    (heads, results.results.iter().map(row).collect())
}

fn compile_text(split: &CompileSplit) -> String {
    let ms = |figure: &Metric| metric(figure, 2);
    format!(
        "without the {} that met a compilation (known from the {}): n {}  p50 {}  p95 {}  \
         p99 {} ms; of those that did: p50 {}  max {} ms",
        counted(split.hit.n, "request"),
        split.detected_by,
        split.clean.n,
        ms(&split.clean.p50_ms),
        ms(&split.clean.p95_ms),
        ms(&split.clean.p99_ms),
        ms(&split.hit.p50_ms),
        ms(&split.hit.max_ms),
    )
}

/// Worth a line even where it does not spoil what was asked for.
fn is_grave(cause: &Cause) -> bool {
    cause.spoils.is_empty()
}

struct Shown {
    head: Column,
    cell: fn(&PointResult) -> Cell,
}

fn columns(results: &Results) -> Vec<Shown> {
    let text = |name, cell| Shown { head: Column::Text(name), cell };
    let figure = |name, cell| Shown { head: Column::Number(name), cell };
    let has = |of: fn(&PointResult) -> bool| results.results.iter().any(of);
    let mut columns = vec![
        text("point", |point| (&point.point).into()),
        text("arrivals", |point| (&point.arrivals).into()),
        figure("n", |point| point.latency.n.to_string().into()),
        figure("p50 ms", |point| metric(&point.latency.p50_ms, 2).into()),
        figure("p95 ms", |point| metric(&point.latency.p95_ms, 2).into()),
        figure("p99 ms", |point| metric(&point.latency.p99_ms, 2).into()),
        figure("mean ms", |point| metric(&point.latency.mean_ms, 2).into()),
    ];
    if has(|point| point.failed > 0) {
        columns.push(figure("failed", |point| point.failed.to_string().into()));
    }
    if has(|point| point.stream.ttft.is_some()) {
        columns.push(figure("TTFT p50", |point| {
            let ttft = point.stream.ttft.as_ref();
            ttft.map_or_else(String::new, |ttft| metric(&ttft.p50_ms, 2)).into()
        }));
        columns.push(figure("ITL p50", |point| {
            let itl = point.stream.itl.as_ref();
            itl.map_or_else(String::new, |itl| metric(&itl.p50_ms, 2)).into()
        }));
    }
    if has(|point| point.throughput_items_per_sec.value.is_some()) {
        columns.push(figure("items/s", |point| metric(&point.throughput_items_per_sec, 1).into()));
        columns.push(figure("ms/item", |point| metric(&point.item_ms, 3).into()));
    }
    columns.push(figure("req/s", |point| metric(&point.requests_per_sec, 2).into()));
    if has(|point| point.output_tokens_per_sec.value.is_some()) {
        columns.push(figure("in tok/s", |point| metric(&point.input_tokens_per_sec, 1).into()));
        columns.push(figure("out tok/s", |point| metric(&point.output_tokens_per_sec, 1).into()));
    }
    if has(|point| point.peak_hbm_mb.value.is_some()) {
        columns.push(figure("peak MB", |point| metric(&point.peak_hbm_mb, 1).into()));
    }
    if has(|point| point.cost_per_million_items.is_some()) {
        columns.push(figure("cost of 1M items", |point| {
            let cost = point.cost_per_million_items.as_ref();
            cost.map_or_else(String::new, |cost| metric(cost, 2)).into()
        }));
    }
    columns.push(text("verdict", |point| match point.validity.status {
        Judgement::Invalid => Cell::of(Tone::Bad, verdict(point)),
        _ => verdict(point).into(),
    }));
    columns
}

fn verdict(point: &PointResult) -> &'static str {
    match point.validity.status {
        Judgement::Valid => "valid",
        Judgement::Invalid => "INVALID",
        Judgement::Unknown => "",
    }
}

/// The cause as it stands in results.
fn name(cause: &Cause) -> String {
    serde_json::to_value(cause.cause)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// A line for each point, with the names that `results.json` has; missing figures are empty.
pub fn bench_csv(results: &Results) -> String {
    let heading = COLUMNS.map(|(name, _)| name.to_owned()).to_vec();
    let cells = |point: &PointResult| COLUMNS.map(|(_, cell)| cell(point)).to_vec();
    lines(std::iter::once(heading).chain(results.results.iter().map(cells)))
}

/// A column of CSV: its name and what it says of a point.
type CsvColumn = (&'static str, fn(&PointResult) -> String);

const COLUMNS: [CsvColumn; 31] = [
    ("point", |point| point.point.clone()),
    ("batch_size", |point| count(point.shape.batch_size)),
    ("label_count", |point| count(point.shape.label_count)),
    ("input_len", |point| count(point.shape.input_len)),
    ("output_len", |point| count(point.shape.output_len)),
    ("arrivals", |point| point.arrivals.clone()),
    ("concurrency", |point| point.concurrency.to_string()),
    ("n", |point| point.latency.n.to_string()),
    ("failed", |point| point.failed.to_string()),
    ("p50_ms", |point| number(&point.latency.p50_ms)),
    ("p95_ms", |point| number(&point.latency.p95_ms)),
    ("p99_ms", |point| number(&point.latency.p99_ms)),
    ("mean_ms", |point| number(&point.latency.mean_ms)),
    ("min_ms", |point| number(&point.latency.min_ms)),
    ("max_ms", |point| number(&point.latency.max_ms)),
    ("item_ms", |point| number(&point.item_ms)),
    ("throughput_items_per_sec", |point| number(&point.throughput_items_per_sec)),
    ("requests_per_sec", |point| number(&point.requests_per_sec)),
    ("input_tokens_per_sec", |point| number(&point.input_tokens_per_sec)),
    ("output_tokens_per_sec", |point| number(&point.output_tokens_per_sec)),
    ("ttft_p50_ms", |point| streamed(&point.stream.ttft, |ttft| &ttft.p50_ms)),
    ("ttft_p99_ms", |point| streamed(&point.stream.ttft, |ttft| &ttft.p99_ms)),
    ("tpot_p50_ms", |point| streamed(&point.stream.tpot, |tpot| &tpot.p50_ms)),
    ("tpot_p99_ms", |point| streamed(&point.stream.tpot, |tpot| &tpot.p99_ms)),
    ("itl_p50_ms", |point| streamed(&point.stream.itl, |itl| &itl.p50_ms)),
    ("itl_p99_ms", |point| streamed(&point.stream.itl, |itl| &itl.p99_ms)),
    ("peak_hbm_mb", |point| number(&point.peak_hbm_mb)),
    ("trace_path", |point| point.trace_path.clone().unwrap_or_default()),
    ("verdict", |point| verdict(point).to_lowercase()),
    ("causes", |point| point.validity.causes.iter().map(name).collect::<Vec<_>>().join(" ")),
    ("workload_hash", |point| point.workload_hash.clone()),
];

fn count(count: Option<u32>) -> String {
    count.map_or_else(String::new, |count| count.to_string())
}

fn number(figure: &Metric) -> String {
    figure.value.map_or_else(String::new, |value| value.to_string())
}

fn streamed(durations: &Option<Durations>, of: fn(&Durations) -> &Metric) -> String {
    durations.as_ref().map_or_else(String::new, |durations| number(of(durations)))
}

#[cfg(test)]
mod tests {
    use xscope_trace::results::{CauseKind, PointShape, Validity};

    use super::*;

    fn results() -> Results {
        let cause = |cause, detail: &str, spoils: &[&str]| Cause {
            cause,
            detail: detail.to_owned(),
            spoils: spoils.iter().map(|&name| name.to_owned()).collect(),
        };
        let few = cause(CauseKind::TooFewSamples, "p99_ms needs 100", &["p99_ms"]);
        let died = cause(CauseKind::ServerDied, "its log says: TypeError", &[]);
        let point = |name: &str, causes| PointResult {
            point: name.to_owned(),
            shape: PointShape { batch_size: Some(4), ..PointShape::default() },
            arrivals: "gamma:2/s,0.5".to_owned(),
            latency: Durations {
                n: 5,
                p50_ms: Metric::valid(12.345, "ms"),
                ..Durations::default()
            },
            validity: Validity::on(causes, &["p50_ms"]),
            ..PointResult::default()
        };
        let results = vec![point("good", vec![few.clone()]), point("bad", vec![died, few])];
        Results { results, ..Results::default() }
    }

    #[test]
    fn invalid_points_say_why_and_valid_ones_do_not_complain() {
        let text = bench_text(&results(), Style::Terminal);
        let text = text.plain();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("12.3") && lines[1].ends_with("valid"), "{text}");
        assert!(lines[2].ends_with("INVALID"), "{text}");
        assert!(text.contains("bad: server_died: its log says: TypeError"), "{text}");
        assert!(!text.contains("good: too_few"), "{text}");
        let markdown = bench_text(&results(), Style::Markdown);
        assert!(markdown.plain().starts_with("| point | arrivals | n |"));
        let nothing = Results { results: Vec::new(), ..results() };
        assert!(bench_text(&nothing, Style::Terminal).plain().starts_with("Nothing was measured"));
    }

    #[test]
    fn csv_has_as_many_cells_as_heads() {
        let csv = bench_csv(&results());
        let mut lines = csv.lines();
        let heads = lines.next().unwrap().split(',').count();
        for line in lines {
            // The arrivals hold a comma, in quotes.
            assert_eq!(line.split(',').count(), heads + 1, "{line}");
        }
        assert!(csv.contains("invalid,server_died too_few_samples,"), "{csv}");
    }
}
