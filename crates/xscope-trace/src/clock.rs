//! The clocks of this machine.
//!
//! Everything that xscope stamps uses the monotonic clock (`CLOCK_MONOTONIC`): it is the same for
//! all processes of a machine (Python's `time.perf_counter_ns` reads it too), so spans of several
//! processes join without correction. Wall time is read once, when a run starts.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::time::Nanos;

/// Nanoseconds of the monotonic clock.
pub fn monotonic() -> Nanos {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds since the Unix epoch.
pub fn wall() -> Nanos {
    nanos(clock_gettime(ClockId::Realtime))
}

/// Processor time of all threads of this process.
pub fn process_cpu() -> Nanos {
    nanos(clock_gettime(ClockId::ProcessCPUTime))
}

/// How far wall time is ahead of the monotonic clock, with the error of that figure.
///
/// Reads monotonic, wall, monotonic and keeps the tightest of a few tries: the error is half the
/// distance between the two monotonic readings.
pub fn wall_offset() -> (Nanos, Nanos) {
    (0..8)
        .map(|_| {
            let (before, wall, after) = (monotonic(), wall(), monotonic());
            let half = Nanos((after - before).0 / 2);
            (wall - (before + half), half + Nanos(1))
        })
        .min_by_key(|&(_, error)| error)
        .unwrap_or_default()
}

fn nanos(time: Timespec) -> Nanos {
    Nanos(time.tv_sec * 1_000_000_000 + time.tv_nsec)
}
