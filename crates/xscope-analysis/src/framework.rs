//! Which framework ran the work of a trace: advice for another one is of no use.

use serde::Serialize;
use xscope_trace::Trace;
use xscope_trace::model::{Format, SourceId};

/// Who ran the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Framework {
    /// JAX, or whatever else runs programs of XLA.
    Jax,
    /// TensorFlow.
    TensorFlow,
    /// PyTorch.
    PyTorch,
    /// The built-in engine.
    Xscope,
}

/// Categories that only PyTorch's profiler gives.
const KINETO: [&str; 8] = [
    "cpu_op",
    "cuda_runtime",
    "hip_runtime",
    "cuda_driver",
    "python_function",
    "user_annotation",
    "gpu_memcpy",
    "gpu_user_annotation",
];

impl Framework {
    /// The framework of a trace; `None` if its files do not say, or are of several.
    pub(crate) fn of(trace: &Trace) -> Option<Self> {
        let mut all = trace.sources.ids().filter_map(|source| of_source(trace, source));
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }
}

fn of_source(trace: &Trace, source: SourceId) -> Option<Framework> {
    let mut devices = trace.devices.iter().filter(|device| device.source == source);
    if devices.any(|device| trace.strings.get(device.name).contains("xscope-")) {
        return Some(Framework::Xscope);
    }
    let has = |wanted: &dyn Fn(&str) -> bool| {
        trace.metas.iter().any(|meta| wanted(trace.strings.get(meta.name)))
    };
    let is_jax = |name: &str| {
        name.contains("PjitFunction") || name.contains("jit_") || name.contains("PjRt")
    };
    match trace.sources[source].format {
        Format::XPlane => {
            let programs = trace.programs.iter();
            let jitted = programs.map(|program| trace.strings.get(program.name)).any(is_jax);
            let is_tensorflow = |name: &str| {
                name.contains("ExecutorState::Process") || name.contains("EagerExecute")
            };
            match !jitted && !has(&is_jax) && has(&is_tensorflow) {
                true => Some(Framework::TensorFlow),
                false => Some(Framework::Jax),
            }
        }
        Format::ChromeJson => {
            let categories = trace.metas.iter().map(|meta| trace.strings.get(meta.category));
            let is_kineto = categories.into_iter().any(|category| KINETO.contains(&category));
            // The profiler of JAX and TensorFlow, and no other, marks calls of Python so.
            let is_jax = |name: &str| is_jax(name) || name.starts_with('$');
            let runs_programs = || !trace.programs.is_empty();
            match (
                is_kineto || has(&|name| name.starts_with("aten::")),
                has(&is_jax) || runs_programs(),
            ) {
                (true, _) => Some(Framework::PyTorch),
                (false, true) => Some(Framework::Jax),
                (false, false) => None,
            }
        }
        _ => None,
    }
}
