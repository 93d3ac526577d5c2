//! Compiled programs.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::model::SourceId;
use crate::strings::StrId;
use crate::time::Bytes;

/// A compiled program (an HLO module), as far as the trace carries it.
#[derive(Debug, Default)]
pub struct Program {
    pub name: StrId,
    /// The id that events of the same source refer to it by.
    pub id: i64,
    pub source: Option<SourceId>,
    /// Instructions of all computations; names are unique within a program.
    pub instructions: Vec<Instruction>,
    pub by_name: FxHashMap<StrId, u32>,
    /// Its computations, each as a range of instructions; callees come first.
    pub computations: Vec<Range<u32>>,
    /// The computation that an execution starts with.
    pub entry: Range<u32>,
    /// Operands of all instructions, as indices of instructions.
    pub operands: Vec<u32>,
    /// What an execution takes, in order.
    pub parameters: Vec<Parameter>,
    /// The ids of the devices that it runs on together, replica by replica; empty if the trace does not say.
    pub assignment: Vec<i64>,
    /// How the compiler laid out its memory, if the trace says.
    pub memory: Option<ProgramMemory>,
}

impl Program {
    /// The instructions whose results `instruction` takes.
    pub fn operands_of(&self, instruction: &Instruction) -> impl Iterator<Item = &Instruction> {
        let range = instruction.operands.start as usize..instruction.operands.end as usize;
        let indices = self.operands.get(range).unwrap_or_default();
        indices.iter().filter_map(|&index| self.instructions.get(index as usize))
    }

    /// Bytes that an execution of `instruction` reads and writes if it reads its operands whole
    /// and once.
    pub fn bytes_of(&self, instruction: &Instruction) -> Bytes {
        let read = self.operands_of(instruction).map(|operand| operand.result_bytes.0);
        Bytes(read.fold(instruction.result_bytes.0, u64::saturating_add))
    }

    pub fn instruction(&self, name: StrId) -> Option<&Instruction> {
        self.by_name.get(&name).and_then(|&index| self.instructions.get(index as usize))
    }
}

/// An input of a [`Program`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameter {
    /// What the user's code calls it; empty if unknown.
    pub name: StrId,
    /// Its shape as HLO text writes it, for example `bf16[8,128]`.
    pub shape: StrId,
    /// Its instruction in [`Program::instructions`].
    pub instruction: Option<u32>,
}

/// One instruction of a [`Program`].
#[derive(Debug, Clone, Default)]
pub struct Instruction {
    pub name: StrId,
    pub opcode: StrId,
    /// The op name of its metadata: the scope path with the primitive at the end.
    pub op_name: StrId,
    /// Source file and line of the code that it came from, `file:line`; empty if unknown.
    pub source: StrId,
    /// The computations that it calls (a fusion's members, a loop's body and condition), each as
    /// a range of instructions of the program.
    pub members: Vec<Range<u32>>,
    /// What it takes, as a range of [`Program::operands`].
    pub operands: Range<u32>,
    /// Size of its result, all parts of a tuple together.
    pub elements: u64,
    pub result_bytes: Bytes,
    /// Floating-point operations of one execution, estimated from shapes, what it calls included;
    /// `None` where that cannot be told (custom calls).
    pub flops: Option<u64>,
    /// How often a loop runs, where the compiler knows it.
    pub trip_count: Option<u64>,
    /// Of a collective, the groups of devices that exchange with each other, by their places in
    /// [`Program::assignment`]; none if it is no collective, or does not say: then all are one group.
    pub groups: Vec<Vec<u32>>,
    /// Whether its result is that of its computation.
    pub is_root: bool,
}

/// What an execution of a [`Program`] needs in the memory of one device, as its compiler planned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramMemory {
    /// What it is given; an output that takes the place of an argument counts here only.
    pub arguments: Bytes,
    pub outputs: Bytes,
    pub constants: Bytes,
    /// What it needs besides, while it runs.
    pub temporary: Bytes,
    /// Of the buffers that were laid out over time, the most that is in use at once, and the size of
    /// the place that they share.
    pub live: Bytes,
    pub place: Bytes,
    /// What is in use then, largest first.
    pub at_peak: Vec<Held>,
}

/// A buffer in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The instruction that makes it, if it is known.
    pub instruction: Option<u32>,
    /// The shape of that instruction's result; empty if it is not known.
    pub shape: StrId,
    pub bytes: Bytes,
}
