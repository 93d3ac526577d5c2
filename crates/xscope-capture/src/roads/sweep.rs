//! The same load on a server at many settings: started, warmed, measured and stopped for each.
//!
//! What is on disk is never measured again: a sweep that was killed goes on where it was. A setting
//! at which the server does not start, dies or runs out of memory is a result like any other. The
//! best of many measurements is too good by chance, so the best few are measured once more, from a
//! fresh start, and the winner is the best of those.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xscope_trace::Metric;
use xscope_trace::clock;
use xscope_trace::metric::{Metrics as _, unit_of};
use xscope_trace::results::{
    CellRow, CellStatus, Grid, Judgement, PointResult, Results, SWEEP_SCHEMA, Sweep,
};
use xscope_trace::run::{RunDir, RunStatus};
use xscope_trace::stats::as_f64;

use crate::control::{Control, Event};
use crate::error::CaptureError;
use crate::log_watch::last_words;
use crate::request::{LoadRequest, RunRequest, Target};
use crate::results::{About, MeasuredRun, new_run};
use crate::roads::bench::{BenchRequest, ProfiledServers, bench};
use crate::slo::Slo;

const FILE: &str = "sweep.json";

/// One combination.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    /// As a name of a folder: `chunk=512,rows=8`.
    name: String,
    values: BTreeMap<String, String>,
    command: String,
}

fn refused<T>(why: impl Into<String>) -> Result<T, CaptureError> {
    Err(CaptureError::Grid { why: why.into() })
}

/// All combinations; refuses a setting that the command does not use, one that it uses and that has
/// no values, and a command without a port.
fn cells(grid: &Grid) -> Result<Vec<Cell>, CaptureError> {
    if !grid.command.contains("{port}") {
        return refused("say where the port goes in the command: {port}");
    }
    let mut combinations = vec![BTreeMap::new()];
    for (name, values) in &grid.values {
        if !grid.command.contains(&format!("{{{name}}}")) {
            return refused(format!("the command does not use {{{name}}}"));
        }
        if values.is_empty() {
            return refused(format!("{name} has no values"));
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

fn cell(grid: &Grid, values: BTreeMap<String, String>) -> Result<Cell, CaptureError> {
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
        return refused(format!("the command uses {{{unknown}}}, which has no values"));
    }
    let name = if name.is_empty() { "only".to_owned() } else { name };
    Ok(Cell { name, values, command })
}

/// How to sweep.
#[derive(Debug, Clone)]
pub struct SweepRequest {
    pub run: RunRequest,
    /// The benchmark of each setting.
    pub load: LoadRequest,
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
pub async fn sweep(request: SweepRequest, control: Control<'_>) -> Result<Swept, CaptureError> {
    let cells = cells(&request.grid)?;
    check_levels(&request)?;
    let (mut run, sweep) = open(&request)?;
    control.tell(Event::Created(run.path()));
    if !sweep.cells.is_empty() {
        control.say(format!("{} settings are measured already", sweep.cells.len()));
    }
    let began = Instant::now();
    let mut round = Round { run: &run, request: &request, sweep, control, began };
    let outcome = round.all(&cells).await;
    let Round { sweep, .. } = round;
    run.write_json(&run.path().join(FILE), &sweep)?;
    let status = match &outcome {
        Err(_) => RunStatus::Failed,
        Ok(()) if sweep.complete => RunStatus::Complete,
        Ok(()) => RunStatus::Interrupted,
    };
    run.finish(status, clock::wall())?;
    outcome?;
    Ok(Swept { run, sweep })
}

/// Refuses levels that nothing would be known of after all has been paid for.
fn check_levels(request: &SweepRequest) -> Result<(), CaptureError> {
    let SweepRequest { load, slo, .. } = request;
    for workload in load.matrix.points.iter().map(|(_, workload)| workload) {
        let Some(requests) = workload.requests else { continue };
        let all = u64::from(requests) * u64::from(load.trials);
        if let Some(slo) = slo.iter().find(|slo| slo.samples() > all) {
            return refused(format!(
                "{slo} takes {} requests at each point, and {} trials of {requests} are {all}: \
                 give more --requests or --trials",
                slo.samples(),
                load.trials,
            ));
        }
    }
    Ok(())
}

fn open(request: &SweepRequest) -> Result<(RunDir, Sweep), CaptureError> {
    let SweepRequest { load, .. } = request;
    let fresh = Sweep {
        schema: SWEEP_SCHEMA.to_owned(),
        grid: request.grid.clone(),
        load: json!({
            "points": load.matrix.points,
            "trials": load.trials,
            "backend": load.matrix.backend.to_string(),
            "slo": request.slo.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        rank: request.rank.clone(),
        cells: Vec::new(),
        confirmed: Vec::new(),
        winner: None,
        complete: false,
    };
    let Some(path) = &request.resume else {
        let about = About::of_load(&load.config.bench, &load.matrix);
        let about = About { target: request.grid.command.clone(), ..about };
        let run = RunDir::create(&request.run.output_dir, new_run(&request.run, about))?;
        run.write_json(&run.path().join(FILE), &fresh)?;
        return Ok((run, fresh));
    };
    let file = path.join(FILE);
    let io = |source| CaptureError::Io { what: "read", path: file.clone(), source };
    let mut known: Sweep = serde_json::from_slice(&std::fs::read(&file).map_err(io)?)
        .or_else(|error| refused(format!("{}: {error}", file.display())))?;
    let differs = [
        ("settings", known.grid != fresh.grid),
        ("load (what is sent, --trials, --backend, --slo)", known.load != fresh.load),
        ("figure of --rank", known.rank != fresh.rank),
    ];
    if let Some((what, _)) = differs.iter().find(|(_, differs)| *differs) {
        return refused(format!("{} is of another sweep: its {what} differs", path.display()));
    }
    if request.try_all {
        known.cells.retain(|row| row.status != CellStatus::Skipped);
    }
    Ok((RunDir::open(path)?, known))
}

struct Round<'r> {
    request: &'r SweepRequest,
    run: &'r RunDir,
    sweep: Sweep,
    control: Control<'r>,
    began: Instant,
}

impl Round<'_> {
    async fn all(&mut self, cells: &[Cell]) -> Result<(), CaptureError> {
        for cell in cells {
            if self.sweep.cells.iter().any(|row| row.name == cell.name) {
                continue;
            }
            let too_large = too_large(&self.sweep.cells, cell);
            let row = match too_large.filter(|_| !self.request.try_all) {
                Some(reason) => {
                    self.row(cell, CellRow { reason: Some(reason), ..row(CellStatus::Skipped) })
                }
                None => match self.cell(cell, false).await? {
                    Some(row) => row,
                    None => return Ok(()),
                },
            };
            self.sweep.cells.push(row);
            self.write()?;
        }
        for name in self.best(&self.sweep.cells, self.request.confirm) {
            if self.sweep.confirmed.iter().any(|row| row.name == name) {
                continue;
            }
            let Some(cell) = cells.iter().find(|cell| cell.name == name) else { continue };
            let Some(row) = self.cell(cell, true).await? else { return Ok(()) };
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
            .filter_map(|row| Some((row, row.value.value?)))
            .collect();
        let sign = if is_better_lower(&self.request.rank) { 1.0 } else { -1.0 };
        ranked.sort_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)));
        ranked.into_iter().take(most).map(|(row, _)| row.name.clone()).collect()
    }

    fn write(&self) -> Result<(), CaptureError> {
        Ok(self.run.write_json(&self.run.path().join(FILE), &self.sweep)?)
    }

    /// Measures one setting; `None` if the user or the budget ended the sweep before it was done.
    async fn cell(&self, cell: &Cell, confirms: bool) -> Result<Option<CellRow>, CaptureError> {
        if self.control.is_cancelled() || self.began.elapsed() > self.request.budget {
            return Ok(None);
        }
        let what = if confirms { "confirming" } else { "measuring" };
        self.control.say(format!("{what} {}", cell.name));
        let began = Instant::now();
        let folder = if confirms { "confirmed" } else { "cells" };
        let folder = self.run.path().join(folder).join(&cell.name);
        let request = BenchRequest {
            run: RunRequest { output_dir: folder, ..self.request.run.clone() },
            target: Target::Shell { command: cell.command.clone() },
            load: self.request.load.clone(),
            profile: ProfiledServers::None,
        };
        let on_event = |event: Event<'_>| self.control.tell_of_part(event);
        let control = Control { cancel: self.control.cancel, on_event: &on_event };
        let benched = Box::pin(bench(request, control)).await;
        if self.control.is_cancelled() {
            return Ok(None);
        }
        let secs = began.elapsed().as_secs_f64();
        let row = match benched {
            Err(error @ (CaptureError::Died { .. } | CaptureError::Load(_))) => {
                let reason = Some(last_line(&error));
                CellRow { reason, ..row(status_of_death(&error.to_string())) }
            }
            Err(error) => return Err(error),
            Ok(benched) => self.measured(benched),
        };
        Ok(Some(self.row(cell, CellRow { secs, ..row })))
    }

    /// What a setting that could be measured comes to.
    fn measured(&self, benched: MeasuredRun) -> CellRow {
        let MeasuredRun { run, results, died, .. } = benched;
        let folder = run.path().strip_prefix(self.run.path()).ok();
        let value = value(&results, &self.request.rank);
        let (status, reason) = match died {
            Some(died) => (status_of_death(&died), Some(died)),
            None => self.judge(&results),
        };
        CellRow {
            reason,
            value: value.unwrap_or_default(),
            run: folder.map(|folder| folder.display().to_string()),
            ..row(status)
        }
    }

    /// The row of this setting, which is told of.
    fn row(&self, cell: &Cell, row: CellRow) -> CellRow {
        let Cell { name, values, .. } = cell.clone();
        if let Some(reason) = &row.reason {
            self.control.say(format!("{name}: {reason}"));
        }
        let value = row.value.in_unit(unit_of(&self.request.rank));
        CellRow { name, values, value, ..row }
    }

    fn judge(&self, results: &Results) -> (CellStatus, Option<String>) {
        for point in &results.results {
            if point.validity.status == Judgement::Invalid {
                let cause = point.validity.causes.first();
                let detail = cause.map_or_else(String::new, |cause| cause.detail.clone());
                return (CellStatus::Invalid, Some(format!("{}: {detail}", point.point)));
            }
            for slo in &self.request.slo {
                let figure = slo.figure(point).and_then(|figure| figure.value);
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

/// A row that says nothing yet but this.
fn row(status: CellStatus) -> CellRow {
    CellRow {
        name: String::new(),
        values: BTreeMap::new(),
        status,
        reason: None,
        value: Metric::default(),
        run: None,
        secs: 0.0,
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
fn value(results: &Results, rank: &str) -> Option<Metric> {
    let figure = |point: &PointResult| -> Option<Metric> {
        let mut point = serde_json::to_value(point).ok()?;
        serde_json::from_value(point.get_mut(rank)?.take()).ok().filter(Metric::is_valid)
    };
    let figures: Vec<Metric> = results.results.iter().map(figure).collect::<Option<_>>()?;
    let unit = figures.first()?.unit.clone();
    let logs: f64 = figures.iter().filter_map(|figure| Some(figure.value?.ln())).sum();
    let mean = (logs / as_f64(figures.len() as u64)).exp();
    mean.is_finite().then(|| Metric { unit, ..Metric::valid(mean, "") })
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
    let line = memory.map(str::to_owned).or_else(|| last_words(log));
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
            assert!(cells(&grid).unwrap_err().to_string().contains(expected), "{grid:?}");
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
            value: Metric::default(),
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
