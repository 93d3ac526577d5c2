//! The contract: what every JSON document looks like.
//!
//! `schemas/` and the tables of FORMAT.md are made from the types, and all JSON that the tests of this
//! crate see is checked against them. `UPDATE_CONTRACT=1 cargo test -p xscope contract` writes them anew.

mod schema;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, generate};
use serde_json::Value;
use xscope_analysis::compare::CompareReport;
use xscope_analysis::compare::baseline::{Baseline, BaselineList, StoredNoise};
use xscope_analysis::kernels::tasks::TasksReport;
use xscope_analysis::reports::capture_report::CaptureReport;
use xscope_analysis::reports::grouping::GroupsReport;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::reports::targets::Limits;
use xscope_analysis::{AnalyzeReport, ProfileReport, analyze, compare, reports};
use xscope_capture::{ProbeNote, ProbeSummary, SlowSummary};
use xscope_load::{RequestRow, Workload};
use xscope_trace::memory_report::{self, Summary};
use xscope_trace::overhead::OverheadRecord;
use xscope_trace::read::read_paths;
use xscope_trace::results::{FindMax, Results, Sweep};
use xscope_trace::run::RunManifest;

use schema::Schema;

/// `run.json`, with the fields that only some commands write.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its schema is what it is for")]
struct Run {
    #[serde(flatten)]
    manifest: RunManifest,
    /// What the server says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_info: Option<Value>,
    /// Other limits of targets that the run was given, by their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<BTreeMap<String, Limits>>,
    /// What the probes did, if xscope started the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<ProbeSummary>,
    /// With `--slow-over`: what was slow, and what was kept of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    slow: Option<SlowSummary>,
}

/// A kind of document.
struct Document {
    /// Its name in `schemas/`.
    name: &'static str,
    /// What it carries as `schema`; rows and files of other tools carry none.
    version: Option<&'static str>,
    /// Where it is found.
    place: &'static str,
    schema: Value,
}

impl Document {
    fn of<T: JsonSchema>(
        name: &'static str,
        version: Option<&'static str>,
        place: &'static str,
    ) -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        let mut schema =
            generate::SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
        without_null(&mut schema);
        if let Some(version) = version {
            schema["properties"]["schema"]["const"] = version.into();
        }
        Self { name, version, place, schema }
    }

    fn file(&self) -> PathBuf {
        root().join("schemas").join(format!("{}.json", self.name))
    }
}

/// Takes `null` from what fields that may be absent can be: they are left out instead.
fn without_null(schema: &mut Value) {
    let is_null = |one: &Value| one["type"] == "null" || one == "null";
    let parts = schema.as_object_mut().into_iter().flatten().map(|(_, part)| part);
    parts.for_each(without_null);
    for part in schema.as_array_mut().into_iter().flatten() {
        without_null(part);
    }
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, field) in fields.into_iter().flatten() {
        if required.iter().any(|it| it == name) {
            continue;
        }
        for list in ["type", "anyOf"] {
            let Some(options) = field.get_mut(list).and_then(Value::as_array_mut) else { continue };
            options.retain(|option| !is_null(option));
            if let [only] = options.as_slice() {
                let only = only.clone();
                match only {
                    Value::Object(only) if list == "anyOf" => {
                        let field = field.as_object_mut().unwrap();
                        field.remove(list);
                        field.extend(only);
                    }
                    only => field[list] = only,
                }
            }
        }
    }
}

static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| {
    let own = |version| Some(version);
    vec![
        Document::of::<Run>("run", own(xscope_trace::run::SCHEMA), "`run.json`"),
        Document::of::<RequestRow>("request", None, "a row of `requests.jsonl`"),
        Document::of::<ProbeNote>("probes", own("xscope/probes/1"), "`spans/<pid>.probes.json`"),
        Document::of::<OverheadRecord>(
            "overhead",
            own(xscope_trace::overhead::SCHEMA),
            "`overhead.json`",
        ),
        Document::of::<Results>(
            "results",
            own(xscope_trace::results::SCHEMA),
            "`results.json`, `xscope bench ... --json`",
        ),
        Document::of::<Workload>("workload", None, "`workload` of a load"),
        Document::of::<FindMax>(
            "find_max",
            own(xscope_trace::results::FIND_MAX_SCHEMA),
            "`find_max.json`, `xscope bench score --find-max --json`",
        ),
        Document::of::<Sweep>(
            "sweep",
            own(xscope_trace::results::SWEEP_SCHEMA),
            "`sweep.json`, `xscope bench sweep --json`",
        ),
        Document::of::<AnalyzeReport>(
            "analyze",
            own(reports::analyze_report::SCHEMA),
            "`xscope analyze PATH --json`",
        ),
        Document::of::<SectionReport<'_>>(
            "section",
            own(reports::section_report::SCHEMA),
            "`xscope analyze PATH SECTION --json`",
        ),
        Document::of::<GroupsReport>(
            "groups",
            own(reports::grouping::SCHEMA),
            "`xscope analyze PATH kernels --by WHAT --json`",
        ),
        Document::of::<TasksReport>(
            "iterations",
            own(xscope_analysis::kernels::tasks::SCHEMA),
            "`xscope analyze PATH kernels --iterations REGEX --json`",
        ),
        Document::of::<ProfileReport>(
            "profile",
            own(reports::profile_report::SCHEMA),
            "`report.json`, `xscope profile --json`",
        ),
        Document::of::<CaptureReport<'_>>(
            "capture",
            own(reports::capture_report::SCHEMA),
            "`xscope capture --json`",
        ),
        Document::of::<CompareReport>(
            "compare",
            own(compare::SCHEMA),
            "`xscope compare --json`, `report.json` of `bench ab`",
        ),
        Document::of::<Baseline>(
            "baseline",
            own(compare::baseline::SCHEMA),
            "`baselines/<name>/<time>-<commit>.json`, `xscope baseline show --json`",
        ),
        Document::of::<StoredNoise>(
            "noise",
            own(compare::baseline::NOISE_SCHEMA),
            "`baselines/noise-<machine>.json`",
        ),
        Document::of::<BaselineList>(
            "baselines",
            own(compare::baseline::LIST_SCHEMA),
            "`xscope baseline list --json`",
        ),
        Document::of::<memory_report::Report>(
            "memory_report",
            None,
            "`memory_report_*.json`, as sglang-jax writes them",
        ),
        Document::of::<Summary>(
            "memory_summary",
            None,
            "`memory_summary.json`, as sglang-jax writes it",
        ),
    ]
});

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn named(name: &str) -> &'static Document {
    DOCUMENTS.iter().find(|document| document.name == name).unwrap()
}

/// Checks a document against its schema.
pub(crate) fn check(document: &Value, what: &str) {
    let version = document["schema"].as_str();
    let found = DOCUMENTS.iter().find(|it| version.is_some() && it.version == version);
    let Some(found) = found else { panic!("{what}: no schema is called {version:?}") };
    check_against(found, document, what);
}

fn check_against(kind: &Document, document: &Value, what: &str) {
    let violations = Schema::of(&kind.schema).violations(document);
    let violations: Vec<String> =
        violations.into_iter().take(20).map(|it| it.chars().take(300).collect()).collect();
    assert!(violations.is_empty(), "{what} is not as schemas/{}.json: {violations:#?}", kind.name);
}

/// Checks what a command printed, if it was asked for JSON.
pub(crate) fn check_printed(args: &[&str], stdout: &[u8]) {
    if args.contains(&"--json") && stdout.starts_with(b"{") {
        check(&serde_json::from_slice(stdout).unwrap(), &format!("{args:?}"));
    }
}

/// Checks all files of the runs in a directory, and of its baselines.
pub(crate) fn check_files(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let what = path.display().to_string();
        let read = || serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap();
        match &*name {
            _ if path.is_dir() && !path.is_symlink() => check_files(&path),
            "run.json" | "report.json" | "overhead.json" | "find_max.json" | "sweep.json"
            | "results.json" => check(&read(), &what),
            "requests.jsonl" => {
                for (number, row) in fs::read_to_string(&path).unwrap().lines().enumerate() {
                    // A run that was killed may end within a row.
                    if let Ok(row) = serde_json::from_str(row) {
                        check_against(named("request"), &row, &format!("{what}:{}", number + 1));
                    }
                }
            }
            "memory_summary.json" => check_against(named("memory_summary"), &read(), &what),
            _ if !name.ends_with(".json") => {}
            _ if name.ends_with(".probes.json") || name.starts_with("results-") => {
                check(&read(), &what);
            }
            _ if name.starts_with("memory_report_") => {
                check_against(named("memory_report"), &read(), &what);
            }
            _ => {}
        }
    }
}

/// Calls `visit` with every field of every object in a schema: the object, the field, and its schema.
fn each_field<'a>(
    schema: Schema<'a>,
    object: &str,
    visit: &mut impl FnMut(&str, &str, Schema<'a>),
) {
    if let Value::Object(parts) = schema.node {
        for (name, field) in
            parts.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            if schema.node.get("$ref").is_none() {
                visit(object, name, schema.at(field));
                each_field(schema.at(field), &format!("{object}.{name}"), visit);
            }
        }
        for (name, inner) in parts.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            each_field(schema.at(inner), name, visit);
        }
        for inner in ["items", "additionalProperties"].iter().filter_map(|it| parts.get(*it)) {
            each_field(schema.at(inner), object, visit);
        }
        for list in ["anyOf", "oneOf", "allOf", "prefixItems"] {
            for inner in parts.get(list).and_then(Value::as_array).into_iter().flatten() {
                each_field(schema.at(inner), object, visit);
            }
        }
    }
}

/// Files of which other tools say what they look like, and what users write down.
const OF_OTHERS: [&str; 3] = ["memory_report", "memory_summary", "workload"];

#[test]
fn every_field_says_what_it_is() {
    let mut silent = BTreeSet::new();
    for document in DOCUMENTS.iter() {
        let root = document.schema["title"].as_str().unwrap();
        each_field(Schema::of(&document.schema), root, &mut |object, name, field| {
            let said = field.node["description"].as_str().unwrap_or_default();
            if said.is_empty() || said.contains("[`") {
                silent.insert(format!("{object}.{name}: {said}"));
            }
        });
    }
    assert!(
        silent.is_empty(),
        "{} fields say nothing, or have links of rustdoc: {silent:#?}",
        silent.len()
    );
}

#[test]
fn a_name_means_one_type_everywhere() {
    let mut kinds: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for document in DOCUMENTS.iter().filter(|it| !OF_OTHERS.contains(&it.name)) {
        let root = document.schema["title"].as_str().unwrap();
        each_field(Schema::of(&document.schema), root, &mut |object, name, field| {
            let kind = field.kind();
            if kind != "any" {
                let of_name = kinds.entry(name.to_owned()).or_default();
                of_name.entry(kind).or_default().insert(object.to_owned());
            }
        });
    }
    kinds.retain(|_, kinds| kinds.len() > 1);
    assert!(kinds.is_empty(), "{kinds:#?}");
}

/// Holds a file of the repository against what it should be, or writes it anew.
fn hold(path: &Path, expected: &str) {
    let found = fs::read_to_string(path).unwrap_or_default();
    if found == expected {
        return;
    }
    if std::env::var_os("UPDATE_CONTRACT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        return fs::write(path, expected).unwrap();
    }
    panic!(
        "{} is not that of the types: UPDATE_CONTRACT=1 cargo test -p xscope contract",
        path.display()
    );
}

#[test]
fn the_schemas_in_the_repository_are_those_of_the_types() {
    for document in DOCUMENTS.iter() {
        let text = serde_json::to_string_pretty(&document.schema).unwrap();
        hold(&document.file(), &format!("{text}\n"));
    }
    let files = fs::read_dir(root().join("schemas")).unwrap();
    assert_eq!(files.count(), DOCUMENTS.len(), "a schema in schemas/ is of no document");
}

#[test]
fn the_tables_of_the_manual_are_those_of_the_types() {
    const MARKS: [&str; 2] = ["<!-- made from the types: fields -->\n", "<!-- end -->\n"];
    let path = root().join("FORMAT.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let tables = tables::tables(&DOCUMENTS);
    hold(&path, &[before, MARKS[0], &tables, "\n", MARKS[1], after].concat());
}

#[test]
fn reports_on_real_traces_are_as_their_schema() {
    let (Some(traces), Some(cases)) = (xscope_testing::traces(), xscope_testing::cases()) else {
        return;
    };
    let mut read = 0;
    for path in [traces, cases].iter().flat_map(|folder| xscope_testing::files(folder)) {
        // What takes a debug build a minute.
        let slow = std::env::var_os("XSCOPE_SLOW_TESTS").is_some();
        if !slow && path.extension().is_some_and(|it| it == "xz") {
            continue;
        }
        if let Ok(trace) = read_paths(std::slice::from_ref(&path)) {
            let report = serde_json::to_value(analyze(&trace)).unwrap();
            check(&report, &path.display().to_string());
            read += 1;
        }
    }
    assert!(read > 50, "only {read} traces could be read");
}
