//! Files of one rank that recorded the same time: the work of that rank counts twice.

use std::collections::BTreeMap;
use std::path::Path;

use xscope_trace::model::{Rank, SourceId};
use xscope_trace::quality::{Code, Finding};
use xscope_trace::{Picos, Trace};

use crate::quality::facts::Facts;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    let mut ranks: BTreeMap<String, Vec<(SourceId, &Rank)>> = BTreeMap::new();
    for id in trace.device_sources() {
        if let Some(rank) = trace.sources[id].rank.as_ref() {
            ranks.entry(rank.to_string()).or_default().push((id, rank));
        }
    }
    let extents = |files: &[(SourceId, &Rank)]| {
        let extents = files.iter().filter_map(|&(file, _)| Some((extent(trace, file)?, file)));
        let mut extents: Vec<((Picos, Picos), SourceId)> = extents.collect();
        extents.sort_unstable();
        extents
    };
    // Stages of one server are files of one rank, one after the other.
    let twice = ranks.into_iter().find_map(|(rank, files)| {
        let extents = extents(&files);
        let two = extents.windows(2).find(|two| two[1].0.0 < two[0].0.1)?;
        Some((rank, two[0].1, two[1].1))
    });
    twice.map(|(rank, first, second)| {
        let name = |id: SourceId| {
            let name = Path::new(&trace.sources[id].path).file_name();
            name.unwrap_or_default().to_string_lossy().into_owned()
        };
        let message = format!(
            "{} and {} are both of rank {rank}, at the same time: what it did counts twice",
            name(first),
            name(second)
        );
        Finding::new(Code::RanksDuplicate, message)
    })
}

fn extent(trace: &Trace, file: SourceId) -> Option<(Picos, Picos)> {
    let tracks = trace.tracks.iter().filter(|track| track.source == file && track.device.is_some());
    let extents = tracks.filter_map(|track| track.slices.extent());
    extents.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}
