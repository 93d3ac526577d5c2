//! `xscope bench engine offline`: how many prompts the model gets through when all are there at once.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use xscope_analysis::reports::targets::add_cost;
use xscope_load::{Arrivals, Ask, AskGenerate, Backend, Plan, Prompt, PromptForm, Workload};
use xscope_model::bench::{BatchLimits, Offline, OfflinePrompt, offline};
use xscope_model::{Model, Tokenizer};
use xscope_trace::results::Results;
use xscope_trace::{Metric, Phase};

use crate::cli::{Dataset, OfflineArgs};
use crate::exit::Exit;
use crate::output;
use crate::parts::engine;
use crate::parts::in_process::{self, Session};

pub(crate) fn run(args: &OfflineArgs) -> Result<Exit> {
    ensure!(
        args.engine.token_paddings.is_empty(),
        "--token-paddings is of the engine as a server: leave it out, the batches of `offline` are padded to the \
         longest of their prompts"
    );
    let model =
        engine::model(&args.engine.model, args.seed.seed).context("cannot load the model")?;
    let plan = Plan::new("offline", workload(args, &model), Backend::SglangGenerate)?;
    let prompts = prompts(args, &plan)?;
    let name = in_process::model_name(args.engine.model.model.as_deref());
    let mut config = in_process::config("offline", &name, json!(plan.workload()), args.trials);
    plan.workload_hash().clone_into(&mut config.workload_hash);
    config.seed = args.seed.seed;
    let device = format!("{:?}", args.engine.model.device).to_lowercase();
    let mut session = Session::begin(&args.report, config, &device, 1)?;
    session.say(&format!("{} prompts, {} passes", prompts.len(), args.trials));
    let limits =
        BatchLimits { rows: args.engine.max_batch_rows, tokens: args.engine.max_batch_tokens };
    let mut ran = offline(&model, &prompts, limits, args.trials)?;
    plan.workload_hash().clone_into(&mut ran.point.workload_hash);
    if let Some(path) = &args.result_filename {
        output::append(path, &format!("{}\n", line(&ran, prompts.len())))?;
    }
    session.add(ran.point.clone())?;
    if let Some(price) = args.cost.price_per_hour {
        add_cost(session.results(), price);
    }
    session.end(&args.report, |results| text(results, &ran).into())
}

fn workload(args: &OfflineArgs, model: &Model) -> Workload {
    let ask = AskGenerate {
        input_tokens: args.input_len.clone(),
        output_tokens: Some(args.output_len.clone()),
        stream: false,
        ignore_eos: true,
    };
    let shares = args.dataset_name == Dataset::SharedPrefix;
    Workload {
        seed: args.seed.seed,
        form: PromptForm::TokenIds,
        vocab_size: u32::try_from(model.config().vocab_size).unwrap_or(u32::MAX),
        prefix_tokens: if shares { args.gsp_system_prompt_len } else { 0 },
        prefix_groups: args.gsp_num_groups,
        dataset: args.dataset_path.clone().filter(|_| args.dataset_name == Dataset::Sharegpt),
        arrivals: Arrivals::Closed(1),
        requests: Some(args.num_prompts),
        ..Workload::new(Ask::Generate(ask))
    }
}

fn prompts(args: &OfflineArgs, plan: &Plan) -> Result<Vec<OfflinePrompt>> {
    let tokenizer = Tokenizer::load(&engine::source(args.engine.model.model.clone()));
    let tokenizer = tokenizer.context("cannot load the tokenizer")?;
    let prompt = |place: u32| -> Result<OfflinePrompt> {
        let request = plan.request(Phase::Measure, u64::from(place));
        let tokens = match request.query {
            Prompt::TokenIds(ids) => ids,
            Prompt::Text(text) => tokenizer.encode(&text)?,
        };
        Ok(OfflinePrompt { tokens, output_len: request.output_tokens as usize })
    };
    (0..args.num_prompts).map(prompt).collect()
}

/// The result with the keys of sglang's `bench_offline_throughput`; times are of the median pass.
fn line(ran: &Offline, prompts: usize) -> Value {
    let point = &ran.point;
    let sum = |a: &Metric, b: &Metric| Some(a.value? + b.value?);
    json!({
        "backend": "xscope",
        "successful_requests": prompts,
        "total_latency": pass_secs(ran, prompts),
        "total_input_tokens": ran.input_tokens,
        "total_output_tokens": ran.output_tokens,
        "request_throughput": point.requests_per_sec.value,
        "input_throughput": point.input_tokens_per_sec.value,
        "output_throughput": point.output_tokens_per_sec.value,
        "total_throughput": sum(&point.input_tokens_per_sec, &point.output_tokens_per_sec),
    })
}

/// How long the median pass took.
fn pass_secs(ran: &Offline, prompts: usize) -> Option<f64> {
    let rate = ran.point.requests_per_sec.value?;
    Some(xscope_trace::stats::as_f64(prompts as u64) / rate)
}

fn text(results: &Results, ran: &Offline) -> String {
    let point = &results.results[0];
    let rate = |figure: &Metric| figure.value.map_or("-".to_owned(), |rate| format!("{rate:.2}"));
    let mut out = format!(
        "Offline throughput, median of {} passes in {} batches ({:.1} % of the prompt tokens padding)\n\
         Prompts per second:       {:>10}\n\
         Input tokens per second:  {:>10}   ({} in a pass)\n\
         Output tokens per second: {:>10}   ({} in a pass)\n",
        point.trials.len(),
        ran.batches,
        100.0 * ran.padding_share,
        rate(&point.requests_per_sec),
        rate(&point.input_tokens_per_sec),
        ran.input_tokens,
        rate(&point.output_tokens_per_sec),
        ran.output_tokens,
    );
    if let Some(cost) = &point.cost_per_million_items {
        out += &format!("Cost of a million prompts: {}\n", rate(cost));
    }
    for cause in &point.validity.causes {
        out += &format!("INVALID: {}\n", cause.detail);
    }
    out
}
