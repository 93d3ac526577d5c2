//! Puts all sources of a trace on one time axis.
//!
//! Sources of one machine that stamp the monotonic clock are placed by it, exactly. Others are
//! placed by the wall time that they state, as good as that machine's clock is. A source that
//! states neither stays where it is, and so does one that began so much later than the first that
//! the axis does not reach it; the trace says so.

use std::path::Path;

use crate::model::{Source, SourceId, Trace};
use crate::quality::{Code, Finding};
use crate::run::{RunDir, ServerClock};
use crate::strings::Strings;
use crate::time::{Nanos, Picos};

/// The latest that a source may begin after the first one, in days. The axis counts picoseconds in
/// 64 bits, which is 106 days; the rest is for the profile itself.
const MOST_DAYS_APART: i64 = 90;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// Shifts every source so that the earliest time zero is the trace's.
pub(super) fn align(trace: &mut Trace) {
    let clocks = trace.sources.iter().map(|source| source.clock);
    let wall_minus_monotonic = clocks
        .clone()
        .find_map(|clock| Some(clock.unix_epoch?.0.saturating_sub(clock.monotonic_epoch?.0)));
    let mut zeros: Vec<Option<i64>> = clocks
        .map(|clock| match (clock.monotonic_epoch, wall_minus_monotonic) {
            (Some(monotonic), Some(offset)) => Some(monotonic.0.saturating_add(offset)),
            (Some(monotonic), None) => Some(monotonic.0),
            (None, _) => clock.unix_epoch.map(|epoch| epoch.0),
        })
        .collect();
    let timed = trace.sources.iter().zip(&zeros).filter(|(source, _)| source.format.has_times());
    let (timed, unplaced) = timed.fold((0, 0_u64), |(timed, unplaced), (_, zero)| {
        (timed + 1, unplaced + u64::from(zero.is_none()))
    });
    if unplaced > 0 && timed > 1 {
        trace.findings.push(
            Finding::new(
                Code::ClockUnknown,
                "sources do not say when they began; their times cannot be compared with those \
                 of the others",
            )
            .times(unplaced),
        );
    }
    let Some(first) = zeros.iter().flatten().min().copied() else { return };
    let mut far_apart = 0;
    for zero in &mut zeros {
        if zero.is_some_and(|zero| zero.saturating_sub(first) > MOST_DAYS_APART * NANOS_PER_DAY) {
            far_apart += 1;
            *zero = None;
        }
    }
    if far_apart > 0 {
        let message = format!(
            "sources began more than {MOST_DAYS_APART} days after the first and are shown as if \
             they had begun with it: they are profiles of different sessions, look at each alone"
        );
        trace.findings.push(Finding::new(Code::ClockFarApart, message).times(far_apart));
    }
    let shifts: Vec<Picos> = zeros
        .iter()
        .map(|zero| zero.map_or(Picos::ZERO, |zero| Picos::from(Nanos(zero.saturating_sub(first)))))
        .collect();
    for (source, &shift) in trace.sources.iter_mut().zip(&shifts) {
        source.clock.offset = shift;
    }
    move_times(trace, |source| {
        let by = *shifts.get(source.0 as usize)?;
        (by != Picos::ZERO).then_some(Move { by, drift: None })
    });
}

/// Subtracts from all times of a source what its clock is ahead, and what it gains, per picosecond, away from
/// a moment.
pub fn move_source(trace: &mut Trace, moved: SourceId, ahead: Picos, drift: Option<(f64, Picos)>) {
    if ahead == Picos::ZERO && drift.is_none() {
        return;
    }
    let by = Move { by: Picos(-ahead.0), drift };
    move_times(trace, |source| (source == moved).then_some(by));
    let clock = &mut trace.sources[moved].clock;
    clock.offset = clock.offset.saturating_add(by.by);
}

/// How times of a source move.
#[derive(Clone, Copy)]
struct Move {
    /// What is added.
    by: Picos,
    /// What its clock gains, per picosecond, away from a moment.
    drift: Option<(f64, Picos)>,
}

impl Move {
    fn of(&self, time: Picos) -> Picos {
        let gained = self.drift.map_or(0, |(drift, at)| {
            #[expect(clippy::cast_precision_loss, reason = "of a millionth of it")]
            #[expect(clippy::cast_possible_truncation, reason = "far less than the time itself")]
            ((time.0.saturating_sub(at.0) as f64 * drift).round() as i64)
        });
        time.saturating_add(self.by).saturating_add(Picos(-gained))
    }
}

/// Moves the times of sources; of those that stay nothing is looked at, for there are millions.
fn move_times(trace: &mut Trace, move_of: impl Fn(SourceId) -> Option<Move>) {
    let all = |times: &mut [Picos], source: SourceId| {
        if let Some(by) = move_of(source) {
            times.iter_mut().for_each(|time| *time = by.of(*time));
        }
    };
    let to = |source: SourceId, time: Picos| move_of(source).map_or(time, |by| by.of(time));
    for track in &mut trace.tracks {
        all(&mut track.slices.start, track.source);
    }
    for dropped in &mut trace.dropped {
        let Some(track) = trace.tracks.get(dropped.track) else { continue };
        dropped.first = to(track.source, dropped.first);
        dropped.last = to(track.source, dropped.last);
    }
    for counter in &mut trace.counters {
        all(&mut counter.at, counter.source);
    }
    for span in &mut trace.spans {
        span.start = to(span.source, span.start);
    }
    for row in &mut trace.log {
        row.at = row.at.map(|at| to(row.source, at));
    }
    for request in &mut trace.client {
        let to = |time| to(request.source, time);
        request.intended = to(request.intended);
        request.sent = request.sent.map(to);
        request.end = to(request.end);
    }
}

/// Says of sources that only have the monotonic clock of the run's machine what wall time that is.
pub(super) fn place_own(run: &RunDir, sources: &mut [Source]) {
    let offset = run.manifest.clock.wall_offset;
    for clock in sources.iter_mut().map(|source| &mut source.clock) {
        if let (Some(monotonic), None, true) =
            (clock.monotonic_epoch, clock.unix_epoch, offset != Nanos::ZERO)
        {
            clock.unix_epoch = Some(Nanos(monotonic.0.saturating_add(offset.0)));
        }
    }
}

/// Puts the sources of a run's servers on the run's clock, and names their hosts after them where
/// there are several.
pub(super) fn place_servers(run: &RunDir, sources: &mut [Source], strings: &mut Strings) {
    for server in &run.manifest.servers {
        let folders = [run.server_trace_dir(server), run.server_spans_dir(server)];
        for source in sources.iter_mut() {
            if !folders.iter().any(|folder| Path::new(&source.path).starts_with(folder)) {
                continue;
            }
            if !server.name.is_empty() {
                let host = match strings.get(source.host) {
                    "" => server.name.clone(),
                    host => format!("{} ({host})", server.name),
                };
                source.host = strings.intern(&host);
                source.server = strings.intern(&server.name);
            }
            if let Some(ServerClock { ahead, error }) = server.clock {
                let clock = &mut source.clock;
                clock.unix_epoch =
                    clock.unix_epoch.map(|epoch| Nanos(epoch.0.saturating_sub(ahead.0)));
                clock.error = Some(Picos::from(error));
                // Another machine's, which counts from that machine's start.
                clock.monotonic_epoch = None;
            }
        }
    }
}
