//! `xscope bench ab`: which of two servers is faster, measured in turns until it is known.

use std::time::Duration;

use anyhow::{Context as _, Result};
use xscope_analysis::compare::looks::{is_decided, looks, share_error};
use xscope_analysis::compare::measured::Measured;
use xscope_analysis::compare::rules::{Action, Rule, Rules};
use xscope_analysis::compare::{CompareReport, Options, compare};
use xscope_capture::{AbEnd, AbEvent, AbOptions, AbRun, AbSides, AbStarts, AbTarget};
use xscope_load::{Cancel, LoadEvent};
use xscope_trace::results::Judgement;

use crate::cli::AbArgs;
use crate::cmd::bench::load_options;
use crate::cmd::compare::{exit, rules, show};
use crate::cmd::{Exit, profile};
use crate::output::{self, Progress};

pub(crate) fn run(args: AbArgs) -> Result<Exit> {
    let most_pairs = args.max_pairs as usize;
    let plan = looks(most_pairs);
    let options = Options {
        rules: within(rules(&args.judge)?, args.within, &args.decide),
        paired: true,
        ..Options::default()
    };
    // One more than planned: time can run out between two looks.
    let options = share_error(&options, plan.len() + 1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("xscope-load")
        .enable_all()
        .build()?;
    let target = |command: &Option<String>, url: &Option<String>| match (command, url) {
        (Some(command), _) => AbTarget::Command(command.clone()),
        (None, url) => AbTarget::Url(url.clone().unwrap_or_default()),
    };
    let measure = AbOptions {
        output_dir: args.output_dir,
        targets: [target(&args.a, &args.a_url), target(&args.b, &args.b_url)],
        warmup_rounds: args.workload.warmup,
        load: load_options(&args.workload.requests),
        matrix: profile::matrix(args.workload)?,
        ready: Duration::from_secs(args.ready_timeout_secs),
        most_pairs,
        budget: Duration::from_secs(args.budget_secs),
        starts: match args.restart_every {
            _ if args.one_at_a_time => AbStarts::Alone,
            Some(every) => AbStarts::Every(every as usize),
            None => AbStarts::Once,
        },
        command_line: std::env::args().collect(),
    };
    let decide = |sides: &AbSides, pairs: usize| {
        is_invalid(sides)
            || plan.contains(&pairs)
                && judge(sides, &options).is_ok_and(|report| is_decided(&report, &args.decide))
    };
    let ran = runtime.block_on(take(
        measure,
        Progress::new(!args.no_progress).watched(args.watch),
        decide,
    ))?;
    let report = judge(&ran.sides, &options).context("the blocks cannot be compared")?;
    ran.run.write_json(&ran.run.report_path(), &report)?;
    show(&report, &args.output)?;
    output::progress(&ending(&ran, &report, &args.decide));
    Ok(match ran.end {
        AbEnd::Cancelled => Exit::Interrupted,
        _ => exit(&report, &args.judge),
    })
}

/// Whether a figure must not be used, which more blocks do not change.
fn is_invalid(sides: &AbSides) -> bool {
    let points = sides.iter().flatten().flat_map(|results| &results.results);
    points.into_iter().any(|point| point.verdict.status == Judgement::Invalid)
}

/// The rules, with what does not matter in those of the figures that decide.
fn within(rules: Rules, percent: Option<f64>, decide: &[String]) -> Rules {
    let Some(percent) = percent else { return rules };
    let own = decide.iter().filter_map(|metric| {
        let rule = rules.of(metric)?.clone();
        let action = if rule.action == Action::None { Action::Warn } else { rule.action };
        Some(Rule { metric: metric.clone(), worse_by: percent / 100.0, action, ..rule })
    });
    let own = Rules { rules: own.collect(), ..rules.clone() };
    rules.overridden_by(own)
}

fn judge(sides: &AbSides, options: &Options) -> Result<CompareReport> {
    let [a, b] = sides.each_ref().map(|starts| {
        let measured = starts.iter().map(|results| {
            let label = results.metadata.server_start.as_deref().unwrap_or_default();
            Measured::of_results(&format!("{label} {}", results.config.url), results)
        });
        measured.collect::<Vec<_>>()
    });
    Ok(compare(&a, &b, options)?)
}

/// Takes the run; the first Ctrl-C ends it, the second ends the program.
async fn take(
    options: AbOptions,
    mut progress: Progress,
    decide: impl FnMut(&AbSides, usize) -> bool,
) -> Result<AbRun> {
    let cancel = Cancel::new();
    let watcher = profile::cancel_on_signal(&cancel);
    let points = options.matrix.points.len() as u64;
    let requests = options.matrix.workload.requests.map(|requests| u64::from(requests) * points);
    let result = xscope_capture::ab(
        options,
        &cancel,
        |event| match event {
            AbEvent::Created(path) => progress.say(&format!("writing {}", path.display())),
            AbEvent::Starting(side, log) => {
                progress.say(&format!(
                    "starting {}; its log is {}",
                    ["A", "B"][side],
                    log.display()
                ));
            }
            AbEvent::Block(pair, side) => {
                progress.begin(&format!("pair {pair}, {}", ["A", "B"][side]), requests);
            }
            AbEvent::Load(_, LoadEvent::Row(row)) => progress.step(&row),
            _ => {}
        },
        decide,
    )
    .await;
    watcher.abort();
    progress.end();
    Ok(result?)
}

fn ending(ran: &AbRun, report: &CompareReport, decide: &[String]) -> String {
    let how = match ran.end {
        _ if is_decided(report, decide) => "the answer is known",
        AbEnd::Budget => "time ran out (--budget-secs)",
        AbEnd::Cancelled => "interrupted",
        AbEnd::Over => "requests failed, more of them would be worth nothing",
        AbEnd::Pairs => "no more pairs (--max-pairs)",
    };
    format!("ended after {} pairs: {how}; the run is {}", ran.pairs, ran.run.path().display())
}
