//! `xscope export`: a profile in the formats of other programs.

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use xscope_analysis::chain;
use xscope_analysis::from_disk::read_with;
use xscope_analysis::memory::hbm_usage::add_hbm_usage;
use xscope_analysis::requests::follow::joins;
use xscope_load::post_json;
use xscope_trace::read::ReadOptions;
use xscope_trace::run::{RunDir, RunManifest, replace_file};
use xscope_trace::write::{Target, Written, to_file, to_stream};
use xscope_trace::{Trace, atomic};
use xscope_view::csv_tables;
use xscope_view::otlp::otlp;

use crate::cli::ExportArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::cut;

pub(crate) fn run(args: &ExportArgs) -> Result<Exit> {
    let targets = [
        (Target::Perfetto, &args.perfetto),
        (Target::Chrome, &args.chrome),
        (Target::XPlane, &args.xplane),
        (Target::Folded, &args.folded),
        (Target::Speedscope, &args.speedscope),
        (Target::Pprof, &args.pprof),
    ];
    let targets: Vec<(Target, &Path)> =
        targets.into_iter().filter_map(|(target, path)| Some((target, path.as_deref()?))).collect();
    let to_stdout = targets.iter().filter(|(_, path)| is_stdout(path));
    let to_stdout: Vec<Target> = to_stdout.map(|(target, _)| *target).collect();
    if to_stdout == [Target::XPlane] {
        bail!("an XPlane file is merged when it is whole, so it needs a file, not `-`");
    }
    if to_stdout.len() + usize::from(args.otlp.as_deref() == Some("-")) > 1 {
        bail!("only one format can go to standard output (`-`)");
    }
    if let ([(Target::XPlane, output)], None, None) = (&targets[..], &args.csv, &args.otlp)
        && let [input] = &args.paths[..]
        && cut::is_asked(&args.cut)
        && is_xplane(input)
    {
        return cut::of_file(&args.cut, input, output).map(|()| Exit::Fine);
    }
    let mut trace = read_with(&args.paths, ReadOptions::default())?;
    add_hbm_usage(&mut trace);
    let trimmed = cut::of_trace(&args.cut, &mut trace)?;
    let joins = joins(&trace);
    for (target, path) in targets {
        if is_stdout(path) {
            let mut out = BufWriter::new(io::stdout().lock());
            to_stream(&trace, &joins, target, &mut out)?;
        } else {
            let written = to_file(&trace, &joins, target, path)?;
            say(path, &written);
        }
    }
    if let Some(folder) = &args.csv {
        tables(&trace, folder)?;
    }
    if let Some(place) = &args.otlp {
        traces(&trace, manifest(&args.paths).as_ref(), place)?;
    }
    if let Some(trimmed) = trimmed {
        cut::say(&trimmed);
    }
    Ok(Exit::Fine)
}

/// Whether a file can be cut as it lies: one XPlane file, whose times are the report's.
fn is_xplane(path: &Path) -> bool {
    let is_riegeli = path.to_string_lossy().contains(".xplane.riegeli");
    path.is_file() && (is_riegeli || Target::of_path(path) == Some(Target::XPlane))
}

/// What is known of the run, if it is one.
fn manifest(paths: &[PathBuf]) -> Option<RunManifest> {
    match paths {
        [path] => Some(RunDir::open(path).ok()?.manifest),
        _ => None,
    }
}

/// Writes a file for each table that has rows; one of an earlier export that has none any more goes.
fn tables(trace: &Trace, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let report = xscope_analysis::analyze(trace);
    for table in csv_tables() {
        let path = folder.join(table.file_name());
        let failed = || format!("cannot write {}", path.display());
        let rows = atomic::replace(&path, |file| {
            let mut out = BufWriter::with_capacity(1 << 20, file);
            let rows = table.write(trace, &report, &mut out)?;
            out.flush()?;
            Ok(rows)
        });
        match rows.with_context(failed)? {
            0 => fs::remove_file(&path).with_context(failed)?,
            rows => output::progress(&format!("{}: {rows} rows", path.display())),
        }
    }
    Ok(())
}

/// Sends requests as OpenTelemetry traces to a collector, or writes them to a file.
fn traces(trace: &Trace, manifest: Option<&RunManifest>, place: &str) -> Result<()> {
    let (spans, documents) = otlp(trace, manifest)?;
    if place.contains("://") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(send(place, &documents))?;
        output::progress(&format!("{place}: {spans} spans"));
        return Ok(());
    }
    let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
    if place == "-" {
        return output::text(&lines);
    }
    replace_file(Path::new(place), lines.as_bytes())?;
    output::progress(&format!("{place}: {spans} spans"));
    Ok(())
}

/// Longest wait for a collector's answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where collectors take traces over HTTP.
const TRACES: &str = "/v1/traces";

async fn send(url: &str, documents: &[Value]) -> Result<()> {
    let base = url.trim_end_matches('/').trim_end_matches(TRACES);
    for (sent, document) in documents.iter().enumerate() {
        let place = || format!("sent {sent} of {} parts to {base}{TRACES}", documents.len());
        // Told in words: a collector is no target whose failure is one of the measurement.
        let answer = post_json(base, TRACES, document, PATIENCE).await;
        let answer = answer.map_err(|error| anyhow!("{}: {}", place(), chain(&error)))?;
        if !answer.is_success() {
            let hint = match answer.status {
                404 => {
                    ": is this the port for OTLP over HTTP (usually 4318), not over gRPC (4317)?"
                }
                429 | 503 => ": it is busy; send all again, ids stay the same",
                _ => "",
            };
            let said: String = answer.text.chars().take(500).collect();
            bail!("{}: it answers {}{hint} {said}", place(), answer.status);
        }
        // A collector may take some spans only. Numbers of 64 bits are text in this encoding.
        let said: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let refused = &said["partialSuccess"]["rejectedSpans"];
        let refused = refused.as_u64().or_else(|| refused.as_str()?.parse().ok()).unwrap_or(0);
        if refused > 0 {
            let why =
                said["partialSuccess"]["errorMessage"].as_str().unwrap_or("it gives no reason");
            bail!("{}: it refused {refused} spans: {why}", place());
        }
    }
    Ok(())
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Tells what was written, and what the format could not hold.
fn say(path: &Path, written: &Written) {
    output::progress(&format!("{}: {} slices", path.display(), written.slices));
    if written.clipped > 0 {
        output::progress(&format!(
            "warning: {} slices overlap more others than the format can show and were cut short",
            written.clipped
        ));
    }
}
