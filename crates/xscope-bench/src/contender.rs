//! The programs that are measured.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::BenchArgs;
use crate::input::Input;
use crate::process::{self, Sample};

/// A program, or one way of using it.
#[derive(Debug)]
pub(crate) enum Contender {
    /// A bare pass over the bytes.
    Pass(PathBuf),
    Md5,
    /// `xscope analyze --json` with what the figures of devices need.
    OpStats(PathBuf),
    /// `xscope analyze --json` with everything.
    Analyze(PathBuf),
    /// `xscope analyze`, for a reader.
    FirstPage(PathBuf),
    /// Everything loaded, nothing computed.
    Load(PathBuf),
    XprofRs(PathBuf),
    Xprof(PathBuf),
}

/// What XProf is asked for, as a program.
const XPROF_PROGRAM: &str = "
import sys
from xprof.convert import raw_to_tool_data
data, _ = raw_to_tool_data.xspace_to_tool_data([sys.argv[1]], 'framework_op_stats', {})
sys.stdout.buffer.write(data if isinstance(data, bytes) else data.encode())
";

/// What is looked at of a report. The rest is skipped, not kept: a program that is started has the
/// memory of this one until it is loaded.
#[derive(Debug, Deserialize)]
struct Report {
    events: u64,
}

/// All programs that are here; says of the others why not.
pub(crate) fn all(args: &BenchArgs) -> Result<Vec<Contender>> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    let beside = own.with_file_name("xscope");
    let xscope = args.xscope.clone().unwrap_or(beside);
    let mut all = vec![Contender::Pass(own.clone()), Contender::Md5];
    if xscope.exists() {
        all.extend([
            Contender::OpStats(xscope.clone()),
            Contender::Analyze(xscope.clone()),
            Contender::FirstPage(xscope),
        ]);
    } else {
        eprintln!("skipped xscope analyze: {} is not there; build it", xscope.display());
    }
    all.push(Contender::Load(own));
    match &args.xprof_rs {
        Some(path) => all.push(Contender::XprofRs(path.clone())),
        None => eprintln!("skipped xprof-rs: --xprof-rs does not say where it is"),
    }
    match &args.xprof_python {
        Some(path) => all.push(Contender::Xprof(path.clone())),
        None => eprintln!("skipped xprof: --xprof-python does not say where it is"),
    }
    Ok(all)
}

impl Contender {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Pass(_) => "read and add up bytes",
            Self::Md5 => "md5sum",
            Self::OpStats(_) => "xscope: device figures",
            Self::Analyze(_) => "xscope: everything",
            Self::FirstPage(_) => "xscope: first page",
            Self::Load(_) => "xscope: load only",
            Self::XprofRs(_) => "xprof-rs: op stats",
            Self::Xprof(_) => "XProf: op stats",
        }
    }

    /// Whether it is what the others are compared with.
    pub(crate) fn is_floor(&self) -> bool {
        matches!(self, Self::Pass(_))
    }

    /// Runs it once; returns its answer, too.
    pub(crate) fn run(&self, input: &Input, folder: &Path) -> Result<(Sample, Vec<u8>)> {
        let file = input.file.as_os_str();
        let command = |path: &Path, words: &[&str]| {
            let mut command = Command::new(path);
            command.args(words).arg(file);
            command
        };
        match self {
            Self::Pass(path) => process::run(&mut command(path, &["pass"])),
            Self::Md5 => process::run(&mut command(Path::new("md5sum"), &[])),
            Self::OpStats(path) => {
                process::run(&mut command(path, &["analyze", "--json", "--memory-limit", "0"]))
            }
            Self::Analyze(path) => process::run(&mut command(path, &["analyze", "--json"])),
            Self::FirstPage(path) => process::run(&mut command(path, &["analyze"])),
            Self::Load(path) => process::run(&mut command(path, &["read"])),
            Self::XprofRs(path) => process::ask(
                |port| {
                    let mut command = Command::new(path);
                    command.args(["--port", &port.to_string(), "--logdir"]).arg(&input.logs);
                    command
                },
                "/data/plugin/profile/data?run=run&tag=framework_op_stats&host=host",
            ),
            Self::Xprof(python) => {
                remove_caches(input)?;
                let program = folder.join("convert.py");
                fs::write(&program, XPROF_PROGRAM)?;
                process::run(Command::new(python).arg(program).arg(file))
            }
        }
    }

    /// Runs it once to see that it answers, and rightly: those that count events agree.
    pub(crate) fn check(
        &self,
        input: &Input,
        folder: &Path,
        events: &mut Option<u64>,
    ) -> Result<Sample> {
        let (sample, answer) = self.run(input, folder)?;
        let counted = match self {
            Self::Pass(_) | Self::Md5 => return Ok(sample),
            Self::Load(_) => str::from_utf8(&answer)?.trim().parse()?,
            Self::OpStats(_) | Self::Analyze(_) => {
                serde_json::from_slice::<Report>(&answer)?.events
            }
            Self::FirstPage(_) => {
                let page = str::from_utf8(&answer)?;
                let before = page.split_once(" events in ").map(|(before, _)| before);
                let number = before.and_then(|before| before.rsplit(' ').next());
                number.context("its page does not say how many events there are")?.parse()?
            }
            Self::XprofRs(_) | Self::Xprof(_) => {
                serde_json::from_slice::<IgnoredAny>(&answer)
                    .context("it answers with no table")?;
                ensure!(answer.len() > 100, "its table is empty");
                return Ok(sample);
            }
        };
        match *events.get_or_insert(counted) {
            known if known == counted => Ok(sample),
            known => bail!("it counts {counted} events, others {known}"),
        }
    }
}

/// Removes what XProf keeps beside a file to answer faster the next time.
fn remove_caches(input: &Input) -> Result<()> {
    let Some(session) = input.file.parent() else { return Ok(()) };
    for entry in fs::read_dir(session)? {
        let path = entry?.path();
        if path != input.file && path.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
