//! Which scopes an operation's time belongs to.
//!
//! An operation that XLA made of several (a fusion, a call) is split among the scopes of its
//! members by their cost, one FLOP counting as much as one byte of result, so that dots dominate.
//! Parameters and constants have no vote, since they keep the scope of their first user;
//! broadcasts and bitcasts only if nothing else has one. A member whose scope includes another's
//! (a residual add outside of every layer) goes with the inner ones. What has no scope by all this
//! takes that of what it reads, else of what reads it.

use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};
use xscope_trace::model::{Instruction, MetaId, Program, ProgramId};
use xscope_trace::strings::StrId;
use xscope_trace::{Picos, Trace};

use crate::layers::scope::{BACKWARD, PathId, Paths};

/// How far a scope is looked for among the neighbours of an operation without one.
const NEIGHBOURS: u32 = 6;
/// How deep calls are followed, and how many members are looked at.
const MAX_CALLS: u32 = 8;
const MAX_MEMBERS: usize = 1 << 16;
/// Among how many scopes one operation is split, the heaviest first.
const MAX_SCOPES: usize = 256;

/// Scopes and their weights, the heaviest first; one entry for what is certain.
pub(crate) type Votes = Vec<(PathId, u64)>;

/// How the scopes of an operation are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// By the recorder or the program.
    Stated,
    /// They are those of an operation that it reads or that reads it.
    Guessed,
    /// They are no scopes of the model: all that is known is that they are of the backward pass.
    Made,
    Unknown,
}

/// Finds the scopes of operations and keeps what it found.
#[derive(Debug)]
pub(crate) struct Attribution<'a> {
    trace: &'a Trace,
    pub paths: Paths,
    known: FxHashMap<(ProgramId, u32), Votes>,
    /// Instructions that have the scope of a neighbour.
    guessed: FxHashSet<(ProgramId, u32)>,
    /// The first reader of each instruction, by program.
    readers: FxHashMap<ProgramId, Vec<u32>>,
}

/// No instruction.
const NONE: u32 = u32::MAX;

/// What the members of an operation say.
#[derive(Default)]
struct Poll {
    strong: Votes,
    weak: Votes,
    seen: usize,
}

impl<'a> Attribution<'a> {
    pub(crate) fn new(trace: &'a Trace) -> Self {
        Self {
            trace,
            paths: Paths::default(),
            known: FxHashMap::default(),
            guessed: FxHashSet::default(),
            readers: FxHashMap::default(),
        }
    }

    /// The scopes of an event, and how they are known; the root if none is.
    pub(crate) fn of(&mut self, meta: MetaId) -> (Votes, How) {
        let recorded = self.trace.meta(meta).scope;
        let Some((program, index)) = instruction_of(self.trace, meta) else {
            let votes = self.joined(recorded, &[]);
            return (votes.clone(), self.how(&votes, false));
        };
        let votes = self.of_instruction(program, index);
        let recorded = match recorded.is_empty() || votes.len() > 1 {
            true => Vec::new(),
            false => self.joined(recorded, &[]),
        };
        if is_unknown(&recorded) {
            let how = self.how(&votes, self.guessed.contains(&(program, index)));
            return (votes, how);
        }
        let how = self.how(&recorded, false);
        (recorded, how)
    }

    fn how(&self, votes: &Votes, is_guessed: bool) -> How {
        let is_made = |path: PathId| self.paths.parts(path).iter().all(|part| *part == BACKWARD);
        match is_guessed {
            _ if is_unknown(votes) => How::Unknown,
            _ if votes.iter().all(|&(path, _)| is_made(path)) => How::Made,
            true => How::Guessed,
            false => How::Stated,
        }
    }

    /// The scopes of an instruction.
    pub(crate) fn of_instruction(&mut self, program: ProgramId, index: u32) -> Votes {
        if let Some(votes) = self.known.get(&(program, index)) {
            return votes.clone();
        }
        let mut votes = self.own_votes(program, index);
        if is_unknown(&votes) {
            votes = self.neighbours_votes(program, index);
            self.guessed.insert((program, index));
        }
        self.known.insert((program, index), votes.clone());
        votes
    }

    /// What an instruction says of itself.
    fn own_votes(&mut self, program: ProgramId, index: u32) -> Votes {
        let trace = self.trace;
        let Some(instruction) = trace.programs[program].instructions.get(index as usize) else {
            return vec![(Paths::ROOT, 1)];
        };
        let operands = trace.programs[program].operands_of(instruction);
        let weights: Vec<u64> = operands.map(|operand| operand.result_bytes.0.max(1)).collect();
        let own = self.joined(instruction.op_name, &weights);
        let mut poll = Poll::default();
        if is_composed(trace.strings.get(instruction.opcode)) {
            let program = &trace.programs[program];
            self.poll(program, &instruction.members, MAX_CALLS, &mut poll);
        }
        for votes in [poll.strong, own, poll.weak] {
            let votes = self.settle(votes);
            if !is_unknown(&votes) {
                return votes;
            }
        }
        vec![(Paths::ROOT, 1)]
    }

    /// The scopes of an op name. A combined collective joins one name for each operand, which then
    /// weigh as the operands do.
    fn joined(&mut self, op_name: StrId, operands: &[u64]) -> Votes {
        let paths = self.paths.of(op_name, &self.trace.strings);
        let weight = |at: usize| match operands.len() == paths.len() {
            true => operands[at],
            false => 1,
        };
        let votes = paths.iter().enumerate().map(|(at, &path)| (path, weight(at))).collect();
        self.settle(votes)
    }

    fn poll(&mut self, program: &Program, members: &[Range<u32>], depth: u32, poll: &mut Poll) {
        let trace = self.trace;
        for index in members.iter().flat_map(Clone::clone) {
            let Some(member) = program.instructions.get(index as usize) else { continue };
            poll.seen += 1;
            if poll.seen > MAX_MEMBERS {
                return;
            }
            let opcode = trace.strings.get(member.opcode);
            if is_composed(opcode) && !member.members.is_empty() && depth > 0 {
                self.poll(program, &member.members, depth - 1, poll);
                continue;
            }
            let weight = member.flops.unwrap_or(0).saturating_add(member.result_bytes.0).max(1);
            let paths = self.paths.of(member.op_name, &trace.strings);
            let each = weight.div_ceil(paths.len() as u64);
            let votes = paths.iter().map(|&path| (path, each));
            match vote_of(opcode) {
                Vote::Strong => poll.strong.extend(votes),
                Vote::Weak => poll.weak.extend(votes),
                Vote::None => {}
            }
        }
    }

    /// Adds up the votes of each path and gives those of outer paths to the inner ones.
    fn settle(&self, votes: Votes) -> Votes {
        let mut sums: FxHashMap<PathId, u64> = FxHashMap::default();
        for (path, weight) in votes {
            let sum = sums.entry(path).or_default();
            *sum = sum.saturating_add(weight);
        }
        let mut sums: Votes = sums.into_iter().collect();
        sums.sort_unstable_by_key(|&(path, weight)| (std::cmp::Reverse(weight), path));
        sums.truncate(MAX_SCOPES);
        let inner = |path: PathId| !sums.iter().any(|&(other, _)| self.paths.includes(path, other));
        sums.iter().copied().filter(|&(path, _)| inner(path)).collect()
    }

    /// The scope of the nearest operation that this one reads from, else of one that reads it.
    fn neighbours_votes(&mut self, program: ProgramId, index: u32) -> Votes {
        let mut at = index;
        for _ in 0..NEIGHBOURS {
            let Some(next) = self.operand_of(program, at) else { break };
            let votes = self.own_votes(program, next);
            if !is_unknown(&votes) {
                return vec![votes[0]];
            }
            at = next;
        }
        let mut at = index;
        for _ in 0..NEIGHBOURS {
            let next = self.reader_of(program, at);
            if next == NONE {
                break;
            }
            let votes = self.own_votes(program, next);
            if !is_unknown(&votes) {
                return vec![votes[0]];
            }
            at = next;
        }
        vec![(Paths::ROOT, 1)]
    }

    /// The largest operand that is computed.
    fn operand_of(&self, program: ProgramId, index: u32) -> Option<u32> {
        let program = &self.trace.programs[program];
        let range = program.instructions.get(index as usize)?.operands.clone();
        let operands = program.operands.get(range.start as usize..range.end as usize)?;
        let computed = operands.iter().copied().filter(|&operand| {
            program.instructions.get(operand as usize).is_some_and(|operand| {
                vote_of(self.trace.strings.get(operand.opcode)) != Vote::None
            })
        });
        computed.max_by_key(|&operand| program.instructions[operand as usize].result_bytes)
    }

    fn reader_of(&mut self, id: ProgramId, index: u32) -> u32 {
        let program = &self.trace.programs[id];
        let readers = self.readers.entry(id).or_insert_with(|| first_readers(program));
        readers.get(index as usize).copied().unwrap_or(NONE)
    }
}

fn first_readers(program: &Program) -> Vec<u32> {
    let mut readers = vec![NONE; program.instructions.len()];
    for (index, instruction) in program.instructions.iter().enumerate() {
        let range = instruction.operands.start as usize..instruction.operands.end as usize;
        for &operand in program.operands.get(range).unwrap_or_default() {
            if let Some(reader) = readers.get_mut(operand as usize).filter(|r| **r == NONE) {
                *reader = u32::try_from(index).unwrap_or(NONE);
            }
        }
    }
    readers
}

/// The program and instruction behind an event.
pub(crate) fn instruction_of(trace: &Trace, meta: MetaId) -> Option<(ProgramId, u32)> {
    let instruction: &Instruction = trace.instruction(meta)?;
    let program = trace.meta(meta).program?;
    let index = trace.programs[program].by_name.get(&instruction.name)?;
    Some((program, *index))
}

/// Whether `votes` says nothing.
pub(crate) fn is_unknown(votes: &Votes) -> bool {
    votes.iter().all(|&(path, _)| path == Paths::ROOT)
}

/// How much an opcode's scope counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vote {
    Strong,
    Weak,
    None,
}

fn vote_of(opcode: &str) -> Vote {
    match opcode {
        "parameter" | "constant" => Vote::None,
        "broadcast" | "bitcast" | "reshape" | "iota" | "tuple" | "get-tuple-element" => Vote::Weak,
        _ => Vote::Strong,
    }
}

/// Whether the work of an opcode is that of the computations it calls.
fn is_composed(opcode: &str) -> bool {
    matches!(opcode, "fusion" | "call" | "while" | "conditional" | "async-start")
}

/// Shares `time` out by weight, exactly: what rounding leaves goes to the first.
pub(crate) fn split(time: Picos, votes: &Votes) -> Vec<(PathId, Picos)> {
    let whole: u128 = votes.iter().map(|&(_, weight)| u128::from(weight)).sum();
    let time_u = u128::try_from(time.0.max(0)).unwrap_or(0);
    let part = |weight: u64| {
        let share = (time_u * u128::from(weight)).checked_div(whole).unwrap_or(0);
        Picos(i64::try_from(share).unwrap_or(i64::MAX))
    };
    let mut shares: Vec<(PathId, Picos)> =
        votes.iter().map(|&(path, weight)| (path, part(weight))).collect();
    let given = shares.iter().fold(Picos::ZERO, |sum, &(_, time)| sum + time);
    if let Some(first) = shares.first_mut() {
        first.1 = first.1 + (time - given);
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};
    use xscope_trace::Picos;

    use super::split;

    proptest! {
        #[test]
        fn shares_add_up(
            time in 0_i64..i64::MAX / 2,
            weights in proptest::collection::vec(1_u64..u64::MAX, 1..9),
        ) {
            let votes: Vec<(u32, u64)> = (0..).zip(weights).collect();
            let sum: i64 = split(Picos(time), &votes).iter().map(|(_, time)| time.0).sum();
            prop_assert_eq!(sum, time);
        }
    }
}
