//! Which crate may use which: the table of ARCHITECTURE.md, enforced.
//!
//! Data runs one way, from the target to the views, so a crate may use only those below it. Also
//! enforced: nothing below the binary knows `anyhow`, and nothing below load knows `tokio`.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::Metadata;

/// Every crate and what it may use of the workspace.
const LAYERS: [(&str, &[&str]); 11] = [
    ("xscope-trace", &[]),
    ("xscope-analysis", &["xscope-trace"]),
    ("xscope-view", &["xscope-analysis", "xscope-load", "xscope-trace"]),
    ("xscope-model", &["xscope-trace"]),
    ("xscope-engine", &["xscope-model", "xscope-trace"]),
    ("xscope-load", &["xscope-trace"]),
    ("xscope-capture", &["xscope-load", "xscope-trace"]),
    (
        "xscope",
        &[
            "xscope-analysis",
            "xscope-capture",
            "xscope-engine",
            "xscope-load",
            "xscope-model",
            "xscope-trace",
            "xscope-view",
        ],
    ),
    ("xscope-bench", &["xscope-load", "xscope-trace"]),
    // Only tests use it.
    ("xscope-testing", &[]),
    ("xtask", &[]),
];

/// Libraries that only some crates may use, and why.
const RESERVED: [(&str, &[&str], &str); 4] = [
    ("anyhow", &["xscope", "xscope-bench", "xtask"], "libraries have typed errors"),
    (
        "tokio",
        &[
            "xscope",
            "xscope-bench",
            "xscope-capture",
            "xscope-engine",
            "xscope-load",
            "xscope-view",
        ],
        "nothing that reads or analyses is async",
    ),
    ("axum", &["xscope-engine", "xscope-view"], "only they serve HTTP"),
    ("candle-core", &["xscope-model"], "only the model computes"),
];

/// Dependencies that the table does not allow.
pub(super) fn problems(metadata: &Metadata) -> Vec<String> {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        LAYERS.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let mut problems = Vec::new();
    for package in &metadata.packages {
        let Some(may_use) = allowed.get(package.name.as_str()) else {
            problems.push(format!("{} is not in the table of layers", package.name));
            continue;
        };
        let shipped = package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev"));
        for dependency in shipped.map(|dependency| dependency.name.as_str()) {
            if allowed.contains_key(dependency) && !may_use.contains(dependency) {
                problems.push(format!("{} must not use {dependency}", package.name));
            }
            let reserved = RESERVED.iter().find(|(name, ..)| *name == dependency);
            if let Some((name, users, reason)) = reserved
                && !users.contains(&package.name.as_str())
            {
                problems.push(format!("{} must not use {name}: {reason}", package.name));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::problems;
    use crate::metadata::{Dependency, Metadata, Package};

    fn check(package: &str, dependency: &str, kind: Option<&str>, expected: usize) {
        let dependency =
            Dependency { name: dependency.to_owned(), kind: kind.map(ToOwned::to_owned) };
        let dependencies = vec![dependency];
        let name = package.to_owned();
        let (targets, features) = (Vec::new(), BTreeMap::new());
        let package = Package { name, dependencies, targets, features };
        let found = problems(&Metadata { packages: vec![package] });
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test]
    fn upward_and_reserved_dependencies_are_found() {
        check("xscope-analysis", "xscope-trace", None, 0);
        check("xscope-trace", "xscope-analysis", None, 1);
        check("xscope-trace", "xscope-analysis", Some("dev"), 0);
        check("xscope-analysis", "tokio", None, 1);
        check("xscope-load", "tokio", None, 0);
        check("xscope-new", "serde", None, 1);
    }
}
