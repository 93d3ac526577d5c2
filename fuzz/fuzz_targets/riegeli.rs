#![no_main]

#[path = "../../crates/xscope-trace/tests/it/feed.rs"]
#[expect(dead_code, reason = "each target feeds one reader")]
mod feed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| feed::riegeli(bytes));
