//! The samples as a table in Markdown.

use std::fmt::Write as _;
use std::fs;
use std::thread;

use crate::contender::Contender;
use crate::input::Input;
use crate::process::Sample;

/// What was measured on.
pub(crate) fn machine() -> String {
    let facts = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = facts.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{} cores of {}, load {} at the start",
        thread::available_parallelism().map_or(1, usize::from),
        model.map_or("an unknown processor", |(_, name)| name),
        load.split(' ').next().unwrap_or("unknown"),
    )
}

/// The table of one input. Ratios to the floor are of the same round, and their median.
pub(crate) fn of(input: &Input, events: u64, samples: &[(&Contender, Vec<Sample>)]) -> String {
    let mb = as_f64(input.bytes) / 1e6;
    let mut out = format!("{}: {mb:.1} MB, {:.2} M events\n\n", input.name, as_f64(events) / 1e6);
    out.push_str(
        "| program | n | wall, ms (least to most) | x floor | CPU, ms | M events/s per core | \
         peak, MB | x file | bytes per event |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let floor = samples.iter().find(|(contender, _)| contender.is_floor());
    for (contender, own) in samples.iter().filter(|(_, own)| !own.is_empty()) {
        let walls: Vec<f64> = own.iter().map(|sample| millis(sample.wall)).collect();
        let ratios = floor.map_or(Vec::new(), |(_, floor)| {
            walls.iter().zip(floor).map(|(own, floor)| own / millis(floor.wall)).collect()
        });
        let cpu = median(own.iter().map(|sample| millis(sample.cpu)).collect());
        let peak = median(own.iter().map(|sample| as_f64(sample.peak_bytes)).collect());
        let (least, most) = walls.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), &wall| {
            (least.min(wall), most.max(wall))
        });
        let line = format!(
            "| {} | {} | {:.0} ({least:.0} to {most:.0}) | {:.1} | {cpu:.0} | {:.1} | {:.0} | \
             {:.2} | {:.0} |",
            contender.name(),
            own.len(),
            median(walls),
            median(ratios),
            as_f64(events) / 1e3 / cpu,
            peak / 1e6,
            peak / as_f64(input.bytes),
            peak / as_f64(events),
        );
        writeln!(out, "{line}").expect("writing to a string cannot fail");
    }
    out
}

fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes and counts are shown to three digits")]
fn as_f64(value: u64) -> f64 {
    value as f64
}
