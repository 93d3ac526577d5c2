//! Measures how xscope reads profiles, side by side with a bare pass over the same bytes and with
//! other programs: `cargo run --release -p xscope-bench -- FILE...` (see `docs/performance.md`).
//!
//! `xscope-bench load` measures the load generator beside oha and wrk.
//!
//! Whole processes are measured, from their start to their end (servers: to the last byte of their
//! answer), with the file in the page cache. Programs take turns within a round, so that what
//! disturbs the machine disturbs them all; every answer is checked before it is timed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark speaks to a terminal")]

mod contender;
mod input;
mod load;
mod process;
mod table;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use contender::Contender;
use process::Sample;

#[derive(Debug, Parser)]
#[command(about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    bench: BenchArgs,
}

/// What else there is, and what the benchmark starts of itself, to measure it as a process.
#[derive(Debug, Subcommand)]
enum Part {
    /// Measure the load generator beside others
    Load(load::LoadArgs),
    /// Serve short answers and nothing else
    Echo,
    /// Send requests with xscope's generator
    Send(load::SendArgs),
    /// Read a file into columns and say how many events it has
    Read { file: PathBuf },
    /// Read a file and add up its bytes
    Pass { file: PathBuf },
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// XPlane files, or such packed with xz; folders are searched for files of 10 MB and more
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The xscope binary; the one beside this program if not given
    #[arg(long, value_name = "FILE")]
    xscope: Option<PathBuf>,
    /// A Python in whose environment the `xprof` package is installed
    #[arg(long, value_name = "FILE")]
    xprof_python: Option<PathBuf>,
    /// The server of the `xprof-rs` package
    #[arg(long, value_name = "FILE")]
    xprof_rs: Option<PathBuf>,
    /// How often each program runs
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How often slow rivals (more than two seconds) run
    #[arg(long, default_value_t = 1)]
    slow_rounds: usize,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.part {
        Some(Part::Load(args)) => load::bench(&args)?,
        Some(Part::Echo) => load::serve()?,
        Some(Part::Send(args)) => load::send(&args)?,
        Some(Part::Read { file }) => {
            println!("{}", xscope_trace::read_paths(&[file])?.slice_count());
        }
        Some(Part::Pass { file }) => println!("{}", pass(&file)?),
        None => bench(&cli.bench)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The floor under any reader: every byte is read and used once.
fn pass(file: &Path) -> Result<u64> {
    let mut file = File::open(file)?;
    let mut buffer = vec![0; 1 << 18];
    let mut sum = 0_u64;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum),
            len => sum += buffer[..len].iter().map(|&byte| u64::from(byte)).sum::<u64>(),
        }
    }
}

fn bench(args: &BenchArgs) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder for unpacked files")?;
    let inputs = input::find(&args.paths, folder.path())?;
    let contenders = contender::all(args)?;
    println!("{}", table::machine());
    for input in &inputs {
        let mut samples: Vec<(&Contender, Vec<Sample>)> = Vec::new();
        let mut events = None;
        for contender in &contenders {
            match contender.check(input, folder.path(), &mut events) {
                Ok(sample) => samples.push((contender, vec![sample])),
                Err(error) => eprintln!("skipped {}: {error:#}", contender.name()),
            }
        }
        // What the check took was the first contact with the file: it is not in the figures.
        for round in 0..args.rounds {
            for (contender, samples) in &mut samples {
                let is_slow = samples[0].wall.as_secs() >= 2;
                if !is_slow || round < args.slow_rounds {
                    samples.push(contender.run(input, folder.path())?.0);
                }
            }
        }
        for (_, samples) in &mut samples {
            samples.remove(0);
        }
        println!("\n{}", table::of(input, events.unwrap_or(0), &samples));
    }
    Ok(())
}
