//! One operation on one device, as a report has it.

use serde::Serialize;
use xscope_trace::model::{DeviceId, MetaId, short_device};
use xscope_trace::{Metric, Picos, Trace};

use crate::kernels::inside::Inside;
use crate::kernels::roofline::Roofline;
use crate::kernels::variation::Variation;

/// One operation on one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KernelRow {
    /// The operation's name.
    pub name: String,
    /// HLO's category, or what the recorder calls it.
    pub category: String,
    /// Scope path as recorded or as the program says; empty if neither does.
    pub scope: String,
    /// The scopes that all its executions are in, as `layers` shows them, or of an operation that is
    /// split the heaviest; empty if there are none.
    pub layer_path: String,
    /// The component with most of its time.
    pub component: String,
    /// The program that it belongs to; empty if unknown.
    pub program: String,
    /// The device, by the name that it has in `devices`.
    pub device: String,
    /// Executions.
    pub count: u64,
    /// Their time together.
    pub total_us: f64,
    /// Total without the time of operations nested in it.
    pub self_us: f64,
    /// Mean duration.
    pub mean_us: f64,
    /// The shortest.
    pub min_us: f64,
    /// The median.
    pub p50_us: f64,
    /// 99 % are not longer (nearest rank).
    pub p99_us: Metric,
    /// The longest.
    pub max_us: f64,
    /// Standard deviation of the durations of its executions.
    pub stddev_us: f64,
    /// Floating-point operations of one execution.
    pub flops: Metric,
    /// Bytes read and written by one execution; of a GPU's copy the mean of what it copied.
    #[serde(rename = "bytes_accessed")]
    pub bytes: Metric,
    #[serde(flatten)]
    pub roofline: Roofline,
    /// What its executions differ by; absent for kernels with little time and few executions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub varies: Option<Variation>,
    /// What its device notes within it; absent where it notes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
    /// The component that goes with what it does, if any does.
    #[serde(skip)]
    pub named: Option<&'static str>,
    #[serde(skip)]
    pub meta: MetaId,
    #[serde(skip)]
    pub device_id: DeviceId,
    #[serde(skip)]
    pub self_time: Picos,
    #[serde(skip)]
    pub total: Picos,
}

impl KernelRow {
    /// Leaves what is `time` of its self time, in `count` of its executions. Means and extremes stay those of all.
    pub(crate) fn take_part(&mut self, time: Picos, count: u64) {
        if time != self.self_time {
            self.total = scaled(self.total, time, self.self_time);
            self.total_us = self.total.as_micros();
            self.self_time = time;
            self.self_us = time.as_micros();
        }
        self.count = self.count.min(count);
    }
}

/// As much of `time` as `part` is of `whole`.
pub(crate) fn scaled(time: Picos, part: Picos, whole: Picos) -> Picos {
    let product = i128::from(time.0) * i128::from(part.0);
    Picos(product.checked_div(i128::from(whole.0)).and_then(|it| it.try_into().ok()).unwrap_or(0))
}

/// Which operations a report is about: those whose names contain all of the parts that are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub device: Option<String>,
    pub module: Option<String>,
    /// As recorded or as `layers` shows it. Of an operation in several scopes, only what is in those
    /// that contain it counts.
    pub scope: Option<String>,
    pub name: Option<String>,
}

impl Filter {
    /// Whether an operation is wanted, whatever its scope.
    pub(crate) fn accepts(&self, kernel: &KernelRow) -> bool {
        let contains = |part: &Option<String>, text: &str| {
            part.as_ref().is_none_or(|part| text.contains(part.as_str()))
        };
        let device = self.device.as_deref().map(short_device);
        device.is_none_or(|part| kernel.device.contains(part))
            && contains(&self.module, &kernel.program)
            && contains(&self.name, &kernel.name)
    }
}

/// The name of the program that an operation belongs to; empty if unknown.
pub(crate) fn program_name(trace: &Trace, meta: MetaId) -> &str {
    let program = trace.meta(meta).program;
    program.map_or("", |program| trace.strings.get(trace.programs[program].name))
}
