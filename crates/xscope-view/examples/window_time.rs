//! How long windows of a profile take: `window_time PATH [WINDOWS]`.
//!
//! Asks for windows as a person does: anywhere, at any zoom, for the tracks that a screen has, and
//! 3000 pixels wide (a screen with the margin that the page asks for).

#![expect(clippy::print_stdout, reason = "an example speaks on stdout")]

use std::path::PathBuf;

use xscope_trace::{Nanos, Picos, clock, read_paths};
use xscope_view::timeline::{Direction, Timeline, WindowQuery};

const ITEMS_ON_SCREEN: u32 = 24;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = PathBuf::from(args.next().ok_or("usage: window_time PATH [WINDOWS]")?);
    let windows: u64 = args.next().map_or(Ok(1000), |count| count.parse())?;
    let begun = clock::monotonic();
    let trace = read_paths(&[path])?;
    let loaded = clock::monotonic();
    let slices = trace.slice_count();
    let timeline = Timeline::new(trace);
    let indexed = clock::monotonic();
    println!(
        "{slices} slices: read in {:.0} ms, indexed in {:.0} ms",
        (loaded - begun).as_millis(),
        (indexed - loaded).as_millis()
    );
    let (from, to) = timeline.extent();
    let items = u32::try_from(timeline.items().len())?;
    let mut random = Random(1);
    let mut times = Vec::new();
    let mut bytes = Vec::new();
    for _ in 0..windows {
        let length = (to - from).0 >> random.below(20);
        let start = from + Picos(random.below((to - from).0.max(1)));
        let first = u32::try_from(random.below(i64::from(items.max(1))))?;
        let last = first.saturating_add(ITEMS_ON_SCREEN).min(items);
        let items = std::iter::once(first..last).collect();
        let query =
            WindowQuery { from: start, to: start + Picos(length.max(1)), pixels: 3000, items };
        let asked = clock::monotonic();
        let answer = timeline.window(&query);
        times.push(clock::monotonic() - asked);
        bytes.push(answer.len());
    }
    times.sort_unstable();
    bytes.sort_unstable();
    let at = |part: usize| (times.len() * part / 100).min(times.len().saturating_sub(1));
    let time = |part| times.get(at(part)).copied().unwrap_or(Nanos::ZERO).as_millis();
    println!(
        "windows (n = {windows}): p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms; p99 {} bytes",
        time(50),
        time(99),
        time(100),
        bytes.get(at(99)).copied().unwrap_or(0)
    );
    let asked = clock::monotonic();
    let found = timeline.search("fn_1", None, Direction::Next);
    let searched = clock::monotonic();
    let stats = timeline.stats(from, to, &[]);
    let summed = clock::monotonic();
    println!(
        "search over everything: {:.1} ms ({} matches); statistics of everything: {:.1} ms ({} slices)",
        (searched - asked).as_millis(),
        found.total,
        (summed - searched).as_millis(),
        stats.slices
    );
    Ok(())
}

/// The same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 1).unwrap_or(0) % end
    }
}
