//! Where the time went that one side has more of: by stage, layer and kernel.
//!
//! Two compilations of one model name their instructions differently (`fusion.73`), so kernels are
//! matched by scope, opcode and shape. All is counted per unit of work (request, execution), so
//! that traces of different lengths compare. This says where a difference lies, never whether there
//! is one: that takes trials.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use xscope_trace::Trace;
use xscope_trace::model::MetaId;
use xscope_trace::stats::as_f64;

use crate::kernels::row::KernelRow;
use crate::layers::LayerNode;
use crate::reports::analyze_report::AnalyzeReport;
use crate::reports::totals;

/// What a trace spent where; small enough to be kept with a baseline, and adds up over traces.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Footprint {
    /// What is counted: `request`, `execution` (of the program with the most time) or `trace`.
    pub per: String,
    /// How many of them.
    pub units: f64,
    /// Milliseconds of all requests by stage.
    pub stages_ms: BTreeMap<String, f64>,
    /// Device time by scope, in microseconds, scopes within included.
    pub layers_us: BTreeMap<String, f64>,
    /// Executions of kernels, those of one scope, opcode and shape together.
    pub kernels: Vec<KernelUse>,
    /// Compilations by program.
    #[serde(rename = "compile_counts", alias = "compiles")]
    pub compiles: BTreeMap<String, u64>,
}

/// Executions of all kernels of one scope, opcode and shape.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KernelUse {
    /// The path of scopes; empty if there is none.
    pub scope: String,
    /// What the operation does, as HLO calls it.
    pub opcode: String,
    /// As far as the trace tells shapes apart; empty if it does not.
    pub shape: String,
    /// Executions.
    #[serde(rename = "uses", alias = "count")]
    pub count: f64,
    /// Time without that of operations nested in it.
    pub self_us: f64,
}

impl Footprint {
    /// What a trace says; `None` if it knows neither device work nor a server's spans.
    pub fn of(trace: &Trace, report: &AnalyzeReport) -> Option<Self> {
        let requests = report.requests.as_ref();
        let measured = requests.map_or(0, |requests| requests.requests.measured);
        let executions = report.programs.first().map_or(0, |first| first.count);
        let (per, units) = match (measured, executions) {
            (0, 0) => ("trace", 1),
            (0, executions) => ("execution", executions),
            (requests, _) => ("request", requests),
        };
        let mut footprint = Self { per: per.to_owned(), units: as_f64(units), ..Self::default() };
        let points = requests.map(|requests| requests.by_point.as_slice()).unwrap_or_default();
        for point in points {
            for stage in &point.stages {
                let sum = footprint.stages_ms.entry(stage.name.to_string()).or_default();
                *sum += stage.mean_ms.value.unwrap_or(0.0) * as_f64(point.latency.n);
            }
        }
        add_layers(&report.layers.root.children, "", &mut footprint.layers_us);
        let mut kernels: BTreeMap<(String, String, String), (f64, f64)> = BTreeMap::new();
        for kernel in &report.kernels {
            let sum = kernels.entry(key(trace, report, kernel)).or_default();
            *sum = (sum.0 + as_f64(kernel.count), sum.1 + kernel.self_us);
        }
        footprint.kernels = uses(kernels);
        for compile in totals::compiles(report) {
            *footprint.compiles.entry(compile.program.clone()).or_default() += 1;
        }
        // What a client alone knows of its requests is in the figures already.
        let is_client_only = footprint.kernels.is_empty() && trace.spans.is_empty();
        (!is_client_only).then_some(footprint)
    }

    /// The same in fewer rows: kernels with little time are not told apart by shape.
    #[must_use]
    pub(crate) fn compact(mut self) -> Self {
        let whole: f64 = self.kernels.iter().map(|kernel| kernel.self_us).sum();
        let mut sums: BTreeMap<(String, String, String), (f64, f64)> = BTreeMap::new();
        for kernel in self.kernels {
            let shape = if kernel.self_us < SMALL * whole { String::new() } else { kernel.shape };
            let sum = sums.entry((kernel.scope, kernel.opcode, shape)).or_default();
            *sum = (sum.0 + kernel.count, sum.1 + kernel.self_us);
        }
        self.kernels = uses(sums);
        self
    }

    /// All traces of a side together; `None` if there are none.
    pub(crate) fn sum<'a>(footprints: impl Iterator<Item = &'a Self>) -> Option<Self> {
        footprints.fold(None, |sum: Option<Self>, footprint| {
            let Some(mut sum) = sum else { return Some(footprint.clone()) };
            sum.units += footprint.units;
            if sum.per != footprint.per {
                "trace".clone_into(&mut sum.per);
            }
            let add = |sums: &mut BTreeMap<String, f64>, more: &BTreeMap<String, f64>| {
                for (name, value) in more {
                    *sums.entry(name.clone()).or_default() += value;
                }
            };
            add(&mut sum.stages_ms, &footprint.stages_ms);
            add(&mut sum.layers_us, &footprint.layers_us);
            sum.kernels.extend(footprint.kernels.iter().cloned());
            for (program, count) in &footprint.compiles {
                *sum.compiles.entry(program.clone()).or_default() += count;
            }
            Some(sum)
        })
    }
}

/// The share of device time below which a kernel is small.
const SMALL: f64 = 0.001;

/// Rows of counts and self times by scope, opcode and shape.
fn uses(sums: BTreeMap<(String, String, String), (f64, f64)>) -> Vec<KernelUse> {
    let uses = sums.into_iter().map(|((scope, opcode, shape), (count, self_us))| KernelUse {
        scope,
        opcode,
        shape,
        count,
        self_us,
    });
    uses.collect()
}

fn add_layers(nodes: &[LayerNode], path: &str, layers: &mut BTreeMap<String, f64>) {
    for node in nodes {
        let path = match path {
            "" => node.name.clone(),
            _ => format!("{path}/{}", node.name),
        };
        *layers.entry(path.clone()).or_default() += node.total_us;
        add_layers(&node.children, &path, layers);
    }
}

/// Scope, opcode and shape.
fn key(trace: &Trace, report: &AnalyzeReport, kernel: &KernelRow) -> (String, String, String) {
    let scope = report.layers.scopes.get(&kernel.meta).unwrap_or(&kernel.scope);
    let instruction = trace.instruction(kernel.meta);
    let opcode = instruction.map(|found| trace.strings.get(found.opcode)).unwrap_or_default();
    let opcode = if opcode.is_empty() { kernel.category.as_str() } else { opcode };
    // Without a scope only the name tells kernels apart.
    let opcode = match scope.is_empty() {
        true => format!("{opcode} {}", base_name(&kernel.name)),
        false => opcode.to_owned(),
    };
    (scope.clone(), opcode, shape(trace, kernel.meta, kernel))
}

fn shape(trace: &Trace, meta: MetaId, kernel: &KernelRow) -> String {
    match trace.instruction(meta) {
        Some(found) if found.elements > 0 => {
            format!("{} elements in {} B", found.elements, found.result_bytes.0)
        }
        _ => match (kernel.flops.value, kernel.bytes.value) {
            (None, None) => String::new(),
            (flops, bytes) => {
                format!("{:.0} FLOP, {:.0} B", flops.unwrap_or(0.0), bytes.unwrap_or(0.0))
            }
        },
    }
}

/// A name without the number of its instance.
fn base_name(name: &str) -> &str {
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    base.strip_suffix(['.', '_']).filter(|base| !base.is_empty()).unwrap_or(name)
}

/// Where the sides differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Places {
    /// What all figures are of: one `request`, one `execution`, or the whole `trace`.
    pub per: String,
    /// Device time of a unit; 0 unless both sides have device work in their traces.
    pub device_us_a: f64,
    /// The same of B.
    pub device_us_b: f64,
    /// By size of the change, as all lists here.
    pub stages: Vec<StagePlace>,
    /// Scopes, each with those within.
    #[serde(rename = "scopes")]
    pub layers: Vec<LayerPlace>,
    /// The changes add up to that of the device time.
    pub kernels: Vec<KernelPlace>,
    /// Programs that B compiled more often.
    pub recompiled: Vec<Recompiled>,
}

/// A stage, in milliseconds of a unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StagePlace {
    /// The stage.
    pub stage: String,
    /// Of A.
    pub a_ms: f64,
    /// Of B.
    pub b_ms: f64,
    /// B less A.
    pub change_ms: f64,
}

/// A scope, with those within.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LayerPlace {
    /// The path of scopes; empty if there is none.
    pub scope: String,
    /// Of A.
    pub a_us: f64,
    /// Of B.
    pub b_us: f64,
    /// B less A.
    pub change_us: f64,
}

/// The kernels of one scope and opcode.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KernelPlace {
    /// The path of scopes; empty if there is none.
    pub scope: String,
    /// What the operation does, as HLO calls it.
    pub opcode: String,
    /// What happened to them.
    pub kind: PlaceKind,
    /// Of A.
    pub a_us: f64,
    /// Of B.
    pub b_us: f64,
    /// B less A.
    pub change_us: f64,
    /// Executions of a unit.
    pub count_a: f64,
    /// The same of B.
    pub count_b: f64,
    /// What of the change is that each execution of the same shape takes longer; the rest is that
    /// there are more executions, or others.
    pub each_us: f64,
}

/// What happened to kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    /// A copy that A does not have.
    NewCopy,
    /// Work that was part of a fusion in A.
    SplitFusion,
    /// Work that is part of a fusion in B.
    Fused,
    /// A does not have it.
    New,
    /// B does not have it.
    Gone,
    /// The same work takes another time.
    Each,
    /// The same work is done more or less often.
    Count,
    /// Other shapes.
    Mix,
    /// Nothing changed.
    Same,
}

/// A program that was compiled more often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Recompiled {
    /// Empty if it is not known.
    pub program: String,
    /// Compilations in A.
    #[serde(rename = "compiles_a")]
    pub a: u64,
    /// Compilations in B.
    #[serde(rename = "compiles_b")]
    pub b: u64,
}

/// Where B differs from A; `None` unless both sides have traces.
pub(crate) fn places<'a>(
    a: impl Iterator<Item = &'a Footprint>,
    b: impl Iterator<Item = &'a Footprint>,
) -> Option<Places> {
    let (mut a, mut b) = (Footprint::sum(a)?, Footprint::sum(b)?);
    if a.kernels.is_empty() || b.kernels.is_empty() {
        // A side without device work in its traces did not do without.
        for side in [&mut a, &mut b] {
            side.kernels.clear();
            side.layers_us.clear();
        }
    }
    let (per, units) = match a.per == b.per {
        true => (a.per.clone(), (a.units, b.units)),
        false => ("trace".to_owned(), (1.0, 1.0)),
    };
    let stages = pairs(&a.stages_ms, &b.stages_ms, units);
    let layers = pairs(&a.layers_us, &b.layers_us, units);
    let device = |footprint: &Footprint, units: f64| {
        footprint.kernels.iter().fold(0.0, |sum, kernel| sum + kernel.self_us) / units
    };
    Some(Places {
        per,
        device_us_a: device(&a, units.0),
        device_us_b: device(&b, units.1),
        stages: stages
            .into_iter()
            .map(|(stage, a_ms, b_ms)| StagePlace { stage, a_ms, b_ms, change_ms: b_ms - a_ms })
            .collect(),
        layers: layers
            .into_iter()
            .map(|(scope, a_us, b_us)| LayerPlace { scope, a_us, b_us, change_us: b_us - a_us })
            .collect(),
        kernels: kernels(&a, &b, units),
        recompiled: recompiled(&a, &b),
    })
}

/// What both have by name, per unit, the largest change first.
fn pairs(
    a: &BTreeMap<String, f64>,
    b: &BTreeMap<String, f64>,
    units: (f64, f64),
) -> Vec<(String, f64, f64)> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let value = |side: &BTreeMap<String, f64>, name: &str| side.get(name).copied().unwrap_or(0.0);
    let mut pairs: Vec<(String, f64, f64)> = names
        .into_iter()
        .map(|name| (name.clone(), value(a, name) / units.0, value(b, name) / units.1))
        .collect();
    pairs.sort_by(|x, y| (y.2 - y.1).abs().total_cmp(&(x.2 - x.1).abs()));
    pairs
}

/// Count and self time by shape.
type Shapes = BTreeMap<String, (f64, f64)>;

fn by_operation(side: &Footprint, units: f64) -> BTreeMap<(String, String), Shapes> {
    let mut operations: BTreeMap<(String, String), Shapes> = BTreeMap::new();
    for kernel in &side.kernels {
        let shapes = operations.entry((kernel.scope.clone(), kernel.opcode.clone())).or_default();
        let sum = shapes.entry(kernel.shape.clone()).or_default();
        *sum = (sum.0 + kernel.count / units, sum.1 + kernel.self_us / units);
    }
    operations
}

fn kernels(a: &Footprint, b: &Footprint, units: (f64, f64)) -> Vec<KernelPlace> {
    let (a, b) = (by_operation(a, units.0), by_operation(b, units.1));
    let keys: BTreeSet<&(String, String)> = a.keys().chain(b.keys()).collect();
    let none = Shapes::new();
    let mut places: Vec<KernelPlace> = keys
        .into_iter()
        .map(|key| {
            let (in_a, in_b) = (a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none));
            let mut place = place(key, in_a, in_b);
            let fusion = (key.0.clone(), "fusion".to_owned());
            let fused = |side: &BTreeMap<(String, String), Shapes>| {
                side.get(&fusion).map_or(0.0, |shapes| total(shapes).0)
            };
            // Members of a fusion have no kernel: where there are fewer fusions in a scope and
            // other kernels appear in it, the fusion was split.
            place.kind = match place.kind {
                PlaceKind::New if key.1.starts_with("copy") => PlaceKind::NewCopy,
                PlaceKind::New if key.1 != "fusion" && fused(&a) > fused(&b) => {
                    PlaceKind::SplitFusion
                }
                PlaceKind::Gone if key.1 != "fusion" && fused(&b) > fused(&a) => PlaceKind::Fused,
                kind => kind,
            };
            place
        })
        .collect();
    places.sort_by(|x, y| y.change_us.abs().total_cmp(&x.change_us.abs()));
    places
}

fn total(shapes: &Shapes) -> (f64, f64) {
    shapes.values().fold((0.0, 0.0), |sum, shape| (sum.0 + shape.0, sum.1 + shape.1))
}

fn place((scope, opcode): &(String, String), a: &Shapes, b: &Shapes) -> KernelPlace {
    let ((count_a, a_us), (count_b, b_us)) = (total(a), total(b));
    let common = a.iter().filter_map(|(shape, in_a)| Some((*in_a, *b.get(shape)?)));
    let each_us = common
        .map(|((count_a, us_a), (count_b, us_b))| us_b - us_a * count_b / count_a)
        .sum::<f64>();
    let change_us = b_us - a_us;
    let count_us = if count_a > 0.0 { (count_b - count_a) * a_us / count_a } else { b_us };
    let mix_us = change_us - each_us - count_us;
    let kind = match (a.is_empty(), b.is_empty()) {
        (true, _) => PlaceKind::New,
        (_, true) => PlaceKind::Gone,
        _ if change_us.abs() <= 0.02 * a_us => PlaceKind::Same,
        _ => {
            let parts = [
                (each_us, PlaceKind::Each),
                (count_us, PlaceKind::Count),
                (mix_us, PlaceKind::Mix),
            ];
            let largest = parts.into_iter().max_by(|x, y| x.0.abs().total_cmp(&y.0.abs()));
            largest.map_or(PlaceKind::Same, |(_, kind)| kind)
        }
    };
    KernelPlace {
        scope: scope.clone(),
        opcode: opcode.clone(),
        kind,
        a_us,
        b_us,
        change_us,
        count_a,
        count_b,
        each_us,
    }
}

fn recompiled(a: &Footprint, b: &Footprint) -> Vec<Recompiled> {
    let count = |side: &Footprint, program: &str| side.compiles.get(program).copied().unwrap_or(0);
    let mut rows: Vec<Recompiled> = b
        .compiles
        .keys()
        .map(|program| Recompiled {
            program: program.clone(),
            a: count(a, program),
            b: count(b, program),
        })
        .filter(|row| row.b > row.a)
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.b - row.a));
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Footprint, KernelUse, PlaceKind, Places, base_name, places};

    fn footprint(units: f64, kernels: &[(&str, &str, &str, f64, f64)]) -> Footprint {
        let uses = kernels.iter().map(|&(scope, opcode, shape, count, self_us)| KernelUse {
            scope: scope.to_owned(),
            opcode: opcode.to_owned(),
            shape: shape.to_owned(),
            count,
            self_us,
        });
        Footprint {
            per: "request".to_owned(),
            units,
            kernels: uses.collect(),
            ..Footprint::default()
        }
    }

    fn compare(a: &Footprint, b: &Footprint) -> Places {
        places([a].into_iter(), [b].into_iter()).unwrap()
    }

    fn kind(places: &Places, scope: &str, opcode: &str) -> PlaceKind {
        let row = places.kernels.iter().find(|row| row.scope == scope && row.opcode == opcode);
        row.unwrap().kind
    }

    #[test]
    fn what_happened_to_kernels_is_named_and_adds_up() {
        // A is twice as long as B: per request nothing differs but what is meant to.
        let a = footprint(
            200.0,
            &[
                ("mlp", "fusion", "x", 400.0, 4000.0),
                ("attn", "dot", "s", 200.0, 2000.0),
                ("attn", "dot", "l", 200.0, 8000.0),
                ("norm", "fusion", "x", 200.0, 1000.0),
                ("out", "dot", "x", 200.0, 1000.0),
                ("embed", "gather", "x", 200.0, 200.0),
                ("kv", "dus", "x", 200.0, 400.0),
            ],
        );
        let b = footprint(
            100.0,
            &[
                ("mlp", "fusion", "x", 100.0, 1000.0),
                ("mlp", "add", "x", 100.0, 900.0),
                ("attn", "dot", "s", 20.0, 200.0),
                ("attn", "dot", "l", 180.0, 7200.0),
                ("norm", "fusion", "x", 100.0, 900.0),
                ("norm", "copy", "x", 100.0, 300.0),
                ("out", "dot", "x", 300.0, 1500.0),
                ("kv", "dus", "x", 100.0, 200.0),
            ],
        );
        let found = compare(&a, &b);
        for (scope, opcode, expected) in [
            ("mlp", "add", PlaceKind::SplitFusion),
            ("mlp", "fusion", PlaceKind::Count),
            ("attn", "dot", PlaceKind::Mix),
            ("norm", "fusion", PlaceKind::Each),
            ("norm", "copy", PlaceKind::NewCopy),
            ("out", "dot", PlaceKind::Count),
            ("embed", "gather", PlaceKind::Gone),
            ("kv", "dus", PlaceKind::Same),
        ] {
            assert_eq!(kind(&found, scope, opcode), expected, "{scope} {opcode}");
        }
        let sum: f64 = found.kernels.iter().map(|row| row.change_us).sum();
        assert!((sum - (found.device_us_b - found.device_us_a)).abs() < 1e-9);
        assert_eq!(found.kernels[0].scope, "attn", "the largest change comes first");
        let back = compare(&b, &a);
        assert_eq!(kind(&back, "mlp", "add"), PlaceKind::Fused);
    }

    #[test]
    fn stages_and_compilations() {
        let mut a = footprint(10.0, &[]);
        a.stages_ms = BTreeMap::from([("tokenize".to_owned(), 10.0), ("forward".to_owned(), 50.0)]);
        let mut b = footprint(20.0, &[]);
        b.stages_ms =
            BTreeMap::from([("tokenize".to_owned(), 20.0), ("forward".to_owned(), 160.0)]);
        b.compiles = BTreeMap::from([("jit_forward".to_owned(), 3)]);
        let found = compare(&a, &b);
        assert_eq!(found.stages[0].stage, "forward");
        assert!((found.stages[0].change_ms - 3.0).abs() < 1e-9);
        assert_eq!((found.recompiled[0].a, found.recompiled[0].b), (0, 3));
        assert!(places([].into_iter(), [&b].into_iter()).is_none());
    }

    #[test]
    fn what_one_side_did_not_record_is_not_gone() {
        let mut a = footprint(10.0, &[("mlp", "dot", "x", 10.0, 1000.0)]);
        a.layers_us = BTreeMap::from([("mlp".to_owned(), 1000.0)]);
        let mut b = footprint(10.0, &[]);
        for side in [&mut a, &mut b] {
            side.stages_ms = BTreeMap::from([("tokenize".to_owned(), 10.0)]);
        }
        let found = compare(&a, &b);
        assert_eq!((found.kernels.len(), found.layers.len(), found.stages.len()), (0, 0, 1));
        assert!(found.device_us_a.abs() + found.device_us_b.abs() < 1e-9);
    }

    #[test]
    fn fewer_rows_keep_the_sums() {
        let rows = [
            ("a", "dot", "x", 1.0, 1000.0),
            ("a", "dot", "y", 2.0, 0.5),
            ("a", "dot", "z", 3.0, 0.25),
        ];
        let compact = footprint(1.0, &rows).compact();
        assert_eq!(compact.kernels.len(), 2);
        let of = |get: fn(&KernelUse) -> f64| compact.kernels.iter().map(get).sum::<f64>();
        assert!((of(|kernel| kernel.count) - 6.0).abs() < 1e-12);
        assert!((of(|kernel| kernel.self_us) - 1000.75).abs() < 1e-12);
        let found = compare(&footprint(1.0, &rows), &compact);
        assert_eq!(found.kernels[0].kind, PlaceKind::Same);
    }

    #[test]
    fn instances_have_numbers() {
        assert_eq!(base_name("fusion.73"), "fusion");
        assert_eq!(base_name("gemm_12"), "gemm");
        assert_eq!(base_name("sm80"), "sm80");
        assert_eq!(base_name("17"), "17");
    }
}
