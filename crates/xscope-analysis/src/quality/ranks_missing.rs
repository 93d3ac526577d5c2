//! Files of some ranks of a job, and not of the others: who kept whom waiting cannot be told.

use std::collections::BTreeSet;

use xscope_trace::quality::{Code, Finding};

use crate::quality::facts::Facts;

/// How many missing ones are named.
const NAMED: usize = 8;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let trace = facts.trace;
    let files = trace.device_sources();
    let ranks = files.iter().filter_map(|&file| trace.sources[file].rank.as_ref());
    let known: Vec<(u32, u32)> =
        ranks.filter_map(|rank| Some((rank.global?, rank.world?))).collect();
    let world = known.iter().map(|&(_, world)| world).max()?;
    let here: BTreeSet<u32> = known.into_iter().map(|(rank, _)| rank).collect();
    // One file alone is what is looked at.
    if files.len() < 2 || here.len() as u64 >= u64::from(world) {
        return None;
    }
    let mut missing = (0..world).filter(|rank| !here.contains(rank));
    let named: Vec<String> = missing.by_ref().take(NAMED).map(|rank| rank.to_string()).collect();
    let more = if missing.next().is_some() { " and more" } else { "" };
    let message = format!(
        "{} of {world} ranks are here, without {}{more}: in what these take part in nobody is called late",
        here.len(),
        named.join(", ")
    );
    Some(Finding::new(Code::RanksMissing, message))
}
