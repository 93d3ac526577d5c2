//! `xscope analyze`: the report on any profile.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use xscope_analysis::AnalyzeReport;
use xscope_analysis::analyze::{Options, analyze_with, needs_host_slice};
use xscope_analysis::components::parse_rules;
use xscope_analysis::kernels::Filter;
use xscope_trace::load::{LoadOptions, half_of_memory, load_with};
use xscope_trace::window::clip;
use xscope_trace::{Bytes, Picos};
use xscope_view::{Section, Style, analyze_text, section_text};

use crate::cli::AnalyzeArgs;
use crate::cmd::Exit;
use crate::output;

pub(crate) fn run(args: &AnalyzeArgs) -> Result<Exit> {
    let (paths, section) = paths_and_section(&args.paths);
    let mut options = options(args)?;
    let window = window(args)?;
    let mut trace = load_with(paths, load_options(args))?;
    options.window = window.map(|(from, to)| clip(&mut trace, from, to));
    let report = analyze_with(&trace, &options);
    let style = if args.markdown { Style::Markdown } else { Style::Terminal };
    match (section, args.output.json) {
        (Some(section), true) => section_json(&report, section)?,
        (None, true) => output::json(&report)?,
        (Some(section), false) if args.markdown => {
            output::text(&section_text(&report, section, style))?;
        }
        (Some(section), false) => output::page(&section_text(&report, section, style))?,
        (None, false) if args.markdown => {
            for (_, section) in Section::ALL {
                output::text(&section_text(&report, section, style))?;
            }
        }
        (None, false) => output::page(&analyze_text(&report))?,
    }
    Ok(Exit::Fine)
}

fn window(args: &AnalyzeArgs) -> Result<Option<(Picos, Picos)>> {
    let window = (args.from.unwrap_or(Picos(i64::MIN)), args.to.unwrap_or(Picos(i64::MAX)));
    if window.0 >= window.1 {
        bail!("the window ends before it begins");
    }
    Ok((args.from.is_some() || args.to.is_some()).then_some(window))
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

fn load_options(args: &AnalyzeArgs) -> LoadOptions {
    let given = args.memory_limit.map(|mb| Bytes(mb.saturating_mul(1_000_000)));
    LoadOptions { memory_limit: given.or_else(half_of_memory), needed: needs_host_slice }
}

fn options(args: &AnalyzeArgs) -> Result<Options> {
    let rules = match &args.rules {
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read the rules in {}", path.display()))?;
            parse_rules(&text).map_err(|what| anyhow!("{}: {what}", path.display()))?
        }
        None => Vec::new(),
    };
    let filter = Filter {
        device: args.device.clone(),
        module: args.module.clone(),
        scope: args.scope.clone(),
        name: args.name.clone(),
    };
    Ok(Options { rules, filter, ..Options::default() })
}

fn section_json(report: &AnalyzeReport, section: Section) -> Result<()> {
    match section {
        Section::Layers => output::json(&report.layers),
        Section::Kernels => output::json(&report.kernels),
        Section::Devices => output::json(&report.timeline),
        Section::Idle => output::json(&report.idle),
        Section::Collectives => output::json(&report.collectives),
        Section::Compiles => output::json(&report.compiles),
        Section::Programs => output::json(&report.programs),
        Section::Requests => output::json(&report.requests),
        Section::Memory => output::json(&(&report.memory, &report.allocators)),
        Section::Quality => output::json(&report.quality),
    }
}
