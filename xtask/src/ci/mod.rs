//! `cargo xtask ci`: everything that must hold before a change goes in, step by step with its time.
//!
//! What a step needs of other programs is installed by `.ci/run`. Without them a laptop passes and
//! is told what was not checked; with `CI` set, what cannot be checked is a failure.

mod command;
mod dependencies;
mod features;
mod smoke;
mod tests;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use self::command::{Run, cargo, program};
use crate::layers;

/// A step: its name, and what it does.
type Step = (&'static str, fn(&Place) -> Result<()>);

const STEPS: [Step; 12] = [
    ("fmt", |_| cargo(&["fmt", "--all", "--check"]).run()),
    ("lint", |_| cargo(&["lint"]).run()),
    ("layers", |_| layers::check().map(|message| say(&message))),
    ("doc", |_| {
        cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").run()
    }),
    ("features", features::check),
    // Beside what is built of the rest, of which it needs much.
    ("fuzz", |_| {
        cargo(&["check", "--locked", "--target-dir", "target"])
            .args(&["--manifest-path", "fuzz/Cargo.toml"])
            .run()
    }),
    ("dependencies", dependencies::check),
    ("test", tests::all),
    ("test on one core", tests::on_one_core),
    ("test soon after a start, and long after", tests::by_uptime),
    ("profile", smoke::profile_and_open),
    ("skips", tests::skips),
];

/// Where all this happens.
struct Place {
    root: PathBuf,
    /// The folder of what is built.
    target: PathBuf,
    /// With `CI` set nothing may be left out.
    is_ci: bool,
}

impl Place {
    fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is a root")?;
        let target = root.join("target");
        let is_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
        Ok(Self { root: root.to_owned(), target, is_ci })
    }

    /// What cannot be checked here is told, or with `CI` set a failure.
    fn leave_out(&self, what: &str) -> Result<()> {
        if self.is_ci {
            bail!("{what}; with CI set nothing is left out");
        }
        say(&format!("left out: {what}"));
        Ok(())
    }
}

/// Runs all steps, or those whose names are given.
pub(crate) fn run(names: &[String]) -> Result<String> {
    let place = Place::find()?;
    env::set_current_dir(&place.root).context("cannot enter the checkout")?;
    if let Some(name) = names.iter().find(|name| !STEPS.iter().any(|(step, _)| step == name)) {
        let steps: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
        bail!("there is no step {name}; there are: {}", steps.join(", "));
    }
    let before = changes()?;
    let mut times = String::new();
    let mut failed = Vec::new();
    let chosen =
        STEPS.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|it| it == name));
    for (name, step) in chosen {
        say(&format!("\n== {name}"));
        let begin = Instant::now();
        let outcome = step(&place);
        let time = format!("{:>5} s  {name}\n", begin.elapsed().as_secs());
        say(&format!("-- {}", time.trim()));
        times += &time;
        // The rest is tried too: on a machine that one has to wait for, each failure should be seen.
        if let Err(error) = outcome {
            say(&format!("error: step {name}: {error:#}"));
            failed.push(*name);
        }
    }
    if changes()? != before {
        bail!("the steps changed files of the checkout:\n{}", changes()?);
    }
    if !failed.is_empty() {
        bail!("of the steps\n{times}these failed: {}", failed.join(", "));
    }
    Ok(format!("\n{times}all checks passed"))
}

/// How the checkout differs from its commit.
fn changes() -> Result<String> {
    let status = program("git").args(&["status", "--porcelain"]).output()?;
    let diff = program("git").args(&["diff"]).output()?;
    Ok(status + &diff)
}

#[expect(clippy::print_stdout, reason = "a developer's tool that reports on the terminal")]
fn say(text: &str) {
    println!("{text}");
}
