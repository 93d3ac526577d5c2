//! The tests, as a reader of the README runs them, and on machines that differ.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{Place, Run, cargo, program, say};

/// What a reader of the README would type.
const COMMAND: &str = "cargo test --workspace";

/// Tests of a crate's target whose names begin with one of these, or all.
type Chosen = (&'static str, &'static str, &'static [&'static str]);

/// Those whose outcome could depend on how many cores there are: they load servers.
const OF_CORES: [Chosen; 4] = [
    ("xscope-load", "it", &[]),
    ("xscope-engine", "it", &[]),
    ("xscope-capture", "it", &[]),
    ("xscope", "it", &["profile::", "compare::", "ab::", "inside::"]),
];

/// Those that look at the time since the start of the machine.
const OF_UPTIME: [Chosen; 2] =
    [("xscope-capture", "it", &[]), ("xscope-capture", "xscope_capture", &[])];

/// How long a machine is up for them, in seconds: numbers of nanoseconds become longer meanwhile.
const UPTIMES: [(&str, i64); 2] = [("20 seconds", 20), ("400 days", 400 * 86_400)];

/// The user that runs tests where the checks are root's.
const USER: &str = "xscope-ci";

pub(super) fn all(place: &Place) -> Result<()> {
    let readme = fs::read_to_string("README.md").context("README.md")?;
    if !readme.lines().any(|line| line == COMMAND) {
        bail!("README.md does not have the line: {COMMAND}");
    }
    let skips = place.target.join("skips");
    if skips.exists() {
        fs::remove_dir_all(&skips).with_context(|| skips.display().to_string())?;
    }
    let words: Vec<&str> = COMMAND.split(' ').skip(1).collect();
    Tester::find(place)?.cargo(&words)?.run()
}

pub(super) fn on_one_core(place: &Place) -> Result<()> {
    if !program("taskset").args(&["--version"]).works() {
        return place.leave_out("one core, as there is no taskset (Debian: util-linux)");
    }
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = cores.and_then(|cores| cores.trim().split(['-', ',']).next()).unwrap_or("0");
    // Most of them wait for servers most of the time.
    let within = ["env", "RUST_TEST_THREADS=4", "taskset", "-c", first];
    Tester::find(place)?.chosen(&OF_CORES, &within)
}

pub(super) fn by_uptime(place: &Place) -> Result<()> {
    if !program("unshare").args(&["--time", "--fork", "true"]).works() {
        say("left out: this machine lets nobody set the clock of a namespace of its own");
        return Ok(());
    }
    let uptime = fs::read_to_string("/proc/uptime").context("/proc/uptime")?;
    let uptime = uptime.split('.').next().and_then(|secs| secs.parse::<i64>().ok());
    let uptime = uptime.context("/proc/uptime tells no seconds")?;
    let tester = Tester::find(place)?;
    for (told, secs) in UPTIMES {
        say(&format!("up for {told}"));
        let offset = secs - uptime;
        let clocks = [format!("--monotonic={offset}"), format!("--boottime={offset}")];
        let within = ["unshare", "--time", &clocks[0], &clocks[1], "--fork"];
        tester.chosen(&OF_UPTIME, &within)?;
    }
    Ok(())
}

/// Counts the tests that could not run, and shows why.
pub(super) fn skips(place: &Place) -> Result<()> {
    let folder = place.target.join("skips");
    let entries = fs::read_dir(&folder).into_iter().flatten();
    let mut texts = Vec::new();
    for entry in entries {
        texts.push(fs::read_to_string(entry?.path())?);
    }
    texts.sort();
    say(&format!("{}{} skipped", texts.concat(), texts.len()));
    if place.is_ci && !texts.is_empty() {
        bail!("with CI set no test is skipped");
    }
    Ok(())
}

/// Who runs the tests.
struct Tester {
    target: PathBuf,
    /// What a test is run by: nothing, or what makes root an ordinary user.
    prefix: Vec<String>,
}

impl Tester {
    fn find(place: &Place) -> Result<Self> {
        let target = place.target.clone();
        if program("id").args(&["-u"]).output()?.trim() != "0" {
            return Ok(Self { target, prefix: Vec::new() });
        }
        let home = target.join("ci-home");
        if !program("id").args(&["-u", USER]).works() {
            let home = home.as_os_str();
            let add = program("useradd").args(&["--system", "--no-create-home"]);
            add.args(&["--home-dir".as_ref(), home, USER.as_ref()]).run()?;
        }
        for folder in [&home, &target.join("skips"), &target.join("screenshots")] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            program("chown").args(&["-R", USER]).args(&[folder]).run()?;
        }
        let [uid, gid] = ["-u", "-g"].map(|what| program("id").args(&[what, USER]).output());
        let (uid, gid) = (format!("--reuid={}", uid?.trim()), format!("--regid={}", gid?.trim()));
        let user = ["setpriv", &uid, &gid, "--clear-groups"].map(str::to_owned);
        // In a home of root the checkout can be read with one right of root's more.
        let right = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
        let reader = right.map(str::to_owned);
        let python = std::env::var_os("XSCOPE_PYTHON").unwrap_or_else(|| "true".into());
        let reads = "cd \"$0\" && test -r Cargo.toml && exec \"$1\" -c pass";
        for more in [&[][..], &reader] {
            let words = [&user[..], more].concat();
            let check = program(&words[0]).args(&words[1..]).args(&["sh", "-c", reads]);
            if check.args(&[place.root.as_os_str(), &python]).works() {
                let environment = ["env", "-u", "TMPDIR", "-u", "XDG_RUNTIME_DIR"];
                let environment = environment.map(str::to_owned);
                let home = [format!("HOME={}", home.display())];
                return Ok(Self { target, prefix: [&words, &environment[..], &home].concat() });
            }
        }
        let (root, python) = (place.root.display(), Path::new(&python).display());
        bail!("the user {USER} cannot read {root} and run {python}")
    }

    /// A command of cargo whose tests are run by this user.
    fn cargo(&self, words: &[&str]) -> Result<Run> {
        let run = cargo(words);
        if self.prefix.is_empty() {
            return Ok(run);
        }
        let runner = self.target.join("ci-runner");
        write_runner(&runner, &self.target, &self.prefix)?;
        Ok(run.env(&runner_variable()?, runner))
    }

    /// Runs some tests as they were built for all, `within` something.
    fn chosen(&self, chosen: &[Chosen], within: &[&str]) -> Result<()> {
        let build = ["test", "--workspace", "--no-run", "--message-format=json", "--quiet"];
        let messages = cargo(&build).output()?;
        let built: Vec<Built> =
            messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        for (package, target, tests) in chosen {
            let is_it = |built: &&Built| {
                let folder = built.manifest_path.parent().and_then(Path::file_name);
                folder == Some(package.as_ref()) && built.target.name == *target
            };
            let found = built.iter().find(|built| built.profile.test && is_it(built));
            let found = found.with_context(|| format!("{package} has no tests {target}"))?;
            let folder = found.manifest_path.parent().context("a package has no folder")?;
            let within = within.iter().map(|&word| word.to_owned());
            let mut words: Vec<String> = within.chain(self.prefix.iter().cloned()).collect();
            words.extend([found.executable.display().to_string()]);
            words.extend(tests.iter().map(|&test| test.to_owned()));
            let run = program(&words[0]).args(&words[1..]);
            run.within(folder).env("CARGO_MANIFEST_DIR", folder).run()?;
        }
        Ok(())
    }
}

/// What cargo says of a program that it built.
#[derive(Debug, Deserialize)]
struct Built {
    manifest_path: PathBuf,
    target: BuiltTarget,
    profile: BuiltProfile,
    executable: PathBuf,
}

#[derive(Debug, Deserialize)]
struct BuiltTarget {
    name: String,
}

#[derive(Debug, Deserialize)]
struct BuiltProfile {
    test: bool,
}

/// A program that runs a test by other words. Tests in documentation lie where only root can read
/// them, and are run as they are.
fn write_runner(path: &Path, target: &Path, prefix: &[String]) -> Result<()> {
    let quoted: Vec<String> = prefix.iter().map(|word| format!("'{word}'")).collect();
    let text = format!(
        "#!/bin/sh\ncase $1 in\n'{}'/*) exec {} \"$@\" ;;\nesac\nexec \"$@\"\n",
        target.display(),
        quoted.join(" ")
    );
    fs::write(path, text).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// What tells cargo by which program to run tests.
fn runner_variable() -> Result<String> {
    let version = program("rustc").args(&["-vV"]).output()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc -vV tells no host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.replace('-', "_").to_uppercase()))
}
