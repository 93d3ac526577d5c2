//! `xscope bench score`: the score matrix, or one workload, against any scoring server.

use anyhow::Result;
use xscope_capture::ProfiledServers;
use xscope_load::{
    Arrivals, Ask, AskScore, Labels, Lengths, Matrix, PromptForm, Workload, score_points,
};
use xscope_trace::results::BenchConfig;

use crate::cli::{RequestArgs, ScoreArgs, ScoreAskArgs};
use crate::cmd::bench::{Asked, backend, measure, point_name, workload};
use crate::cmd::{Exit, engine};

/// What is asked where nothing is said: a matrix that may have a name.
#[derive(Clone, Copy)]
pub(crate) struct Named {
    pub name: &'static str,
    pub batch_sizes: &'static [u32],
    pub label_counts: &'static [u32],
    pub requests: u32,
    pub warmup: u32,
    pub at_once: u32,
    pub item_tokens: u32,
}

pub(crate) const SMOKE: Named = Named {
    name: "smoke",
    batch_sizes: &[1, 4, 16],
    label_counts: &[2, 4],
    requests: 5,
    warmup: 2,
    at_once: 1,
    item_tokens: 8,
};
const STANDARD: Named = Named {
    name: "standard",
    batch_sizes: &[1, 2, 4, 8, 16, 32],
    label_counts: &[2, 4, 8],
    requests: 20,
    warmup: 5,
    ..SMOKE
};
const FULL: Named = Named {
    name: "full",
    batch_sizes: &[1, 2, 4, 8, 16, 32, 64],
    label_counts: &[2, 4, 8, 16],
    requests: 50,
    warmup: 10,
    ..SMOKE
};
/// One point, of a command that is not about a matrix.
pub(crate) const POINT: Named =
    Named { name: "", batch_sizes: &[4], label_counts: &[2], requests: 200, warmup: 5, ..SMOKE };

const STRESS_BATCHES: [u32; 3] = [50, 100, 200];
const STRESS_AT_ONCE: [u32; 3] = [4, 8, 16];
const STRESS_ITEMS: u32 = 8;
const STRESS_SECS: f64 = 30.0;

pub(crate) fn run(args: &ScoreArgs) -> Result<Exit> {
    let mut named = [SMOKE, STANDARD, FULL].into_iter();
    let named = named.find(|named| Some(named.name) == args.profile.as_deref());
    let usual = named.unwrap_or(SMOKE);
    let requests = &args.load.requests;
    let planned = match args.stress {
        true => stress(base(&args.ask, requests, usual)?),
        false => planned(&args.ask, requests, usual, named.is_some())?,
    };
    let asked = Asked {
        config: planned.config("score"),
        matrix: planned.matrix(requests),
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

/// The points of a benchmark of scoring.
pub(crate) struct Planned {
    base: Workload,
    points: Vec<(String, Workload)>,
    /// Of the matrix, if it is one.
    batches: Vec<u32>,
    labels: Vec<u32>,
    /// The matrix's name, if it has one.
    profile: Option<&'static str>,
}

impl Planned {
    pub(crate) fn config(&self, bench: &str) -> BenchConfig {
        BenchConfig {
            bench: bench.to_owned(),
            profile: self.profile.map(str::to_owned),
            batch_sizes: self.batches.clone(),
            label_counts: self.labels.clone(),
            ..BenchConfig::default()
        }
    }

    pub(crate) fn matrix(self, requests: &RequestArgs) -> Matrix {
        let backend = backend(requests, &self.base);
        Matrix { backend, workload: self.base, points: self.points }
    }
}

/// The matrix that was asked for, or the only point that a workload is. `usual` is what holds where
/// nothing is said.
pub(crate) fn planned(
    ask: &ScoreAskArgs,
    requests: &RequestArgs,
    usual: Named,
    is_named: bool,
) -> Result<Planned> {
    let base = base(ask, requests, usual)?;
    let sizes = !ask.batch_sizes.is_empty() || !ask.label_counts.is_empty();
    if requests.workload.is_some() && !is_named && !sizes {
        let points = vec![(point_name(requests, &base.arrivals), base.clone())];
        return Ok(Planned {
            base,
            points,
            batches: Vec::new(),
            labels: Vec::new(),
            profile: None,
        });
    }
    let or = |given: &[u32], usual: &[u32]| match given.is_empty() {
        true => usual.to_vec(),
        false => given.to_vec(),
    };
    let batches = or(&ask.batch_sizes, usual.batch_sizes);
    let labels = match &ask.label_token_ids {
        Some(ids) => vec![u32::try_from(ids.len())?],
        None => or(&ask.label_counts, usual.label_counts),
    };
    let points = score_points(&base, &batches, &labels);
    let profile = (!sizes).then_some(usual.name);
    Ok(Planned { base, points, batches, labels, profile })
}

/// What the points have in common.
fn base(ask: &ScoreAskArgs, requests: &RequestArgs, usual: Named) -> Result<Workload> {
    let usual_ask = Ask::Score(AskScore {
        items: Lengths::Fixed(4),
        query_tokens: Lengths::Fixed(12),
        item_tokens: Lengths::Fixed(usual.item_tokens),
        labels: Labels::Drawn(2),
        item_first: false,
        apply_softmax: true,
    });
    let usual = Workload {
        requests: Some(usual.requests),
        arrivals: Arrivals::Closed(usual.at_once),
        ..Workload::new(usual_ask)
    };
    let mut workload = workload(requests, usual)?;
    if ask.token_ids {
        workload.form = PromptForm::TokenIds;
    }
    if let Ask::Score(score) = &mut workload.ask {
        score.item_first |= ask.item_first;
        score.apply_softmax &= !ask.no_softmax;
        if let Some(tokens) = &ask.query_tokens {
            score.query_tokens = tokens.clone();
        }
        if let Some(tokens) = &ask.item_tokens {
            score.item_tokens = tokens.clone();
        }
        if let Some(ids) = &ask.label_token_ids {
            score.labels = Labels::Ids(ids.clone());
        }
    }
    Ok(workload)
}

/// Large batches one after the other, then many requests at once for a while.
fn stress(base: Workload) -> Planned {
    let mut points = score_points(&base, &STRESS_BATCHES, &[2]);
    for at_once in STRESS_AT_ONCE {
        for (name, mut workload) in score_points(&base, &[STRESS_ITEMS], &[2]) {
            workload.arrivals = Arrivals::Closed(at_once);
            (workload.requests, workload.secs) = (None, Some(base.secs.unwrap_or(STRESS_SECS)));
            points.push((format!("{name}_c{at_once}"), workload));
        }
    }
    let (batches, labels) = (STRESS_BATCHES.to_vec(), vec![2]);
    Planned { base, points, batches, labels, profile: Some("stress") }
}
