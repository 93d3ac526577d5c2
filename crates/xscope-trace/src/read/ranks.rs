//! Which process of a job a file is of: as PyTorch's profiler states it, else as the file's name does, in
//! the ways of SGLang (`p-TP-0-DP-1.trace.json.gz`), vLLM (`dp0_pp0_tp1.…`) and torchrun (`rank3.…`).

use std::path::Path;

use crate::model::{Rank, Source, Trace};

/// Axes of parallelism as file names call them.
const AXES: [&str; 5] = ["TP", "DP", "PP", "EP", "CP"];

/// Says of each source which rank it is, where that is known.
pub(super) fn find_ranks(trace: &mut Trace) {
    for source in trace.sources.iter_mut().filter(|source| source.format.has_operations()) {
        source.rank = rank(source);
    }
}

fn rank(source: &Source) -> Option<Rank> {
    let fact = |key: &str| {
        let (_, text) = source.facts.iter().find(|(name, _)| name == key)?;
        text.parse().ok()
    };
    let name = Path::new(&source.path).file_name().unwrap_or_default().to_string_lossy();
    let (named, axes) = named(&name);
    let (stated, world) = (fact("distributedInfo.rank"), fact("distributedInfo.world_size"));
    let rank = Rank { global: stated.or(named), world, axes };
    (rank.global.is_some() || !rank.axes.is_empty()).then_some(rank)
}

/// The rank in a file's name, and its places along axes.
fn named(name: &str) -> (Option<u32>, Vec<(String, u32)>) {
    let tokens: Vec<&str> = name.split(['-', '_', '.']).collect();
    let (mut global, mut axes) = (None, Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        let (word, digits) =
            token.split_at(token.trim_end_matches(|c: char| c.is_ascii_digit()).len());
        let digits = match digits {
            "" => tokens.get(at + 1).copied().unwrap_or_default(),
            digits => digits,
        };
        let Ok(number) = digits.parse::<u32>() else { continue };
        if word.eq_ignore_ascii_case("rank") {
            global = Some(number);
        } else if let Some(axis) = AXES.iter().find(|axis| axis.eq_ignore_ascii_case(word)) {
            axes.push(((*axis).to_owned(), number));
        }
    }
    (global, axes)
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn names_of_files_say_ranks_in_several_ways() {
        for (name, global, axes) in [
            ("p-TP-0-DP-1.trace.json.gz", None, &[("TP", 0), ("DP", 1)][..]),
            ("1764-TP-3-EP-3-EXTEND.trace.json.gz", None, &[("TP", 3), ("EP", 3)]),
            ("dp0_pp0_tp1.1795.pt.trace.json.gz", None, &[("DP", 0), ("PP", 0), ("TP", 1)]),
            ("rank12.pt.trace.json.gz", Some(12), &[]),
            ("graph_capture_bs_32_rank_0.json.gz", Some(0), &[]),
            ("nodea_101.1795000000000.pt.trace.json.gz", None, &[]),
            ("http-7.trace.json.gz", None, &[]),
            ("t1v-n-1-w-0.xplane.pb", None, &[]),
        ] {
            let axes: Vec<_> = axes.iter().map(|&(axis, at)| (axis.to_owned(), at)).collect();
            assert_eq!(named(name), (global, axes), "{name}");
        }
    }
}
