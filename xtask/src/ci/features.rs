//! Each feature of each crate by itself.

use anyhow::Result;

use super::{Place, cargo, program, say};
use crate::metadata::Metadata;

/// What a machine that cannot build a feature lacks.
fn lacks(feature: &str) -> Option<&'static str> {
    match feature {
        "cuda" => (!program("nvcc").args(&["--version"]).works()).then_some("the CUDA toolkit"),
        "metal" => (!cfg!(target_os = "macos")).then_some("macOS"),
        _ => None,
    }
}

pub(super) fn check(_: &Place) -> Result<()> {
    for package in Metadata::read()?.packages {
        for feature in package.features.keys().filter(|feature| *feature != "default") {
            let alone =
                ["--package", &package.name, "--no-default-features", "--features", feature];
            match lacks(feature) {
                None => cargo(&[&["check", "--locked"], &alone[..]].concat()).run()?,
                Some(what) => {
                    // What it is made of is looked up all the same.
                    cargo(&[&["tree", "--locked", "--quiet"], &alone[..]].concat()).output()?;
                    say(&format!("{} {feature}: not built, needs {what}", package.name));
                }
            }
        }
    }
    Ok(())
}
