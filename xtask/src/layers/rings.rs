//! Rings in a graph of who uses what of whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The names that each node uses of each other one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Uses(BTreeMap<(PathBuf, PathBuf), BTreeSet<String>>);

impl Uses {
    pub(super) fn add(&mut self, from: &Path, to: &Path, name: String) {
        self.0.entry((from.to_owned(), to.to_owned())).or_default().insert(name);
    }

    /// The same between top-level modules: a folder, or a file beside the root.
    pub(super) fn of_folders(&self) -> Self {
        let top = |file: &Path| -> PathBuf {
            let first: PathBuf = file.components().take(1).collect();
            first.with_extension("")
        };
        let mut folders = Self::default();
        for ((from, to), names) in &self.0 {
            let (from, to) = (top(from), top(to));
            if from != to {
                folders.0.entry((from, to)).or_default().extend(names.iter().cloned());
            }
        }
        folders
    }

    /// The largest sets of nodes that all use each other, directly or not.
    pub(super) fn rings(&self) -> Vec<BTreeSet<PathBuf>> {
        let nodes: BTreeSet<&Path> = self.0.keys().map(|(from, _)| from.as_path()).collect();
        let reached: BTreeMap<&Path, BTreeSet<&Path>> =
            nodes.iter().map(|&node| (node, self.reached_from(node))).collect();
        let mut rings = BTreeSet::new();
        for (&node, ahead) in &reached {
            let is_back =
                |&&other: &&&Path| reached.get(other).is_some_and(|behind| behind.contains(node));
            let ring: BTreeSet<PathBuf> =
                ahead.iter().filter(is_back).map(|&other| other.to_owned()).collect();
            if ring.len() > 1 {
                rings.insert(ring);
            }
        }
        rings.into_iter().collect()
    }

    fn reached_from(&self, node: &Path) -> BTreeSet<&Path> {
        let (mut reached, mut pending) = (BTreeSet::new(), vec![node]);
        while let Some(node) = pending.pop() {
            for (from, to) in self.0.keys() {
                if from == node && reached.insert(to.as_path()) {
                    pending.push(to);
                }
            }
        }
        reached
    }

    /// What ties the nodes of a ring, a line for each pair.
    pub(super) fn told(&self, ring: &BTreeSet<PathBuf>) -> String {
        let within = |(from, to): &(PathBuf, PathBuf)| ring.contains(from) && ring.contains(to);
        let within = self.0.iter().filter(|(pair, _)| within(pair)).map(line);
        within.map(|line| format!("\n    {line}")).collect()
    }

    /// What files of a kind use of each other, a line for each pair.
    pub(super) fn lines_between(&self, is_one: impl Fn(&Path) -> bool) -> Vec<String> {
        let between = self.0.iter().filter(|((from, to), _)| is_one(from) && is_one(to));
        between.map(line).collect()
    }

    #[cfg(test)]
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(line).collect()
    }
}

fn line(((from, to), names): (&(PathBuf, PathBuf), &BTreeSet<String>)) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    format!("{} -> {}: {}", from.display(), to.display(), names.join(", "))
}
