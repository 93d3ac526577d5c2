//! Files that say they are of the same host: of one that was captured several times, or of several
//! machines with one name.

use std::collections::BTreeMap;
use std::path::Path;

use xscope_trace::model::{Format, Source, SourceId};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use crate::quality::facts::Facts;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    let mut hosts: BTreeMap<StrId, Vec<SourceId>> = BTreeMap::new();
    for (id, source) in trace.sources.ids().zip(&trace.sources) {
        if source.format == Format::XPlane {
            hosts.entry(source.host).or_default().push(id);
        }
    }
    hosts.retain(|_, files| files.len() > 1);
    let more: usize = hosts.values().map(|files| files.len() - 1).sum();
    let first = hosts.values().next()?;
    let finding = match hosts.values().all(|files| are_apart(trace, files)) {
        true => Finding::new(
            Code::HostsSessions,
            format!(
                "the files are of {} captures, one after the other ({}): each has its own devices \
                 and steps, and the window spans them all; to see one, give its folder alone",
                first.len(),
                folders(trace, first)
            ),
        ),
        false => Finding::new(
            Code::HostsDuplicate,
            "several files name the same host: their devices are told apart by file, not by name; \
             if they are of several machines, give each its own hostname",
        ),
    };
    Some(finding.times(more as u64))
}

/// Whether files lie in folders of their own, and none was recorded while another one was.
fn are_apart(trace: &Trace, files: &[SourceId]) -> bool {
    let mut folders: Vec<&str> = files.iter().map(|file| folder(&trace.sources[*file])).collect();
    folders.sort_unstable();
    folders.dedup();
    let mut extents: Vec<(Picos, Picos)> =
        files.iter().filter_map(|file| extent(trace, *file)).collect();
    extents.sort_unstable();
    folders.len() == files.len() && extents.windows(2).all(|pair| pair[0].1 < pair[1].0)
}

fn extent(trace: &Trace, file: SourceId) -> Option<(Picos, Picos)> {
    let tracks = trace.tracks.iter().filter(|track| track.source == file);
    let extents = tracks.filter_map(|track| track.slices.extent());
    extents.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn folder(source: &Source) -> &str {
    let folder = Path::new(&source.path).parent().and_then(Path::file_name);
    folder.and_then(|name| name.to_str()).unwrap_or_default()
}

/// The first and the last by name.
fn folders(trace: &Trace, files: &[SourceId]) -> String {
    let mut names: Vec<&str> = files.iter().map(|file| folder(&trace.sources[*file])).collect();
    names.sort_unstable();
    match names.as_slice() {
        [first, last] => format!("{first} and {last}"),
        [first, .., last] => format!("{first} to {last}"),
        _ => String::new(),
    }
}
