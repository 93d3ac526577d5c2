//! Reads logs of servers.

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::{Clock, Format, LogRow, Source, Trace};
use crate::quality::{Code, Finding};
use crate::read::input::Input;
use crate::read::options::ReadOptions;
use crate::run::RunDir;
use crate::server_log::{STAMP_WITHIN, parse, stamp};
use crate::strings::StrId;
use crate::time::{Bytes, Nanos, Picos};

/// Servers stamp their lines to the second.
const RESOLUTION: Nanos = Nanos(1_000_000_000);

/// Time zones differ from UTC by multiples of this.
const QUARTER_HOUR_NANOS: i64 = 900 * 1_000_000_000;

/// No time zone is farther from UTC than this.
const FARTHEST_ZONE_NANOS: i64 = 15 * 3600 * 1_000_000_000;

/// Reads a log into `trace`. Its time zone is told by the run that it is part of: UTC if all of the
/// log then lies in the run, else the one in which its last line is the least before the end.
///
/// # Errors
/// [`Error::NothingFound`] if no line says anything.
pub(super) fn read(input: Input, _: ReadOptions, trace: &mut Trace) -> Result<()> {
    let (path, run) = (input.name(), run_of(&input.path));
    let bytes = input.whole()?;
    let lines = parse(&bytes);
    if lines.is_empty() {
        return Err(Error::NothingFound {
            path: path.into(),
            what: "no line of it says what a server ran or compiled; logs of sglang-jax do, and \
                   those of any program under JAX_LOG_COMPILES=1"
                .to_owned(),
        });
    }
    let first = lines.iter().find_map(|line| line.at);
    let zone = run.zip(extent(&bytes)).and_then(|(run, log)| zone(run, log));
    let source = trace.sources.next_id();
    let epoch = first.map(|first| Nanos(first.0.saturating_sub(zone.unwrap_or_default().0)));
    let unplaced = lines.iter().filter(|line| line.at.is_none()).count() as u64;
    if unplaced > 0 {
        let message = format!("{path}: lines without a date cannot be placed in time");
        trace.findings.push(Finding::new(Code::LogNoDate, message).times(unplaced));
    }
    if zone.is_none() && first.is_some() {
        let message = format!("{path}: the time zone of the log is not known; it is read as UTC");
        trace.findings.push(Finding::new(Code::LogZone, message));
    }
    let zero = first.unwrap_or_default();
    trace.log.extend(lines.into_iter().map(|line| LogRow {
        source,
        at: line.at.map(|at| Picos::from(Nanos(at.0.saturating_sub(zero.0)))),
        event: line.event,
    }));
    trace.sources.push(Source {
        path,
        format: Format::ServerLog,
        size: Bytes(bytes.len() as u64),
        host: StrId::EMPTY,
        server: StrId::EMPTY,
        rank: None,
        clock: Clock {
            unix_epoch: epoch,
            error: Some(Picos::from(RESOLUTION)),
            ..Clock::default()
        },
        facts: Vec::new(),
    });
    Ok(())
}

/// From start to end of the run that a log is part of, since the Unix epoch.
fn run_of(log: &Path) -> Option<(Nanos, Nanos)> {
    let manifest = RunDir::open(log.parent()?.parent()?).ok()?.manifest;
    Some((manifest.started_wall, manifest.ended_wall?))
}

/// The times of the first and the last line that have one, whatever they say.
fn extent(bytes: &[u8]) -> Option<(Nanos, Nanos)> {
    let at = |line: &[u8]| stamp(&String::from_utf8_lossy(&line[..line.len().min(STAMP_WITHIN)]));
    let lines = || bytes.split(|&byte| byte == b'\n');
    lines().find_map(at).zip(lines().rev().find_map(at))
}

/// How far the zone of a log is ahead of UTC.
fn zone(run: (Nanos, Nanos), log: (Nanos, Nanos)) -> Option<Nanos> {
    if run.0 <= log.0 + RESOLUTION && log.1 <= run.1 {
        return Some(Nanos(0));
    }
    // The last line is not after the end; its time was rounded down.
    let ahead = log.1.0.saturating_sub(run.1.0);
    let quarters = ahead.saturating_sub(1).div_euclid(QUARTER_HOUR_NANOS) + 1;
    let zone = quarters.saturating_mul(QUARTER_HOUR_NANOS);
    (zone.abs() <= FARTHEST_ZONE_NANOS).then_some(Nanos(zone))
}

#[cfg(test)]
mod tests {
    use super::zone;
    use crate::time::Nanos;

    #[test]
    fn the_zone_is_utc_or_the_one_in_which_the_log_ends_with_the_run() {
        const MINUTE: i64 = 60_000_000_000;
        // A run of 20 minutes whose server wrote from its first minute until before its end.
        let check = |ahead: i64, silent: i64, expected: Option<i64>| {
            let (began, ended) = (30_000_000 * MINUTE, 30_000_020 * MINUTE);
            let log = (Nanos(began + MINUTE + ahead), Nanos(ended + ahead - silent));
            let found = zone((Nanos(began), Nanos(ended)), log);
            assert_eq!(found.map(|zone| zone.0), expected);
        };
        check(0, 18 * MINUTE, Some(0));
        check(480 * MINUTE, MINUTE, Some(480 * MINUTE));
        check(-300 * MINUTE, 14 * MINUTE, Some(-300 * MINUTE));
        check(330 * MINUTE, 1, Some(330 * MINUTE));
        check(2400 * MINUTE, 0, None);
    }
}
