//! `xscope bench score`: the score matrix, or one workload, against any scoring server.

use anyhow::Result;
use xscope_capture::ProfiledServers;
use xscope_load::{Arrivals, Ask, AskScore, Labels, Lengths, Matrix, PromptForm, Workload};
use xscope_trace::results::BenchConfig;

use crate::cli::ScoreArgs;
use crate::cmd::bench::{Asked, backend, measure, point_name, workload};
use crate::cmd::{Exit, engine};

/// A matrix that has a name.
struct Named {
    name: &'static str,
    batch_sizes: &'static [u32],
    label_counts: &'static [u32],
    requests: u32,
    warmup: u32,
}

const NAMED: [Named; 3] = [
    Named {
        name: "smoke",
        batch_sizes: &[1, 4, 16],
        label_counts: &[2, 4],
        requests: 5,
        warmup: 2,
    },
    Named {
        name: "standard",
        batch_sizes: &[1, 2, 4, 8, 16, 32],
        label_counts: &[2, 4, 8],
        requests: 20,
        warmup: 5,
    },
    Named {
        name: "full",
        batch_sizes: &[1, 2, 4, 8, 16, 32, 64],
        label_counts: &[2, 4, 8, 16],
        requests: 50,
        warmup: 10,
    },
];

const STRESS_BATCHES: [u32; 3] = [50, 100, 200];
const STRESS_AT_ONCE: [u32; 3] = [4, 8, 16];
const STRESS_ITEMS: u32 = 8;
const STRESS_SECS: f64 = 30.0;

pub(crate) fn run(args: &ScoreArgs) -> Result<Exit> {
    let named = NAMED.iter().find(|named| Some(named.name) == args.profile.as_deref());
    let sizes = !args.batch_sizes.is_empty() || !args.label_counts.is_empty();
    let is_single = args.load.workload.is_some() && named.is_none() && !sizes && !args.stress;
    let usual = named.unwrap_or(&NAMED[0]);
    let base = base(args, usual)?;
    let or = |given: &[u32], usual: &[u32]| match given.is_empty() {
        true => usual.to_vec(),
        false => given.to_vec(),
    };
    let labels = match &args.label_token_ids {
        Some(ids) => vec![u32::try_from(ids.len())?],
        None => or(&args.label_counts, usual.label_counts),
    };
    let batches = or(&args.batch_sizes, usual.batch_sizes);
    let (points, batches, labels) = match () {
        () if args.stress => (stress(&base), STRESS_BATCHES.to_vec(), vec![2]),
        () if is_single => {
            let name = point_name(&args.load, &base.arrivals);
            (vec![(name, base.clone())], Vec::new(), Vec::new())
        }
        () => (base.score_matrix(&batches, &labels), batches, labels),
    };
    let config = BenchConfig {
        bench: "score".to_owned(),
        profile: match () {
            () if args.stress => Some("stress".to_owned()),
            () if is_single || sizes => None,
            () => Some(usual.name.to_owned()),
        },
        batch_sizes: batches,
        label_counts: labels,
        ..BenchConfig::default()
    };
    let asked = Asked {
        matrix: Matrix { backend: backend(&args.load, &base), workload: base, points },
        config,
        profile: match args.enable_trace || args.enable_memory {
            true => ProfiledServers::Loaded,
            false => ProfiledServers::None,
        },
        warmup: usual.warmup,
        own: Some(engine::command(&args.engine, &args.load.output_dir)?),
        memory: args.enable_memory,
        lines: None,
    };
    measure(&args.load, asked)
}

/// What the points have in common.
fn base(args: &ScoreArgs, usual: &Named) -> Result<Workload> {
    let ask = Ask::Score(AskScore {
        items: Lengths::Fixed(4),
        query_tokens: Lengths::Fixed(12),
        item_tokens: Lengths::Fixed(8),
        labels: Labels::Drawn(2),
        item_first: false,
        apply_softmax: true,
    });
    let usual = Workload { requests: Some(usual.requests), ..Workload::new(ask) };
    let mut workload = workload(&args.load, usual)?;
    if args.token_ids {
        workload.form = PromptForm::TokenIds;
    }
    if let Ask::Score(ask) = &mut workload.ask {
        ask.item_first |= args.item_first;
        ask.apply_softmax &= !args.no_softmax;
        if let Some(tokens) = &args.query_tokens {
            ask.query_tokens = tokens.clone();
        }
        if let Some(tokens) = &args.item_tokens {
            ask.item_tokens = tokens.clone();
        }
        if let Some(ids) = &args.label_token_ids {
            ask.labels = Labels::Ids(ids.clone());
        }
    }
    Ok(workload)
}

/// Large batches one after the other, then many requests at once for a while.
fn stress(base: &Workload) -> Vec<(String, Workload)> {
    let mut points = base.score_matrix(&STRESS_BATCHES, &[2]);
    for at_once in STRESS_AT_ONCE {
        for (name, mut workload) in base.score_matrix(&[STRESS_ITEMS], &[2]) {
            workload.arrivals = Arrivals::Closed(at_once);
            (workload.requests, workload.secs) = (None, Some(base.secs.unwrap_or(STRESS_SECS)));
            points.push((format!("{name}_c{at_once}"), workload));
        }
    }
    points
}
