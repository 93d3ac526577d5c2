//! A server whose profiler behaves as sglang-jax's was measured to: bare 500s, files that are
//! written when it stops, steps that end only with traffic, a relative directory that hangs.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::Duration;

use serde_json::{Value, json};
use xscope_trace::write::xplane::{
    Event, EventMeta, PlaneBuilder, START_TIME, STOP_TIME, StatValue, TASK_ENVIRONMENT,
};
use xscope_trace::{Nanos, Picos, clock};

/// How such a server differs from sglang-jax of August 2026 under load.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    /// Without it, as the release on PyPI.
    pub has_status: bool,
    /// Requests that `/get_server_info` says are running, at each look; the last one stays.
    pub running: Vec<u32>,
    /// For how many percent of each profile its device worked; the last one stays.
    pub busy: Vec<i64>,
    /// Ends a profile by itself after so many looks at its status; never if `None`.
    pub ends_after: Option<u32>,
    /// How far its clock is ahead.
    pub ahead: Nanos,
    /// It may not write where it is told to.
    pub is_read_only: bool,
    /// Its profiles show one long compilation.
    pub compiles: bool,
    /// Its disk is not the one that its path names here.
    pub disk: Option<PathBuf>,
    /// How many hosts it says that it has, if it does.
    pub hosts: Option<u32>,
    /// How it writes.
    pub writes: Writes,
    /// The path that it never answers, if any.
    pub hangs_on: &'static str,
}

/// What a server has written when it has answered that its profile was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// All of it.
    Whole,
    /// A file with nothing in it.
    Nothing,
    /// Chrome JSON, as PyTorch's profiler does.
    Json,
    /// A part, and the rest a little later.
    Growing,
    /// One host's file, and the other's a little later.
    HostByHost,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            has_status: true,
            running: vec![4],
            busy: vec![60],
            ends_after: None,
            ahead: Nanos::ZERO,
            is_read_only: false,
            compiles: false,
            disk: None,
            hosts: Some(1),
            writes: Writes::Whole,
            hangs_on: "",
        }
    }
}

/// What it was asked, and what it does.
#[derive(Debug, Default)]
struct State {
    /// The directory and start of the profile that is being taken.
    profile: Option<(String, Nanos)>,
    profiles: usize,
    looks: u32,
    asked: Vec<(String, Value)>,
}

#[derive(Debug)]
pub(crate) struct FakeServer {
    pub url: String,
    state: Arc<Mutex<State>>,
    /// Where a profile goes that xscope did not ask for.
    elsewhere: tempfile::TempDir,
}

impl FakeServer {
    pub(crate) fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        spawn(move || {
            for connection in listener.incoming() {
                let (kind, state) = (kind.clone(), Arc::clone(&shared));
                spawn(move || serve(&connection.unwrap(), &kind, &state));
            }
        });
        Self { url, state, elsewhere: tempfile::tempdir().unwrap() }
    }

    /// The bodies of all requests for a path.
    pub(crate) fn asked(&self, path: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let bodies = state.asked.iter().filter(|(asked, _)| asked == path);
        bodies.map(|(_, body)| body.clone()).collect()
    }

    pub(crate) fn is_profiling(&self) -> bool {
        self.state.lock().unwrap().profile.is_some()
    }

    /// Begins a profile that nobody of xscope's asked for.
    pub(crate) fn begin_profile(&self) {
        let directory = self.elsewhere.path().to_str().unwrap().to_owned();
        self.state.lock().unwrap().profile = Some((directory, clock::wall()));
    }
}

/// Threads live as long as the test's process: their connections end before.
fn spawn(work: impl FnOnce() + Send + 'static) {
    Builder::new().name("fake-server".to_owned()).spawn(work).unwrap();
}

fn serve(connection: &TcpStream, kind: &Kind, state: &Mutex<State>) {
    let mut reader = BufReader::new(connection);
    while let Some((path, body)) = read_request(&mut reader) {
        let is_relative = || !body["output_dir"].as_str().unwrap().starts_with('/');
        if path == kind.hangs_on || path == "/start_profile" && is_relative() {
            state.lock().unwrap().asked.push((path, body));
            // As sglang-jax: the scheduler looks for the directory for ever.
            loop {
                std::thread::park();
            }
        }
        let (status, answer) = {
            let mut state = state.lock().unwrap();
            state.asked.push((path.clone(), body.clone()));
            answer(&path, &body, kind, &mut state)
        };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", answer.len());
        let mut connection = connection;
        if connection.write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, Value)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|&bytes| bytes > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = first.split(' ').nth(1).unwrap().to_owned();
    Some((path, serde_json::from_slice(&body).unwrap_or_default()))
}

fn answer(path: &str, body: &Value, kind: &Kind, state: &mut State) -> (u16, String) {
    let bare_500 = (500, "Internal Server Error".to_owned());
    let now = clock::wall() + kind.ahead;
    match path {
        "/health" => (200, String::new()),
        "/get_server_info" => {
            let look = state.asked.iter().filter(|(asked, _)| asked == path).count();
            let running = kind.running.get(look - 1).or(kind.running.last()).copied();
            let states = running
                .map(|running| json!({ "running_batch_size": running, "waiting_queue_size": 0 }));
            let states: Vec<Value> = states.into_iter().collect();
            let mut info = json!({ "model_path": "fake", "internal_states": states });
            if let Some(hosts) = kind.hosts {
                info["nnodes"] = hosts.into();
            }
            (200, info.to_string())
        }
        "/start_profile" if state.profile.is_some() || kind.is_read_only => bare_500,
        "/start_profile" => {
            let directory = body["output_dir"].as_str().unwrap().to_owned();
            state.profile = Some((directory, now));
            state.looks = 0;
            (200, "Start profiling.\n".to_owned())
        }
        "/stop_profile" if state.profile.is_none() => bare_500,
        "/stop_profile" => {
            end_profile(kind, state, now);
            (200, "Stop profiling. This will take some time.\n".to_owned())
        }
        "/profile_status" if kind.has_status => {
            state.looks += 1;
            if kind.ends_after.is_some_and(|looks| state.looks > looks) && state.profile.is_some() {
                end_profile(kind, state, now);
            }
            let word = if state.profile.is_some() { "in_progress" } else { "idle" };
            (200, json!({ "status": word }).to_string())
        }
        _ => (404, json!({ "detail": "Not Found" }).to_string()),
    }
}

/// Writes the file of the profile that is being taken.
fn end_profile(kind: &Kind, state: &mut State, now: Nanos) {
    let Some((directory, began)) = state.profile.take() else { return };
    let directory = match &kind.disk {
        Some(disk) => disk.join(directory.trim_start_matches('/')),
        None => PathBuf::from(directory),
    };
    let session =
        directory.join("plugins/profile").join(format!("2026_11_25_{:02}", state.profiles));
    fs::create_dir_all(&session).unwrap();
    let busy = kind.busy.get(state.profiles).or(kind.busy.last()).copied().unwrap();
    let bytes = xplane((began, now), busy, kind);
    let file = session.join("fake.xplane.pb");
    match kind.writes {
        Writes::Whole => fs::write(file, bytes).unwrap(),
        Writes::Nothing => fs::write(file, []).unwrap(),
        Writes::Json => fs::write(directory.join("1764-TP-0.trace.json"), KINETO).unwrap(),
        Writes::Growing => {
            fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
            later(move || fs::write(file, bytes).unwrap());
        }
        Writes::HostByHost => {
            fs::write(file, &bytes).unwrap();
            later(move || fs::write(session.join("other.xplane.pb"), bytes).unwrap());
        }
    }
    state.profiles += 1;
}

/// What PyTorch's profiler writes of one kernel.
const KINETO: &str = r#"{"deviceProperties": [{"id": 0, "name": "NVIDIA H100"}], "traceEvents": [
    {"ph": "X", "cat": "kernel", "name": "gemm", "pid": 0, "tid": 7, "ts": 10, "dur": 90,
     "args": {"device": 0, "stream": 7}}]}"#;

/// Does something when the answer is on its way for long.
fn later(work: impl FnOnce() + Send + 'static) {
    spawn(move || {
        std::thread::sleep(Duration::from_millis(400));
        work();
    });
}

/// A profile in which one device ran an operation of so many percent of the time, or none.
fn xplane((began, ended): (Nanos, Nanos), busy: i64, kind: &Kind) -> Vec<u8> {
    let mut out = Vec::new();
    let mut environment = PlaneBuilder::new(1, TASK_ENVIRONMENT);
    for (name, time) in [(START_TIME, began), (STOP_TIME, ended)] {
        let id = environment.stat_id(name);
        environment.plane_stat(id, StatValue::U64(u64::try_from(time.0).unwrap()));
    }
    let mut device = PlaneBuilder::new(2, "/device:TPU:0");
    let id = device.event(EventMeta { name: "fusion.1", display_name: "fusion.1", stats: &[] });
    let line = device.line(1, "XLA Ops", Nanos::ZERO);
    if busy > 0 {
        let dur = Picos((ended - began).0 * 10 * busy);
        device.push(line, &Event { id, offset: Picos::ZERO, dur, stats: &[] });
    }
    if kind.compiles {
        let mut host = PlaneBuilder::new(3, "/host:CPU");
        let name = "backend_compile";
        let id = host.event(EventMeta { name, display_name: name, stats: &[] });
        let line = host.line(1, "python", Nanos::ZERO);
        let dur = Picos((ended - began).0 * 1000);
        host.push(line, &Event { id, offset: Picos::ZERO, dur, stats: &[] });
        host.encode_into(&mut out);
    }
    environment.encode_into(&mut out);
    device.encode_into(&mut out);
    out
}

/// What lies in a folder, at any depth, by name.
pub(crate) fn files_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_in(&entry.path())),
            false => found.push(entry.path().display().to_string()),
        }
    }
    found.sort();
    found
}
