//! Reads XPlane (`*.xplane.pb`), the format of JAX's and TensorFlow's profilers.
//!
//! Two passes over mapped bytes: the first finds planes, lines and metadata tables by skipping
//! from field to field; the second decodes lines in parallel straight into columns. The
//! arguments of an event stay in the file and are decoded when asked for.
//!
//! What is decided here, because no consumer can decide it later: which slices are device
//! operations (on the CPU backend they sit on host threads), which program and execution they
//! belong to, and where time zero is.

mod args;
mod assemble;
mod graphs;
mod hlo;
mod line;
mod local_meta;
mod plane;
mod programs;
mod roles;
mod stat;

use rayon::prelude::*;

use crate::bytes::SharedBytes;
use crate::error::{Error, Result};
use crate::model::{Clock, Format, Source, Trace};
use crate::naming::host_from_path;
use crate::quality::{Code, Finding};
use crate::strings::StrId;
use crate::time::{Bytes, Nanos, Picos};
use crate::wire::{Message, WireError};

use assemble::Assembly;
use line::DecodedLine;
use plane::PlaneTables;
use programs::Programs;

/// Whether bytes begin as an XPlane file does: with field 1 (planes) of an XSpace, length-delimited,
/// unless it has errors or warnings or host names only. The tag is a line feed, and the length may be
/// a bracket, which is how JSON begins as well.
pub(super) fn is_xplane(head: &[u8]) -> bool {
    let is_field = matches!(head.first(), Some(0x0a | 0x12 | 0x1a | 0x22));
    let mut marks = head.iter().filter(|byte| !byte.is_ascii_whitespace());
    is_field
        && match (marks.next(), marks.next()) {
            (None, _) | (Some(b'{' | b'['), None) => false,
            (Some(b'{' | b'['), Some(next)) => !next.is_ascii_graphic(),
            _ => true,
        }
}

/// Reads one XPlane file into `trace`. Of the slices of host threads that are no operations, those
/// are kept whose names `needed` accepts, or all if there is no such rule.
///
/// # Errors
/// [`Error::Damaged`] if nothing can be saved; lesser damage is a finding.
pub(crate) fn read(
    path: &str,
    bytes: &SharedBytes,
    needed: Option<fn(&str) -> bool>,
    trace: &mut Trace,
) -> Result<()> {
    let source = trace.sources.next_id();
    let space = scan_space(bytes);
    let strings = &mut trace.strings;
    let planes: Vec<PlaneTables<'_>> =
        space.planes.iter().map(|&message| plane::scan(message, needed, strings)).collect();
    if planes.iter().all(|plane| plane.name.is_empty()) {
        return Err(refuse(path, bytes, &space, &planes));
    }
    if let Some(error) = text_damage(path, bytes, &space, &planes) {
        return Err(error);
    }
    let described = describe(path, bytes, &space, &planes, trace);
    trace.sources.push(described);
    report_damage(&space, &planes, trace);
    let epoch = epoch(&planes).unwrap_or(0);
    let lines = planes.iter().enumerate();
    let lines: Vec<(usize, Message<'_>)> = lines
        .flat_map(|(index, plane)| plane.lines.iter().map(move |&line| (index, line)))
        .collect();
    let decode = |&(index, message)| line::decode(index, message, &planes[index], epoch, bytes);
    let (mut programs, lines): (_, Vec<DecodedLine<'_>>) = rayon::join(
        || Programs::read(source, &planes, trace),
        // Lines are few and of any length, so each is a task of its own.
        || lines.par_iter().with_max_len(1).map(decode).collect(),
    );
    programs.rejoin(source, &planes, &lines, trace);
    Assembly::new(source, bytes, &planes, &programs, trace).assemble(lines);
    graphs::join(source, trace);
    bytes.release(0..u64::MAX);
    Ok(())
}

/// The start of a file's axis since the Unix epoch, in nanoseconds: the session's, else that of the
/// earliest line that counts from the Unix epoch, as writers other than JAX leave them.
fn epoch(planes: &[PlaneTables<'_>]) -> Option<i64> {
    let of_lines = || {
        let lines = planes.iter().flat_map(|plane| &plane.lines);
        lines.filter_map(|line| line::absolute_start(*line)).min()
    };
    planes.iter().find_map(|plane| plane.session_start).or_else(of_lines)
}

/// The top level of a file.
#[derive(Default)]
struct Space<'a> {
    planes: Vec<Message<'a>>,
    errors: Vec<String>,
    warnings: Vec<String>,
    hostnames: Vec<String>,
    damage: Option<WireError>,
}

fn scan_space(bytes: &[u8]) -> Space<'_> {
    let mut space = Space::default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for field in (Message { bytes, offset: 0 }).fields() {
        match field {
            // An empty plane says nothing, and a table for each would be 200 times its size.
            Ok((1, value)) => {
                space.planes.extend(value.message().filter(|plane| !plane.bytes.is_empty()));
            }
            Ok((2, value)) => space.errors.push(text(value.bytes())),
            Ok((3, value)) => space.warnings.push(text(value.bytes())),
            Ok((4, value)) => space.hostnames.push(text(value.bytes())),
            Ok(_) => {}
            Err(error) => space.damage = Some(error),
        }
    }
    if let Some(error) = space.damage {
        space.planes.extend(cut_plane(bytes, error.offset));
    }
    space
}

/// The plane that a truncated file ends in: its length points past the end, but what is there of
/// it can be read.
fn cut_plane(bytes: &[u8], offset: u64) -> Option<Message<'_>> {
    let start = usize::try_from(offset).ok()?;
    let rest = bytes.get(start..)?;
    if *rest.first()? != 0x0a {
        return None;
    }
    let len = rest.iter().skip(1).take(10).position(|&byte| byte < 0x80)? + 2;
    Some(Message { bytes: rest.get(len..)?, offset: offset + len as u64 })
}

/// Whether the bytes went through something that decodes text: every byte that is no UTF-8 became
/// U+FFFD, so all numbers in the file are wrong even where its framing holds.
fn text_damage(
    path: &str,
    bytes: &[u8],
    space: &Space<'_>,
    planes: &[PlaneTables<'_>],
) -> Option<Error> {
    let damage = space.damage.or_else(|| planes.iter().find_map(|plane| plane.damage))?;
    let replaced = bytes.windows(3).filter(|window| *window == [0xef, 0xbf, 0xbd]).count();
    (replaced > 16 && replaced * 1000 > bytes.len()).then(|| Error::Damaged {
        path: path.into(),
        offset: damage.offset,
        what: format!("{} ({replaced} byte sequences in it are U+FFFD)", damage.what),
        hint: "the file was copied as text; copy it again in binary mode".to_owned(),
    })
}

fn refuse(path: &str, bytes: &[u8], space: &Space<'_>, planes: &[PlaneTables<'_>]) -> Error {
    if let Some(error) = text_damage(path, bytes, space, planes) {
        return error;
    }
    let damage = space.damage.or_else(|| planes.iter().find_map(|plane| plane.damage));
    match damage {
        Some(damage) => Error::Damaged {
            path: path.into(),
            offset: damage.offset,
            what: damage.what.to_owned(),
            hint: "no plane could be read; capture or copy the file again".to_owned(),
        },
        None => Error::UnknownFormat {
            path: path.into(),
            found: "a protobuf message without planes".to_owned(),
            known: String::new(),
        },
    }
}

fn describe(
    path: &str,
    bytes: &[u8],
    space: &Space<'_>,
    planes: &[PlaneTables<'_>],
    trace: &mut Trace,
) -> Source {
    let host = space.hostnames.first().map(String::as_str).unwrap_or_default();
    let host = if host.is_empty() { host_from_path(path, ".xplane.") } else { host };
    let find = |get: fn(&PlaneTables<'_>) -> Option<i64>| planes.iter().find_map(get);
    let session = find(|plane| plane.session_start)
        .zip(find(|plane| plane.session_stop))
        .map(|(start, stop)| Picos::from(Nanos(stop.saturating_sub(start))));
    let mut facts: Vec<(String, String)> =
        planes.iter().flat_map(|plane| plane.facts.iter().cloned()).collect();
    facts.sort();
    facts.dedup();
    Source {
        path: path.to_owned(),
        format: Format::XPlane,
        size: Bytes(bytes.len() as u64),
        host: trace.strings.intern(host),
        server: StrId::EMPTY,
        rank: None,
        clock: Clock {
            unix_epoch: epoch(planes).map(Nanos),
            monotonic_epoch: find(|plane| plane.monotonic_start).map(Nanos),
            session,
            ..Clock::default()
        },
        facts,
    }
}

fn report_damage(space: &Space<'_>, planes: &[PlaneTables<'_>], trace: &mut Trace) {
    if let Some(damage) = space.damage {
        trace.findings.push(Finding::new(
            Code::XplaneTruncated,
            format!(
                "the file is damaged or cut off at byte {}: {}; what lies before it was read; \
                 capture again, for a shorter time if the file was too large",
                damage.offset, damage.what
            ),
        ));
    }
    for damage in planes.iter().filter_map(|plane| plane.damage) {
        trace.findings.push(Finding::new(
            Code::XplaneDamagedPlane,
            format!("a plane is damaged at byte {}: {}", damage.offset, damage.what),
        ));
    }
    for (code, texts) in
        [(Code::XplaneProfilerError, &space.errors), (Code::XplaneProfilerWarning, &space.warnings)]
    {
        let said = texts.iter().map(|text| format!("the profiler says: {text}"));
        trace.findings.extend(said.map(|text| Finding::new(code, text)));
    }
}
