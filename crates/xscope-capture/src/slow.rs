//! `xscope run --slow-over`: keeps the spans of slow requests, and profiles the device for the next
//! one like the first.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use xscope_trace::{Nanos, clock};

use crate::control::Control;
use crate::profiler::{self, TracerLevels};
use crate::ring::{Like, Request, Ring};
use crate::watchdog::Watched;

/// How often the ring is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What was under way together with a slow request has so long to end.
const SETTLE: Nanos = Nanos(1_000_000_000);

/// How long the device is profiled for a request that does not come, and how often that is tried.
const ARMED: Nanos = Nanos(10_000_000_000);
const TRIES: u32 = 5;

/// What happened before a server failed is worth as much as a slow request.
const LAST_WORDS: Nanos = Nanos(10_000_000_000);

/// Slow requests that are listed one by one; all are counted.
const LISTED: usize = 1000;

/// What counts as slow.
#[derive(Debug, Clone)]
pub struct SlowOptions {
    /// As the server sees it, from the start of the request to the end of its answer.
    pub over: Nanos,
    /// Where the server's profiler is steered; only spans are kept if `None`.
    pub url: Option<String>,
}

/// What was seen and kept: `slow` in `run.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlowSummary {
    /// What counts as slow.
    pub over_ms: f64,
    /// Requests that were answered, and those of them that took longer.
    #[serde(rename = "answered_requests")]
    pub requests: u64,
    /// Requests that took longer than `over_ms`.
    #[serde(rename = "slow_requests")]
    pub slow: u64,
    /// Those of which spans were kept.
    pub kept: Vec<KeptRequest>,
    /// Whether there is a device profile of a request like a slow one.
    pub profiled: bool,
    /// Spans of other times that were thrown away.
    pub spans_thrown_away: u64,
}

/// A slow request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeptRequest {
    /// As its client calls it, if it does.
    pub request_id: Option<String>,
    /// On the monotonic clock.
    pub start_ns: i64,
    /// From its first span to its last.
    pub latency_ms: f64,
    /// What makes other requests like it to a server that compiles for shapes.
    like: Like,
}

/// The device profile that is under way.
#[derive(Debug)]
struct Armed {
    profiler: Watched,
    like: Like,
    since: Nanos,
    has_come: bool,
}

/// Follows the ring of a running server.
#[derive(Debug)]
pub(crate) struct Watch {
    options: SlowOptions,
    watchdog: Vec<OsString>,
    run: PathBuf,
    ring: Ring,
    /// Slow requests whose surroundings are not over yet.
    waiting: Vec<Request>,
    armed: Option<Armed>,
    /// What the device shall be profiled for next.
    wanted: Option<Like>,
    tries: u32,
    summary: SlowSummary,
}

impl Watch {
    /// For a server that writes its spans to `ring`, into the run at `run`; the watchdog is as in
    /// [`RunRequest`](crate::RunRequest).
    pub(crate) fn new(
        options: SlowOptions,
        watchdog: Vec<OsString>,
        run: &Path,
        ring: &Path,
    ) -> Self {
        let over_ms = options.over.as_millis();
        Self {
            options,
            watchdog,
            run: run.to_owned(),
            ring: Ring::new(ring.to_owned(), run.join("spans")),
            waiting: Vec::new(),
            armed: None,
            wanted: None,
            tries: 0,
            summary: SlowSummary { over_ms, ..SlowSummary::default() },
        }
    }

    /// Never ends by itself.
    pub(crate) async fn follow(&mut self, control: Control<'_>) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look(clock::monotonic(), control);
            self.steer(control).await;
        }
    }

    /// Takes in what the ring has, up to `now`.
    fn look(&mut self, now: Nanos, control: Control<'_>) {
        for request in self.ring.requests(now) {
            self.summary.requests += 1;
            if let Some(armed) = &mut self.armed
                && request.start >= armed.since
            {
                armed.has_come |= self.ring.like(&request) == armed.like;
            }
            if request.end - request.start > self.options.over {
                self.summary.slow += 1;
                let (request_id, ms) =
                    (request.id.clone(), (request.end - request.start).as_millis());
                let request_id = request_id.unwrap_or_else(|| "a request".to_owned());
                control.say(format!("slow: {request_id} took {ms:.0} ms"));
                self.waiting.push(request);
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        let (settled, waiting) = waiting.into_iter().partition(|slow| slow.end + SETTLE <= now);
        self.waiting = waiting;
        self.keep(settled, control);
    }

    fn keep(&mut self, slow: Vec<Request>, control: Control<'_>) {
        for request in slow {
            self.keep_between(request.start, request.end, control);
            let like = self.ring.like(&request);
            self.wanted = Some(like.clone());
            if self.summary.kept.len() < LISTED {
                self.summary.kept.push(KeptRequest {
                    request_id: request.id,
                    start_ns: request.start.0,
                    latency_ms: (request.end - request.start).as_millis(),
                    like,
                });
            }
        }
    }

    fn keep_between(&mut self, from: Nanos, to: Nanos, control: Control<'_>) {
        if let Err(error) = self.ring.keep(from, to) {
            control.warn(format!("spans are lost: {error}"));
        }
    }

    /// Starts and stops the server's profiler, as it is due.
    async fn steer(&mut self, control: Control<'_>) {
        let Some(url) = self.options.url.clone() else { return };
        let now = clock::monotonic();
        if let Some(armed) = &self.armed {
            if armed.has_come || now - armed.since > ARMED {
                self.disarm(control).await;
            }
            return;
        }
        let Some(like) = self.wanted.take() else { return };
        if self.summary.profiled || self.tries == TRIES {
            return;
        }
        self.tries += 1;
        let order = profiler::order_below(&self.run, TracerLevels::default());
        match Watched::start(&url, &order, &self.watchdog, control.cancel).await {
            Ok(profiler) => {
                let since = clock::monotonic();
                self.armed = Some(Armed { profiler, like, since, has_come: false });
                control.say("profiling the device until a request like it comes");
            }
            Err(why) => {
                control.warn(format!("the device is not profiled: {why}"));
            }
        }
    }

    async fn disarm(&mut self, control: Control<'_>) {
        let Some(armed) = self.armed.take() else { return };
        if let Err(why) = armed.profiler.stop(profiler::STOP_LIMIT).await {
            control.warn(format!("the profiler may still be running: {why}"));
        }
        if armed.has_come {
            self.summary.profiled = true;
            // The processes of the server write their spans a little after the fact, and not together.
            tokio::time::sleep(LOOK).await;
            self.keep_between(armed.since, clock::monotonic(), control);
            control.say("the device profile of one like it is in the run");
        } else {
            // What it shows is another kind of request, or none.
            let trace = self.run.join("trace");
            fs::remove_dir_all(&trace).and_then(|()| fs::create_dir(&trace)).ok();
            control.warn(
                "no request like the slow one came while the device was profiled: the profile was \
                 thrown away",
            );
        }
    }

    /// When the server has ended: keeps what is left to keep.
    pub(crate) fn finish(mut self, has_failed: bool, control: Control<'_>) -> SlowSummary {
        let now = clock::monotonic();
        self.look(now + SETTLE + SETTLE, control);
        if has_failed {
            self.keep_between(now - LAST_WORDS, now, control);
        }
        self.summary.spans_thrown_away = self.ring.thrown_away();
        self.summary
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use xscope_load::Cancel;
    use xscope_trace::span::{self, Span, SpanWriter, ThreadId, Value};
    use xscope_trace::{Bytes, Nanos, clock};

    use super::{Control, SlowOptions, SlowSummary, Watch};

    const MS: i64 = 1_000_000;

    /// One process of a ring whose spans are given as name, request, start and end in ms.
    fn ring(directory: &Path, zero: Nanos, spans: &[(&str, i64, i64, i64)]) {
        let writer = SpanWriter::create(&directory.join("1.xspan"), Bytes(1 << 20)).unwrap();
        for &(name, request, start, end) in spans {
            let record = writer.span(&Span {
                name: writer.name(name),
                thread: ThreadId(7),
                start: zero + Nanos(start * MS),
                dur: Nanos((end - start) * MS),
                request: Some(Value::Int(request)),
                arg: (name == "request").then(|| {
                    (writer.name("request_id"), Value::Text(writer.text(&format!("r{request}"))))
                }),
                ..Span::default()
            });
            if name == "request" {
                let rid = writer.text(&format!("rid{request}"));
                writer.extra_arg(record.unwrap(), writer.name("rid"), Value::Text(rid));
            }
        }
        writer.close().unwrap();
    }

    fn watched(over_ms: i64, spans: &[(&str, i64, i64, i64)]) -> (SlowSummary, Vec<(String, i64)>) {
        let directory = tempfile::tempdir().unwrap();
        let (run, at) = (directory.path(), directory.path().join(".ring"));
        std::fs::create_dir(&at).unwrap();
        std::fs::create_dir(run.join("spans")).unwrap();
        let zero = Nanos(clock::monotonic().0 - 60_000 * MS);
        ring(&at, zero, spans);
        let options = SlowOptions { over: Nanos(over_ms * MS), url: None };
        let mut watch = Watch::new(options, Vec::new(), run, &at);
        let control = Control { cancel: &Cancel::new(), on_event: &|_| () };
        watch.look(clock::monotonic(), control);
        let summary = watch.finish(false, control);
        let kept = std::fs::read(run.join(format!("spans/{}.xspan", std::process::id())));
        let kept = kept.unwrap_or_default();
        let file = span::read(&kept).0;
        let rows = file.spans.iter().map(|row| {
            let name = file.strings.get(row.span.name).unwrap().to_owned();
            (name, (row.span.start - zero).0 / MS)
        });
        (summary, rows.collect())
    }

    #[test]
    fn what_went_on_around_a_slow_request_is_kept_and_nothing_else() {
        let spans = [
            ("request", 1, 0, 10),
            // Half of the neighbour lies before the slow one.
            ("tokenize", 2, 100, 105),
            ("tokenize", 3, 120, 121),
            ("request", 2, 100, 130),
            ("forward", 3, 121, 390),
            ("request", 3, 120, 400),
            ("request", 4, 900, 910),
        ];
        let (summary, kept) = watched(200, &spans);
        assert_eq!((summary.requests, summary.slow), (4, 1));
        assert_eq!(summary.kept[0].request_id.as_deref(), Some("r3"));
        let names: Vec<(&str, i64)> = kept.iter().map(|(name, at)| (name.as_str(), *at)).collect();
        let expected = [
            ("tokenize", 100),
            ("tokenize", 120),
            ("request", 100),
            ("forward", 121),
            ("request", 120),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn neighbours_that_are_slow_too_are_kept_once() {
        let spans = [("request", 1, 0, 300), ("forward", 2, 250, 500), ("request", 2, 200, 520)];
        let (summary, kept) = watched(200, &spans);
        assert_eq!((summary.slow, kept.len()), (2, 3));
        let (summary, kept) = watched(1000, &spans);
        assert_eq!((summary.requests, summary.slow, kept.len()), (2, 0, 0));
    }
}
