//! What the benchmarks of servers have in common: from arguments to a run, and its answer.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use xscope_analysis::compiles::{Compiled, compiled};
use xscope_analysis::from_disk;
use xscope_analysis::reports::targets::{add_cost, check_results};
use xscope_capture::{BenchRequest, Control, LoadRequest, MeasuredRun, ProfiledServers, Target};
use xscope_load::{CompileSign, Matrix, WarmUp, add_profiled, profiled_split};
use xscope_trace::Metric;
use xscope_trace::results::{BenchConfig, Judgement};
use xscope_view::{Style, bench_csv, bench_text, serving_jsonl, serving_text, targets_text};

use crate::cli::LoadArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::job::{self, Done};
use crate::parts::{asked, find_max, targets};

/// What a kind of benchmark adds to the arguments that all have.
pub(crate) struct Kind {
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

/// Measures and answers.
pub(crate) fn measure(args: &LoadArgs, kind: Kind) -> Result<Exit> {
    let target = match (&args.url, args.server.is_empty(), kind.own) {
        (Some(url), true, _) => Target::Running { url: url.clone(), log: args.server_log.clone() },
        (url, false, _) => Target::Command { words: args.server.clone(), url: url.clone() },
        (None, true, Some(words)) => Target::Command { words, url: None },
        (None, true, None) => anyhow::bail!("say what to measure: --url URL, or -- CMD"),
    };
    let request = BenchRequest {
        run: job::run_request(&args.run.output_dir, args.ready.ready_timeout_secs),
        target,
        load: LoadRequest {
            matrix: kind.matrix,
            send: asked::send_options(&args.requests),
            warm_up: WarmUp::at_least(args.warmup.unwrap_or(kind.warmup)),
            trials: args.trials,
            asked: args.require.clone(),
            config: kind.config,
        },
        profile: kind.profile,
    };
    if args.find_max.find_max {
        return find_max::run(request, args);
    }
    let targets = targets::read(args.limits.targets.as_deref())?;
    let progress = job::watched(&args.watch);
    let bench = async |control: Control<'_>| xscope_capture::bench(request, control).await;
    let Done { made: mut benched, interrupted } = job::run(progress, bench)?;
    read_profiles(&mut benched, kind.memory);
    if let Some(price) = args.cost.price_per_hour {
        add_cost(&mut benched.results, price);
    }
    benched.results.checks = check_results(&benched.results, &targets);
    benched.keep()?;
    if let Some((path, dataset)) = &kind.lines {
        output::append(path, &serving_jsonl(&benched.results, dataset))?;
    }
    answer(args, &benched)?;
    let points = &benched.results.results;
    let invalid = points.iter().any(|point| point.validity.status == Judgement::Invalid);
    Ok(match () {
        () if interrupted => Exit::Interrupted,
        () if benched.died.is_some() || points.iter().all(|point| point.ok == 0) => Exit::Target,
        () if invalid && args.fail_on != "never" => Exit::Finding,
        () if targets::fails(&benched.results.checks, &args.fail_on) => Exit::Finding,
        () => Exit::Fine,
    })
}

/// Writes what was asked for, and prints the table.
fn answer(args: &LoadArgs, benched: &MeasuredRun) -> Result<()> {
    // Profiles are found from anywhere.
    let run = std::path::absolute(benched.run.path())?;
    let mut results = benched.results.clone();
    for path in results.results.iter_mut().filter_map(|point| point.trace_path.as_mut()) {
        *path = run.join(&path).display().to_string();
    }
    let results = &results;
    if let Some(path) = &args.file.output_json {
        let json = serde_json::to_vec_pretty(results)?;
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.csv {
        let csv = bench_csv(results);
        fs::write(path, csv).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match args.tables.output.json {
        true => output::json(results)?,
        false => {
            let style = if args.tables.markdown { Style::Markdown } else { Style::Terminal };
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
fn read_profiles(benched: &mut MeasuredRun, memory: bool) {
    let wall_offset = benched.run.manifest.clock.wall_offset;
    for point in &mut benched.results.results {
        let Some(folder) = &point.trace_path else { continue };
        let folder = benched.run.path().join(folder);
        let trace = match from_disk::read(std::slice::from_ref(&folder)) {
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
                    point.peak_hbm_mb = Metric::unavailable("MB", why);
                }
                continue;
            }
        };
        if memory {
            point.peak_hbm_mb = xscope_analysis::analyze(&trace).memory.peak_hbm_mb;
        }
        let window = benched.profiled.iter().find(|(name, _)| *name == point.point);
        if let (Some((_, window)), Some(compiled)) = (window, compiled(&trace)) {
            let sign = |it: Compiled| CompileSign {
                from: it.from - wall_offset,
                to: it.to - wall_offset,
                text: it.text,
            };
            let compiles = compiled.into_iter().map(sign).collect();
            add_profiled(point, profiled_split(window, compiles));
        }
    }
}
