//! Replays the committed corpora of `fuzz/`, so that what a fuzzer once found stays fixed without
//! a nightly toolchain.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::feed;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 10] = [
    ("xplane", feed::xplane),
    ("riegeli", feed::riegeli),
    ("chrome_json", feed::chrome_json),
    ("xspan", feed::xspan),
    ("requests_jsonl", feed::requests_jsonl),
    ("compact", feed::compact),
    ("pprof", feed::pprof),
    ("memory_report", feed::memory_report),
    ("server_log", feed::server_log),
    ("write", feed::write),
];

#[test]
fn every_input_of_the_corpora_is_survived() {
    let corpora = xscope_testing::repository().join("fuzz/corpus-seed");
    for (target, feed) in TARGETS {
        let mut inputs: Vec<_> = fs::read_dir(corpora.join(target))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{target} has a corpus");
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            let result = catch_unwind(AssertUnwindSafe(|| feed(&bytes)));
            assert!(result.is_ok(), "target {target} does not survive {}", input.display());
        }
    }
}
