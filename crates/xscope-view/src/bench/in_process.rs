//! Benchmarks in process, as text: kernels, and batches through a model.

use xscope_trace::Metric;
use xscope_trace::results::{Judgement, KernelFigures, PointResult, Results};

use crate::colour::{Text, Tone};
use crate::csv::lines;
use crate::grid::{Cell, Column, Style, row, table};
use crate::text::{duration, metric, share, si};

/// Kernels, one a line; those that JAX ran, too, side by side with the engine's.
pub fn kernels_text(results: &Results) -> Text {
    let columns = [
        Column::Text("kernel"),
        Column::Text("by"),
        Column::Number("median"),
        Column::Text("95 % interval"),
        Column::Number("runs"),
        Column::Number("FLOP/s"),
        Column::Number("B/s"),
        Column::Number("FLOP/B"),
        Column::Text("bound by"),
        Column::Number("of peak"),
        Column::Number("answer off by"),
    ];
    let rows: Vec<_> = kernels(results).map(|(point, kernel)| kernel_row(point, kernel)).collect();
    let mut out = table(&columns, &rows, Style::Terminal);
    for (point, kernel) in kernels(results) {
        if let Some(reason) = &kernel.efficiency.reason {
            out.line(format!("{}: of peak: {reason}", point.point));
        }
    }
    out += beside(results);
    for point in &results.results {
        for cause in &point.validity.causes {
            out += match is_invalid(point) {
                true => Tone::Bad.of("INVALID"),
                false => Tone::Aside.of("note"),
            };
            out.line(format!(": {}: {}", point.point, cause.detail));
        }
    }
    out
}

fn is_invalid(point: &PointResult) -> bool {
    point.validity.status == Judgement::Invalid
}

fn kernels(results: &Results) -> impl Iterator<Item = (&PointResult, &KernelFigures)> {
    results.results.iter().filter_map(|point| Some((point, point.kernel.as_deref()?)))
}

fn millis(figure: &Metric) -> String {
    figure.value.map_or("-".to_owned(), |ms| duration(1e3 * ms))
}

fn rate(figure: &Metric, unit: &str) -> String {
    figure.value.map_or("-".to_owned(), |rate| si(rate, unit))
}

fn kernel_row(point: &PointResult, kernel: &KernelFigures) -> Vec<Cell> {
    let interval = match point.p50_interval_ms {
        Some([low, high]) => format!("{} to {}", duration(1e3 * low), duration(1e3 * high)),
        None => "-".to_owned(),
    };
    row![
        shape_name(point),
        &kernel.by,
        millis(&point.latency.p50_ms),
        interval,
        point.latency.n.to_string(),
        if kernel.flops.value == Some(0.0) {
            "-".to_owned()
        } else {
            rate(&kernel.flops_per_sec, "FLOP/s")
        },
        rate(&kernel.bytes_per_sec, "B/s"),
        metric(&kernel.intensity, 1),
        &kernel.bound_by,
        share(&kernel.efficiency),
        format!("{:.0e}", kernel.answer_error),
    ]
}

/// The kernel without who ran it.
fn shape_name(point: &PointResult) -> &str {
    point.point.split('@').next().unwrap_or_default()
}

fn beside(results: &Results) -> Text {
    let by = |name: &str, by: &str| {
        kernels(results)
            .find(|(point, kernel)| shape_name(point) == name && kernel.by == by)
            .map(|(point, kernel)| (point.latency.p50_ms.value, kernel.host_ms.clone()))
    };
    let rows: Vec<Vec<Cell>> = kernels(results)
        .filter(|(_, kernel)| kernel.by == "engine")
        .filter_map(|(point, _)| {
            let name = shape_name(point);
            let (engine, (jax, host)) = (by(name, "engine")?.0?, by(name, "jax")?);
            let jax = jax?;
            Some(row![
                name,
                duration(1e3 * engine),
                duration(1e3 * jax),
                host.as_ref().map_or("-".to_owned(), millis),
                match jax < engine {
                    true => format!("JAX takes 1/{:.2} of the time", engine / jax),
                    false => format!("JAX takes {:.2} times as long", jax / engine),
                },
            ])
        })
        .collect();
    if rows.is_empty() {
        return Text::default();
    }
    let columns = [
        Column::Text("kernel"),
        Column::Number("engine"),
        Column::Number("JAX, device"),
        Column::Number("JAX, host waits"),
        Column::Text(""),
    ];
    let mut out = Text::from("\n");
    out += table(&columns, &rows, Style::Terminal);
    out
}

/// Kernels as CSV, with the names of the JSON.
pub fn kernels_csv(results: &Results) -> String {
    let heading = COLUMNS.map(|(name, _)| name.to_owned()).to_vec();
    let cells = |(point, kernel)| COLUMNS.map(|(_, cell)| cell(point, kernel)).to_vec();
    lines(std::iter::once(heading).chain(kernels(results).map(cells)))
}

/// A column of CSV: its name and what it says of a kernel.
type CsvColumn = (&'static str, fn(&PointResult, &KernelFigures) -> String);

const COLUMNS: [CsvColumn; 17] = [
    ("point", |point, _| point.point.clone()),
    ("by", |_, kernel| kernel.by.clone()),
    ("device", |_, kernel| kernel.device.clone()),
    ("n", |point, _| point.latency.n.to_string()),
    ("p50_ms", |point, _| number(point.latency.p50_ms.value)),
    ("p50_low_ms", |point, _| number(point.p50_interval_ms.map(|[low, _]| low))),
    ("p50_high_ms", |point, _| number(point.p50_interval_ms.map(|[_, high]| high))),
    ("flops", |_, kernel| number(kernel.flops.value)),
    ("bytes_accessed", |_, kernel| number(kernel.bytes_accessed.value)),
    ("flops_per_sec", |_, kernel| number(kernel.flops_per_sec.value)),
    ("bytes_per_sec", |_, kernel| number(kernel.bytes_per_sec.value)),
    ("intensity", |_, kernel| number(kernel.intensity.value)),
    ("bound_by", |_, kernel| kernel.bound_by.clone()),
    ("efficiency", |_, kernel| number(kernel.efficiency.value)),
    ("answer_error", |_, kernel| kernel.answer_error.to_string()),
    ("host_ms", |_, kernel| number(kernel.host_ms.as_ref().and_then(|it| it.value))),
    ("verdict", |point, _| if is_invalid(point) { "invalid" } else { "valid" }.to_owned()),
];

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Batches in the words of sglang's `bench_one_batch`.
pub fn batches_text(results: &Results) -> Text {
    let mut out = Text::default();
    for point in &results.results {
        let size = |size: Option<u32>| size.map_or(0.0, f64::from);
        let (rows, input) = (size(point.shape.batch_size), size(point.shape.input_len));
        let output = size(point.shape.output_len);
        let n = point.latency.n;
        let what = format!("Batch size {rows}, input {input}, output {output} tokens");
        out.line(Tone::Title.of(&format!("{what} (medians of {n} runs):")));
        let line = |name: &str, ms: &Metric, tokens: f64| {
            let Some(secs) = ms.value.map(|ms| ms / 1e3) else {
                return format!("{name} latency: -\n");
            };
            format!("{name} latency: {secs:9.5} s, throughput: {:9.2} token/s\n", tokens / secs)
        };
        if let Some(prefill) = &point.stream.ttft {
            out += line("Prefill.", &prefill.p50_ms, rows * input);
        }
        if let Some(step) = &point.stream.itl {
            out += line("Decode.  median", &step.p50_ms, rows);
        }
        out += line("Total.", &point.latency.p50_ms, rows * (input + output));
        for cause in &point.validity.causes {
            out.line(&*cause.detail);
        }
    }
    out
}

/// Batches against a server, one a line.
pub fn server_batches_text(results: &Results) -> Text {
    let columns = [
        Column::Number("batch"),
        Column::Number("input"),
        Column::Number("output"),
        Column::Number("batches"),
        Column::Number("latency"),
        Column::Number("output token/s"),
        Column::Number("all token/s"),
        Column::Text(""),
    ];
    let row = |point: &PointResult| {
        let secs = point.median_trial_secs();
        let size = |size: Option<u32>| size.map_or(0.0, f64::from);
        let (input, output) = (size(point.shape.input_len), size(point.shape.output_len));
        let rows = f64::from(point.concurrency);
        let rate = |tokens: f64| match secs {
            Some(secs) => format!("{:.1}", tokens / secs),
            None => "-".to_owned(),
        };
        row![
            point.concurrency.to_string(),
            input.to_string(),
            output.to_string(),
            point.trials.len().to_string(),
            secs.map_or("-".to_owned(), |secs| duration(1e6 * secs)),
            rate(rows * output),
            rate(rows * (input + output)),
            match point.validity.causes.first().filter(|_| is_invalid(point)) {
                Some(cause) => Cell::of(Tone::Bad, format!("INVALID: {}", cause.detail)),
                None => "".into(),
            },
        ]
    };
    let rows: Vec<_> = results.results.iter().map(row).collect();
    table(&columns, &rows, Style::Terminal)
}
