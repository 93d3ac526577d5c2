//! Writes XPlane files (`*.xplane.pb`), the format that XProf and TensorBoard open.
//!
//! A [`PlaneBuilder`] holds one plane and gives out ids; what was pushed since the last time goes
//! out as one *chunk*: a plane of that name with the events, and all metadata that they need. A
//! file may hold many chunks of one plane, which readers merge by name and lines by id, so a
//! [`ChunkWriter`] can append them while a capture runs and a `kill -9` loses the last one at
//! most. XProf wants each plane once: [`compact`] merges the chunks of a finished file.
//!
//! The wire schema is `tensorflow.profiler.XSpace` of `xplane.proto` in openxla/xla. Times of
//! events are picoseconds after the `timestamp_ns` of their line; the lines of a file share one
//! origin, the start of the session, whose wall time stands on the plane `Task Environment`.
//!
//! # What XProf shows of it
//!
//! Tried with xprof 2.24 (`tests/xprof_check.py` does it again):
//!
//! - The trace viewer shows planes named `/device:CUSTOM:<any>` and `/host:CPU` with all lines
//!   under their own names. An event is shown by its `display_name`, with `name` as an argument.
//!   `flops`, `program_id` and `symbol_id` are not among them.
//! - The overview makes a step of each event on `/host:CPU` with the stat `_r` = 1 and of what
//!   nests in it, names it by the event and a number, and leaves out the first and the last.
//! - The framework op table has a row for each `tf_op` stat (`path:Type`) on *events* of
//!   `/host:CPU`; on event metadata it is not looked for.
//! - The tables of HLO ops (`hlo_stats`, `op_profile`, the roofline) read planes named
//!   `/device:TPU:` and `/device:GPU:` only, and stay empty for a CPU: the price of naming the
//!   hardware as it is.
//! - Of several planes named `/host:CPU` only the first is read, hence [`compact`].

mod builder;
mod chunk;
mod compact;
mod error;
mod trace;

pub use builder::{
    Event, EventId, EventMeta, LineKey, MONOTONIC_START, PlaneBuilder, START_TIME, STOP_TIME,
    StatId, StatValue, TASK_ENVIRONMENT,
};
pub use chunk::ChunkWriter;
pub use compact::{Compacted, compact, compact_file};
pub use error::XPlaneWriteError;
pub use trace::{write, write_file};
