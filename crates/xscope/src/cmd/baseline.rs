//! `xscope baseline`: runs to compare with, as files that a repository can hold.

use anyhow::Result;
use xscope_analysis::compare::baseline::{self, Baseline, BaselineList, LIST_SCHEMA, StoredNoise};
use xscope_analysis::from_disk::baselines::Baselines;
use xscope_analysis::from_disk::measured::{Traces, find};
use xscope_trace::clock;
use xscope_trace::run::Utc;
use xscope_view::{baseline_text, baselines_text};

use crate::cli::{BaselineCommand, BaselineListArgs, BaselineSaveArgs, BaselineShowArgs};
use crate::exit::Exit;
use crate::output;

pub(crate) fn run(command: BaselineCommand) -> Result<Exit> {
    match command {
        BaselineCommand::Save(args) => save(&args),
        BaselineCommand::List(args) => list(&args),
        BaselineCommand::Show(args) => show(&args),
    }
}

fn save(args: &BaselineSaveArgs) -> Result<Exit> {
    let baselines = Baselines(&args.folder.baselines);
    // A name that is none is said before anything is read.
    baselines.folder(&args.name)?;
    let runs = find(&args.paths, Traces::Read, &output::warn)?;
    let saved = Utc::from_wall(clock::wall()).to_string();
    let baseline = Baseline::of(&args.name, saved, runs)?;
    let path = baselines.save(&baseline)?;
    output::progress(&format!("saved {} in series {}", path.display(), baseline.series));
    match baseline.noise() {
        None => output::progress(
            "one run shows no noise: save several of the same code to have differences judged by it",
        ),
        Some(more) => {
            let path = baselines.add_noise(&baseline.runs[0].environment, &more)?;
            output::progress(&format!("added their differences to {}", path.display()));
        }
    }
    Ok(Exit::Fine)
}

fn list(args: &BaselineListArgs) -> Result<Exit> {
    let folder = Baselines(&args.folder.baselines);
    let mut baselines = Vec::new();
    for name in folder.names()? {
        if args.name.as_ref().is_none_or(|wanted| *wanted == name) {
            baselines.extend(folder.of(&name)?);
        }
    }
    let mut noises: Vec<StoredNoise> = Vec::new();
    for run in baselines.iter().filter_map(|baseline| baseline.runs.first()) {
        let noise = folder.noise(&run.environment)?;
        if !noise.schema.is_empty() && !noises.contains(&noise) {
            noises.push(noise);
        }
    }
    let listed = baseline::list(baselines);
    match args.output.json {
        true => {
            output::json(&BaselineList { schema: LIST_SCHEMA, baselines: listed, noises })?;
        }
        false => output::page(&baselines_text(&listed, &noises))?,
    }
    Ok(Exit::Fine)
}

fn show(args: &BaselineShowArgs) -> Result<Exit> {
    let last = Baselines(&args.folder.baselines).last(&args.name)?;
    match args.output.json {
        true => output::json(&last)?,
        false => output::page(&baseline_text(&last))?,
    }
    Ok(Exit::Fine)
}
