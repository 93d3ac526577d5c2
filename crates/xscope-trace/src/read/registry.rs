//! The formats that are read: how files of each are called and begin, and what reads them.
//!
//! A new format is a reader beside this file, an entry here, and a variant of [`Format`] with what
//! such files can hold.

use std::path::Path;

use crate::bytes::SharedBytes;
use crate::error::{Error, Result};
use crate::model::{Format, Trace};
use crate::read::input::{Head, Input, plain_name};
use crate::read::options::ReadOptions;
use crate::read::{chrome, memory_report, pprof, requests, riegeli, server_log, xplane, xspan};

/// How files of a format are found and read.
pub(super) struct Reader {
    pub format: Format,
    /// Names of such files, each with at most one `*`, by which a search takes them. A file may be
    /// packed.
    pub names: &'static [&'static str],
    /// The folder that a search takes them from, if not from any. Such files may have nothing to
    /// say, which is no damage.
    pub folder: Option<&'static str>,
    /// Whether it is one. The first reader that says so takes a file.
    sniff: fn(&Head<'_>) -> bool,
    /// Other names, of which a search takes those files whose (unpacked) beginning shows what they are.
    pub by_content: Option<ByContent>,
    read: fn(Input, ReadOptions, &mut Trace) -> Result<()>,
}

/// A pattern of names, and what tells files of the format among those.
pub(super) type ByContent = (&'static str, fn(&[u8]) -> bool);

/// All formats, in the order in which they are asked.
pub(super) const READERS: &[Reader] = &[
    Reader {
        format: Format::ServerLog,
        names: &["*.log"],
        folder: Some("logs"),
        sniff: |head| head.name.ends_with(".log"),
        by_content: None,
        read: server_log::read,
    },
    Reader {
        format: Format::Requests,
        names: &["requests.jsonl"],
        folder: None,
        sniff: |head| head.name == "requests.jsonl",
        by_content: None,
        read: |input, _, trace| {
            requests::read(&input.name(), &input.whole()?, trace);
            Ok(())
        },
    },
    Reader {
        format: Format::Pprof,
        names: &["*.prof", "*.pprof", "*.cpu.pb"],
        folder: None,
        sniff: |head| pprof::is_pprof(&head.bytes),
        by_content: None,
        read: |input, _, trace| pprof::read(&input.name(), &input.whole()?, trace),
    },
    Reader {
        format: Format::MemoryReport,
        names: &["memory_report_*.json", "memory_summary.json"],
        folder: None,
        sniff: |head| memory_report::is_report(head.name, &head.bytes),
        by_content: None,
        read: |input, _, trace| memory_report::read(&input.name(), &input.whole()?, trace),
    },
    Reader {
        format: Format::XSpan,
        names: &["*.xspan"],
        folder: None,
        sniff: |head| head.bytes.starts_with(b"XSPAN"),
        by_content: None,
        read: |input, _, trace| xspan::read(&input.name(), &input.whole()?, trace),
    },
    Reader {
        format: Format::ChromeJson,
        names: &["*.trace.json"],
        folder: None,
        // A plane may begin as JSON does.
        sniff: |head| chrome::is_json(&head.bytes) && !xplane::is_xplane(&head.bytes),
        by_content: Some(("*.json", chrome::is_chrome_json)),
        read: |input, _, trace| chrome::read(&input.name(), || input.stream(), trace),
    },
    Reader {
        format: Format::XPlane,
        names: &["*.xplane.pb", "*.xplane.riegeli"],
        folder: None,
        sniff: |head| xplane::is_xplane(&head.bytes) || riegeli::is_riegeli(&head.bytes),
        by_content: None,
        read: |input, options, trace| {
            let name = input.name();
            let (bytes, lost) = input.xplane()?;
            let needed = options.needed_of(bytes.len(), trace);
            xplane::read(&name, &SharedBytes::new(bytes), needed, trace)?;
            trace.findings.extend(lost.finding());
            Ok(())
        },
    },
];

/// The reader of files of this name, if it is one's.
pub(super) fn named(path: &Path) -> Option<&'static Reader> {
    READERS.iter().find(|reader| reader.is_named(path))
}

impl Reader {
    /// Whether a search takes a file of this name, whatever is in it.
    pub(super) fn is_named(&self, path: &Path) -> bool {
        self.names.iter().any(|pattern| fits(pattern, plain_name(path)))
    }

    /// The names of its files.
    fn all_names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied().chain(self.by_content.map(|(pattern, _)| pattern))
    }
}

/// Whether a name fits a pattern with at most one `*`.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((before, after)) => {
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        }
        None => pattern == name,
    }
}

/// Reads one file, of whatever format it is.
pub(super) fn read(input: Input, options: ReadOptions, trace: &mut Trace) -> Result<()> {
    let format = named(&input.path).map_or(Format::XPlane, |reader| reader.format);
    // A run has no rows before its first answer.
    if input.is_empty() && format != Format::Requests {
        let hint = match format.has_operations() {
            true => {
                "JAX writes an empty file when a profile would be larger than 2 GiB; capture for a \
                 shorter time, without the Python tracer"
            }
            false => "whoever was to write it ended before, or its disk is full",
        };
        return Err(Error::Empty { path: input.path, hint });
    }
    let head = input.head();
    if head.bytes.is_empty() && !input.is_empty() {
        // The packing is damaged at its start, or packs nothing.
        drop(head);
        let path = input.path.clone();
        input.whole()?;
        return Err(Error::UnknownFormat {
            path,
            found: "nothing is packed".into(),
            known: known(),
        });
    }
    let Some(reader) = READERS.iter().find(|reader| (reader.sniff)(&head)) else {
        let found = what_else(&head.bytes).to_owned();
        return Err(Error::UnknownFormat { path: input.path, found, known: known() });
    };
    drop(head);
    (reader.read)(input, options, trace).map_err(|error| match error {
        Error::UnknownFormat { path, found, .. } => {
            Error::UnknownFormat { path, found, known: known() }
        }
        error => error,
    })
}

/// What a file is that no reader takes.
fn what_else(head: &[u8]) -> &'static str {
    if head.iter().all(u8::is_ascii_whitespace) {
        return "only white space";
    }
    match pprof::is_gperftools(head) {
        true => {
            "a CPU profile of gperftools' older kind, addresses without names: convert it with `pprof \
             -proto`"
        }
        false => "unknown bytes",
    }
}

/// What is read, in words.
fn known() -> String {
    let shown = READERS.iter().rev().map(|reader| {
        let names: Vec<&str> = reader.all_names().collect();
        format!("{} ({})", reader.format.title(), names.join(", "))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The names that a search looks for, in words.
pub(super) fn searched() -> String {
    READERS.iter().rev().flat_map(Reader::all_names).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{READERS, fits, known};

    #[test]
    fn patterns_have_one_star_at_most() {
        assert!(fits("*.xplane.pb", "host.xplane.pb") && fits("a_*.json", "a_.json"));
        assert!(!fits("a_*_b", "a_b") && !fits("requests.jsonl", "old_requests.jsonl"));
        for pattern in READERS.iter().flat_map(super::Reader::all_names) {
            assert!(pattern.matches('*').count() <= 1, "{pattern}");
        }
    }

    #[test]
    fn every_format_is_read() {
        let known = known();
        assert!(known.contains("XPlane (*.xplane.pb, *.xplane.riegeli)"), "{known}");
        for reader in READERS {
            let others = READERS.iter().filter(|other| other.format == reader.format);
            assert_eq!(others.count(), 1, "{:?}", reader.format);
        }
    }
}
