//! Rings that are still to be opened: a crate, of what, and which. The list only becomes shorter.

use super::Ring;

const KNOWN: &[(&str, &str, &str)] = &[
    (
        "xscope-trace",
        "files",
        "args.rs model.rs naming.rs server_log.rs xplane/assemble.rs xplane/hlo.rs \
         xplane/line.rs xplane/mod.rs xplane/plane.rs xplane/programs.rs",
    ),
    ("xscope-trace", "files", "span/notes.rs span/read.rs span/recorded.rs"),
    ("xscope-trace", "files", "xplane_write/chunk.rs xplane_write/compact.rs"),
    ("xscope-trace", "folders", "args model naming server_log xplane"),
    ("xscope-engine", "files", "capture.rs device_trace.rs scheduler.rs"),
    ("xscope-engine", "files", "span_sink.rs telemetry.rs"),
    ("xscope-model", "files", "cache.rs layers.rs model.rs"),
];

/// Whether a ring lies within one of the list.
pub(super) fn is_known(crate_name: &str, ring: &Ring) -> bool {
    KNOWN.iter().any(|(known_crate, of, names)| {
        let is_listed = |name: &String| names.split(' ').any(|listed| listed == name);
        (*known_crate, *of) == (crate_name, ring.of) && ring.names.iter().all(is_listed)
    })
}
