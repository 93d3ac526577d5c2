//! The run browser: what runs a folder holds, and the figures of each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use xscope_trace::run::{RunDir, RunStatus};

/// Most runs that are listed.
const MOST_RUNS: usize = 5000;

/// Most figures that are taken from a run.
const MOST_FIGURES: usize = 400;

/// What is larger is no file of results.
const MOST_BYTES: u64 = 64 << 20;

/// How deep figures are looked for.
const DEPTH: usize = 4;

/// A folder with run directories in it.
#[derive(Debug)]
pub(crate) struct Runs {
    folder: PathBuf,
}

/// A line of the list.
#[derive(Debug, Serialize)]
pub(crate) struct RunRow {
    /// The name of its directory.
    id: String,
    status: RunStatus,
    started_ms: i64,
    target: String,
    model: String,
    hardware: String,
    commit: String,
    command: String,
    figures: BTreeMap<String, f64>,
    /// What of it could not be read.
    issues: Vec<String>,
}

impl Runs {
    /// The folder, if it is one with runs in it and no run itself.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        if RunDir::is_at(folder) || !folder.is_dir() {
            return None;
        }
        let runs = Self { folder: folder.to_owned() };
        (!runs.names().is_empty()).then_some(runs)
    }

    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                RunDir::is_at(&entry.path()).then(|| entry.file_name().into_string().ok())?
            })
            .collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        names.truncate(MOST_RUNS);
        names
    }

    /// What is known of each, the newest first.
    pub(crate) fn rows(&self) -> Vec<RunRow> {
        let names = self.names().into_iter();
        names.map(|id| row(&self.folder.join(&id), id)).collect()
    }

    /// Where a run is; only what stands in the folder is one, so no name leads out of it.
    pub(crate) fn path_of(&self, id: &str) -> Option<PathBuf> {
        self.names().into_iter().find(|name| name == id).map(|name| self.folder.join(name))
    }
}

fn row(path: &Path, id: String) -> RunRow {
    let mut issues = Vec::new();
    let (manifest, clock) = match RunDir::open(path) {
        Ok(run) => {
            issues.extend(run.issues);
            let started = run.manifest.started_wall.0 / 1_000_000;
            (run.manifest, started)
        }
        Err(error) => {
            issues.push(error.to_string());
            Default::default()
        }
    };
    let stated = |field: &str| {
        let info = manifest.other.get("server_info");
        info.and_then(|info| info.get(field)).and_then(Value::as_str).map(str::to_owned)
    };
    let model = stated("served_model_name").or_else(|| stated("model_path")).unwrap_or_default();
    let hardware = stated("device").or_else(|| manifest.host.cpu_model.clone());
    RunRow {
        id,
        status: manifest.status,
        started_ms: clock,
        target: manifest.target.clone(),
        model,
        hardware: hardware.unwrap_or_default(),
        commit: manifest.git_commit.clone().unwrap_or_default(),
        command: manifest.command_line.join(" "),
        figures: figures(path, &mut issues),
        issues,
    }
}

/// The figures of a run's report and results, by where they stand.
fn figures(path: &Path, issues: &mut Vec<String>) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for name in ["report.json", "results.json"] {
        let file = path.join(name);
        let Ok(facts) = fs::metadata(&file) else { continue };
        if facts.len() > MOST_BYTES {
            issues.push(format!("{name} is too large to be looked through"));
            continue;
        }
        let read = fs::read(&file).map_err(|error| error.to_string());
        let value = read.and_then(|bytes| {
            serde_json::from_slice::<Value>(&bytes).map_err(|error| error.to_string())
        });
        match value {
            Ok(value) => collect("", &value, 0, &mut found),
            Err(error) => issues.push(format!("{name} cannot be read: {error}")),
        }
    }
    found
}

/// Lists are passed over, but for those whose entries have names.
fn collect(place: &str, value: &Value, depth: usize, found: &mut BTreeMap<String, f64>) {
    if found.len() >= MOST_FIGURES || depth > DEPTH {
        return;
    }
    let inside = |key: &str| match place {
        "" => key.to_owned(),
        _ => format!("{place}.{key}"),
    };
    match value {
        Value::Number(number) => {
            found.extend(number.as_f64().map(|number| (place.to_owned(), number)));
        }
        Value::Object(fields) if fields.contains_key("status") && fields.contains_key("unit") => {
            let number = fields.get("value").and_then(Value::as_f64);
            found.extend(number.map(|number| (place.to_owned(), number)));
        }
        Value::Object(fields) => {
            let skipped = ["analysis", "slowest", "config", "metadata", "from_sent", "trials"];
            for (key, value) in fields.iter().filter(|(key, _)| !skipped.contains(&key.as_str())) {
                collect(&inside(key), value, depth + 1, found);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                let name = ["name", "point"].iter().find_map(|key| entry.get(key)?.as_str());
                if let Some(name) = name {
                    collect(&inside(name), entry, depth + 1, found);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::collect;

    #[test]
    fn figures_are_found_by_where_they_stand() {
        let mut found = BTreeMap::new();
        let report = json!({
            "latency": {"p50_ms": {"value": 1.5, "unit": "ms", "status": "valid"},
                        "p99_ms": {"value": null, "unit": "ms", "status": "unavailable"}},
            "stages": [{"name": "forward", "share": 0.5}], "typical": "x", "more": [1, 2],
        });
        collect("", &report, 0, &mut found);
        let expected = [("latency.p50_ms", 1.5), ("stages.forward.share", 0.5)];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value)).into());
    }
}
