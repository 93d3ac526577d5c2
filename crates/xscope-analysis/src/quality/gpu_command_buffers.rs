//! Launches of whole graphs (XLA's command buffers, graphs of CUDA and HIP), whose kernels say neither program
//! nor scope.

use xscope_trace::ids::IdVec;
use xscope_trace::model::{MetaId, Track, TrackKind};
use xscope_trace::quality::{Code, Finding};

use crate::framework::Framework;
use crate::quality::facts::Facts;
use crate::words::{counted, percent};

/// Names of host calls that run a recorded graph of kernels at once.
const GRAPH_LAUNCHES: [&str; 3] = ["cuGraphLaunch", "cudaGraphLaunch", "hipGraphLaunch"];

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    // Then the captures that were found say what is known of them.
    if !trace.replays.is_empty() {
        return None;
    }
    let is_launch: IdVec<MetaId, bool> = trace
        .metas
        .ids()
        .map(|meta| GRAPH_LAUNCHES.iter().any(|name| trace.label(meta).starts_with(name)))
        .collect();
    if !is_launch.contains(&true) {
        return None;
    }
    let of_host = |track: &&Track| track.kind == TrackKind::HostThread;
    let launches: u64 = trace
        .tracks
        .iter()
        .filter(of_host)
        .flat_map(|track| &track.slices.meta)
        .map(|meta| u64::from(is_launch[*meta]))
        .sum();
    let nameless = nameless(facts);
    (launches > 0 && nameless > 0.0).then(|| {
        let apart = match facts.framework {
            Some(Framework::Jax) => {
                "capture once more with XLA_FLAGS=--xla_gpu_enable_command_buffer="
            }
            Some(Framework::PyTorch) => {
                "give the profile of their capture too, or capture once more in eager mode, without \
                 graphs of CUDA or HIP,"
            }
            _ => "capture once more without graphs",
        };
        let which = match nameless < 1.0 {
            true => format!("kernels with {} of the operations' time", percent(nameless)),
            false => "their kernels".to_owned(),
        };
        let message = format!(
            "{} of kernels launched as a whole: {which} name no operation of a program, so layers \
             and scopes lack them; {apart} to see them apart, which measures another program",
            counted(launches, "graph")
        );
        Finding::new(Code::GpuCommandBuffers, message).times(launches)
    })
}

/// Share of the operations' time that is of kernels which name no program. XLA's own are joined by their
/// names; those of libraries, and of all that runs no program of XLA, are not.
fn nameless(facts: &Facts<'_>) -> f64 {
    if facts.framework != Some(Framework::Jax) {
        return 1.0;
    }
    let time = |named: bool| -> f64 {
        let kernels = facts.kernels.iter().filter(|kernel| !is_copy(&kernel.category));
        let kernels = kernels.filter(|kernel| named || kernel.program.is_empty());
        kernels.map(|kernel| kernel.self_us).sum()
    };
    let whole = time(true);
    if whole > 0.0 { time(false) / whole } else { 1.0 }
}

fn is_copy(category: &str) -> bool {
    matches!(category, "copy" | "memset")
}
