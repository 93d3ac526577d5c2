//! The stages of a request, and the clock that cuts a request into them.
//!
//! A request is cut by consecutive time stamps: the end of one piece is the start of the next.
//! The pieces therefore never overlap and add up to the whole by construction, whatever path the
//! request takes (an error, a prompt list that is spread over several batches).

pub use xscope_trace::stage::Stage;
use xscope_trace::{Nanos, clock};

/// The stages that the engine has.
pub const STAGES: [Stage; 10] = [
    Stage::HttpParse,
    Stage::Tokenize,
    Stage::BatchBuild,
    Stage::IpcSend,
    Stage::QueueWait,
    Stage::Schedule,
    Stage::Forward,
    Stage::LogprobExtract,
    Stage::Softmax,
    Stage::HttpRespond,
];

/// A stretch of one request that belongs to one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub stage: Stage,
    pub start: Nanos,
    pub end: Nanos,
    /// The batch that it belongs to; 0 outside the scheduler.
    pub batch: u64,
}

/// One prompt of a request, as it was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    pub batch: u64,
    /// Without padding.
    pub tokens: u64,
}

/// Cuts one request into pieces.
#[derive(Debug)]
pub struct StageClock {
    pieces: Vec<Piece>,
    /// The request's prompts, in their order; empty until they have run.
    pub sequences: Vec<Sequence>,
    start: Nanos,
    /// Where the open piece starts.
    at: Nanos,
    stage: Stage,
    batch: u64,
}

impl StageClock {
    /// Starts in [`Stage::HttpParse`], at a time that has been taken already.
    pub fn starting_at(start: Nanos) -> Self {
        Self {
            pieces: Vec::with_capacity(12),
            sequences: Vec::new(),
            start,
            at: start,
            stage: Stage::HttpParse,
            batch: 0,
        }
    }

    /// Ends the open piece now and opens the next.
    pub fn enter(&mut self, next: Stage) {
        self.enter_at(next, clock::monotonic(), 0);
    }

    /// Ends the open piece at `at` (not before its start) and opens the next, which belongs to
    /// `batch` (0 for none).
    pub fn enter_at(&mut self, next: Stage, at: Nanos, batch: u64) {
        let end = at.max(self.at);
        self.pieces.push(Piece { stage: self.stage, start: self.at, end, batch: self.batch });
        (self.at, self.stage, self.batch) = (end, next, batch);
    }

    /// Ends the open piece and with it the request.
    pub fn finish(&mut self) {
        self.enter(Stage::HttpRespond);
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub fn start(&self) -> Nanos {
        self.start
    }

    /// From the start to the end of the last piece that has ended.
    pub fn total(&self) -> Nanos {
        self.at - self.start
    }

    /// Time per stage, in the order of [`Stage::ALL`].
    pub fn by_stage(&self) -> [Nanos; Stage::ALL.len()] {
        let mut sums = [Nanos::ZERO; Stage::ALL.len()];
        for piece in &self.pieces {
            let sum = &mut sums[piece.stage as usize];
            *sum = *sum + (piece.end - piece.start);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_tile_the_request_even_where_stamps_run_backwards() {
        let mut clock = StageClock::starting_at(Nanos(100));
        clock.enter_at(Stage::IpcSend, Nanos(150), 0);
        clock.enter_at(Stage::QueueWait, Nanos(140), 0);
        clock.enter_at(Stage::Schedule, Nanos(180), 7);
        clock.enter_at(Stage::HttpRespond, Nanos(200), 0);
        let mut at = clock.start();
        for piece in clock.pieces() {
            assert_eq!(piece.start, at);
            at = piece.end;
        }
        let sum: i64 = clock.by_stage().iter().map(|time| time.0).sum();
        assert_eq!((at, sum), (Nanos(200), clock.total().0));
        assert_eq!(
            clock.pieces()[3],
            Piece { stage: Stage::Schedule, start: Nanos(180), end: Nanos(200), batch: 7 }
        );
    }
}
