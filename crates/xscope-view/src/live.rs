//! A benchmark while it runs, as a page that is drawn again and again.

use std::collections::{BTreeMap, VecDeque};

use xscope_analysis::requests::pipeline::PIPELINE;
use xscope_trace::stats::{Percentile, as_f64};
use xscope_trace::{Nanos, Picos};

use crate::colour::{Text, Tone};
use crate::text::{bar, percent, shorten};

/// Figures are of so many requests, the latest: the page shows what is, not what was.
const LATEST: usize = 2000;

/// Requests of the row of small bars.
const SHOWN: usize = 80;

/// What is known of the requests of a phase so far.
#[derive(Debug, Default)]
pub struct Live {
    phase: String,
    done: u64,
    /// If it is known.
    total: Option<u64>,
    failed: u64,
    first: Option<Nanos>,
    last: Nanos,
    latencies: VecDeque<Picos>,
    /// Sum of milliseconds and number of requests, by what the server says of its stages.
    stages: BTreeMap<String, (f64, u64)>,
}

impl Live {
    /// A phase of `total` requests begins; `None` if time ends it.
    pub fn begin(&mut self, phase: &str, total: Option<u64>) {
        *self = Self { phase: phase.to_owned(), total, ..Self::default() };
    }

    /// The phase goes on, up to so many requests.
    pub fn go_on(&mut self, total: Option<u64>) {
        self.total = total;
    }

    /// A request ended.
    pub fn ended(&mut self, due: Nanos, end: Nanos, ok: bool, stages: &BTreeMap<String, f64>) {
        self.done += 1;
        self.first = Some(self.first.map_or(due, |first| first.min(due)));
        self.last = self.last.max(end);
        if !ok {
            self.failed += 1;
            return;
        }
        if self.latencies.len() == LATEST {
            self.latencies.pop_front();
        }
        self.latencies.push_back(Picos(end.0.saturating_sub(due.0).saturating_mul(1000)));
        for (stage, ms) in stages {
            let (sum, count) = self.stages.entry(stage.clone()).or_default();
            (*sum, *count) = (*sum + ms, *count + 1);
        }
    }

    /// Whether the phase is over.
    pub fn is_over(&self) -> bool {
        Some(self.done) == self.total
    }

    /// When the last request ended, on the clock of the requests.
    pub fn last(&self) -> Nanos {
        self.last
    }

    /// The page.
    pub fn text(&self) -> Text {
        let mut out = Tone::Title.of(&shorten(&self.phase, 60));
        out += format!("  {} ", self.done);
        if let Some(total) = self.total {
            let share = as_f64(self.done) / as_f64(total.max(1));
            out += format!("of {total}  ");
            out += Tone::Drawing.of(&format!("{:<24}", bar(share, 24)));
            out += format!(" {}  ", percent(share));
        }
        out.line(format!("{} failed", self.failed));
        let mut sorted: Vec<Picos> = self.latencies.iter().copied().collect();
        sorted.sort_unstable();
        if let Some(most) = sorted.last() {
            let ms = |time: Picos| time.as_micros() / 1e3;
            let at = |percentile: Percentile| {
                let given = percentile.given(&sorted).map(ms);
                let given = given.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
                format!("p{} {given}", percentile.percent())
            };
            out.line(format!(
                "Latency ms of the latest {}: {}  {}  {}  max {:.2}   {}",
                sorted.len(),
                at(Percentile::P50),
                at(Percentile::P95),
                at(Percentile::P99),
                ms(*most),
                self.rate(),
            ));
            let latest = self.latencies.iter().skip(self.latencies.len().saturating_sub(SHOWN));
            let small: String = latest.map(|&time| small_bar(time, *most)).collect();
            out += " ";
            out.line(Tone::Drawing.of(&small));
        }
        self.stage_rows(&mut out);
        out
    }

    fn rate(&self) -> String {
        let seconds =
            self.first.map_or(0.0, |first| as_f64((self.last.0 - first.0).unsigned_abs()) / 1e9);
        match seconds > 0.0 {
            true => format!("{:.1} requests/s", as_f64(self.done) / seconds),
            false => String::new(),
        }
    }

    /// Mean times of the pipeline's stages; what else a server names may hold them.
    fn stage_rows(&self, out: &mut Text) {
        let stages = PIPELINE.iter().filter_map(|&name| {
            let (sum, count) = self.stages.get(name)?;
            Some((name, sum / as_f64(*count)))
        });
        let most = stages.clone().map(|(_, ms)| ms).fold(f64::MIN_POSITIVE, f64::max);
        for (name, ms) in stages {
            *out += format!(" {name:<16} {ms:>10.3} ms  ");
            out.line(Tone::Drawing.of(&bar(ms / most, 40)));
        }
    }
}

/// One of eight heights for a share of the largest.
fn small_bar(time: Picos, most: Picos) -> char {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let eighth = time.0.saturating_mul(7).checked_div(most.0).unwrap_or(0);
    HEIGHTS[usize::try_from(eighth).unwrap_or(0).min(7)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use xscope_trace::Nanos;

    use super::Live;

    #[test]
    fn the_page_tells_the_phase_the_latency_and_the_stages() {
        let mut live = Live::default();
        live.begin("measure: 4 items", Some(200));
        for index in 0..100 {
            let due = index * 10_000_000;
            let stages = BTreeMap::from([("forward".to_owned(), 3.0)]);
            live.ended(Nanos(due), Nanos(due + (index + 1) * 1_000_000), index != 50, &stages);
        }
        let text = live.text();
        let text = text.plain();
        for part in [
            "measure: 4 items",
            "100 of 200",
            "50.0 %",
            "1 failed",
            "p50 50.00",
            "forward",
            "3.000 ms",
            "█",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        live.go_on(Some(250));
        assert!(live.text().plain().contains("100 of 250  "), "{}", live.text());
        assert!(!live.is_over());
        assert!(Live::default().text().plain().contains("0 0 failed"));
    }
}
