//! Figures of generation under the names that users of `bench_serving` know: as its block of text,
//! and as its lines of JSON.

use serde_json::{Map, Value, json};
use xscope_trace::Metric;
use xscope_trace::results::{Durations, PointResult, Results};
use xscope_trace::stats::as_f64;

use crate::colour::{Text, Tone};
use crate::text::metric;

/// Width of a block, and of what stands before its numbers.
const WIDTH: usize = 50;
const NAMES: usize = 41;
/// With more points, the blocks hide the table.
const BLOCKS: usize = 6;

/// One figure: its key in JSON, its name in text, its value, and digits after the point.
struct Named {
    key: &'static str,
    name: &'static str,
    value: Option<f64>,
    digits: usize,
}

fn totals(point: &PointResult) -> Vec<Named> {
    let spans = point.trials.iter().map(|trial| (trial.ended - trial.started).as_millis() / 1e3);
    let secs: f64 = spans.sum();
    let rate = |figure: &Metric| figure.value;
    let (input, output) = (rate(&point.input_tokens_per_sec), rate(&point.output_tokens_per_sec));
    let total = |rate: Option<f64>| rate.map(|rate| (rate * secs).round());
    let both = input.zip(output).map(|(input, output)| input + output);
    let in_flight = point.latency.mean_ms.value.filter(|_| secs > 0.0);
    let in_flight = in_flight.map(|mean| mean / 1e3 * as_f64(point.ok) / secs);
    let completed = Some(as_f64(point.ok));
    let named = |key, name, value, digits| Named { key, name, value, digits };
    vec![
        named("completed", "Successful requests", completed, 0),
        named("duration", "Benchmark duration (s)", Some(secs), 2),
        named("total_input_tokens", "Total input tokens", total(input), 0),
        named("total_output_tokens", "Total generated tokens", total(output), 0),
        named("request_throughput", "Request throughput (req/s)", rate(&point.requests_per_sec), 2),
        named("input_throughput", "Input token throughput (tok/s)", input, 2),
        named("output_throughput", "Output token throughput (tok/s)", output, 2),
        named("total_throughput", "Total token throughput (tok/s)", both, 2),
        named("concurrency", "Concurrency", in_flight, 2),
    ]
}

/// Key, name and title of what has a distribution.
const SPREADS: [(&str, &str, &str); 4] = [
    ("e2e_latency", "E2E Latency", "End-to-End Latency"),
    ("ttft", "TTFT", "Time to First Token"),
    ("tpot", "TPOT", "Time per Output Token (excl. 1st token)"),
    ("itl", "ITL", "Inter-Token Latency"),
];

/// Key, name and value of each statistic.
fn statistics(of: &Durations) -> [(&'static str, &'static str, &Metric); 5] {
    [
        ("mean", "Mean", &of.mean_ms),
        ("median", "Median", &of.p50_ms),
        ("std", "Std", &of.std_ms),
        ("p95", "P95", &of.p95_ms),
        ("p99", "P99", &of.p99_ms),
    ]
}

/// What has a distribution, in the order of [`SPREADS`]; `None` where nothing was streamed.
fn spreads(point: &PointResult) -> [Option<&Durations>; 4] {
    [
        Some(&point.latency),
        point.stream.ttft.as_ref(),
        point.stream.tpot.as_ref(),
        point.stream.itl.as_ref(),
    ]
}

/// A block for each point; empty if there are too many points to read them one after the other.
pub fn serving_text(results: &Results) -> Text {
    match results.results.len() {
        0..=BLOCKS => results.results.iter().map(block).collect(),
        _ => Text::default(),
    }
}

fn block(point: &PointResult) -> Text {
    let mut out = Text::from("\n");
    out.line(Tone::Title.of(&format!("{:=^WIDTH$}", format!(" {} ", point.point))));
    for Named { name, value, digits, .. } in totals(point) {
        let value = value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
        out.line(format!("{:<NAMES$}{value}", format!("{name}:")));
    }
    for ((_, name, title), of) in SPREADS.iter().zip(spreads(point)) {
        let Some(of) = of else { continue };
        out.line(format!("{title:-^WIDTH$}"));
        for (_, statistic, figure) in statistics(of) {
            let name = format!("{statistic} {name} (ms):");
            out.line(format!("{name:<NAMES$}{}", metric(figure, 2)));
        }
    }
    out.line("=".repeat(WIDTH));
    out
}

/// A line of JSON for each point, with the keys that `bench_serving` writes; a figure that is missing
/// is `null`.
pub fn serving_jsonl(results: &Results, dataset: &str) -> String {
    let lines = results.results.iter().map(|point| {
        let mut line = Map::new();
        for (key, value) in [
            ("tag", json!(point.point)),
            ("backend", json!(results.config.backend)),
            ("dataset_name", json!(dataset)),
            ("request_rate", json!(point.client.requested_per_sec)),
            ("max_concurrency", json!(point.concurrency)),
            ("random_input_len", json!(point.shape.input_len)),
            ("random_output_len", json!(point.shape.output_len)),
        ] {
            line.insert(key.to_owned(), value);
        }
        for Named { key, value, digits, .. } in totals(point) {
            let value = if digits == 0 { json!(value.map(count)) } else { json!(value) };
            line.insert(key.to_owned(), value);
        }
        let none = Durations::default();
        for ((key, ..), of) in SPREADS.iter().zip(spreads(point)) {
            for (statistic, _, figure) in statistics(of.unwrap_or(&none)) {
                line.insert(format!("{statistic}_{key}_ms"), json!(figure.value));
            }
        }
        line.insert("verdict".to_owned(), json!(point.validity.status));
        format!("{}\n", Value::Object(line))
    });
    lines.collect()
}

fn count(whole: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was counted")]
    let count = whole as u64;
    count
}

#[cfg(test)]
mod tests {
    use xscope_trace::Nanos;
    use xscope_trace::results::{StreamTimes, Trial};

    use super::*;

    fn results() -> Results {
        let ms =
            |values: &[i64]| Durations::of(values.iter().map(|ms| Nanos(ms * 1_000_000)).collect());
        let trial = Trial { ended: Nanos(2_000_000_000), ..Trial::default() };
        let streamed = PointResult {
            point: "in8_out4_c2".to_owned(),
            ok: 4,
            latency: ms(&[400, 500, 600, 500]),
            stream: StreamTimes {
                ttft: Some(ms(&[100, 200])),
                tpot: Some(ms(&[20, 40])),
                ..StreamTimes::default()
            },
            requests_per_sec: Metric::valid(2.0, "1/s"),
            input_tokens_per_sec: Metric::valid(16.0, "tokens/s"),
            output_tokens_per_sec: Metric::valid(8.0, "tokens/s"),
            trials: vec![trial],
            ..PointResult::default()
        };
        let whole = PointResult { point: "whole".to_owned(), ..PointResult::default() };
        Results { results: vec![streamed, whole], ..Results::default() }
    }

    #[test]
    fn the_block_has_the_names_of_bench_serving() {
        let text = serving_text(&results());
        let text = text.plain();
        for line in [
            "================== in8_out4_c2 ===================",
            "Successful requests:                     4",
            "Benchmark duration (s):                  2.00",
            "Total input tokens:                      32",
            "Total generated tokens:                  16",
            "Request throughput (req/s):              2.00",
            "Total token throughput (tok/s):          24.00",
            "Concurrency:                             1.00",
            "Mean E2E Latency (ms):                   500.00",
            "Std E2E Latency (ms):                    70.71",
            "Median TTFT (ms):                        100.00",
            "-----Time per Output Token (excl. 1st token)------",
            "Std TPOT (ms):                           10.00",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        assert!(text.contains("P99 TPOT (ms):") && !text.contains("ITL"), "{text}");
        let many = Results { results: vec![PointResult::default(); 36], ..Results::default() };
        assert!(serving_text(&many).is_empty());
    }

    #[test]
    fn lines_have_the_keys_of_bench_serving_and_no_infinity() {
        let text = serving_jsonl(&results(), "random");
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["mean_e2e_latency_ms"], 500.0);
        assert_eq!(
            (&lines[0]["std_tpot_ms"], &lines[0]["total_output_tokens"]),
            (&10.0.into(), &16.into())
        );
        assert!(lines[0]["request_rate"].is_null() && lines[0]["p99_itl_ms"].is_null());
        assert_eq!(
            (&lines[1]["completed"], &lines[1]["dataset_name"]),
            (&0.into(), &"random".into())
        );
        assert!(lines[1]["median_ttft_ms"].is_null());
    }
}
