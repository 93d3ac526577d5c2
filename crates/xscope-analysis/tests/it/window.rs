//! Time windows: the parts add up to the whole.

use std::collections::BTreeMap;

use proptest::prelude::{prop_assert_eq, proptest};
use xscope_analysis::AnalyzeReport;
use xscope_analysis::reports::analyze::{Options, analyze_with};
use xscope_trace::model::TrackKind;
use xscope_trace::trim::clip;
use xscope_trace::{Picos, Trace};

use crate::build::{Row, device, made, program, track, us};
use crate::real;

/// The report on the part of a trace between two times.
fn part(mut trace: Trace, from: Picos, to: Picos) -> AnalyzeReport {
    let window = Some(clip(&mut trace, from, to));
    analyze_with(&trace, &Options { window, ..Options::default() })
}

/// Total and self time by device and name.
type Kernels = BTreeMap<(String, String), (i64, i64)>;

/// Busy time of all devices, and the times of kernels.
fn sums(reports: &[AnalyzeReport]) -> (i64, Kernels) {
    let busy = reports.iter().flat_map(|report| &report.devices).map(|device| device.busy.0).sum();
    let mut kernels = Kernels::new();
    for row in reports.iter().flat_map(|report| &report.kernels) {
        let sum = kernels.entry((row.device.clone(), row.name.clone())).or_default();
        *sum = (sum.0 + row.total.0, sum.1 + row.self_time.0);
    }
    kernels.retain(|_, sum| *sum != (0, 0));
    (busy, kernels)
}

const EVER: (Picos, Picos) = (Picos(i64::MIN), Picos(i64::MAX));

proptest! {
    #[test]
    fn splitting_and_adding_equals_the_whole(
        blocks in proptest::collection::vec((0_i64..20, 1_i64..30, 0_i64..10, 0_i64..10), 0..8),
        second in proptest::collection::vec((0_i64..150, 0_i64..40), 0..8),
        at in -5_i64..250,
    ) {
        // One line of nested operations, and another stream beside it.
        let mut rows: Vec<(Row<'_>, i64)> = Vec::new();
        let mut time = 0;
        for (gap, dur, offset, inner) in blocks {
            let start = time + gap;
            rows.push((("outer", start, dur), 1));
            let child = start + offset.min(dur);
            let inner = inner.min(start + dur - child);
            rows.push((("inner", child, inner), 1));
            rows.push((("innermost", child, inner / 2), 1));
            time = start + dur;
        }
        let mut other: Vec<(i64, i64)> = second;
        other.sort_unstable();
        let mut end = 0;
        let other: Vec<(Row<'_>, i64)> = other.into_iter().map(|(start, dur)| {
            let start = start.max(end);
            end = start + dur;
            (("other", start, dur), 2)
        }).collect();
        let make = || {
            let mut trace = Trace::default();
            let gpu = device(&mut trace, "gpu:0");
            track(&mut trace, TrackKind::Ops, Some(gpu), None, &rows);
            track(&mut trace, TrackKind::Ops, Some(gpu), None, &other);
            trace
        };
        let at = Picos(us(at).0 + 333_333);
        let parts = [part(make(), EVER.0, at), part(make(), at, EVER.1)];
        prop_assert_eq!(sums(&parts), sums(&[part(make(), EVER.0, EVER.1)]));
    }
}

#[test]
fn parts_of_real_traces_add_up() {
    for name in ["jax_cpu/tp8_forward", "tpu_v6e/tpu_inference.xplane.pb"] {
        let Some(trace) = real(name) else { return };
        let (start, end) = trace.extent().unwrap();
        let whole = sums(&[analyze_with(&trace, &Options::default())]);
        let at = Picos(start.0 / 3 + end.0 / 3 * 2);
        let again = || real(name).unwrap();
        let parts = sums(&[part(again(), start, at), part(again(), at, EVER.1)]);
        assert_eq!(parts.0, whole.0, "{name}: busy time");
        for (kernel, (total, own)) in &whole.1 {
            let found = parts.1.get(kernel).copied().unwrap_or_default();
            assert_eq!(found.0, *total, "{name}: total of {kernel:?}");
            let off = (found.1 - own).abs();
            assert!(off <= own / 100 + 1000, "{name}: self time of {kernel:?}: {found:?}, {own}");
        }
    }
}

#[test]
fn iterations_keep_their_numbers() {
    use crate::build::Made;
    let make = || {
        let mut trace = Trace::default();
        let cpu = device(&mut trace, "cpu:0");
        let rows = [
            Made { members: Some(1..3), trips: Some(3), ..made("while", "while", "", 0) },
            made("dot.1", "dot", "jit(f)/layers/while/body/attention/dot_general", 10),
            made("dot.2", "dot", "jit(f)/layers/while/body/mlp/dot_general", 10),
        ];
        let id = program(&mut trace, &rows, 0..1);
        let ops: Vec<_> = (0..3)
            .flat_map(|layer| [(("dot.1", 20 * layer, 10), 1), (("dot.2", 20 * layer + 10, 10), 1)])
            .collect();
        track(&mut trace, TrackKind::Ops, Some(cpu), Some(id), &ops);
        trace
    };
    let names = |report: &AnalyzeReport| -> Vec<String> {
        let mut names = Vec::new();
        let mut open = vec![&report.layers.root];
        while let Some(node) = open.pop() {
            names.push(node.name.clone());
            open.extend(&node.children);
        }
        names.retain(|name| name.starts_with("layer_"));
        names.sort();
        names
    };
    assert_eq!(names(&part(make(), EVER.0, EVER.1)), ["layer_0", "layer_1", "layer_2"]);
    assert_eq!(names(&part(make(), us(45), EVER.1)), ["layer_2"]);
    assert_eq!(names(&part(make(), us(0), us(25))), ["layer_0", "layer_1"]);
}
