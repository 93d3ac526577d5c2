//! The same load on a server at many settings: started, warmed, measured and stopped for each.
//!
//! What is on disk is never measured again: a sweep that was killed goes on where it was. A setting
//! at which the server does not start, dies or runs out of memory is a result like any other. The
//! best of many measurements is too good by chance, so the best few are measured once more, from a
//! fresh start, and the winner is the best of those.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xscope_load::Cancel;
use xscope_trace::clock;
use xscope_trace::results::{CellRow, CellStatus, Grid, Judgement, Results, SWEEP_SCHEMA, Sweep};
use xscope_trace::run::{NewRun, RunDir, RunStatus};
use xscope_trace::stats::as_f64;

use crate::bench::{BenchEvent, BenchOptions, BenchTarget, bench, new_run};
use crate::error::CaptureError;
use crate::slo::Slo;

const FILE: &str = "sweep.json";

/// One combination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// As a name of a folder: `chunk=512,rows=8`.
    pub name: String,
    pub values: BTreeMap<String, String>,
    pub command: String,
}

/// All combinations; refuses a setting that the command does not use, one that it uses and that has
/// no values, and a command without a port.
fn cells(grid: &Grid) -> Result<Vec<Cell>, String> {
    if !grid.command.contains("{port}") {
        return Err("say where the port goes in the command: {port}".to_owned());
    }
    let mut combinations = vec![BTreeMap::new()];
    for (name, values) in &grid.values {
        if !grid.command.contains(&format!("{{{name}}}")) {
            return Err(format!("the command does not use {{{name}}}"));
        }
        if values.is_empty() {
            return Err(format!("{name} has no values"));
        }
        let with = |cell: &BTreeMap<String, String>, value: &Value| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let mut cell = cell.clone();
            cell.insert(name.clone(), text);
            cell
        };
        let pairs = combinations.iter().flat_map(|cell| values.iter().map(move |v| (cell, v)));
        combinations = pairs.map(|(cell, value)| with(cell, value)).collect();
    }
    combinations.into_iter().map(|values| cell(grid, values)).collect()
}

fn cell(grid: &Grid, values: BTreeMap<String, String>) -> Result<Cell, String> {
    let mut command = grid.command.clone();
    for (name, value) in &values {
        command = command.replace(&format!("{{{name}}}"), value);
    }
    let named = values.iter().map(|(name, value)| format!("{name}={value}"));
    let name = named.collect::<Vec<_>>().join(",");
    if let Some((_, rest)) = command.replace("{port}", "").split_once('{')
        && let Some((unknown, _)) = rest.split_once('}')
        && unknown.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !unknown.is_empty()
    {
        return Err(format!("the command uses {{{unknown}}}, which has no values"));
    }
    let name = if name.is_empty() { "only".to_owned() } else { name };
    Ok(Cell { name, values, command })
}

/// How to sweep.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// The benchmark of each setting; its target does not matter.
    pub bench: BenchOptions,
    pub grid: Grid,
    /// An earlier run of the same sweep to go on with.
    pub resume: Option<PathBuf>,
    /// The figure of a point to rank by; those of times are better lower.
    pub rank: String,
    pub slo: Vec<Slo>,
    /// How many of the best are measured again.
    pub confirm: usize,
    /// No setting is begun after this.
    pub budget: Duration,
    /// Whether settings are tried that should run out of memory, as a smaller one did.
    pub try_all: bool,
}

/// What happens on the way.
#[derive(Debug)]
#[non_exhaustive]
pub enum SweepEvent<'a> {
    /// The run's directory, and how many settings are done already.
    Created(&'a Path, usize),
    /// This setting begins, to be confirmed or not.
    Cell(&'a Cell, bool),
    Bench(BenchEvent<'a>),
    Done(&'a CellRow),
}

/// A sweep that has ended, as far as it came.
#[derive(Debug)]
pub struct Swept {
    pub run: RunDir,
    pub sweep: Sweep,
}

/// Measures every setting that is not on disk, then the best few once more.
///
/// # Errors
///
/// The grid is none, a service level cannot be told of so few requests, the run to go on with is of
/// another sweep, or a run cannot be written.
pub async fn sweep(
    options: SweepOptions,
    cancel: &Cancel,
    mut on_event: impl FnMut(SweepEvent<'_>),
) -> Result<Swept, CaptureError> {
    let cells = cells(&options.grid).map_err(|why| CaptureError::Grid { why })?;
    check_levels(&options).map_err(|why| CaptureError::Grid { why })?;
    let (mut run, sweep) = open(&options, new_run(&options.bench).await)?;
    on_event(SweepEvent::Created(run.path(), sweep.cells.len()));
    let began = Instant::now();
    let mut round = Round { folder: run.path().to_owned(), options, sweep, cancel, began };
    let outcome = round.all(&cells, &mut on_event).await;
    run.write_json(&run.path().join(FILE), &round.sweep)?;
    let status = match &outcome {
        Err(_) => RunStatus::Failed,
        Ok(()) if round.sweep.complete => RunStatus::Complete,
        Ok(()) => RunStatus::Interrupted,
    };
    run.finish(status, clock::wall())?;
    outcome?;
    Ok(Swept { run, sweep: round.sweep })
}

/// Refuses levels that nothing would be known of after all has been paid for.
fn check_levels(options: &SweepOptions) -> Result<(), String> {
    let bench = &options.bench;
    for workload in bench.matrix.points.iter().map(|(_, workload)| workload) {
        let Some(requests) = workload.requests else { continue };
        let all = u64::from(requests) * u64::from(bench.trials);
        if let Some(slo) = options.slo.iter().find(|slo| slo.samples() > all) {
            return Err(format!(
                "{slo} takes {} requests at each point, and {} trials of {requests} are {all}: \
                 give more --requests or --trials",
                slo.samples(),
                bench.trials,
            ));
        }
    }
    Ok(())
}

fn open(options: &SweepOptions, new: NewRun) -> Result<(RunDir, Sweep), CaptureError> {
    let fresh = Sweep {
        schema: SWEEP_SCHEMA.to_owned(),
        grid: options.grid.clone(),
        load: json!({
            "points": options.bench.matrix.points,
            "trials": options.bench.trials,
            "backend": options.bench.matrix.backend.to_string(),
            "slo": options.slo.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        rank: options.rank.clone(),
        cells: Vec::new(),
        confirmed: Vec::new(),
        winner: None,
        complete: false,
    };
    let Some(path) = &options.resume else {
        let run = RunDir::create(&options.bench.output_dir, new)?;
        run.write_json(&run.path().join(FILE), &fresh)?;
        return Ok((run, fresh));
    };
    let file = path.join(FILE);
    let io = |source| CaptureError::Io { what: "read", path: file.clone(), source };
    let mut known: Sweep = serde_json::from_slice(&std::fs::read(&file).map_err(io)?)
        .map_err(|error| CaptureError::Grid { why: format!("{}: {error}", file.display()) })?;
    let differs = [
        ("settings", known.grid != fresh.grid),
        ("load (what is sent, --trials, --backend, --slo)", known.load != fresh.load),
        ("figure of --rank", known.rank != fresh.rank),
    ];
    if let Some((what, _)) = differs.iter().find(|(_, differs)| *differs) {
        let why = format!("{} is of another sweep: its {what} differs", path.display());
        return Err(CaptureError::Grid { why });
    }
    if options.try_all {
        known.cells.retain(|row| row.status != CellStatus::Skipped);
    }
    Ok((RunDir::open(path)?, known))
}

struct Round<'c> {
    options: SweepOptions,
    folder: PathBuf,
    sweep: Sweep,
    cancel: &'c Cancel,
    began: Instant,
}

impl Round<'_> {
    async fn all(
        &mut self,
        cells: &[Cell],
        on_event: &mut impl FnMut(SweepEvent<'_>),
    ) -> Result<(), CaptureError> {
        for cell in cells {
            if self.sweep.cells.iter().any(|row| row.name == cell.name) {
                continue;
            }
            let row = match too_large(&self.sweep.cells, cell).filter(|_| !self.options.try_all) {
                Some(reason) => {
                    let row = CellRow {
                        name: cell.name.clone(),
                        values: cell.values.clone(),
                        status: CellStatus::Skipped,
                        reason: Some(reason),
                        value: None,
                        run: None,
                        secs: 0.0,
                    };
                    on_event(SweepEvent::Done(&row));
                    row
                }
                None => match self.cell(cell, false, on_event).await? {
                    Some(row) => row,
                    None => return Ok(()),
                },
            };
            self.sweep.cells.push(row);
            self.write()?;
        }
        for name in self.best(&self.sweep.cells, self.options.confirm) {
            if self.sweep.confirmed.iter().any(|row| row.name == name) {
                continue;
            }
            let Some(cell) = cells.iter().find(|cell| cell.name == name) else { continue };
            let Some(row) = self.cell(cell, true, on_event).await? else { return Ok(()) };
            self.sweep.confirmed.push(row);
            self.write()?;
        }
        self.sweep.winner = self.best(&self.sweep.confirmed, 1).pop();
        self.sweep.complete = true;
        self.write()
    }

    /// Names of the best, best first.
    fn best(&self, rows: &[CellRow], most: usize) -> Vec<String> {
        let mut ranked: Vec<(&CellRow, f64)> = rows
            .iter()
            .filter(|row| row.status == CellStatus::Measured)
            .filter_map(|row| Some((row, row.value?)))
            .collect();
        let sign = if is_better_lower(&self.options.rank) { 1.0 } else { -1.0 };
        ranked.sort_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)));
        ranked.into_iter().take(most).map(|(row, _)| row.name.clone()).collect()
    }

    fn write(&self) -> Result<(), CaptureError> {
        let json = serde_json::to_vec_pretty(&self.sweep).unwrap_or_default();
        Ok(xscope_trace::run::replace_file(&self.folder.join(FILE), &json)?)
    }

    /// Measures one setting; `None` if the user or the budget ended the sweep before it was done.
    async fn cell(
        &mut self,
        cell: &Cell,
        confirms: bool,
        on_event: &mut impl FnMut(SweepEvent<'_>),
    ) -> Result<Option<CellRow>, CaptureError> {
        if self.cancel.is_cancelled() || self.began.elapsed() > self.options.budget {
            return Ok(None);
        }
        on_event(SweepEvent::Cell(cell, confirms));
        let began = Instant::now();
        let kind = if confirms { "confirmed" } else { "cells" };
        let words = ["sh", "-c", &cell.command].map(Into::into).into();
        let options = BenchOptions {
            output_dir: self.folder.join(kind).join(&cell.name),
            target: BenchTarget::Command { words, url: None },
            ..self.options.bench.clone()
        };
        let measure = bench(options, self.cancel, |event| on_event(SweepEvent::Bench(event)));
        let benched = Box::pin(measure).await;
        if self.cancel.is_cancelled() {
            return Ok(None);
        }
        let secs = began.elapsed().as_secs_f64();
        let done = |status, reason, value, run| CellRow {
            name: cell.name.clone(),
            values: cell.values.clone(),
            status,
            reason,
            value,
            run,
            secs,
        };
        let row = match benched {
            Err(error @ (CaptureError::Died { .. } | CaptureError::Load(_))) => {
                let why = last_line(&error);
                done(status_of_death(&error.to_string()), Some(why), None, None)
            }
            Err(error) => return Err(error),
            Ok(benched) => {
                let run = benched.run.path().strip_prefix(&self.folder);
                let run = run.ok().map(|run| run.display().to_string());
                let value = value(&benched.results, &self.options.rank);
                match benched.died {
                    Some(died) => done(status_of_death(&died), Some(died), None, run),
                    None => {
                        let (status, reason) = self.judge(&benched.results);
                        done(status, reason, value, run)
                    }
                }
            }
        };
        on_event(SweepEvent::Done(&row));
        Ok(Some(row))
    }

    fn judge(&self, results: &Results) -> (CellStatus, Option<String>) {
        for point in &results.results {
            if point.verdict.status == Judgement::Invalid {
                let cause = point.verdict.causes.first();
                let detail = cause.map_or_else(String::new, |cause| cause.detail.clone());
                return (CellStatus::Invalid, Some(format!("{}: {detail}", point.point)));
            }
            for slo in &self.options.slo {
                let figure = slo.figure(point).and_then(|figure| figure.value());
                let Some(ms) = figure else {
                    let reason = format!("{}: {slo} cannot be told of these answers", point.point);
                    return (CellStatus::Invalid, Some(reason));
                };
                if slo.holds(point) != Some(true) {
                    let reason = format!("{}: {slo} is {ms:.1} ms", point.point);
                    return (CellStatus::MissesSlo, Some(reason));
                }
            }
        }
        (CellStatus::Measured, None)
    }
}

/// Why a setting should run out of memory: one did whose numbers are the same or, where more is known
/// to take more memory, smaller.
fn too_large(done: &[CellRow], cell: &Cell) -> Option<String> {
    let failed = done.iter().filter(|row| row.status == CellStatus::OutOfMemory).find(|row| {
        let mut values = cell.values.iter();
        values.all(|(axis, value)| {
            let same = row.values.get(axis) == Some(value);
            same || less(row, &cell.values, axis) && takes_memory(done, axis)
        })
    })?;
    let more = cell.values.keys().filter(|axis| less(failed, &cell.values, axis));
    let more = more.map(String::as_str).collect::<Vec<_>>().join(", ");
    let failed = &failed.name;
    Some(format!("{failed} ran out of memory, and larger {more} takes more (--try-all)"))
}

/// Whether a setting has a smaller number on an axis than these values.
fn less(row: &CellRow, values: &BTreeMap<String, String>, axis: &str) -> bool {
    let number = |values: &BTreeMap<String, String>| values.get(axis)?.parse::<f64>().ok();
    matches!((number(&row.values), number(values)), (Some(a), Some(b)) if a < b)
}

/// Whether a larger number on an axis, all else equal, has been seen to run out of memory where a
/// smaller one did not, and never the other way round.
fn takes_memory(done: &[CellRow], axis: &str) -> bool {
    let others = |row: &CellRow| {
        let mut others = row.values.clone();
        others.remove(axis);
        others
    };
    let ran = [CellStatus::Measured, CellStatus::Invalid, CellStatus::MissesSlo];
    let ran = done.iter().filter(|row| ran.contains(&row.status));
    let failed = || done.iter().filter(|row| row.status == CellStatus::OutOfMemory);
    let beside = ran.flat_map(|fit| failed().map(move |failed| (fit, failed)));
    let beside = beside.filter(|(fit, failed)| others(fit) == others(failed));
    let (mut grows, mut shrinks) = (false, false);
    for (fit, failed) in beside {
        grows |= less(fit, &failed.values, axis);
        shrinks |= less(failed, &fit.values, axis);
    }
    grows && !shrinks
}

/// Whether less of a figure is better: times are, rates are not.
fn is_better_lower(figure: &str) -> bool {
    figure.ends_with("_ms")
}

/// The figure of all points, by geometric mean.
fn value(results: &Results, rank: &str) -> Option<f64> {
    let figures: Option<Vec<f64>> = results
        .results
        .iter()
        .map(|point| serde_json::to_value(point).ok()?.get(rank)?.as_f64())
        .collect();
    let figures = figures.filter(|figures| !figures.is_empty())?;
    let logs: f64 = figures.iter().map(|figure| figure.ln()).sum();
    let mean = (logs / as_f64(figures.len() as u64)).exp();
    mean.is_finite().then_some(mean)
}

/// What log lines of programs that ran out of memory have in them.
const OUT_OF_MEMORY: [&str; 6] = [
    "RESOURCE_EXHAUSTED",
    "out of memory",
    "Out of memory",
    "OutOfMemory",
    "MemoryError",
    "bad_alloc",
];

fn status_of_death(what: &str) -> CellStatus {
    // A kernel that runs out of memory kills with signal 9.
    let killed = what.contains("signal: 9");
    match killed || OUT_OF_MEMORY.iter().any(|words| what.contains(words)) {
        true => CellStatus::OutOfMemory,
        false => CellStatus::Failed,
    }
}

/// The error in one line: with the last line of the log that says most.
fn last_line(error: &CaptureError) -> String {
    let CaptureError::Died { status, log, tail } = error else { return error.to_string() };
    let memory = tail.lines().rev().find(|line| OUT_OF_MEMORY.iter().any(|w| line.contains(w)));
    let line = memory.map(str::to_owned).or_else(|| crate::log_watch::last_words(log));
    format!("ended with {status}; its log says: {}", line.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(command: &str, values: &[(&str, &[i64])]) -> Grid {
        let values = values.iter().map(|(name, values)| {
            ((*name).to_owned(), values.iter().map(|&value| json!(value)).collect())
        });
        Grid { command: command.to_owned(), values: values.collect() }
    }

    #[test]
    fn a_grid_is_all_combinations() {
        let two = grid("serve --port {port} -a {a} -b {b}", &[("b", &[1]), ("a", &[7, 8])]);
        let made = cells(&two).unwrap();
        let names: Vec<&str> = made.iter().map(|cell| cell.name.as_str()).collect();
        assert_eq!(names, ["a=7,b=1", "a=8,b=1"]);
        assert_eq!(made[1].command, "serve --port {port} -a 8 -b 1");
        for (grid, expected) in [
            (grid("serve -a {a}", &[("a", &[1])]), "{port}"),
            (grid("serve {port}", &[("a", &[1])]), "does not use {a}"),
            (grid("serve {port} {a}", &[]), "uses {a}, which has no values"),
            (grid("serve {port} {a}", &[("a", &[])]), "a has no values"),
        ] {
            assert!(cells(&grid).unwrap_err().contains(expected), "{grid:?}");
        }
        let json = grid("serve {port} '{\"x\": 1}'", &[]);
        assert_eq!(cells(&json).unwrap().len(), 1, "braces of JSON are no setting");
    }

    #[test]
    fn larger_than_what_ran_out_of_memory_is_not_tried() {
        let row = |rows: &str, page: &str, status| CellRow {
            name: format!("page={page},rows={rows}"),
            values: [("rows", rows), ("page", page)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            status,
            reason: None,
            value: None,
            run: None,
            secs: 1.0,
        };
        let done = [
            row("8", "16", CellStatus::Measured),
            row("16", "16", CellStatus::OutOfMemory),
            row("16", "64", CellStatus::OutOfMemory),
        ];
        let check = |done: &[CellRow], rows: &str, page: &str, expected: Option<&str>| {
            let values = row(rows, page, CellStatus::Measured).values;
            let cell = Cell { name: String::new(), values, command: String::new() };
            let why = too_large(done, &cell);
            assert_eq!(why.as_deref().map(|why| why.split(" ran").next().unwrap()), expected);
        };
        check(&done, "32", "16", Some("page=16,rows=16"));
        check(&done, "12", "16", None);
        // That more rows take more memory was seen with another page.
        check(&done, "32", "64", Some("page=64,rows=16"));
        check(&done, "16", "128", None);
        check(&done, "many", "16", None);
        // Once it was the other way round, nothing is known.
        let both = [&done[..], &[row("32", "16", CellStatus::Measured)]].concat();
        check(&both, "64", "16", None);
        check(&done[1..], "32", "16", None);
    }

    #[test]
    fn deaths_by_memory_are_told_apart() {
        for (text, expected) in [
            ("RESOURCE_EXHAUSTED: Attempting to allocate 34.0G", CellStatus::OutOfMemory),
            ("the server ended with signal: 9 (SIGKILL)", CellStatus::OutOfMemory),
            ("TypeError: Cannot concatenate", CellStatus::Failed),
        ] {
            assert_eq!(status_of_death(text), expected, "{text}");
        }
    }
}
