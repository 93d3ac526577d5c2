use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;
use xscope_testing::{python, repository, server_packages};
use xscope_trace::quality::Code;
use xscope_trace::span::{self, SpanFile, SpanRow, Value};

fn scripts() -> PathBuf {
    repository().join("crates/xscope-capture/tests/python")
}

/// Where a scenario runs, with the runtime laid out as `xscope run` does.
struct Place {
    directory: tempfile::TempDir,
    python: String,
}

impl Place {
    #[track_caller]
    fn new() -> Option<Self> {
        let python = python("pass")?;
        let directory = tempfile::tempdir().unwrap();
        let probe = directory.path().join("probe");
        let runtime = repository().join("python/xscope_probe");
        fs::create_dir_all(probe.join("xscope_probe")).unwrap();
        fs::create_dir(directory.path().join("spans")).unwrap();
        for entry in fs::read_dir(&runtime).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "py") {
                let name = path.file_name().unwrap();
                fs::copy(&path, probe.join("xscope_probe").join(name)).unwrap();
            }
        }
        let site = runtime.join("site/sitecustomize.py");
        fs::copy(site, probe.join("sitecustomize.py")).unwrap();
        Some(Self { directory, python })
    }

    fn command(&self, scenario: &str) -> Command {
        let mut command = Command::new(&self.python);
        command
            .arg("-B")
            .arg(scripts().join("scenarios.py"))
            .arg(scenario)
            .current_dir(self.directory.path())
            .env_remove("PYTHONPATH")
            .env_remove("XSCOPE_PROBE_TABLES");
        command
    }

    fn with_probes(&self, scenario: &str) -> Command {
        let path = |name: &str| self.directory.path().join(name);
        let mut command = self.command(scenario);
        command
            .env("PYTHONPATH", path("probe"))
            .env("XSCOPE_PROBE_TABLES", scripts().join("target.json"))
            .env("XSCOPE_PROBE_SPANS", path("spans"));
        command
    }

    /// The span files so far, by path.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.directory.path().join("spans")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "xspan"))
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    fn only_file(&self) -> Vec<u8> {
        let mut files: Vec<_> = self.files().into_values().collect();
        assert_eq!(files.len(), 1, "one process, one file");
        files.pop().unwrap()
    }

    fn notes(&self) -> Vec<Json> {
        let entries = fs::read_dir(self.directory.path().join("spans")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let notes = paths.filter(|path| path.to_string_lossy().ends_with(".probes.json"));
        notes.map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
    }
}

/// Calls whose notes fill each file of these tests. A note takes 30 bytes at least: how many more
/// depends on how long the machine is up, since `marshal` writes small numbers in few bytes.
const CALLS: u64 = 20_000;

fn finish(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn read(bytes: &[u8]) -> SpanFile<'_> {
    let (file, issues) = span::read(bytes);
    assert!(issues.is_empty(), "{issues:?}");
    file
}

fn named<'a>(file: &'a SpanFile<'_>, name: &str) -> Vec<&'a SpanRow> {
    file.spans.iter().filter(|row| file.strings.get(row.span.name) == Some(name)).collect()
}

fn text<'a>(file: &'a SpanFile<'_>, value: Option<Value>) -> &'a str {
    match value {
        Some(Value::Text(id)) => file.strings.get(id).unwrap(),
        other => panic!("no text: {other:?}"),
    }
}

/// All arguments of a span with a name.
fn args(file: &SpanFile<'_>, row: &SpanRow, key: &str) -> Vec<Value> {
    let inline = row.span.arg.into_iter();
    let extra = file.extra_args.iter().filter(|arg| arg.record == row.record);
    inline
        .chain(extra.map(|arg| (arg.key, arg.value)))
        .filter(|&(name, _)| file.strings.get(name) == Some(key))
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn every_kind_of_function_is_recorded_and_answers_as_before() {
    let Some(place) = Place::new() else { return };
    let plain = finish(place.command("kinds"));
    let probed = finish(place.with_probes("kinds"));
    assert_eq!(
        String::from_utf8_lossy(&plain.stdout),
        String::from_utf8_lossy(&probed.stdout),
        "what the server does is the same"
    );
    let bytes = place.only_file();
    let file = read(&bytes);
    for (name, count) in [
        ("plain", 2),
        ("fails", 1),
        ("numbers", 1),
        ("double", 1),
        ("stream", 2),
        ("compiled", 1),
        ("method", 1),
        ("static", 1),
        ("of_class", 1),
        ("request", 1),
        ("http.parse", 1),
        ("http.respond", 1),
        ("ipc.send", 4),
        ("queue.wait", 2),
        ("schedule", 1),
        ("forward", 1),
        ("part", 1),
        ("check", 1),
        ("shaped", 2),
        ("any_shape", 3),
        ("builtin_names", 1),
    ] {
        assert_eq!(named(&file, name).len(), count, "{name}");
    }
    assert_eq!(args(&file, named(&file, "plain")[1], "value"), [Value::Int(4)]);
    let shaped = named(&file, "shaped");
    let of = |row: usize, key: &str| args(&file, shaped[row], key);
    assert_eq!(
        [of(0, "first"), of(0, "second"), of(0, "third")].concat(),
        [1, 2, 3].map(Value::Int)
    );
    assert_eq!(
        [of(1, "first"), of(1, "second"), of(1, "third")].concat(),
        [4, 2, 5].map(Value::Int)
    );
    assert!(of(0, "none").is_empty());
    let builtin = named(&file, "builtin_names")[0];
    assert_eq!(args(&file, builtin, "type"), [Value::Int(7)]);
    assert_eq!(args(&file, builtin, "len"), [Value::Int(8)]);
    let any_shape = named(&file, "any_shape")[0];
    assert_eq!(text(&file, args(&file, any_shape, "named").pop()), "text");
    assert_eq!(args(&file, any_shape, "result"), [Value::Int(6)]);
    assert_eq!(args(&file, named(&file, "any_shape")[2], "lens"), [Value::Int(4)]);
    assert_eq!(args(&file, named(&file, "fails")[0], "error").len(), 1);
    let request = named(&file, "request")[0];
    assert_eq!(text(&file, args(&file, request, "request_id").pop()), "abc");
    let rids = args(&file, request, "rid");
    let rids: Vec<&str> = rids.into_iter().map(|rid| text(&file, Some(rid))).collect();
    assert_eq!(rids, ["/v1/score-0", "/v1/score-1"]);
    // Both of the request itself, which only has a number, and of its rids elsewhere.
    let sends = named(&file, "ipc.send");
    assert_eq!(sends[0].span.request, request.span.request);
    assert_eq!(text(&file, sends[2].span.request), "/v1/score-0");
    let forward = named(&file, "forward")[0];
    assert_eq!(forward.span.batch, Some(Value::Int(7)));
    assert_eq!(named(&file, "schedule")[0].span.batch, Some(Value::Int(7)));
    assert_eq!(named(&file, "part")[0].span.batch, Some(Value::Int(7)));
    assert_eq!(named(&file, "compiled")[0].span.batch, None, "no batch was around it");
    // In another thread, for the same request.
    let check = named(&file, "check")[0];
    assert_eq!(check.span.request, request.span.request);
    assert_ne!(check.span.thread, request.span.thread);
    assert_eq!(args(&file, forward, "rid").len(), 2);
    assert!(args(&file, forward, "none").is_empty());
    let wait = named(&file, "queue.wait")[0].span;
    assert!(wait.start + wait.dur <= forward.span.start);
}

#[test]
fn a_generator_of_which_one_value_is_needed_ends_with_it() {
    let Some(place) = Place::new() else { return };
    finish(place.with_probes("kinds"));
    let bytes = place.only_file();
    let file = read(&bytes);
    // The second one is never closed and pauses after its first value; a request comes next.
    let [stream, request] =
        [named(&file, "stream")[1], named(&file, "request")[0]].map(|row| row.span);
    assert!(stream.start + stream.dur <= request.start, "{stream:?} {request:?}");
}

#[test]
fn names_that_are_missing_are_noted_and_harm_nothing() {
    let Some(place) = Place::new() else { return };
    finish(place.with_probes("kinds"));
    let note = place.notes().pop().unwrap();
    let missing = note["missing"].as_array().unwrap();
    let names: Vec<_> = missing.iter().map(|entry| (&entry["name"], &entry["optional"])).collect();
    assert_eq!(names, [(&"Model.renamed".into(), &false.into()), (&"newer".into(), &true.into())]);
    assert_eq!((&note["errors"], &note["off"]), (&0.into(), &false.into()));
}

#[test]
fn threads_write_side_by_side() {
    let Some(place) = Place::new() else { return };
    finish(place.with_probes("threads"));
    let bytes = place.only_file();
    let file = read(&bytes);
    assert_eq!(file.spans.len(), 8 * 200);
    let names = file.threads.values().filter_map(|&name| file.strings.get(name));
    assert_eq!(names.filter(|name| name.starts_with("worker-")).count(), 8);
}

#[test]
fn children_write_files_of_their_own() {
    let Some(place) = Place::new() else { return };
    finish(place.with_probes("children"));
    let files = place.files();
    let mut values: Vec<Vec<Value>> = files
        .values()
        .map(|bytes| {
            // The forked child ends without closing its file.
            let (file, issues) = span::read(bytes);
            assert!(issues.iter().all(|issue| issue.code == Code::XspanNotClosed), "{issues:?}");
            file.spans.iter().flat_map(|row| args(&file, row, "value")).collect()
        })
        .collect();
    values.sort_by_key(|values| format!("{values:?}"));
    let int = Value::Int;
    assert_eq!(values, [vec![int(1), int(5)], vec![int(2)], vec![int(3)], vec![int(4)]]);
}

#[test]
fn empty_polls_are_not_recorded() {
    let Some(place) = Place::new() else { return };
    finish(place.with_probes("polls"));
    let bytes = place.only_file();
    let file = read(&bytes);
    assert_eq!(["poll", "poll_all"].map(|name| named(&file, name).len()), [1, 1]);
    assert_eq!(file.spans.len(), 2);
}

#[test]
fn a_full_file_stays_bounded_and_counts_what_it_lost() {
    let Some(place) = Place::new() else { return };
    let mut command = place.with_probes("many");
    command.env("CALLS", CALLS.to_string()).env("XSCOPE_PROBE_MAX_BYTES", "131072");
    finish(command);
    let bytes = place.only_file();
    assert!(bytes.len() <= 131_072, "{} bytes", bytes.len());
    let (file, issues) = span::read(&bytes);
    assert_eq!(issues.iter().map(|issue| issue.code).collect::<Vec<_>>(), [Code::XspanDropped]);
    assert_eq!(file.spans.len() as u64 + file.header.dropped, CALLS);
}

#[test]
fn a_ring_holds_the_newest_and_counts_what_it_threw_away() {
    let Some(place) = Place::new() else { return };
    let ring = place.directory.path().join("ring");
    fs::create_dir(&ring).unwrap();
    let mut command = place.with_probes("many");
    command
        .env("CALLS", CALLS.to_string())
        .env("XSCOPE_PROBE_RING", &ring)
        .env("XSCOPE_PROBE_MAX_BYTES", "262144");
    finish(command);
    assert!(place.files().is_empty(), "nothing but the ring is written");
    let mut files: Vec<Vec<u8>> = fs::read_dir(&ring)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    files.sort_by_key(|bytes| span::read(bytes).0.header.created);
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|bytes| bytes.len() <= 131_072));
    let (newest, issues) = span::read(&files[1]);
    assert_eq!(issues.iter().map(|issue| issue.code).collect::<Vec<_>>(), [Code::XspanDropped]);
    let values: Vec<i64> = files
        .iter()
        .flat_map(|bytes| {
            let (file, _) = span::read(bytes);
            let values = file.spans.iter().flat_map(|row| args(&file, row, "value"));
            values
                .map(|value| if let Value::Int(value) = value { value } else { -1 })
                .collect::<Vec<_>>()
        })
        .collect();
    // Each file stands for itself, so that the values of all that are left can be read.
    let [gone, calls] = [newest.header.dropped, CALLS].map(|count| i64::try_from(count).unwrap());
    assert_eq!(values, (gone..calls).collect::<Vec<_>>());
}

#[test]
fn what_was_written_before_a_kill_is_there() {
    let Some(place) = Place::new() else { return };
    let output = place.with_probes("killed").output().unwrap();
    assert_eq!(output.status.signal(), Some(9));
    let bytes = place.only_file();
    let (file, issues) = span::read(&bytes);
    assert_eq!(file.spans.len(), 500);
    assert_eq!(issues.iter().map(|issue| issue.code).collect::<Vec<_>>(), [Code::XspanNotClosed]);
}

#[test]
fn an_error_at_any_point_of_a_probe_does_not_reach_the_server() {
    let Some(place) = Place::new() else { return };
    let plain = finish(place.command("kinds"));
    let table = scripts().join("target.json");
    let table: Json = serde_json::from_slice(&fs::read(table).unwrap()).unwrap();
    let probes = table["tables"][0]["probes"].as_array().unwrap();
    let labels = probes.iter().map(|probe| format!("@target:{}", probe["name"].as_str().unwrap()));
    let everywhere =
        ["any", "patch", "enter", "leave", "write", "open", "memory"].map(str::to_owned);
    let faults = everywhere
        .into_iter()
        .chain(labels.flat_map(|label| ["enter", "leave"].map(|point| format!("{point}{label}"))));
    for fault in faults {
        let mut command = place.with_probes("kinds");
        command.env("XSCOPE_PROBE_FAULT", &fault);
        let probed = finish(command);
        assert_eq!(plain.stdout, probed.stdout, "{fault}");
        assert_eq!(String::from_utf8_lossy(&probed.stderr), "", "{fault}");
    }
    let failed = place.notes().into_iter().filter(|note| note["errors"].as_u64() > Some(0));
    assert!(failed.count() > 20, "the faults were injected");
}

#[test]
fn an_existing_sitecustomize_runs() {
    let Some(place) = Place::new() else { return };
    let own = place.directory.path().join("own");
    fs::create_dir(&own).unwrap();
    let file = own.join("sitecustomize.py");
    fs::write(&file, "import os\nos.environ['SEEN'] = 'seen'\n").unwrap();
    let mut command = place.with_probes("customized");
    let probe: &Path = &place.directory.path().join("probe");
    command
        .env("PYTHONPATH", format!("{}:{}", probe.display(), own.display()))
        .env("EXPECTED", &file);
    assert_eq!(String::from_utf8_lossy(&finish(command).stdout), "True seen\n");
    assert_eq!(read(&place.only_file()).spans.len(), 1);
}

/// Runs `check_tables.py`; whether it finds all that a table names.
fn table_fits(python: &str, table: &Path, place: &Path) -> bool {
    let script = repository().join("tests/servers/check_tables.py");
    let output = Command::new(python).arg(script).args([table, place]).output().unwrap();
    print!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.status.success()
}

#[test]
fn a_table_is_checked_against_sources_without_running_them() {
    let Some(python) = python("import tomllib") else { return };
    let table = repository().join("probes/test_server.toml");
    let servers = repository().join("tests/servers");
    assert!(table_fits(&python, &table, &servers));
    let text = fs::read_to_string(&table).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let changed = directory.path().join("changed.toml");
    for (from, to) in [
        ("Scheduler.run_batch", "Scheduler.renamed"),
        ("jax_score_server", "no_such_module"),
        ("\"batch.tokens\"", "\"no_such_parameter.tokens\""),
    ] {
        assert!(text.contains(from));
        fs::write(&changed, text.replace(from, to)).unwrap();
        assert!(!table_fits(&python, &changed, &servers), "{to}");
    }
}

/// The packages are those that `.ci/run` downloads: `XSCOPE_SERVER_PACKAGES` names their folder.
#[test]
fn tables_name_what_released_servers_have() {
    let Some(folder) = server_packages() else { return };
    let Some(python) = python("import tomllib") else { return };
    let mut packages: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    packages.sort();
    for (table, package) in [
        ("sglang_jax", "sglang_jax-"),
        ("sglang", "sglang-"),
        ("vllm", "vllm-"),
        ("http", "uvicorn-"),
    ] {
        let is_wanted = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(package))
        };
        let wheel = packages.iter().find(is_wanted);
        let wheel = wheel.unwrap_or_else(|| panic!("no package {package}* in the folder"));
        let table = repository().join(format!("probes/{table}.toml"));
        assert!(table_fits(&python, &table, wheel), "{}", wheel.display());
    }
}

#[test]
fn a_runtime_that_cannot_start_leaves_the_server_alone() {
    let Some(place) = Place::new() else { return };
    let plain = finish(place.command("kinds"));
    for (variable, value) in
        [("XSCOPE_PROBE_TABLES", "/nowhere"), ("XSCOPE_PROBE_SPANS", "/nowhere")]
    {
        let mut command = place.with_probes("kinds");
        command.env(variable, value);
        assert_eq!(plain.stdout, finish(command).stdout, "{variable}");
    }
}
