//! `xscope capture`: profiles servers that run already, reads the run back, and reports.

use std::path::{Component, Path};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use xscope_analysis::from_disk;
use xscope_analysis::quality::no_work;
use xscope_analysis::reports::analyze::analyze;
use xscope_analysis::reports::capture_report::{CaptureReport, SCHEMA};
use xscope_analysis::section::Section;
use xscope_capture::{
    CaptureRequest, CaptureServer, Control, LoadRequest, OwnLoad, ProfilerOptions, ServerDir,
    StartWhen, TracerLevels, copy_commands,
};
use xscope_trace::quality::Code;
use xscope_trace::run::{ProfilerState, RunDir, RunStatus, ServerRecord};
use xscope_trace::{Picos, Trace};
use xscope_view::{Style, analyze_text, section_text};

use crate::cli::{CaptureArgs, RecordedArgs, WatchOverArgs};
use crate::exit::Exit;
use crate::output;
use crate::parts::asked::load_request;
use crate::parts::job;

/// Where sglang-jax listens if it is not told otherwise.
const DEFAULT_URL: &str = "http://localhost:30000";

/// How long a server that runs may take to say so.
const READY_SECS: u64 = 5;

pub(crate) fn run(args: CaptureArgs) -> Result<Exit> {
    if args.stop {
        return job::runtime("xscope-load")?.block_on(stop(&servers(&args)));
    }
    let (stages, json) = (by_stage(&args.recorded), args.output.json);
    if let Some(path) = &args.collect {
        let mut warn = |text: String| output::warn(&text);
        let collected = xscope_capture::collect(path, &mut warn);
        let run = job::runtime("xscope-load")?.block_on(collected)?;
        return report(&run, &stages, json);
    }
    let mut progress = job::progress(&args.progress);
    for ignored in ignored(&args.recorded) {
        progress.warn(&ignored);
    }
    let request = request(args)?;
    let done = job::run(progress, async |control: Control<'_>| {
        xscope_capture::capture(request, control).await
    });
    report(&done?.made, &stages, json)
}

/// The watchdog: see `xscope_capture::watch_over`.
pub(crate) fn watch_over(args: &WatchOverArgs) -> Result<Exit> {
    job::runtime("xscope-watch")?.block_on(xscope_capture::watch_over(&args.urls, args.group));
    Ok(Exit::Fine)
}

fn request(args: CaptureArgs) -> Result<CaptureRequest> {
    let recorded = &args.recorded;
    let levels = TracerLevels::new(
        recorded.host_tracer_level,
        recorded.python_tracer_level,
        recorded.device_tracer_level,
    )?;
    let wait = duration("--wait-load", args.extent.wait_load)?;
    let output_dir = match &args.profile_name {
        None => args.run.output_dir.clone(),
        Some(name) if name.components().all(|it| matches!(it, Component::Normal(_))) => {
            args.run.output_dir.join(name)
        }
        Some(name) => bail!("--profile-name is {}: it must be a name", name.display()),
    };
    Ok(CaptureRequest {
        run: job::run_request(&output_dir, READY_SECS),
        servers: servers(&args),
        profiler: ProfilerOptions {
            levels,
            num_steps: (args.extent.num_steps > 0).then_some(args.extent.num_steps),
            profile_id: recorded.profile_id.clone(),
            activities: recorded.activities(),
        },
        limit: match duration("--duration", args.extent.duration)? {
            Duration::ZERO => bail!("--duration is 0: a profile needs some time"),
            limit => limit,
        },
        remote_dir: args.remote_dir.as_deref().map(ServerDir::new).transpose()?,
        judge: no_work,
        start: match args.load {
            Some(url) => {
                let LoadRequest { matrix, send, warm_up, .. } =
                    load_request(args.workload, "capture")?;
                let url = (!url.is_empty()).then_some(url);
                StartWhen::OwnLoad(Box::new(OwnLoad { url, matrix, send, warm_up }))
            }
            None if wait.is_zero() => StartWhen::Now,
            None => StartWhen::Busy { in_flight: args.extent.min_in_flight, limit: wait },
        },
    })
}

fn servers(args: &CaptureArgs) -> Vec<CaptureServer> {
    let of = |role, urls: &[String]| -> Vec<CaptureServer> {
        urls.iter().map(|url| CaptureServer { role, url: url.clone() }).collect()
    };
    let lists =
        [of("", &args.url), of("prefill", &args.prefill_url), of("decode", &args.decode_url)];
    match lists.concat() {
        none if none.is_empty() => of("", &[DEFAULT_URL.to_owned()]),
        servers => servers,
    }
}

fn duration(option: &str, time: Picos) -> Result<Duration> {
    let nanos = u64::try_from(time.0 / 1000);
    Ok(Duration::from_nanos(nanos.with_context(|| format!("{option} must not be negative"))?))
}

/// What of the options only some servers heed.
fn ignored(recorded: &RecordedArgs) -> Vec<String> {
    let given = [
        ("--device-tracer-level", recorded.device_tracer_level.is_some()),
        ("--profile-id", recorded.profile_id.is_some()),
        ("--activities, --cpu, --gpu, --mem, --rpd", !recorded.activities().is_empty()),
    ];
    let given = given.into_iter().filter(|(_, is_given)| *is_given);
    given
        .map(|(option, _)| {
            format!(
                "{option}: sent as it is, but sglang-jax ignores it and records what the tracer \
                 levels say"
            )
        })
        .collect()
}

/// The stages to show apart; none if that is not wanted.
fn by_stage(recorded: &RecordedArgs) -> Vec<String> {
    match recorded.profile_by_stage {
        true => recorded.profile_stages.clone(),
        false => Vec::new(),
    }
}

async fn stop(servers: &[CaptureServer]) -> Result<Exit> {
    for CaptureServer { url, .. } in servers {
        match xscope_capture::stop_profiler(url).await? {
            true => output::progress(&format!("{url}: stopped; its files are where it was told")),
            false => output::progress(&format!("{url}: no profile was being taken")),
        }
    }
    Ok(Exit::Fine)
}

fn report(run: &RunDir, wanted: &[String], json: bool) -> Result<Exit> {
    let servers = &run.manifest.servers;
    let away = |server: &&ServerRecord| server.profiler == ProfilerState::Elsewhere;
    let collect: Vec<Vec<String>> =
        servers.iter().filter(away).map(|server| copy_commands(run, server)).collect();
    let is_here = servers.iter().any(|server| server.profiler == ProfilerState::Collected);
    let trace = match is_here {
        true => Some(from_disk::read_what_is_left(&[run.path().to_owned()])?),
        false => None,
    };
    let complete = run.manifest.status == RunStatus::Complete;
    let is_useless = trace.as_ref().is_some_and(is_useless);
    let analysis = trace.as_ref().map(analyze);
    if json {
        let run_dir = run.path().display().to_string();
        output::json(&CaptureReport {
            schema: SCHEMA,
            run_dir,
            complete,
            servers,
            collect,
            analysis,
        })?;
    } else {
        if let Some(mut analysis) = analysis {
            output::page(&analyze_text(&analysis))?;
            if !wanted.is_empty() {
                let steps = &mut analysis.steps;
                steps.groups.retain(|group| wanted.iter().any(|stage| stage == group.stage));
                steps.steps.clear();
                output::page(&section_text(&analysis, Section::Steps, Style::Terminal))?;
            }
        }
        output::text(&how_to_collect(run, &collect))?;
    }
    Ok(match (complete, is_useless) {
        (false, _) => Exit::Interrupted,
        (true, true) => Exit::Target,
        (true, false) => Exit::Fine,
    })
}

/// Whether no device did anything in a capture, or nothing of it can be read.
fn is_useless(trace: &Trace) -> bool {
    let is_unread = trace.findings.iter().any(|finding| finding.code == Code::RunUnreadable);
    is_unread || no_work(trace).is_some_and(|finding| finding.code == Code::DeviceMissing)
}

/// What is left to do for servers with other disks.
fn how_to_collect(run: &RunDir, collect: &[Vec<String>]) -> String {
    if collect.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "Profiles on the servers' own disks. Copy each here, by one of these that fits:\n",
    );
    for command in collect.iter().flatten() {
        out += &format!("  {command}\n");
    }
    out += &format!("then: xscope capture --collect {}\n", quoted(run.path()));
    out
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    match text.contains(|c: char| c.is_whitespace() || c == '\'') {
        true => format!("'{}'", text.replace('\'', r"'\''")),
        false => text,
    }
}
