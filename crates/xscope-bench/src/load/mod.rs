//! Measures xscope's load generator beside oha and wrk, on the same servers:
//! `xscope-bench load` (see `docs/performance.md`).
//!
//! Each generator is a process of its own, so that its processor time is known, and keeps the same
//! number of connections busy. Generators take turns within a round.

mod echo;
mod rival;
mod send;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use clap::Args;

pub(crate) use echo::serve;
pub(crate) use send::{SendArgs, send};

use rival::{Rate, Rival};

use crate::table;

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// The xscope binary, whose built-in engine is one of the servers; the one beside this program
    /// if not given
    #[arg(long, value_name = "FILE")]
    xscope: Option<PathBuf>,
    /// oha
    #[arg(long, value_name = "FILE")]
    oha: Option<PathBuf>,
    /// wrk
    #[arg(long, value_name = "FILE")]
    wrk: Option<PathBuf>,
    /// Connections that are kept busy
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// How long each generator sends
    #[arg(long, default_value_t = 5)]
    secs: u32,
    /// How often
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// A server that is loaded; it is ended when this is dropped.
pub(crate) struct Target {
    name: &'static str,
    pub url: String,
    /// Empty: `GET`.
    pub body: String,
    child: Child,
}

impl Drop for Target {
    fn drop(&mut self) {
        // It fails if it has ended, which is all that is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A score request of four items.
const SCORE: &str = r#"{"query":"is it the right answer","items":["yes it is","no","it may be","never"],"label_token_ids":[20,30],"apply_softmax":true,"model":"preset"}"#;

pub(crate) fn bench(args: &LoadArgs) -> Result<()> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let rivals = rivals(args, &own, folder.path());
    println!("{}", table::machine());
    for target in targets(args, &own)? {
        let mut rates: Vec<(&Rival, Vec<Rate>)> =
            rivals.iter().map(|rival| (rival, Vec::new())).collect();
        for _ in 0..args.rounds {
            for (rival, rates) in &mut rates {
                rates.push(rival.run(&target, args.connections, args.secs, None)?);
            }
        }
        println!("\n{}: {} connections, {} s a run\n", target.name, args.connections, args.secs);
        println!(
            "| generator | n | requests/s (least to most) | per core of its own | CPU, cores |"
        );
        println!("|---|---|---|---|---|");
        for (rival, rates) in &rates {
            println!("{}", row(rival.name(), rates));
        }
        let most = rates
            .iter()
            .find(|(rival, _)| rival.is_ours())
            .map_or(f64::NAN, |(_, rates)| table::median(of(rates, |rate| rate.per_sec)));
        lag(args, &rivals, &target, most / 2.0)?;
    }
    Ok(())
}

fn of(rates: &[Rate], figure: impl Fn(&Rate) -> f64) -> Vec<f64> {
    rates.iter().map(figure).collect()
}

fn row(name: &str, rates: &[Rate]) -> String {
    let per_sec = of(rates, |rate| rate.per_sec);
    let least = per_sec.iter().copied().fold(f64::INFINITY, f64::min);
    let most = per_sec.iter().copied().fold(0.0, f64::max);
    format!(
        "| {name} | {} | {:.0} ({least:.0} to {most:.0}) | {:.0} | {:.2} |",
        rates.len(),
        table::median(per_sec),
        table::median(of(rates, |rate| rate.per_sec / rate.cores)),
        table::median(of(rates, |rate| rate.cores)),
    )
}

/// What those that keep a schedule do at a rate, and how late they send.
fn lag(args: &LoadArgs, rivals: &[Rival], target: &Target, per_sec: f64) -> Result<()> {
    println!("\nat {per_sec:.0} requests/s, half of what xscope reached:\n");
    println!("| generator | n | requests/s | schedule lag p50, ms | p99, ms | latency p99, ms |");
    println!("|---|---|---|---|---|---|");
    for rival in rivals.iter().filter(|rival| rival.keeps_schedules()) {
        let mut rates = Vec::new();
        for _ in 0..args.rounds {
            rates.push(rival.run(target, args.connections, args.secs, Some(per_sec))?);
        }
        let shown = |figure: fn(&Rate) -> Option<f64>| {
            let values: Option<Vec<f64>> = rates.iter().map(figure).collect();
            values.map_or("not told".to_owned(), |values| format!("{:.3}", table::median(values)))
        };
        println!(
            "| {} | {} | {:.0} | {} | {} | {} |",
            rival.name(),
            rates.len(),
            table::median(of(&rates, |rate| rate.per_sec)),
            shown(|rate| rate.lag_p50_ms),
            shown(|rate| rate.lag_p99_ms),
            shown(|rate| rate.p99_ms),
        );
    }
    Ok(())
}

fn rivals(args: &LoadArgs, own: &Path, folder: &Path) -> Vec<Rival> {
    let mut rivals = vec![Rival::Xscope(own.to_owned())];
    match &args.oha {
        Some(path) => rivals.push(Rival::Oha(path.clone())),
        None => eprintln!("skipped oha: --oha does not say where it is"),
    }
    match &args.wrk {
        Some(path) => rivals.push(Rival::Wrk(path.clone(), folder.join("post.lua"))),
        None => eprintln!("skipped wrk: --wrk does not say where it is"),
    }
    rivals
}

fn targets(args: &LoadArgs, own: &Path) -> Result<Vec<Target>> {
    let echo = start(Command::new(own).arg("echo"))?;
    let mut targets =
        vec![Target { name: "bare hyper server", url: echo.1, body: String::new(), child: echo.0 }];
    let xscope = args.xscope.clone().unwrap_or_else(|| own.with_file_name("xscope"));
    if xscope.exists() {
        let (child, url) = start(Command::new(&xscope).args(["serve", "--port", "0"]))?;
        let (name, url) = ("built-in engine, /v1/score", format!("{url}/v1/score"));
        targets.push(Target { name, url, body: SCORE.to_owned(), child });
    } else {
        eprintln!("skipped the built-in engine: {} is not there; build it", xscope.display());
    }
    Ok(targets)
}

/// Starts a server that says on its standard error where it listens.
fn start(command: &mut Command) -> Result<(Child, String)> {
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let mut line = String::new();
    if let Some(stderr) = child.stderr.take() {
        BufReader::new(stderr).read_line(&mut line)?;
    }
    let url = line.split_whitespace().find(|word| word.starts_with("http://"));
    let url = url.with_context(|| format!("{command:?} says {line:?} and not where it listens"))?;
    Ok((child, url.trim_end_matches(';').to_owned()))
}
