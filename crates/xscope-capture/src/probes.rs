//! The probes that run inside somebody else's Python server: their tables and their runtime.
//!
//! A table says what to record in which function (`probes/*.toml`); the runtime
//! (`python/xscope_probe`) wraps these functions from inside the server's processes, which it
//! reaches through `PYTHONPATH`. Both are part of this binary. All tables are given at once: a
//! table whose modules a server never imports does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use xscope_trace::run::RunDir;
use xscope_trace::stats::as_f64;
use xscope_trace::{Metric, Nanos, clock, span};

use crate::error::CaptureError;
use crate::profiler::absolute;

/// The tables that come with xscope.
const TABLES: [(&str, &str); 5] = [
    ("http", include_str!("../../../probes/http.toml")),
    ("sglang_jax", include_str!("../../../probes/sglang_jax.toml")),
    ("sglang", include_str!("../../../probes/sglang.toml")),
    ("vllm", include_str!("../../../probes/vllm.toml")),
    ("test_server", include_str!("../../../probes/test_server.toml")),
];

/// The runtime's files, by the path that they get.
const RUNTIME: &[(&str, &str)] = &[
    ("sitecustomize.py", include_str!("../../../python/xscope_probe/site/sitecustomize.py")),
    ("xscope_probe/__init__.py", include_str!("../../../python/xscope_probe/__init__.py")),
    ("xscope_probe/cost.py", include_str!("../../../python/xscope_probe/cost.py")),
    ("xscope_probe/generators.py", include_str!("../../../python/xscope_probe/generators.py")),
    ("xscope_probe/hook.py", include_str!("../../../python/xscope_probe/hook.py")),
    ("xscope_probe/memory.py", include_str!("../../../python/xscope_probe/memory.py")),
    ("xscope_probe/paths.py", include_str!("../../../python/xscope_probe/paths.py")),
    ("xscope_probe/place.py", include_str!("../../../python/xscope_probe/place.py")),
    ("xscope_probe/recorder.py", include_str!("../../../python/xscope_probe/recorder.py")),
    ("xscope_probe/ring.py", include_str!("../../../python/xscope_probe/ring.py")),
    ("xscope_probe/signature.py", include_str!("../../../python/xscope_probe/signature.py")),
    ("xscope_probe/spool.py", include_str!("../../../python/xscope_probe/spool.py")),
    ("xscope_probe/wrap.py", include_str!("../../../python/xscope_probe/wrap.py")),
];

/// Paths into a call's objects; the first that leads to a value counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Several(Vec<String>),
}

/// Which spans of a server are kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spans {
    /// All, as far as they fit.
    All,
    /// The newest, for whoever takes a copy in time.
    Newest,
}

/// The spans of the calls of one function.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    module: String,
    /// Of the function in the module: `function` or `Class.method`.
    name: String,
    /// The name of the call's span; without one nothing is written for the call itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    span: Option<String>,
    /// A path whose value chooses another name from `spans`.
    #[serde(skip_serializing_if = "Option::is_none")]
    span_by: Option<Paths>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    spans: BTreeMap<String, String>,
    /// Whether versions of the server that are known to work lack it.
    #[serde(default, skip_serializing_if = "is_false")]
    optional: bool,
    /// When a generator's span ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Until>,
    /// Calls with such a result are empty polls and are not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<Empty>,
    /// The call is an HTTP request: what runs in its context belongs to it.
    #[serde(default, skip_serializing_if = "is_false")]
    opens: bool,
    /// Only calls in the context of a request are recorded.
    #[serde(default, skip_serializing_if = "is_false")]
    in_request: bool,
    /// Only calls whose values are among these are recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    when: BTreeMap<String, Vec<serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Paths>,
    /// The batch's number, which also goes to spans of the thread that have `next`, for the one that
    /// comes after them, or `around`, for the call that they are part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Paths>,
    /// What the items concerned are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    rids: Option<Paths>,
    /// What an item of the open request is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Paths>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    args: BTreeMap<String, Paths>,
    /// Names for the moments at which the call begins and ends, in its request.
    #[serde(skip_serializing_if = "Option::is_none")]
    mark_start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark_end: Option<String>,
    /// A span from such a moment to the start of the call, or to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Gap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<Gap>,
    /// Remembers for each key when the call ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp: Option<Stamp>,
    /// For each key, the span from that moment to the start of this call.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<Wait>,
    /// Callables that the method puts on its object, with the names of their spans.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    after: BTreeMap<String, String>,
    /// Snapshots of the device's memory, before the call or after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Moments>,
}

/// What the snapshots of a call are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Moments {
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    /// Only after calls for which this is larger than for all before.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<Paths>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Until {
    First,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Empty {
    /// `None`.
    None,
    /// Whatever Python takes for false.
    Empty,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    span: String,
    since: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    name: String,
    keys: Paths,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    span: String,
    since: String,
    keys: Paths,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    #[serde(default)]
    probe: Vec<Probe>,
}

/// A table of probes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeTable {
    name: String,
    probes: Vec<Probe>,
}

impl ProbeTable {
    /// The tables for the servers that xscope knows.
    ///
    /// # Errors
    /// None: that they can be read is tested.
    pub fn built_in() -> Result<Vec<Self>, CaptureError> {
        TABLES.iter().map(|(name, text)| Self::parse(name, text)).collect()
    }

    /// A table of the user.
    ///
    /// # Errors
    /// The file cannot be read, or is no table.
    pub fn read(path: &Path) -> Result<Self, CaptureError> {
        let text = fs::read_to_string(path).map_err(|source| CaptureError::Io {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self, CaptureError> {
        let error = |why: String| CaptureError::Table { name: name.to_owned(), why };
        let file: TableFile = toml::from_str(text).map_err(|why| error(why.to_string()))?;
        for probe in &file.probe {
            if let Some(why) = probe.contradiction() {
                return Err(error(format!("{} of {}: {why}", probe.name, probe.module)));
            }
        }
        Ok(Self { name: name.to_owned(), probes: file.probe })
    }
}

impl Probe {
    fn contradiction(&self) -> Option<&'static str> {
        if self.drop.is_some() && self.opens {
            return Some("`drop` leaves no call to which `opens` could refer");
        }
        let records = self.span.is_some()
            || self.head.is_some()
            || self.tail.is_some()
            || self.mark_start.is_some()
            || self.mark_end.is_some()
            || self.stamp.is_some()
            || self.wait.is_some()
            || !self.after.is_empty()
            || self.memory.is_some()
            || self.batch.is_some()
            || self.opens;
        (!records).then_some("it records nothing: give it a `span`")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The probes as laid out in a run's directory.
#[derive(Debug)]
pub(crate) struct Installed {
    directory: PathBuf,
    spans: PathBuf,
    memory: PathBuf,
    ring: Option<PathBuf>,
}

impl Installed {
    /// Writes the runtime and the tables to `probe/` in the run's directory.
    pub(crate) fn write(
        run: &RunDir,
        tables: &[ProbeTable],
        spans: Spans,
    ) -> Result<Self, CaptureError> {
        let root = absolute(run.path());
        let directory = root.join("probe");
        let tables = json!({ "schema": "xscope/probes/1", "tables": tables }).to_string();
        let files = RUNTIME
            .iter()
            .map(|&(name, text)| (name, text.as_bytes()))
            .chain([("tables.json", tables.as_bytes()), ("control", &[1])]);
        for (name, bytes) in files {
            let path = directory.join(name);
            let parent = path.parent().unwrap_or(&directory);
            fs::create_dir_all(parent)
                .and_then(|()| fs::write(&path, bytes))
                .map_err(|source| CaptureError::Io { what: "write", path, source })?;
        }
        let ring = (spans == Spans::Newest).then(|| run.ring_dir());
        if let Some(path) = &ring {
            fs::create_dir_all(path).map_err(|source| CaptureError::Io {
                what: "make",
                path: path.clone(),
                source,
            })?;
        }
        Ok(Self { directory, spans: root.join("spans"), memory: root.join("memory"), ring })
    }

    /// What the server's environment needs; `python_path` is what it has of its own.
    pub(crate) fn environment(&self, python_path: Option<&str>) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mine = text(&self.directory);
        let python_path = match python_path {
            Some(own) if !own.is_empty() => format!("{mine}:{own}"),
            _ => mine,
        };
        let ring = self.ring.iter().map(|path| ("XSCOPE_PROBE_RING", text(path)));
        let all = [
            ("PYTHONPATH", python_path),
            ("XSCOPE_PROBE_TABLES", text(&self.directory.join("tables.json"))),
            ("XSCOPE_PROBE_CONTROL", text(&self.directory.join("control"))),
            ("XSCOPE_PROBE_SPANS", text(&self.spans)),
            ("XSCOPE_PROBE_MEMORY", text(&self.memory)),
        ];
        all.into_iter().chain(ring).collect()
    }
}

/// What a process says of its probes: `spans/<pid>.probes.json`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProbeNote {
    /// The kind and the version of this document.
    #[serde(default)]
    pub schema: String,
    /// The process.
    pub pid: u32,
    /// The process that started it.
    #[serde(default)]
    pub parent: u32,
    /// Its command line, at most 64 words.
    #[serde(default)]
    pub argv: Vec<String>,
    /// The version of its Python.
    #[serde(default)]
    pub python: String,
    /// When this was written, on the machine's monotonic clock.
    #[serde(default, rename = "at_ns", alias = "at_nanos")]
    pub at: i64,
    /// The probes that are in place.
    #[serde(default)]
    pub installed: Vec<ProbeLabel>,
    /// What a table names and the server does not have.
    #[serde(default)]
    pub missing: Vec<MissingProbe>,
    /// Errors inside of probes, which the server never saw.
    #[serde(default)]
    pub errors: u64,
    /// The first of them, as a sentence; `null` if there was none.
    pub first_error: Option<String>,
    /// Whether there were so many that the probes switched themselves off.
    #[serde(default)]
    pub off: bool,
}

/// What a probe is on.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProbeLabel {
    /// The table that names it.
    pub table: String,
    /// The Python module.
    pub module: String,
    /// The function in it, `function` or `Class.method`.
    pub name: String,
}

/// A probe that found nothing to be on.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MissingProbe {
    #[serde(flatten)]
    pub label: ProbeLabel,
    /// Whether versions of the server that are known to work lack it.
    #[serde(default)]
    pub optional: bool,
    /// Why it is not there, as a sentence.
    pub why: String,
}

/// How the probes did in all processes of a server.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProbeSummary {
    /// Processes with at least one probe, by id.
    pub processes: Vec<u32>,
    /// The tables that fitted something.
    pub tables: BTreeSet<String>,
    /// Probes that were in place, in any process.
    #[serde(rename = "installed_count")]
    pub installed: usize,
    /// What a table names and the server does not have, with the reason.
    #[serde(rename = "missing_probes")]
    pub missing: Vec<String>,
    /// Errors inside of probes, which the server never saw.
    pub errors: u64,
    /// The first of them in each process that had any.
    pub first_errors: Vec<String>,
    /// Processes that had so many that their probes switched themselves off.
    pub switched_off: Vec<u32>,
    /// Absent before the server has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<RecordedSummary>,
}

/// What the probes recorded, and what that took.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecordedSummary {
    /// Spans that were recorded, those that were thrown away included.
    pub spans: u64,
    /// CPU time of all processes together.
    pub time_ms: Metric,
    /// Of that, in the run's wall time.
    #[serde(rename = "time_share")]
    pub share: Metric,
}

impl RecordedSummary {
    /// Of the span files in a folder, and of spans that were recorded and thrown away since, in a
    /// run that took so long.
    pub(crate) fn read(folder: &Path, thrown_away: u64, wall: Nanos) -> Self {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let files = paths.filter(|path| path.extension().is_some_and(|it| it == "xspan"));
        let (mut spans, mut time) = (0, None);
        for bytes in files.filter_map(|path| fs::read(path).ok()) {
            let recorded = span::read(&bytes).0.recorded();
            spans += recorded.spans;
            time = time.into_iter().chain(recorded.time()).reduce(|a, b| a + b);
        }
        let all = spans + thrown_away;
        let per_kept = as_f64(all) / as_f64(spans.max(1));
        let time_ms = time.map(|time| time.as_millis() * per_kept);
        let counted = |value: Option<f64>, unit| match value {
            Some(value) => Metric::degraded(
                value,
                unit,
                "by counting: every record at what one takes in a loop in the same process, which \
                 is the least that it takes",
            ),
            None => Metric::unavailable(unit, "no process recorded what a span costs it"),
        };
        let share = time_ms.filter(|_| wall > Nanos::ZERO).map(|ms| ms / wall.as_millis());
        Self { spans: all, time_ms: counted(time_ms, "ms"), share: counted(share, "1") }
    }
}

impl ProbeSummary {
    /// Reads what the processes of a run left in `spans`; a note that cannot be read is left out.
    pub fn read(spans: &Path) -> Self {
        let mut summary = Self::default();
        let mut places = BTreeSet::new();
        let mut missing = BTreeSet::new();
        for note in notes(spans) {
            if !note.installed.is_empty() {
                summary.processes.push(note.pid);
            }
            for label in note.installed {
                summary.tables.insert(label.table);
                places.insert((label.module, label.name));
            }
            for entry in note.missing.into_iter().filter(|entry| !entry.optional) {
                let ProbeLabel { table, module, name } = entry.label;
                missing.insert(format!("{module}.{name} ({table}): {}", entry.why));
            }
            summary.errors += note.errors;
            summary.first_errors.extend(note.first_error);
            if note.off && note.errors > 0 {
                summary.switched_off.push(note.pid);
            }
        }
        summary.installed = places.len();
        summary.missing = missing.into_iter().collect();
        summary
    }

    /// What of it a user should know, as sentences.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.processes.is_empty() {
            warnings.push(
                "no probe was placed: the command runs no Python 3.10 or newer that reads \
                 PYTHONPATH, or no server that a table names"
                    .to_owned(),
            );
        }
        for missing in &self.missing {
            warnings.push(format!("a probe found nothing to record: {missing}"));
        }
        if self.errors > 0 {
            warnings.push(format!(
                "{} errors inside of probes, which the server did not see; the first: {}",
                self.errors,
                self.first_errors.join("; ")
            ));
        }
        warnings
    }
}

/// Puts into the run's manifest how the probes of a server did that has ended; spans that a ring has
/// thrown away are given if there is one.
pub(crate) fn keep_summary(run: &mut RunDir, thrown_away: Option<u64>) -> ProbeSummary {
    let mut summary = ProbeSummary::read(&run.spans_dir());
    let folder = if thrown_away.is_some() { run.ring_dir() } else { run.spans_dir() };
    let wall = clock::wall() - run.manifest.started_wall;
    summary.recorded = Some(RecordedSummary::read(&folder, thrown_away.unwrap_or(0), wall));
    run.manifest.other.insert("probes".to_owned(), json!(summary));
    summary
}

fn notes(spans: &Path) -> Vec<ProbeNote> {
    let entries = fs::read_dir(spans).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".probes.json"));
    paths.sort();
    let read = |path: &PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
    paths.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::ProbeTable;

    #[test]
    fn the_tables_that_come_along_can_be_read() {
        let tables = ProbeTable::built_in().unwrap();
        assert!(tables.iter().all(|table| !table.probes.is_empty()));
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused_with_the_reason() {
        let check = |text: &str, reason: &str| {
            let error = ProbeTable::parse("mine.toml", text).unwrap_err().to_string();
            assert!(error.contains("mine.toml") && error.contains(reason), "{error}");
        };
        check("[[probe]]\nmodule = 'm'\nname = 'f'\nspam = 'x'", "unknown field `spam`");
        check("[[probe]]\nmodule = 'm'\nname = 'f'", "it records nothing");
        check(
            "[[probe]]\nmodule = 'm'\nname = 'f'\nspan = 's'\ndrop = 'none'\nopens = true",
            "`drop` leaves no call",
        );
    }
}
