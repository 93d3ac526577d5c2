//! What is sent where nobody says more, for all commands: a point of one name is the same requests
//! whoever sends them.

use crate::arrivals::Arrivals;
use crate::lengths::Lengths;
use crate::matrix::score_points;
use crate::workload::{Ask, AskScore, Labels, Workload};

/// A matrix of scoring requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoreMatrix {
    pub name: &'static str,
    pub batch_sizes: &'static [u32],
    pub label_counts: &'static [u32],
    /// Of a trial of a point.
    pub requests: u32,
    /// Rounds of warm-up at least.
    pub warmup: u32,
}

impl ScoreMatrix {
    pub const SMOKE: Self = Self {
        name: "smoke",
        batch_sizes: &[1, 4, 16],
        label_counts: &[2, 4],
        requests: 5,
        warmup: 2,
    };
    pub const STANDARD: Self = Self {
        name: "standard",
        batch_sizes: &[1, 2, 4, 8, 16, 32],
        label_counts: &[2, 4, 8],
        requests: 20,
        warmup: 5,
    };
    pub const FULL: Self = Self {
        name: "full",
        batch_sizes: &[1, 2, 4, 8, 16, 32, 64],
        label_counts: &[2, 4, 8, 16],
        requests: 50,
        warmup: 10,
    };
    /// One point, of commands that are not about a matrix.
    pub const POINT: Self =
        Self { name: "", batch_sizes: &[4], label_counts: &[2], requests: 200, warmup: 5 };

    /// Those that can be asked for by name.
    pub const NAMED: [Self; 3] = [Self::SMOKE, Self::STANDARD, Self::FULL];
}

/// Scoring requests, one after the other: what each takes is its own, not the wait for another.
pub fn score_workload(requests: u32) -> Workload {
    let ask = AskScore {
        items: Lengths::Fixed(4),
        query_tokens: Lengths::Fixed(12),
        item_tokens: Lengths::Fixed(8),
        labels: Labels::Drawn(2),
        item_first: false,
        apply_softmax: true,
    };
    Workload {
        requests: Some(requests),
        arrivals: Arrivals::Closed(1),
        ..Workload::new(Ask::Score(ask))
    }
}

/// Items of the batches that are sent one after the other under stress.
pub const STRESS_BATCHES: [u32; 3] = [50, 100, 200];
/// Requests that are then in flight at once, with so many items, for so long.
const STRESS_AT_ONCE: [u32; 3] = [4, 8, 16];
const STRESS_ITEMS: u32 = 8;
const STRESS_SECS: f64 = 30.0;
pub const STRESS_LABELS: u32 = 2;

/// Large batches one after the other, then many requests at once for a while.
pub fn stress_points(base: &Workload) -> Vec<(String, Workload)> {
    let mut points = score_points(base, &STRESS_BATCHES, &[STRESS_LABELS]);
    for at_once in STRESS_AT_ONCE {
        for (name, mut workload) in score_points(base, &[STRESS_ITEMS], &[STRESS_LABELS]) {
            workload.arrivals = Arrivals::Closed(at_once);
            (workload.requests, workload.secs) = (None, Some(base.secs.unwrap_or(STRESS_SECS)));
            points.push((format!("{name}_c{at_once}"), workload));
        }
    }
    points
}

/// The matrix of generating requests of the profiling RFC.
pub mod serving {
    /// Tokens of a prompt, and to generate.
    pub const INPUTS: [u32; 3] = [1024, 4096, 8192];
    pub const OUTPUTS: [u32; 2] = [1, 1024];
    /// Requests in flight at once.
    pub const AT_ONCE: [u32; 6] = [8, 16, 32, 64, 128, 256];
    /// Requests for each of those that are in flight at once.
    pub const REQUESTS_EACH: u32 = 3;
    /// Requests of a point whose concurrency says nothing of them.
    pub const REQUESTS: u32 = 100;
}
