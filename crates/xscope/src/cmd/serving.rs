//! `xscope bench serving`: generation, online: time to the first token, between tokens, rates.

use anyhow::{Context as _, Result, bail};
use xscope_capture::ProfiledServers;
use xscope_load::usual::serving::{AT_ONCE, INPUTS, OUTPUTS, REQUESTS, REQUESTS_EACH};
use xscope_load::{Arrivals, Ask, AskGenerate, Lengths, Matrix, PromptForm, Workload};
use xscope_trace::results::BenchConfig;

use crate::cli::ServingArgs;
use crate::exit::Exit;
use crate::parts::asked::{backend, point_name, workload};
use crate::parts::bench::{Kind, measure};

pub(crate) fn run(args: &ServingArgs) -> Result<Exit> {
    let mut base = base(args)?;
    if let Some(per_sec) = args.request_rate {
        base.arrivals = Arrivals::Poisson { per_sec };
    }
    let points = points(args, &base)?;
    let profile = match (args.profile, &args.profile_prefill_url, &args.profile_decode_url) {
        (false, ..) => ProfiledServers::None,
        (true, prefill, decode) if prefill.is_empty() && decode.is_empty() => {
            ProfiledServers::Loaded
        }
        (true, prefill, decode) => {
            ProfiledServers::Workers(prefill.iter().chain(decode).cloned().collect())
        }
    };
    let config = BenchConfig {
        bench: "serving".to_owned(),
        profile: args.matrix.then(|| "matrix".to_owned()),
        ..BenchConfig::default()
    };
    let kind = Kind {
        matrix: Matrix { backend: backend(&args.load.requests, &base), workload: base, points },
        config,
        profile,
        warmup: 1,
        own: None,
        memory: false,
        lines: args.output_file.clone().map(|path| (path, args.dataset_name.clone())),
    };
    measure(&args.load, kind)
}

/// What the points have in common.
fn base(args: &ServingArgs) -> Result<Workload> {
    let mut base = Workload::new(Ask::Generate(AskGenerate {
        input_tokens: Lengths::Fixed(1),
        output_tokens: None,
        stream: !args.disable_stream,
        ignore_eos: !args.disable_ignore_eos,
    }));
    if args.dataset_name == "random-ids" {
        base.form = PromptForm::TokenIds;
    }
    if args.dataset_name.ends_with("shared-prefix") {
        base.prefix_tokens = args.gsp_system_prompt_len;
        base.prefix_groups = args.gsp_num_groups;
    }
    if args.dataset_name == "sharegpt" {
        let path = args.dataset_path.clone();
        let path = path.context("give the file of conversations: --dataset-path FILE")?;
        base.dataset = Some(path);
    }
    workload(&args.load.requests, base)
}

fn points(args: &ServingArgs, base: &Workload) -> Result<Vec<(String, Workload)>> {
    if !(0.0..=1.0).contains(&args.random_range_ratio) {
        bail!("--random-range-ratio is a share: from 0 to 1");
    }
    if args.load.requests.workload.is_some() {
        let name = point_name(&args.load.requests, &base.arrivals);
        return Ok(vec![(name, base.clone())]);
    }
    let (inputs, outputs, at_once) = match args.matrix {
        true => (INPUTS.to_vec(), OUTPUTS.to_vec(), AT_ONCE.to_vec()),
        false => (
            args.random_input_len.clone(),
            args.random_output_len.clone(),
            args.max_concurrency.clone(),
        ),
    };
    let lengths: Vec<(String, Lengths, Option<Lengths>)> = match args.dataset_name.as_str() {
        "sharegpt" => {
            let output = args.sharegpt_output_len.map(Lengths::Fixed);
            vec![("sharegpt".to_owned(), Lengths::Fixed(1), output)]
        }
        name if name.ends_with("shared-prefix") => {
            let (input, output) = (args.gsp_question_len, args.gsp_output_len);
            let name = format!("in{}+{input}_out{output}", args.gsp_system_prompt_len);
            vec![(name, input.into(), Some(output.into()))]
        }
        _ => {
            let pairs = inputs.iter().flat_map(|&i| outputs.iter().map(move |&o| (i, o)));
            let ratio = args.random_range_ratio;
            pairs
                .map(|(input, output)| {
                    let name = format!("in{input}_out{output}");
                    (name, ranged(input, ratio), Some(ranged(output, ratio)))
                })
                .collect()
        }
    };
    let mut points = Vec::new();
    for (name, input, output) in lengths {
        let mut workload = base.clone();
        if let Ask::Generate(ask) = &mut workload.ask {
            (ask.input_tokens, ask.output_tokens) = (input, output);
        }
        if at_once.is_empty() {
            if workload.requests.is_none() && workload.secs.is_none() {
                workload.requests = Some(REQUESTS);
            }
            points.push((name.clone(), workload.clone()));
        }
        for &at_once in &at_once {
            let mut workload = workload.clone();
            workload.arrivals = Arrivals::Closed(at_once);
            if workload.requests.is_none() && workload.secs.is_none() {
                workload.requests = Some(at_once.saturating_mul(REQUESTS_EACH));
            }
            points.push((format!("{name}_c{at_once}"), workload));
        }
    }
    Ok(points)
}

/// From a share of a length up to it.
fn ranged(length: u32, ratio: f64) -> Lengths {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is no longer than it"
    )]
    let min = ((f64::from(length) * ratio) as u32).max(1);
    match min < length {
        true => Lengths::Uniform { min, max: length },
        false => Lengths::Fixed(length),
    }
}
