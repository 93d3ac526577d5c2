//! What the client itself did to a measurement. Pure.

use xscope_trace::Metric;
use xscope_trace::Nanos;
use xscope_trace::results::{ClientAudit, Durations};
use xscope_trace::stats::as_f64;

use crate::record::{Sample, TrialSamples};

/// What the client did, over all trials.
pub(crate) fn audit(trials: &[TrialSamples]) -> ClientAudit {
    let samples = || trials.iter().flat_map(|trial| &trial.samples);
    let lags = samples().filter_map(|sample| Some(sample.sent? - sample.intended));
    let requested: Vec<f64> = trials.iter().filter_map(|trial| trial.requested_per_sec).collect();
    let wall: f64 = trials.iter().map(|trial| trial.wall.as_millis()).sum();
    let cpu = trials.iter().map(|trial| trial.cpu.map(Nanos::as_millis)).sum::<Option<f64>>();
    ClientAudit {
        schedule_lag: Durations::of(lags.collect()),
        requested_per_sec: match requested.is_empty() {
            true => None,
            false => Some(requested.iter().sum::<f64>() / as_f64(requested.len() as u64)),
        },
        delivered_per_sec: match per_sec(trials, |sample| sample.sent) {
            Some(rate) => Metric::valid(rate, "1/s"),
            None => Metric::unavailable("1/s", "fewer than two requests were sent"),
        },
        cpu_cores: match cpu {
            Some(cpu) if wall > 0.0 => Metric::valid(cpu / wall, "cores"),
            Some(_) => Metric::unavailable("cores", "the window has no length"),
            None => Metric::unavailable("cores", "the server is a part of the client's process"),
        },
        cores: trials.iter().map(|trial| trial.cores).max().unwrap_or(0),
        unsent: trials.iter().map(|trial| trial.unsent).sum(),
    }
}

/// The rate at which the requests that were sent were due.
pub(crate) fn due_per_sec(trials: &[TrialSamples]) -> Option<f64> {
    per_sec(trials, |sample| sample.sent.and(Some(sample.intended)))
}

/// How many of such moments there were in a second, between the first and the last of a trial.
fn per_sec(trials: &[TrialSamples], moment: fn(&Sample) -> Option<Nanos>) -> Option<f64> {
    let (mut gaps, mut secs) = (0, 0.0);
    for trial in trials {
        let moments = || trial.samples.iter().filter_map(moment);
        if let (Some(first), Some(last)) = (moments().min(), moments().max()) {
            gaps += moments().count() as u64 - 1;
            secs += (last - first).as_millis() / 1e3;
        }
    }
    (gaps > 0 && secs > 0.0).then(|| as_f64(gaps) / secs)
}
