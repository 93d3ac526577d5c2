//! Figures that XProf and TraceLens publish of real traces.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use xscope_analysis::analyze;
use xscope_analysis::devices::timeline::TimelineRow;
use xscope_testing::traces;

use crate::real;

fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    let close = (found - expected).abs() <= tolerance * expected.abs().max(1e-3);
    assert!(close, "{what}: {found}, published {expected}");
}

/// XProf's table `file` as rows of columns by name.
fn xprof(file: &str) -> Option<Vec<BTreeMap<String, Value>>> {
    let text = fs::read_to_string(traces()?.join(file)).unwrap();
    let table: Value = serde_json::from_str(&text).unwrap();
    let name = |column: &Value| column["id"].as_str().unwrap().to_owned();
    let names: Vec<String> = table["cols"].as_array().unwrap().iter().map(name).collect();
    let rows = table["rows"].as_array().unwrap().iter();
    let cells = |row: &Value| {
        let cells = row["c"].as_array().unwrap().iter().map(|cell| cell["v"].clone());
        names.iter().cloned().zip(cells).collect()
    };
    Some(rows.map(cells).collect())
}

#[test]
fn tpu_operations_are_xprofs() {
    let Some(trace) = real("tpu_v6e/tpu_inference.xplane.pb") else { return };
    let report = analyze(&trace);
    for row in xprof("tpu_v6e/xprof_2.24.2/hlo_stats.json").unwrap() {
        let name = row["hlo_op_name"].as_str().unwrap();
        let ours: Vec<_> = report.kernels.iter().filter(|kernel| kernel.name == name).collect();
        let sum = |get: fn(&xscope_analysis::kernels::row::KernelRow) -> f64| {
            ours.iter().map(|kernel| get(kernel)).sum::<f64>()
        };
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let count = ours.iter().map(|kernel| kernel.count).sum::<u64>() as f64;
        assert_close(count, row["occurrences"].as_f64().unwrap(), 0.0, name);
        let own = row["total_self_time"].as_f64().unwrap();
        assert_close(sum(|kernel| kernel.self_us), own, 1e-9, name);
        assert_close(
            sum(|kernel| kernel.total_us),
            row["total_time"].as_f64().unwrap(),
            1e-9,
            name,
        );
    }
}

#[test]
fn gpu_kernels_are_xprofs() {
    for (trace_name, table) in [
        ("gpu_amd/jax_conv.xplane.pb", "gpu_amd/xprof_2.24.2_jax_conv/kernel_stats.json"),
        ("gpu_amd/jax_gemm.xplane.pb", "gpu_amd/xprof_2.24.2_jax_gemm/kernel_stats.json"),
    ] {
        let Some(trace) = real(trace_name) else { return };
        let report = analyze(&trace);
        let mut published: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for row in xprof(table).unwrap() {
            let sum = published.entry(row["kernel_name"].as_str().unwrap().to_owned()).or_default();
            sum.0 += row["occurrences"].as_f64().unwrap();
            sum.1 += row["total_duration_us"].as_f64().unwrap();
        }
        for (name, (count, total)) in published {
            let ours: Vec<_> = report.kernels.iter().filter(|kernel| kernel.name == name).collect();
            #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
            let found = ours.iter().map(|kernel| kernel.count).sum::<u64>() as f64;
            assert_close(found, count, 0.0, &name);
            assert_close(ours.iter().map(|kernel| kernel.total_us).sum(), total, 1e-6, &name);
        }
    }
}

/// TraceLens's timeline: milliseconds by name, by process id where it has one.
fn timeline(file: &str) -> BTreeMap<(String, String), f64> {
    let text = fs::read_to_string(traces().unwrap().join(file)).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    let row = |cells: Vec<&str>| {
        let process = cells.get(3).copied().unwrap_or("").to_owned();
        ((process, cells[0].to_owned()), cells[1].parse().unwrap())
    };
    rows.map(row).collect()
}

fn check_timeline(row: &TimelineRow, published: &BTreeMap<(String, String), f64>, process: &str) {
    let busy = row.window_us - row.idle_us;
    for (name, found) in [
        ("computation_time", row.computation_us),
        ("exposed_comm_time", row.exposed_communication_us),
        ("exposed_memcpy_time", row.exposed_copy_us),
        ("busy_time", busy),
        ("idle_time", row.idle_us),
        ("total_time", row.window_us),
        ("total_comm_time", row.communication_us),
        ("total_memcpy_time", row.copy_us),
    ] {
        let expected = published[&(process.to_owned(), name.to_owned())] * 1e3;
        // TraceLens counts in floats of microseconds since the epoch, which have 0.25 us left.
        let close = (found - expected).abs() <= 0.3f64.max(1e-4 * expected);
        assert!(close, "{}: {name}: {found}, published {expected}", row.device);
    }
}

#[test]
fn timelines_are_tracelenss() {
    for name in [
        "h100_bert",
        "h100_nsfw_image_detection",
        "h100_timesformer",
        "mi300_bert",
        "mi300_nsfw_image_detection",
        "mi300_timesformer",
    ] {
        let Some(trace) = real(&format!("kineto/{name}.json.gz")) else { return };
        let report = analyze(&trace);
        let published = timeline(&format!("kineto/{name}_expected/gpu_timeline.csv"));
        let [row] = report.timeline.as_slice() else { panic!("{name}: {:?}", report.timeline) };
        check_timeline(row, &published, "");
    }
}

#[test]
fn the_timeline_of_several_gpus_is_tracelenss() {
    let Some(trace) = real("gpu_amd/jax_conv.xplane.pb") else { return };
    let report = analyze(&trace);
    let published = timeline("gpu_amd/jax_conv_expected/gpu_timeline.csv");
    // TraceLens numbers the GPUs of the trace from 1.
    for (device, process) in [("GPU:0", "1"), ("GPU:7", "8")] {
        let row = report.timeline.iter().find(|row| row.device == device).unwrap();
        check_timeline(row, &published, process);
    }
}

#[test]
fn allocators_are_xprofs() {
    let Some(trace) = real("gpu_amd/jax_conv.xplane.pb") else { return };
    let file = traces().unwrap().join("gpu_amd/xprof_2.24.2_jax_conv/memory_profile.json");
    let published: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let published = published["memoryProfilePerAllocator"].as_object().unwrap();
    let report = analyze(&trace);
    assert_eq!(report.allocators.len(), published.len());
    for row in &report.allocators {
        let summary = &published[&row.name]["profileSummary"];
        let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
        assert_eq!(row.lifetime_peak_bytes.0, number(&summary["peakBytesUsageLifetime"]));
        assert_eq!(row.capacity_bytes.0, number(&summary["memoryCapacity"]));
        assert_eq!(row.peak_bytes.0, number(&summary["peakStats"]["heapAllocatedBytes"]));
        let fragmentation = summary["peakStats"]["fragmentation"].as_f64().unwrap();
        assert!((row.peak_fragmentation - fragmentation).abs() < 1e-6, "{}", row.name);
    }
}

/// The fields of a line of CSV, some of which are quoted.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().unwrap().push(c),
        }
    }
    fields
}

#[test]
fn kernels_are_tracelenss() {
    for name in [
        "h100_bert",
        "h100_nsfw_image_detection",
        "h100_timesformer",
        "mi300_bert",
        "mi300_nsfw_image_detection",
        "mi300_timesformer",
    ] {
        let Some(trace) = real(&format!("kineto/{name}.json.gz")) else { return };
        let file = format!("kineto/{name}_expected/kernel_summary.csv");
        let text = fs::read_to_string(traces().unwrap().join(file)).unwrap();
        let mut published: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        // TraceLens has a row for each operation of PyTorch that launched the kernel.
        for row in text.lines().skip(1).map(fields) {
            let sum = published.entry(row[2].clone()).or_default();
            sum.0 += row[4].parse::<f64>().unwrap();
            sum.1 += row[5].parse::<f64>().unwrap();
        }
        assert!(!published.is_empty(), "{name}");
        let kernels = analyze(&trace).kernels;
        for (kernel, (total, count)) in published {
            let ours: Vec<_> = kernels.iter().filter(|row| row.name == kernel).collect();
            #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
            let found = ours.iter().map(|row| row.count).sum::<u64>() as f64;
            assert_close(found, count, 0.0, &kernel);
            assert_close(ours.iter().map(|row| row.total_us).sum(), total, 1e-6, &kernel);
        }
    }
}

#[test]
fn tpu_busy_time_and_collectives_are_xprofs() {
    let Some(trace) = real("tpu_v6e/tpu_inference.xplane.pb") else { return };
    let report = analyze(&trace);
    let rows = xprof("tpu_v6e/xprof_2.24.2/hlo_stats.json").unwrap();
    let own: f64 = rows.iter().map(|row| row["total_self_time"].as_f64().unwrap()).sum();
    assert_close(report.kernels.iter().map(|kernel| kernel.self_us).sum(), own, 1e-9, "self time");
    let file = traces().unwrap().join("tpu_v6e/xprof_2.24.2/overview_page.json");
    let overview = fs::read_to_string(file).unwrap();
    assert!(overview.contains(r#""device_idle_time_percent":"13.4%""#));
    let sum = |get: fn(&xscope_analysis::devices::DeviceRow) -> f64| {
        report.devices.iter().map(get).sum::<f64>()
    };
    let idle = 100.0 * sum(|device| device.idle_us) / sum(|device| device.window_us);
    assert!((idle - 13.4).abs() < 0.05, "{idle}");
    let published = rows.iter().find(|row| row["hlo_op_name"] == "all-reduce").unwrap();
    let [row] = &report.collectives[..] else { panic!("{:?}", report.collectives) };
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let count = (row.count * row.devices) as f64;
    assert_close(count, published["occurrences"].as_f64().unwrap(), 0.0, "all-reduce");
    // Waiting needs the clock that the chips share, on which the operation is 0.004 % longer.
    let total = published["total_time"].as_f64().unwrap();
    assert_close(row.total_us, total, 5e-5, "all-reduce");
}
