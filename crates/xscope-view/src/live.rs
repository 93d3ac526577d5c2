//! A benchmark while it runs, as a page that is drawn again and again.

use xscope_load::newest::{Answer, Newest, NewestFigures};
use xscope_trace::Nanos;
use xscope_trace::stage::Stage;
use xscope_trace::stats::as_f64;

use crate::colour::{Text, Tone};
use crate::text::{bar, percent, shorten};

/// Requests of the row of small bars.
const SHOWN: usize = 80;

/// What is known of the requests of a phase so far.
#[derive(Debug, Default)]
pub struct Live {
    phase: String,
    /// If it is known.
    total: Option<u64>,
    last: Nanos,
    newest: Newest,
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

    /// A request ended; `None` if it failed.
    pub fn ended(&mut self, end: Nanos, answer: Option<Answer>) {
        self.last = self.last.max(end);
        self.newest.add(answer);
    }

    /// Whether the phase is over.
    pub fn is_over(&self) -> bool {
        Some(self.newest.requests()) == self.total
    }

    /// When the last request ended, on the clock of the requests.
    pub fn last(&self) -> Nanos {
        self.last
    }

    /// The page.
    pub fn text(&self) -> Text {
        let figures = self.newest.figures();
        let mut out = Tone::Title.of(&shorten(&self.phase, 60));
        out += format!("  {} ", figures.requests);
        if let Some(total) = self.total {
            let share = as_f64(figures.requests) / as_f64(total.max(1));
            out += format!("of {total}  ");
            out += Tone::Drawing.of(&format!("{:<24}", bar(share, 24)));
            out += format!(" {}  ", percent(share));
        }
        out.line(format!("{} failed", figures.failed));
        if let Some(most_ms) = figures.max_ms {
            latencies(&figures, most_ms, &mut out);
        }
        stages(&figures, &mut out);
        out
    }
}

fn latencies(figures: &NewestFigures, most_ms: f64, out: &mut Text) {
    let shown = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
    out.line(format!(
        "Latency ms of the latest {}: p50 {}  p95 {}  p99 {}  max {most_ms:.2}   {}",
        figures.newest,
        shown(figures.p50_ms),
        shown(figures.p95_ms),
        shown(figures.p99_ms),
        figures.per_sec.map_or_else(String::new, |rate| format!("{rate:.1} requests/s")),
    ));
    let latest = &figures.latencies[figures.latencies.len().saturating_sub(SHOWN)..];
    let small: String = latest.iter().map(|(_, ms)| small_bar(ms / most_ms)).collect();
    *out += " ";
    out.line(Tone::Drawing.of(&small));
}

/// Mean times of the pipeline's stages; what else a server names may hold them.
fn stages(figures: &NewestFigures, out: &mut Text) {
    let known = Stage::ALL.map(|stage| Some((stage, *figures.stages_ms.get(stage.name())?)));
    let known = || known.iter().flatten();
    let most = known().map(|&(_, ms)| ms).fold(f64::MIN_POSITIVE, f64::max);
    for (stage, ms) in known() {
        *out += format!(" {stage:<16} {ms:>10.3} ms  ");
        out.line(Tone::Drawing.of(&bar(ms / most, 40)));
    }
}

/// One of eight heights for a share of the largest.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=7")]
fn small_bar(share: f64) -> char {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    HEIGHTS[(share * 7.0).clamp(0.0, 7.0) as usize]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use xscope_load::newest::Answer;
    use xscope_trace::Nanos;

    use super::Live;

    #[test]
    fn the_page_tells_the_phase_the_latency_and_the_stages() {
        let mut live = Live::default();
        live.begin("measure: 4 items", Some(200));
        for index in 0..100 {
            let end = Nanos(index * 11_000_000);
            let server_ms = BTreeMap::from([("forward".to_owned(), 3.0)]);
            let latency_ms = (end.as_millis() / 11.0) + 1.0;
            let answer = Answer { end, latency_ms, server_ms };
            live.ended(end, (index != 50).then_some(answer));
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
