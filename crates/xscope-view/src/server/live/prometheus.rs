//! Figures out of the text of `/metrics`, of xscope's engine or of a server of SGLang's kind.

use std::collections::BTreeMap;

use serde::Serialize;
use xscope_load::MetricSample;

/// Most samples that are read of one answer.
const MOST_SAMPLES: usize = 100_000;

/// What a server says of itself. Counts and histograms are since its start; the page makes rates
/// and percentiles of the last seconds from the difference of two looks.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct ServerFigures {
    /// Cumulative counts by upper bound in seconds, of the whole request and of each stage.
    pub latency: Option<Histogram>,
    pub stages: BTreeMap<String, Histogram>,
    pub batch_rows: Option<Histogram>,
    pub queue: Option<f64>,
    pub running: Option<f64>,
    /// Requests that were answered, by status where it says so.
    pub answered: BTreeMap<String, f64>,
    pub compiles: Option<f64>,
    /// Bytes by owner.
    pub memory: BTreeMap<String, f64>,
}

/// A histogram as Prometheus has it: cumulative.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct Histogram {
    /// Upper bound and count of what is not above it; the last bound is absent: no bound.
    pub buckets: Vec<(Option<f64>, f64)>,
    pub sum: f64,
    pub count: f64,
}

const LATENCY: [&str; 3] = [
    "xscope_request_seconds",
    "sglang:e2e_request_latency_seconds",
    "vllm:e2e_request_latency_seconds",
];
const BATCH: [&str; 1] = ["xscope_batch_rows"];
const QUEUE: [&str; 3] =
    ["xscope_queue_items", "sglang:num_queue_reqs", "vllm:num_requests_waiting"];
const RUNNING: [&str; 2] = ["sglang:num_running_reqs", "vllm:num_requests_running"];
const ANSWERED: [&str; 3] =
    ["xscope_requests_total", "sglang:num_requests_total", "vllm:request_success_total"];
const COMPILES: [&str; 2] = ["xscope_compiles_total", "jax_compilations_total"];
const MEMORY: &str = "xscope_memory_live_bytes";
const STAGE: &str = "xscope_stage_seconds";

/// Stages of other servers that have a histogram of their own.
const STAGES: [(&str, &str); 4] = [
    ("sglang:time_to_first_token_seconds", "time to first token"),
    ("sglang:queue_time_seconds", "queue.wait"),
    ("vllm:request_queue_time_seconds", "queue.wait"),
    ("vllm:request_prefill_time_seconds", "forward"),
];

impl ServerFigures {
    pub(crate) fn of(text: &str) -> Self {
        let mut found = Self::default();
        let lines = text.lines().filter(|line| !line.starts_with('#')).take(MOST_SAMPLES);
        for sample in lines.filter_map(MetricSample::of) {
            found.add(&sample);
        }
        found
    }

    fn add(&mut self, sample: &MetricSample<'_>) {
        let (name, value) = (sample.name, sample.value);
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        if let Some(base) = base {
            let histogram = if LATENCY.contains(&base) {
                Some(self.latency.get_or_insert_default())
            } else if BATCH.contains(&base) {
                Some(self.batch_rows.get_or_insert_default())
            } else if base == STAGE {
                let stage = sample.label("stage").unwrap_or_default();
                Some(self.stages.entry(stage.to_owned()).or_default())
            } else {
                let stage = STAGES.iter().find(|(known, _)| *known == base);
                stage.map(|(_, stage)| self.stages.entry((*stage).to_owned()).or_default())
            };
            if let Some(histogram) = histogram {
                histogram.add(name, sample);
            }
            return;
        }
        let sum = |figure: &mut Option<f64>| *figure = Some(figure.unwrap_or(0.0) + value);
        if QUEUE.contains(&name) {
            sum(&mut self.queue);
        } else if RUNNING.contains(&name) {
            sum(&mut self.running);
        } else if COMPILES.contains(&name) {
            sum(&mut self.compiles);
        } else if ANSWERED.contains(&name) {
            let is_other = sample.label("route").is_some_and(|route| route != "/v1/score");
            if !is_other {
                let status = sample.label("status").unwrap_or("answered");
                *self.answered.entry(status.to_owned()).or_default() += value;
            }
        } else if name == MEMORY {
            let owner = sample.label("owner").unwrap_or("all");
            *self.memory.entry(owner.to_owned()).or_default() += value;
        }
    }

    /// What the server does not say.
    pub(crate) fn missing(&self) -> Vec<String> {
        let has = [
            (
                self.latency.is_some(),
                "latency: /metrics has no histogram of requests that is known",
            ),
            (!self.stages.is_empty(), "stages: /metrics has no histogram of stages"),
            (self.queue.is_some(), "the queue: /metrics has no gauge of what waits"),
            (self.batch_rows.is_some(), "batches: /metrics has no histogram of their sizes"),
            (self.compiles.is_some(), "compiles: /metrics does not count them"),
        ];
        has.iter().filter(|(has, _)| !has).map(|(_, what)| (*what).to_owned()).collect()
    }
}

impl Histogram {
    /// Samples of several label sets add up.
    fn add(&mut self, name: &str, sample: &MetricSample<'_>) {
        if name.ends_with("_sum") {
            self.sum += sample.value;
        } else if name.ends_with("_count") {
            self.count += sample.value;
        } else if let Some(bound) = sample.label("le") {
            let bound = bound.parse::<f64>().ok().filter(|bound| bound.is_finite());
            match self.buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += sample.value,
                None => self.buckets.push((bound, sample.value)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ServerFigures;

    #[test]
    fn both_kinds_of_servers_are_understood() {
        let engine = "# HELP x y\n\
            xscope_stage_seconds_bucket{stage=\"queue.wait\",le=\"0.01\"} 2\n\
            xscope_stage_seconds_bucket{stage=\"queue.wait\",le=\"+Inf\"} 3\n\
            xscope_requests_total{route=\"/v1/score\",status=\"200\"} 7\n\
            xscope_requests_total{route=\"/metrics\",status=\"200\"} 70\n\
            xscope_queue_items 4\n";
        let found = ServerFigures::of(engine);
        assert_eq!(found.stages["queue.wait"].buckets, [(Some(0.01), 2.0), (None, 3.0)]);
        assert_eq!((found.queue, found.answered["200"]), (Some(4.0), 7.0));
        assert!(found.missing().iter().any(|what| what.starts_with("compiles")));
        let sglang = "sglang:num_queue_reqs{model_name=\"m\",tp_rank=\"0\"} 2.0\n\
            sglang:e2e_request_latency_seconds_bucket{le=\"0.5\",model_name=\"m\"} 5.0 17\n";
        let found = ServerFigures::of(sglang);
        assert_eq!(found.queue, Some(2.0));
        assert_eq!(found.latency.unwrap().buckets, [(Some(0.5), 5.0)]);
        assert_eq!(ServerFigures::of("}{ x\n\u{0}{le=\"} NaN"), ServerFigures::default());
    }
}
