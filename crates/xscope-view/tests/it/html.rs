//! Pages of what lies beside a profile.

use std::path::Path;

use serde_json::json;
use xscope_analysis::{RunFacts, profile};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::results::Results;
use xscope_trace::{Trace, read_paths};
use xscope_view::html::{Side, report_html};

/// The page of a benchmark without a profile.
fn page(results: &serde_json::Value) -> String {
    let results: Results = serde_json::from_value(results.clone()).unwrap();
    let report = profile(&Trace::default(), &RunFacts::default());
    report_html(Side { results: Some(results), ..Side::of_profile(report) })
}

#[test]
fn a_benchmark_shows_its_points_and_targets_and_what_must_not_be_used() {
    let text = page(&json!({
        "results": [
            {"point": "b1_l2", "p50_ms": 12.5, "n": 100, "verdict": {"status": "valid", "causes": []}},
            {"point": "b8_l2<b>", "p50_ms": 99.0, "verdict": {"status": "invalid", "causes": [
                {"cause": "overloaded", "detail": "requests waited longer and longer"}]}},
        ],
        "checks": [
            {"name": "single item p50", "point": "b1_l2", "metric": "p50_ms", "value": 12.5,
             "target": "< 20 ms", "alert": "> 50 ms", "outcome": "met"},
            {"name": "batch 8", "point": "b8_l2", "metric": "throughput_items_per_sec",
             "value": {"value": null, "unit": "items/s", "status": "unavailable", "reason": "invalid"},
             "target": "> 200", "alert": "< 100", "outcome": "unknown"},
        ],
    }));
    let first_screen = text.split("id=\"benchmark\"").next().unwrap();
    for expected in
        ["1 of 2 points are invalid", "✓ met", "not measured", "&lt; 20 ms", "single item p50"]
    {
        assert!(first_screen.contains(expected), "{expected} is not on the first screen");
    }
    for expected in ["12.50", "INVALID", "overloaded: requests waited longer", "b8_l2&lt;b&gt;"] {
        assert!(text.contains(expected), "{expected} is not on the page");
    }
    assert!(!text.contains("b8_l2<b>"));
}

#[test]
fn what_a_page_cuts_off_is_counted() {
    let cause = json!({"cause": "overloaded", "detail": "slow"});
    let points: Vec<_> = (0..203)
        .map(|n| json!({"point": format!("b{n}"), "verdict": {"status": "valid", "causes": [cause]}}))
        .collect();
    let text = page(&json!({ "results": points }));
    assert!(
        text.contains("And 3 more points with something to say of them; results.json has all.")
    );

    let finding = |n| Finding::new(Code::RunFailed, format!("flaw {n}"));
    let trace = Trace { findings: (0..9).map(finding).collect(), ..Trace::default() };
    let text = report_html(Side::of_profile(profile(&trace, &RunFacts::default())));
    let first_screen = text.split("id=\"quality\"").next().unwrap();
    assert!(first_screen.contains("And 3 more findings"), "{first_screen}");
}

#[test]
fn without_a_benchmark_there_is_no_page_of_one() {
    let text = report_html(Side::of_profile(profile(&Trace::default(), &RunFacts::default())));
    assert!(!text.contains("id=\"benchmark\""));
}

#[test]
fn the_first_sentence_has_only_figures_that_are_known() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xscope-trace/tests/fixtures/run");
    let report = profile(&read_paths(&[fixture]).unwrap(), &RunFacts::default());
    assert_eq!(report.latency.p99_ms.value, None, "it has too few requests");
    let text = report_html(Side::of_profile(report));
    let sentence = text.split("A request takes ").nth(1).unwrap().split(").").next();
    assert_eq!(sentence, Some("47.2 ms at the median (3 measured, 0 failed"));
}

#[test]
fn the_page_of_kernels_shows_what_devices_note_within_them() {
    let Some(cases) = xscope_testing::cases() else { return };
    let trace = read_paths(&[cases.join("tpu_counters.xplane.pb")]).unwrap();
    let text = report_html(Side::of_profile(profile(&trace, &RunFacts::default())));
    for expected in ["Stages within kernels", "ep_wait_in", "Units of the device", "MXU", ">dma<"] {
        assert!(text.contains(expected), "{expected} is not on the page");
    }
}
