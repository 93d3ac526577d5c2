//! `xscope bench ab`: which of two servers is faster, measured in turns until it is known.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use xscope_analysis::compare::looks::{is_decided, looks, share_error};
use xscope_analysis::compare::measured::Measured;
use xscope_analysis::compare::rules::{Action, Rule, Rules};
use xscope_analysis::compare::{CompareReport, Options, compare};
use xscope_capture::{AbEnd, AbRequest, AbRun, AbSides, AbStarts, Control, Target};
use xscope_load::Ask;
use xscope_trace::results::Judgement;

use crate::cli::AbArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::asked::load_request;
use crate::parts::job;
use crate::parts::judged::{exit, rules, show};

pub(crate) fn run(args: AbArgs) -> Result<Exit> {
    let most_pairs = args.max_pairs as usize;
    let plan = looks(most_pairs);
    let load = load_request(args.workload, "ab")?;
    let decide_by = decide_by(args.decide, &load.matrix.workload.ask)?;
    let options = Options {
        rules: within(rules(&args.judge)?, args.within, &decide_by),
        paired: true,
        ..Options::default()
    };
    // One more than planned: time can run out between two looks.
    let options = share_error(&options, plan.len() + 1);
    let target = |command: &Option<String>, url: &Option<String>| match command {
        Some(command) => Target::Shell { command: command.clone() },
        None => Target::Running { url: url.clone().unwrap_or_default(), log: None },
    };
    let request = AbRequest {
        run: job::run_request(&args.run.output_dir, args.ready.ready_timeout_secs),
        targets: [target(&args.a, &args.a_url), target(&args.b, &args.b_url)],
        load,
        most_pairs,
        budget: Duration::from_secs(args.budget_secs),
        starts: match args.restart_every {
            _ if args.one_at_a_time => AbStarts::Alone,
            Some(every) => AbStarts::Every(every as usize),
            None => AbStarts::Once,
        },
    };
    let decide = |sides: &AbSides, pairs: usize| {
        is_invalid(sides)
            || plan.contains(&pairs)
                && judge(sides, &options).is_ok_and(|report| is_decided(&report, &decide_by))
    };
    let progress = job::watched(&args.watch);
    let done = job::run(progress, async |control: Control<'_>| {
        xscope_capture::ab(request, control, decide).await
    });
    let ran = done?.made;
    let report = judge(&ran.sides, &options).context("the blocks cannot be compared")?;
    ran.run.write_json(&ran.run.report_path(), &report)?;
    show(&report, &args.output)?;
    output::progress(&ending(&ran, &report, &decide_by));
    Ok(match ran.end {
        AbEnd::Cancelled => Exit::Interrupted,
        _ => exit(&report, &args.judge),
    })
}

/// The figures that decide: those that were asked for, if requests like these have them.
fn decide_by(asked: Vec<String>, ask: &Ask) -> Result<Vec<String>> {
    let (rate, streams) = match ask {
        Ask::Generate(generate) => ("output_tokens_per_sec", generate.stream),
        Ask::Fixed(_) => ("requests_per_sec", false),
        _ => ("throughput_items_per_sec", false),
    };
    if asked.is_empty() {
        let first_token = streams.then_some("ttft.p50_ms");
        let usual = ["p50_ms"].into_iter().chain(first_token).chain([rate]);
        return Ok(usual.map(str::to_owned).collect());
    }
    // The rate of requests is not compared where that of their items is.
    let has_items = rate == "throughput_items_per_sec";
    let is_known = |figure: &&String| match figure.ends_with("per_sec") {
        true => *figure == rate || *figure == "requests_per_sec" && !has_items,
        false => streams || !figure.contains('.'),
    };
    match asked.iter().find(|figure| !is_known(figure)) {
        Some(figure) => {
            bail!("--decide {figure}: these requests have no such figure; their rate is {rate}")
        }
        None => Ok(asked),
    }
}

/// Whether a figure must not be used, which more blocks do not change.
fn is_invalid(sides: &AbSides) -> bool {
    let points = sides.iter().flatten().flat_map(|results| &results.results);
    points.into_iter().any(|point| point.validity.status == Judgement::Invalid)
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use xscope_load::Ask;

    use super::decide_by;

    #[test]
    fn only_figures_that_requests_have_can_decide() {
        let asks = [
            json!({"score": {"labels": 2}}),
            json!({"generate": {}}),
            json!({"generate": {"stream": false}}),
            json!({"fixed": {"path": "/"}}),
        ];
        let [score, streamed, whole, fixed] = asks.map(|ask| serde_json::from_value(ask).unwrap());
        let usual = |ask: &Ask| decide_by(Vec::new(), ask).unwrap().join(" ");
        assert_eq!(usual(&score), "p50_ms throughput_items_per_sec");
        assert_eq!(usual(&streamed), "p50_ms ttft.p50_ms output_tokens_per_sec");
        assert_eq!(usual(&whole), "p50_ms output_tokens_per_sec");
        assert_eq!(usual(&fixed), "p50_ms requests_per_sec");

        let may = |figure: &str, ask: &Ask| decide_by(vec![figure.to_owned()], ask).is_ok();
        assert!(may("itl.p99_ms", &streamed) && !may("itl.p99_ms", &whole));
        assert!(may("requests_per_sec", &streamed) && may("p95_ms", &whole));
        assert!(!may("requests_per_sec", &score) && may("p95_ms", &score));
        assert!(!may("throughput_items_per_sec", &streamed));
    }
}
