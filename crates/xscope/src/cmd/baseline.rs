//! `xscope baseline`: runs to compare with, as files that a repository can hold.
//!
//! ```text
//! baselines/<name>/<time>-<commit>.json    a baseline
//! baselines/noise-<machine>.json           what A/A runs on a kind of machine showed
//! ```

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use xscope_analysis::compare::baseline::{self, Baseline, NOISE_SCHEMA, StoredNoise};
use xscope_analysis::compare::environment::Environment;
use xscope_analysis::compare::measured::Measured;
use xscope_trace::run::Utc;
use xscope_trace::{atomic, clock};
use xscope_view::{baseline_text, baselines_text};

use crate::cli::{BaselineCommand, BaselineListArgs, BaselineSaveArgs, BaselineShowArgs};
use crate::cmd::Exit;
use crate::cmd::measured::{Traces, bytes, find};
use crate::output;

pub(crate) fn run(command: BaselineCommand) -> Result<Exit> {
    match command {
        BaselineCommand::Save(args) => save(&args),
        BaselineCommand::List(args) => list(&args),
        BaselineCommand::Show(args) => show(&args),
    }
}

fn save(args: &BaselineSaveArgs) -> Result<Exit> {
    let folder = folder(&args.baselines, &args.name)?;
    let runs = find(&args.paths, Traces::Read)?;
    let saved = Utc::from_wall(clock::wall()).to_string();
    let baseline = Baseline::of(&args.name, saved, runs)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = unused(&folder, &baseline);
    write(&path, &baseline)?;
    output::progress(&format!("saved {} in series {}", path.display(), baseline.series));
    match baseline.noise() {
        None => output::progress(
            "one run shows no noise: save several of the same code to have differences judged by it",
        ),
        Some(more) => {
            let environment = &baseline.runs[0].environment;
            let mut stored = noise(&args.baselines, environment)?;
            stored.schema = NOISE_SCHEMA.to_owned();
            stored.machine = environment.machine();
            stored.noise.add(&more);
            let path = noise_path(&args.baselines, environment);
            write(&path, &stored)?;
            output::progress(&format!("added their differences to {}", path.display()));
        }
    }
    Ok(Exit::Fine)
}

fn list(args: &BaselineListArgs) -> Result<Exit> {
    let mut baselines = Vec::new();
    for name in names(&args.baselines)? {
        if args.name.as_ref().is_none_or(|wanted| *wanted == name) {
            baselines.extend(read_all(&args.baselines, &name)?);
        }
    }
    let mut noises: Vec<StoredNoise> = Vec::new();
    for run in baselines.iter().filter_map(|baseline| baseline.runs.first()) {
        let noise = noise(&args.baselines, &run.environment)?;
        if !noise.schema.is_empty() && !noises.contains(&noise) {
            noises.push(noise);
        }
    }
    let listed = baseline::list(baselines);
    match args.output.json {
        true => output::json(&serde_json::json!({
            "schema": "xscope/baselines/1", "baselines": listed, "noise": noises,
        }))?,
        false => output::page(&baselines_text(&listed, &noises))?,
    }
    Ok(Exit::Fine)
}

fn show(args: &BaselineShowArgs) -> Result<Exit> {
    let mut baselines = read_all(&args.baselines, &args.name)?;
    baselines.sort_by(|a, b| a.saved.cmp(&b.saved));
    let Some(last) = baselines.pop() else { bail!(missing(&args.baselines, &args.name)) };
    match args.output.json {
        true => output::json(&last)?,
        false => output::page(&baseline_text(&last))?,
    }
    Ok(Exit::Fine)
}

/// The baseline of a name that `with` is to be compared with.
pub(crate) fn latest(folder: &Path, name: &str, with: &Measured) -> Result<Baseline> {
    let Some(chosen) = baseline::choose(read_all(folder, name)?, with) else {
        bail!(missing(folder, name))
    };
    if chosen.series != with.environment.series() {
        output::progress(&format!(
            "warning: no baseline {name} is of this environment; the one of {} is of another, and \
             what differs is listed",
            chosen.saved
        ));
    }
    Ok(chosen)
}

/// What A/A runs on this kind of machine showed; empty if there were none.
pub(crate) fn noise(folder: &Path, environment: &Environment) -> Result<StoredNoise> {
    let path = noise_path(folder, environment);
    match path.is_file() {
        false => Ok(StoredNoise::default()),
        true => serde_json::from_slice(&bytes(&path)?)
            .with_context(|| format!("{} is damaged; remove it", path.display())),
    }
}

/// A path that no other baseline has: several may be saved in a second.
fn unused(folder: &Path, baseline: &Baseline) -> PathBuf {
    let name = baseline.file_stem();
    let numbered = (2..).map(|number| format!("{name}-{number}.json"));
    let mut paths = std::iter::once(format!("{name}.json")).chain(numbered);
    paths.find_map(|name| Some(folder.join(name)).filter(|path| !path.exists())).unwrap_or_default()
}

fn noise_path(folder: &Path, environment: &Environment) -> PathBuf {
    folder.join(format!("noise-{}.json", environment.machine_id()))
}

fn missing(folder: &Path, name: &str) -> String {
    format!(
        "there is no baseline {name:?} in {}; make one with: xscope baseline save {name} RUN...",
        folder.display()
    )
}

/// The folder of a name, which must stay a name.
fn folder(baselines: &Path, name: &str) -> Result<PathBuf> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        bail!("{name:?} is no name of a baseline: use letters, digits, '.', '_' and '-'");
    }
    Ok(baselines.join(name))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let read = || fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>();
    let entries = read().with_context(|| format!("cannot read {}", folder.display()))?;
    let folders = entries.iter().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn read_all(baselines: &Path, name: &str) -> Result<Vec<Baseline>> {
    let folder = folder(baselines, name)?;
    if !folder.is_dir() {
        bail!(missing(baselines, name));
    }
    let mut all = Vec::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            match Baseline::from_json(&bytes(&path)?) {
                Some(baseline) => all.push(baseline),
                None => bail!("{} is no baseline; remove it", path.display()),
            }
        }
    }
    Ok(all)
}

fn write(path: &Path, document: &impl serde::Serialize) -> Result<()> {
    let mut json = serde_json::to_vec(document)?;
    json.push(b'\n');
    atomic::replace(path, |file| file.write_all(&json))
        .with_context(|| format!("cannot write {}", path.display()))
}
