//! Clocks of files, measured by what their devices did together, against known answers.

use std::collections::BTreeMap;

use xscope_analysis::clocks::measure;
use xscope_analysis::devices::collectives::waiting::WaitFrom;
use xscope_analysis::devices::collectives::{CollectiveRow, LateRow};
use xscope_analysis::{AnalyzeReport, analyze};
use xscope_trace::model::{
    Clock, ClockVerdict, DeviceId, DeviceKind, EventMeta, MeasuredClock, MetaId, Rank, SourceId,
    TrackId, TrackKind,
};
use xscope_trace::quality::Code;
use xscope_trace::read::move_source;
use xscope_trace::stats::Random;
use xscope_trace::{Nanos, Picos, Trace};

use crate::build::{device, track};
use crate::real;

const MS: i64 = 1_000_000_000;

#[expect(clippy::cast_precision_loss, reason = "times of minutes")]
fn float(picos: i64) -> f64 {
    picos as f64
}

#[expect(clippy::cast_possible_truncation, reason = "times of hours")]
fn whole(picos: f64) -> i64 {
    picos as i64
}

/// What is known of made hosts.
struct Truth {
    /// What each host's clock is ahead at the start, in picoseconds, and what it gains, in millionths.
    ahead: Vec<i64>,
    ppm: Vec<f64>,
    /// Who came last in each step.
    late: Vec<usize>,
    /// How long hosts waited for each other in all.
    wait: i64,
}

/// Hosts with a chip each, which compute and then reduce together, step by step, as often as each other. Clocks are
/// ahead by up to `apart`, and gain up to `ppm` millionths.
fn hosts(count: usize, steps: usize, apart: i64, ppm: f64, seed: u64) -> (Trace, Truth) {
    let mut random = Random::new(seed);
    let mut within = |most: i64| whole(random.unit() * float(most));
    let mut trace = Trace::default();
    let mut truth = Truth { ahead: Vec::new(), ppm: Vec::new(), late: Vec::new(), wait: 0 };
    for host in 0..count {
        truth.ahead.push(if host == 0 { 0 } else { within(2 * apart) - apart });
        let drift = float(within(2_000_000)) / 1e6 - 1.0;
        truth.ppm.push(if host == 0 { 0.0 } else { ppm * drift });
        let id = device(&mut trace, "/device:TPU:0");
        if host > 0 {
            trace.sources.push(trace.sources[SourceId(0)].clone());
        }
        let source = SourceId(u32::try_from(host).unwrap());
        trace.devices[id].source = source;
        (trace.devices[id].ordinal, trace.devices[id].kind) = (0, DeviceKind::Tpu);
        trace.devices[id].label = trace.strings.intern(&format!("TPU:0 of host{host}"));
        let global = Some(u32::try_from(host).unwrap());
        let world = Some(u32::try_from(count).unwrap());
        trace.sources[source].rank = Some(Rank { global, world, axes: Vec::new() });
        trace.sources[source].path = format!("host{host}.xplane.pb");
        trace.sources[source].clock.unix_epoch = Some(Nanos(1));
        track(&mut trace, TrackKind::Ops, Some(id), None, &[]);
        trace.tracks.iter_mut().last().unwrap().source = source;
    }
    let name = trace.strings.intern("all-reduce.1");
    trace.metas.push(EventMeta { name, ..EventMeta::default() });
    let meta = MetaId(u32::try_from(trace.metas.len() - 1).unwrap());
    let mut at = 5 * MS;
    for step in 0..steps {
        let late = usize::try_from(within(i64::try_from(count).unwrap())).unwrap();
        truth.late.push(late);
        let mut arrivals: Vec<i64> = (0..count).map(|_| at + 4 * MS + within(MS / 10)).collect();
        arrivals[late] += 3 * MS / 2;
        let last = *arrivals.iter().max().unwrap();
        truth.wait += arrivals.iter().map(|arrival| last - arrival).sum::<i64>();
        for (host, arrival) in arrivals.into_iter().enumerate() {
            let clock =
                |time: i64| time + truth.ahead[host] + whole(float(time) * truth.ppm[host] / 1e6);
            let end = last + MS / 5 + within(1_500_000);
            let slices = &mut trace.tracks[TrackId(u32::try_from(host).unwrap())].slices;
            slices.start.push(Picos(clock(arrival)));
            slices.dur.push(Picos(clock(end) - clock(arrival)));
            slices.meta.push(meta);
            slices.run.push(i64::try_from(step).unwrap());
        }
        at = last + MS / 2;
    }
    (trace, truth)
}

fn measured(trace: &Trace, source: u32) -> MeasuredClock {
    trace.sources[SourceId(source)].clock.measured.unwrap()
}

/// How often each device came last.
fn late(report: &AnalyzeReport) -> Vec<(String, u64)> {
    let rows = report.collectives.iter().flat_map(|row| &row.late);
    let mut late: Vec<_> = rows.map(|row| (row.device.clone(), row.count)).collect();
    late.sort();
    late
}

fn has(trace: &Trace, code: Code) -> bool {
    trace.findings.iter().any(|finding| finding.code == code)
}

#[test]
fn made_hosts_get_their_clocks_back_and_the_right_ones_are_late() {
    for (count, apart, ppm) in
        [(8, 0, 0.0), (8, 5 * MS, 20.0), (64, 2 * MS, 20.0), (2, 2000 * MS, 0.0)]
    {
        for seed in 0..4 {
            let (mut trace, truth) = hosts(count, 20, apart, ppm, seed);
            measure(&mut trace);
            for host in 1..count {
                let found = measured(&trace, u32::try_from(host).unwrap());
                // In the middle of what was measured, 60 ms or so after the start.
                let gained = whole(float(65 * MS) * truth.ppm[host] / 1e6);
                let off = (found.ahead.0 - truth.ahead[host] - gained).abs();
                let error =
                    trace.sources[SourceId(u32::try_from(host).unwrap())].clock.error.unwrap();
                assert!(off < 3_000_000, "{count} {seed} {host}: {off}");
                assert!(off <= error.0 + 500_000, "{count} {seed} {host}: {off} {error:?}");
                let (least, most) = found.certain;
                assert!(least.0 <= truth.ahead[host] + 2_000_000, "{found:?}");
                assert!(truth.ahead[host] - 2_000_000 <= most.0, "{found:?}");
            }
            let is_wrong = truth.ahead.iter().any(|ahead| ahead.abs() > MS / 2);
            assert_eq!(has(&trace, Code::ClockCorrected), is_wrong || apart > 0, "{count} {seed}");
            let report = analyze(&trace);
            let [row] = report.collectives.as_slice() else { panic!("{:?}", report.collectives) };
            let off = row.wait_us.value.unwrap() - Picos(truth.wait).as_micros();
            assert!(off.abs() < 1e-3 * Picos(truth.wait).as_micros(), "{count} {seed}: {off}");
            let mut expected: Vec<(String, u64)> = Vec::new();
            for &late in &truth.late {
                let name = trace.device_label(DeviceId(u32::try_from(late).unwrap())).to_owned();
                match expected.iter_mut().find(|(it, _)| *it == name) {
                    Some((_, count)) => *count += 1,
                    None => expected.push((name, 1)),
                }
            }
            expected.sort();
            let mut found: Vec<(String, u64)> = Vec::new();
            for (name, count) in late(&report) {
                match found.iter_mut().find(|(it, _)| *it == name) {
                    Some((_, sum)) => *sum += count,
                    None => found.push((name, count)),
                }
            }
            assert_eq!(found, expected, "{count} {seed}");
        }
    }
}

/// Moves one source and looks whether that is found: 200 times, by up to 5 ms, 2 s and an hour.
fn moved_is_found(trace: Option<Trace>, sources: u32) {
    let Some(mut trace) = trace else { return };
    let starts: Vec<Vec<Picos>> = trace.tracks.iter().map(|it| it.slices.start.clone()).collect();
    let clocks: Vec<Clock> = trace.sources.iter().map(|it| it.clock).collect();
    measure(&mut trace);
    assert!(!has(&trace, Code::ClockCorrected), "the clocks of one machine agree");
    let (mut within, mut random) = (0, Random::new(11));
    for run in 0..200 {
        for (track, starts) in trace.tracks.iter_mut().zip(&starts) {
            track.slices.start.clone_from(starts);
        }
        for (source, clock) in trace.sources.iter_mut().zip(&clocks) {
            source.clock = *clock;
        }
        let most = [5 * MS, 2000 * MS, 3_600_000 * MS][run % 3];
        let ahead = whole((2.0 * random.unit() - 1.0) * float(most));
        let source = 1 + random.below(sources - 1);
        move_source(&mut trace, SourceId(source), Picos(-ahead), None);
        measure(&mut trace);
        let found = measured(&trace, source);
        let (least, most) = found.certain;
        assert!(least.0 <= ahead && ahead <= most.0, "{run}: {ahead} {found:?}");
        let error = trace.sources[SourceId(source)].clock.error.unwrap();
        within += u32::from((found.ahead.0 - ahead).abs() <= error.0);
        if ahead.abs() > MS {
            assert_eq!(found.verdict, ClockVerdict::Corrected, "{run}: {ahead} {found:?}");
        }
    }
    assert!(within >= 198, "{within}");
}

#[test]
fn a_clock_that_was_set_wrong_is_found_on_two_hosts_of_cpus() {
    moved_is_found(real("jax_cpu/multihost2x4"), 2);
}

#[test]
fn a_clock_that_was_set_wrong_is_found_among_eight_ranks() {
    moved_is_found(real("ranks_dlrm"), 8);
}

#[test]
fn with_measured_clocks_arrivals_say_who_was_late() {
    let Some(mut trace) = real("ranks_dlrm") else { return };
    measure(&mut trace);
    let report = analyze(&trace);
    let sum = |us: fn(&CollectiveRow) -> Option<f64>| {
        report.collectives.iter().filter_map(us).sum::<f64>() / 1e3
    };
    // Published: 46.84 of 48.54 ms, and 7, 7, 7, 7, 7, 5, 5, 4 were late.
    assert!((sum(|row| row.wait_us.value) - 46.84).abs() < 0.02, "{:?}", report.collectives);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (device, count) in late(&report) {
        *counts.entry(device).or_default() += count;
    }
    let expected = [("gpu:4", 1), ("gpu:5", 2), ("gpu:7", 5)];
    assert_eq!(counts, expected.map(|(device, count)| (device.to_owned(), count)).into());
    assert!(report.collectives.iter().all(|row| row.wait_from == WaitFrom::Arrivals));

    let Some(mut trace) = real("jax_cpu/multihost2x4") else { return };
    measure(&mut trace);
    let report = analyze(&trace);
    let row = report.collectives.iter().find(|row| row.name == "all-reduce.8").unwrap();
    assert!((row.wait_us.value.unwrap() - 126_600.0).abs() < 200.0, "{row:?}");
    // Host 0 in 16 of 20 executions of a pair.
    let of_host_0 = |row: &&LateRow| row.device.len() == "cpu:0".len();
    let host_0: u64 = row.late.iter().filter(of_host_0).map(|row| row.count).sum();
    assert_eq!(host_0 + row.undecided, 16, "{row:?}");
}

#[test]
fn what_contradicts_itself_is_said_and_never_averaged() {
    let (mut trace, _) = hosts(3, 20, 0, 0.0, 5);
    // On one host every second step ends before the others came to it.
    let last = trace.tracks.iter_mut().last().unwrap();
    for start in last.slices.start.iter_mut().step_by(2) {
        *start = Picos(start.0 - 3 * MS);
    }
    let before = last.slices.start.clone();
    measure(&mut trace);
    assert!(has(&trace, Code::ClockContradiction));
    assert_eq!(trace.tracks.iter().last().unwrap().slices.start, before, "left as it is");
    let clock = &trace.sources[SourceId(2)].clock;
    assert_eq!((clock.error, measured(&trace, 2).verdict), (None, ClockVerdict::Contradiction));
}

#[test]
fn a_session_that_began_later_is_matched_by_how_ends_differ() {
    let (mut trace, truth) = hosts(4, 20, 5 * MS, 0.0, 9);
    let slices = &mut trace.tracks.iter_mut().last().unwrap().slices;
    for _ in 0..3 {
        slices.start.remove(0);
        slices.dur.remove(0);
        slices.meta.remove(0);
        slices.run.remove(0);
    }
    measure(&mut trace);
    let found = measured(&trace, 3);
    assert!((found.ahead.0 - truth.ahead[3]).abs() < 3_000_000, "{found:?} {:?}", truth.ahead);
    assert_eq!(found.matched, 17);
}
