//! A comparison as text and Markdown.

pub(crate) mod junit;
pub(crate) mod slack;

use xscope_analysis::compare::CompareReport;
use xscope_analysis::compare::place::{KernelPlace, PlaceKind, Places};
use xscope_analysis::compare::verdict::{ComparedRow, Gate, SampleUnit, Verdict};
use xscope_trace::metric::Status;
use xscope_trace::results::Better;

use crate::colour::{Text, Tone};
use crate::findings::quality_text;
use crate::grid::{Cell, Column, Grid, Style, row};
use crate::sections::cut::titled;
use crate::text::{duration, shorten};

/// How many differences of the environment are shown.
const SHOWN: usize = 12;

/// How many runs of a side are named.
const RUNS: usize = 3;

/// The report on one page.
pub fn compare_text(report: &CompareReport, style: Style) -> Text {
    let mut out = Text::default();
    out.line(headline(report, style));
    if report.points.len() > 1 {
        out.line(points(report));
        if style == Style::Markdown {
            out.line("");
        }
    }
    for (name, side) in [("A", &report.a), ("B", &report.b)] {
        let commit = match side.commit.is_empty() {
            true => String::new(),
            false => format!(" (commit {})", shorten(&side.commit, 12)),
        };
        let mut runs = side.runs.iter().take(RUNS).cloned().collect::<Vec<_>>().join(", ");
        if side.runs.len() > RUNS {
            runs += &format!(" and {} more", side.runs.len() - RUNS);
        }
        out.line(format!("{name}: {runs}{commit} on {}", side.machine));
        if style == Style::Markdown {
            out.line("");
        }
    }
    grids(report).iter().for_each(|grid| out += grid.render(style));
    if let Some(places) = &report.places {
        out.line(format!("\n{}", places_sentence(places)));
    }
    notes(report, &mut out);
    out += quality_text(&report.findings);
    out
}

/// The tables of a comparison.
pub(crate) fn grids(report: &CompareReport) -> Vec<Grid> {
    let mut grids = vec![rows(report), left_out(report), why(report)];
    if let Some(places) = &report.places {
        grids.extend([stages(places), layers(places), kernels(places), recompiled(places)]);
    }
    grids
}

/// What verdicts are called, of a figure and of a point whose first one in this order it is.
const VERDICTS: [(&str, &str); 6] = [
    ("slower", "SLOWER"),
    ("more memory", "MORE MEMORY"),
    ("faster", "FASTER"),
    ("less memory", "LESS MEMORY"),
    // Of a point of which one figure cannot be told it is not known whether it is the same.
    ("cannot tell", "cannot tell"),
    ("no difference", "SAME"),
];

/// One of [`VERDICTS`]: memory is not slower, it is more.
fn verdict_name(row: &ComparedRow) -> &'static str {
    match (row.verdict, row.metric.ends_with("_mb")) {
        (Verdict::Slower, false) => "slower",
        (Verdict::Slower, true) => "more memory",
        (Verdict::Faster, false) => "faster",
        (Verdict::Faster, true) => "less memory",
        (Verdict::NoDifference, _) => "no difference",
        (Verdict::CannotTell, _) => "cannot tell",
    }
}

/// The points by verdict.
fn points(report: &CompareReport) -> String {
    let of = |point: &str| {
        let names = report.rows.iter().filter(|row| row.point == point).map(verdict_name);
        let names: Vec<&str> = names.collect();
        VERDICTS.iter().find(|(name, _)| names.contains(name)).map(|(_, whole)| *whole)
    };
    let lines = VERDICTS.iter().filter_map(|(_, whole)| {
        let with = report.points.iter().filter(|row| of(&row.point) == Some(*whole));
        let names: Vec<&str> = with.map(|row| row.point.as_str()).collect();
        (!names.is_empty()).then(|| format!("{whole}: {}", names.join(", ")))
    });
    lines.collect::<Vec<_>>().join("; ")
}

pub(crate) fn headline(report: &CompareReport, style: Style) -> Text {
    let counts = VERDICTS.iter().filter_map(|(name, _)| {
        let count = report.rows.iter().filter(|row| verdict_name(row) == *name).count();
        (count > 0).then(|| format!("{count} {name}"))
    });
    let counts: Vec<String> = counts.collect();
    let counts = if counts.is_empty() { "no figures".to_owned() } else { counts.join(", ") };
    let (tone, gate, means) = gate_words(report.gate);
    let mut lacking: Vec<&str> = report
        .left_out
        .iter()
        .filter(|left| left.is_lacking())
        .map(|it| it.point.as_str())
        .collect();
    lacking.dedup();
    let means = match report.gate == Gate::Undecided && !lacking.is_empty() {
        true => format!("B lacks figures that A has, of {}", shorten(&lacking.join(", "), 80)),
        false => means.to_owned(),
    };
    let means = format!(", {means}: {counts}");
    match style {
        Style::Terminal => [tone.of(gate), means.into()].into_iter().collect(),
        Style::Markdown => format!("## xscope compare\n\n**{gate}{means}**\n").into(),
    }
}

/// What a gate is called, and what that means.
fn gate_words(gate: Gate) -> (Tone, &'static str, &'static str) {
    match gate {
        Gate::Pass => (Tone::Good, "PASS", "nothing is worse than its rule allows"),
        Gate::Warn => (Tone::Doubtful, "WARN", "worse than a rule allows"),
        Gate::Undecided => {
            (Tone::Doubtful, "UNDECIDED", "this could not have shown what a rule forbids")
        }
        Gate::Invalid => (Tone::Bad, "INVALID", "some figures must not be used"),
        Gate::Fail => (Tone::Bad, "FAIL", "worse than a rule allows"),
    }
}

fn rows(report: &CompareReport) -> Grid {
    let cells = |row: &ComparedRow| {
        let degraded = if row.change_percent.status == Status::Valid { "" } else { "?" };
        row![
            shorten(&row.point, 32),
            row.metric.clone(),
            figure(row.a.value, &row.a.unit),
            figure(row.b.value, &row.b.unit),
            format!("{}{degraded}", signed(row.change_percent.value.unwrap_or_default())),
            format!("{} .. {}", signed(row.low_percent), signed(row.high_percent)),
            match row.detectable_percent > MOST_PERCENT {
                true => format!("over {MOST_PERCENT:.0} %"),
                false => format!("{:.1} %", row.detectable_percent),
            },
            format!("{}/{}", row.samples_a, row.samples_b),
            match row.gate {
                Gate::Fail => Cell::of(Tone::Bad, verdict_text(row)),
                Gate::Warn => Cell::of(Tone::Doubtful, verdict_text(row)),
                _ => verdict_text(row).into(),
            },
        ]
    };
    Grid::new(
        "Figures",
        [
            Column::Text("point"),
            Column::Text("figure"),
            Column::Number("A"),
            Column::Number("B"),
            Column::Number("change"),
            Column::Number("interval"),
            Column::Number("detectable"),
            Column::Number("n"),
            Column::Text("verdict"),
        ],
        report.rows.iter().map(cells),
    )
}

pub(super) fn figure(value: Option<f64>, unit: &str) -> String {
    match value {
        Some(value) if value >= 1000.0 => format!("{value:.0} {unit}"),
        Some(value) => format!("{value:.3} {unit}"),
        None => "-".to_owned(),
    }
}

/// From here on a change is no more than noise or another thing altogether.
const MOST_PERCENT: f64 = 10_000.0;

pub(super) fn signed(percent: f64) -> String {
    match percent > MOST_PERCENT {
        true => format!("over +{MOST_PERCENT:.0} %"),
        false => format!("{percent:+.1} %"),
    }
}

/// The verdict in words, with what the gate makes of it.
pub(super) fn verdict_text(row: &ComparedRow) -> String {
    let verdict = match (row.verdict, row.samples_needed) {
        (Verdict::NoDifference, _) => {
            format!("no difference larger than {:.1} %", row.no_larger_than_percent)
        }
        (Verdict::CannotTell, Some(needed)) => {
            format!("cannot tell (would take about {needed} a side)")
        }
        _ => verdict_name(row).to_owned(),
    };
    match row.gate {
        Gate::Fail => format!("{verdict}: FAIL, {}", allowed(row)),
        Gate::Warn => format!("{verdict}: warn, {}", allowed(row)),
        _ => verdict,
    }
}

fn allowed(row: &ComparedRow) -> String {
    let sign = match row.better {
        Better::Higher => '-',
        Better::Lower => '+',
    };
    format!("{sign}{:.0} % allowed", row.allowed_percent)
}

fn left_out(report: &CompareReport) -> Grid {
    let rows = report.left_out.iter().map(|left| {
        row![
            left.point.clone(),
            left.metric.clone().unwrap_or_else(|| "all".to_owned()),
            left.side.to_uppercase(),
            shorten(&left.run, 48),
            format!("{}{}", if left.invalid { "INVALID: " } else { "" }, shorten(&left.why, 160)),
        ]
    });
    Grid::new(
        "Not compared",
        [
            Column::Text("point"),
            Column::Text("figure"),
            Column::Text("side"),
            Column::Text("run"),
            Column::Text("why"),
        ],
        rows,
    )
}

fn why(report: &CompareReport) -> Grid {
    let value = |text: &str| if text.is_empty() { "-".to_owned() } else { shorten(text, 48) };
    let rows = report.why.iter().take(SHOWN).map(|difference| {
        row![
            difference.group.name().to_owned(),
            shorten(&difference.what, 48),
            value(&difference.a),
            value(&difference.b),
        ]
    });
    Grid::new(
        titled("What else differs, the likeliest cause first", SHOWN, report.why.len()),
        [Column::Text("kind"), Column::Text("what"), Column::Text("A"), Column::Text("B")],
        rows,
    )
}

/// How many places of a kind are shown.
const PLACES: usize = 8;
/// A smaller change is one of rounding.
const LEAST_US: f64 = 1e-3;

fn places_sentence(places: &Places) -> String {
    let where_not = "Traces say where, not whether";
    if places.kernels.is_empty() {
        return format!("{where_not}; device work is not in those of both sides.");
    }
    format!(
        "{where_not}: device time per {} {} to {}.",
        places.per,
        duration(places.device_us_a),
        duration(places.device_us_b),
    )
}

/// A change in microseconds, with its sign.
fn change(us: f64) -> String {
    format!("{}{}", if us < 0.0 { "" } else { "+" }, duration(us))
}

/// Columns of a table of places, whose first ones are text.
fn place_columns(names: &[&'static str]) -> Vec<Column> {
    let texts = names.iter().map(|name| Column::Text(name));
    texts.chain(["A", "B", "change"].map(Column::Number)).collect()
}

fn stages(places: &Places) -> Grid {
    let rows = places.stages.iter().filter(|stage| (1e3 * stage.change_ms).abs() >= LEAST_US);
    let rows = rows.map(|stage| {
        let [a, b] = [stage.a_ms, stage.b_ms].map(|ms| duration(1e3 * ms));
        row![stage.stage.clone(), a, b, change(1e3 * stage.change_ms)]
    });
    first_places("Where: stages of a request (mean)", &["stage"], rows)
}

fn layers(places: &Places) -> Grid {
    let rows = places.layers.iter().filter(|layer| layer.change_us.abs() >= LEAST_US);
    let rows = rows.map(|layer| {
        let [a, b] = [layer.a_us, layer.b_us].map(duration);
        row![shorten(&layer.scope, 60), a, b, change(layer.change_us)]
    });
    first_places("Where: layers (device time of a unit)", &["scope"], rows)
}

fn kernels(places: &Places) -> Grid {
    let rows = places.kernels.iter().filter(|kernel| kernel.kind != PlaceKind::Same);
    let rows = rows.map(|kernel| {
        let [a, b] = [kernel.a_us, kernel.b_us].map(duration);
        row![
            shorten(&kernel.scope, 48),
            shorten(&kernel.opcode, 32),
            kind_text(kernel),
            a,
            b,
            change(kernel.change_us),
        ]
    });
    let title = "Where: kernels by scope and opcode (device time of a unit)";
    first_places(title, &["scope", "opcode", "what"], rows)
}

/// The first of some places; the title says how many there are.
fn first_places(
    title: &str,
    names: &[&'static str],
    rows: impl Iterator<Item = Vec<Cell>>,
) -> Grid {
    let mut rows: Vec<Vec<Cell>> = rows.collect();
    let title = titled(title, PLACES, rows.len());
    rows.truncate(PLACES);
    Grid::new(title, place_columns(names), rows)
}

fn kind_text(kernel: &KernelPlace) -> String {
    let times = || format!("{:.2} to {:.2} times", kernel.count_a, kernel.count_b);
    match kernel.kind {
        PlaceKind::NewCopy => "new copy".to_owned(),
        PlaceKind::SplitFusion => "split off a fusion".to_owned(),
        PlaceKind::Fused => "fused".to_owned(),
        PlaceKind::New => "new".to_owned(),
        PlaceKind::Gone => "gone".to_owned(),
        PlaceKind::Each if kernel.each_us > 0.0 => "slower each".to_owned(),
        PlaceKind::Each => "faster each".to_owned(),
        PlaceKind::Count => times(),
        PlaceKind::Mix => "other shapes".to_owned(),
        PlaceKind::Same => "same".to_owned(),
    }
}

fn recompiled(places: &Places) -> Grid {
    let rows = places.recompiled.iter().map(|row| {
        let name = if row.program.is_empty() { "unknown" } else { &row.program };
        row![shorten(name, 60), row.a.to_string(), row.b.to_string(), format!("+{}", row.b - row.a)]
    });
    first_places("Where: compiled more often", &["program"], rows)
}

fn notes(report: &CompareReport, out: &mut Text) {
    if report.why.len() > 1 {
        out.line("\nThese were changed together: none of them alone is shown to be the cause.");
    }
    let mut reasons: Vec<&str> = Vec::new();
    for row in &report.rows {
        if let Some(reason) = row.change_percent.reason.as_deref()
            && !reasons.contains(&reason)
        {
            reasons.push(reason);
        }
    }
    for reason in reasons {
        out.line(format!("\n? {reason}"));
    }
    if let Some(row) = report.rows.first() {
        let sample = match row.sample {
            SampleUnit::Start => "starts of the server",
            SampleUnit::Trial => "trials",
            SampleUnit::Single => "single trials",
        };
        out.line(format!(
            "\nn counts {sample}{}; intervals at {} %; at most {} % of the differences found are \
             false.",
            if row.paired { ", in pairs" } else { "" },
            rounded(100.0 * report.confidence),
            rounded(100.0 * report.false_discovery_rate),
        ));
    }
}

/// A number to four digits after the point, without zeros at the end.
fn rounded(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use xscope_analysis::compare::measured::{Measured, MeasuredPoint};
    use xscope_analysis::compare::{CompareReport, Options, compare};

    use super::compare_text;
    use super::junit::compare_junit;
    use super::slack::compare_slack;
    use crate::grid::Style;

    fn side(p95: &[f64], invalid: Option<&str>) -> Measured {
        let point = |name: &str, invalid: Option<&str>| MeasuredPoint {
            point: name.to_owned(),
            workload_hash: "sha256:1".to_owned(),
            figures: BTreeMap::from([("p95_ms".to_owned(), p95.to_vec())]),
            invalid: invalid.map(str::to_owned),
            ..MeasuredPoint::default()
        };
        Measured {
            label: "runs/<a>|b".to_owned(),
            points: vec![point("b1_l2", None), point("b4_l2", invalid)],
            ..Measured::default()
        }
    }

    fn report(factor: f64, invalid: Option<&str>) -> CompareReport {
        let a = [100.0, 101.0, 99.0];
        let b = a.map(|value| value * factor);
        compare(&[side(&a, None)], &[side(&b, invalid)], &Options::default()).unwrap()
    }

    #[test]
    fn what_is_worse_is_said_everywhere() {
        let report = report(1.5, Some("died: \"<TypeError>\""));
        let text = compare_text(&report, Style::Terminal);
        let text = text.plain();
        for part in ["FAIL", "1 slower", "slower: FAIL, +15 % allowed", "INVALID: died", "+50.0 %"]
        {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        let markdown = compare_text(&report, Style::Markdown);
        let markdown = markdown.plain();
        assert!(markdown.contains("| b1_l2 | p95_ms | 99.997 ms |"), "{markdown}");
        assert!(markdown.contains("runs/\\<a>\\|b"), "{markdown}");
        let junit = compare_junit(&report);
        assert!(junit.contains("tests=\"2\" failures=\"1\" errors=\"1\" skipped=\"0\""), "{junit}");
        assert!(junit.contains("message=\"died: &quot;&lt;TypeError&gt;&quot;\""), "{junit}");
        let slack = compare_slack(&report);
        assert!(slack["text"].as_str().unwrap().contains("FAIL"));
        let body = slack["blocks"][1]["text"]["text"].as_str().unwrap();
        assert!(body.contains("b1_l2 p95_ms") && body.contains("&lt;TypeError&gt;"), "{body}");
    }

    #[test]
    fn more_memory_is_not_called_slower() {
        let side = |mb: f64| {
            let mut side = side(&[100.0, 101.0, 99.0], None);
            let figures = &mut side.points[0].figures;
            figures.insert("peak_hbm_mb".to_owned(), vec![mb, mb + 0.1, mb - 0.1]);
            side
        };
        let report = compare(&[side(100.0)], &[side(150.0)], &Options::default()).unwrap();
        let text = compare_text(&report, Style::Terminal);
        let text = text.plain();
        for part in [
            "FAIL, worse than a rule allows: 1 more memory, ",
            "MORE MEMORY: b1_l2; ",
            "more memory: FAIL, +10 % allowed",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(!text.to_lowercase().contains("slower"), "{text}");
    }

    #[test]
    fn what_is_the_same_passes() {
        let report = report(1.0, None);
        assert!(compare_text(&report, Style::Terminal).plain().starts_with("PASS"));
        assert!(compare_junit(&report).contains("failures=\"0\" errors=\"0\""));
        assert!(compare_slack(&report).to_string().contains("No figure differs"));
    }
}
