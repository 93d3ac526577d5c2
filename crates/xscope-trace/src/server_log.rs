//! Lines of a server's log that say what it ran and what it had to compile.
//!
//! Of sglang-jax: batches (`Prefill batch. #new-seq: 1, #new-token: 11`), programs that a forward
//! pass lacked (`Prefill batch. #bid: 6, #cache_miss: 2`) and what was compiled before the server
//! was ready. Of every program that runs JAX with `JAX_LOG_COMPILES=1`: each compilation and its
//! duration. All other lines are skipped.
//!
//! [`parse_line`] needs no file: whoever follows a log while it grows calls it for each line.

pub use crate::model::{LogEvent, Pass};
use crate::run::Utc;
use crate::time::Nanos;

/// A date stands among the first bytes of a line.
pub(crate) const STAMP_WITHIN: usize = 64;

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// The time of the line as if its time zone were UTC, since the Unix epoch; `None` if the line
    /// has none.
    pub at: Option<Nanos>,
    pub event: LogEvent,
}

/// Reads one line; `None` if it says nothing of the kind.
pub fn parse_line(line: &str) -> Option<LogLine> {
    let event = batch(line).or_else(|| precompile(line)).or_else(|| compiled(line))?;
    Some(LogLine { at: stamp(line), event })
}

/// Reads a whole log. Bytes that are no text are replaced, lines that say nothing left out.
pub fn parse(bytes: &[u8]) -> Vec<LogLine> {
    let lines = bytes.split(|&byte| byte == b'\n');
    lines.filter_map(|line| parse_line(&String::from_utf8_lossy(line))).collect()
}

fn batch(line: &str) -> Option<LogEvent> {
    let (pass, rest) = match (line.split_once("Prefill batch"), line.split_once("Decode batch")) {
        (Some((_, rest)), _) => (Pass::Prefill, rest),
        (_, Some((_, rest))) => (Pass::Decode, rest),
        _ => return None,
    };
    if let Some(sequences) = field(rest, "#new-seq: ") {
        let tokens = field(rest, "#new-token: ").unwrap_or(0);
        return Some(LogEvent::Prefill { sequences, tokens });
    }
    let programs = field(rest, "#cache_miss: ").filter(|&programs| programs > 0)?;
    let batch = field(rest, "#bid: ").and_then(|batch| i64::try_from(batch).ok());
    Some(LogEvent::CacheMiss { pass, batch, programs })
}

/// `[EXTEND] Begin to precompile bs_paddings=[12] token_paddings=[64, 128]`.
fn precompile(line: &str) -> Option<LogEvent> {
    let (before, rest) = line.split_once("Begin to precompile ")?;
    let pass = match () {
        () if before.contains("[EXTEND]") => Pass::Prefill,
        () if before.contains("[DECODE]") => Pass::Decode,
        () => return None,
    };
    let list = |key: &str| -> Vec<u64> {
        let listed = rest.split_once(key).and_then(|(_, after)| after.split_once(']'));
        let numbers = listed.into_iter().flat_map(|(list, _)| list.split(','));
        numbers.filter_map(|number| number.trim().parse().ok()).collect()
    };
    let (sequences, tokens) = (list("bs_paddings=["), list("token_paddings=["));
    Some(LogEvent::Precompile { pass, sequences, tokens })
}

/// `Finished XLA compilation of jit(f) in 0.051473618 sec`.
fn compiled(line: &str) -> Option<LogEvent> {
    let (_, rest) = line.split_once("Finished XLA compilation of ")?;
    let (program, rest) = rest.rsplit_once(" in ")?;
    let secs: f64 = rest.trim_start().split(' ').next()?.parse().ok()?;
    let took = nanos_of(secs)?;
    Some(LogEvent::Compiled { program: program.to_owned(), took })
}

#[expect(clippy::cast_possible_truncation, reason = "a day of nanoseconds fits")]
fn nanos_of(secs: f64) -> Option<Nanos> {
    (0.0..86_400.0).contains(&secs).then_some(Nanos((secs * 1e9) as i64))
}

/// The number after `key`.
fn field(text: &str, key: &str) -> Option<u64> {
    let (_, rest) = text.split_once(key)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The first `YYYY-MM-DD HH:MM:SS` at the beginning of a line, read as UTC.
pub(crate) fn stamp(line: &str) -> Option<Nanos> {
    const SHAPE: &[u8] = b"0000-00-00 00:00:00";
    let bytes = &line.as_bytes()[..line.len().min(STAMP_WITHIN)];
    let is_stamp = |window: &&[u8]| {
        window.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            b' ' => matches!(byte, b' ' | b'T'),
            _ => byte == shape,
        })
    };
    let found = bytes.windows(SHAPE.len()).find(is_stamp)?;
    let number = |from: usize, to: usize| {
        found[from..to].iter().fold(0, |sum, digit| 10 * sum + i64::from(digit - b'0'))
    };
    let date = Utc {
        year: number(0, 4),
        month: number(5, 7),
        day: number(8, 10),
        hour: number(11, 13),
        minute: number(14, 16),
        second: number(17, 19),
    };
    date.wall()
}

#[cfg(test)]
mod tests {
    use super::{LogEvent, Pass, parse, parse_line};
    use crate::time::Nanos;

    fn check(line: &str, at_secs: Option<i64>, expected: &LogEvent) {
        let found = parse_line(line).unwrap_or_else(|| panic!("nothing in {line}"));
        assert_eq!(&found.event, expected);
        assert_eq!(found.at.map(|at| at.0 / 1_000_000_000), at_secs, "{line}");
    }

    #[test]
    fn what_servers_say() {
        check(
            "[2026-11-24 10:15:00] Prefill batch. #new-seq: 3, #new-token: 33, #cached-token: 0, \
             token usage: 0.00, #running-req: 0, #queue-req: 0, ",
            Some(1_795_515_300),
            &LogEvent::Prefill { sequences: 3, tokens: 33 },
        );
        check(
            "[2026-11-24 10:15:08 DP0 TP0] Prefill batch. #bid: 6, #cache_miss: 2",
            Some(1_795_515_308),
            &LogEvent::CacheMiss { pass: Pass::Prefill, batch: Some(6), programs: 2 },
        );
        check(
            "Decode batch. #running-req: 1, #token: 12, token usage: 0.01, gen throughput \
             (token/s): 7.83, #queue-req: 0, #cache_miss: 1",
            None,
            &LogEvent::CacheMiss { pass: Pass::Decode, batch: None, programs: 1 },
        );
        check(
            "[2026-11-24 10:14:00] [EXTEND] Begin to precompile bs_paddings=[32] \
             token_paddings=[32, 64, 1024]",
            Some(1_795_515_240),
            &LogEvent::Precompile {
                pass: Pass::Prefill,
                sequences: vec![32],
                tokens: vec![32, 64, 1024],
            },
        );
        check(
            "WARNING:2026-11-24 10:15:00,123:jax._src.dispatch:198: Finished XLA compilation of \
             jit(model) in 0.25 sec",
            Some(1_795_515_300),
            &LogEvent::Compiled { program: "jit(model)".to_owned(), took: Nanos(250_000_000) },
        );
    }

    #[test]
    fn other_lines_say_nothing() {
        for line in [
            "",
            "[2026-11-24 10:15:00] The server is fired up and ready to roll!",
            "Prefill batch. #bid: 6, #cache_miss: 0",
            "Decode batch. #running-req: 1, #token: 12",
            "Finished XLA compilation of jit(f) in nan sec",
        ] {
            assert_eq!(parse_line(line), None, "{line}");
        }
        assert_eq!(parse(b"\xff\xfe Prefill batch. #bid: 1, #cache_miss: 1\n\n").len(), 1);
    }
}
