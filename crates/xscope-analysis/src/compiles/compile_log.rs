//! What servers' logs add to compilations: which batch needed them, what it was made of, and what
//! would have avoided them.
//!
//! A server says in its log, to the second, when it puts a prefill batch together and, when its
//! forward pass is over, how many programs that lacked. A compilation of the trace that lies between
//! the two belongs to the batch; where the trace has none there (it covers only part of the run, or
//! there is none), the log alone makes a row.

use std::collections::BTreeSet;

use xscope_trace::model::LogRow;
use xscope_trace::server_log::{LogEvent, Pass};
use xscope_trace::{Picos, Trace};

use crate::words::counted;

/// How exact the times of a log are: a second.
pub(crate) const RESOLUTION: Picos = Picos(1_000_000_000_000);

/// A forward pass that had to compile, as a log says it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Miss {
    pub event: String,
    /// From when the batch was put together, if the log says, to when the pass was over.
    pub start: Picos,
    pub end: Picos,
    pub program: String,
    pub batch: Option<i64>,
    pub programs: u64,
    pub advice: String,
}

/// What a server has shown so far: what it compiled before it was ready, and what ran warm.
#[derive(Debug, Default)]
struct Known {
    /// Numbers of sequences and tokens that were compiled for prefills, ahead of any request.
    sequences: Vec<u64>,
    tokens: Vec<u64>,
    decodes: Vec<u64>,
    /// Number of sequences and bucket of prefills that ran.
    ran: BTreeSet<(u64, u64)>,
}

/// All misses of all logs, by start.
pub(crate) fn misses(trace: &Trace) -> Vec<Miss> {
    let mut all: Vec<Miss> = Vec::new();
    for rows in trace.log.chunk_by(|a, b| a.source == b.source) {
        all.extend(of_log(rows));
    }
    all.sort_by_key(|miss| (miss.start, miss.end));
    all
}

fn of_log(rows: &[LogRow]) -> Vec<Miss> {
    let mut known = Known::default();
    let mut last: Option<(Picos, u64, u64)> = None;
    let mut all = Vec::new();
    for row in rows {
        match (&row.event, row.at) {
            (LogEvent::Precompile { pass: Pass::Prefill, sequences, tokens }, _) => {
                known.sequences.clone_from(sequences);
                known.tokens.clone_from(tokens);
                known.tokens.sort_unstable();
            }
            (LogEvent::Precompile { pass: Pass::Decode, sequences, .. }, _) => {
                known.decodes.clone_from(sequences);
            }
            (&LogEvent::Prefill { sequences, tokens }, Some(at)) => {
                // The one before was over without a miss, or it is already in.
                if let Some((_, sequences, tokens)) = last {
                    known.ran.insert((sequences, known.bucket(tokens)));
                }
                last = Some((at, sequences, tokens));
            }
            (&LogEvent::CacheMiss { pass, batch, programs }, Some(at)) => {
                let made = last.filter(|_| pass == Pass::Prefill);
                all.push(Miss {
                    event: format!("{} batch in the log", pass.name()),
                    start: made.map_or(at, |(made, ..)| made),
                    end: at.saturating_add(RESOLUTION),
                    program: String::new(),
                    batch,
                    programs,
                    advice: known.advice(pass, made.map(|(_, rows, tokens)| (rows, tokens))),
                });
            }
            (LogEvent::Compiled { program, took }, Some(at)) => all.push(Miss {
                event: "compilation in the log".to_owned(),
                start: Picos(at.0.saturating_sub(Picos::from(*took).0)),
                end: at,
                program: program.clone(),
                batch: None,
                programs: 1,
                advice: format!("run {program} once before the window, with the same shapes"),
            }),
            _ => {}
        }
    }
    all
}

impl Known {
    /// What a prefill of so many tokens is padded to, as far as the log says.
    fn bucket(&self, tokens: u64) -> u64 {
        self.tokens.iter().copied().find(|&bucket| bucket >= tokens).unwrap_or(tokens)
    }

    /// What would have avoided a miss, for a batch of so many sequences and tokens.
    fn advice(&self, pass: Pass, batch: Option<(u64, u64)>) -> String {
        let warm_up = "warm up with the same labels and numbers of items";
        let Some((sequences, tokens)) = batch else {
            return match pass {
                Pass::Decode if self.decodes.is_empty() => format!(
                    "no decode was compiled ahead: start the server with --precompile-bs-paddings, \
                     and {warm_up}"
                ),
                _ => format!("{warm_up}: the labels and the batch size are part of the program"),
            };
        };
        let bucket = self.bucket(tokens);
        let of = format!("a batch of {} and {tokens} tokens", counted(sequences, "sequence"));
        if self.tokens.is_empty() {
            return format!(
                "{of}: nothing was compiled ahead as far as the log says: start the server without \
                 --disable-precompile, and {warm_up}"
            );
        }
        if !self.tokens.iter().any(|&known| known >= tokens) {
            return format!(
                "{of}: larger than every bucket that was compiled ahead: add {tokens} to \
                 --precompile-token-paddings"
            );
        }
        if self.ran.contains(&(sequences, bucket)) {
            return format!(
                "{of}: the same size and bucket ({bucket} tokens) had run before, so the labels or \
                 another constant are new: {warm_up}"
            );
        }
        if !self.sequences.contains(&sequences) {
            let listed: Vec<String> = self.sequences.iter().map(u64::to_string).collect();
            return format!(
                "{of}: the bucket of {bucket} tokens was compiled ahead only for {} sequences, and \
                 without log probabilities: {warm_up}, or add {sequences} to \
                 --precompile-bs-paddings",
                listed.join(", ")
            );
        }
        format!(
            "{of}: the bucket of {bucket} tokens was compiled ahead without these labels and log \
             probabilities: {warm_up}"
        )
    }
}
