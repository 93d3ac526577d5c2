//! Counts and histograms, and their text for Prometheus.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use xscope_model::Owner;
use xscope_trace::{Bytes, Nanos};

use crate::stage::{STAGES, Stage};

/// Upper bounds in nanoseconds: 10 µs to 10 s, three to a decade.
const TIME_BOUNDS: [u64; 19] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Upper bounds for rows and tokens of a batch.
const SIZE_BOUNDS: [u64; 17] =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

/// A histogram with fixed bounds.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [u64],
    /// One more than there are bounds: the last is for what is above them all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn observe_time(&self, time: Nanos) {
        self.observe(u64::try_from(time.0).unwrap_or(0));
    }

    /// `divisor` turns the recorded unit into the printed one.
    #[expect(clippy::cast_precision_loss, reason = "a statistic for display")]
    fn render(&self, out: &mut String, name: &str, label: &str, divisor: f64) {
        let mut total = 0;
        let comma = if label.is_empty() { "" } else { "," };
        for (index, count) in self.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = self
                .bounds
                .get(index)
                .map_or_else(|| "+Inf".to_owned(), |&bound| (bound as f64 / divisor).to_string());
            line(out, &format!("{name}_bucket{{{label}{comma}le=\"{bound}\"}}"), &total);
        }
        let braces = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let sum = self.sum.load(Ordering::Relaxed) as f64 / divisor;
        line(out, &format!("{name}_sum{braces}"), &sum);
        line(out, &format!("{name}_count{braces}"), &total);
    }
}

/// What a batch amounted to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchSize {
    pub(crate) rows: u64,
    /// Tokens of the prompts.
    pub(crate) tokens: u64,
    /// Tokens that the model ran over: rows times the longest prompt.
    pub(crate) padded_tokens: u64,
}

/// Figures that are sampled when the text is made.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) queue_items: u64,
    pub(crate) queue_limit: u64,
    pub(crate) capture_active: bool,
    pub(crate) spans_recorded: u64,
    pub(crate) spans_dropped: u64,
    pub(crate) memory_live: Option<[Bytes; Owner::COUNT]>,
}

/// The engine's counts since it started.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    request: Histogram,
    stages: [Histogram; Stage::ALL.len()],
    batch_rows: Histogram,
    batch_tokens: Histogram,
    batch_padded_tokens: Histogram,
    items_dropped: AtomicU64,
    /// Highest peaks of all batches, by owner.
    memory_peak: [AtomicU64; Owner::COUNT],
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            requests: Mutex::new(BTreeMap::new()),
            request: Histogram::new(&TIME_BOUNDS),
            stages: std::array::from_fn(|_| Histogram::new(&TIME_BOUNDS)),
            batch_rows: Histogram::new(&SIZE_BOUNDS),
            batch_tokens: Histogram::new(&SIZE_BOUNDS),
            batch_padded_tokens: Histogram::new(&SIZE_BOUNDS),
            items_dropped: AtomicU64::new(0),
            memory_peak: [const { AtomicU64::new(0) }; Owner::COUNT],
        }
    }

    /// An answer was made, or the client left (499).
    pub(crate) fn answered(&self, route: &'static str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route, status)).or_default() += 1;
    }

    pub(crate) fn scored(&self, total: Nanos, stages: &[Nanos; Stage::ALL.len()]) {
        self.request.observe_time(total);
        for (histogram, &time) in self.stages.iter().zip(stages) {
            histogram.observe_time(time);
        }
    }

    pub(crate) fn batch(&self, size: BatchSize, peak: Option<[Bytes; Owner::COUNT]>) {
        self.batch_rows.observe(size.rows);
        self.batch_tokens.observe(size.tokens);
        self.batch_padded_tokens.observe(size.padded_tokens);
        for (highest, bytes) in self.memory_peak.iter().zip(peak.iter().flatten()) {
            highest.fetch_max(bytes.0, Ordering::Relaxed);
        }
    }

    /// Items were dropped before they reached a batch, because their client had gone.
    pub(crate) fn dropped(&self, items: u64) {
        self.items_dropped.fetch_add(items, Ordering::Relaxed);
    }

    /// The text of `/metrics`. A figure that is not known is left out.
    pub(crate) fn render(&self, gauges: &Gauges) -> String {
        let mut out = String::with_capacity(16 * 1024);
        self.render_requests(&mut out);
        self.render_batches(&mut out);
        head(&mut out, "xscope_queue_items", "gauge", "Items waiting for a batch.");
        line(&mut out, "xscope_queue_items", &gauges.queue_items);
        head(&mut out, "xscope_queue_limit_items", "gauge", "Most items that may wait.");
        line(&mut out, "xscope_queue_limit_items", &gauges.queue_limit);
        head(&mut out, "xscope_capture_active", "gauge", "1 while a profile is captured.");
        line(&mut out, "xscope_capture_active", &u8::from(gauges.capture_active));
        head(&mut out, "xscope_spans_recorded_total", "counter", "Spans and ops recorded.");
        line(&mut out, "xscope_spans_recorded_total", &gauges.spans_recorded);
        head(&mut out, "xscope_spans_dropped_total", "counter", "Spans that no file had room for.");
        line(&mut out, "xscope_spans_dropped_total", &gauges.spans_dropped);
        self.render_memory(&mut out, gauges);
        out
    }

    fn render_requests(&self, out: &mut String) {
        head(out, "xscope_requests_total", "counter", "Requests by route and status.");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((route, status), count) in requests {
            let name = format!("xscope_requests_total{{route=\"{route}\",status=\"{status}\"}}");
            line(out, &name, &count);
        }
        head(out, "xscope_request_seconds", "histogram", "Score requests, headers to answer.");
        self.request.render(out, "xscope_request_seconds", "", 1e9);
        head(out, "xscope_stage_seconds", "histogram", "Score requests by pipeline stage.");
        for (stage, histogram) in STAGES.iter().map(|&stage| (stage, &self.stages[stage as usize]))
        {
            let label = format!("stage=\"{}\"", stage.name());
            histogram.render(out, "xscope_stage_seconds", &label, 1e9);
        }
    }

    fn render_batches(&self, out: &mut String) {
        head(out, "xscope_batch_rows", "histogram", "Items per batch.");
        self.batch_rows.render(out, "xscope_batch_rows", "", 1.0);
        head(out, "xscope_batch_tokens", "histogram", "Prompt tokens per batch.");
        self.batch_tokens.render(out, "xscope_batch_tokens", "", 1.0);
        head(out, "xscope_batch_padded_tokens", "histogram", "Tokens per batch with padding.");
        self.batch_padded_tokens.render(out, "xscope_batch_padded_tokens", "", 1.0);
        let help = "Items dropped before a batch because their client had gone.";
        head(out, "xscope_items_dropped_total", "counter", help);
        line(out, "xscope_items_dropped_total", &self.items_dropped.load(Ordering::Relaxed));
    }

    fn render_memory(&self, out: &mut String, gauges: &Gauges) {
        let Some(live) = gauges.memory_live else { return };
        head(out, "xscope_memory_live_bytes", "gauge", "Heap bytes alive by owner.");
        for (owner, bytes) in Owner::ALL.iter().zip(live) {
            let name = format!("xscope_memory_live_bytes{{owner=\"{}\"}}", owner.as_str());
            line(out, &name, &bytes.0);
        }
        head(out, "xscope_memory_peak_bytes", "gauge", "Most heap bytes alive during a batch.");
        for (owner, bytes) in Owner::ALL.iter().zip(&self.memory_peak) {
            let name = format!("xscope_memory_peak_bytes{{owner=\"{}\"}}", owner.as_str());
            line(out, &name, &bytes.load(Ordering::Relaxed));
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to a string");
}

fn line(out: &mut String, name: &str, value: &dyn std::fmt::Display) {
    writeln!(out, "{name} {value}").expect("writing to a string");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_inclusive() {
        let histogram = Histogram::new(&SIZE_BOUNDS);
        for value in [1, 2, 3, 100_000] {
            histogram.observe(value);
        }
        let mut out = String::new();
        histogram.render(&mut out, "n", "a=\"b\"", 1.0);
        for expected in [
            "n_bucket{a=\"b\",le=\"1\"} 1\n",
            "n_bucket{a=\"b\",le=\"2\"} 2\n",
            "n_bucket{a=\"b\",le=\"4\"} 3\n",
            "n_bucket{a=\"b\",le=\"65536\"} 3\n",
            "n_bucket{a=\"b\",le=\"+Inf\"} 4\n",
            "n_sum{a=\"b\"} 100006\n",
            "n_count{a=\"b\"} 4\n",
        ] {
            assert!(out.contains(expected), "{expected} not in {out}");
        }
    }

    #[test]
    fn unknown_memory_is_left_out() {
        let gauges = Gauges {
            queue_items: 0,
            queue_limit: 1,
            capture_active: false,
            spans_recorded: 0,
            spans_dropped: 0,
            memory_live: None,
        };
        let text = Metrics::new().render(&gauges);
        assert!(!text.contains("memory"), "{text}");
        assert!(
            text.contains("xscope_stage_seconds_bucket{stage=\"queue.wait\",le=\"0.00001\"} 0")
        );
    }
}
