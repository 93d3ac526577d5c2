//! From arguments to what is sent.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, Result};
use xscope_capture::{LoadRequest, ProbeTable, ServerCommand, Spans};
use xscope_load::usual::{
    STRESS_BATCHES, STRESS_LABELS, ScoreMatrix, score_workload, stress_points,
};
use xscope_load::{
    Arrivals, Ask, Backend, Labels, Matrix, PromptForm, SendOptions, WarmUp, Workload, score_points,
};
use xscope_trace::results::BenchConfig;

use crate::cli::{ProbeArgs, RequestArgs, ScoreAskArgs, WorkloadArgs};

/// The workload of a file or this one, with what the options say.
pub(crate) fn workload(args: &RequestArgs, usual: Workload) -> Result<Workload> {
    let mut workload = match &args.workload {
        Some(path) => Workload::read(path)?,
        None => usual,
    };
    if let Some(arrivals) = &args.arrivals {
        workload.arrivals = arrivals.clone();
    }
    if args.requests.is_some() || args.secs.is_some() {
        (workload.requests, workload.secs) = (args.requests, args.secs);
    }
    workload.distinct = args.distinct.or(workload.distinct);
    workload.seed = args.seed.unwrap_or(workload.seed);
    workload.vocab_size = args.vocab_size.unwrap_or(workload.vocab_size);
    if let Some(model) = &args.model_name {
        workload.model.clone_from(model);
    }
    Ok(workload)
}

/// The backend that was asked for, or the one that such requests usually go to.
pub(crate) fn backend(args: &RequestArgs, workload: &Workload) -> Backend {
    args.backend.unwrap_or_else(|| Backend::usual(&workload.ask))
}

/// How the load behaves, as far as that can be said.
pub(crate) fn send_options(args: &RequestArgs) -> SendOptions {
    let mut options = SendOptions::default();
    options.tolerance.drift = args.drift;
    options
}

/// The name of the only point: that of its file, if there is one.
pub(crate) fn point_name(args: &RequestArgs, arrivals: &Arrivals) -> String {
    let file = args.workload.as_deref().and_then(Path::file_stem);
    file.map_or_else(|| arrivals.to_string(), |stem| stem.to_string_lossy().into_owned())
}

/// One point's scoring requests, or those of a workload, of a command that is not about a matrix.
pub(crate) fn load_request(args: WorkloadArgs, bench: &str) -> Result<LoadRequest> {
    let WorkloadArgs { concurrency, warmup, ask, mut requests } = args;
    if let Some(at_once) = concurrency {
        requests.arrivals = Some(Arrivals::Closed(at_once));
    }
    let planned = Planned::of(&ask, &requests, ScoreMatrix::POINT, false)?;
    Ok(LoadRequest {
        config: planned.config(bench),
        matrix: planned.matrix(&requests),
        send: send_options(&requests),
        warm_up: WarmUp::at_least(warmup.warmup),
        trials: 1,
        asked: Vec::new(),
    })
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
    /// The matrix that was asked for, or the only point that a workload is. `usual` is what holds
    /// where nothing is said.
    pub(crate) fn of(
        ask: &ScoreAskArgs,
        requests: &RequestArgs,
        usual: ScoreMatrix,
        is_named: bool,
    ) -> Result<Self> {
        let base = base(ask, requests, usual)?;
        let sizes = !ask.batch_sizes.is_empty() || !ask.label_counts.is_empty();
        if requests.workload.is_some() && !is_named && !sizes {
            let points = vec![(point_name(requests, &base.arrivals), base.clone())];
            let (batches, labels, profile) = (Vec::new(), Vec::new(), None);
            return Ok(Self { base, points, batches, labels, profile });
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
        Ok(Self { base, points, batches, labels, profile })
    }

    /// Large batches one after the other, then many requests at once for a while.
    pub(crate) fn stress(
        ask: &ScoreAskArgs,
        requests: &RequestArgs,
        usual: ScoreMatrix,
    ) -> Result<Self> {
        let base = base(ask, requests, usual)?;
        let points = stress_points(&base);
        let (batches, labels) = (STRESS_BATCHES.to_vec(), vec![STRESS_LABELS]);
        Ok(Self { base, points, batches, labels, profile: Some("stress") })
    }

    pub(crate) fn config(&self, bench: &str) -> BenchConfig {
        BenchConfig {
            bench: bench.to_owned(),
            profile: self.profile.filter(|name| !name.is_empty()).map(str::to_owned),
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

/// What the points have in common.
fn base(ask: &ScoreAskArgs, requests: &RequestArgs, usual: ScoreMatrix) -> Result<Workload> {
    let mut workload = workload(requests, score_workload(usual.requests))?;
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

/// A server to start, with the tables that xscope has and those of the user.
pub(crate) fn server_command(words: Vec<OsString>, args: ProbeArgs) -> Result<ServerCommand> {
    let mut tables = ProbeTable::built_in()?;
    for path in &args.probes {
        let table = ProbeTable::read(path);
        tables.push(table.with_context(|| format!("cannot use {}", path.display()))?);
    }
    Ok(ServerCommand { words, tables, python_path: args.python_path, spans: Spans::All })
}
