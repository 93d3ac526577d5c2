//! Collectives with known answers: who waited, how long, and for whom.

use xscope_analysis::devices::collectives::CollectiveRow;
use xscope_analysis::devices::collectives::waiting::WaitFrom;
use xscope_analysis::{AnalyzeReport, analyze};
use xscope_trace::Picos;
use xscope_trace::metric::Status;
use xscope_trace::quality::Code;
use xscope_trace::read::{read_bytes, read_paths};
use xscope_trace::trim::clip;
use xscope_trace::write::{Joins, Target, to_stream};

use crate::{case, real};

/// Who came last how often, of all collectives, and how long others waited for it, in milliseconds.
fn late(report: &AnalyzeReport) -> Vec<(&str, u64, f64)> {
    let mut all: Vec<(&str, u64, f64)> = Vec::new();
    for row in report.collectives.iter().flat_map(|row| &row.late) {
        match all.iter_mut().find(|(device, ..)| *device == row.device) {
            Some((_, count, us)) => (*count, *us) = (*count + row.count, *us + row.caused_us),
            None => all.push((&row.device, row.count, row.caused_us)),
        }
    }
    all.sort_by(|a, b| a.0.cmp(b.0));
    all.into_iter().map(|(device, count, us)| (device, count, us.round() / 1e3)).collect()
}

/// Waiting and moving of all collectives, in milliseconds.
fn times(report: &AnalyzeReport) -> (f64, f64) {
    let sum = |us: fn(&CollectiveRow) -> Option<f64>| {
        report.collectives.iter().filter_map(us).sum::<f64>().round() / 1e3
    };
    (sum(|row| row.wait_us.value), sum(|row| row.transfer_us.value))
}

#[test]
fn groups_are_read_in_each_of_the_four_ways_that_hlo_writes_them() {
    for field in [49, 87, 92, 93] {
        let Some(trace) = case(&format!("fleet/groups/field{field}.xplane.pb")) else { return };
        let report = analyze(&trace);
        let [row] = report.collectives.as_slice() else { panic!("{:?}", report.collectives) };
        assert_eq!(times(&report), (6.0, 4.0), "{field}");
        assert_eq!((row.wait_us.status, row.group_size), (Status::Valid, 2), "{field}");
        assert_eq!(late(&report), [("TPU:1", 10, 3.0), ("TPU:3", 10, 3.0)], "{field}");
    }
}

/// The groups of a line of HLO text, member by member.
fn groups_in_text(line: &str) -> Option<Vec<Vec<u32>>> {
    let numbers = |text: &str| -> Vec<u32> {
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|it| it.parse().ok()).collect()
    };
    let rule = line.split("replica_groups=").nth(1)?;
    // Dimensions, their order and the size of groups, of the meshes and rules that are in these files.
    let (dims, order, size) = if let Some(rule) = rule.strip_prefix('[') {
        let (shape, rest) = rule.split_once("]<=[")?;
        let (dims, rest) = rest.split_once(']')?;
        let order = rest.strip_prefix("T(").map(|rest| numbers(rest.split(')').next().unwrap()));
        (numbers(dims), order, numbers(shape)[1])
    } else {
        let (mesh, axis) = rule.strip_prefix("mesh[")?.split_once("{'axis_")?;
        let sizes = mesh.split(']').next()?.split(',').map(|axis| numbers(axis)[1]);
        let (sizes, axis) = (sizes.collect::<Vec<_>>(), numbers(axis)[0]);
        // Devices in another order are laid out by two rules.
        let devices = mesh.contains("device_ids=([2,4]T(1,0))");
        let place = |at: u32| if devices { at % 2 * 4 + at / 2 } else { at };
        let stride: u32 = sizes[axis as usize + 1..].iter().product();
        let (size, all) = (sizes[axis as usize], sizes.iter().product::<u32>());
        let first = (0..all).filter(|at| (at / stride).is_multiple_of(size));
        let members = |first| (0..size).map(|at| place(first + at * stride)).collect();
        return Some(first.map(members).collect());
    };
    let all: u32 = dims.iter().product();
    let place = |at: u32| match order.as_deref() {
        None => at,
        // The second dimension is the first that changes.
        Some([1, 0]) => at % dims[0] * dims[1] + at / dims[0],
        Some(other) => panic!("{other:?}"),
    };
    let all: Vec<u32> = (0..all).map(place).collect();
    Some(all.chunks(size as usize).map(<[u32]>::to_vec).collect())
}

#[test]
fn groups_are_those_of_the_compilers_text_member_by_member() {
    for (name, least) in [("fsdp2_tp4_train", 63), ("tp8_forward", 13)] {
        let Some(trace) = real(&format!("jax_cpu/{name}")) else { return };
        let text = xscope_testing::trace(&format!("jax_cpu/{name}.optimized_hlo.txt")).unwrap();
        let text = std::fs::read_to_string(text).unwrap();
        let mut checked = 0;
        for line in text.lines() {
            let Some(groups) = groups_in_text(line) else { continue };
            let called = line.trim_start().trim_start_matches("ROOT ").trim_start_matches('%');
            let called = trace.strings.find(called.split(' ').next().unwrap()).unwrap();
            let found = trace.programs.iter().filter_map(|program| program.instruction(called));
            let found: Vec<_> = found.filter(|it| !it.groups.is_empty()).collect();
            assert!(!found.is_empty(), "{line}");
            let mut expected = groups.clone();
            expected.sort();
            for instruction in found {
                let mut groups = instruction.groups.clone();
                groups.sort();
                assert_eq!(groups, expected, "{line}");
            }
            checked += 1;
        }
        assert!(checked >= least, "{name}: {checked}");
    }
}

#[test]
fn chips_that_wait_in_a_barrier_say_who_came_last() {
    let Some(trace) = real("tpu_v6e/tpu_inference.xplane.pb") else { return };
    let report = analyze(&trace);
    let [row] = report.collectives.as_slice() else { panic!("{:?}", report.collectives) };
    assert_eq!((row.wait_from, row.wait_us.status), (WaitFrom::Barrier, Status::Valid));
    assert_eq!(times(&report), (464.914, 1460.406));
    // TPU:0 in the first execution, TPU:2 in the others.
    assert_eq!(late(&report), [("TPU:0", 1, 379.409), ("TPU:2", 2, 85.505)]);
}

#[test]
fn ranks_in_files_of_their_own_wait_for_each_other() {
    for (name, expected, last) in [
        ("mh", (0.8, 1.4), vec![("TPU:1", 4, 0.8)]),
        ("ranks", (0.9, 0.2), vec![("gpu:1", 1, 0.9)]),
        (
            "fleet/pgroup",
            (8.0, 4.0),
            vec![("gpu:0 of p-TP-0-DP-1", 10, 5.0), ("gpu:0 of p-TP-1-DP-0", 10, 3.0)],
        ),
    ] {
        let Some(trace) = case(name) else { return };
        let report = analyze(&trace);
        assert_eq!((times(&report), late(&report)), (expected, last), "{name}");
    }
}

#[test]
fn nccl_is_mostly_waiting_and_without_all_ranks_nobody_is_late() {
    let Some(trace) = real("ranks_dlrm") else { return };
    let report = analyze(&trace);
    let (wait, moving) = times(&report);
    // Published: 46.84 of 48.54 ms; ends of the ranks agree within 7 us.
    assert!((wait - 46.84).abs() < 0.05 && (wait + moving - 48.54).abs() < 0.01, "{wait} {moving}");
    let counts: Vec<_> = late(&report).iter().map(|&(device, count, _)| (device, count)).collect();
    assert_eq!(counts, [("gpu:4", 1), ("gpu:5", 2), ("gpu:7", 5)]);

    let some = (0..4).filter_map(|rank| {
        xscope_testing::trace(&format!("ranks_dlrm/rank{rank}.pt.trace.json.gz"))
    });
    let report = analyze(&read_paths(&some.collect::<Vec<_>>()).unwrap());
    assert!(late(&report).is_empty(), "{:?}", report.collectives);
    for row in &report.collectives {
        assert_eq!((row.wait_us.value, row.incomplete), (None, row.count), "{row:?}");
    }
}

#[test]
fn a_chip_in_a_barrier_waits_for_its_peers_and_is_not_without_work() {
    let Some(trace) = real("tpu_v6e/tpu_inference.xplane.pb") else { return };
    let report = analyze(&trace);
    // Its second and third barrier; the first is before its first operation.
    let idle = report.idle.iter().find(|row| row.device == "TPU:0").unwrap();
    let peer = idle.causes.iter().find(|row| row.cause == "peer").unwrap();
    assert!((peer.us - 24_607.0).abs() < 300.0, "{idle:?}");

    let Some(mut trace) = real("tpu_v6e/tpu_inference.xplane.pb") else { return };
    let ms = |ms: i64| Picos(ms * 1_000_000_000);
    clip(&mut trace, ms(7155), ms(7165));
    let said =
        analyze(&trace).quality.into_iter().find(|it| it.code == Code::DeviceMissing).unwrap();
    assert!(said.message.contains("chips were in a barrier"), "{}", said.message);
}

#[test]
fn ranks_that_are_missing_or_there_twice_are_said() {
    let rank =
        |rank: u32| xscope_testing::trace(&format!("ranks_dlrm/rank{rank}.pt.trace.json.gz"));
    let Some(first) = rank(0) else { return };
    let said = |files: &[std::path::PathBuf]| -> Vec<String> {
        let findings = analyze(&read_paths(files).unwrap()).quality.into_iter();
        let ranks = findings.filter(|it| it.code.to_string().starts_with("ranks."));
        ranks.map(|it| format!("{}: {}", it.code, it.message)).collect()
    };
    assert_eq!(said(std::slice::from_ref(&first)), [""; 0], "one file alone is what is looked at");
    let some: Vec<_> = [0, 1, 3].into_iter().filter_map(rank).collect();
    let expected = "ranks.missing: 3 of 8 ranks are here, without 2, 4, 5, 6, 7: in what these take part \
                    in nobody is called late";
    assert_eq!(said(&some), [expected]);
    let all: Vec<_> = (0..8).filter_map(rank).collect();
    assert_eq!(said(&all), [""; 0]);
    let twice = [all, vec![first]].concat();
    assert!(said(&twice)[0].starts_with("ranks.duplicate: "), "{:?}", said(&twice));
}

/// What is said of collectives, without names of devices: how often, on how many devices, waiting.
fn gist(report: &AnalyzeReport) -> Vec<(u64, u64, Option<f64>)> {
    let rows = report.collectives.iter();
    rows.map(|row| (row.count, row.devices, row.wait_us.value)).collect()
}

#[test]
fn ranks_that_are_merged_into_one_file_stay_apart() {
    for (name, parts) in [("fleet/rfc_names", 4), ("fleet/pgroup", 4)] {
        let Some(trace) = case(name) else { return };
        let mut merged = Vec::new();
        to_stream(&trace, &Joins::by_id(&trace), Target::Chrome, &mut merged).unwrap();
        let merged = read_bytes("merged.trace.json", merged).unwrap();
        let merged = analyze(&merged);
        assert_eq!(merged.devices.len(), parts, "{:?}", merged.devices);
        assert_eq!(gist(&merged), gist(&analyze(&trace)), "{name}");
    }
}
