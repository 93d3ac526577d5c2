//! `xscope bench engine batch`: one batch through the model, in process.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xscope_model::bench::{OneBatch, one_batch};
use xscope_trace::Metric;
use xscope_trace::results::PointResult;
use xscope_view::batches_text;

use crate::cli::OneBatchArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::engine;
use crate::parts::in_process::{self, Session};

pub(crate) fn run(args: &OneBatchArgs) -> Result<Exit> {
    let mut batches = Vec::new();
    for &batch_size in &args.batch_size {
        for &input_len in &args.input_len {
            for &output_len in &args.output_len {
                let [batch_size, input_len, output_len] =
                    [batch_size, input_len, output_len].map(|size| size as usize);
                batches.push(OneBatch { batch_size, input_len, output_len });
            }
        }
    }
    let model = engine::model(&args.model, args.seed.seed).context("cannot load the model")?;
    for batch in &batches {
        // Before anything is measured.
        batch.check(&model)?;
    }
    let name = in_process::model_name(args.model.model.as_deref());
    let sizes = json!({
        "batch_size": args.batch_size, "input_len": args.input_len, "output_len": args.output_len,
        "seed": args.seed.seed,
    });
    let mut config = in_process::config("one-batch", &name, sizes, args.inside.trials);
    config.batch_sizes.clone_from(&args.batch_size);
    config.seed = args.seed.seed;
    let device = format!("{:?}", args.model.device).to_lowercase();
    let mut session = Session::begin(&args.inside.report, config, &device, batches.len())?;
    for batch in batches {
        let OneBatch { batch_size, input_len, output_len } = batch;
        session.say(&format!("{batch_size} prompts of {input_len}, {output_len} tokens out"));
        let point = one_batch(&model, batch, &in_process::repeat(&args.inside), args.seed.seed)?;
        if let Some(path) = &args.lines.result_filename {
            output::append(path, &format!("{}\n", line(&args.lines.run_name, batch, &point)))?;
        }
        session.add(point)?;
    }
    session.end(&args.inside.report, batches_text)
}

/// A result with the keys of sglang's `bench_one_batch`, in seconds and tokens per second; what is
/// not there is left out, as it does.
fn line(run_name: &str, batch: OneBatch, point: &PointResult) -> Value {
    let secs = |figure: &Metric| figure.value.map(|ms| ms / 1e3);
    let rate = |tokens: usize, secs: Option<f64>| secs.map(|secs| as_f64(tokens) / secs);
    let OneBatch { batch_size, input_len, output_len } = batch;
    let prefill = point.stream.ttft.as_ref().and_then(|prefill| secs(&prefill.p50_ms));
    let total = secs(&point.latency.p50_ms);
    let mut line = json!({
        "run_name": run_name,
        "batch_size": batch_size,
        "input_len": input_len,
        "output_len": output_len,
        "prefill_latency": prefill,
        "prefill_throughput": rate(batch_size * input_len, prefill),
        "total_latency": total,
        "overall_throughput": rate(batch_size * (input_len + output_len), total),
    });
    if let Some(step) = point.stream.itl.as_ref().and_then(|step| secs(&step.p50_ms)) {
        line["median_decode_latency"] = json!(step);
        line["median_decode_throughput"] = json!(rate(batch_size, Some(step)));
    }
    line
}

fn as_f64(tokens: usize) -> f64 {
    xscope_trace::stats::as_f64(tokens as u64)
}
