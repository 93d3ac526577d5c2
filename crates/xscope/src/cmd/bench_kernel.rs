//! `xscope bench engine kernel`: single kernels on the engine's device, and the same through JAX.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use xscope_analysis::kernels::annotated::{Annotated, annotated};
use xscope_analysis::kernels::peaks::{GivenPeaks, Peaks, peaks};
use xscope_analysis::kernels::roofline::rate_kernel;
use xscope_model::bench::{Measured, RanBy, kernel_point, repeat};
use xscope_model::kernels::{Kernel, KernelShape, error_of, measure_peaks};
use xscope_trace::Metric;
use xscope_trace::results::{MeasuredPeaks, PointResult, WarmupReport};
use xscope_trace::run::replace_file;
use xscope_trace::stats::median;
use xscope_trace::{Nanos, Picos, clock};
use xscope_view::{kernels_csv, kernels_text};

use crate::cli::KernelArgs;
use crate::exit::Exit;
use crate::parts::in_process::{self, Session};

/// What runs in the user's Python.
const PROGRAM: &str = include_str!("../../../../python/xscope_kernels.py");

/// What annotations of calls begin with.
const PREFIX: &str = "xscope_kernel:";

/// Calls of each kernel in JAX, and how many of them make a trial.
const JAX_RUNS: usize = 80;
const JAX_TRIAL: usize = 8;
const JAX_WARMUP: usize = 10;

/// How far an answer may be off, relative to the largest value: some rounding in f32, and in
/// bfloat16 with its 8 bits.
const TOLERANCE: f64 = 1e-4;
const TOLERANCE_BF16: f64 = 4e-2;

pub(crate) fn run(args: &KernelArgs) -> Result<Exit> {
    let shapes = match args.kernels.concat() {
        named if named.is_empty() => KernelShape::usual(),
        named => named,
    };
    let device = format!("{:?}", args.device).to_lowercase();
    let config = in_process::config("kernel", "kernels", json!(shapes), args.inside.trials);
    let planned = shapes.len() * if args.jax { 2 } else { 1 };
    let mut session = Session::begin(&args.inside.report, config, &device, planned)?;
    session.say("measuring what the device can do");
    let (flops_per_sec, bytes_per_sec) = measure_peaks(args.device)?;
    let peaks = Peaks::new(flops_per_sec, bytes_per_sec, "measured");
    session.results().metadata.measured_peaks = Some(MeasuredPeaks {
        flops_per_sec: Metric::valid(flops_per_sec, "FLOP/s"),
        bytes_per_sec: Metric::valid(bytes_per_sec, "B/s"),
    });
    for &shape in &shapes {
        session.say(&shape.to_string());
        let kernel = Kernel::new(shape, args.device)?;
        let error = kernel.check()?;
        let measured = repeat(&in_process::repeat(&args.inside), || {
            let began = clock::monotonic();
            kernel.run()?;
            Ok(clock::monotonic() - began)
        })?;
        let ran = RanBy { by: "engine", device: &device, error, tolerance: TOLERANCE };
        session.add(point(shape, measured, &ran, Some(peaks)))?;
    }
    if args.jax {
        session.say("the same through JAX");
        let ran = run_jax(args, &shapes)?;
        for point in jax_points(args, &shapes, &ran, peaks)? {
            session.add(point)?;
        }
        session.results().metadata.jax_version = Some(ran.about.jax);
        session.results().metadata.platform = Some(ran.about.platform);
        session.results().metadata.devices.push(ran.about.device);
    }
    if let Some(path) = &args.csv {
        replace_file(path, kernels_csv(session.results()).as_bytes())?;
    }
    session.end(&args.inside.report, kernels_text)
}

/// A kernel's point with its rates beside the peaks.
fn point(
    shape: KernelShape,
    measured: Measured,
    ran: &RanBy<'_>,
    peaks: Option<Peaks>,
) -> PointResult {
    let mut point = kernel_point(shape, measured, ran);
    if let Some(kernel) = &mut point.kernel {
        rate_kernel(kernel, &point.latency.p50_ms, peaks);
    }
    point
}

/// What the program in JAX says of itself.
#[derive(Debug, Deserialize)]
struct About {
    jax: String,
    platform: String,
    device: String,
}

#[derive(Debug)]
struct RanJax {
    about: About,
    calls: Vec<Annotated>,
    peaks: Option<Peaks>,
    /// By kernel, in their order.
    answers: Vec<Vec<f32>>,
}

fn run_jax(args: &KernelArgs, shapes: &[KernelShape]) -> Result<RanJax> {
    let folder = tempfile::tempdir().context("cannot make a folder for JAX's profile")?;
    let kernels: Vec<Value> = shapes
        .iter()
        .map(|shape| {
            let mut kernel = json!(shape);
            kernel["name"] = json!(shape.to_string());
            kernel
        })
        .collect();
    let task = json!({
        "kernels": kernels,
        "folder": folder.path(),
        "runs": JAX_RUNS,
        "warmup": JAX_WARMUP,
        "dtype": args.jax_dtype,
        "prefix": PREFIX,
    });
    let about = ask_python(&args.python, &task)?;
    let about: About = serde_json::from_slice(&about)
        .with_context(|| format!("{} printed something else", args.python.display()))?;
    let trace = xscope_trace::read_paths(&[folder.path().join("trace")])?;
    let peaks =
        trace.devices.iter().find_map(|device| peaks(&trace, device, GivenPeaks::default()));
    let answer = |index: usize| -> Result<Vec<f32>> {
        let path = folder.path().join(format!("answers/{index}.f32"));
        let bytes = std::fs::read(&path).with_context(|| format!("no answer in {path:?}"))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    };
    Ok(RanJax {
        about,
        calls: annotated(&trace, PREFIX),
        peaks,
        answers: (0..shapes.len()).map(answer).collect::<Result<_>>()?,
    })
}

/// Runs the program with its task; what it printed.
fn ask_python(python: &Path, task: &Value) -> Result<Vec<u8>> {
    let mut child = Command::new(python)
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {} (--python)", python.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ended early says why by itself.
        drop(stdin.write_all(task.to_string().as_bytes()));
    }
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said)?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "the kernels in JAX ended with {status}; {} must have jax, and said above what \
             is wrong; --python PATH takes another",
            python.display()
        );
    }
    Ok(said)
}

fn jax_points(
    args: &KernelArgs,
    shapes: &[KernelShape],
    ran: &RanJax,
    measured: Peaks,
) -> Result<Vec<PointResult>> {
    let is_cpu = ran.about.platform == "cpu";
    let peaks = if is_cpu { Some(measured) } else { ran.peaks };
    let tolerance = if args.jax_dtype == "bfloat16" { TOLERANCE_BF16 } else { TOLERANCE };
    let device = format!("{} ({})", ran.about.device, args.jax_dtype);
    let one = |(shape, answer): (&KernelShape, &Vec<f32>)| {
        let name = shape.to_string();
        let calls: Vec<&Annotated> = ran.calls.iter().filter(|call| call.name == name).collect();
        ensure!(!calls.is_empty(), "JAX's profile has no call of {name}: was it cut?");
        ensure!(
            calls.iter().all(|call| call.device > Picos::ZERO),
            "JAX's profile has no device operation in a call of {name}: its device was not traced"
        );
        let error = error_of(shape, answer);
        let ran = RanBy { by: "jax", device: &device, error, tolerance };
        let mut point = point(*shape, of_calls(&calls), &ran, peaks);
        let host = calls.iter().map(|call| call.host.as_micros() / 1e3).collect();
        if let Some(kernel) = &mut point.kernel {
            kernel.host_ms = median(host).map(|ms| Metric::valid(ms, "ms"));
        }
        Ok(point)
    };
    shapes.iter().zip(&ran.answers).map(one).collect()
}

/// The device's times of the calls, in trials.
fn of_calls(calls: &[&Annotated]) -> Measured {
    let nanos = |call: &&Annotated| Nanos(call.device.0 / 1000);
    let trials = calls.chunks(JAX_TRIAL).map(|calls| calls.iter().map(nanos).collect());
    let warmup = WarmupReport {
        requests: JAX_WARMUP as u64,
        failed: 0,
        warm: None,
        evidence: vec![format!("{JAX_WARMUP} calls of each kernel before the profile")],
    };
    Measured::of_trials(trials.collect(), warmup)
}
