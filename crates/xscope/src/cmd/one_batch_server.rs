//! `xscope bench one-batch-server`: one batch of prompts at once against a server.

use anyhow::Result;
use serde_json::{Value, json};
use xscope_capture::{BenchRequest, Control, LoadRequest, MeasuredRun, ProfiledServers, Target};
use xscope_load::{
    Arrivals, Ask, AskGenerate, Backend, Matrix, PromptForm, SendOptions, WarmUp, Workload,
};
use xscope_trace::results::{BenchConfig, Judgement, PointResult};
use xscope_view::server_batches_text;

use crate::cli::OneBatchServerArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::job::{self, Done};

pub(crate) fn run(args: &OneBatchServerArgs) -> Result<Exit> {
    let progress = job::progress(&args.progress);
    let request = request(args);
    let bench = async |control: Control<'_>| xscope_capture::bench(request, control).await;
    let Done { made, interrupted } = job::run(progress, bench)?;
    let MeasuredRun { run, results, died, .. } = made;
    if let Some(path) = &args.lines.result_filename {
        for line in results.results.iter().filter_map(|point| line(&args.lines.run_name, point)) {
            output::append(path, &format!("{line}\n"))?;
        }
    }
    match args.output.json {
        true => output::json(&results)?,
        false => output::page(&server_batches_text(&results))?,
    }
    output::progress(&format!("the run is {}", run.path().display()));
    let is_invalid = |point: &PointResult| point.validity.status == Judgement::Invalid;
    Ok(match () {
        () if interrupted => Exit::Interrupted,
        () if died.is_some() || results.results.iter().any(is_invalid) => Exit::Target,
        () => Exit::Fine,
    })
}

fn request(args: &OneBatchServerArgs) -> BenchRequest {
    let ask = |input: u32, output: u32| {
        Ask::Generate(AskGenerate {
            input_tokens: input.into(),
            output_tokens: Some(output.into()),
            stream: true,
            ignore_eos: true,
        })
    };
    let workload =
        Workload { seed: args.seed.seed, form: PromptForm::TokenIds, ..Workload::new(ask(1, 1)) };
    let mut points = Vec::new();
    for &batch_size in &args.batch_size {
        for &input in &args.input_len {
            for &output in &args.output_len {
                // All at once, and no more before the last has its answer.
                let point = Workload {
                    arrivals: Arrivals::Closed(batch_size),
                    requests: Some(batch_size),
                    ask: ask(input, output),
                    ..workload.clone()
                };
                points.push((format!("b{batch_size}_in{input}_out{output}"), point));
            }
        }
    }
    BenchRequest {
        run: job::run_request(&args.run.output_dir, args.ready.ready_timeout_secs),
        target: Target::Running { url: args.url.clone(), log: args.server_log.clone() },
        load: LoadRequest {
            matrix: Matrix { workload, points, backend: Backend::SglangGenerate },
            send: SendOptions::default(),
            warm_up: WarmUp::at_least(args.warmup.warmup),
            trials: args.trials,
            asked: vec!["mean_ms".to_owned()],
            config: BenchConfig {
                bench: "one-batch-server".to_owned(),
                batch_sizes: args.batch_size.clone(),
                ..BenchConfig::default()
            },
        },
        profile: ProfiledServers::None,
    }
}

/// A result with the keys of sglang's `bench_one_batch_server`; none of what was never answered.
fn line(run_name: &str, point: &PointResult) -> Option<Value> {
    let secs = point.median_trial_secs()?;
    let shape = point.shape;
    let size = |size: Option<u32>| size.map_or(0.0, f64::from);
    let (rows, input, output) =
        (f64::from(point.concurrency), size(shape.input_len), size(shape.output_len));
    Some(json!({
        "run_name": run_name,
        "batch_size": point.concurrency,
        "input_len": shape.input_len,
        "output_len": shape.output_len,
        "latency": secs,
        "output_throughput": rows * output / secs,
        "overall_throughput": rows * (input + output) / secs,
    }))
}
