//! The files of a server's profiler: which are there, whether more are to come, and whether they
//! still grow.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use xscope_trace::read::device_profiles;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);

/// How long files must not change before they count as written: servers answer while they write.
const STILL: Duration = Duration::from_millis(750);

/// The same where nobody says how many files there will be.
const APPEAR: Duration = Duration::from_secs(3);

/// The same while it is known that hosts are missing.
const OTHERS: Duration = Duration::from_secs(10);

/// Longest wait for files that grow.
const LIMIT: Duration = Duration::from_secs(600);

/// The profiles that lie in a folder, each with its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files(Vec<(PathBuf, u64)>);

impl Files {
    pub(crate) fn of(folder: &Path) -> Self {
        let size = |path: PathBuf| Some((path.clone(), fs::metadata(path).ok()?.len()));
        Self(device_profiles(folder).into_iter().filter_map(size).collect())
    }

    pub(crate) fn are_there(&self) -> bool {
        !self.0.is_empty()
    }

    /// Those that something is in.
    fn begun(&self) -> usize {
        self.0.iter().filter(|(_, bytes)| *bytes > 0).count()
    }

    /// How many hosts' or ranks' files a server that says this of itself writes; `None` if it does not
    /// say how many processes it has.
    fn wanted(&self, info: &Value) -> Option<usize> {
        let number = |key: &str| usize::try_from(info[key].as_u64()?).ok();
        if info["engine"] == "xscope" {
            return Some(1);
        }
        // JAX writes one file for each process, of which there is one on each host; PyTorch one for
        // each rank.
        let is_xplane = |(path, _): &(PathBuf, u64)| path.to_string_lossy().contains(".xplane.");
        let hosts = number("nnodes")?;
        match self.0.iter().any(is_xplane) || self.0.is_empty() {
            true => Some(hosts),
            false => {
                Some(hosts.max(number("tp_size").unwrap_or(1) * number("pp_size").unwrap_or(1)))
            }
        }
    }

    /// How long they must not change before nothing more is waited for.
    fn patience(&self, info: &Value) -> Duration {
        match self.wanted(info) {
            // It answers when all is written.
            Some(_) if info["engine"] == "xscope" && self.begun() > 0 => Duration::ZERO,
            Some(wanted) if self.begun() >= wanted => STILL,
            Some(_) if self.begun() > 0 => OTHERS,
            _ => APPEAR,
        }
    }
}

/// What came of waiting for the files of a server.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub files: Files,
    /// Of how many hosts or ranks there should be files, if it is known.
    wanted: Option<usize>,
    is_growing: bool,
}

impl Settled {
    pub(crate) fn of(files: Files) -> Self {
        Self { files, wanted: None, is_growing: false }
    }

    /// What is wrong about the files of a server, which lie here then, and what to do.
    pub(crate) fn wrong(&self, url: &str, run: &Path, folder: &Path) -> Vec<String> {
        let (run, folder) = (run.display(), folder.display());
        let mut wrong = Vec::new();
        if self.is_growing {
            wrong.push(format!(
                "{url} still writes its profile after {} s, and only its beginning is read: run \
                 `xscope analyze {run}` when the files in {folder} grow no more",
                LIMIT.as_secs()
            ));
        }
        // Files without anything in them are told of by whoever reads them.
        if let Some(wanted) = self.wanted.filter(|&wanted| self.files.0.len() < wanted)
            && self.files.are_there()
        {
            wrong.push(format!(
                "{url} has {wanted} hosts or ranks, and profiles of {} are in {folder}: copy those of \
                 the others there and run `xscope capture --collect {run}`",
                self.files.0.len()
            ));
        }
        wrong
    }
}

/// Waits for the files of a server that says this of itself, until all are there and have not changed
/// for a while.
pub(crate) async fn settled(folder: &Path, info: &Value) -> Settled {
    until(folder, Watched::of(info, Files::patience)).await
}

/// Waits until what is in a folder grows no more.
pub(crate) async fn still(folder: &Path, info: &Value) -> Settled {
    until(folder, Watched::of(info, |_, _| STILL)).await
}

async fn until(folder: &Path, mut watched: Watched<'_>) -> Settled {
    let begun = Instant::now();
    loop {
        if let Some(settled) = watched.look(Files::of(folder), begun.elapsed()) {
            return settled;
        }
        sleep(LOOK).await;
    }
}

/// Files that are looked at again and again.
struct Watched<'i> {
    info: &'i Value,
    /// How long they must not change.
    patience: fn(&Files, &Value) -> Duration,
    files: Files,
    changed: Duration,
}

impl<'i> Watched<'i> {
    fn of(info: &'i Value, patience: fn(&Files, &Value) -> Duration) -> Self {
        Self { info, patience, files: Files(Vec::new()), changed: Duration::ZERO }
    }

    /// What has come of it, so long after the beginning, if nothing more is waited for.
    fn look(&mut self, found: Files, now: Duration) -> Option<Settled> {
        if found != self.files {
            (self.files, self.changed) = (found, now);
        }
        let is_still = now - self.changed >= (self.patience)(&self.files, self.info);
        (is_still || now >= LIMIT).then(|| {
            let files = self.files.clone();
            Settled { wanted: files.wanted(self.info), files, is_growing: !is_still }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::{Files, LOOK, OTHERS, Settled, Watched};

    /// What comes of a server that says this of itself and writes so: after how many milliseconds, which
    /// file has how many bytes. How long it took.
    fn check(info: &Value, writes: &[(u64, &str, u64)]) -> (Settled, Duration) {
        let mut watched = Watched::of(info, Files::patience);
        let mut now = Duration::ZERO;
        loop {
            let mut files: Vec<(PathBuf, u64)> = Vec::new();
            for &(at, name, bytes) in writes {
                if Duration::from_millis(at) <= now {
                    files.retain(|(path, _)| path != Path::new(name));
                    files.push((name.into(), bytes));
                }
            }
            files.sort();
            if let Some(settled) = watched.look(Files(files), now) {
                return (settled, now);
            }
            now += LOOK;
        }
    }

    fn wrong(settled: &Settled) -> String {
        settled.wrong("URL", Path::new("RUN"), Path::new("DIR")).join("; ")
    }

    #[test]
    fn all_files_are_waited_for_until_they_grow_no_more() {
        let one = json!({ "nnodes": 1 });
        let two_ranks = json!({ "nnodes": 1, "tp_size": 2 });
        for (info, writes, sizes) in [
            (&one, vec![(100, "h.xplane.pb", 200), (700, "h.xplane.pb", 1280)], vec![1280]),
            (&one, vec![(100, "h.xplane.pb", 0), (2500, "h.xplane.pb", 9)], vec![9]),
            // Whoever does not say how many hosts it has is waited for a little longer.
            (&Value::Null, vec![(0, "a.xplane.pb", 5), (2500, "b.xplane.pb", 5)], vec![5, 5]),
            (
                &json!({ "nnodes": 2 }),
                vec![(0, "a.xplane.pb", 5), (9000, "b.xplane.pb", 5)],
                vec![5, 5],
            ),
            (
                &two_ranks,
                vec![(0, "7-TP-0.trace.json.gz", 5), (9000, "7-TP-1.trace.json.gz", 5)],
                vec![5, 5],
            ),
            // JAX has one file for all chips of a host.
            (&two_ranks, vec![(0, "a.xplane.pb", 5)], vec![5]),
            (&json!({ "engine": "xscope" }), vec![(0, "a.xplane.pb", 5)], vec![5]),
        ] {
            let (settled, took) = check(info, &writes);
            let found: Vec<u64> = settled.files.0.iter().map(|(_, bytes)| *bytes).collect();
            assert_eq!(found, sizes, "{info}: {writes:?}");
            assert_eq!(wrong(&settled), "", "{info}: {writes:?}");
            let last = writes.iter().map(|&(at, ..)| at).max().unwrap_or(0);
            assert!(took <= Duration::from_millis(last + 3250), "{info}: {took:?}");
        }
        let (settled, took) = check(&one, &[]);
        assert!(!settled.files.are_there() && took < Duration::from_secs(4), "{took:?}");
        let (settled, _) = check(&one, &[(100, "h.xplane.pb", 0)]);
        assert!(settled.files.are_there(), "an empty file is one");
    }

    #[test]
    fn what_is_missing_or_still_grows_is_said() {
        let (settled, took) = check(&json!({ "nnodes": 2 }), &[(0, "a.xplane.pb", 5)]);
        let said = wrong(&settled);
        assert!(said.contains("2 hosts or ranks, and profiles of 1 are in DIR"), "{said}");
        assert!(said.contains("xscope capture --collect RUN"), "{said}");
        assert_eq!(took, OTHERS);

        let grows: Vec<_> = (0..1300).map(|half| (half * 500, "a.xplane.pb", half + 1)).collect();
        let said = wrong(&check(&Value::Null, &grows).0);
        assert!(said.contains("still writes its profile after 600 s"), "{said}");
        assert!(said.contains("xscope analyze RUN"), "{said}");
    }
}
