//! Writes a trace in the formats that other programs open.
//!
//! | module | for | time | what it cannot hold |
//! |---|---|---|---|
//! | [`perfetto`] | ui.perfetto.dev, `trace_processor` | ns, durations to the ps | the HLO of programs |
//! | [`chrome`] | the same, `chrome://tracing`, this crate's reader | ps | the HLO of programs |
//! | [`xplane`] | XProf, this crate's reader | ps | several hosts, flows, requests |
//! | [`folded`] | flame graph tools | sums only | when |
//! | [`pprof`] | `go tool pprof` | sums only | when |
//! | [`speedscope`] | speedscope.app | ps | arguments |
//!
//! All write to any [`std::io::Write`] and hold little besides the trace itself.
//! [`trim`](crate::trim) cuts a stretch out of a trace, or straight out of an XPlane file.

pub mod chrome;
mod facts;
pub mod folded;
mod lanes;
pub mod perfetto;
pub mod pprof;
mod processes;
pub mod speedscope;
mod stacks;
pub mod xplane;

use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::error::{Error, Result};
use crate::model::Trace;

pub use facts::{Written, unix_zero};
pub use perfetto::Joins;

/// A format that a trace is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    Perfetto,
    Chrome,
    XPlane,
    Folded,
    Speedscope,
    Pprof,
}

impl Target {
    /// The format that the name of a file asks for.
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        [
            (".xplane.pb", Self::XPlane),
            (".pftrace", Self::Perfetto),
            (".perfetto-trace", Self::Perfetto),
            (".speedscope.json", Self::Speedscope),
            (".json", Self::Chrome),
            (".folded", Self::Folded),
            (".pprof", Self::Pprof),
        ]
        .into_iter()
        .find(|(suffix, _)| plain.ends_with(suffix))
        .map(|(_, target)| target)
    }
}

/// Writes `trace` to the file at `path` in one step; compressed if its name ends in `.gz`. Perfetto
/// shows requests as they were joined.
///
/// # Errors
/// [`Error::NotOneHost`] for an XPlane file of several hosts, [`Error::Write`] if the file cannot
/// be written; what was there stays as it was.
pub fn to_file(trace: &Trace, joins: &Joins, target: Target, path: &Path) -> Result<Written> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let is_packed = path.extension().is_some_and(|extension| extension == "gz");
    if target == Target::XPlane {
        return match is_packed {
            true => Err(failed(io::Error::other("XProf opens no compressed file"))),
            false => xplane::write_file(trace, path),
        };
    }
    crate::atomic::replace(path, |file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let written = if is_packed {
            let mut packed = GzEncoder::new(&mut out, Compression::fast());
            let written = to_stream(trace, joins, target, &mut BufWriter::new(&mut packed))?;
            packed.finish()?;
            written
        } else {
            to_stream(trace, joins, target, &mut out)?
        };
        out.flush()?;
        Ok(written)
    })
    .map_err(failed)
}

/// Writes `trace` to `out`, which gets many small pieces.
///
/// # Errors
/// Those of `out`, and for XPlane that the trace is of several hosts.
pub fn to_stream(
    trace: &Trace,
    joins: &Joins,
    target: Target,
    out: &mut impl Write,
) -> io::Result<Written> {
    let written = match target {
        Target::Perfetto => perfetto::write(trace, joins, out),
        Target::Chrome => chrome::write(trace, out),
        Target::Folded => folded::write(trace, out),
        Target::Speedscope => speedscope::write(trace, out),
        Target::Pprof => pprof::write(trace, out),
        Target::XPlane => xplane::write(trace, out).map_err(io::Error::other),
    }?;
    out.flush()?;
    Ok(written)
}
