//! What the benchmarks of servers have in common: from arguments to a run, and its answer.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use xscope_analysis::compiles::{Compiled, compiled};
use xscope_analysis::reports::targets::{add_cost, check_results};
use xscope_capture::{BenchEvent, BenchOptions, BenchTarget, Benched, ProfiledServers};
use xscope_load::{
    Arrivals, Backend, Cancel, CompileSign, LoadEvent, Matrix, Phase, SendOptions, WarmUp,
    Workload, profiled_split,
};
use xscope_trace::results::{
    BenchConfig, Cause, CauseKind, CompileSplit, Figure, Judgement, PointResult, Results, Verdict,
};
use xscope_view::{Style, bench_csv, bench_text, serving_jsonl, serving_text, targets_text};

use crate::cli::{LoadArgs, RequestArgs};
use crate::cmd::{Exit, capture, find_max, profile, targets};
use crate::output::{self, Progress};

/// What a kind of benchmark adds to the arguments that all have.
pub(crate) struct Asked {
    pub matrix: Matrix,
    pub config: BenchConfig,
    pub profile: ProfiledServers,
    /// Rounds of warm-up where nobody says.
    pub warmup: u32,
    /// What is measured if no server is named.
    pub own: Option<Vec<OsString>>,
    /// Whether the peak of memory is to be read from the profiles.
    pub memory: bool,
    /// Where lines with the keys of bench_serving go, and the data set's name.
    pub lines: Option<(PathBuf, String)>,
}

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
pub(crate) fn load_options(args: &RequestArgs) -> SendOptions {
    let mut options = SendOptions::default();
    options.tolerance.drift = args.drift;
    options
}

/// The name of the only point: that of its file, if there is one.
pub(crate) fn point_name(args: &RequestArgs, arrivals: &Arrivals) -> String {
    let file = args.workload.as_deref().and_then(Path::file_stem);
    file.map_or_else(|| arrivals.to_string(), |stem| stem.to_string_lossy().into_owned())
}

/// Measures and answers.
pub(crate) fn measure(args: &LoadArgs, asked: Asked) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("xscope-load")
        .enable_all()
        .build()?;
    let target = match (&args.url, args.server.is_empty(), asked.own) {
        (Some(url), true, _) => {
            BenchTarget::Running { url: url.clone(), log: args.server_log.clone() }
        }
        (url, false, _) => BenchTarget::Command { words: args.server.clone(), url: url.clone() },
        (None, true, Some(words)) => BenchTarget::Command { words, url: None },
        (None, true, None) => anyhow::bail!("say what to measure: --url URL, or -- CMD"),
    };
    let options = BenchOptions {
        output_dir: args.output_dir.clone(),
        target,
        matrix: asked.matrix,
        warm_up: WarmUp::at_least(args.warmup.unwrap_or(asked.warmup)),
        trials: args.trials,
        asked: args.require.clone(),
        ready: Duration::from_secs(args.ready_timeout_secs),
        profile: asked.profile,
        watchdog: capture::watchdog(),
        load: load_options(&args.requests),
        config: BenchConfig { command_line: std::env::args().collect(), ..asked.config },
        git_commit: profile::git_commit(),
    };
    if args.find_max.find_max {
        return find_max::run(options, args);
    }
    let targets = targets::read(args.targets.as_deref())?;
    let progress = Progress::new(!args.no_progress).watched(args.watch);
    let (mut benched, interrupted) = runtime.block_on(take(options, progress))?;
    read_profiles(&mut benched, asked.memory);
    if let Some(price) = args.price_per_hour {
        add_cost(&mut benched.results, price);
    }
    benched.results.checks = check_results(&benched.results, &targets);
    keep(&mut benched)?;
    if let Some((path, dataset)) = &asked.lines {
        let lines = serving_jsonl(&benched.results, dataset);
        let file = fs::File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(lines.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    answer(args, &benched)?;
    let points = &benched.results.results;
    let invalid = points.iter().any(|point| point.verdict.status == Judgement::Invalid);
    Ok(match () {
        () if interrupted => Exit::Interrupted,
        () if benched.died.is_some() || points.iter().all(|point| point.ok == 0) => Exit::Target,
        () if invalid && args.fail_on != "never" => Exit::Finding,
        () if targets::fails(&benched.results.checks, &args.fail_on) => Exit::Finding,
        () => Exit::Fine,
    })
}

/// Takes the run; the first Ctrl-C ends it early, the second ends the program.
pub(crate) async fn take(options: BenchOptions, mut progress: Progress) -> Result<(Benched, bool)> {
    let cancel = Cancel::new();
    let watcher = profile::cancel_on_signal(&cancel);
    let bench = xscope_capture::bench(options, &cancel, |event| match event {
        BenchEvent::Created(path) => progress.say(&format!("writing {}", path.display())),
        BenchEvent::Starting(log) => {
            progress.say(&format!("starting the server; its log is {}", log.display()));
        }
        event => show(&event, &mut progress),
    });
    let benched = Box::pin(bench).await;
    watcher.abort();
    progress.end();
    Ok((benched?, cancel.is_cancelled()))
}

/// Shows how a load goes on; single requests that check an answer are not worth it.
pub(crate) fn show(event: &BenchEvent<'_>, progress: &mut Progress) {
    match event {
        BenchEvent::Load(LoadEvent::PhaseStarted { phase, point, requests })
            if *phase != Phase::Check =>
        {
            progress.begin_again(&profile::phase_name(*phase, point), *requests);
        }
        BenchEvent::Load(LoadEvent::Row(row)) if row.phase != Phase::Check => progress.step(row),
        BenchEvent::Warning(what) => progress.warn(what),
        _ => {}
    }
}

/// Writes what was asked for, and prints the table.
fn answer(args: &LoadArgs, benched: &Benched) -> Result<()> {
    // Profiles are found from anywhere.
    let run = std::path::absolute(benched.run.path())?;
    let mut results = benched.results.clone();
    for path in results.results.iter_mut().filter_map(|point| point.trace_path.as_mut()) {
        *path = run.join(&path).display().to_string();
    }
    let results = &results;
    if let Some(path) = &args.output_json {
        let json = serde_json::to_vec_pretty(results)?;
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.csv {
        let csv = bench_csv(results);
        fs::write(path, csv).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match args.output.json {
        true => output::json(results)?,
        false => {
            let style = if args.markdown { Style::Markdown } else { Style::Terminal };
            output::page(&bench_text(results, style))?;
            if results.config.bench == "serving" && style == Style::Terminal {
                output::page(&serving_text(results))?;
            }
            output::page(&targets_text(&results.checks, style))?;
        }
    }
    output::progress(&format!("the run is {}", benched.run.path().display()));
    Ok(())
}

/// Adds what the profile of each point says: compilations, and if it was asked for, the peak of
/// memory.
fn read_profiles(benched: &mut Benched, memory: bool) {
    let wall_offset = benched.run.manifest.clock.wall_offset;
    for point in &mut benched.results.results {
        let Some(folder) = &point.trace_path else { continue };
        let folder = benched.run.path().join(folder);
        let trace = match xscope_trace::load(std::slice::from_ref(&folder)) {
            Ok(trace) => trace,
            Err(error) => {
                let why = match folder.exists() {
                    true => format!("the profile cannot be read: {:#}", anyhow::Error::from(error)),
                    false => format!(
                        "no profile is in {}: the profiled server wrote none, or on another \
                         machine's disk: look at its log, copy its files there, and run `xscope \
                         analyze` on them",
                        folder.display()
                    ),
                };
                output::progress(&format!("{}: {why}", point.point));
                if memory {
                    point.peak_hbm_mb = Figure::unavailable("MB", why);
                }
                continue;
            }
        };
        if memory {
            point.peak_hbm_mb = xscope_analysis::analyze(&trace).memory.peak.into();
        }
        let window = benched.profiled.iter().find(|(name, _)| *name == point.point);
        if let (Some((_, window)), Some(compiled)) = (window, compiled(&trace)) {
            let sign = |it: Compiled| CompileSign {
                from: it.from - wall_offset,
                to: it.to - wall_offset,
                text: it.text,
            };
            let compiles = compiled.into_iter().map(sign).collect();
            judge_profiled(point, profiled_split(window, compiles));
        }
    }
}

/// A point that compiled while it was profiled, after all else, was not warm; a log or a header knows
/// better whether that was so while it was measured.
fn judge_profiled(point: &mut PointResult, split: CompileSplit) {
    if split.hit.n > 0 && point.compile.is_none() {
        let first = split.evidence.first().map_or("", String::as_str);
        let detail = format!(
            "{} of {} requests met a compilation while the profile was taken, after the trials \
             ({first}): some that were measured may have, too, and nothing would show it \
             (a log with its compilations would: JAX_LOG_COMPILES=1 for the server, --server-log)",
            split.hit.n,
            split.hit.n + split.clean.n,
        );
        let cause = Cause { cause: CauseKind::NotWarm, detail, spoils: Vec::new() };
        point.verdict.causes.push(cause);
        point.verdict = Verdict::on(std::mem::take(&mut point.verdict.causes), &[]);
    }
    point.compile_profiled = Some(split);
}

/// Writes the results again, and the run's list of files with them.
fn keep(benched: &mut Benched) -> Result<()> {
    let Benched { run, results, .. } = benched;
    run.write_json(&run.results_path(), results as &Results)?;
    let ended = run.manifest.ended_wall.unwrap_or_else(xscope_trace::clock::wall);
    Ok(run.finish(run.manifest.status, ended)?)
}
