//! Baselines as text.

use xscope_analysis::compare::baseline::{Baseline, ListedBaseline, StoredNoise};
use xscope_trace::metric::Metric;

use crate::colour::{Text, Tone};
use crate::grid::{Column, Grid, Style, row};
use crate::text::{metric, shorten};

/// All baselines in their series, and the noise of their machines.
pub fn baselines_text(listed: &[ListedBaseline], noises: &[StoredNoise]) -> Text {
    if listed.is_empty() {
        return "no baselines; make one with: xscope baseline save NAME RUN...\n".into();
    }
    let mut rows = Vec::new();
    for row in listed {
        for other in &row.breaks {
            let text = format!("-- {}: {} to {}", other.what, other.a, other.b);
            rows.push(row![row.name.clone(), shorten(&text, 60)]);
        }
        rows.push(row![
            row.name.clone(),
            row.saved.clone(),
            shorten(&row.commit, 12),
            row.series.clone(),
            row.runs.to_string(),
            row.points.to_string(),
            shorten(&row.machine, 60),
        ]);
    }
    let columns = [
        Column::Text("name"),
        Column::Text("saved"),
        Column::Text("commit"),
        Column::Text("series"),
        Column::Number("runs"),
        Column::Number("points"),
        Column::Text("machine"),
    ];
    let mut out =
        Grid::new("Baselines (-- is where a series breaks)", columns, rows).render(Style::Terminal);
    noises.iter().for_each(|noise| out += noise_text(noise));
    out
}

fn noise_text(stored: &StoredNoise) -> Text {
    let rows = stored.noise.0.iter().flat_map(|(point, metrics)| {
        metrics.iter().map(move |(name, noise)| {
            row![
                shorten(point, 48),
                name.clone(),
                format!("{:.2} %", 100.0 * noise.deviation()),
                format!("{:.0}", noise.freedom),
            ]
        })
    });
    let columns = [
        Column::Text("point and workload"),
        Column::Text("figure"),
        Column::Number("A/A deviation"),
        Column::Number("degrees of freedom"),
    ];
    Grid::new(format!("Noise on {}", stored.machine), columns, rows).render(Style::Terminal)
}

/// One baseline with its figures.
pub fn baseline_text(baseline: &Baseline) -> Text {
    let mut out = Text::default();
    let commit = match baseline.commit() {
        "" => "no known commit".to_owned(),
        commit => format!("commit {commit}"),
    };
    let Baseline { name, saved, series, .. } = baseline;
    let what = format!("{name} saved {saved} from {commit} in series {series}");
    out.line(Tone::Title.of(&what));
    for run in &baseline.runs {
        let rows = run.points.iter().flat_map(|point| {
            point.figures.iter().map(|(name, values)| {
                let values: Vec<String> =
                    values.iter().map(|&value| metric(&Metric::valid(value, ""), 3)).collect();
                row![point.point.clone(), name.clone(), values.join(", ")]
            })
        });
        let columns = [Column::Text("point"), Column::Text("figure"), Column::Text("trials")];
        out += Grid::new(&run.label, columns, rows).render(Style::Terminal);
    }
    out
}
