//! Device time by the model's scopes and components.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde::Serialize;
use xscope_analysis::layers::LayerNode;
use xscope_analysis::layers::components::UNKNOWN;
use xscope_analysis::reports::section_report::SectionReport;
use xscope_analysis::section::Section;
use xscope_analysis::{AnalyzeReport, ProfileReport};

use crate::colour::Text;
use crate::csv::Table;
use crate::grid::{Cell, Column, Grid, row};
use crate::markup::chart;
use crate::sections::cut;
use crate::sections::differ::{Sides, differences};
use crate::sections::flame::flame_text;
use crate::sections::view::{Content, Data, PageView, SectionView, compact, no_work};
use crate::text::{duration, percent, shorten};

pub(crate) const SECTION: SectionView = SectionView {
    notes,
    drawing: |report| flame_text(&report.layers.root),
    pages: &[PageView {
        id: "layers",
        title: "Layers",
        content: Content::Tables { charts: &[("flame", "Device time by scope; click to zoom")] },
    }],
    data: &[Data { name: "layers", json: |report| compact(&scope(&report.analysis.layers.root)) }],
    cut: |report| cut::prune(&mut report.layers.root, cut::SCOPES),
    tables: &[
        Table::new("layers", |_, report, rows| rows.all(&paths(&report.layers.root))),
        Table::new("components", |_, report, rows| rows.all(&report.layers.components)),
    ],
    difference: Some(difference),
    ..SectionView::new(
        Section::Layers,
        |report| vec![components(report), layers(report)],
        no_work,
        |report, none| SectionReport { layers: Some(&report.layers), ..none },
    )
};

fn components(report: &AnalyzeReport) -> Grid {
    let columns = [
        Column::Text("component"),
        Column::Number("self time"),
        Column::Share("share"),
        Column::Drawing,
    ];
    let rows = report.layers.components.iter().map(|row| {
        row![&row.name, duration(row.self_us), percent(row.share), Cell::bar(row.share, 12)]
    });
    Grid::new("Components of the model", columns, rows)
}

fn layers(report: &AnalyzeReport) -> Grid {
    let root = &report.layers.root;
    let mut rows = Vec::new();
    if root.total_us > 0.0 {
        layer_rows(root, root.total_us, 0, &mut rows);
    }
    let columns = [
        Column::Text("scope"),
        Column::Number("time"),
        Column::Number("self"),
        Column::Share("share"),
    ];
    Grid::new("Layers (device time by named scope; `analyze RUN layers` has all)", columns, rows)
}

fn layer_rows(node: &LayerNode, whole: f64, depth: usize, rows: &mut Vec<Vec<Cell>>) {
    rows.push(row![
        format!("{}{}", "  ".repeat(depth), shorten(&node.name, 48)),
        duration(node.total_us),
        duration(node.self_us),
        percent(node.total_us / whole),
    ]);
    for child in &node.children {
        layer_rows(child, whole, depth + 1, rows);
    }
}

/// How deep the tree is shown where it is one table of many, and how small a share is left out.
const SHALLOW: usize = 4;
const SMALL: f64 = 0.005;

/// The large scopes near the root.
pub(crate) fn shallow(report: &AnalyzeReport) -> Grid {
    let root = &report.layers.root;
    let mut rows = Vec::new();
    if root.total_us > 0.0 {
        shallow_rows(root, root.total_us, 0, &mut rows);
    }
    let columns =
        [Column::Text("scope"), Column::Number("time"), Column::Share("share"), Column::Drawing];
    Grid::new("Layers (device time by named scope; `analyze RUN layers` has all)", columns, rows)
}

fn shallow_rows(node: &LayerNode, whole: f64, depth: usize, rows: &mut Vec<Vec<Cell>>) {
    let share = node.total_us / whole;
    if depth > SHALLOW || share < SMALL {
        return;
    }
    rows.push(row![
        format!("{}{}", "  ".repeat(depth), shorten(&node.name, 40)),
        duration(node.total_us),
        percent(share),
        Cell::bar(share, 12),
    ]);
    for child in &node.children {
        shallow_rows(child, whole, depth + 1, rows);
    }
}

fn notes(report: &AnalyzeReport) -> Vec<Text> {
    if report.kernels.is_empty() {
        return Vec::new();
    }
    let layers = &report.layers;
    let said = [
        (layers.scoped_share, "has a scope"),
        (layers.captured_share, "has that of where its graph was captured"),
        (layers.guessed_share, "has that of an operation beside it"),
        (layers.pseudo_share, "has none but that it is of the backward pass"),
    ];
    let said: Vec<String> = said
        .into_iter()
        .enumerate()
        .filter(|&(at, (share, _))| at == 0 || share > 0.0)
        .map(|(_, (share, what))| format!("{} {what}", percent(share)))
        .collect();
    let unknown = |share: Option<f64>| percent(share.unwrap_or(0.0));
    let component = layers.components.iter().find(|row| row.name == UNKNOWN);
    let category = report.categories.iter().find(|row| row.name == UNKNOWN);
    let note = format!(
        "of the operations' time {}; {} is of no known component, {} of no known category; {} was split among \
         scopes by cost, of which {} ({} of all) is ambiguous",
        said.join(", "),
        unknown(component.map(|row| row.share)),
        unknown(category.map(|row| row.share)),
        duration(layers.split_us),
        duration(layers.ambiguous_us),
        percent(layers.ambiguous_share),
    );
    vec![note.into()]
}

/// A scope: name, time, time of its own, scopes in it. Letters, for there are thousands.
#[derive(Serialize)]
struct Scope {
    n: String,
    t: f64,
    s: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    c: Vec<Self>,
}

fn scope(node: &LayerNode) -> Scope {
    let round = |us: f64| (us * 1e3).round() / 1e3;
    Scope {
        n: shorten(&node.name, 80),
        t: round(node.total_us),
        s: round(node.self_us),
        c: node.children.iter().map(scope).collect(),
    }
}

/// A scope with those that it is in.
#[derive(Serialize)]
struct Path<'a> {
    scope: String,
    depth: usize,
    name: &'a str,
    total_us: f64,
    self_us: f64,
}

/// Every scope below its parent.
fn paths(root: &LayerNode) -> Vec<Path<'_>> {
    fn add<'a>(node: &'a LayerNode, above: &str, depth: usize, rows: &mut Vec<Path<'a>>) {
        for child in &node.children {
            let scope = match above {
                "" => child.name.clone(),
                above => format!("{above}/{}", child.name),
            };
            rows.push(Path {
                scope: scope.clone(),
                depth,
                name: &child.name,
                total_us: child.total_us,
                self_us: child.self_us,
            });
            add(child, &scope, depth + 1, rows);
        }
    }
    let mut rows = Vec::new();
    add(root, "", 0, &mut rows);
    rows
}

fn difference(sides: &Sides<'_>) -> Option<Markup> {
    let times = |report: &ProfileReport| -> BTreeMap<String, f64> {
        let paths = paths(&report.analysis.layers.root);
        paths.into_iter().map(|path| (path.scope, path.total_us)).collect()
    };
    let (rows, per) = sides.by_request(times, duration);
    let table = differences(&format!("Device time by scope, {per}"), "scope", rows)?;
    Some(html! {
        div.pair {
            (chart("flame-a", "A: device time by scope; click to zoom"))
            (chart("flame-b", "B: device time by scope; click to zoom"))
        }
        (table)
    })
}
