//! `xscope analyze`: the report on any profile.

use std::fs;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use regex_lite::Regex;
use xscope_analysis::from_disk::{flaws_of_runs, memory_reports, read_options, read_with};
use xscope_analysis::kernels::peaks::{GivenPeaks, Peaks};
use xscope_analysis::kernels::row::Filter;
use xscope_analysis::kernels::tasks::{SCHEMA, TasksReport, tasks};
use xscope_analysis::layers::components::parse_rules;
use xscope_analysis::reports::analyze::{Options, analyze_with};
use xscope_analysis::reports::grouping::grouped;
use xscope_analysis::section::Section;
use xscope_engine::measure_cpu;
use xscope_trace::memory_report::SUMMARY;
use xscope_trace::model::DeviceKind;
use xscope_trace::read::{ReadOptions, read_paths, whole_profile};
use xscope_trace::run::RunDir;
use xscope_trace::trim::clip;
use xscope_trace::{Bytes, Trace};
use xscope_view::{
    Style, analyze_text, groups_text, iterations_text, section_report, section_text,
};

use crate::cli::AnalyzeArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::cut;

pub(crate) fn run(args: &AnalyzeArgs) -> Result<Exit> {
    let (paths, section) = paths_and_section(&args.paths);
    if args.by.is_some() && section.is_some_and(|section| section != Section::Kernels) {
        bail!("--by groups kernels: xscope analyze PATH kernels --by ...");
    }
    if let Some(task) = &args.iterations {
        return iterations(paths, section, task, args.tables.output.json);
    }
    let mut options = options(args)?;
    let wanted = load_options(args);
    // The process ends with this command, so giving its memory back piece by piece is in vain.
    let mut trace = ManuallyDrop::new(read_with(paths, wanted)?);
    trace.findings.extend(flaws_of_runs(paths));
    let window = cut::window(&trace, (args.from, args.to), args.step)?;
    if args.chip.is_some() && trace.devices.iter().all(|it| it.kind == DeviceKind::Cpu) {
        bail!("--chip: this profile has no TPU or GPU: leave it out");
    }
    options.window = window.map(|(from, to)| clip(&mut trace, from, to));
    if args.measure_cpu {
        options.peaks.cpu = Some(cpu_peaks(&trace)?);
    }
    options.overhead = paths.iter().find_map(|path| {
        let run = RunDir::open(path).ok()?;
        run.read_json(&run.overhead_path())
    });
    let report = ManuallyDrop::new(analyze_with(&trace, &options));
    if let Some(folder) = &args.memory_reports {
        let count = memory_reports::write(&report, folder)?;
        let place = folder.display();
        output::progress(&format!("{count} memory reports and {SUMMARY} in {place}"));
    }
    let style = if args.tables.markdown { Style::Markdown } else { Style::Terminal };
    if let Some(by) = args.by {
        let groups = grouped(&report, by);
        match args.tables.output.json {
            true => output::json(&groups)?,
            false => output::page(&groups_text(&groups.groups, style))?,
        }
        return Ok(Exit::Fine);
    }
    match (section, args.tables.output.json) {
        (Some(section), true) => output::json(&section_report(&report, section))?,
        (None, true) => output::json(&*report)?,
        (Some(section), false) => output::page(&section_text(&report, section, style))?,
        (None, false) if args.tables.markdown => {
            for &section in Section::ALL {
                output::page(&section_text(&report, section, style))?;
            }
        }
        (None, false) => output::page(&analyze_text(&report))?,
    }
    Ok(Exit::Fine)
}

/// How long each iteration took of what a pattern names.
fn iterations(paths: &[PathBuf], of: Option<Section>, task: &Regex, json: bool) -> Result<Exit> {
    if of.is_some_and(|section| section != Section::Kernels) {
        bail!("--iterations shows kernels: xscope analyze PATH kernels --iterations REGEX");
    }
    let whole = paths.iter().map(|path| {
        let (whole, is_other) = whole_profile(path);
        if is_other {
            output::progress(&format!("reading {} instead, which is not cut", whole.display()));
        }
        whole
    });
    let trace = read_paths(&whole.collect::<Vec<_>>())?;
    let rows = tasks(&trace, |name| task.is_match(name));
    match json {
        true => output::json(&TasksReport { schema: SCHEMA, tasks: rows })?,
        false => output::page(&iterations_text(&rows))?,
    }
    Ok(Exit::Fine)
}

/// Parts the last argument off if it names a section and nothing on disk.
fn paths_and_section(paths: &[PathBuf]) -> (&[PathBuf], Option<Section>) {
    if let [before @ .., last] = paths
        && !before.is_empty()
        && !last.exists()
        && let Some(section) = last.to_str().and_then(Section::named)
    {
        return (before, Some(section));
    }
    (paths, None)
}

fn load_options(args: &AnalyzeArgs) -> ReadOptions {
    let usual = read_options();
    let given = args.memory_limit.map(|mb| Bytes(mb.saturating_mul(1_000_000)));
    ReadOptions { memory_limit: given.or(usual.memory_limit), ..usual }
}

fn options(args: &AnalyzeArgs) -> Result<Options> {
    let rules = match &args.rules {
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read the rules in {}", path.display()))?;
            parse_rules(&text).with_context(|| path.display().to_string())?
        }
        None => Vec::new(),
    };
    let filter = Filter {
        device: args.device.clone(),
        module: args.module.clone(),
        scope: args.scope.clone(),
        name: args.name.clone(),
    };
    let peaks = GivenPeaks { chip: args.chip, ..GivenPeaks::default() };
    Ok(Options { rules, filter, peaks, ..Options::default() })
}

/// What this machine's CPU can do, for a profile that has use for it.
fn cpu_peaks(trace: &Trace) -> Result<Peaks> {
    if !trace.devices.iter().any(|device| device.kind == DeviceKind::Cpu) {
        bail!("--measure-cpu: this profile has no CPU device: leave it out");
    }
    output::progress("measuring what this CPU can do, which takes a few seconds");
    let (flops_per_sec, bytes_per_sec) = measure_cpu()?;
    Ok(Peaks::new(flops_per_sec, bytes_per_sec, "measured"))
}
